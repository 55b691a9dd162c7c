"""Keeping claims: leases that beat, and wishes to cancel that are heard from any process.

Knows ledger and bus; knows no ComfyUI. A claim is kept from its `living` to the end of it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from studio.engine.bus import Bus
from studio.engine.jobs import Claim, Given, Job, News
from studio.engine.ledger import Ledger
from studio.engine.reporter import Reporter
from studio.engine.watcher import Life

log = logging.getLogger("studio.heart")


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a claim is ours without a word, and how often we say the word. Seconds.

    `wish_s` is how often the rows are asked for wishes to cancel.
    """

    lease_s: float = 30.0
    beat_s: float = 10.0
    wish_s: float = 0.3


@dataclass(slots=True, eq=False)
class Run:
    """One claim being worked on."""

    claim: Claim
    report: Reporter
    life: Life

    @property
    def job(self) -> Job:
        """The job as it was when claimed, and what was made for it since."""
        return self.claim.job

    def has(self, made: tuple[Given, ...]) -> None:
        """Note what is in the row now of runs before the main one."""
        self.claim = replace(self.claim, job=replace(self.job, made=made))

    @property
    def server(self) -> str:
        """The name of the server that works on it; empty before one was chosen."""
        return self.report.last.server

    @property
    def tags(self) -> dict[str, str]:
        """Give what every log line about it carries."""
        return {"job": self.job.job_id, "person": self.job.person}


class Heart:
    """Beats for all claims of this process. Safe to use from many threads."""

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        lease: Lease,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._bus = bus
        self._lease = lease
        self._clock = clock
        self._runs: set[Run] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to beat, in a thread of its own."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._beat, name="studio-heart", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Tell every run that this process goes down, and end the beating."""
        self._stopped.set()
        for run in self._alive():
            run.life.stop()
        if self._thread is not None:
            self._thread.join(timeout=5)

    @property
    def running(self) -> int:
        """Count the claims that are kept."""
        return len(self._alive())

    def standing(self) -> tuple[News, ...]:
        """Give the last news of each of them."""
        return tuple(run.report.last for run in self._alive())

    @contextmanager
    def living(self, claim: Claim) -> Iterator[Run]:
        """Keep the lease beating and hear of a cancel for as long as the claim is worked on."""
        run = Run(claim, Reporter(self._bus, claim, clock=self._clock), Life())
        forget = self._bus.on_cancel(claim.job.job_id, run.life.want_cancel)
        with self._lock:
            self._runs.add(run)
        try:
            self._renew(run)  # a cancel may have come between the claim and our listening for it
            yield run
        finally:
            forget()
            with self._lock:
                self._runs.discard(run)

    def assure(self, run: Run) -> None:
        """Raise `Stale` unless the claim is ours now; for what cannot be taken back.

        A process that was stopped for a while goes on where it stood, before any beat tells it
        that the lease ran out meanwhile and another has the job.
        """
        if self._clock() > run.life.held_until - self._lease.beat_s:
            self._renew(run)
        run.life.mind()

    def _alive(self) -> list[Run]:
        with self._lock:
            return list(self._runs)

    def _beat(self) -> None:
        beat_at = self._clock() + self._lease.beat_s
        while not self._stopped.wait(min(self._lease.wish_s, self._lease.beat_s)):
            self._look_for_wishes()
            if self._clock() < beat_at:
                continue
            beat_at = self._clock() + self._lease.beat_s
            for run in self._alive():
                try:
                    self._renew(run)
                except Exception:
                    # The heart's edge: a database away for a moment must not stop the others.
                    log.exception("heartbeat failed", extra=run.tags)

    def _look_for_wishes(self) -> None:
        """See in the rows whose person wants it stopped: the bus may not reach us."""
        runs = self._alive()
        try:
            unwanted = self._ledger.unwanted(run.claim for run in runs)
        except Exception:
            # The heart's edge, as above: the wish is still in the row at the next look.
            log.exception("could not look for wishes to cancel")
            return
        for run in runs:
            if run.job.job_id in unwanted and not run.life.cancel_wanted:
                run.life.want_cancel()

    def _renew(self, run: Run) -> None:
        asked_at = self._clock()
        beat = self._ledger.beat(run.claim, lease_s=self._lease.lease_s)
        if not beat.ours:
            run.life.lose()
            return
        run.life.held_until = asked_at + self._lease.lease_s
        if beat.cancel_wanted:
            run.life.want_cancel()
