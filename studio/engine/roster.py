"""Who works: the processes that run jobs, each telling every ten seconds that it is there.

Knows one table; knows no job and no ComfyUI. Nothing depends on a row here but what people see:
a job's lease alone says whether its worker still has it.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from studio.engine.database import Database
from studio.engine.records import WorkerRow

log = logging.getLogger("studio.roster")

TELL_S: Final = 10.0
"""How often a worker process tells that it is there, in seconds."""
OFFLINE_S: Final = 30.0
"""A worker process unheard for longer is offline."""
FORGET_S: Final = 86_400.0
"""When the row of one that died is taken away."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that runs jobs. Times are UTC epoch microseconds by the database's clock.

    `places` is how many jobs it follows at most, `running` how many it does; `servers` are the
    names of its ComfyUIs that answer. `online`: it was heard within 30 s.
    """

    name: str
    host: str
    pid: int
    started_us: int
    seen_us: int
    places: int
    running: int
    servers: tuple[str, ...]
    online: bool


def name_of_this_process() -> str:
    """Make a name no other process has or had: two containers may share host name and pid."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


class Roster:
    """Tells of this process while it runs, and lists all that do.

    `running` counts the jobs it has now, `servers` names its ComfyUIs that answer. `database` need
    not be patient: what could not be told is told ten seconds later.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        places: int,
        running: Callable[[], int],
        servers: Callable[[], Sequence[str]],
        tell_s: float = TELL_S,
    ) -> None:
        self._db = database
        self._rows = database.tables.worker
        self._name = name
        self._places = places
        self._running = running
        self._servers = servers
        self._tell_s = tell_s
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._started_us = 0

    def start(self) -> None:
        """Begin to tell that this process is there."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._tell_loop, name="studio-roster", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take this process off the list."""
        self._stopped.set()
        if self._thread is None:
            return
        self._thread.join(timeout=5)
        self._thread = None
        try:
            self._db.tx(self._rows.delete().where(self._rows.worker == self._name).execute)
        except Exception:
            # The edge of a stop: who goes without a word is offline after 30 s all the same.
            log.exception("could not sign off")

    def workers(self) -> list[Worker]:
        """List the worker processes, those that answer first, each group by age."""
        rows = self._db.read(lambda: list(self._rows.select()))
        now = self._db.now_us()
        found = [_worker(row, now) for row in rows]
        return sorted(found, key=lambda one: (not one.online, one.started_us, one.name))

    def tell(self) -> None:
        """Write once that this process is there, and take away rows of the long dead."""
        self._db.tx(self._tell)

    def _tell(self) -> None:
        row, now = self._rows, self._db.now_us()
        self._started_us = self._started_us or now
        told: dict[str, object] = {
            "seen_us": now,
            "places": self._places,
            "running": self._running(),
            "servers": list(self._servers()),
        }
        fixed: dict[str, object] = {
            "worker": self._name,
            "host": socket.gethostname()[:255],
            "pid": os.getpid(),
            "started_us": self._started_us,
        }
        row.insert(**fixed, **told).on_conflict_ignore().execute()
        row.update(**told).where(row.worker == self._name).execute()
        row.delete().where(row.seen_us < now - round(FORGET_S * 1e6)).execute()

    def _tell_loop(self) -> None:
        while True:
            try:
                self.tell()
            except Exception:
                # The loop's edge: a database away for a while must not make a worker unseen.
                log.exception("could not tell that this worker is there")
            if self._stopped.wait(self._tell_s):
                return


def _worker(row: WorkerRow, now_us: int) -> Worker:
    return Worker(
        name=str(row.worker),
        host=str(row.host),
        pid=int(row.pid),
        started_us=int(row.started_us),
        seen_us=int(row.seen_us),
        places=int(row.places),
        running=int(row.running),
        servers=tuple(str(name) for name in row.servers),
        online=now_us - int(row.seen_us) <= OFFLINE_S * 1e6,
    )
