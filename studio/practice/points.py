"""What a run has reached, so that a test can wait for it instead of sleeping."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

_KEPT: Final = 50_000


class Points:
    """A growing list of (what, prompt_id) marks. Safe between threads."""

    def __init__(self) -> None:
        # Bounded: the first-run practice server may live for weeks.
        self._reached: deque[tuple[str, str]] = deque(maxlen=_KEPT)
        self._grown = threading.Condition()

    def reach(self, what: str, prompt_id: str) -> None:
        """Add a mark and wake everybody who waits."""
        with self._grown:
            self._reached.append((what, prompt_id))
            self._grown.notify_all()

    def wait(self, what: str, prompt_id: str | None, timeout_s: float) -> None:
        """Wait for a mark, past ones count. Raises TimeoutError telling what was reached."""
        with self._grown:
            if not self._grown.wait_for(lambda: self._has(what, prompt_id), timeout_s):
                last = [mark for mark, _ in list(self._reached)[-12:]]
                raise TimeoutError(f"{what!r} not reached in {timeout_s} s; last marks: {last}")

    def _has(self, what: str, prompt_id: str | None) -> bool:
        return any(
            mark == what and (prompt_id is None or prompt_id == of) for mark, of in self._reached
        )
