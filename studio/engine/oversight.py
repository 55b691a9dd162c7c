"""What an admin may see and do: people, everybody's jobs, the house, and what admins did.

Nobody gets an `Admin` who does not show an admin's account, so no door above can forget to ask.
Lists tell of jobs without what was asked or made; opening one is written down first. What changes
something goes through the rooms that own it, and is written down after.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from peewee import SQL, fn

from studio.engine.database import Database
from studio.engine.desk import Desk, Details
from studio.engine.health import Health
from studio.engine.history import Count
from studio.engine.jobs import Job, State
from studio.engine.ledger import Ledger
from studio.engine.people import HOST, Account, Deed, People, Role
from studio.errors import StudioError

log = logging.getLogger("studio.oversight")

OPEN_FOR_S: Final = 3600.0
"""How long an admin reads the files of a job that was opened."""

PRIORITY_MAX: Final = 1_000_000
_ID: Final = re.compile(r"[a-z]-[0-9a-f]{32}")
_OPEN: Final = (State.PENDING, State.PROCESSING)


@dataclass(frozen=True, slots=True)
class PersonLine:
    """One person as admins see them. A guest has no address; times are epoch microseconds."""

    person: str
    email: str
    name: str
    role: Role
    blocked: bool
    created_us: int
    seen_us: int
    pending: int
    processing: int
    jobs: Count
    used_bytes: int


@dataclass(frozen=True, slots=True)
class JobLine:
    """What is told of anybody's job: nothing of what was asked or made.

    `email` is empty for guests, `error` for what did not fail.
    """

    job_id: str
    person: str
    email: str
    tab: str
    workflow: str
    state: State
    priority: int
    server: str
    worker: str
    error: str
    created_us: int
    started_us: int
    ended_us: int


@dataclass(frozen=True, slots=True)
class DeedLine:
    """One thing an admin did, with the addresses of the two persons where they are known."""

    deed: Deed
    admin_email: str
    about_email: str


@dataclass(frozen=True, slots=True)
class _Rooms:
    database: Database
    people: People
    desk: Desk
    ledger: Ledger
    limits: Mapping[str, object]


class Oversight:
    """Admits admins. `limits` are the settings that bound what people may do, by name."""

    def __init__(
        self,
        database: Database,
        people: People,
        desk: Desk,
        ledger: Ledger,
        *,
        limits: Mapping[str, object],
    ) -> None:
        self._rooms = _Rooms(database, people, desk, ledger, limits)

    def admit(self, account: Account | None) -> Admin:
        """Let an admin in. Raises `admin_needed` for everybody else."""
        if account is None or not account.admin or account.blocked:
            raise StudioError("admin_needed")
        return Admin(self._rooms, account.person)

    def host(self) -> Admin:
        """Let in who has the studio's own machine: for the commands, never for a request."""
        return Admin(self._rooms, HOST)

    def owner_for(self, account: Account | None, job_id: str) -> str | None:
        """Give whose job it is, to an admin who opened it within the hour; None to others."""
        rooms = self._rooms
        if account is None or not account.admin:
            return None
        if not rooms.people.did(account.person, "open", job_id, within_s=OPEN_FOR_S):
            return None
        return rooms.ledger.get(job_id).person


class Admin:
    """One admin at work. Methods block on the database."""

    def __init__(self, rooms: _Rooms, who: str) -> None:
        self._rooms = rooms
        self._who = who

    # People -------------------------------------------------------------------------------

    def people(
        self, *, text: str = "", after: str | None = None, limit: int = 50
    ) -> tuple[list[PersonLine], str | None]:
        """List accounts and blocked guests, the newest first, and the next page's key.

        `text` is looked for in address and name; a person's whole id finds any guest too.
        """
        found = self._rooms.people.listing(text=text, after=_read_key(after), limit=limit + 1)
        shown = found[:limit] or self._guest(text.strip(), after)
        last = shown[-1] if len(found) > limit else None
        return self._lines(shown), f"{last.created_us}-{last.person}" if last else None

    def block(self, person: str, on: bool = True) -> None:
        """Keep a person out, and stop all they have waiting and running; or let them in again.

        A guest's id is blocked too. Raises `account_unknown`, `guest_fleeting` for who is known by
        a program's session alone, and `last_admin`.
        """
        self._require_known(person)
        self._rooms.people.block(person, on)
        self._note("block" if on else "unblock", person)
        if on:
            self._stop_all(person)

    def set_role(self, person: str, role: Role) -> Account:
        """Make somebody admin, or member. Raises `account_unknown` and `last_admin`."""
        account = self._rooms.people.set_role(person, role)
        self._note(f"make_{role}", person)
        return account

    def invite(self, *, days: int = 7) -> str:
        """Make a code by which one person may register within so many days.

        Raises `registration_closed` where no code would help.
        """
        code = self._rooms.people.invite(self._who, days=days)
        self._note("invite", "")
        return code

    def delete(self, person: str) -> None:
        """Take a person away with all works and files, for good. Raises `last_admin`."""
        self._rooms.people.spare_last_admin(person)
        self._rooms.people.close(person)
        self._note("delete", person)
        self._rooms.desk.forget(person)

    def _stop_all(self, person: str) -> None:
        for job in self._rooms.ledger.running(person):
            with suppress(StudioError):  # it ended meanwhile, which is as good
                self._rooms.desk.stop(job.job_id)

    def _require_known(self, person: str) -> None:
        if self._rooms.people.account(person) is not None:
            return
        if person.startswith("s-"):
            raise StudioError("guest_fleeting")
        if not self._rooms.people.was_guest(person) and not self._came_us(person):
            raise StudioError("account_unknown")

    def _guest(self, person: str, after: str | None) -> list[Account]:
        """Give a guest who has ordered something here, by the id."""
        came_us = self._came_us(person) if _ID.fullmatch(person) and after is None else 0
        if not came_us or self._rooms.people.was_guest(person):
            return []
        return [Account(person, "", "", Role.MEMBER, came_us, 0, blocked=False)]

    def _came_us(self, person: str) -> int:
        who = self._rooms.database.tables.person
        query = who.select(who.created_us).where(who.person == person)
        return int(self._rooms.database.read(query.scalar) or 0)

    def _lines(self, accounts: list[Account]) -> list[PersonLine]:
        desk, counts = self._rooms.desk, self._open_counts([one.person for one in accounts])
        return [
            PersonLine(
                person=one.person,
                email=one.email,
                name=one.name,
                role=one.role,
                blocked=one.blocked,
                created_us=one.created_us,
                seen_us=one.seen_us,
                pending=counts.get((one.person, State.PENDING), 0),
                processing=counts.get((one.person, State.PROCESSING), 0),
                jobs=desk.count(one.person),
                used_bytes=desk.quota(one.person).bytes,
            )
            for one in accounts
        ]

    def _open_counts(self, persons: list[str]) -> dict[tuple[str, State], int]:
        """Count what waits and runs, by person, from an index alone."""
        job = self._rooms.database.tables.job
        query: Any = (
            job.select(job.person, job.state, fn.COUNT(SQL("1")))
            .where(job.state.in_(_OPEN), job.person.in_(persons))
            .group_by(job.person, job.state)
        )
        found = self._rooms.database.read(lambda: list(query.tuples())) if persons else []
        return {(str(person), State(state)): int(n) for person, state, n in found}

    # Jobs ---------------------------------------------------------------------------------

    def jobs(
        self, *, state: State | None = None, after: str | None = None, limit: int = 50
    ) -> tuple[list[JobLine], str | None]:
        """List everybody's jobs, the newest first, and the next page's key.

        Ended ones that their person deleted are left out.
        """
        query = self._jobs_query(state, after).limit(limit + 1)
        rows = self._rooms.database.read(lambda: list(query))
        emails = self._rooms.people.emails({str(row.person) for row in rows[:limit]})
        key = str(rows[limit - 1].seq) if len(rows) > limit else None
        return [_line(row, emails) for row in rows[:limit]], key

    def open(self, job_id: str) -> Details:
        """Show one job in full; for the next hour its files may be read. Raises `job_unknown`.

        Written down before anything is shown.
        """
        person = self._rooms.ledger.get(job_id).person
        self._rooms.desk.job(person, job_id)  # what its person deleted stays closed
        self._note("open", job_id)
        return self._rooms.desk.details(person, job_id)

    def cancel(self, job_id: str) -> JobLine:
        """Stop anybody's job. Raises `job_unknown`, `job_ended`."""
        job = self._rooms.desk.stop(job_id)
        self._note("cancel", job_id)
        return self._told(job)

    def set_priority(self, job_id: str, priority: int | None = None) -> JobLine:
        """Let a waiting job start before all of a lower priority; None: before all that wait now.

        Raises `job_unknown`, `job_ended`.
        """
        first = min(self._top_priority() + 1, PRIORITY_MAX) if priority is None else priority
        job = self._rooms.ledger.set_priority(job_id, first)
        self._note("priority", job_id)
        return self._told(job)

    def _top_priority(self) -> int:
        job = self._rooms.database.tables.job
        query = job.select(fn.MAX(job.priority)).where(job.state == State.PENDING)
        return int(self._rooms.database.read(query.scalar) or 0)

    def _jobs_query(self, state: State | None, after: str | None) -> Any:
        job = self._rooms.database.tables.job
        # Only what is told: what was asked for is not even read.
        query = job.select(
            *(job.seq, job.job_id, job.person, job.tab, job.workflow, job.state, job.priority),
            *(job.server, job.worker, job.failure_code),
            *(job.created_us, job.started_us, job.ended_us),
        )
        # As an expression: asked plainly, an index of no help here would seem to fit.
        kept = fn.COALESCE(job.deleted_us, SQL("0"), coerce=False) == 0
        if state is None or state.ended:
            query = query.where(kept | job.state.in_(_OPEN))
        if state is not None:
            query = query.where(job.state == state)
        if state is not None and state is not State.PROCESSING:
            # Nothing but running jobs has a lease: so one index gives these in order of age.
            query = query.where(job.lease_us == 0)
        if after is not None and after.isascii() and after.isdigit():
            query = query.where(job.seq < min(int(after[:19]), 2**62))
        return query.order_by(job.seq.desc())

    def _told(self, job: Job) -> JobLine:
        emails = self._rooms.people.emails([job.person])
        return JobLine(
            job_id=job.job_id,
            person=job.person,
            email=emails.get(job.person, ""),
            tab=job.tab,
            workflow=job.workflow,
            state=job.state,
            priority=job.priority,
            server=job.server,
            worker=job.worker,
            error=job.failure.code if job.failure else "",
            created_us=job.created_us,
            started_us=job.started_us,
            ended_us=job.ended_us,
        )

    # The house ----------------------------------------------------------------------------

    def health(self) -> Health:
        """Look at the whole house, with the servers' addresses. Raises `database_away`."""
        return self._rooms.desk.health()

    @property
    def limits(self) -> Mapping[str, object]:
        """Give what bounds people, by the setting's name."""
        return self._rooms.limits

    def deeds(self, *, limit: int = 100) -> list[DeedLine]:
        """List what admins did, the last first."""
        found = self._rooms.people.deeds(limit=limit)
        emails = self._rooms.people.emails({who for one in found for who in (one.admin, one.about)})
        return [
            DeedLine(one, emails.get(one.admin, ""), emails.get(one.about, "")) for one in found
        ]

    def _note(self, act: str, about: str) -> None:
        self._rooms.people.note(self._who, act, about)


def _line(row: Any, emails: Mapping[str, str]) -> JobLine:
    return JobLine(
        job_id=str(row.job_id),
        person=str(row.person),
        email=emails.get(str(row.person), ""),
        tab=str(row.tab),
        workflow=str(row.workflow),
        state=State(row.state),
        priority=int(row.priority),
        server=str(row.server),
        worker=str(row.worker),
        error=str(row.failure_code or ""),
        created_us=int(row.created_us),
        started_us=int(row.started_us),
        ended_us=int(row.ended_us),
    )


def _read_key(key: str | None) -> tuple[int, str] | None:
    """Read the key of a page; one that is not ours begins anew."""
    created, dash, person = (key or "").partition("-")
    if not (dash and created.isascii() and created.isdigit()):
        return None
    return min(int(created[:19]), 2**62), person
