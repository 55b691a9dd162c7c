"""The ComfyUIs of the whole house, as one process knows them.

Its own fleet it sees; of the others it knows what their workers tell in the records. So a web
process with other `COMFY_URLS` than its workers, or none, refuses and shows what is true for them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from studio.engine.comfy.fleet import STARTING, Fleet, ServerStatus
from studio.engine.roster import Roster, ServerTold, Worker
from studio.engine.stocks import Stocks
from studio.engine.verdicts import Known, ServerReport, Verdicts, unpack
from studio.engine.workflow.preflight import Lack
from studio.errors import StudioError

log = logging.getLogger("studio.servers")

KEEP_S: Final = 2.0
"""How long what the workers tell is believed without asking again."""

_AGAIN_S: Final = 0.2
_VERDICTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Told:
    """What the records said of the workers at one moment."""

    workers: tuple[Worker, ...] = ()
    servers: Mapping[str, ServerTold] = field(default_factory=dict)


class Servers:
    """All servers of the house. Methods block on the database now and then, for a moment.

    `own` is what this process serves itself; None in one that only shows the page. `me` is the
    name of this process in the roster, whose row is not asked about itself. While the database is
    away the last that was told counts.
    """

    def __init__(
        self,
        roster: Roster,
        verdicts: Verdicts,
        own: tuple[Fleet, Stocks] | None,
        *,
        me: str,
        keep_s: float = KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roster = roster
        self._verdicts = verdicts
        self._own = own
        self._me = me
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._told = _Told()
        self._read_at = float("-inf")
        self._stocks: dict[str, Known] = {}
        self._waits: dict[tuple[str, str], tuple[float, tuple[Lack, ...]]] = {}

    # How they are -------------------------------------------------------------------------

    def views(self) -> tuple[ServerStatus, ...]:
        """Tell how every server is: our own first, then those of the other workers."""
        own = {view.name: view for view in self._own[0].views()} if self._own else {}
        far = {n: _status(told) for n, told in self._look().servers.items() if n not in own}
        return (*own.values(), *far.values())

    def workers(self) -> tuple[Worker, ...]:
        """Tell which processes run jobs, those that answer first."""
        return self._look().workers

    @property
    def nobody_works(self) -> bool:
        """Tell whether no process is there to run a job."""
        return self._own is None and not any(one.online for one in self._look().workers)

    @property
    def any_there(self) -> bool:
        """Tell whether a server answers, or is looked for just now."""
        return any(view.online or view.reason == STARTING for view in self.views())

    def choices(self, folder: str) -> tuple[str, ...]:
        """List the models of one kind on every server, the first server's first."""
        names = dict.fromkeys(self._own[0].choices(folder) if self._own else ())
        for known in self._far().values():
            names |= dict.fromkeys(known.stock.listed(folder) if known is not None else ())
        return tuple(names)

    # What they lack -----------------------------------------------------------------------

    def reports(self, workflow: str) -> tuple[ServerReport, ...]:
        """Say for each online server that is known what it lacks for a workflow."""
        return self._verdicts.reports(self._known(), workflow)

    def idle(self, workflow: str) -> dict[str, str]:
        """Name the fields that no server which can run the workflow has the node for, with it."""
        return self._verdicts.idle(self._known(), workflow)

    def waits(self, job_id: str, workflow: str, values: Mapping[str, Any]) -> tuple[Lack, ...]:
        """Say what a waiting job waits for: the lacks of the first server, when none will do.

        Remembered by job for a moment, since every follower asks again each few seconds.
        """
        key, now = (job_id, workflow), self._clock()
        with self._lock:
            at, lacks = self._waits.get(key, (float("-inf"), ()))
        if now - at < self._keep_s:
            return lacks
        lacks = self._verdicts.nobody(self._known(), workflow, values)
        with self._lock:
            if len(self._waits) >= _VERDICTS:
                self._waits.clear()
            self._waits[key] = now, lacks
        return lacks

    def require(self, workflow: str, values: Mapping[str, Any]) -> None:
        """Raise `missing_node` or `missing_model` when no online server can run these values.

        Before it refuses, our own are asked anew: the host may have put the file there just now.
        """
        lacks = self._verdicts.nobody(self._known(), workflow, values)
        if lacks and self._own is not None and self._own[1].refresh_if_old():
            lacks = self._verdicts.nobody(self._known(), workflow, values)
        if lacks:
            raise lacks[0].error()

    # Reading ------------------------------------------------------------------------------

    def _known(self) -> dict[str, Known | None]:
        """Give what is known of every server that takes jobs, our own and others'."""
        return self._far() | (self._own[1].known() if self._own else {})

    def _far(self) -> dict[str, Known | None]:
        told = self._look().servers
        return {name: self._stocks.get(one.stock) for name, one in told.items() if one.online}

    def _look(self) -> _Told:
        with self._lock:
            age_s = self._clock() - self._read_at
            if age_s >= self._keep_s or (age_s >= _AGAIN_S and self._untold()):
                try:
                    self._told = self._read()
                except StudioError as error:
                    log.warning("what the workers tell is not known now: %s", error)
                self._read_at = self._clock()
            return self._told

    def _untold(self) -> bool:
        """Tell whether this process, which runs jobs, has not told of itself yet: it just began."""
        return self._own is not None and all(one.name != self._me for one in self._told.workers)

    def _read(self) -> _Told:
        workers = tuple(self._roster.workers())
        servers = _merged([one for one in workers if one.name != self._me])
        wanted = {one.stock for one in servers.values() if one.stock}
        fresh = self._roster.stocks(sorted(wanted - self._stocks.keys()))
        kept = {digest: known for digest, known in self._stocks.items() if digest in wanted}
        new = {digest: self._verdicts.known(unpack(text)) for digest, text in fresh.items()}
        self._stocks = kept | new
        return _Told(workers, servers)


def told_by(workers: Sequence[Worker]) -> tuple[ServerStatus, ...]:
    """Tell how the servers are of which the workers that answer tell."""
    return tuple(_status(told) for told in _merged(workers).values())


def _merged(workers: Sequence[Worker]) -> dict[str, ServerTold]:
    """Put together what several workers tell of one server: it is there when one reaches it."""
    found: dict[str, ServerTold] = {}
    for told in (server for worker in workers if worker.online for server in worker.servers):
        other = found.get(told.name)
        if other is None:
            found[told.name] = told
            continue
        best = min(other, told, key=lambda one: (not one.online, bool(one.reason)))
        found[told.name] = replace(best, in_use=other.in_use + told.in_use)
    return found


def _status(told: ServerTold) -> ServerStatus:
    return ServerStatus(
        name=told.name,
        url="",
        online=told.online,
        stand_in=told.stand_in,
        version=told.version,
        queue_remaining=told.queue_remaining,
        in_use=told.in_use,
        reason=told.reason,
    )
