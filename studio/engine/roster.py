"""Who works: the processes that run jobs, each telling every ten seconds that it is there.

And what it says of its ComfyUIs, for processes that do not reach them. Knows two tables; knows no
job and no ComfyUI. Nothing depends on a row here but what people see and which orders are refused:
a job's lease alone says whether its worker still has it.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from studio.engine.database import Database
from studio.engine.records import WorkerRow
from studio.engine.rounds import Rounds

log = logging.getLogger("studio.roster")

TELL_S: Final = 10.0
"""How often a worker process tells that it is there, in seconds."""
OFFLINE_S: Final = 30.0
"""A worker process unheard for longer is offline."""
FORGET_S: Final = 86_400.0
"""When the row of one that died is taken away."""


_WRITTEN_AGAIN_US: Final = 3_600_000_000


@dataclass(frozen=True, slots=True)
class ServerTold:
    """One ComfyUI as a worker tells of it: `ServerStatus` without its address.

    `stock` is the digest under which the records keep what it has; empty while that is not known.
    """

    name: str
    online: bool
    stand_in: bool = False
    version: str = ""
    queue_remaining: int = 0
    in_use: int = 0
    reason: str = ""
    stock: str = ""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that runs jobs. Times are UTC epoch microseconds by the database's clock.

    `places` is how many jobs it follows at most, `running` how many it does; `servers` are its
    ComfyUIs. `online`: it was heard within 30 s. `secret_mark` tells STUDIO_SECRETs apart.
    """

    name: str
    host: str
    pid: int
    started_us: int
    seen_us: int
    places: int
    running: int
    servers: tuple[ServerTold, ...]
    online: bool
    secret_mark: str = ""


def mark_of(secret: str) -> str:
    """Give a short mark of a secret, of which the secret cannot be guessed."""
    return hmac.new(secret.encode(), b"studio roster", hashlib.sha256).hexdigest()[:8]


def name_of_this_process() -> str:
    """Make a name no other process has or had: two containers may share host name and pid."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def strangers(workers: Iterable[Worker], secret_mark: str) -> list[Worker]:
    """List those that answer and have another STUDIO_SECRET: what they sign, we do not believe."""
    return [one for one in workers if one.online and one.secret_mark not in ("", secret_mark)]


class Roster:
    """Tells of this process while it runs, and lists all that do.

    `running` counts the jobs it has now, `servers` tells of its ComfyUIs, and `stocks` gives what
    they have by digest. `database` need not be patient: what could not be told is told ten seconds
    later.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        places: int,
        running: Callable[[], int],
        servers: Callable[[], Sequence[ServerTold]],
        stocks: Callable[[], Mapping[str, str]] = dict,
        secret_mark: str = "",
        tell_s: float = TELL_S,
    ) -> None:
        self._db = database
        self._rows = database.tables.worker
        self._stock_rows = database.tables.stock
        self._name = name
        self._places = places
        self._running = running
        self._servers = servers
        self._stocks = stocks
        self._secret_mark = secret_mark
        self._written: dict[str, int] = {}
        trouble = "could not tell that this worker is there"
        self._rounds = Rounds(self.tell, "studio-roster", every_s=tell_s, trouble=trouble, log=log)
        self._started_us = 0

    def start(self) -> None:
        """Begin to tell that this process is there."""
        self._rounds.start()

    def stop(self) -> None:
        """Take this process off the list."""
        if not self._rounds.stop():
            return
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

    def stocks(self, digests: Sequence[str]) -> dict[str, str]:
        """Give what the servers of those digests have, as their workers wrote it."""
        row = self._stock_rows
        query = row.select().where(row.digest.in_(list(digests)))
        found = self._db.read(lambda: list(query)) if digests else []
        return {str(one.digest): str(one.told) for one in found}

    def tell_soon(self) -> None:
        """Say that something changed that others want to know. Does not wait."""
        self._rounds.soon()

    def tell(self) -> None:
        """Write once that this process is there, and take away rows of the long dead."""
        self._db.tx(self._tell)

    def _tell(self) -> None:
        row, now = self._rows, self._db.now_us()
        servers = list(self._servers())
        self._write_stocks(now, {server.stock for server in servers})
        self._started_us = self._started_us or now
        told: dict[str, object] = {
            "seen_us": now,
            "places": self._places,
            "running": self._running(),
            "servers": [asdict(server) for server in servers],
            "secret_mark": self._secret_mark,
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

    def _write_stocks(self, now: int, told: set[str]) -> None:
        """Write what the servers have where that is new, and take away what nobody tells of."""
        row, stocks = self._stock_rows, self._stocks()
        for digest in told & stocks.keys():
            if now - self._written.get(digest, 0) < _WRITTEN_AGAIN_US:
                continue
            new = row.insert(digest=digest, told=stocks[digest], seen_us=now)
            new.on_conflict_ignore().execute()
            row.update(seen_us=now).where(row.digest == digest).execute()
            self._written[digest] = now
        row.delete().where(row.seen_us < now - round(FORGET_S * 1e6)).execute()


def _worker(row: WorkerRow, now_us: int) -> Worker:
    return Worker(
        name=str(row.worker),
        host=str(row.host),
        pid=int(row.pid),
        started_us=int(row.started_us),
        seen_us=int(row.seen_us),
        places=int(row.places),
        running=int(row.running),
        servers=tuple(_server(told) for told in row.servers),
        secret_mark=str(row.secret_mark),
        online=now_us - int(row.seen_us) <= OFFLINE_S * 1e6,
    )


def _server(told: Any) -> ServerTold:
    """Read what a worker told; one of an earlier version gave the names of those that answer."""
    if isinstance(told, str):
        return ServerTold(told, online=True)
    known = ServerTold.__dataclass_fields__
    return ServerTold(**{name: value for name, value in told.items() if name in known})
