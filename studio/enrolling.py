"""The host's side of accounts: make, list, block, take away. What is done here is written down.

Most needs the records alone; what touches works and files builds the whole house, and starts none
of it but the line to the other processes.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from studio import log, texts
from studio.engine.database import migrate, open_database
from studio.engine.people import HOST, Account, People, Registration, Role
from studio.settings import Settings

if TYPE_CHECKING:
    from studio.engine.oversight import Admin

_EVERYWHERE: Final = ("0.0.0.0", "::", "[::]")  # noqa: S104  (compared with, not bound to)
_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class Invitation:
    """A code by which one person may register, and the link that carries it."""

    code: str
    url: str


def add(settings: Settings, email: str, password: str, *, name: str, admin: bool) -> Account:
    """Make an account. Raises `account_exists`, and `field_*` for what will not do."""
    with _people(settings) as people:
        role = Role.ADMIN if admin else Role.MEMBER
        account = people.add(email, password, name=name, role=role)
        people.note(HOST, "add", account.person)
        return account


def accounts(settings: Settings) -> list[Account]:
    """List all accounts and blocked guests, the newest first."""
    found: list[Account] = []
    with _people(settings) as people:
        while True:
            after = (found[-1].created_us, found[-1].person) if found else None
            more = people.listing(after=after, limit=_AT_ONCE)
            found += more
            if len(more) < _AT_ONCE:
                return found


def find(settings: Settings, email: str) -> Account:
    """Give the account of an address. Raises `account_unknown`."""
    with _people(settings) as people:
        return people.find(email)


def reset(settings: Settings, email: str, password: str) -> Account:
    """Set somebody's password, ending every session. Raises `account_unknown`."""
    with _people(settings) as people:
        account = people.reset_password(email, password)
        people.note(HOST, "password", account.person)
        return account


def set_admin(settings: Settings, email: str, on: bool) -> Account:
    """Make somebody admin, or member again. Raises `account_unknown`, `last_admin`."""
    with _people(settings) as people:
        role = Role.ADMIN if on else Role.MEMBER
        account = people.set_role(people.find(email).person, role)
        people.note(HOST, f"make_{role}", account.person)
        return account


def unblock(settings: Settings, email: str) -> Account:
    """Let somebody in again. Raises `account_unknown`."""
    with _people(settings) as people:
        account = people.find(email)
        people.block(account.person, on=False)
        people.note(HOST, "unblock", account.person)
        return account


def invite(settings: Settings, *, days: int) -> Invitation:
    """Make an invitation. Raises `registration_closed`."""
    with _people(settings) as people:
        code = people.invite(HOST, days=days)
        people.note(HOST, "invite", "")
    return Invitation(code, f"{_address(settings)}/account/register?invitation={quote(code)}")


def block(settings: Settings, email: str) -> Account:
    """Keep somebody out, and stop their jobs. Raises `account_unknown`, `last_admin`."""
    account = find(settings, email)
    with as_host(settings) as host:
        host.block(account.person)
    return account


def delete(settings: Settings, email: str) -> Account:
    """Take somebody away with works and files. Raises `account_unknown`, `last_admin`."""
    account = find(settings, email)
    with as_host(settings) as host:
        host.delete(account.person)
    return account


def table(found: list[Account], language: str) -> Table:
    """Lay accounts out for a terminal."""
    shown = Table(box=None, pad_edge=False)
    for column in ("email", "name", "role", "made", "seen", "state"):
        shown.add_column(texts.text(f"user.{column}", language))
    for one in found:
        state = texts.text("user.state_blocked", language) if one.blocked else ""
        role = texts.text(f"user.role_{one.role}", language)
        cells = (one.email or one.person, one.name, role, _day(one.created_us), _day(one.seen_us))
        shown.add_row(*(Text(cell) for cell in (*cells, state)))
    return shown


def _day(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).astimezone().strftime("%Y-%m-%d") if us else ""


def _address(settings: Settings) -> str:
    """Write where this machine's page is; who stands behind a proxy knows it by another name."""
    host = settings.studio_host
    shown = socket.gethostname() if host in _EVERYWHERE else host
    return f"http://{shown}:{settings.studio_port}{settings.studio_root_path}"


@contextmanager
def _people(settings: Settings) -> Iterator[People]:
    with _logged(settings):
        database = open_database(settings.database_url)
        try:
            migrate(database)
            yield People(database, registration=Registration(settings.studio_registration))
        finally:
            database.close()


@contextmanager
def _logged(settings: Settings) -> Iterator[None]:
    """Log into the files alone: the terminal is for the answer."""
    nowhere, level = io.StringIO(), settings.log_level
    stop = log.start(settings.log_dir, level=level, hide=settings.secret_values, console=nowhere)
    try:
        yield
    finally:
        stop()


@contextmanager
def as_host(settings: Settings) -> Iterator[Admin]:
    """Act as who has the machine, beside the running processes."""
    from studio.build import build  # slow to import, and few commands need it

    with _logged(settings):
        studio = build(settings)
        studio.bus.start()
        try:
            yield studio.oversight.host()
        finally:
            studio.stop()
