"""Limits, priority, and prompts on servers that only some workers serve; on every database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from studio.engine.database import Database
from studio.engine.jobs import Claim, State
from studio.engine.ledger import Ledger
from studio.errors import StudioError
from tests.engine.conftest import Clock, MakeJob


@pytest.fixture
def limited(database: Database, clock: Clock) -> Ledger:
    return Ledger(database, now=clock, max_running=2)


def persons(ledger: Ledger) -> str:
    """The first letters of those whose jobs start, until none may."""
    started = ""
    while (claim := ledger.claim("w")) is not None:
        started += claim.job.person[0]
    return started


def sent(ledger: Ledger, server: str = "gpu-1") -> Claim:
    claim = ledger.claim("w")
    assert claim is not None
    assert ledger.sent(claim, server=server, prompt_id="p-1")
    return claim


# Running at once --------------------------------------------------------------------------


def test_nobody_gets_more_running_than_the_limit(limited: Ledger, new_job: MakeJob) -> None:
    for _ in range(5):
        limited.create(new_job("anna"))
    limited.create(new_job("ben"))

    assert sorted(persons(limited)) == ["a", "a", "b"]


def test_the_next_starts_when_one_has_ended(limited: Ledger, new_job: MakeJob) -> None:
    for _ in range(3):
        limited.create(new_job("anna"))
    first, second = limited.claim("w"), limited.claim("w")
    assert first is not None
    assert second is not None
    assert limited.claim("w") is None

    assert limited.cancelled(first)

    assert limited.claim("w") is not None


def test_many_workers_at_once_never_pass_the_limit(limited: Ledger, new_job: MakeJob) -> None:
    for _ in range(12):
        limited.create(new_job("anna"))
    together = threading.Barrier(6)

    def claim(name: str) -> Claim | None:
        together.wait(10)
        return limited.claim(name)

    with ThreadPoolExecutor(6) as pool:
        claims = list(pool.map(claim, "abcdef"))

    assert sum(one is not None for one in claims) == 2


def test_a_prompt_that_runs_already_is_adopted_beyond_the_limit(
    limited: Ledger, new_job: MakeJob, clock: Clock
) -> None:
    for _ in range(4):
        limited.create(new_job("anna"))
    left = sent(limited)
    assert limited.give_back(left, keep_prompt=True, count=False, wait_s=5)
    assert persons(limited) == "aa"

    clock.pass_s(6)
    claim = limited.claim("w")

    assert claim is not None
    assert claim.job.job_id == left.job.job_id
    assert limited.claim("w") is None


# Priority ---------------------------------------------------------------------------------


def test_a_higher_priority_starts_first_whoever_has_it(ledger: Ledger, new_job: MakeJob) -> None:
    for person in ("anna", "ben"):
        ledger.create(new_job(person))
    for name, priority in (("host", 1), ("owner", 5)):
        for _ in range(2):
            job = ledger.create(new_job(name))
            ledger.set_priority(job.job_id, priority)

    assert persons(ledger) == "oohhab"


def test_priority_does_not_lift_the_limit(limited: Ledger, new_job: MakeJob) -> None:
    for _ in range(3):
        limited.set_priority(limited.create(new_job("host")).job_id, 1)
    limited.create(new_job("anna"))

    assert persons(limited) == "hha"


def test_a_job_of_priority_knows_its_place(ledger: Ledger, new_job: MakeJob) -> None:
    for _ in range(3):
        ledger.create(new_job("anna"))
    jobs = [ledger.create(new_job("host")) for _ in range(3)]
    for job, priority in zip(jobs, (1, 2, 1), strict=True):
        assert ledger.set_priority(job.job_id, priority).priority == priority

    assert [ledger.ahead_of(job.job_id) for job in jobs] == [1, 0, 2]


def test_an_ended_job_takes_no_priority(ledger: Ledger, new_job: MakeJob) -> None:
    job = ledger.create(new_job())
    ledger.ask_cancel(job.job_id, person=None)

    with pytest.raises(StudioError) as caught:
        ledger.set_priority(job.job_id, 1)

    assert caught.value.code == "job_ended"


# Whose server it is on --------------------------------------------------------------------


def test_a_prompt_is_left_to_those_who_serve_its_server(ledger: Ledger, new_job: MakeJob) -> None:
    job = ledger.create(new_job())
    assert ledger.give_back(sent(ledger), keep_prompt=True, count=False)

    assert ledger.claim("other", servers={"gpu-2"}) is None
    claim = ledger.claim("ours", servers={"gpu-1", "gpu-2"})

    assert claim is not None
    assert (claim.job.job_id, claim.job.prompt_id) == (job.job_id, "p-1")


@pytest.mark.parametrize("how", ["given back", "reaped"])
def test_a_prompt_that_nobody_serves_is_anybodys_after_ten_minutes(
    ledger: Ledger, new_job: MakeJob, clock: Clock, how: str
) -> None:
    ledger.create(new_job())
    claim = sent(ledger)
    if how == "reaped":
        clock.pass_s(31)
        assert ledger.reap() == 1
    else:
        assert ledger.give_back(claim, keep_prompt=True, count=False)

    clock.pass_s(590)
    assert ledger.claim("other", servers={"gpu-2"}) is None
    clock.pass_s(11)
    assert ledger.claim("other", servers={"gpu-2"}) is not None


def test_who_is_alone_waits_for_nobodys_server(ledger: Ledger, new_job: MakeJob) -> None:
    for _ in range(2):
        ledger.create(new_job())
    assert ledger.give_back(sent(ledger), keep_prompt=True, count=False)
    sent(ledger)  # and this one's worker was killed

    ledger.reap(even_live=True)

    taken = [ledger.claim("alone", servers={"gpu-2"}) for _ in range(2)]
    assert [one.job.state for one in taken if one] == [State.PROCESSING] * 2
