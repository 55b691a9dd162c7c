"""Taking over a prompt that another process posted: its frames go to its socket's id (16, 30, 31).

Two clients on one practice server stand for two processes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.engine.comfy.client import ComfyClient
from studio.engine.comfy.events import Ended, NodeProgress, Preview, RunEvent, Succeeded
from studio.practice.server import PracticeServer
from tests.engine.comfy.test_client import (
    CALM,
    MakeClient,
    card,
    hear,
    make_client,
    new_id,
    painting,
    practice,
    rest,
)

__all__ = ["make_client", "practice"]


@pytest.fixture
def held(practice: PracticeServer) -> Iterator[PracticeServer]:
    """A practice server whose next sampler stops until let go."""
    practice.faults.hold("5")
    yield practice
    practice.faults.release()


def posted(client: ComfyClient, practice: PracticeServer) -> tuple[str, str]:
    """Post a prompt and leave it to another process; give its id and the client id."""
    prompt_id = new_id()
    with client.listen(prompt_id) as listener:
        client.submit(painting(steps=8), prompt_id)
        practice.wait_for("held:5", prompt_id)
        listener.give_up()
        return prompt_id, listener.client_id


def test_who_takes_over_hears_steps_previews_and_the_end(
    held: PracticeServer, make_client: MakeClient
) -> None:
    first, second = make_client(held.url), make_client(held.url)
    prompt_id, client_id = posted(first, held)

    with second.listen(prompt_id, client_id=client_id) as listener:
        listener.tune_in()
        assert second._borrowed[listener].link.wait_up(5)
        held.faults.release()
        heard, _ = hear(listener, Ended)

    kinds = {type(event) for event in heard}
    assert {NodeProgress, Preview, Succeeded} <= kinds
    assert second._borrowed == {}


def test_who_took_over_after_a_crash_hears_too(
    held: PracticeServer, make_client: MakeClient
) -> None:
    first, second = make_client(held.url), make_client(held.url)
    prompt_id = new_id()
    listener = first.listen(prompt_id)
    first.submit(painting(steps=8), prompt_id)
    held.wait_for("held:5", prompt_id)
    first.close()  # the system closes a dead process's sockets

    with second.listen(prompt_id, client_id=listener.client_id) as ears:
        ears.tune_in()
        assert second._borrowed[ears].link.wait_up(5)
        held.faults.release()
        heard, _ = hear(ears, Ended)

    assert any(isinstance(event, NodeProgress) for event in heard)


def test_nothing_is_opened_under_the_old_id_before_it_is_asked_for(
    held: PracticeServer, make_client: MakeClient
) -> None:
    first, second = make_client(held.url), make_client(held.url)
    prompt_id = new_id()
    with first.listen(prompt_id) as mine:
        first.submit(painting(steps=8), prompt_id)
        held.wait_for("held:5", prompt_id)
        with second.listen(prompt_id, client_id=mine.client_id):
            held.faults.release()
            heard, _ = hear(mine, Ended)

    assert any(isinstance(event, NodeProgress) for event in heard)


def test_two_prompts_at_once_have_a_socket_each_and_a_third_takes_one_that_is_free(
    held: PracticeServer, make_client: MakeClient
) -> None:
    client = make_client(held.url)
    one, two, three = new_id(), new_id(), new_id()
    with client.listen(one) as first, client.listen(two) as second:
        client.submit(painting(), one)
        client.submit(card(), two)
        held.faults.release()
        hear(first, Ended)
        hear(second, Ended)
        ids = {first.client_id, second.client_id}
    with client.listen(three) as third:
        client.submit(card(), three)
        hear(third, Ended)

    assert len(ids) == 2
    assert third.client_id in ids
    assert [body["client_id"] for body in held.posted[:2]] == [first.client_id, second.client_id]


def test_who_gave_a_prompt_up_hears_the_next_one_under_another_id(
    held: PracticeServer, make_client: MakeClient
) -> None:
    first, second = make_client(held.url), make_client(held.url)
    prompt_id, client_id = posted(first, held)
    with second.listen(prompt_id, client_id=client_id) as theirs:
        theirs.tune_in()
        assert second._borrowed[theirs].link.wait_up(5)
        held.faults.release()
        hear(theirs, Ended)

    next_id = new_id()
    with first.listen(next_id) as listener:
        first.submit(card(), next_id)
        heard, _ = hear(listener, Ended)

    assert listener.client_id != client_id
    assert heard


def test_a_borrowed_socket_made_deaf_by_the_old_owners_late_end_hears_again(
    held: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 31: the old owner was only paused; when its socket closes, the newer one is deaf."""
    paused = make_client(held.url)
    clock = Clock()
    second = ComfyClient(held.url, patience=CALM, clock=clock)
    second.open()
    assert second.wait_connected(5)
    prompt_id = new_id()
    old = paused.listen(prompt_id)
    paused.submit(painting(steps=8), prompt_id)
    held.wait_for("held:5", prompt_id)

    with second.listen(prompt_id, client_id=old.client_id) as listener:
        listener.tune_in()
        link = second._borrowed[listener].link
        assert link.wait_up(5)
        rest(listener, 0.1)
        paused.close()
        frames = link.frames
        clock.skip_s += 60
        listener.tune_in()
        wait_for_frames(link, frames)
        held.faults.release()
        heard: list[RunEvent] = hear(listener, Ended)[0]

    second.close()
    assert any(isinstance(event, NodeProgress) for event in heard)


class Clock:
    """The real clock, that may be put forward."""

    def __init__(self) -> None:
        self.skip_s = 0.0

    def __call__(self) -> float:
        import time

        return time.monotonic() + self.skip_s


def wait_for_frames(link: object, since: int) -> None:
    import threading
    import time

    end, pause = time.monotonic() + 10, threading.Event()
    while link.frames == since:  # type: ignore[attr-defined]
        assert time.monotonic() < end
        pause.wait(0.02)
