"""Every sequence of moves by workers with expiring leases ends in at most one end state."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from studio.engine.jobs import Claim, Failure, Job, Output, State
from studio.engine.ledger import Ledger
from studio.errors import StudioError

MOVES = 180


class Play:
    """Random moves of persons and workers against a ledger, and what must stay true.

    `owner` is the truth as the moves tell it: who may write to a job, by fence.
    """

    def __init__(self, ledger: Ledger, clock: Any, seed: int, output: Output) -> None:
        self.ledger = ledger
        self.clock = clock
        self.rng = random.Random(seed)  # noqa: S311  no secret
        self.output = output
        self.jobs: list[str] = []
        self.claims: list[Claim] = []
        self.owner: dict[str, int] = {}
        self.fences: dict[str, int] = {}
        self.ends: dict[str, Job] = {}

    def move(self, new_job: Callable[..., Any]) -> None:
        """Make one move, of a kind chosen by weight."""
        kinds: dict[Callable[[], None], int] = {
            lambda: self.create(new_job): 3,
            self.claim: 5,
            self.write: 12,
            self.cancel: 1,
            self.pass_time: 2,
            self.reap: 2,
        }
        self.rng.choices(list(kinds), weights=list(kinds.values()))[0]()

    def create(self, new_job: Callable[..., Any]) -> None:
        if len(self.jobs) < 15:
            self.jobs.append(self.ledger.create(new_job(self.rng.choice("abc"))).job_id)

    def claim(self) -> None:
        claim = self.ledger.claim(self.rng.choice(["w1", "w2", "w3"]), lease_s=30)
        if claim is not None:
            assert claim.job.job_id not in self.owner, "claimed while another holds it"
            assert claim.fence > self.fences.get(claim.job.job_id, 0), "the fence went back"
            self.owner[claim.job.job_id] = self.fences[claim.job.job_id] = claim.fence
            self.claims.append(claim)

    def write(self) -> None:
        """Let any claim ever made try to write: it may, exactly when it is the owner."""
        if not self.claims:
            return
        claim = self.rng.choice(self.claims[-8:])
        job_id = claim.job.job_id
        before = self.ledger.get(job_id)
        ours = self.owner.get(job_id) == claim.fence
        name, wrote = self.rng.choice(self.writes(claim))
        did = wrote()
        repeated = before.state.ended and did and self.ledger.get(job_id) == before
        assert did == ours or repeated, f"{name}: wrote {did}, owner {ours}"
        if not ours:
            assert self.ledger.get(job_id) == before, f"a stale {name} wrote"
        elif name not in ("beat", "sent"):
            del self.owner[job_id]

    def writes(self, claim: Claim) -> list[tuple[str, Callable[[], bool]]]:
        keep, count = self.rng.random() < 0.5, self.rng.random() < 0.5
        prompt_id = f"p-{claim.fence}"
        return [
            ("beat", lambda: self.ledger.beat(claim).ours),
            ("beat", lambda: self.ledger.beat(claim).ours),
            ("sent", lambda: self.ledger.sent(claim, server="gpu", prompt_id=prompt_id)),
            ("complete", lambda: self.ledger.complete(claim, [self.output])),
            ("fail", lambda: self.ledger.fail(claim, Failure("internal"))),
            ("cancelled", lambda: self.ledger.cancelled(claim)),
            (
                "give_back",
                lambda: self.ledger.give_back(claim, keep_prompt=keep, count=count),
            ),
        ]

    def cancel(self) -> None:
        if self.jobs:
            job_id = self.rng.choice(self.jobs)
            job = self.ledger.get(job_id)
            if job.state in (State.COMPLETED, State.FAILED):
                with pytest.raises(StudioError):
                    self.ledger.ask_cancel(job_id, person=job.person)
            else:
                self.ledger.ask_cancel(job_id, person=job.person)

    def pass_time(self) -> None:
        self.clock.pass_s(self.rng.choice([1, 10, 31]))

    def reap(self) -> None:
        now = self.clock.us
        lost = [job_id for job_id in self.owner if 0 < self.ledger.get(job_id).lease_us < now]
        assert self.ledger.reap() == len(lost)
        for job_id in lost:
            del self.owner[job_id]

    def check(self) -> None:
        for job_id in self.jobs:
            job = self.ledger.get(job_id)
            assert (job.state is State.PROCESSING) == (job_id in self.owner)
            assert bool(job.outputs) == (job.state is State.COMPLETED)
            assert bool(job.ended_us) == job.state.ended
            if job_id in self.ends:
                assert job == self.ends[job_id], "an end state changed"
            if job.state.ended:
                self.ends[job_id] = job

    def finish(self) -> None:
        """Let honest workers do the rest: every job comes to an end."""
        for _ in range(20 * len(self.jobs)):
            self.clock.pass_s(31)
            self.ledger.reap()
            claim = self.ledger.claim("last")
            if claim is None:
                break
            self.ledger.complete(claim, [self.output])
        self.owner.clear()
        assert all(self.ledger.get(job_id).state.ended for job_id in self.jobs)


@pytest.mark.parametrize("seed", range(4))
def test_every_sequence_of_moves_ends_each_job_once(
    ledger: Ledger,
    clock: Any,
    new_job: Callable[..., Any],
    make_output: Callable[[int], Output],
    seed: int,
) -> None:
    play = Play(ledger, clock, seed, make_output(0))

    for number in range(MOVES):
        play.move(new_job)
        if number % 8 == 0:
            play.check()
    play.check()
    play.finish()

    play.check()
    assert len(play.ends) == len(play.jobs) > 5
