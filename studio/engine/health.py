"""How well: one look at the whole house, and what of it is counted for a monitor.

Cheap on purpose: open jobs are counted from an index, ended ones are read once each as they end,
and nothing is asked twice within a second, however many ask.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from studio.engine.census import Census, Ended
from studio.engine.comfy.fleet import ServerStatus
from studio.engine.disk import DiskFloor
from studio.engine.jobs import State
from studio.engine.roster import Worker
from studio.engine.servers import Servers

_KEPT_S: Final = 1.0
_SETTLED_US: Final = 2_000_000
_DURATIONS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_WAITS_S: Final = (0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 3600)
_LAGS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)


@dataclass(frozen=True, slots=True)
class Counted:
    """A histogram as it stands. `buckets` are `(upper bound, count of all up to it)`."""

    buckets: tuple[tuple[float, int], ...]
    count: int
    total: float


class Histogram:
    """Counts measured values by size. Safe from many threads."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(float(bound) for bound in bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Count one value; a negative one, as of two clocks, counts as 0."""
        value = max(value, 0.0)
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._total += value

    def read(self) -> Counted:
        """Give how it stands."""
        with self._lock:
            counts, total = list(self._counts), self._total
        below, buckets = 0, []
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            buckets.append((bound, below))
        return Counted(tuple(buckets), below, total)


def lag_histogram() -> Histogram:
    """Make the histogram of how late live news reach a follower, in seconds."""
    return Histogram(_LAGS_S)


@dataclass(frozen=True, slots=True)
class Health:
    """The house at one moment. `waiting`, `running`: jobs of everybody.

    `accepted` counts the jobs ever taken into this database, `disk_free_bytes` is of the fullest
    disk, and `disk_floor_bytes` what must be free for a new job.
    """

    servers: tuple[ServerStatus, ...]
    workers: tuple[Worker, ...]
    waiting: int
    running: int
    accepted: int
    disk_free_bytes: int
    disk_floor_bytes: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a monitor wants beside. Counts by `(workflow, state)`.

    `ended`, `durations_s` and `waits_s` are of all jobs that ended anywhere since this process
    started; `lags_s` of the news this process gave to followers.
    """

    health: Health
    open_jobs: Mapping[tuple[str, State], int]
    ended: Mapping[tuple[str, State], int]
    durations_s: Counted
    waits_s: Counted
    lags_s: Counted


class Pulse:
    """Takes the looks. Every method blocks on the database, and raises `database_away`."""

    def __init__(
        self,
        census: Census,
        servers: Servers,
        floor: DiskFloor,
        *,
        workflows: Collection[str],
        lags: Histogram,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`census` should be one that gives up soon; `workflows` are those to count."""
        self._census = census
        self._servers = servers
        self._floor = floor
        self._workflows = tuple(workflows)
        self._lags = lags
        self._clock = clock
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._health: Health | None = None
        self._read_to_us = 0
        self._ended: Counter[tuple[str, State]] = Counter()
        self._durations = Histogram(_DURATIONS_S)
        self._waits = Histogram(_WAITS_S)

    def health(self) -> Health:
        """Look at the house; at most a second old."""
        with self._lock:
            return self._look()

    def metrics(self) -> Metrics:
        """Count for a monitor."""
        with self._lock:
            health = self._look()
            self._read_ended()
            return Metrics(
                health=health,
                open_jobs=self._census.open_jobs(self._workflows),
                ended=dict(self._ended),
                durations_s=self._durations.read(),
                waits_s=self._waits.read(),
                lags_s=self._lags.read(),
            )

    def _look(self) -> Health:
        if self._health is None or self._clock() - self._at >= _KEPT_S:
            counts = self._census.counts()
            if not self._read_to_us:
                self._read_to_us = counts.now_us
            self._health = Health(
                servers=self._servers.views(),
                workers=self._servers.workers(),
                waiting=counts.waiting,
                running=counts.running,
                accepted=counts.accepted,
                disk_free_bytes=self._floor.free_bytes(),
                disk_floor_bytes=self._floor.floor_bytes,
            )
            self._at = self._clock()
        return self._health

    def _read_ended(self) -> None:
        """Count what ended since the last time. The newest wait: a row may be late for its time."""
        upto_us = self._census.counts().now_us - _SETTLED_US
        if upto_us <= self._read_to_us:
            return
        for job in self._census.ended_between(self._read_to_us, upto_us, self._workflows):
            self._count(job)
        self._read_to_us = upto_us

    def _count(self, job: Ended) -> None:
        self._ended[job.workflow, job.state] += 1
        if job.started_us:
            self._waits.observe((job.started_us - job.created_us) / 1e6)
            if job.state is State.COMPLETED:
                self._durations.observe((job.ended_us - job.started_us) / 1e6)
