"""The gallery's questions: pages by key, filters, search, favourites, deleting with undo."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.history import Filters, History
from studio.engine.jobs import Failure, Given, Job, NewJob, State
from studio.engine.ledger import Ledger
from studio.errors import StudioError
from tests.engine.conftest import Clock, picture

Make = Callable[..., Job]


@pytest.fixture
def history(database: Database, ledger: Ledger, clock: Clock) -> History:
    return History(database, ledger, Census(database), now=clock)


@pytest.fixture
def make(ledger: Ledger) -> Make:
    """Write a job, and end it unless told otherwise."""

    def made(
        job_id: str,
        *,
        person: str = "anna",
        tab: str = "text_to_image",
        workflow: str = "text_to_image",
        words: str = "",
        state: State = State.COMPLETED,
        given: tuple[Given, ...] = (),
    ) -> Job:
        ledger.create(
            NewJob(job_id, person, tab, workflow, {"prompt": words}, "7", given=given, words=words)
        )
        if state is not State.PENDING:
            claim = ledger.claim("worker")
            assert claim is not None
            if state is State.COMPLETED:
                ledger.complete(claim, [picture()])
            elif state is State.FAILED:
                ledger.fail(claim, Failure("run_failed"))
        return ledger.get(job_id)

    return made


def ids(history: History, filters: Filters | None = None, person: str = "anna") -> list[str]:
    """Collect the ids of every page of three."""
    found: list[str] = []
    after = None
    while True:
        jobs, after = history.page(person, filters or Filters(), after=after, limit=3)
        found += [job.job_id for job in jobs]
        if after is None:
            return found


class TestPages:
    def test_every_job_is_on_one_page_and_the_newest_first(
        self, history: History, make: Make
    ) -> None:
        for number in range(8):
            make(f"job-{number}")
        make("other", person="ben")

        assert ids(history) == [f"job-{number}" for number in reversed(range(8))]

    def test_new_jobs_meanwhile_repeat_and_skip_none(self, history: History, make: Make) -> None:
        for number in range(6):
            make(f"job-{number}")
        first, key = history.page("anna", Filters(), limit=3)
        make("newer")

        second, end = history.page("anna", Filters(), after=key, limit=3)

        assert [job.job_id for job in [*first, *second]] == [f"job-{n}" for n in (5, 4, 3, 2, 1, 0)]
        assert end is None

    def test_a_page_holds_whole_jobs(self, history: History, make: Make) -> None:
        file = Given(
            "images", "a" * 64 + ".png", "image", "image/png", "貓.png", 9, 4, 3, 0.0, ("n",)
        )
        make("job-0", given=(file,))

        [job], _ = history.page("anna", Filters())

        assert job.outputs == (picture(),)
        assert job.given == (file,)
        assert not job.favourite

    @pytest.mark.parametrize("key", ["", "x", "1", "1-", "-1-2", "９-９", "1-2-3", "9" * 60 + "-1"])
    def test_a_key_that_is_not_ours_begins_anew(
        self, history: History, make: Make, key: str
    ) -> None:
        make("job-0")

        jobs, _ = history.page("anna", Filters(), after=key)

        assert [job.job_id for job in jobs] == ["job-0"]


class TestFilters:
    def test_each_filter_alone_and_all_together(
        self, history: History, make: Make, clock: Clock
    ) -> None:
        make("old", words="a cat")
        clock.pass_s(86_400)
        start = clock.us
        make("swap", tab="face_swap", workflow="face_swap", words="a cat")
        make("other", workflow="text_to_image_checkpoint", words="a cat")
        make("failed", state=State.FAILED, words="a cat")
        make("dog", words="a dog")
        make("match", words="a cat")
        clock.pass_s(86_400)
        end = clock.us
        make("late", words="a cat")
        make("waits", state=State.PENDING, words="a cat")
        for job_id in ("old", "swap", "failed", "dog", "match", "late"):
            history.favourite("anna", job_id, True)

        assert ids(history, Filters(tab="face_swap")) == ["swap"]
        assert ids(history, Filters(workflow="text_to_image_checkpoint")) == ["other"]
        assert ids(history, Filters(states=(State.FAILED, State.PENDING))) == ["waits", "failed"]
        assert ids(history, Filters(text="dog")) == ["dog"]
        assert ids(history, Filters(until_us=start)) == ["old"]
        assert ids(history, Filters(since_us=end)) == ["waits", "late"]
        assert len(ids(history, Filters(favourite=True))) == 6
        everything = Filters(
            tab="text_to_image",
            workflow="text_to_image",
            states=(State.COMPLETED,),
            favourite=True,
            since_us=start,
            until_us=end,
            text="CAT",
        )
        assert ids(history, everything) == ["match"]
        assert history.count("anna", everything).number == 1

    def test_a_favourite_is_set_and_unset_and_anothers_is_unknown(
        self, history: History, make: Make
    ) -> None:
        make("job-0")

        assert history.favourite("anna", "job-0", True).favourite
        assert not history.favourite("anna", "job-0", False).favourite
        with pytest.raises(StudioError) as caught:
            history.favourite("ben", "job-0", True)
        assert caught.value.code == "job_unknown"

    def test_counting_stops_where_told(self, history: History, make: Make) -> None:
        for number in range(5):
            make(f"job-{number}", words="貓")

        assert history.count("anna", Filters(text="貓"), at_most=3).number == 3
        assert history.count("anna", Filters(), at_most=3).more
        assert not history.count("anna", Filters(), at_most=5).more


class TestSearch:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("東京", True),
            ("京", True),
            ("山水", True),
            ("水山", False),
            ("夜景 cat", True),
            ("CAT", True),
            ("ＣＡＴ", True),
            ("cats", False),
            ("100%", True),
            ("100_", False),
            ("%", True),
            ("🍣", True),
            ("🍺", False),
            ("Straße", True),
            ("strasse", True),
            ("  ", True),
            ("東京 狗", False),
        ],
    )
    def test_words_are_found_however_they_are_typed(
        self, history: History, make: Make, text: str, found: bool
    ) -> None:
        make("job-0", words="東京的夜景與山水畫, a Cat at 100% 🍣 STRASSE")

        assert ids(history, Filters(text=text)) == (["job-0"] if found else [])

    def test_a_search_pages_by_key_too(self, history: History, make: Make) -> None:
        for number in range(9):
            make(f"job-{number}", words="貓" if number % 2 else "狗")

        assert ids(history, Filters(text="狗")) == [f"job-{number}" for number in (8, 6, 4, 2, 0)]

    def test_nobody_finds_anothers_words(self, history: History, make: Make) -> None:
        make("job-0", words="secret")

        assert ids(history, Filters(text="secret"), person="ben") == []


class TestInputs:
    def test_inputs_are_kept_as_long_as_their_job_is_there(
        self, history: History, ledger: Ledger, make: Make, clock: Clock
    ) -> None:
        for job_id, refs in (("done", ("a.png", "b.png")), ("hidden", ("b.png", "貓.png"))):
            ledger.create(NewJob(job_id, "anna", "t", "w", {}, inputs=refs))
            claim = ledger.claim("worker")
            assert claim is not None
            ledger.cancelled(claim)
        make("without")
        history.delete("anna", ["hidden"])

        assert history.inputs() == {"a.png", "b.png", "貓.png"}
        clock.pass_s(10)
        history.purge(5, lambda _: None)
        assert history.inputs() == {"a.png", "b.png"}


class TestDeleting:
    def test_a_deleted_job_is_out_of_sight_until_it_is_restored(
        self, history: History, ledger: Ledger, make: Make
    ) -> None:
        make("job-0", words="貓")
        make("job-1", words="貓")

        assert history.delete("anna", ["job-0", "unknown"]) == ("job-0",)

        assert ids(history) == ids(history, Filters(text="貓")) == ["job-1"]
        assert [job.job_id for job in ledger.page("anna")[0]] == ["job-1"]
        with pytest.raises(StudioError) as caught:
            ledger.get("job-0", person="anna")
        assert caught.value.code == "job_unknown"
        assert history.delete("anna", ["job-0"]) == ()
        assert history.restore("anna", ["job-0"]) == ("job-0",)
        assert ids(history) == ["job-1", "job-0"]

    def test_nobody_deletes_or_restores_anothers(self, history: History, make: Make) -> None:
        make("job-0")

        assert history.delete("ben", ["job-0"]) == ()
        history.delete("anna", ["job-0"])
        assert history.restore("ben", ["job-0"]) == ()
        assert ids(history) == []

    def test_a_job_that_has_not_ended_is_refused_and_none_is_deleted(
        self, history: History, make: Make
    ) -> None:
        make("ended")
        make("waits", state=State.PENDING)

        with pytest.raises(StudioError) as caught:
            history.delete("anna", ["ended", "waits"])

        assert caught.value.code == "job_not_ended"
        assert ids(history) == ["waits", "ended"]

    def test_too_many_at_once_are_refused(self, history: History) -> None:
        with pytest.raises(StudioError) as caught:
            history.delete("anna", [f"job-{number}" for number in range(501)])

        assert caught.value.code == "too_many_at_once"

    def test_a_purge_takes_rows_and_files_of_what_was_deleted_long_ago(
        self, history: History, database: Database, make: Make, clock: Clock
    ) -> None:
        for job_id in ("old", "new", "kept"):
            make(job_id, words="貓")
        history.delete("anna", ["old"])
        clock.pass_s(3600)
        history.delete("anna", ["new"])
        forgotten: list[Job] = []

        assert history.purge(1800, forgotten.append) == 1
        assert history.purge(1800, forgotten.append) == 0

        assert [(job.job_id, job.outputs) for job in forgotten] == [("old", (picture(),))]
        assert history.restore("anna", ["old"]) == ()
        assert history.restore("anna", ["new"]) == ("new",)
        rows = database.tables
        for table in (rows.job, rows.output, rows.words):
            assert database.read(table.select().count) == 2
