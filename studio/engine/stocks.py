"""What each ComfyUI of the fleet has, held against what each workflow needs.

Kept in memory and asked again now and then, and whenever a server comes or goes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from studio.engine.comfy.fleet import Fleet, Server
from studio.engine.roster import ServerTold
from studio.engine.rounds import Rounds
from studio.engine.verdicts import Known, Verdicts, pack
from studio.engine.workflow.preflight import Lack, Stock
from studio.errors import StudioError

log = logging.getLogger("studio.stocks")

KEEP_S: Final = 30.0
"""How long a server's lists are believed: a model file put there is seen after this time."""

_FRESH_S: Final = 2.0


class Stocks:
    """Asks the servers of a fleet what they have. Safe to use from many threads."""

    def __init__(
        self,
        fleet: Fleet,
        verdicts: Verdicts,
        *,
        keep_s: float = KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._verdicts = verdicts
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Known] = {}
        self._asked_at = float("-inf")
        self._ringers: list[Callable[[], None]] = []
        self._asked = threading.Condition()
        trouble = "asking what the servers have met a fault of its own"
        self._rounds = Rounds(
            self.refresh, "studio-stocks", every_s=keep_s, trouble=trouble, log=log
        )
        fleet.on_change(self._rounds.soon)

    # Life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask, in a thread of its own."""
        self._rounds.start()

    def stop(self) -> None:
        """End the asking. An answer that is being waited for is not waited for here."""
        self._rounds.stop()

    def on_change(self, fn: Callable[[], None]) -> None:
        """Call `fn` when what some server has is another than before."""
        self._ringers.append(fn)

    def refresh(self) -> None:
        """Ask every online server now. Blocks on the network."""
        asked = {server.name: self._ask(server) for server in self._fleet.usable()}
        found = {n: self._verdicts.known(stock) for n, stock in asked.items() if stock is not None}
        with self._lock:
            changed = found != self._known
            self._known = found
            self._asked_at = self._clock()
        if changed:
            self._ring()
        with self._asked:
            self._asked.notify_all()

    def refresh_if_old(self) -> bool:
        """Ask anew unless that was done just now; tell whether it was done."""
        if self._clock() - self._asked_at <= _FRESH_S:
            return False
        self.refresh()
        return True

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

    def known(self) -> dict[str, Known | None]:
        """Give what is known of each online server; None for one that was not asked yet."""
        with self._lock:
            known = self._known
        return {server.name: known.get(server.name) for server in self._fleet.usable()}

    def unfit(self, workflow: str, values: Mapping[str, Any]) -> dict[str, tuple[Lack, ...]]:
        """Give the online servers that cannot run these checked values, and what they lack."""
        return self._verdicts.unfit(self.known(), workflow, values)

    def hopeless(self, server: Server) -> frozenset[str]:
        """Name the workflows of which this server can run no form at all.

        One that came just now is asked on the spot: blocks on the network then.
        """
        known = self.known().get(server.name) or self._learn(server)
        return frozenset() if known is None else known.hopeless

    def told(self) -> tuple[ServerTold, ...]:
        """Give how each server of the fleet is, for the roster."""
        known = self.known()
        return tuple(
            ServerTold(
                name=view.name,
                online=view.online,
                stand_in=view.stand_in,
                version=view.version,
                queue_remaining=view.queue_remaining,
                in_use=view.in_use,
                reason=view.reason,
                stock=pack(one.stock)[0] if (one := known.get(view.name)) else "",
            )
            for view in self._fleet.views()
        )

    def packed(self) -> dict[str, str]:
        """Give what the servers have as the records keep it, by digest."""
        return dict(pack(one.stock) for one in self.known().values() if one is not None)

    # Asking -------------------------------------------------------------------------------

    def _all_known(self) -> bool:
        known = self.known()
        return bool(known) and all(one is not None for one in known.values())

    def _learn(self, server: Server) -> Known | None:
        stock = self._ask(server)
        if stock is None:
            return None
        known = self._verdicts.known(stock)
        with self._lock:
            changed = server.name not in self._known
            self._known = {server.name: known} | self._known
        if changed:
            self._ring()
        return known

    def _ring(self) -> None:
        for ring in list(self._ringers):
            ring()

    def _ask(self, server: Server) -> Stock | None:
        client = server.client
        try:
            return Stock(
                version=client.system().version,
                nodes=frozenset(client.definitions()),
                models={name: client.models(name) for name in sorted(self._verdicts.folders)},
            )
        except StudioError as error:
            log.warning("what %s has is not known: %s", server.name, error)
            return None
