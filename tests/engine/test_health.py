"""One look at the house, and counts that cost a monitor nothing; on every database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.disk import DiskFloor
from studio.engine.health import Histogram, Pulse, lag_histogram
from studio.engine.jobs import Failure, Output, State
from studio.engine.ledger import Ledger
from studio.engine.roster import Roster
from studio.engine.servers import Servers
from studio.engine.verdicts import Verdicts
from studio.engine.workflow import catalog as catalogs
from studio.errors import StudioError
from tests.engine.conftest import Clock, MakeJob


@pytest.fixture
def looked() -> list[float]:
    """The monotonic clock that a pulse looks at."""
    return [0.0]


@pytest.fixture
def pulse(census: Census, database: Database, tmp_path: Path, looked: list[float]) -> Pulse:
    roster = Roster(database, "w-1", places=2, running=lambda: 0, servers=lambda: ())
    return Pulse(
        census,
        Servers(roster, Verdicts(catalogs.load(tmp_path)), None, me="w-1"),
        DiskFloor((tmp_path,), 0),
        workflows=("text_to_image",),
        lags=lag_histogram(),
        clock=lambda: looked[0],
    )


def test_a_look_counts_who_waits_and_who_runs(
    pulse: Pulse, ledger: Ledger, new_job: MakeJob
) -> None:
    jobs = [ledger.create(new_job()) for _ in range(3)]
    ledger.claim("w")

    health = pulse.health()

    assert (health.waiting, health.running) == (2, 1)
    assert health.accepted >= len(jobs)
    assert health.disk_free_bytes > 0


def test_many_askers_within_a_second_cost_one_look(
    pulse: Pulse, ledger: Ledger, new_job: MakeJob, looked: list[float]
) -> None:
    assert pulse.health().waiting == 0
    ledger.create(new_job())

    assert pulse.health().waiting == 0
    looked[0] += 1.0
    assert pulse.health().waiting == 1


def test_ended_jobs_are_counted_once_with_their_times(
    pulse: Pulse,
    ledger: Ledger,
    new_job: MakeJob,
    clock: Clock,
    make_output: Callable[[int], Output],
) -> None:
    pulse.health()
    for end in ("completed", "failed"):
        ledger.create(new_job())
        clock.pass_s(3)
        claim = ledger.claim("w")
        assert claim is not None
        assert ledger.sent(claim, server="gpu", prompt_id=f"p-{end}")
        clock.pass_s(7)
        if end == "completed":
            assert ledger.complete(claim, [make_output(0)])
        else:
            assert ledger.fail(claim, Failure("internal"))
    clock.pass_s(5)

    for _ in range(2):
        metrics = pulse.metrics()

    assert metrics.ended == {
        ("text_to_image", State.COMPLETED): 1,
        ("text_to_image", State.FAILED): 1,
    }
    assert metrics.durations_s.count == 1
    assert metrics.durations_s.total == pytest.approx(7, abs=0.01)
    assert metrics.waits_s.count == 2
    assert metrics.waits_s.total == pytest.approx(6, abs=0.01)


def test_what_ended_before_this_process_is_not_counted(
    pulse: Pulse, ledger: Ledger, new_job: MakeJob, clock: Clock
) -> None:
    old = ledger.create(new_job())
    ledger.ask_cancel(old.job_id, person=None)
    clock.pass_s(60)
    pulse.health()

    clock.pass_s(60)

    assert pulse.metrics().ended == {}


def test_open_jobs_are_counted_by_workflow_and_state(
    pulse: Pulse, ledger: Ledger, new_job: MakeJob
) -> None:
    for _ in range(2):
        ledger.create(new_job())
    ledger.claim("w")

    assert pulse.metrics().open_jobs == {
        ("text_to_image", State.PENDING): 1,
        ("text_to_image", State.PROCESSING): 1,
    }


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1, 10))
    for value in (-5, 0.5, 1.0, 3, 99):
        histogram.observe(value)

    counted = histogram.read()

    assert counted.buckets == ((1.0, 3), (10.0, 4), (float("inf"), 5))
    assert (counted.count, counted.total) == (5, 103.5)


def test_the_fullest_disk_decides_whether_a_job_is_taken(tmp_path: Path) -> None:
    free = {"a": 900, "b": 400}
    folders = (tmp_path / "a", tmp_path / "b")
    floor = DiskFloor(folders, 500, free=lambda folder: free[folder.name])

    with pytest.raises(StudioError) as caught:
        floor.check()
    free["b"] = 500
    floor.check()

    assert caught.value.code == "disk_full"
    assert floor.free_bytes() == 500
