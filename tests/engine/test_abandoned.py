"""Prompts that no row names are stopped on their server; those that a row names are left alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from studio.engine.abandoned import Abandoned
from studio.engine.comfy.client import ComfyClient
from studio.engine.comfy.fleet import Fleet
from studio.engine.jobs import Claim, NewJob
from studio.engine.ledger import Ledger
from studio.practice import PracticeServer
from tests.chain.house import wait_until
from tests.engine.conftest import Clock

GRAPH = {
    "draw": {
        "class_type": "EmptyImage",
        "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
    },
    "save": {"class_type": "SaveImage", "inputs": {"images": ["draw", 0], "filename_prefix": "x"}},
}


@pytest.fixture(params=["0.8.0", "newer"])
def server(request: pytest.FixtureRequest) -> Iterator[PracticeServer]:
    with PracticeServer(profile=request.param) as server:
        server.faults.hold("draw")
        yield server
        server.faults.release()


@pytest.fixture
def fleet(server: PracticeServer) -> Iterator[Fleet]:
    fleet = Fleet([ComfyClient(server.url)], configured=True)
    fleet.start()
    wait_until(fleet.usable)
    yield fleet
    fleet.stop()


def posted(fleet: Fleet, ledger: Ledger, new_job: Callable[..., NewJob]) -> tuple[Claim, str]:
    """A prompt on the server, named by the row of a job."""
    (server,) = fleet.usable()
    ledger.create(new_job())
    claim = ledger.claim("w")
    assert claim is not None
    prompt_id = str(uuid.uuid4())
    ledger.sent(claim, server=server.name, prompt_id=prompt_id)
    server.client.submit(GRAPH, prompt_id)
    return claim, prompt_id


def test_only_what_no_row_names_is_stopped(
    server: PracticeServer, fleet: Fleet, ledger: Ledger, new_job: Callable[..., NewJob]
) -> None:
    _, kept = posted(fleet, ledger, new_job)
    server.wait_for("node:draw", kept)
    claim, _ = posted(fleet, ledger, new_job)
    ledger.give_back(claim, keep_prompt=False, count=True)

    Abandoned(ledger, fleet).call_off()

    (one,) = fleet.usable()
    queue = one.client.queue()
    assert (queue.running, queue.pending) == ((kept,), ())


def test_one_that_a_sleeping_worker_posts_late_is_stopped_all_the_same(
    server: PracticeServer,
    fleet: Fleet,
    ledger: Ledger,
    clock: Clock,
    new_job: Callable[..., NewJob],
) -> None:
    (one,) = fleet.usable()
    ledger.create(new_job())
    claim = ledger.claim("w")
    assert claim is not None
    prompt_id = str(uuid.uuid4())
    ledger.sent(claim, server=one.name, prompt_id=prompt_id)
    ledger.give_back(claim, keep_prompt=False, count=True)
    abandoned = Abandoned(ledger, fleet)
    abandoned.call_off()

    one.client.submit(GRAPH, prompt_id)
    server.wait_for("node:draw", prompt_id)
    abandoned.call_off()
    server.faults.release()

    record = wait_until(lambda: one.client.history(prompt_id))
    assert record.outcome == "interrupted"
    clock.pass_s(61)
    abandoned.call_off()
    assert ledger.abandoned([one.name]) == []
