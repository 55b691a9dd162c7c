"""The admin's routes: people, everybody's jobs, servers, limits, and what admins did.

Every handler gets its admin from `engine.oversight`, which refuses all others. Jobs are listed
without what was asked or made; `open` shows one, and is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from studio.engine.desk import Details
from studio.engine.health import Health
from studio.engine.history import Count
from studio.engine.jobs import State
from studio.engine.oversight import (
    PRIORITY_MAX,
    Admin,
    DeedLine,
    JobLine,
    Oversight,
    PersonLine,
)
from studio.engine.people import Role
from studio.errors import StudioError
from studio.web.answers import language_asked
from studio.web.rest import KEY_CHARS, PAGE_AT_MOST, Described, json_body
from studio.web.schemas import JobView, job_view
from studio.web.visitors import Visitors, visitor_of

DAYS_MAX: Final = 365
REGISTER_PAGE: Final = "account/register"
_TEXT_CHARS: Final = 254

Text = Annotated[str, Query(max_length=_TEXT_CHARS)]
After = Annotated[str | None, Query(max_length=KEY_CHARS)]
Limit = Annotated[int, Query(ge=1, le=PAGE_AT_MOST)]


class PersonView(BaseModel):
    """One person. Guests have no address. Times are UTC, ISO 8601."""

    person: str
    email: str | None
    name: str
    role: Role
    blocked: bool
    created_at: datetime
    last_seen_at: datetime | None
    pending: int
    processing: int
    jobs: int = Field(description="counted up to 1000; `jobs_more` says that there are more")
    jobs_more: bool
    used_bytes: int


class People(BaseModel):
    """Accounts and blocked guests, the newest first. `next` is the key of the next page."""

    people: list[PersonView]
    next: str | None


class JobOutline(BaseModel):
    """What is told of anybody's job: nothing of what was asked or made."""

    job_id: str
    person: str
    email: str | None
    tab: str
    workflow: str
    status: State
    priority: int
    server: str
    worker: str
    error: str | None = Field(description="the code of the failure")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Jobs(BaseModel):
    """Everybody's jobs, the newest first. `next` is the key of the next page."""

    jobs: list[JobOutline]
    next: str | None


class OpenedJob(JobView):
    """A job in full. Its files may be read for an hour."""

    person: str
    server: str
    inputs: list[str] = Field(description="addresses of the files that were given")


class RoleOrder(BaseModel):
    """What a person is to be."""

    role: Role


class InvitationOrder(BaseModel):
    """How long an invitation is good for."""

    days: int = Field(default=7, ge=1, le=DAYS_MAX)


class Invitation(BaseModel):
    """A code by which one person may register; it is shown this once."""

    code: str
    url: str
    expires_at: datetime


class PriorityOrder(BaseModel):
    """Higher starts first; 0 is everybody's. Nothing: before all that wait now."""

    priority: int | None = Field(default=None, ge=0, le=PRIORITY_MAX)


class ServerLine(BaseModel):
    """One ComfyUI. `reason` says why it takes no jobs, as a text key."""

    name: str
    url: str
    online: bool
    practice: bool
    version: str
    queue_length: int
    in_use: int
    reason: str


class WorkerLine(BaseModel):
    """One process that runs jobs."""

    name: str
    host: str
    pid: int
    online: bool
    places: int
    running: int
    servers: list[str]
    started_at: datetime
    last_seen_at: datetime


class House(BaseModel):
    """Servers and workers, and how much waits and runs."""

    servers: list[ServerLine]
    workers: list[WorkerLine]
    waiting: int
    running: int
    accepted: int
    disk_free_bytes: int
    disk_floor_bytes: int


class SetLimits(BaseModel):
    """The settings that bound what people may do."""

    limits: dict[str, int | str]


class DeedView(BaseModel):
    """One thing an admin did; `about` is a person's or a job's id."""

    at: datetime
    admin: str
    admin_email: str | None
    act: str
    about: str
    about_email: str | None


class Deeds(BaseModel):
    """What admins did, the last first."""

    deeds: list[DeedView]


class Settled(BaseModel):
    """How a person stands now."""

    person: str
    blocked: bool | None = None
    role: Role | None = None


class AdminRoutes:
    """The handlers."""

    def __init__(self, oversight: Oversight, visitors: Visitors, language: str) -> None:
        self._oversight = oversight
        self._visitors = visitors
        self._language = language

    # People -------------------------------------------------------------------------------

    def people(
        self, request: Request, text: Text = "", after: After = None, limit: Limit = 50
    ) -> People:
        """List people by page; `text` is of address or name, or a person's whole id."""
        found, key = self._admin(request).people(text=text, after=after, limit=limit)
        return People(people=[person_view(one) for one in found], next=key)

    def block(self, request: Request, person: str) -> Settled:
        """Keep a person or a guest out, and stop what they have waiting and running."""
        self._admin(request).block(person)
        self._visitors.forget(person)
        return Settled(person=person, blocked=True)

    def unblock(self, request: Request, person: str) -> Settled:
        """Let a person or a guest in again."""
        self._admin(request).block(person, on=False)
        self._visitors.forget(person)
        return Settled(person=person, blocked=False)

    async def role(self, request: Request, person: str) -> Settled:
        """Make somebody admin, or member."""
        admin, said = self._admin(request), await json_body(request)
        if said.get("role") not in [str(one) for one in Role]:
            raise StudioError("field_not_a_choice", field="role", choices=", ".join(Role))
        account = await anyio.to_thread.run_sync(admin.set_role, person, Role(said["role"]))
        return Settled(person=account.person, role=account.role)

    async def invite(self, request: Request) -> Response:
        """Make a code by which one person may register; it is shown this once."""
        admin, said = self._admin(request), await optional_body(request)
        days = _whole(said, "days", 7, 1, DAYS_MAX)
        code = await anyio.to_thread.run_sync(lambda: admin.invite(days=days))
        made = Invitation(
            code=code,
            url=f"{str(request.base_url).rstrip('/')}/{invitation_path(code)}",
            expires_at=datetime.now(UTC) + timedelta(days=days),
        )
        # Whoever reads the answer can register: no cache keeps it.
        return JSONResponse(
            made.model_dump(mode="json"), status_code=201, headers={"cache-control": "no-store"}
        )

    # Jobs ---------------------------------------------------------------------------------

    def jobs(
        self,
        request: Request,
        state: State | None = None,
        after: After = None,
        limit: Limit = 50,
    ) -> Jobs:
        """List everybody's jobs, without what was asked or made."""
        found, key = self._admin(request).jobs(state=state, after=after, limit=limit)
        return Jobs(jobs=[outline_view(one) for one in found], next=key)

    def open(self, request: Request, job_id: str) -> OpenedJob:
        """Show a job in full, and its files for an hour. This is written down."""
        found = self._admin(request).open(job_id)
        root = str(request.scope.get("root_path", ""))
        return opened_view(found, root, language_asked(request, self._language))

    def cancel(self, request: Request, job_id: str) -> JobOutline:
        """Stop anybody's job."""
        return outline_view(self._admin(request).cancel(job_id))

    async def priority(self, request: Request, job_id: str) -> JobOutline:
        """Let a waiting job start earlier: before all that wait now, or as `priority` says."""
        admin, said = self._admin(request), await optional_body(request)
        wanted = said.get("priority")
        chosen = None if wanted is None else _whole(said, "priority", 0, 0, PRIORITY_MAX)
        told = await anyio.to_thread.run_sync(admin.set_priority, job_id, chosen)
        return outline_view(told)

    # The house ----------------------------------------------------------------------------

    def house(self, request: Request) -> House:
        """Tell how servers and workers are, with addresses."""
        return house_view(self._admin(request).health())

    def limits(self, request: Request) -> SetLimits:
        """List the settings that bound what people may do."""
        return SetLimits(limits=limits_view(self._admin(request).limits))

    def deeds(self, request: Request, limit: Limit = 100) -> Deeds:
        """List what admins did, the last first."""
        found = self._admin(request).deeds(limit=limit)
        return Deeds(deeds=[deed_view(one) for one in found])

    def _admin(self, request: HTTPConnection) -> Admin:
        return admin_of(request, self._oversight)


def admin_of(request: HTTPConnection, oversight: Oversight) -> Admin:
    """Admit who asks. Raises `person_unknown` for nobody, `admin_needed` for all but admins."""
    visitor = visitor_of(request.scope)
    if visitor.person is None:
        raise StudioError("person_unknown")
    return oversight.admit(visitor.account)


async def optional_body(request: Request) -> dict[str, Any]:
    """Read a JSON object, or nothing."""
    return await json_body(request) if await request.body() else {}


def _whole(said: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = said.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise StudioError("field_wrong_type", field=name, type="integer")
    if not low <= value <= high:
        raise StudioError("field_out_of_range", field=name, value=value, min=low, max=high, step=1)
    return value


def invitation_path(code: str) -> str:
    """Write where an invitation is used, below the studio's address."""
    return f"{REGISTER_PAGE}?invitation={quote(code)}"


# --- from our values to these --------------------------------------------------------------------


def person_view(line: PersonLine) -> PersonView:
    """Show a person to an admin."""
    jobs: Count = line.jobs
    return PersonView(
        person=line.person,
        email=line.email or None,
        name=line.name,
        role=line.role,
        blocked=line.blocked,
        created_at=_moment(line.created_us),
        last_seen_at=_perhaps(line.seen_us),
        pending=line.pending,
        processing=line.processing,
        jobs=jobs.number,
        jobs_more=jobs.more,
        used_bytes=line.used_bytes,
    )


def outline_view(line: JobLine) -> JobOutline:
    """Show what is told of anybody's job."""
    return JobOutline(
        job_id=line.job_id,
        person=line.person,
        email=line.email or None,
        tab=line.tab,
        workflow=line.workflow,
        status=line.state,
        priority=line.priority,
        server=line.server,
        worker=line.worker,
        error=line.error or None,
        created_at=_moment(line.created_us),
        started_at=_perhaps(line.started_us),
        finished_at=_perhaps(line.ended_us),
    )


def opened_view(found: Details, root: str, language: str) -> OpenedJob:
    """Show a job that an admin opened."""
    job = found.job
    there = [ref for ref in job.inputs if ref not in found.missing]
    shown = job_view(job, None, root=root, language=language)
    return OpenedJob(
        **shown.model_dump(),
        person=job.person,
        server=job.server,
        inputs=[f"{root}/{input_path(job.job_id, ref)}" for ref in there],
    )


def input_path(job_id: str, ref: str) -> str:
    """Write the address of an input of an opened job, below the studio's."""
    return f"inputs/{quote(ref)}?job={quote(job_id)}"


def house_view(health: Health) -> House:
    """Show servers and workers to an admin."""
    return House(
        servers=[
            ServerLine(
                name=one.name,
                url=one.url,
                online=one.online,
                practice=one.stand_in,
                version=one.version,
                queue_length=one.queue_remaining,
                in_use=one.in_use,
                reason=one.reason,
            )
            for one in health.servers
        ],
        workers=[
            WorkerLine(
                name=one.name,
                host=one.host,
                pid=one.pid,
                online=one.online,
                places=one.places,
                running=one.running,
                servers=[server.name for server in one.servers if server.online],
                started_at=_moment(one.started_us),
                last_seen_at=_moment(one.seen_us),
            )
            for one in health.workers
        ],
        waiting=health.waiting,
        running=health.running,
        accepted=health.accepted,
        disk_free_bytes=health.disk_free_bytes,
        disk_floor_bytes=health.disk_floor_bytes,
    )


def limits_view(limits: Mapping[str, object]) -> dict[str, int | str]:
    """Write the limits as JSON holds them."""
    return {name: value if isinstance(value, int) else str(value) for name, value in limits.items()}


def deed_view(line: DeedLine) -> DeedView:
    """Show what an admin did."""
    deed = line.deed
    return DeedView(
        at=_moment(deed.at_us),
        admin=deed.admin,
        admin_email=line.admin_email or None,
        act=deed.act,
        about=deed.about,
        about_email=line.about_email or None,
    )


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)


def _perhaps(us: int) -> datetime | None:
    return _moment(us) if us else None


# --- routes ---------------------------------------------------------------------------------------


def admin_router(handlers: AdminRoutes) -> APIRouter:
    """Bind the handlers to their addresses."""
    made = Described(prefix="/api/admin")

    def bind(
        method: str, path: str, handler: Callable[..., Any], *statuses: int, **more: Any
    ) -> None:
        name = f"admin_{handler.__name__}"
        made.bind(method, path, handler, 401, 403, 503, *statuses, name=name, **more)

    bind("GET", "/people", handlers.people, 422)
    bind("POST", "/people/{person}/block", handlers.block, 404, 409, 422)
    bind("POST", "/people/{person}/unblock", handlers.unblock, 404, 409, 422)
    one = {"optional": True}
    bind("POST", "/people/{person}/role", handlers.role, 400, 404, 409, 422, body=RoleOrder, **one)
    invited = {"body": InvitationOrder, "answer": Invitation, "ok": 201, **one}
    bind("POST", "/invitations", handlers.invite, 400, 422, **invited)
    bind("GET", "/jobs", handlers.jobs, 422)
    bind("POST", "/jobs/{job_id}/open", handlers.open, 404, 422)
    bind("POST", "/jobs/{job_id}/cancel", handlers.cancel, 404, 409, 422)
    first = {"body": PriorityOrder, **one}
    bind("POST", "/jobs/{job_id}/priority", handlers.priority, 400, 404, 409, 422, **first)
    bind("GET", "/servers", handlers.house)
    bind("GET", "/limits", handlers.limits)
    bind("GET", "/deeds", handlers.deeds, 422)
    return made
