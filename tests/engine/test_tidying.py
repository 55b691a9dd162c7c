"""What goes when: inputs a day after their last job, old results with their rows."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from studio.build import build
from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.history import History
from studio.engine.jobs import Job, NewJob, State
from studio.engine.ledger import Ledger
from studio.engine.media import Media
from studio.engine.store import Store
from studio.errors import StudioError
from studio.settings import load
from tests.engine.conftest import Clock, MakeJob

DAY_S = 86_400.0


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path / "inputs", max_bytes=10_000_000, max_pixels=1_000_000)


@pytest.fixture
def given(tmp_path: Path, media: Media) -> Callable[[str, str], str]:
    """Store a picture of a colour for a person, and give its reference."""

    def give(person: str, colour: str) -> str:
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (8, 8), colour).save(path)
        return media.take(person, path, path.name).ref

    return give


def sweep(media: Media, census: Census, clock: Clock) -> int:
    keep = census.inputs_in_use(ended_within_s=DAY_S)
    return media.sweep(keep, DAY_S, clock.us / 1e6)


def taken_at(media: Media, person: str, ref: str, clock: Clock) -> None:
    """Put a file's time onto the test's clock."""
    seconds = clock.us / 1e6
    os.utime(media.path(person, ref), (seconds, seconds))


def there(media: Media, person: str, ref: str) -> bool:
    try:
        return media.path(person, ref).is_file()
    except StudioError:
        return False


def test_an_input_stays_for_a_day_after_its_last_job_however_old_it_is(
    media: Media,
    ledger: Ledger,
    census: Census,
    clock: Clock,
    new_job: MakeJob,
    given: Callable[[str, str], str],
) -> None:
    ref = given("anna", "red")
    taken_at(media, "anna", ref, clock)
    job = ledger.create(new_job("anna", inputs=(ref,)))
    clock.pass_s(10 * DAY_S)  # it waited for ten days
    assert sweep(media, census, clock) == 0

    ledger.ask_cancel(job.job_id, person=None)
    clock.pass_s(DAY_S - 60)
    assert sweep(media, census, clock) == 0
    clock.pass_s(120)
    assert sweep(media, census, clock) == 1

    assert not there(media, "anna", ref)


def test_an_input_that_two_jobs_need_goes_after_the_second(
    media: Media,
    ledger: Ledger,
    census: Census,
    clock: Clock,
    new_job: MakeJob,
    given: Callable[[str, str], str],
) -> None:
    ref = given("anna", "red")
    taken_at(media, "anna", ref, clock)
    first, _second = (ledger.create(new_job("anna", inputs=(ref,))) for _ in range(2))
    ledger.ask_cancel(first.job_id, person=None)

    clock.pass_s(5 * DAY_S)

    assert sweep(media, census, clock) == 0
    assert there(media, "anna", ref)


def test_an_input_of_no_job_goes_after_a_day(
    media: Media, census: Census, clock: Clock, given: Callable[[str, str], str]
) -> None:
    ref = given("anna", "red")
    taken_at(media, "anna", ref, clock)

    clock.pass_s(DAY_S - 1)
    assert sweep(media, census, clock) == 0
    clock.pass_s(2)
    assert sweep(media, census, clock) == 1


class Kept:
    """Completed jobs with real files."""

    def __init__(self, ledger: Ledger, store: Store, new_job: MakeJob) -> None:
        self._ledger, self._store, self._new_job = ledger, store, new_job

    def __call__(self, person: str = "anna") -> Job:
        self._ledger.create(self._new_job(person))
        claim = self._ledger.claim("w")
        assert claim is not None
        day = datetime.date(2026, 11, 25)
        with self._store.draft(claim.job.job_id, claim.fence, day) as draft:
            with draft.add("9", "x.txt") as file:
                file.write(b"kept")
            assert self._ledger.complete(claim, draft.keep())
        return self._ledger.get(claim.job.job_id)


def test_old_results_go_with_their_rows_and_favourites_stay(
    database: Database, ledger: Ledger, clock: Clock, new_job: MakeJob, tmp_path: Path
) -> None:
    store = Store(tmp_path / "outputs")
    history = History(database, ledger, Census(database), now=clock)
    keep = Kept(ledger, store, new_job)
    old, loved = keep(), keep()
    history.favourite("anna", loved.job_id, True)
    failed = ledger.create(new_job("anna"))
    ledger.ask_cancel(failed.job_id, person=None)
    clock.pass_s(20 * DAY_S)
    young, waiting = keep(), ledger.create(new_job("ben"))
    clock.pass_s(11 * DAY_S)

    assert history.expire(30 * DAY_S, store.remove) == 2

    for gone in (old, failed):
        with pytest.raises(StudioError):
            ledger.get(gone.job_id)
    assert {path.parent.parent.name for path in (tmp_path / "outputs").rglob("*.txt")} == {
        loved.job_id,
        young.job_id,
    }
    assert ledger.get(waiting.job_id).state is State.PENDING
    rows = database.tables.output
    assert database.read(lambda: rows.select().count()) == 2


@pytest.mark.parametrize("hours", [24, 0], ids=["a day after", "with the job"])
def test_the_chore_goes_by_the_setting(hours: int, tmp_path: Path) -> None:
    """A given file whose job ended 25 h ago, beside one whose job still waits."""
    settings = load(
        env_file=None,
        data_dir=tmp_path / "data",
        outputs_dir=tmp_path / "outputs",
        log_dir=tmp_path / "logs",
        studio_workers=0,
        input_hours=hours,
    )
    studio = build(settings)
    try:
        refs = {}
        for name in ("ended", "waits"):
            Image.new("RGB", (8, 8), {"ended": "red", "waits": "blue"}[name]).save(
                tmp_path / "x.png"
            )
            refs[name] = studio.media.take("anna", tmp_path / "x.png", "x.png").ref
            studio.ledger.create(
                NewJob(name, "anna", "image_blend", "image_blend_pixel", {}, inputs=(refs[name],))
            )
            old = time.time() - 25 * 3600
            os.utime(studio.media.path("anna", refs[name]), (old, old))
        studio.ledger.ask_cancel("ended", person=None)
        row = studio.database.tables.job
        earlier = row.update(ended_us=row.ended_us - 25 * 3_600_000_000)
        studio.database.tx(earlier.where(row.ended_us > 0).execute)

        studio.doorbell.chores["inputs"]()

        assert there(studio.media, "anna", refs["waits"])
        assert there(studio.media, "anna", refs["ended"]) == (hours == 0)
    finally:
        studio.stop()
