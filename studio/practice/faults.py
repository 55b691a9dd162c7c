"""Faults that tests order: each is a thing real servers, networks or neighbours do."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from studio.practice.nodes.values import NodeError

OUT_OF_MEMORY: Final = "torch.OutOfMemoryError"
_OUT_OF_MEMORY_TEXT: Final = (
    "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
    "Currently allocated     : 22.41 GiB\n"
    "Requested               : 4.00 GiB\n"
    "Device limit            : 23.54 GiB"
)
AFTER: Final[Mapping[str, str]] = {
    "execution_start": "Started",
    "execution_cached": "Cached",
    "executing": "NodeStarted",
    "progress": "NodeProgress",
    "preview": "Preview",
    "executed": "NodeOutput",
    "execution_success": "Succeeded",
    "execution_error": "Failed",
    "execution_interrupted": "Interrupted",
}
"""Wire event -> the word `after=` takes. `executing` with node null is "Ended"."""
_WORDS: Final = frozenset({*AFTER.values(), "Ended"})
_PLACES: Final = re.compile(r"progress:\d+|node:.+")

After = str | float | None


class Steered(Protocol):
    """What faults need of the server."""

    def restart(self, down_s: float) -> None:
        """Lose everything a process loses."""

    def interrupt(self) -> None:
        """Interrupt whatever runs, as any page of this ComfyUI can."""

    def touch_sockets(self, act: Callable[[], None]) -> None:
        """Do something on the sockets' own thread."""


@dataclass(slots=True)
class SocketFault:
    """What is to happen to the sockets, and after which frame. `for_s` None = silence."""

    after: After
    for_s: float | None

    def due(self, word: str, fraction: float | None) -> bool:
        """Tell whether a frame just sent sets this off."""
        if isinstance(self.after, str):
            return word == self.after
        if self.after is None:
            return True
        return fraction is not None and fraction >= self.after


@dataclass(slots=True)
class _Holding:
    """A place where runs stop until let go."""

    node: str
    step: int
    open: threading.Event = field(default_factory=threading.Event)


class Faults:
    """The orders. Each lasts once unless it says otherwise; all are safe from any thread."""

    def __init__(self, server: Steered) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._failures: list[tuple[str | None, NodeError]] = []
        self._holding: _Holding | None = None
        self._refusal: tuple[int, str] | None = None
        self._lose = False
        self.forbidden = False
        self.history_late_s = 0.0
        self.history_after_end = False
        self.max_upload_bytes = 100 * 1024 * 1024
        self.socket: list[SocketFault] = []

    # what the HTTP side answers

    def refuse_next_prompt(self, status: int = 503, body: str = "") -> None:
        """Answer the next POST /prompt with a status and no JSON; nothing is queued."""
        with self._lock:
            self._refusal = (status, body)

    def lose_next_answer(self) -> None:
        """Accept the next prompt, then drop the connection instead of answering."""
        with self._lock:
            self._lose = True

    def forbid(self) -> None:
        """Answer everything with 403, sockets too, until `allow`."""
        self.forbidden = True

    def allow(self) -> None:
        """End `forbid`."""
        self.forbidden = False

    def limit_uploads(self, max_bytes: int) -> None:
        """Lower the body limit, as `--max-upload-size` does; `/features` tells it."""
        self.max_upload_bytes = max_bytes

    def late_history(self, seconds: float, *, after_end: bool = False) -> None:
        """Write history `seconds` after the last frame of a run, from now on.

        Real servers are a few ms late and always before the last `status`. With `after_end` it
        comes after `executing` null as well: a prompt is then in neither list for a while.
        """
        self.history_late_s = seconds
        self.history_after_end = after_end

    # what runs do

    def fail(
        self,
        node: str | None = None,
        exception_type: str = "RuntimeError",
        message: str = "practice failure",
    ) -> None:
        """Let the next run of a node (its id or class; None = any) end in `execution_error`."""
        with self._lock:
            # The server itself ends every message with a line break.
            self._failures.append((node, NodeError(exception_type, message.rstrip("\n"))))

    def out_of_memory(self, node: str | None = None) -> None:
        """Let a node fail as a card does that is too small."""
        self.fail(node, OUT_OF_MEMORY, _OUT_OF_MEMORY_TEXT)

    def hold(self, node: str, step: int = 0) -> None:
        """Stop every run inside a node (id or class) after `step` steps, until `release`.

        A held sampler still listens to interrupts, other nodes are deaf to them, as in truth.
        """
        with self._lock:
            self._holding = _Holding(node, step)

    def release(self) -> None:
        """Let a held run go on; also forgets a hold that was not reached."""
        with self._lock:
            holding, self._holding = self._holding, None
        if holding is not None:
            holding.open.set()

    def interrupt_now(self) -> None:
        """Interrupt whatever runs, as a stranger's Cancel in ComfyUI's own page does."""
        self._server.interrupt()

    # what sockets and the process do

    def cut_sockets(self, for_s: float = 0.0, after: After = None) -> None:
        """Drop all sockets without a close frame and refuse new ones for `for_s` seconds.

        `after`: None = now; an event word ("NodeStarted", "Preview", ...); "progress:3" or
        "node:<id>"; or a fraction of a node's steps (0.4). HTTP goes on working. Raises
        ValueError for another word.
        """
        self._touch(SocketFault(after, for_s))

    def go_silent(self, after: After = None) -> None:
        """Let the sockets open at that moment stay open and hear nothing more, for ever.

        A socket opened later hears again: what a client gets that reconnects.
        """
        self._touch(SocketFault(after, None))

    def _touch(self, fault: SocketFault) -> None:
        after = fault.after
        if isinstance(after, str) and after not in _WORDS and not _PLACES.fullmatch(after):
            raise ValueError(
                f"after={after!r} is none of {sorted(_WORDS)}, progress:<n>, node:<id>"
            )
        self._server.touch_sockets(lambda: self.socket.append(fault))

    def restart(self, down_s: float = 0.0) -> None:
        """Restart the process: queue, history, cache, temp files and sockets are gone.

        For `down_s` seconds connections are refused. Comes back at the same address.
        """
        self._server.restart(down_s)

    def slow_start(self, seconds: float) -> None:
        """Be a server that is only starting: refuse connections for `seconds`."""
        self._server.restart(seconds)

    def clear(self) -> None:
        """Forget every order not yet carried out, and end the lasting ones."""
        self.release()
        self.allow()
        self.late_history(0)
        with self._lock:
            self._failures.clear()
            self._refusal, self._lose = None, False
        self._server.touch_sockets(self.socket.clear)

    # asked by the server

    def take_refusal(self) -> tuple[int, str] | None:
        """Give the ordered refusal once."""
        with self._lock:
            refusal, self._refusal = self._refusal, None
            return refusal

    def take_loss(self) -> bool:
        """Tell once whether the answer is to be lost."""
        with self._lock:
            lose, self._lose = self._lose, False
            return lose

    def take_failure(self, node: str, class_type: str) -> NodeError | None:
        """Give the failure ordered for this node, once."""
        with self._lock:
            for place, (wanted, failure) in enumerate(self._failures):
                if wanted in (None, node, class_type):
                    del self._failures[place]
                    return failure
            return None

    def gate(self, node: str, class_type: str, step: int) -> threading.Event | None:
        """Give the event to wait for, if this node is held at this step."""
        with self._lock:
            holding = self._holding
            if holding and holding.node in (node, class_type) and holding.step == step:
                return holding.open
            return None
