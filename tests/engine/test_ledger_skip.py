"""A worker leaves to others what its server cannot run, and the line stays fair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from studio.engine.census import Census
from studio.engine.jobs import NewJob
from studio.engine.ledger import Ledger

Make = Callable[..., NewJob]


def test_skipped_workflows_are_left_and_everybody_elses_turn_comes(
    ledger: Ledger, census: Census, new_job: Make
) -> None:
    for _ in range(5):
        ledger.create(replace(new_job("anna"), workflow="heavy"))
    light = ledger.create(replace(new_job("ben"), workflow="light"))

    claim = ledger.claim("w", skip={"heavy"})

    assert claim is not None
    assert claim.job.job_id == light.job_id
    assert ledger.claim("w", skip={"heavy"}) is None
    assert census.waiting() == 5


def test_an_own_later_job_passes_a_skipped_one(ledger: Ledger, new_job: Make) -> None:
    first = ledger.create(replace(new_job("anna"), workflow="heavy"))
    second = ledger.create(replace(new_job("anna"), workflow="light"))

    taken = [ledger.claim("w", skip=skip) for skip in ({"heavy"}, ())]

    assert [c.job.job_id for c in taken if c] == [second.job_id, first.job_id]
