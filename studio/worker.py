"""A process that runs jobs and shows no page. It knows how to begin and how to end well."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from studio.build import build
from studio.engine.heart import Lease
from studio.errors import StudioError
from studio.settings import Settings
from studio.texts import Sentence

log = logging.getLogger("studio.worker")

_STOPS: Final = (signal.SIGTERM, signal.SIGINT)


def run_worker(
    settings: Settings,
    *,
    ready: Callable[[], None] = lambda: None,
    lease: Lease | None = None,
) -> None:
    """Run jobs until SIGTERM or SIGINT; `ready` is called once when it does. For the main thread.

    Then it takes no other job, lets the present ones end for STUDIO_GRACE_S seconds, and hands over
    what still runs. A second signal ends the grace. Raises `settings_invalid` when STUDIO_WORKERS
    is 0, and what `build` raises.
    """
    if not settings.studio_workers:
        raise StudioError(
            "settings_invalid",
            name="STUDIO_WORKERS",
            value=0,
            allowed=Sentence("allowed.worker"),
        )
    stopped = threading.Event()
    with _signals_to(stopped):
        studio = build(settings, lease=lease)
        try:
            studio.start()
            log.info("worker ready for %d jobs at once", settings.studio_workers)
            ready()
            stopped.wait()
            log.info("worker stops, jobs have %g s to end", settings.studio_grace_s)
            studio.stop(grace_s=settings.studio_grace_s)
        except KeyboardInterrupt:
            log.info("worker stops at once")
            studio.stop()
        log.info("worker stopped")


@contextmanager
def _signals_to(stopped: threading.Event) -> Iterator[None]:
    """Let the first signal set an event, and the second interrupt whatever goes on."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    before = {kind: signal.signal(kind, stop) for kind in _STOPS}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
