"""How much a person may keep: counted as rows and files come and go, never summed up per order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from playhouse.migrations import Runner

from studio.engine import database as module
from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.disk import FolderSizes
from studio.engine.history import History
from studio.engine.jobs import Job
from studio.engine.ledger import Ledger
from studio.engine.media import Media
from studio.engine.quota import Quota
from studio.errors import StudioError
from tests.engine.conftest import Clock, MakeJob, picture

DAY_S = 86_400.0


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path / "inputs", max_bytes=10_000_000, max_pixels=1_000_000)


@pytest.fixture
def quota(database: Database, media: Media) -> Quota:
    return Quota(database, Census(database), media, 1000)


@pytest.fixture
def history(database: Database, ledger: Ledger, clock: Clock) -> History:
    return History(database, ledger, Census(database), now=clock)


Make = Callable[..., Job]


@pytest.fixture
def make(ledger: Ledger, new_job: MakeJob) -> Make:
    """Complete a job with files of these sizes."""

    def complete(*sizes: int, person: str = "anna") -> Job:
        ledger.create(new_job(person))
        claim = ledger.claim("worker")
        assert claim is not None
        outputs = [replace(picture(n), size_bytes=size) for n, size in enumerate(sizes)]
        assert ledger.complete(claim, outputs)
        assert ledger.complete(claim, outputs)  # as when the answer to a commit was lost
        return ledger.get(claim.job.job_id)

    return complete


def nothing(_: Job) -> None:
    """Forget no files: there are none."""


def results(quota: Quota, person: str = "anna") -> int:
    return quota.used(person).results


def test_results_count_for_their_person_alone(quota: Quota, make: Make) -> None:
    make(100, 20)
    make(3)
    make(7, person="ben")

    assert (results(quota), results(quota, "ben"), results(quota, "nobody")) == (123, 7, 0)


def test_a_job_that_keeps_nothing_counts_nothing(
    quota: Quota, make: Make, ledger: Ledger, new_job: MakeJob
) -> None:
    make()
    job = ledger.create(new_job())
    ledger.ask_cancel(job.job_id, person="anna")

    assert results(quota) == 0


def test_deleting_frees_when_it_can_no_longer_be_undone(
    quota: Quota, make: Make, history: History, clock: Clock
) -> None:
    kept, gone = make(100), make(20)

    history.delete("anna", [gone.job_id])
    assert results(quota) == 120
    clock.pass_s(2 * DAY_S)
    history.purge(DAY_S, nothing)

    assert results(quota) == 100
    history.expire(DAY_S, nothing)
    assert results(quota) == 0
    assert kept.job_id != gone.job_id


def test_many_peoples_results_go_in_one_purge(
    quota: Quota, make: Make, history: History, clock: Clock
) -> None:
    for person in ("anna", "ben"):
        jobs = [make(10, person=person), make(5, person=person)]
        make(1, person=person)
        history.delete(person, [job.job_id for job in jobs])
    clock.pass_s(2 * DAY_S)

    history.purge(DAY_S, nothing)

    assert [results(quota, person) for person in ("anna", "ben")] == [1, 1]


def test_who_is_full_is_told_how_much_and_of_what(quota: Quota, make: Make) -> None:
    quota.check("anna")
    make(600, 400)

    with pytest.raises(StudioError) as refused:
        Quota(quota._db, quota._census, quota._media, 1000).check("anna")

    assert refused.value.code == "quota_full"
    assert refused.value.params["results"] == "0.0 MB"
    assert set(refused.value.params) == {"used", "max", "results", "inputs"}
    quota.check("ben")


def test_without_a_limit_nobody_is_full(database: Database, media: Media, make: Make) -> None:
    make(10**15)

    unlimited = Quota(database, Census(database), media, 0)

    unlimited.check("anna", 10**15)
    assert unlimited.used("anna").full is False


def test_uploads_count_as_they_lie_on_the_disk(
    database: Database, media: Media, tmp_path: Path
) -> None:
    Image.new("RGB", (64, 64), "navy").save(tmp_path / "a.png")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "b.png")
    quota = Quota(database, Census(database), media, 10**6)

    first = media.take("anna", tmp_path / "a.png", "a.png")
    media.take("anna", tmp_path / "a.png", "the same.png")
    second = media.take("anna", tmp_path / "b.png", "b.png")

    assert quota.used("anna").inputs == first.size_bytes + second.size_bytes
    assert quota.used("ben").inputs == 0


def test_an_upload_that_would_not_fit_is_refused_before_it_is_stored(quota: Quota) -> None:
    quota.check("anna", 1000)

    with pytest.raises(StudioError) as refused:
        quota.check("anna", 1001)

    assert refused.value.code == "quota_full"


def test_a_full_person_orders_again_as_soon_as_there_is_room(
    database: Database, media: Media, make: Make, history: History, clock: Clock
) -> None:
    job = make(2000)
    quota = Quota(database, Census(database), media, 1000)
    with pytest.raises(StudioError):
        quota.check("anna")
    history.delete("anna", [job.job_id])
    clock.pass_s(2 * DAY_S)

    history.purge(DAY_S, nothing)

    quota.check("anna")


def test_a_long_queue_does_not_pass_the_limit(
    quota: Quota, make: Make, ledger: Ledger, new_job: MakeJob
) -> None:
    make(50, 30)
    make(80)
    accepted: list[Job] = []

    def order() -> None:
        quota.check("anna")
        accepted.append(ledger.create(new_job()))

    def order_many() -> None:
        for _ in range(40):
            order()

    with pytest.raises(StudioError) as refused:
        order_many()

    assert refused.value.code == "quota_promised"
    assert (len(accepted), refused.value.params["jobs"]) == (11, "11")
    quota.check("ben")
    for job in accepted[:2]:
        ledger.ask_cancel(job.job_id, person="anna")
    order()


def test_what_was_made_beyond_the_limit_is_kept_and_then_nothing_is_ordered(
    quota: Quota, make: Make, ledger: Ledger, new_job: MakeJob
) -> None:
    quota.check("anna")

    made = make(4000)

    assert (len(made.outputs), results(quota)) == (1, 4000)
    with pytest.raises(StudioError) as refused:
        Quota(quota._db, quota._census, quota._media, 1000).check("anna")
    assert refused.value.code == "quota_full"


def test_jobs_of_a_workflow_that_nobody_has_seen_end_promise_nothing(
    quota: Quota, make: Make, ledger: Ledger, new_job: MakeJob
) -> None:
    make(980)
    for _ in range(3):
        ledger.create(new_job(workflow="never_ended"))

    quota.check("anna")


# --- what folders hold ---------------------------------------------------------------------------


def test_a_folders_size_follows_every_change(tmp_path: Path) -> None:
    sizes = FolderSizes()
    folder = tmp_path / "held"
    seen: list[int] = [sizes.bytes_in(folder)]
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}").write_bytes(b"x" * 10)
        seen.append(sizes.bytes_in(folder))

    (folder / "0").unlink()

    assert seen == [0, 10, 20, 30, 40, 50]
    assert sizes.bytes_in(folder) == 40


def test_a_folder_at_rest_is_not_listed_again(tmp_path: Path) -> None:
    later = (tmp_path.stat().st_mtime_ns) + 10**12
    sizes = FolderSizes(now_ns=lambda: later)
    file = tmp_path / "a"
    file.write_bytes(b"x" * 10)
    assert sizes.bytes_in(tmp_path) == 10

    file.write_bytes(b"x" * 99)  # which changes no folder, and which no stored file does

    assert sizes.bytes_in(tmp_path) == 10


def test_only_so_many_folders_are_remembered(tmp_path: Path) -> None:
    sizes = FolderSizes(kept=2)
    folders: Sequence[Path] = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
        (folder / "x").write_bytes(b"12345")

    assert [sizes.bytes_in(folder) for folder in folders * 2] == [5] * 6


# --- from the schema before ----------------------------------------------------------------------


def test_what_was_kept_before_is_added_up(database_url: str, tmp_path: Path, media: Media) -> None:
    opened = open_database(database_url)
    opened.read(lambda: Runner(opened.peewee, str(module._MIGRATIONS)).up("0004_priority"))

    def put(table: str, **values: object) -> None:
        marks = ", ".join([opened.peewee.param] * len(values))
        added = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608
        opened.peewee.execute_sql(added, list(values.values()))

    def fill() -> None:
        none: dict[str, object] = {"worker": "", "server": "", "prompt_id": "", "cancel_wanted": 0}
        job = none | {"tab": "t", "workflow": "w", "form": "{}", "inputs": "[]", "fence": 1}
        job |= {"state": "completed", "attempt": 1, "adoptions": 0, "lease_us": 0, "due_us": 0}
        job |= {"created_us": 1, "started_us": 1, "ended_us": 2}
        out: dict[str, object] = {"fence": 1, "node": "9", "kind": "image", "mime": "m"}
        out |= {"name": "n", "path": "p", "width_px": 1, "height_px": 1}
        for person, number, size in (("anna", 1, 70), ("anna", 2, 5), ("ben", 3, 11)):
            put("job", job_id=f"job-{number}", person=person, **job)
            for position in range(2):
                put("output", job_id=f"job-{number}", position=position, size_bytes=size, **out)
        for person in ("anna", "ben", "cleo"):
            put("person", person=person, created_us=1, last_served_us=0)

    opened.tx(fill)

    migrate(opened)

    quota = Quota(opened, Census(opened), media, 1000)
    assert [results(quota, person) for person in ("anna", "ben", "cleo")] == [150, 22, 0]
    opened.close()
