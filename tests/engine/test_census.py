"""What the house asks of everybody's jobs, on rows of each database; more of it in test_health."""

from __future__ import annotations

import pytest

from studio.engine.census import Census
from studio.engine.jobs import Claim, Failure
from studio.engine.ledger import Ledger
from tests.engine.conftest import Clock, MakeJob, picture


def claimed(ledger: Ledger) -> Claim:
    claim = ledger.claim("w")
    assert claim is not None
    return claim


def on_server(ledger: Ledger) -> Claim:
    claim = claimed(ledger)
    assert ledger.sent(claim, server="gpu", prompt_id="p")
    return claim


def test_typical_seconds_are_the_median_of_completed_runs(
    census: Census,
    ledger: Ledger,
    new_job: MakeJob,
    clock: Clock,
) -> None:
    assert census.typical_s("text_to_image") is None
    for seconds in (2, 90, 4):
        ledger.create(new_job())
        claim = on_server(ledger)
        clock.pass_s(seconds)
        ledger.complete(claim, [picture()])
    ledger.create(new_job())
    ledger.fail(on_server(ledger), Failure("internal"))

    assert census.typical_s("text_to_image") == pytest.approx(4, abs=0.01)
    assert census.typical_s("another") is None


def test_inputs_are_in_use_until_their_job_ended(
    census: Census, ledger: Ledger, new_job: MakeJob
) -> None:
    ledger.create(new_job(inputs=("a.png", "b.png")))
    ledger.create(new_job(inputs=("b.png", "c.png")))

    ledger.fail(claimed(ledger), Failure("internal"))

    assert census.inputs_in_use() == {"b.png", "c.png"}


def test_kept_folders_are_those_of_results_and_of_live_claims(
    census: Census,
    ledger: Ledger,
    new_job: MakeJob,
    clock: Clock,
) -> None:
    done = ledger.create(new_job())
    claimed(ledger)
    clock.pass_s(31)
    ledger.reap()
    ledger.complete(claimed(ledger), [picture()])
    live = ledger.create(new_job())
    claimed(ledger)

    asked = [(done.job_id, 1), (done.job_id, 2), (live.job_id, 1), ("none", 1)]

    assert census.kept(asked) == {(done.job_id, 2), (live.job_id, 1)}
    assert census.kept([]) == set()


def test_processing_jobs_of_everybody_are_listed_for_the_host(
    census: Census, ledger: Ledger, new_job: MakeJob
) -> None:
    jobs = [ledger.create(new_job(person)) for person in ("anna", "ben", "cleo")]
    ledger.claim("w")
    ledger.claim("w")

    listed = census.processing(10)

    assert {job.job_id for job in listed} <= {job.job_id for job in jobs}
    assert (len(listed), len(census.processing(1))) == (2, 1)
