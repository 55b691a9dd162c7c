"""Shelves: what they find is what reading every row would find, on every database."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.history import Filters, History
from studio.engine.jobs import NewJob, State
from studio.engine.ledger import Ledger
from studio.engine.shelves import CALM_S, Shelves, Span, Standing
from studio.engine.words import folded, needed, pieces, terms
from tests.engine.conftest import Clock

SAID = (
    "a cat at dusk", "東京的夜景", "山水畫 cat", "", "100% 🍣", "category", "ｃａｔ 狗",
    "IMG_2039.png", "act", "京東", "Straße 12345678901234567890",
)  # fmt: skip
ASKED = (
    "cat", "CAT dusk", "東京", "京", "山水畫", "畫山", "%", "🍣", "at", "a", "nothing", "狗 cat",
    "2039", "strasse", "12345678901234567890", "09", "cat 東京",
)  # fmt: skip
PLACES = ("text_to_image", "face_swap", "video")


@dataclass(frozen=True)
class Made:
    """What the test remembers of a job."""

    job_id: str
    created_us: int
    words: str
    place: str
    state: State
    favourite: bool = False
    there: bool = True


@pytest.fixture
def shelves(database: Database, clock: Clock) -> Shelves:
    return Shelves(database, now=clock, jobs_a_shelf=8, together=4)


@pytest.fixture
def ledger(database: Database, clock: Clock) -> Ledger:
    return Ledger(database, now=clock, max_pending=1000)


@pytest.fixture
def history(database: Database, ledger: Ledger, shelves: Shelves, clock: Clock) -> History:
    return History(database, ledger, Census(database), now=clock, shelves=shelves)


@pytest.fixture
def made(ledger: Ledger, history: History) -> list[Made]:
    """Jobs of Anna's in all states, some favourites, with a few of Ben's among them."""
    rng = random.Random(4)  # noqa: S311  the same each time
    jobs = []
    for number in range(60):
        words, place = rng.choice(SAID), rng.choice(PLACES)
        person = "ben" if number % 10 == 3 else "anna"
        ledger.create(NewJob(f"job-{number}", person, place, place, {}, "7", words=words))
        state = State.PENDING
        if rng.random() < 0.7:
            state = ledger.ask_cancel(f"job-{number}", person=person).state
        favourite = person == "anna" and rng.random() < 0.2
        if favourite:
            history.favourite("anna", f"job-{number}", True)
        created_us = ledger.get(f"job-{number}").created_us
        if person == "anna":
            jobs.append(Made(f"job-{number}", created_us, words, place, state, favourite))
    return jobs


def shelve(shelves: Shelves, clock: Clock) -> int:
    clock.pass_s(CALM_S + 1)
    return shelves.tidy(60)


def expected(jobs: Sequence[Made], filters: Filters) -> list[str]:
    """Find by reading everything: the rule that both databases and the shelves must keep."""
    return [
        one.job_id
        for one in reversed(jobs)
        if one.there
        and all(term in folded(one.words) for term in terms(filters.text))
        and filters.tab in (None, one.place)
        and filters.workflow in (None, one.place)
        and (not filters.states or one.state in filters.states)
        and (one.favourite or not filters.favourite)
        and (filters.since_us is None or one.created_us >= filters.since_us)
        and (filters.until_us is None or one.created_us < filters.until_us)
    ]


def found(history: History, filters: Filters, limit: int = 20) -> list[str]:
    jobs, after = history.page("anna", filters, limit=limit)
    ids = [job.job_id for job in jobs]
    while after is not None:
        jobs, after = history.page("anna", filters, after=after, limit=limit)
        ids += [job.job_id for job in jobs]
    return ids


def questions(jobs: Sequence[Made]) -> list[Filters]:
    """Every word and every filter alone, and twenty of them mixed."""
    rng = random.Random(5)  # noqa: S311  the same each time
    alone = [Filters(text=text) for text in ASKED]
    alone += [Filters(workflow=name) for name in (*PLACES, "gone")]
    alone += [Filters(tab="video"), Filters(favourite=True)]
    alone += [Filters(states=(state,)) for state in State]
    moments = [None, *(one.created_us for one in jobs[::9])]
    mixed = [
        Filters(
            text=rng.choice(["", *ASKED[:6]]),
            workflow=rng.choice([None, *PLACES]),
            states=rng.choice([(), (State.CANCELLED,), (State.PENDING, State.FAILED)]),
            favourite=rng.random() < 0.2,
            since_us=rng.choice(moments),
            until_us=rng.choice(moments),
        )
        for _ in range(20)
    ]
    return alone + mixed


def agree(history: History, jobs: Sequence[Made]) -> None:
    for filters in questions(jobs):
        ids = expected(jobs, filters)
        assert found(history, filters) == ids, filters
    counted = history.count("anna", Filters(text="cat", workflow="video"))
    assert counted.number == len(expected(jobs, Filters(text="cat", workflow="video")))


def test_shelves_find_what_reading_every_row_finds(
    history: History, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    assert shelve(shelves, clock) == 3  # of Anna's 54 jobs 32, 8 and 8; Ben's 6 are too few

    agree(history, made)


def test_pages_that_are_counted_are_the_same_as_those_by_key(
    history: History, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    shelve(shelves, clock)

    for filters in (Filters(), Filters(text="cat"), Filters(states=(State.CANCELLED,))):
        whole = expected(made, filters)
        for skip in range(0, len(whole), 5):
            jobs, _ = history.page("anna", filters, limit=5, skip=skip)
            assert [job.job_id for job in jobs] == whole[skip : skip + 5]


def test_what_changes_after_it_was_shelved_is_asked_of_the_rows(
    history: History, ledger: Ledger, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    shelve(shelves, clock)
    for at, one in enumerate(made[:30]):
        if one.state is State.PENDING:
            ledger.ask_cancel(one.job_id, person="anna")
            made[at] = replace(one, state=State.CANCELLED)
        elif at % 3 == 0:
            history.delete("anna", [one.job_id])
            made[at] = replace(one, there=False)
        else:
            history.favourite("anna", one.job_id, not one.favourite)
            made[at] = replace(one, favourite=not one.favourite)

    agree(history, made)


def test_jobs_taken_away_for_good_leave_no_mark(
    history: History, database: Database, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    shelve(shelves, clock)
    rows = database.tables
    before = database.read(rows.mark.select().count)
    for at, one in enumerate(made):
        if one.state.ended and (at < 12 or at % 4 == 0):
            history.delete("anna", [one.job_id])
            made[at] = replace(one, there=False)
    clock.pass_s(10)
    history.purge(5, lambda _: None)
    agree(history, made)

    assert shelve(shelves, clock) > 0
    for _ in range(5):
        if shelve(shelves, clock) == 0:
            break
    assert shelve(shelves, clock) == 0

    agree(history, made)
    assert database.read(rows.mark.select().count) < before
    assert database.read(rows.shelf.select().where(rows.shelf.stale > 0).count) == 0


def test_the_last_job_of_a_shelf_takes_it_along(
    history: History, database: Database, ledger: Ledger, shelves: Shelves, clock: Clock
) -> None:
    for number in range(8):
        ledger.create(NewJob(f"job-{number}", "anna", "t", "t", {}, words="cat"))
        ledger.ask_cancel(f"job-{number}", person="anna")
    assert shelve(shelves, clock) == 1

    history.delete("anna", [f"job-{number}" for number in range(8)])
    clock.pass_s(10)
    history.purge(5, lambda _: None)
    shelves.tidy(60)

    rows = database.tables
    assert database.read(rows.shelf.select().count) == database.read(rows.mark.select().count) == 0


def test_an_order_under_a_clock_set_back_is_found_too(
    history: History, ledger: Ledger, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    shelve(shelves, clock)
    clock.pass_s(-3600)
    ledger.create(NewJob("late", "anna", "video", "video", {}, words="a cat"))

    assert "late" in found(history, Filters(text="cat"))
    assert "late" in found(history, Filters(workflow="video"))


def test_jobs_of_one_moment_stay_together(
    history: History, database: Database, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    """Nine jobs of one moment, where a shelf is full after eight."""
    job, words = database.tables.job, database.tables.words
    one = made[7].created_us
    for at in range(7, 13):
        moved = job.update(created_us=one).where(job.job_id == made[at].job_id)
        database.tx(moved.execute)
        seq = database.read(lambda: job.get(job.job_id == made[at].job_id).seq)  # noqa: B023
        database.tx(words.update(created_us=one).where(words.seq == seq).execute)
        made[at] = replace(made[at], created_us=one)

    shelve(shelves, clock)

    agree(history, made)


def test_two_that_tidy_at_once_write_each_shelf_once(
    database: Database, shelves: Shelves, made: list[Made], clock: Clock
) -> None:
    other = Shelves(database, now=clock, jobs_a_shelf=8, together=4)
    shelve(shelves, clock)

    assert other.tidy(60) == 0


class Disturbed(Shelves):
    """Shelves on which a chore is at work while a page is being read, the first so many times."""

    times = 0

    def along(
        self, person: str, standing: Standing, wanted: Sequence[Sequence[int]], span: Span
    ) -> Iterator[int]:
        seqs = super().along(person, standing, wanted, span)
        yield next(seqs)
        if self.times:
            self.times -= 1
            with ThreadPoolExecutor(1) as other:  # another connection
                assert other.submit(self.tidy, 60).result(timeout=30) > 0
        yield from seqs


def test_a_shelf_changed_while_a_page_is_read_repeats_and_loses_none(
    database: Database, ledger: Ledger, clock: Clock
) -> None:
    shelves = Disturbed(database, now=clock, jobs_a_shelf=8, together=4)
    history = History(database, ledger, Census(database), now=clock, shelves=shelves)
    for number in range(32):
        ledger.create(NewJob(f"job-{number}", "anna", "t", "t", {}, words="cat"))
        if number in (7, 15, 23):
            assert shelve(shelves, clock) == 1
    clock.pass_s(CALM_S + 1)

    shelves.times = 1  # puts the last eight on a fourth shelf, and makes one of all four
    ids = found(history, Filters(text="cat"))

    assert ids == [f"job-{number}" for number in reversed(range(32))]
    assert shelves.times == 0
    assert database.read(database.tables.shelf.select().count) == 1


# --- the rule, which is pure ---


@pytest.mark.parametrize("text", [*SAID, "ab", "a b", "混 mixed文字here", "한국어 검색"])
def test_every_part_of_a_text_needs_only_pieces_it_has(text: str) -> None:
    said = folded(text)
    for word in said.split():
        for start in range(len(word)):
            for end in range(start + 1, len(word) + 1):
                assert set(needed(word[start:end])) <= pieces(said)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("京", ["京"]),
        ("東京", ["東京"]),
        ("山水畫", ["山水", "水畫"]),
        ("at", ["at"]),
        ("cats", ["cat", "ats"]),
        ("cat東", ["t東", "cat"]),
    ],
)
def test_a_word_is_looked_for_by_the_pieces_that_say_most(term: str, said: list[str]) -> None:
    assert needed(term) == said
