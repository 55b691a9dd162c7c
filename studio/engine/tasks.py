"""The doorbell: wakes workers when there is work, and looks round in case a ring was lost.

A ring carries no truth. The rows say what is to be done; losing a ring, or hearing it twice, harms
nothing. So Huey, which acknowledges nothing in any storage, is enough. Knows no job and no runner.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huey.api import Huey
from huey.consumer import Consumer
from huey.serializer import SignedSerializer
from huey.storage import PriorityRedisStorage, SqliteStorage
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger("studio.tasks")

SWEEP_S: Final = 1.0
"""How long a lost ring or an expired lease may wait to be noticed."""
CHORE_LOOK_S: Final = 60.0
"""A chore is asked for this often at least, so that its row decides and not our start."""
HEALTH_S: Final = 10.0
"""How often dead worker threads are looked for."""
_POLL_S: Final = 0.5
_BACK_S: Final = 1.0
"""How long a worker rests at most between two looks for a Redis that is away."""


class WakeSqlite(SqliteStorage):  # type: ignore[misc]  # huey has no types
    """Huey's SQLite queue, whose workers in this process are woken at once.

    Rings of another process on the same file are seen within half a second.
    """

    blocking = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._rung = threading.Condition()
        self._rings = 0
        super().__init__(*args, **kwargs)

    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        # A ring lost in a power cut is rung again by the sweeper: no sync at every commit.
        connection.execute("PRAGMA synchronous = normal")
        return connection

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        """Add a ring and wake one worker."""
        super().enqueue(data, priority)
        with self._rung:
            self._rings += 1
            self._rung.notify()

    def dequeue(self) -> bytes | None:
        """Take a ring, waiting up to half a second for one."""
        seen = self._rings
        data: bytes | None = super().dequeue()
        if data is not None:
            return data
        with self._rung:
            if self._rings == seen:
                self._rung.wait(_POLL_S)
        late: bytes | None = super().dequeue()
        return late

    def wake_all(self) -> None:
        """Let every waiting worker look at its stop flag."""
        with self._rung:
            self._rings += 1
            self._rung.notify_all()


class PatientRedis(PriorityRedisStorage):  # type: ignore[misc]  # huey has no types
    """Huey's priority queue on Redis (6 or later), which nothing here waits for long.

    A pop that blocks longer than the socket waits would be given up while the server still holds
    it, and could swallow a ring: half a second is well below.
    """

    def __init__(self, name: str, *, url: str) -> None:
        pool = ConnectionPool.from_url(
            url,
            socket_timeout=2 * _POLL_S,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=10,
        )
        super().__init__(name, connection_pool=pool, blocking=True, read_timeout=_POLL_S)

    def wake_all(self) -> None:
        """Do nothing: every waiting worker looks at its stop flag within half a second."""

    def close(self) -> None:
        """Close every connection."""
        self.pool.disconnect()


class Embedded(Consumer):  # type: ignore[misc]  # huey has no types
    """Huey's consumer inside our process: it leaves the signal handlers to the app."""

    def _set_signal_handlers(self) -> None:
        pass


@dataclass(slots=True)
class _Chore:
    """Something to be done now and then, by one process of all."""

    name: str
    every_s: float
    run: Callable[[], object]
    look_at: float = float("-inf")


class Doorbell:
    """Rings for work, runs the workers of this process, and sweeps.

    `queue` is a file, or a `redis://` address where the workers are on several machines.
    `work` does one job at most and tells whether there was one. `waiting` counts the jobs that are
    due, `free_slots` how many could start now; `reap` takes back expired leases. `take_chore(name,
    every_s)` tells whether this process is the one to do a chore now.
    """

    def __init__(
        self,
        queue: Path | str,
        work: Callable[[], bool],
        *,
        waiting: Callable[[], int],
        free_slots: Callable[[], int],
        reap: Callable[[], int],
        take_chore: Callable[[str, float], bool],
        secret: str | None = None,
        sweep_s: float = SWEEP_S,
        chore_look_s: float = CHORE_LOOK_S,
        health_s: float = HEALTH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._waiting = waiting
        self._free_slots = free_slots
        self._reap = reap
        self._take_chore = take_chore
        self._sweep_s = sweep_s
        self._chore_look_s = chore_look_s
        self._health_s = health_s
        self._clock = clock
        self._chores: list[_Chore] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._consumer: Embedded | None = None
        self._huey = _open_queue(queue, secret)
        self._away = False
        self._try_again_at = float("-inf")
        # The name is fixed: a message of another name is taken from the queue and lost.
        self._pump = self._huey.task(name="pump")(self._pump_once)

    def ring(self) -> None:
        """Say that there is work. Never raises: the row is written, and the sweeper rings too."""
        if self._stopping.is_set() or self._clock() < self._try_again_at:
            return
        try:
            self._pump()
            self._came_back()
        except RedisError as error:
            self._try_again_at = self._clock() + _BACK_S
            self._went_away(error)
        except Exception:
            # The edge of a submit that has succeeded already, whatever the queue's storage says.
            log.exception("the doorbell could not be rung; the sweeper will")

    def add_chore(self, name: str, every_s: float, run: Callable[[], object]) -> None:
        """Have `run` called each `every_s` seconds by one process of all. Call before `start`."""
        self._chores.append(_Chore(name, every_s, run))

    @property
    def chores(self) -> dict[str, Callable[[], object]]:
        """Give the chores by name, for who does one by hand."""
        return {chore.name: chore.run for chore in self._chores}

    def start(self, workers: int) -> None:
        """Start so many workers, each running one job at a time, and the sweeper.

        With 0 this process only rings and sweeps nothing: it is a web process.
        """
        if workers < 1:
            return
        self._stopping.clear()
        self._consumer = Embedded(
            self._huey,
            workers=workers,
            periodic=False,
            check_worker_health=False,
            scheduler_interval=60,
            max_delay=_BACK_S,
        )
        self._consumer.start()
        self._spawn("studio-sweeper", self._sweep_loop)
        if self._chores:
            self._spawn("studio-chores", self._chore_loop)

    def stop(self, grace_s: float) -> bool:
        """End sweeper and workers; tell whether all ended within `grace_s`.

        A worker ends after the job it has. Who stops the jobs first stops sooner; so may be asked
        twice, with the jobs stopped in between.
        """
        self._stopping.set()
        end = self._clock() + grace_s
        if self._consumer is not None:
            self._consumer.stop_flag.set()
            self._huey.storage.wake_all()
            self._threads += [thread for _, thread in self._consumer.worker_threads]
            self._threads.append(self._consumer.scheduler)
            self._consumer = None
        self._threads = [one for one in self._threads if not _joined(one, end - self._clock())]
        for thread in self._threads:
            log.warning("still busy after %.1f s of grace: %s", grace_s, thread.name)
        if not self._threads:
            self._huey.storage.close()
        return not self._threads

    def _pump_once(self) -> None:
        """Do one job, then ring for the next: a graceful stop waits for one job only."""
        if self._stopping.is_set():
            return
        try:
            found = self._work()
        except Exception:
            # The loop's edge: a worker outlives any job. The sweeper rings, so no fault spins here.
            log.exception("the work met a fault of its own")
            return
        if found:
            self._ring_for_waiting()

    def _ring_for_waiting(self) -> None:
        """Ring once for each job that could start now and has no ring yet."""
        if self._stopping.is_set():
            return
        due = min(self._waiting(), self._free_slots())
        for _ in range(due - int(self._huey.storage.queue_size()) if due > 0 else 0):
            self.ring()

    def _sweep_loop(self) -> None:
        health_at = self._clock() + self._health_s
        while not self._stopping.wait(self._sweep_s):
            try:
                reaped = self._reap()
                if reaped:
                    log.warning("leases ran out, jobs wait again: %d", reaped)
                self._ring_for_waiting()
                if self._consumer is not None and self._clock() >= health_at:
                    health_at = self._clock() + self._health_s
                    self._consumer.check_worker_health()
            except RedisError as error:
                self._went_away(error)
            except Exception:
                # The loop's edge: the sweeper is what brings back all that went wrong elsewhere.
                log.exception("the sweeper met a fault; it goes on")

    def _chore_loop(self) -> None:
        while True:
            for chore in self._chores:
                if self._clock() >= chore.look_at:
                    chore.look_at = self._clock() + min(chore.every_s, self._chore_look_s)
                    self._do(chore)
                if self._stopping.is_set():
                    return
            if self._stopping.wait(self._sweep_s):
                return

    def _do(self, chore: _Chore) -> None:
        try:
            if self._take_chore(chore.name, chore.every_s):
                chore.run()
        except Exception:
            # The loop's edge: one chore's fault must not end the others.
            log.exception("a chore failed: %s", chore.name)

    def _went_away(self, error: Exception) -> None:
        if not self._away:
            log.warning(
                "the doorbell's Redis is away, the sweeper rings when it is back: %s", error
            )
        self._away = True

    def _came_back(self) -> None:
        if self._away:
            log.info("the doorbell's Redis is back")
        self._away = False

    def _spawn(self, name: str, loop: Callable[[], None]) -> None:
        thread = threading.Thread(target=loop, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _open_queue(queue: Path | str, secret: str | None) -> Any:
    """Open the queue; a broken file is made anew, since it holds nothing of worth."""
    if isinstance(queue, str):
        return _huey(secret, storage_class=PatientRedis, url=queue)
    queue.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _huey(secret, storage_class=WakeSqlite, filename=str(queue))
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        log.exception("the queue's file is broken; it is made anew")
        for part in (queue, *queue.parent.glob(f"{queue.name}-*")):
            part.unlink(missing_ok=True)
        return _huey(secret, storage_class=WakeSqlite, filename=str(queue))


def _huey(secret: str | None, **storage: Any) -> Any:
    """Make the Huey object. Its messages are pickles: unsigned ones would run a stranger's code."""
    serializer = SignedSerializer(secret=secret) if secret else None
    return Huey("studio", results=False, serializer=serializer, **storage)


def _joined(thread: threading.Thread, timeout_s: float) -> bool:
    thread.join(max(timeout_s, 0.0))
    return not thread.is_alive()
