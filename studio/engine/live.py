"""How the running jobs of this process stand, in a small file that others on the machine may read.

Only where no Redis carries the news: `monitor` then reads it here. Nothing depends on it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from studio.engine.jobs import News

log = logging.getLogger("studio.live")

EVERY_S: Final = 1.0
STALE_S: Final = 15.0
"""A file not written for so long is of a process that died."""

Standing = Mapping[str, object]
"""fraction, phase, node_title, step, steps and server of one job."""


class Live:
    """Writes `folder/<pid>.json` each second in which something changed, while jobs run."""

    def __init__(
        self, folder: Path, running: Callable[[], Iterable[News]], *, every_s: float = EVERY_S
    ) -> None:
        self._path = folder / f"{os.getpid()}.json"
        self._running = running
        self._every_s = every_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._there = False

    def start(self) -> None:
        """Begin to write, in a thread of its own."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._loop, name="studio-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the writing and take the file away."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write once; without running jobs the file goes."""
        told = {news.job_id: _standing(news) for news in self._running()}
        if not told:
            if self._there:
                self._path.unlink(missing_ok=True)
            self._there = False
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(told, ensure_ascii=False), "utf-8")
        new.replace(self._path)
        self._there = True

    def _loop(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.write()
            except Exception:
                # The loop's edge: what only the monitor misses must not fill the log each second.
                log.debug("the live file could not be written", exc_info=True)


def read(folder: Path, *, now: float | None = None) -> dict[str, Standing]:
    """Give how each running job stands by its id, of every process on this data folder."""
    at = time.time() if now is None else now
    found: dict[str, Standing] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            if at - path.stat().st_mtime <= STALE_S:
                found |= json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # it went, or its process died while writing
    return found


def _standing(news: News) -> dict[str, object]:
    return {
        "fraction": news.fraction,
        "phase": news.phase,
        "node_title": news.node_title,
        "step": news.step,
        "steps": news.steps,
        "server": news.server,
    }
