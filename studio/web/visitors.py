"""Who a request is from, decided once, before anything else looks at it.

A login (cookie `studio_session`) and tokens are read here only. What stands behind sees one signed
cookie, `studio_person`, which this room writes into the request: from outside it is believed for
guests alone, so no signed id of an account is worth anything to who finds one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import Scope

from studio.engine.accounts import COOKIE, TOKEN_MARK, Guests
from studio.engine.people import PERSONAL_MARK, Account, People
from studio.errors import StudioError
from studio.web.proxies import loopback

SESSION_COOKIE: Final = "studio_session"
LOCAL_PERSON: Final = "local"
"""The one person of a studio without accounts."""

_KEY: Final = "studio.visitor"
_GUEST_FOR_S: Final = 2.0
"""How long a guest is taken for one, before the accounts are asked again."""
_GUESTS_KEPT: Final = 10_000


class Mode(StrEnum):
    """What `STUDIO_ACCOUNTS` says."""

    OFF = "off"
    GUESTS = "guests"
    REQUIRED = "required"


class By(StrEnum):
    """What a visitor is known by."""

    NOTHING = "nothing"
    COOKIE = "cookie"
    GUEST_TOKEN = "guest token"  # noqa: S105  (no secret: a kind)
    SESSION = "session"
    TOKEN = "token"  # noqa: S105
    HOUSE = "house"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks. `person` is None for nobody; `session` is the secret of the login that shows it.

    `ended`: nobody now, but the cookie or token was somebody's.
    """

    person: str | None = None
    account: Account | None = None
    by: By = By.NOTHING
    writes: bool = True
    session: str = ""
    ended: bool = False

    @property
    def by_token(self) -> bool:
        """Tell whether a program's token says who it is, and no cookie a browser adds by itself."""
        return self.by in (By.TOKEN, By.GUEST_TOKEN)

    @property
    def admin(self) -> bool:
        """Tell whether an admin asks."""
        return self.account is not None and self.account.admin


class Visitors:
    """Reads who asks from cookies and tokens."""

    def __init__(self, guests: Guests, people: People, mode: Mode) -> None:
        self._guests = guests
        self._people = people
        self.mode = mode
        self._known_guests: dict[str, float] = {}
        # Of their own, so that slow work in other threads keeps nobody from being known.
        self._threads = anyio.CapacityLimiter(16)

    async def receive(self, scope: Scope) -> Visitor:
        """Decide who asks, and write it into the request for all that stand behind.

        Raises `host_unknown` when a studio without accounts is asked under another machine's name.
        """
        request = HTTPConnection(scope)
        visitor = await self._read(request)
        cookies = {
            name: value
            for name, value in request.cookies.items()
            if name not in (COOKIE, SESSION_COOKIE)
        }
        if visitor.person is not None:
            cookies[COOKIE] = self._guests.cookie(visitor.person)
        MutableHeaders(scope=scope)["cookie"] = "; ".join(f"{n}={v}" for n, v in cookies.items())
        scope[_KEY] = visitor
        return visitor

    def forget(self, person: str) -> None:
        """Ask the accounts anew about a guest: it may be one no more."""
        self._known_guests.pop(person, None)

    async def _read(self, request: HTTPConnection) -> Visitor:
        if self.mode is Mode.OFF:
            return _local(request)
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if kind.lower() == "bearer" and token.startswith((TOKEN_MARK, PERSONAL_MARK)):
            return await self._of_token(token)
        session = request.cookies.get(SESSION_COOKIE)
        if session:
            account = await anyio.to_thread.run_sync(
                self._people.of_session, session, limiter=self._threads
            )
            if account is not None:
                return Visitor(account.person, account, By.SESSION, session=session)
        guest = self._guests.read(request.cookies.get(COOKIE))
        visitor = await self._of_guest(guest, By.COOKIE)
        return Visitor(ended=True) if session and not visitor.person else visitor

    async def _of_token(self, token: str) -> Visitor:
        if token.startswith(TOKEN_MARK):
            return await self._of_guest(self._guests.read_token(token), By.GUEST_TOKEN)
        found = await anyio.to_thread.run_sync(self._people.of_token, token, limiter=self._threads)
        if found is None:
            return Visitor(ended=True)
        account, known = found
        return Visitor(account.person, account, By.TOKEN, writes=known.writes)

    async def _of_guest(self, person: str | None, by: By) -> Visitor:
        if person is None or self.mode is Mode.REQUIRED:
            return Visitor()
        if time.monotonic() > self._known_guests.get(person, 0.0):
            left = await anyio.to_thread.run_sync(
                self._people.was_guest, person, limiter=self._threads
            )
            if left:
                return Visitor(ended=True)
            if len(self._known_guests) >= _GUESTS_KEPT:
                self._known_guests.clear()
            self._known_guests[person] = time.monotonic() + _GUEST_FOR_S
        return Visitor(person, by=by)


def visitor_of(scope: Mapping[str, object]) -> Visitor:
    """Give who asks, as `Visitors.receive` found; nobody where it never was asked."""
    found = scope.get(_KEY)
    return found if isinstance(found, Visitor) else Visitor()


def _local(request: HTTPConnection) -> Visitor:
    """Let in the one person of this machine.

    A page elsewhere can point its own name at this machine; then the browser says that name.
    """
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if not loopback(host):
        raise StudioError("host_unknown", host=host)
    return Visitor(LOCAL_PERSON, by=By.HOUSE)
