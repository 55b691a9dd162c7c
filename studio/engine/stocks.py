"""What each ComfyUI of the fleet has, held against what each workflow needs.

Kept in memory and asked again now and then, and whenever a server comes or goes. A server that
was not asked yet is never held to lack anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from studio.engine.comfy.fleet import Fleet, Server
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.preflight import Lack, Preflight, Report, Stock
from studio.errors import StudioError

log = logging.getLogger("studio.stocks")

KEEP_S: Final = 30.0
"""How long a server's lists are believed: a model file put there is seen after this time."""

_FRESH_S: Final = 2.0
_VERDICTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What one online server lacks for one workflow."""

    server: str
    report: Report


@dataclass(frozen=True, slots=True)
class _Known:
    """A server's stock, and what follows from it for every workflow."""

    stock: Stock
    reports: Mapping[str, Report]
    hopeless: frozenset[str]
    idle: Mapping[str, Mapping[str, str]]


class Stocks:
    """Asks the servers of a fleet what they have. Safe to use from many threads."""

    def __init__(
        self,
        fleet: Fleet,
        catalog: Catalog,
        *,
        refuses: bool = True,
        keep_s: float = KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refuses=False` is for a process whose fleet is not that of the workers: it knows less
        than they do, and `require` raises nothing.
        """
        self._refuses = refuses
        self._fleet = fleet
        self._catalog = catalog
        self._keep_s = keep_s
        self._clock = clock
        self._preflight = cache(lambda name: Preflight(catalog.workflow(name)))
        self._lock = threading.Lock()
        self._stocks: dict[str, _Known] = {}
        self._asked_at = float("-inf")
        self._verdicts: dict[tuple[str, str], tuple[Lack, ...]] = {}
        self._ringers: list[Callable[[], None]] = []
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._asked = threading.Condition()
        self._rounds = 0
        self._thread: threading.Thread | None = None
        fleet.on_change(self._wake.set)

    # Life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask, in a thread of its own."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._watch, name="studio-stocks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the asking. An answer that is being waited for is not waited for here."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def on_change(self, fn: Callable[[], None]) -> None:
        """Call `fn` when what some server has is another than before."""
        self._ringers.append(fn)

    def refresh(self) -> None:
        """Ask every online server now. Blocks on the network."""
        asked = {server.name: self._ask(server) for server in self._fleet.usable()}
        found = {name: self._known(stock) for name, stock in asked.items() if stock is not None}
        with self._lock:
            changed = found != self._stocks
            self._stocks = found
            self._asked_at = self._clock()
            self._verdicts.clear()
        with self._asked:
            self._rounds += 1
            self._asked.notify_all()
        for ring in list(self._ringers) if changed else ():
            ring()

    def wait_known(self, timeout_s: float) -> bool:
        """Wait until every server that is online was asked; tell whether that is so."""
        ends = self._clock() + timeout_s
        with self._asked:
            while not self._all_known():
                left = ends - self._clock()
                if left <= 0:
                    return False
                self._asked.wait(min(left, 0.2))
        return True

    # Questions ----------------------------------------------------------------------------

    def reports(self, workflow: str) -> tuple[ServerReport, ...]:
        """Say for each online server that was asked what it lacks for a workflow."""
        return tuple(
            ServerReport(name, known.reports[workflow])
            for name, known in self._online().items()
            if workflow in known.reports
        )

    def idle(self, workflow: str) -> dict[str, str]:
        """Name the fields that no server which can run the workflow has the node for, with it."""
        known = [one.idle[workflow] for one in self._online().values() if workflow in one.idle]
        if not known:
            return {}
        return {name: node for name, node in known[0].items() if all(name in one for one in known)}

    def unfit(self, workflow: str, values: Mapping[str, Any]) -> dict[str, tuple[Lack, ...]]:
        """Give the online servers that cannot run these checked values, and what they lack."""
        preflight = self._preflight(workflow)
        lacks = {
            name: ()
            if _complete(known.reports[workflow]) and preflight.chosen(values, known.stock)
            else preflight.job(values, known.stock)
            for name, known in self._online().items()
        }
        return {name: found for name, found in lacks.items() if found}

    def hopeless(self, server: Server) -> frozenset[str]:
        """Name the workflows of which this server can run no form at all.

        One that came just now is asked on the spot: blocks on the network then.
        """
        known = self._online().get(server.name) or self._learn(server)
        return frozenset() if known is None else known.hopeless

    def waits(self, job_id: str, workflow: str, values: Mapping[str, Any]) -> tuple[Lack, ...]:
        """Say what a waiting job waits for: the lacks of the first server, when none will do.

        Remembered by job, since every follower asks again each few seconds.
        """
        key = (job_id, workflow)
        with self._lock:
            if key in self._verdicts:
                return self._verdicts[key]
        lacks = self._nobody(workflow, values)
        with self._lock:
            if len(self._verdicts) < _VERDICTS:
                self._verdicts[key] = lacks
        return lacks

    def require(self, workflow: str, values: Mapping[str, Any]) -> None:
        """Raise `missing_node` or `missing_model` when no online server can run these values.

        Before it refuses it asks anew: the host may have put the file there just now.
        """
        if not self._refuses:
            return
        lacks = self._nobody(workflow, values)
        if lacks and self._clock() - self._asked_at > _FRESH_S:
            self.refresh()
            lacks = self._nobody(workflow, values)
        if lacks:
            raise lacks[0].error()

    # Asking -------------------------------------------------------------------------------

    def _nobody(self, workflow: str, values: Mapping[str, Any]) -> tuple[Lack, ...]:
        """Give the first server's lacks, when every online server has some; else ()."""
        if workflow not in self._catalog.workflows:
            return ()
        unfit = self.unfit(workflow, values)
        online = self._fleet.usable()
        if not online or any(server.name not in unfit for server in online):
            return ()
        return min(unfit.values(), key=len)

    def _online(self) -> dict[str, _Known]:
        with self._lock:
            stocks = self._stocks
        return {s.name: stocks[s.name] for s in self._fleet.usable() if s.name in stocks}

    def _known(self, stock: Stock) -> _Known:
        reports = {name: self._preflight(name).report(stock) for name in self._catalog.workflows}
        hopeless = frozenset(name for name, report in reports.items() if not report.fit)
        idle = {name: self._preflight(name).idle(stock) for name in reports if name not in hopeless}
        return _Known(stock, reports, hopeless, idle)

    def _all_known(self) -> bool:
        online = self._fleet.usable()
        with self._lock:
            return bool(online) and all(server.name in self._stocks for server in online)

    def _learn(self, server: Server) -> _Known | None:
        stock = self._ask(server)
        if stock is None:
            return None
        known = self._known(stock)
        with self._lock:
            self._stocks = {server.name: known} | self._stocks
        return known

    def _folders(self) -> set[str]:
        return {f for name in self._catalog.workflows for f in self._preflight(name).folders}

    def _ask(self, server: Server) -> Stock | None:
        client = server.client
        try:
            return Stock(
                version=client.system().version,
                nodes=frozenset(client.definitions()),
                models={folder: client.models(folder) for folder in sorted(self._folders())},
            )
        except StudioError as error:
            log.warning("what %s has is not known: %s", server.name, error)
            return None

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self.refresh()
            except Exception:
                # The loop's edge: what a ringer or an odd answer does must not end the asking.
                log.exception("asking what the servers have met a fault of its own")
            self._wake.wait(self._keep_s)


def _complete(report: Report) -> bool:
    """Tell whether not even an optional part is missing: then only chosen files can be."""
    return not report.nodes and not report.models
