"""The admin's tab: people, everybody's jobs, servers and workers, limits, what admins did.

It is there for everybody and shown to admins only; what counts is that every handler gets its
admin from `engine.oversight`, which refuses all others. The page draws it (`assets/admin.js`);
each answer is a value of one `gr.HTML`, as in the gallery.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import gradio as gr
from pydantic import BaseModel

from studio import texts
from studio.engine.desk import Details
from studio.engine.jobs import State
from studio.engine.oversight import Admin, Oversight
from studio.engine.people import Role
from studio.engine.workflow.catalog import Catalog
from studio.tabs.asking import Asker, Speaks, asker_of, spoken
from studio.tabs.parts import Parts
from studio.tabs.quiet import QUIET
from studio.tabs.words import Words
from studio.web.admin import (
    DAYS_MAX,
    deed_view,
    house_view,
    input_path,
    invitation_path,
    limits_view,
    opened_view,
    outline_view,
    person_view,
)
from studio.web.answers import as_shown
from studio.web.visitors import visitor_of

T = TypeVar("T")
NAME: Final = "admin"
PAGE: Final = 25
DEEDS: Final = 100
_TEXT_AT_MOST: Final = 254
_EVENTS: Final = (
    "people", "jobs", "house", "limits", "deeds",
    "block", "role", "invite", "open", "cancel", "first",
)  # fmt: skip
_WORDS: Final = (
    "people", "jobs", "house", "limits", "deeds", "refresh", "more", "none", "sure", "close",
    "search", "person", "since", "seen", "never", "jobs_of", "disk", "admin", "member", "blocked",
    "guest", "fleeting", "host", "open_jobs", "many", "block", "unblock", "make_admin",
    "make_member", "invite", "invite_days", "invite_made", "copy", "copied",
    "state", "all", "workflow", "ordered", "took", "server", "fault", "open", "cancel", "first",
    "first_done", "priority", "open_title", "open_say", "open_do", "opened", "given",
    "servers", "workers", "name", "address", "version", "queue", "places", "heard", "online",
    "offline", "practice", "waiting", "running", "accepted", "free", "limit", "value", "setting",
    "when", "who", "did", "about", "no_limit",
    "act_block", "act_unblock", "act_make_admin", "act_make_member", "act_invite", "act_open",
    "act_cancel", "act_priority", "act_add", "act_password", "act_delete",
)  # fmt: skip


class AdminPage(Speaks):
    """Draws the tab, and holds its handlers."""

    def __init__(self, parts: Parts, words: Words) -> None:
        self._oversight: Oversight = parts.oversight
        self._catalog: Catalog = parts.catalog
        self._limits = parts.settings.limits
        self._guests = parts.guests
        self._default = parts.settings.studio_language
        self._words = words

    # Drawing ------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the tab into the open `gr.Tabs`, out of sight."""
        facts = json.dumps(self._facts(), ensure_ascii=False)
        said = ", ".join(f"'{event}'" for event in _EVENTS)
        with (
            gr.Tab(self._words.page("admin.title"), id=NAME, visible=False) as self.tab,
            gr.Column(elem_classes=["studio-card", "studio-admin-card"]),
        ):
            self.board = gr.HTML(
                value={},
                html_template='<div class="studio-admin"></div>',
                js_on_load=f"window.studioAdmin.board(element, trigger, {facts}); // {said}",
                elem_id="studio-admin-board",
                apply_default_css=False,
            )
            self.answers = gr.HTML(
                value={},
                html_template="<i></i>",
                js_on_load="window.studioAdmin.answers(props, watch);",
                elem_id="studio-admin-answers",
                elem_classes="studio-carrier",
                apply_default_css=False,
            )

    def _facts(self) -> Mapping[str, Any]:
        """Give words and choices, in both languages."""
        return {
            "words": {
                language: {word: texts.text(f"admin.{word}", language) for word in _WORDS}
                for language in texts.LANGUAGES
            },
            "limits": {
                language: {
                    name: texts.text(f"admin.limit.{name.lower()}", language)
                    for name in self._limits
                }
                for language in texts.LANGUAGES
            },
            "states": {
                language: {str(one): texts.text(f"state.{one}", language) for one in State}
                for language in texts.LANGUAGES
            },
        }

    def wire(self) -> None:
        """Join events and handlers: private, and without a name a program could call."""
        board: Any = self.board
        for event in _EVENTS:
            getattr(board, event)(
                getattr(self, event),
                None,
                self.answers,
                trigger_mode="multiple",
                queue=False,
                **QUIET,
            )

    # Handlers -----------------------------------------------------------------------------

    def asker(self, request: gr.Request) -> Asker:
        """Read who asks."""
        return asker_of(request, self._guests, self._default)

    def show(self, request: gr.Request) -> Any:
        """Show the tab to an admin; it stays out of everybody else's sight."""
        account = visitor_of(_scope(request)).account
        return gr.Tab(visible=account is not None and account.admin)

    @spoken
    async def people(self, request: gr.Request, event: gr.EventData) -> Any:
        """Give a page of people."""
        text, after = str(event.text or "")[:_TEXT_AT_MOST], str(event.after or "") or None
        found, key = await self._asked(
            request, lambda admin: admin.people(text=text, after=after, limit=PAGE)
        )
        lines = [_plain(person_view(one)) for one in found]
        return _answer("people", turn=event.turn, lines=lines, next=key or "", more=bool(after))

    @spoken
    async def jobs(self, request: gr.Request, event: gr.EventData) -> Any:
        """Give a page of everybody's jobs, without what was asked or made."""
        state = State(event.state) if event.state in [str(one) for one in State] else None
        after = str(event.after or "") or None
        found, key = await self._asked(
            request, lambda admin: admin.jobs(state=state, after=after, limit=PAGE)
        )
        language = self.asker(request).language
        lines = [self._job(_plain(outline_view(one)), language) for one in found]
        return _answer("jobs", turn=event.turn, lines=lines, next=key or "", more=bool(after))

    @spoken
    async def house(self, request: gr.Request) -> Any:
        """Tell how servers and workers are."""
        house = house_view(await self._asked(request, lambda admin: admin.health()))
        language = self.asker(request).language
        servers = [
            _plain(one) | {"why": _reason(one.reason, one.name, language)} for one in house.servers
        ]
        return _answer("house", **_plain(house) | {"servers": servers})

    @spoken
    async def limits(self, request: gr.Request) -> Any:
        """List what bounds people."""
        found = await self._asked(request, lambda admin: admin.limits)
        return _answer("limits", limits=limits_view(found))

    @spoken
    async def deeds(self, request: gr.Request) -> Any:
        """List what admins did."""
        found = await self._asked(request, lambda admin: admin.deeds(limit=DEEDS))
        return _answer("deeds", lines=[_plain(deed_view(one)) for one in found])

    @spoken
    async def block(self, request: gr.Request, event: gr.EventData) -> Any:
        """Keep a person out, or let them in again."""
        person, on = str(event.person), event.on is True
        await self._asked(request, lambda admin: admin.block(person, on))
        return _answer("changed", what="people")

    @spoken
    async def role(self, request: gr.Request, event: gr.EventData) -> Any:
        """Make somebody admin, or member."""
        person, role = str(event.person), Role.ADMIN if event.admin is True else Role.MEMBER
        await self._asked(request, lambda admin: admin.set_role(person, role))
        return _answer("changed", what="people")

    @spoken
    async def invite(self, request: gr.Request, event: gr.EventData) -> Any:
        """Make an invitation; the page knows under which address people reach it."""
        days = event.days if isinstance(event.days, int) and 1 <= event.days <= DAYS_MAX else 7
        code = await self._asked(request, lambda admin: admin.invite(days=days))
        return _answer("invited", path=invitation_path(code), days=days)

    @spoken
    async def open(self, request: gr.Request, event: gr.EventData) -> Any:
        """Show one job in full, which is written down."""
        job_id = str(event.job)
        found = await self._asked(request, lambda admin: admin.open(job_id))
        return _answer("opened", **self._opened(found, self.asker(request).language))

    @spoken
    async def cancel(self, request: gr.Request, event: gr.EventData) -> Any:
        """Stop anybody's job."""
        job_id = str(event.job)
        line = await self._asked(request, lambda admin: admin.cancel(job_id))
        return self._changed(_plain(outline_view(line)), request)

    @spoken
    async def first(self, request: gr.Request, event: gr.EventData) -> Any:
        """Let a waiting job start before all others."""
        job_id = str(event.job)
        line = await self._asked(request, lambda admin: admin.set_priority(job_id))
        return self._changed(_plain(outline_view(line)), request)

    # ------------------------------------------------------------------------------------------

    async def _asked(self, request: gr.Request, work: Callable[[Admin], T]) -> T:
        """Admit who asks, then ask; both in a thread. Raises `admin_needed`."""
        account = visitor_of(_scope(request)).account
        return await asyncio.to_thread(lambda: work(self._oversight.admit(account)))

    def _changed(self, line: dict[str, Any], request: gr.Request) -> Any:
        return _answer("changed", what="jobs", line=self._job(line, self.asker(request).language))

    def _job(self, line: dict[str, Any], language: str) -> dict[str, Any]:
        fault = as_shown(line["error"], {}, language)["message"] if line["error"] else ""
        return line | {"title": self._title(line["workflow"], language), "fault": fault}

    def _title(self, name: str, language: str) -> str:
        workflow = self._catalog.workflows.get(name)
        return texts.local(workflow.manifest.title, language) if workflow else name

    def _opened(self, found: Details, language: str) -> dict[str, Any]:
        """Give a job with its values as its form calls them; addresses relative to the page."""
        job, workflow = found.job, self._catalog.workflows.get(found.job.workflow)
        values = []
        for name, value in job.values.items():
            parameter = workflow.manifest.parameter(name) if workflow else None
            if value in (None, "") or (parameter is not None and parameter.type.file):
                continue
            label = texts.local(parameter.label, language) if parameter else name
            values.append([label, str(value)])
        given = [
            {"name": one.name, "kind": one.kind, "url": input_path(job.job_id, one.ref)}
            for one in job.given
            if one.ref not in found.missing
        ]
        title = self._title(job.workflow, language)
        shown = _plain(opened_view(found, ".", language))
        return {"job": shown | {"title": title, "settings": values, "given": given}}


def _scope(request: gr.Request) -> Mapping[str, Any]:
    """Give what `web.guards` wrote into the request; nobody where Gradio made one of its own."""
    inner: Any = request.request
    return inner.scope if inner is not None else {}


def _reason(key: str, name: str, language: str) -> str:
    return texts.text(key, language, server=name) if texts.has(key) else ""


def _plain(view: BaseModel) -> dict[str, Any]:
    return view.model_dump(mode="json")


def _answer(kind: str, **facts: Any) -> dict[str, Any]:
    """Make a value that is never equal to the one before, so that the page hears of it."""
    return {"kind": kind, "at": time.monotonic_ns(), **facts}
