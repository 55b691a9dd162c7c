"""Accounts over HTTP: register, log in and out, profile, password, tokens, leaving; the admin's.

The page's forms call these same routes. What a person does with the password needs the login
itself: no token can change it, make further tokens, or take the account away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from studio.engine.accounts import COOKIE, Guests
from studio.engine.desk import Desk
from studio.engine.limits import Limits, Rate
from studio.engine.people import People, Token
from studio.errors import StudioError
from studio.settings import Settings
from studio.web.guards import address_of
from studio.web.identity import cookie_header
from studio.web.rest import Described, json_body, plain_text
from studio.web.visitors import SESSION_COOKIE, By, Mode, Visitor, Visitors, visitor_of

T = TypeVar("T")
_HASHED_AT_ONCE: Final = 2
"""A hash of a password takes 64 MB of memory while it is made."""

_PEOPLE_AT_MOST: Final = 100


class Me(BaseModel):
    """Who you are to the studio."""

    person: str
    kind: str = Field(description="local, guest, member or admin")
    email: str | None
    name: str | None
    created_at: datetime | None
    used_bytes: int = Field(description="what your results and uploads take on the disk")
    max_bytes: int = Field(description="what they may take, 0 for no limit")
    accounts: str = Field(description="off, guests or required")
    registration: str = Field(description="open, invitation or closed")


class Done(BaseModel):
    """Something was done."""

    status: str


class TokenView(BaseModel):
    """A personal token, without its secret."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None


class NewToken(TokenView):
    """A new personal token. `token` is shown this once."""

    token: str


class Tokens(BaseModel):
    """Your personal tokens, the newest first."""

    tokens: list[TokenView]


class Credentials(BaseModel):
    """Address and password."""

    email: str
    password: str


class Newcomer(Credentials):
    """Who registers. `invitation` is needed where the studio asks for one."""

    name: str = ""
    invitation: str = ""


class Profile(BaseModel):
    """What to change; a new address needs the password."""

    name: str | None = None
    email: str | None = None
    password: str | None = None


class PasswordChange(BaseModel):
    """The old and the new password."""

    old_password: str
    new_password: str


class Leaving(BaseModel):
    """The password, to be sure."""

    password: str = ""


class TokenOrder(BaseModel):
    """How a token is to be called and what it may do."""

    name: str
    scopes: list[str] = Field(default=["read", "write"], description="read, or read and write")


class AccountRoutes:
    """The handlers."""

    def __init__(
        self,
        *,
        desk: Desk,
        guests: Guests,
        people: People,
        visitors: Visitors,
        limits: Limits,
        settings: Settings,
        framed: bool = False,
    ) -> None:
        self._desk = desk
        self._guests = guests
        self._people = people
        self._visitors = visitors
        self._limits = limits
        self._age_s = settings.session_days * 24 * 3600
        self._framed = framed
        self._hashing = anyio.CapacityLimiter(_HASHED_AT_ONCE)

    # Coming in ----------------------------------------------------------------------------

    async def register(self, request: Request) -> Done:
        """Make an account; a guest's works become the account's. Then log in.

        The answer is the same for an address that has an account already.
        """
        if self._visitors.mode is Mode.OFF:
            raise StudioError("registration_closed")
        await anyio.to_thread.run_sync(self._limits.take, Rate.REGISTER, address_of(request))
        said = await json_body(request)
        visitor = visitor_of(request.scope)
        guest = visitor.person if visitor.by in (By.COOKIE, By.GUEST_TOKEN) else None
        await self._hashed(
            lambda: self._people.register(
                _text(said, "email"),
                _text(said, "password"),
                name=_text(said, "name") or _text(said, "username"),
                guest=guest,
                invitation=_text(said, "invitation"),
            )
        )
        if guest is not None:
            self._visitors.forget(guest)
        return Done(status="registered")

    async def login(self, request: Request) -> Response:
        """Log in: the answer carries the session's cookie."""
        if self._visitors.mode is Mode.OFF:
            raise StudioError("login_failed")
        said = await json_body(request)
        email, password = _text(said, "email") or _text(said, "username"), _text(said, "password")
        await anyio.to_thread.run_sync(self._limits.take, Rate.LOGIN, address_of(request))
        tried = f"account {email.strip().casefold()[:254]}"
        await anyio.to_thread.run_sync(self._limits.take, Rate.LOGIN, tried)
        account, secret = await self._hashed(lambda: self._people.login(email, password))
        old = visitor_of(request.scope).session
        if old:
            await anyio.to_thread.run_sync(self._people.logout, old)
        self._visitors.forget(account.person)
        visitor = Visitor(account.person, account, By.SESSION)
        me = await anyio.to_thread.run_sync(self._me, visitor)
        return self._with_session(request, me, secret)

    async def logout(self, request: Request) -> Response:
        """Log out: the session ends here and on the server."""
        visitor = visitor_of(request.scope)
        if visitor.session:
            await anyio.to_thread.run_sync(self._people.logout, visitor.session)
        return self._with_session(request, Done(status="logged out"), "")

    def me(self, request: Request) -> Me:
        """Tell who you are to the studio."""
        return self._me(_somebody(request))

    # One's own account --------------------------------------------------------------------

    async def profile(self, request: Request) -> Me:
        """Change the name, or with the password the address."""
        visitor = _logged_in(request)
        person, said = _person(visitor), await json_body(request)
        if said.get("email") is not None:
            await self._try_password(person)
            email, password = _text(said, "email"), _text(said, "password")
            await self._hashed(lambda: self._people.set_email(person, email, password))
        if said.get("name") is not None:
            await self._hashed(lambda: self._people.set_profile(person, name=_text(said, "name")))
        account = await anyio.to_thread.run_sync(self._people.account, person)
        return await anyio.to_thread.run_sync(self._me, Visitor(person, account, visitor.by))

    async def password(self, request: Request) -> Response:
        """Change the password: every other login ends."""
        person, said = _person(_logged_in(request)), await json_body(request)
        await self._try_password(person)
        old, new = _text(said, "old_password"), _text(said, "new_password")
        secret = await self._hashed(lambda: self._people.set_password(person, old, new))
        return self._with_session(request, Done(status="changed"), secret)

    async def leave(self, request: Request) -> Response:
        """Take yourself away: account, works and files, for ever. Asks for the password."""
        visitor = _somebody(request)
        person = _person(visitor)
        if visitor.by is By.HOUSE:
            raise StudioError("session_needed")
        if visitor.account is not None:
            _logged_in(request)
            said = await json_body(request)
            await self._try_password(person)
            await self._hashed(lambda: self._people.check_password(person, _text(said, "password")))
            await anyio.to_thread.run_sync(self._people.spare_last_admin, person)
        await anyio.to_thread.run_sync(self._people.close, person)
        self._visitors.forget(person)
        await anyio.to_thread.run_sync(self._desk.forget, person)
        answer = self._with_session(request, Done(status="deleted"), "")
        answer.headers.append("set-cookie", _cookie(request, "", COOKIE, 0, framed=self._framed))
        return answer

    # Tokens -------------------------------------------------------------------------------

    def tokens(self, request: Request) -> Tokens:
        """List your personal tokens."""
        found = self._people.tokens(_person(_with_account(request)))
        return Tokens(tokens=[_token_view(one) for one in found])

    async def make_token(self, request: Request) -> NewToken:
        """Make a personal token for a program; its secret is shown this once."""
        person, said = _person(_logged_in(request)), await json_body(request)
        scopes = said.get("scopes", ["read", "write"])
        if not isinstance(scopes, list) or "read" not in scopes or set(scopes) - {"read", "write"}:
            raise StudioError("field_not_a_choice", field="scopes", choices="read, write")
        name = _text(said, "name")
        made, secret = await anyio.to_thread.run_sync(
            lambda: self._people.make_token(person, name, writes="write" in scopes)
        )
        return NewToken(**_token_view(made).model_dump(), token=secret)

    def revoke_token(self, request: Request, token_id: str) -> Done:
        """End a personal token."""
        self._people.revoke(_person(_logged_in(request)), token_id)
        return Done(status="revoked")

    # ------------------------------------------------------------------------------------------

    def _me(self, visitor: Visitor) -> Me:
        account, used = visitor.account, self._desk.quota(_person(visitor))
        return Me(
            person=_person(visitor),
            used_bytes=used.bytes,
            max_bytes=used.max_bytes,
            kind=_kind(visitor),
            email=account.email if account else None,
            name=account.name if account else None,
            created_at=_moment(account.created_us) if account else None,
            accounts=str(self._visitors.mode),
            registration=str(self._people.registration),
        )

    async def _try_password(self, person: str) -> None:
        """Count a try, so that an open session is no way to guess the password."""
        await anyio.to_thread.run_sync(self._limits.take, Rate.LOGIN, f"person {person}")

    async def _hashed(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._hashing)

    def _with_session(self, request: Request, body: BaseModel, secret: str) -> Response:
        """Answer with the session's cookie set; an empty secret takes it away."""
        answer = JSONResponse(body.model_dump(mode="json"), headers={"cache-control": "no-store"})
        age_s = self._age_s if secret else 0
        line = _cookie(request, secret, SESSION_COOKIE, age_s, framed=self._framed)
        answer.headers.append("set-cookie", line)
        return answer


def _cookie(request: Request, value: str, name: str, age_s: int, *, framed: bool) -> str:
    scheme = str(request.scope.get("scheme", "http"))
    return cookie_header(value, request.headers, scheme, name=name, age_s=age_s, framed=framed)


def _somebody(request: Request) -> Visitor:
    visitor = visitor_of(request.scope)
    if visitor.person is None:
        raise StudioError("person_unknown")
    return visitor


def _with_account(request: Request) -> Visitor:
    visitor = _somebody(request)
    if visitor.account is None:
        raise StudioError("login_needed")
    return visitor


def _logged_in(request: Request) -> Visitor:
    visitor = _with_account(request)
    if visitor.by is not By.SESSION:
        raise StudioError("session_needed")
    return visitor


def _person(visitor: Visitor) -> str:
    if visitor.person is None:
        raise StudioError("person_unknown")
    return visitor.person


def _kind(visitor: Visitor) -> str:
    if visitor.account is not None:
        return str(visitor.account.role)
    return "local" if visitor.by is By.HOUSE else "guest"


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return "" if value is None else plain_text(value, name)


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)


def _token_view(token: Token) -> TokenView:
    return TokenView(
        id=token.token_id,
        name=token.name,
        scopes=["read", "write"] if token.writes else ["read"],
        created_at=_moment(token.created_us),
        last_used_at=_moment(token.used_us) if token.used_us else None,
    )


def account_router(handlers: AccountRoutes) -> APIRouter:
    """Bind the handlers to their addresses."""
    made = Described(prefix="/api")
    known = (401, 403, 503)
    tried = (400, 422, 429, *known)
    bind = made.bind
    bind("POST", "/register", handlers.register, 400, 403, 422, 429, 503, ok=201, body=Newcomer)
    bind("POST", "/login", handlers.login, *tried, body=Credentials, answer=Me)
    bind("POST", "/logout", handlers.logout, 403, 503, answer=Done)
    bind("GET", "/me", handlers.me, *known)
    bind("PUT", "/user/profile", handlers.profile, *tried, body=Profile)
    bind("PUT", "/user/password", handlers.password, *tried, body=PasswordChange, answer=Done)
    bind("DELETE", "/user/delete", handlers.leave, 409, *tried, body=Leaving, answer=Done)
    bind("GET", "/tokens", handlers.tokens, *known)
    bind("POST", "/tokens", handlers.make_token, 400, 409, 422, *known, ok=201, body=TokenOrder)
    bind("DELETE", "/tokens/{token_id}", handlers.revoke_token, 404, *known)
    return made
