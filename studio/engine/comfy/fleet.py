"""The ComfyUI servers of this process: health, slots, and the choice among them with reasons.

Knows no job and no person. Two words that matter: a *configured* server that is away is waited
for; the *stand-in* (the practice server) takes jobs only while nothing is configured and no real
server was ever seen.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Container, Sequence
from dataclasses import dataclass, field
from typing import Final

from studio import texts
from studio.engine.comfy.client import ComfyClient
from studio.errors import StudioError

log = logging.getLogger("studio.comfy")

STAND_IN: Final = "practice"
"""The stand-in's name in the ledger: its port is another at each start."""

_PROBE_TIMEOUT_S: Final = 3.0
_CHOICES_KEPT_S: Final = 30.0
_MISSES: Final = 4
_FIRST_REST_S: Final = 2.0
_LONGEST_REST_S: Final = 60.0
_SILENT_REST_S: Final = 15.0

# Text keys of `ServerStatus.reason`.
STARTING: Final = "server.reason.starting"
AWAY: Final = "server.reason.away"
FORBIDDEN: Final = "server.reason.forbidden"
ODD: Final = "server.reason.odd"
BUSY: Final = "server.reason.busy"
REFUSED: Final = "server.reason.refused"
RETIRED: Final = "server.reason.retired"
SICK: Final = "server.reason.sick"
SILENT: Final = "server.reason.silent"

_REASONS: Final = {"server_forbidden": FORBIDDEN, "server_answer": ODD, "server_refused": ODD}


@dataclass(frozen=True, slots=True)
class Server:
    """One server of the fleet. `name` is what the ledger keeps; `stand_in`: the practice server."""

    name: str
    url: str
    stand_in: bool
    client: ComfyClient


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How one server is. `reason` is a text key that says why it takes no jobs, empty when it does.

    `queue_remaining` counts the prompts of everybody on it; `in_use` our own slots.
    """

    name: str
    url: str
    online: bool
    stand_in: bool
    version: str
    queue_remaining: int
    in_use: int
    reason: str


class Slot:
    """The right to keep one prompt on a server. Give it back with `release`, or use `with`."""

    def __init__(self, server: Server, give_back: Callable[[], None]) -> None:
        self.server = server
        self.client = server.client
        self._give_back = give_back
        self._lock = threading.Lock()
        self._held = True

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        with self._lock:
            held, self._held = self._held, False
        if held:
            self._give_back()

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True)
class _Member:
    """What the fleet knows of one server; changed under the fleet's lock only."""

    server: Server
    online: bool = False
    version: str = ""
    trouble: str = STARTING
    misses: int = 0
    in_use: int = 0
    held_models: frozenset[str] = frozenset()
    listed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ailment: str = SICK
    rests_until: float = float("-inf")
    rest_s: float = 0.0


@dataclass(slots=True)
class _Listing:
    """Model names as last heard."""

    names: tuple[str, ...]
    at: float = field(default=0.0)


class Fleet:
    """The servers of this process. Safe to use from many threads."""

    def __init__(
        self,
        clients: Sequence[ComfyClient],
        *,
        stand_in: ComfyClient | None = None,
        configured: bool,
        slots: int = 2,
        probe_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`slots` prompts are kept on each server, so that its GPU never waits for us.

        `probe_s` is the time between two rounds of health checks, in seconds.
        """
        self._real = [_Member(Server(c.name, c.url, False, c)) for c in clients]
        self._spare = (
            _Member(Server(STAND_IN, stand_in.url, True, stand_in))
            if stand_in is not None
            else None
        )
        self._configured = configured
        self._slots = slots
        self._probe_s = probe_s
        self._clock = clock
        self._lock = threading.Lock()
        self._seen_real = False
        self._probed = False
        self._listings: dict[str, _Listing] = {}
        self._ringers: list[Callable[[], None]] = []
        self._stopped = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    # Life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Open every client and begin to check their health; returns at once."""
        self._stopped.clear()
        for member in self._members():
            member.server.client.on_link(self._wake.set)
            member.server.client.open()
        self._thread = threading.Thread(target=self._watch, name="comfy-fleet", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the health checks and close every client."""
        self._stopped.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=2 * _PROBE_TIMEOUT_S * max(1, len(self._real)))
        for member in self._members():
            member.server.client.close()

    def on_change(self, fn: Callable[[], None]) -> None:
        """Call `fn`, from the fleet's thread, when a server came or went."""
        self._ringers.append(fn)

    # Asking -------------------------------------------------------------------------------

    def views(self) -> tuple[ServerStatus, ...]:
        """Tell how every server is; the stand-in is told of only while it may take jobs."""
        with self._lock:
            members = [
                *self._real,
                *([self._spare] if self._spare and self._spare_serves() else []),
            ]
            return tuple(self._view(member) for member in members)

    def take(self, *, refuse: Container[str] = (), models: Collection[str] = ()) -> Slot | None:
        """Take a free slot on the best server that is online and well; None when there is none.

        The best is the least used; then the one that last ran most of `models` (file names), since
        loading them costs more than drawing; then the one with the shortest queue. `refuse` names
        servers that will not do for this job.
        """
        with self._lock:
            best = self._best(refuse, models)
            return None if best is None else self._hold(best)

    def trade(
        self, slot: Slot, *, refuse: Container[str] = (), models: Collection[str] = ()
    ) -> Slot | None:
        """Give a slot back for the best one there is, which may be the same server's."""
        with self._lock:
            own = self._named(slot.server.name)
            if own is not None:
                own.in_use -= 1
            best = self._best(refuse, models)
            if own is not None:
                own.in_use += 1
            taken = None if best is None else self._hold(best)
        slot.release()
        return taken

    def adopt(self, name: str) -> Slot | None:
        """Take a slot on a named server for a prompt it already has, even beyond the limit."""
        with self._lock:
            member = self._named(name)
            return None if member is None else self._hold(member)

    def why_none(self, *, refuse: Container[str] = (), language: str = texts.DEFAULT) -> str:
        """Say, for people and the log, why `take` gives nothing; empty when it would."""
        with self._lock:
            usable = self._usable()
            reasons = [(m.server.name, self._against(m, refuse)) for m in self._real]
            if self._spare is not None and self._spare_serves():
                reasons.append((self._spare.server.name, self._against(self._spare, refuse)))
            if any(not self._against(m, refuse) for m in usable):
                return ""
        if not reasons:
            return texts.text("server.reason.nobody", language)
        return " ".join(texts.text(key, language, server=name) for name, key in reasons if key)

    def another(self, name: str, *, refuse: Container[str] = ()) -> bool:
        """Tell whether a server beside `name` takes jobs and would do, be it busy just now."""
        with self._lock:
            return any(
                member.server.name != name and self._against(member, refuse) in ("", BUSY)
                for member in self._usable()
            )

    def find(self, name: str) -> Server | None:
        """Find a server by the name the ledger kept; None when it is no longer ours."""
        with self._lock:
            member = self._named(name)
            return None if member is None else member.server

    @property
    def names(self) -> tuple[str, ...]:
        """Name every server that is ours, away or not."""
        return tuple(member.server.name for member in self._members())

    def usable(self) -> tuple[Server, ...]:
        """List the servers that take jobs now, full ones included."""
        with self._lock:
            return tuple(member.server for member in self._usable())

    @property
    def free_slots(self) -> int:
        """Count the free slots on all servers that take jobs now."""
        with self._lock:
            well = [m for m in self._usable() if not self._against(m, ())]
            return sum(self._slots - m.in_use for m in well)

    def choices(self, folder: str) -> tuple[str, ...]:
        """List the models of one kind on every server that is ours, the first server's first.

        Kept for about 30 s. A server that does not answer now counts with what it last said: a
        person's choice of model must not go because a server blinked, and jobs wait for it.
        """
        now = self._clock()
        with self._lock:
            kept = self._listings.get(folder)
            usable = self._usable()
            members = usable if any(m.server.stand_in for m in usable) else self._real
        if kept is not None and now - kept.at < _CHOICES_KEPT_S:
            return kept.names
        names = dict.fromkeys(name for member in members for name in _models(member, folder))
        with self._lock:
            if names:
                self._listings[folder] = _Listing(tuple(names), now)
        return tuple(names)

    # What runs tell -----------------------------------------------------------------------

    def ran(self, name: str, models: Collection[str]) -> None:
        """Note which model files a server used just now; one that used none keeps what it has."""
        with self._lock:
            member = self._named(name)
            if member is not None and models:
                member.held_models = frozenset(models)

    def ails(self, name: str) -> None:
        """Let a server rest that answered badly: 2 s, then twice as long each time, to 60 s."""
        with self._lock:
            member = self._named(name)
            if member is not None:
                member.rest_s = min(max(_FIRST_REST_S, 2 * member.rest_s), _LONGEST_REST_S)
                self._let_rest(member, SICK, member.rest_s)

    def silent(self, name: str) -> None:
        """Give no more to a server that runs a prompt and says nothing, for 15 s from each call."""
        with self._lock:
            member = self._named(name)
            if member is not None:
                self._let_rest(member, SILENT, _SILENT_REST_S)

    def well(self, name: str) -> None:
        """End a server's rest, since it works."""
        with self._lock:
            member = self._named(name)
            if member is not None:
                member.rest_s, member.rests_until = 0.0, float("-inf")

    # Rules; all of them under the lock ------------------------------------------------------

    def _members(self) -> list[_Member]:
        return [*self._real, *([self._spare] if self._spare is not None else [])]

    def _named(self, name: str) -> _Member | None:
        return next((m for m in self._members() if m.server.name == name), None)

    def _spare_serves(self) -> bool:
        """Tell whether the stand-in takes jobs: nothing configured, nothing real ever seen."""
        return not self._configured and not self._seen_real

    def _usable(self) -> list[_Member]:
        """List the servers that take jobs now, full ones included."""
        real = [m for m in self._real if m.online]
        if real or self._spare is None or not self._spare_serves():
            return real
        return [self._spare] if self._spare.online and self._probed else []

    def _against(self, member: _Member, refuse: Container[str]) -> str:
        """Give the text key of what speaks against a server; empty when nothing does."""
        if not member.online:
            return member.trouble
        if member.server.stand_in and not self._spare_serves():
            return RETIRED
        if member.server.name in refuse:
            return REFUSED
        if self._clock() < member.rests_until:
            return member.ailment
        return BUSY if member.in_use >= self._slots else ""

    def _best(self, refuse: Container[str], models: Collection[str]) -> _Member | None:
        wanted = frozenset(models)
        return min(
            (m for m in self._usable() if not self._against(m, refuse)),
            key=lambda m: (
                m.in_use,
                len(wanted - m.held_models),
                m.server.client.queue_remaining,
            ),
            default=None,
        )

    def _let_rest(self, member: _Member, ailment: str, seconds: float) -> None:
        member.ailment, member.rests_until = ailment, self._clock() + seconds

    def _hold(self, member: _Member) -> Slot:
        member.in_use += 1
        return Slot(member.server, lambda: self._let_go(member))

    def _let_go(self, member: _Member) -> None:
        with self._lock:
            member.in_use -= 1

    def _view(self, member: _Member) -> ServerStatus:
        server = member.server
        return ServerStatus(
            name=server.name,
            url=server.url,
            online=member.online,
            stand_in=server.stand_in,
            version=member.version,
            queue_remaining=server.client.queue_remaining if member.online else 0,
            in_use=member.in_use,
            reason=self._against(member, ()),
        )

    # Health -------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            try:
                self.probe()
            except Exception:
                # The loop's edge: health checks must outlive whatever a ringer does.
                log.exception("the round of health checks met a fault of its own")
            self._wake.wait(self._probe_s)

    def probe(self) -> None:
        """Check every server once and ring when one came or went."""
        changes = [self._check(member) for member in self._members()]
        with self._lock:
            first, self._probed = not self._probed, True
            if any(changes):
                self._listings.clear()
        if any(changes) or first:
            for ring in list(self._ringers):
                ring()

    def _check(self, member: _Member) -> bool:
        """Ask one server how it is; tell whether it came or went."""
        client = member.server.client
        version, trouble = member.version, ""
        try:
            version = client.system(timeout_s=_PROBE_TIMEOUT_S).version
            client.remaining(timeout_s=_PROBE_TIMEOUT_S)
        except StudioError as error:
            trouble = _REASONS.get(error.code, AWAY)
        with self._lock:
            was = member.online
            member.misses = member.misses + 1 if trouble else 0
            if trouble == AWAY and was and client.connected and member.misses < _MISSES:
                return False  # busy loading a model, perhaps: its socket still answers
            member.online, member.trouble, member.version = not trouble, trouble, version
            if trouble:
                member.held_models = frozenset()  # whatever comes back has loaded nothing yet
            elif not was:
                member.rests_until = float("-inf")
            self._seen_real |= member.online and not member.server.stand_in
        if was != member.online:
            log.info("%s is %s", member.server.name, "there" if member.online else "away")
        return was != member.online


def _models(member: _Member, folder: str) -> tuple[str, ...]:
    """Ask a server that is there for its models of a kind; give what it says, or last said."""
    if member.online:
        try:
            member.listed[folder] = member.server.client.models(folder)
        except StudioError as error:
            log.warning("no list of %s from %s: %s", folder, member.server.name, error)
    return member.listed.get(folder, ())
