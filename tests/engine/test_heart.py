"""Claims are kept by beating; and what cannot be taken back is done by who surely has the claim."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from studio.engine.bus import MemoryBus
from studio.engine.heart import Heart, Lease, Run
from studio.engine.jobs import NewJob
from studio.engine.ledger import Ledger
from studio.engine.watcher import Stale
from tests.engine.conftest import Clock

LEASE = Lease(lease_s=30, beat_s=10)
MakeJob = Callable[..., NewJob]


class Hands:
    """A clock whose hands a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def slept(ledger: Ledger, clock: Clock, new_job: MakeJob) -> Iterator[tuple[Heart, Run, Hands]]:
    """A worker that was stopped for longer than its lease, and has not beaten since."""
    ledger.create(new_job())
    claim = ledger.claim("slow", lease_s=LEASE.lease_s)
    assert claim is not None
    hands = Hands()
    heart = Heart(ledger, MemoryBus(), LEASE, clock=hands)
    with heart.living(claim) as run:
        hands.at += 31
        clock.pass_s(31)
        yield heart, run, hands


def test_who_slept_past_the_lease_sends_nothing_another_has_the_job(
    ledger: Ledger, slept: tuple[Heart, Run, Hands]
) -> None:
    heart, run, _ = slept
    ledger.reap()
    assert ledger.claim("quick", lease_s=LEASE.lease_s) is not None

    run.life.mind()  # no beat has told it yet
    with pytest.raises(Stale):
        heart.assure(run)


def test_who_slept_but_was_not_replaced_goes_on(slept: tuple[Heart, Run, Hands]) -> None:
    heart, run, hands = slept

    heart.assure(run)

    assert run.life.held_until == hands.at + LEASE.lease_s
