"""Prompts that no row names any more are remembered until they surely do not run."""

from __future__ import annotations

import pytest

from studio.engine.jobs import Claim, Failure
from studio.engine.ledger import Ledger
from tests.engine.conftest import Clock, MakeJob


def sent(ledger: Ledger, new_job: MakeJob, prompt_id: str) -> Claim:
    ledger.create(new_job())
    claim = ledger.claim("w")
    assert claim is not None
    assert ledger.sent(claim, server="gpu", prompt_id=prompt_id)
    return claim


def abandoned(ledger: Ledger) -> set[tuple[str, str]]:
    return {(one.server, one.prompt_id) for one in ledger.abandoned(["gpu", "other"])}


@pytest.mark.parametrize("keep", [True, False])
def test_a_prompt_given_up_with_its_job_is_remembered(
    ledger: Ledger, new_job: MakeJob, keep: bool
) -> None:
    claim = sent(ledger, new_job, "p1")

    assert ledger.give_back(claim, keep_prompt=keep, count=True)

    assert abandoned(ledger) == (set() if keep else {("gpu", "p1")})


def test_a_prompt_in_the_place_of_another_leaves_that_one_behind(
    ledger: Ledger, new_job: MakeJob
) -> None:
    claim = sent(ledger, new_job, "p1")

    assert ledger.sent(claim, server="other", prompt_id="p2")

    assert abandoned(ledger) == {("gpu", "p1")}


def test_a_failed_job_leaves_the_prompt_that_may_run_on(ledger: Ledger, new_job: MakeJob) -> None:
    ended, running = sent(ledger, new_job, "p1"), sent(ledger, new_job, "p2")

    assert ledger.fail(ended, Failure("run_failed"))
    assert ledger.fail(running, Failure("time_limit"), leaves_prompt=True)

    assert abandoned(ledger) == {("gpu", "p2")}


def test_who_lost_the_lease_leaves_only_a_prompt_that_nobody_took_over(
    ledger: Ledger, new_job: MakeJob, clock: Clock
) -> None:
    late = sent(ledger, new_job, "p1")
    clock.pass_s(60)
    ledger.reap()
    other = ledger.claim("w2")
    assert other is not None

    ledger.disown(late, server="gpu", prompt_id="p1")
    assert abandoned(ledger) == set()
    ledger.sent(other, server="gpu", prompt_id="p2")
    ledger.disown(late, server="gpu", prompt_id="p1")
    assert not ledger.give_back(late, keep_prompt=False, count=True)
    assert not ledger.fail(late, Failure("internal"), leaves_prompt=True)

    assert abandoned(ledger) == {("gpu", "p1")}


def test_what_was_called_off_and_what_nobody_serves_any_more_is_forgotten(
    ledger: Ledger, new_job: MakeJob, clock: Clock
) -> None:
    for prompt_id in ("p1", "p2"):
        ledger.give_back(sent(ledger, new_job, prompt_id), keep_prompt=False, count=True)
    first, _ = ledger.abandoned(["gpu"])

    ledger.called_off(first)
    clock.pass_s(100)
    assert ledger.forget_abandoned(3600) == 0
    assert ledger.forget_abandoned(50) == 1

    assert abandoned(ledger) == set()
