"""People who log in: accounts, sessions, personal tokens, invitations. Knows no route and no job.

A secret (cookie, token, invitation) is random, is shown once, and is kept as its hash only. Of a
password there is an argon2 hash. Nothing here tells whether an e-mail address is known: a wrong
address costs the same time and gets the same answer as a wrong password.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import peewee as pw
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from studio.engine.database import Database
from studio.engine.records import AccountRow, TokenRow
from studio.errors import StudioError

log = logging.getLogger("studio.people")

HOST: Final = "host"
"""Who acts by the commands on the studio's own machine, as what admins did names it."""

PASSWORD_MIN: Final = 8
PASSWORD_MAX: Final = 200
NAME_MAX: Final = 80
TOKENS_AT_MOST: Final = 50
PERSONAL_MARK: Final = "sp_"
"""Begins every personal token."""

_DAY_US: Final = 86_400_000_000
_SEEN_EVERY_US: Final = 600_000_000
"""How old `seen` may grow before it is written again."""

_EMAIL: Final = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f.]{2,}")


class Role(StrEnum):
    """What an account may do: an admin also sees people, jobs and servers, and can block."""

    MEMBER = "member"
    ADMIN = "admin"


class Registration(StrEnum):
    """Who may make an account."""

    OPEN = "open"
    INVITATION = "invitation"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Times are UTC epoch microseconds; `seen_us` is up to ten minutes old."""

    person: str
    email: str
    name: str
    role: Role
    created_us: int
    seen_us: int
    blocked: bool

    @property
    def admin(self) -> bool:
        """Tell whether this is an admin's."""
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class Token:
    """A personal token as its owner sees it; its secret was shown once, when it was made."""

    token_id: str
    name: str
    writes: bool
    created_us: int
    used_us: int


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing an admin did: `about` is a person's or a job's id."""

    at_us: int
    admin: str
    act: str
    about: str


def _random() -> str:
    return secrets.token_urlsafe(32)


class People:
    """The accounts of one studio. Methods block, those with a password for some 50 ms.

    `hasher` turns passwords into hashes; `new_secret` makes cookies, tokens and codes.
    """

    def __init__(
        self,
        database: Database,
        *,
        registration: Registration = Registration.OPEN,
        session_days: int = 30,
        hasher: PasswordHasher | None = None,
        new_secret: Callable[[], str] = _random,
    ) -> None:
        self._db = database
        self._rows = database.tables
        self.registration = registration
        self._session_us = session_days * _DAY_US
        self._hasher = hasher or PasswordHasher()
        self._new_secret = new_secret
        self._nobody = ""

    # Coming in ----------------------------------------------------------------------------

    def register(
        self,
        email: str,
        password: str,
        *,
        name: str = "",
        guest: str | None = None,
        invitation: str = "",
    ) -> None:
        """Make an account; `guest` is the person's id so far, whose works become the account's.

        A known address changes nothing and is not told. Raises `registration_closed`,
        `invitation_invalid`, and `field_*` for what cannot be an address, a name or a password.
        """
        folded, named = _email(email), _name(name, email)
        hashed = self._hash(password, folded)
        if self.registration is Registration.CLOSED:
            raise StudioError("registration_closed")
        invited = self.registration is Registration.INVITATION
        if invited and not self._db.read(lambda: self._invited(invitation).exists()):
            raise StudioError("invitation_invalid", field="invitation")
        columns = _columns(folded, named, hashed, Role.MEMBER, self._db.now_us())

        def write() -> bool:
            if self._by_email(folded) is not None:  # also when an earlier COMMIT's answer was lost
                return False
            if invited:
                self._spend_invitation(invitation)
            self._insert(guest, columns)
            return True

        try:
            made = self._db.tx(write)
        except pw.IntegrityError:  # the same address from two places at once
            made = False
        log.info("an account was made" if made else "an account for a known address was not made")

    def add(self, email: str, password: str, *, name: str = "", role: Role) -> Account:
        """Make an account as the host. Raises `account_exists`, and what `register` raises."""
        folded, named = _email(email), _name(name, email)
        hashed = self._hash(password, folded)
        columns = _columns(folded, named, hashed, role, self._db.now_us())

        def write() -> AccountRow:
            if self._by_email(folded) is not None:
                raise StudioError("account_exists", email=folded)
            return self._insert(None, columns)

        try:
            return _account(self._db.tx(write))
        except pw.IntegrityError as exc:
            raise StudioError("account_exists", email=folded) from exc

    def login(self, email: str, password: str) -> tuple[Account, str]:
        """Check address and password, and give the account and a new session's secret.

        Raises `login_failed` for either fault alike, and `account_blocked` to who knows both.
        """
        try:
            folded = _email(email)
        except StudioError:
            folded = ""
        row = self._db.read(lambda: self._by_email(folded)) if folded else None
        hashed = str(row.password) if row is not None else self._nobodys()
        if not self._matches(hashed, password) or row is None:
            raise StudioError("login_failed")
        if row.blocked_us:
            raise StudioError("account_blocked")
        if self._hasher.check_needs_rehash(hashed):
            self._set(str(row.person), password=self._hasher.hash(password))
        return _account(row), self._begin_session(str(row.person), hashed)

    def logout(self, secret: str) -> None:
        """End one session; one that is not there is ended already."""
        session = self._rows.session
        self._db.tx(session.delete().where(session.digest == _digest(secret)).execute)

    def of_session(self, secret: str) -> Account | None:
        """Give the account of a session that goes on, or None."""
        session, account = self._rows.session, self._rows.account
        now, digest = self._db.now_us(), _digest(secret)

        def read() -> tuple[AccountRow, int] | None:
            found = (
                session.select(session.person, session.seen_us)
                .where((session.digest == digest) & (session.seen_us > now - self._session_us))
                .tuples()
                .first()
            )
            row = account.get_or_none(account.person == found[0]) if found else None
            return (row, int(found[1])) if found and row is not None and _open(row) else None

        found = self._db.read(read)
        if found is None:
            return None
        row, seen_us = found
        if now - seen_us > _SEEN_EVERY_US:
            self._db.tx(session.update(seen_us=now).where(session.digest == digest).execute)
            self._set(str(row.person), seen_us=now)
        return _account(row)

    # One's own account --------------------------------------------------------------------

    def account(self, person: str) -> Account | None:
        """Give the open account of a person, or None for guests and strangers."""
        row = self._db.read(lambda: self._by_person(person))
        return _account(row) if row is not None and row.email is not None else None

    def was_guest(self, person: str) -> bool:
        """Tell whether a guest's id now belongs to an account, or is blocked or closed.

        Its old cookie and tokens prove nothing then: only a login does.
        """
        return self._db.read(lambda: self._by_person(person)) is not None

    def set_profile(self, person: str, *, name: str) -> Account:
        """Change the name that is shown."""
        self._set(person, name=_name(name, ""))
        return self._known(person)

    def set_email(self, person: str, email: str, password: str) -> Account:
        """Change the address. One that another has is not told: `login_failed` as for a fault."""
        self.check_password(person, password)
        try:
            self._set(person, email=_email(email))
        except pw.IntegrityError as exc:
            raise StudioError("login_failed") from exc
        return self._known(person)

    def set_password(self, person: str, old: str, new: str) -> str:
        """Change the password: every session ends; give the secret of a new one."""
        self.check_password(person, old)
        return self._change_password(self._known(person), new)

    def reset_password(self, email: str, new: str) -> Account:
        """Set a password as the host, ending every session. Raises `account_unknown`."""
        row = self._db.read(lambda: self._by_email(_email(email)))
        if row is None:
            raise StudioError("account_unknown")
        account = _account(row)
        self.logout(self._change_password(account, new))
        return account

    def check_password(self, person: str, password: str) -> None:
        """Raise `login_failed` unless this is the person's password."""
        row = self._db.read(lambda: self._by_person(person))
        if row is None or not self._matches(str(row.password), password):
            raise StudioError("login_failed")

    def spare_last_admin(self, person: str) -> None:
        """Raise `last_admin` when this is the only admin who is left."""
        self._db.read(lambda: self._spare_last_admin(person))

    def close(self, person: str) -> None:
        """Take an account away for ever: address, name, password, sessions and tokens.

        A guest may be closed too. What remains is the id, so that an old cookie opens nothing.
        """
        account, now = self._rows.account, self._db.now_us()
        gone = _columns(None, "", "", Role.MEMBER, now) | {"closed_us": now}

        def write() -> None:
            account.insert(person=person, **gone).on_conflict_ignore().execute()
            account.update(**gone).where(account.person == person).execute()
            self._end_all(person)

        self._db.tx(write)

    # Tokens of programs -------------------------------------------------------------------

    def make_token(self, person: str, name: str, *, writes: bool) -> tuple[Token, str]:
        """Make a token and give its secret, this once. Raises `too_many_tokens`."""
        named = _name(name, "")
        if not named:
            raise StudioError("field_required", field="name")
        token, now = self._rows.token, self._db.now_us()
        secret = f"{PERSONAL_MARK}{self._new_secret()}"
        made = Token(secrets.token_hex(8), named, writes, now, 0)

        def write() -> None:
            if token.select().where(token.person == person).count() >= TOKENS_AT_MOST:
                raise StudioError("too_many_tokens", max=TOKENS_AT_MOST)
            token.insert(
                token_id=made.token_id,
                digest=_digest(secret),
                person=person,
                name=named,
                writes=writes,
                created_us=now,
            ).on_conflict_ignore().execute()

        self._db.tx(write)
        return made, secret

    def tokens(self, person: str) -> list[Token]:
        """List a person's tokens, the newest first."""
        token = self._rows.token
        query = token.select().where(token.person == person)
        rows = self._db.read(lambda: list(query.order_by(token.created_us.desc())))
        return [_token(row) for row in rows]

    def revoke(self, person: str, token_id: str) -> None:
        """End a token. Raises `token_unknown` for one that is not this person's."""
        token = self._rows.token
        mine = (token.person == person) & (token.token_id == token_id)
        if not self._db.tx(token.delete().where(mine).execute):
            raise StudioError("token_unknown")

    def of_token(self, secret: str) -> tuple[Account, Token] | None:
        """Give whose a personal token is, and what it may do; None when it is no more."""
        token, account, now = self._rows.token, self._rows.account, self._db.now_us()

        def read() -> tuple[AccountRow, TokenRow] | None:
            found = token.get_or_none(token.digest == _digest(secret))
            if found is None:
                return None
            row = account.get_or_none(account.person == found.person)
            return (row, found) if row is not None and _open(row) else None

        found = self._db.read(read)
        if found is None:
            return None
        row, pass_ = found
        if now - int(pass_.used_us) > _SEEN_EVERY_US:
            mine = token.token_id == pass_.token_id
            self._db.tx(token.update(used_us=now).where(mine).execute)
        return _account(row), _token(pass_)

    # The admin's --------------------------------------------------------------------------

    def invite(self, admin: str, *, days: int = 7) -> str:
        """Make a code by which one person may register within so many days.

        Raises `registration_closed` where no code would help.
        """
        if self.registration is Registration.CLOSED:
            raise StudioError("registration_closed")
        code, now = self._new_secret(), self._db.now_us()
        row: dict[str, Any] = {
            "digest": _digest(code),
            "made_by": admin,
            "created_us": now,
            "expires_us": now + days * _DAY_US,
        }
        self._db.tx(self._rows.invitation.insert(**row).execute)
        return code

    def listing(
        self, *, text: str = "", after: tuple[int, str] | None = None, limit: int = 50
    ) -> list[Account]:
        """List accounts and blocked guests, the newest first, those after `(created_us, person)`.

        `text` is looked for in address and name, or is a person's whole id.
        """
        account = self._rows.account
        guest = (account.blocked_us > 0) & (account.closed_us == 0)
        query = account.select().where(account.email.is_null(False) | guest)
        if after is not None:
            us, person = after
            earlier = (account.created_us == us) & (account.person < person)
            query = query.where((account.created_us < us) | earlier)
        if text:
            said = account.email.contains(_fold(text)) | account.name.contains(text.strip())
            query = query.where(said | (account.person == text.strip()))
        newest = query.order_by(account.created_us.desc(), account.person.desc())
        rows = self._db.read(lambda: list(newest.limit(limit)))
        return [_account(row) for row in rows]

    def emails(self, persons: Collection[str]) -> dict[str, str]:
        """Give the addresses of those of these persons who have an account."""
        account = self._rows.account
        query: Any = account.select(account.person, account.email).where(
            account.person.in_(sorted(persons)), account.email.is_null(False)
        )
        rows = self._db.read(lambda: list(query.tuples())) if persons else []
        return {str(person): str(email) for person, email in rows}

    def find(self, email: str) -> Account:
        """Give the account of an address, to the host. Raises `account_unknown`."""
        row = self._db.read(lambda: self._by_email(_email(email)))
        if row is None:
            raise StudioError("account_unknown")
        return _account(row)

    def block(self, person: str, on: bool = True) -> None:
        """Keep a person out, or let them in again. Sessions end, tokens do nothing meanwhile.

        A guest's id is blocked as such. Raises `last_admin` for the only admin who is left.
        """
        account, now = self._rows.account, self._db.now_us()
        guest = _columns(None, "", "", Role.MEMBER, now)

        def write() -> None:
            if on:
                self._spare_last_admin(person)
                account.insert(person=person, **guest).on_conflict_ignore().execute()
            mine = account.person == person
            account.update(blocked_us=now if on else 0).where(mine).execute()
            # A guest who is let in again is a guest again: no row.
            lone = mine & account.email.is_null() & (account.closed_us == 0)
            if on:
                session = self._rows.session
                session.delete().where(session.person == person).execute()
            else:
                account.delete().where(lone).execute()

        self._db.tx(write)

    def set_role(self, person: str, role: Role) -> Account:
        """Make somebody admin, or member. Raises `account_unknown` and `last_admin`."""
        account = self._rows.account

        def write() -> None:
            if role is Role.MEMBER:
                self._spare_last_admin(person)
            account.update(role=role).where(account.person == person).execute()

        self._known(person)
        self._db.tx(write)
        return self._known(person)

    def note(self, admin: str, act: str, about: str) -> None:
        """Write down what an admin did that touches another person, and log it."""
        now = self._db.now_us()
        row: dict[str, Any] = {"at_us": now, "admin": admin, "act": act, "about": about[:128]}
        self._db.tx(self._rows.audit.insert(**row).execute)
        log.warning("an admin did: %s %s", act, about[:128], extra={"person": admin})

    def did(self, admin: str, act: str, about: str, *, within_s: float) -> bool:
        """Tell whether an admin did this to a person or a job in the last so many seconds."""
        audit = self._rows.audit
        query = audit.select(audit.seq).where(
            audit.admin == admin,
            audit.at_us > self._db.now_us() - round(within_s * 1e6),
            audit.act == act,
            audit.about == about,
        )
        return self._db.read(lambda: bool(query.exists()))

    def deeds(self, *, limit: int = 100) -> list[Deed]:
        """List what admins did, the last first."""
        audit = self._rows.audit
        rows = self._db.read(lambda: list(audit.select().order_by(audit.seq.desc()).limit(limit)))
        return [Deed(int(r.at_us), str(r.admin), str(r.act), str(r.about)) for r in rows]

    def sweep(self) -> int:
        """Take away sessions and invitations whose time is over; give how many."""
        now = self._db.now_us()
        session, invitation = self._rows.session, self._rows.invitation
        old = session.delete().where(session.seen_us <= now - self._session_us)
        spent = invitation.delete().where(invitation.expires_us <= now)
        return self._db.tx(lambda: int(old.execute()) + int(spent.execute()))

    # ------------------------------------------------------------------------------------------

    def _hash(self, password: Any, email: str) -> str:
        if not isinstance(password, str) or not password:
            raise StudioError("field_required", field="password")
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise StudioError(
                "password_length", field="password", min=PASSWORD_MIN, max=PASSWORD_MAX
            )
        if len(set(password)) < 3 or _fold(password) in (email, email.partition("@")[0]):
            raise StudioError("password_weak", field="password")
        return self._hasher.hash(password)

    def _nobodys(self) -> str:
        """Give the hash that stands for an account that is not there."""
        if not self._nobody:
            self._nobody = self._hasher.hash(self._new_secret())
        return self._nobody

    def _matches(self, hashed: str, password: Any) -> bool:
        if not isinstance(password, str) or len(password) > PASSWORD_MAX:
            password = ""
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    def _change_password(self, account: Account, new: str) -> str:
        hashed = self._hash(new, account.email)
        rows = self._rows

        def write() -> None:
            mine = rows.account.person == account.person
            rows.account.update(password=hashed).where(mine).execute()
            rows.session.delete().where(rows.session.person == account.person).execute()

        self._db.tx(write)
        return self._begin_session(account.person, hashed)

    def _begin_session(self, person: str, hashed: str) -> str:
        """Write a session, unless the password it was opened by was changed meanwhile."""
        secret, now, rows = self._new_secret(), self._db.now_us(), self._rows

        def write() -> bool:
            row = self._db.for_update(
                rows.account.select().where(rows.account.person == person)
            ).first()
            if row is None or row.password != hashed or not _open(row):
                return False
            rows.session.insert(
                digest=_digest(secret), person=person, created_us=now, seen_us=now
            ).on_conflict_ignore().execute()
            rows.account.update(seen_us=now).where(rows.account.person == person).execute()
            return True

        if not self._db.tx(write):
            raise StudioError("login_failed")
        return secret

    def _insert(self, guest: str | None, columns: dict[str, Any]) -> AccountRow:
        """Write an account's row; one for a guest who has none becomes theirs."""
        account = self._rows.account
        taken = guest is not None and self._by_person(guest) is not None
        person = f"u-{secrets.token_hex(16)}" if guest is None or taken else guest
        return account.create(person=person, **columns)

    def _invited(self, code: object) -> Any:
        invitation = self._rows.invitation
        mine = invitation.digest == _digest(str(code))
        return invitation.select().where(mine & (invitation.expires_us > self._db.now_us()))

    def _spend_invitation(self, code: str) -> None:
        invitation = self._rows.invitation
        if not invitation.delete().where(invitation.digest == _digest(code)).execute():
            raise StudioError("invitation_invalid", field="invitation")

    def _spare_last_admin(self, person: str) -> None:
        account = self._rows.account
        row = self._by_person(person)
        if row is None or row.role != Role.ADMIN or not _open(row):
            return
        others = account.select().where(
            (account.role == Role.ADMIN)
            & (account.person != person)
            & (account.blocked_us == 0)
            & (account.closed_us == 0)
        )
        if not others.exists():
            raise StudioError("last_admin")

    def _end_all(self, person: str) -> None:
        rows = self._rows
        rows.session.delete().where(rows.session.person == person).execute()
        rows.token.delete().where(rows.token.person == person).execute()

    def _known(self, person: str) -> Account:
        account = self.account(person)
        if account is None:
            raise StudioError("account_unknown")
        return account

    def _by_email(self, folded: str) -> AccountRow | None:
        account = self._rows.account
        return account.get_or_none(account.email == folded)

    def _by_person(self, person: str) -> AccountRow | None:
        account = self._rows.account
        return account.get_or_none(account.person == person)

    def _set(self, person: str, **columns: Any) -> None:
        account = self._rows.account
        self._db.tx(account.update(**columns).where(account.person == person).execute)


def _columns(
    email: str | None, name: str, password: str, role: Role, now_us: int
) -> dict[str, Any]:
    return {
        "email": email,
        "name": name,
        "password": password,
        "role": str(role),
        "created_us": now_us,
    }


def _open(row: AccountRow) -> bool:
    return row.email is not None and not row.blocked_us and not row.closed_us


def _account(row: AccountRow) -> Account:
    return Account(
        person=str(row.person),
        email=str(row.email or ""),
        name=str(row.name),
        role=Role(str(row.role)),
        created_us=int(row.created_us),
        seen_us=int(row.seen_us),
        blocked=bool(row.blocked_us),
    )


def _token(row: TokenRow) -> Token:
    return Token(
        token_id=str(row.token_id),
        name=str(row.name),
        writes=bool(row.writes),
        created_us=int(row.created_us),
        used_us=int(row.used_us),
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().casefold()


def _email(text: Any) -> str:
    """Write an address in the one way it is compared. Raises `field_required`, `email_invalid`."""
    if not isinstance(text, str) or not text.strip():
        raise StudioError("field_required", field="email")
    folded = _fold(text)
    if len(folded) > 254 or not _EMAIL.fullmatch(folded):
        raise StudioError("email_invalid", field="email")
    return folded


def _name(text: Any, email: str) -> str:
    """Give the name to show; by default the address up to its `@`."""
    if not isinstance(text, str):
        raise StudioError("field_wrong_type", field="name", type="text")
    plain = "".join(mark for mark in text if unicodedata.category(mark)[0] != "C")
    name = " ".join(plain.split()) or str(email).partition("@")[0].strip()
    if len(name) > NAME_MAX and text.strip():
        raise StudioError("field_too_long", field="name", length=len(name), max=NAME_MAX)
    return name[:NAME_MAX]
