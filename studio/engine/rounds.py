"""Work done again and again in a thread of its own, at once when something calls for it.

Knows nothing of the work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger("studio.rounds")


class Rounds:
    """Does `work` every `every_s` seconds, and at once after `soon`. What fails is logged.

    `name` is the thread's; `trouble` is what the log says of a round that failed.
    """

    def __init__(
        self,
        work: Callable[[], object],
        name: str,
        *,
        every_s: float,
        trouble: str,
        log: logging.Logger = log,
    ) -> None:
        self._work = work
        self._name = name
        self._every_s = every_s
        self._trouble = trouble
        self._log = log
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, with a round at once."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """End, waiting 5 s at most for a round under way; tell whether it had begun at all."""
        self._stopped.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout=5)
        return thread is not None

    def soon(self) -> None:
        """Do the next round now, or once more after the one under way. Does not wait."""
        self._wake.set()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self._work()
            except Exception:  # noqa: BLE001  the edge; its owner's log tells it
                # The loop's edge: whatever went wrong, the next round may do it.
                self._log.exception("%s", self._trouble)
            self._wake.wait(self._every_s)
