"""Prompts waiting, running and remembered. Knows no sockets and no nodes; safe between threads."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

HISTORY_LIMIT: Final = 10_000


@dataclass(slots=True, eq=False)
class Ticket:
    """One accepted prompt. The same prompt id may stand on two tickets: nothing is idempotent."""

    number: float
    prompt_id: str
    graph: dict[str, Any]
    extra_data: dict[str, Any]
    outputs: list[str]
    client_id: str | None

    def shown(self) -> list[Any]:
        """Give the five-part item of `/queue` and history."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]


@dataclass(slots=True)
class PromptQueue:
    """ComfyUI's own queue: lower numbers first, shown in heap order; and the history."""

    changed: Callable[[], None]
    _heap: list[tuple[float, int, Ticket]] = field(default_factory=list)
    _running: list[Ticket] = field(default_factory=list)
    _history: dict[str, dict[str, Any]] = field(default_factory=dict)
    _turn: int = 0
    _closed: bool = False
    _wake: threading.Condition = field(default_factory=threading.Condition)

    def put(self, ticket: Ticket) -> None:
        """Add a prompt and tell everybody."""
        with self._wake:
            self._turn += 1
            heapq.heappush(self._heap, (ticket.number, self._turn, ticket))
            self.changed()
            self._wake.notify_all()

    def take(self) -> Ticket | None:
        """Wait for the next prompt and mark it running; None after `close`."""
        with self._wake:
            self._wake.wait_for(lambda: self._heap or self._closed)
            if self._closed:
                return None
            ticket = heapq.heappop(self._heap)[2]
            self._running.append(ticket)
            self.changed()
            return ticket

    def finish(self, ticket: Ticket, entry: dict[str, Any]) -> None:
        """Write history, then tell everybody that the queue is shorter."""
        self.remember(ticket, entry)
        self.leave(ticket)

    def remember(self, ticket: Ticket, entry: dict[str, Any]) -> None:
        """Write a history entry; the same id once more overwrites in place."""
        with self._wake:
            while len(self._history) >= HISTORY_LIMIT:
                del self._history[next(iter(self._history))]
            self._history[ticket.prompt_id] = {"prompt": ticket.shown(), **entry}

    def leave(self, ticket: Ticket) -> None:
        """Take a prompt out of the running ones."""
        with self._wake:
            self._running.remove(ticket)
            self.changed()

    def close(self) -> None:
        """Let `take` return None."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()

    def remaining(self) -> int:
        """Count running plus pending prompts of everybody."""
        with self._wake:
            return len(self._heap) + len(self._running)

    def shown(self) -> dict[str, list[list[Any]]]:
        """Give the body of `/queue`: pending in heap order, not in run order."""
        with self._wake:
            return {
                "queue_running": [ticket.shown() for ticket in self._running],
                "queue_pending": [ticket.shown() for _, _, ticket in self._heap],
            }

    def is_running(self, prompt_id: str | None) -> bool:
        """Tell whether a prompt with this id (None = any) runs now."""
        with self._wake:
            return any(prompt_id in (None, ticket.prompt_id) for ticket in self._running)

    def delete(self, prompt_id: str) -> bool:
        """Drop the first pending prompt with this id; running and unknown ids do nothing."""
        with self._wake:
            for place, (_, _, ticket) in enumerate(self._heap):
                if ticket.prompt_id == prompt_id:
                    del self._heap[place]
                    heapq.heapify(self._heap)
                    self.changed()
                    return True
            return False

    def clear(self) -> None:
        """Drop everybody's pending prompts."""
        with self._wake:
            self._heap.clear()
            self.changed()

    def history(
        self, max_items: int | None = None, offset: int = -1, prompt_id: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """Give history, oldest first; `max_items` alone means the newest (`history_and_jobs`)."""
        with self._wake:
            if prompt_id is not None:
                entry = self._history.get(prompt_id)
                return {} if entry is None else {prompt_id: entry}
            if offset < 0 and max_items is not None:
                offset = len(self._history) - max_items
            end = None if max_items is None else offset + max_items
            return dict(list(self._history.items())[max(offset, 0) : end])

    def forget(self, prompt_id: str) -> None:
        """Delete one history entry; unknown ids do nothing."""
        with self._wake:
            self._history.pop(prompt_id, None)

    def forget_all(self) -> None:
        """Delete all history."""
        with self._wake:
            self._history.clear()
