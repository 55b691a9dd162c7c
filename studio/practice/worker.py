"""One life of the server process: its queue, history, cache, counter, and the running thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from studio.practice import frames
from studio.practice.cache import Cache
from studio.practice.definitions import Definitions
from studio.practice.faults import Faults
from studio.practice.files import Folders
from studio.practice.points import Points
from studio.practice.queue import PromptQueue, Ticket
from studio.practice.run import DeadError, InterruptedRunError, Run
from studio.practice.sockets import Hub

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What outlives a restart."""

    hub: Hub
    folders: Folders
    definitions: Definitions
    faults: Faults
    points: Points
    pace_s: float
    mark: bool


class Worker:
    """Takes prompts from its queue and runs them one by one, in a thread of its own."""

    def __init__(self, around: Surroundings) -> None:
        self.folders = around.folders
        self.definitions = around.definitions
        self.faults = around.faults
        self.pace_s = around.pace_s
        self.mark = around.mark
        self.cache = Cache({})
        self.queue = PromptQueue(self._tell_status)
        self._hub = around.hub
        self._points = around.points
        self._number = 0
        self._dead = threading.Event()
        self._stir = threading.Condition()
        self._interrupted = False
        self._too_late = False
        self._free = False
        self._at: tuple[str | None, str | None] = (None, None)
        self._thread = threading.Thread(target=self._work, name="practice-worker", daemon=True)

    def start(self) -> None:
        """Begin to take prompts."""
        self._thread.start()

    def kill(self) -> None:
        """Stop as a killed process does: say nothing more, write nothing more."""
        self._dead.set()
        self.queue.close()
        with self._stir:
            self._stir.notify_all()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end after `kill`."""
        self._thread.join(timeout_s)

    def next_number(self, *, front: bool) -> int:
        """Give the next queue number; one for the front is below all before it."""
        number = self._number
        self._number += 1
        return -number if front else number

    def submit(self, ticket: Ticket) -> None:
        """Queue a prompt."""
        self.queue.put(ticket)
        self._points.reach("queued", ticket.prompt_id)

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Interrupt the running prompt, or only if it is still the one named."""
        with self._stir:
            if self._too_late or not self.queue.is_running(prompt_id):
                return False
            self._interrupted = True
            self._stir.notify_all()
            return True

    def free(self) -> None:
        """Drop cached results before the next prompt."""
        self._free = True

    def running(self) -> tuple[str | None, str | None]:
        """Give client id and node of what runs."""
        return self._at

    def _work(self) -> None:
        while (ticket := self.queue.take()) is not None:
            try:
                self._one(ticket)
            except DeadError:
                return
            except Exception:  # noqa: BLE001 - the loop's edge: later prompts must still run
                _log.exception("practice run of %s broke", ticket.prompt_id)
                self.queue.leave(ticket)
            with self._stir:
                # Only now: an interrupt may come between two looks of ours at the queue.
                self._interrupted = self._too_late = False

    def _one(self, ticket: Ticket) -> None:
        if self._free:
            self._free = False
            self.cache.clear()
        run = Run(self, ticket)
        entry = run.go()
        with self._stir:
            self._too_late = True
        if self.faults.history_after_end:
            self._end_before_history(ticket, run, entry)
        else:
            self.pause(self.faults.history_late_s, interruptible=False)
            self.queue.finish(ticket, entry)
            run.ended()
        self._points.reach("finished", ticket.prompt_id)

    def _end_before_history(self, ticket: Ticket, run: Run, entry: dict[str, Any]) -> None:
        self.queue.leave(ticket)
        run.ended()
        self.pause(self.faults.history_late_s, interruptible=False)
        self.queue.remember(ticket, entry)

    def _tell_status(self) -> None:
        if not self._dead.is_set():
            self._hub.push(frames.status(self.queue.remaining()))

    # what a run asks for

    def send(self, frame: Any) -> None:
        """Put a frame on the wire. Raises `DeadError` once this life is over."""
        if self._dead.is_set():
            raise DeadError
        self._hub.push(frame)

    def hears(self, client_id: str | None) -> bool:
        """Tell whether anybody would hear a frame for this client."""
        return self._hub.hears(client_id)

    def reach(self, what: str, prompt_id: str) -> None:
        """Mark a point tests wait for."""
        self._points.reach(what, prompt_id)

    def at(self, client_id: str | None, node: str | None) -> None:
        """Keep which node runs."""
        self._at = (client_id, node)

    def check_interrupt(self) -> None:
        """Raise if somebody interrupted this run."""
        with self._stir:
            if self._interrupted:
                raise InterruptedRunError

    def pause(self, seconds: float, *, interruptible: bool) -> None:
        """Wait; ends early when this life ends, or on an interrupt where the node hears it."""
        until = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= until, seconds, interruptible=interruptible)

    def hold(self, gate: threading.Event, *, interruptible: bool) -> None:
        """Wait for a test to open a gate."""
        while not gate.is_set():
            # The gate is not ours to be woken by; a short look now and then is all it takes.
            self._wait(gate.is_set, 0.01, interruptible=interruptible)

    def wedge(self) -> None:
        """Hang until this life ends."""
        self._dead.wait()
        raise DeadError

    def _wait(self, done: Callable[[], bool], seconds: float, *, interruptible: bool) -> None:
        def over() -> bool:
            return done() or self._dead.is_set() or (interruptible and self._interrupted)

        with self._stir:
            self._stir.wait_for(over, max(0.0, seconds))
            if self._dead.is_set():
                raise DeadError
            if interruptible and self._interrupted:
                raise InterruptedRunError
