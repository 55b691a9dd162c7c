"""The gallery tab: what this person made, newest first, and everything one may do with it.

The page holds the filters and the pages of tiles (`assets/gallery.js`); each answer is a value of
one of two `gr.HTML` components, so that no picture passes through Gradio. Use again and Send to
are events of their own for each tab, since what they fill differs.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gradio as gr

from studio import texts
from studio.engine.desk import Desk, Receiver
from studio.engine.history import AT_ONCE_AT_MOST, COUNTED_AT_MOST, FOUND_AT_MOST, Filters
from studio.engine.jobs import Job, Output, State
from studio.engine.workflow.catalog import Catalog, Tab
from studio.errors import StudioError
from studio.tabs import form, showing
from studio.tabs.asking import Asker, Speaks, asker_of, spoken
from studio.tabs.parts import Parts
from studio.tabs.quiet import QUIET
from studio.tabs.result import output_url, thumbnail_url
from studio.tabs.tab import TabPage
from studio.tabs.words import Words

NAME: Final = "gallery"
PAGE: Final = 24
_TEXT_AT_MOST: Final = 200
_FACTS: Final = (
    "search", "everything", "workflow", "state", "all", "favourites", "since", "until", "more",
    "select", "selected", "zip", "delete", "undo", "deleted", "restored", "none", "nothing",
    "clear", "close", "previous", "next", "open", "count", "count_one",
    "count_more", "all_of", "select_all", "most", "failed",
)  # fmt: skip


class GalleryPage(Speaks):
    """Draws the gallery, and holds its handlers."""

    def __init__(self, parts: Parts, words: Words, pages: Sequence[TabPage]) -> None:
        self._desk: Desk = parts.desk
        self._catalog: Catalog = parts.catalog
        self._guests = parts.guests
        self._default = parts.settings.studio_language
        self._words = words
        self._pages = {page.tab.name: page for page in pages}

    # Drawing ------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw the gallery into the open `gr.Tab`."""
        facts = json.dumps(self._facts(), ensure_ascii=False)
        events = ["look", "more", "favourite", "remove", "restore", "changed", "open"]
        events += [f"{act}_{name}" for name in self._pages for act in ("again", "send")]
        said = ", ".join(f"'{event}'" for event in events)
        with gr.Column(elem_classes=["studio-card", "studio-gallery-card"]):
            self.grid = gr.HTML(
                value={},
                html_template='<div class="studio-gallery"></div>',
                js_on_load=f"window.studioGallery.grid(element, props, watch, trigger, {facts});"
                f" // {said}",
                elem_id="studio-gallery-grid",
                apply_default_css=False,
            )
        # What is drawn anew with each value would lose what one is typing: answers come apart.
        self.answers = self._carrier("pages")
        self.details = self._carrier("details")

    def _carrier(self, name: str) -> gr.HTML:
        return gr.HTML(
            value={},
            html_template="<i></i>",
            js_on_load=f"window.studioGallery.{name}(props, watch);",
            elem_id=f"studio-gallery-{name}",
            elem_classes="studio-carrier",
            apply_default_css=False,
        )

    def _facts(self) -> Mapping[str, Any]:
        """Give the words and choices of the filters, in both languages."""
        return {
            "words": {
                language: {word: texts.text(f"gallery.{word}", language) for word in _FACTS}
                for language in texts.LANGUAGES
            },
            "workflows": [
                [tab.name, _titles(tab.title), _workflows(tab)] for tab in self._catalog.tabs
            ],
            "most": AT_ONCE_AT_MOST,
            "states": [[str(state), _state_words(state)] for state in State],
        }

    def wire(self, tabs: gr.Tabs) -> None:
        """Join events and handlers; `tabs` is what is turned to on Use again and Send to."""
        quiet = QUIET | {"queue": False}
        grid: Any = self.grid
        grid.look(self.look, None, self.answers, trigger_mode="multiple", **quiet)
        grid.more(self.more, None, self.answers, trigger_mode="multiple", **quiet)
        grid.open(self.open, None, self.details, trigger_mode="multiple", **quiet)
        grid.favourite(self.favourite, None, self.details, trigger_mode="multiple", **quiet)
        grid.remove(self.remove, None, self.details, trigger_mode="multiple", **quiet)
        grid.restore(self.restore, None, self.details, trigger_mode="multiple", **quiet)
        cards = [part for page in self._pages.values() for part in (page.stage, page.recent)]
        grid.changed(self.changed, None, cards, trigger_mode="multiple", **quiet)
        for name, page in self._pages.items():
            fields = page.form.components
            again = getattr(grid, f"again_{name}")
            again(self._again(page), None, [tabs, *fields], **quiet)
            send = getattr(grid, f"send_{name}")
            send(self._send(page), fields, [tabs, *fields], preprocess=False, **quiet)

    # Handlers -----------------------------------------------------------------------------

    def asker(self, request: gr.Request) -> Asker:
        """Read who asks."""
        return asker_of(request, self._guests, self._default)

    @spoken
    async def look(self, request: gr.Request, event: gr.EventData) -> Any:
        """Give the first page of what the filters ask for, and how much there is."""
        asker, filters = self.asker(request), read_filters(event.filters)
        page = await asyncio.to_thread(self._desk.history, asker.person, filters, limit=PAGE)
        most = FOUND_AT_MOST if filters.text else COUNTED_AT_MOST
        count = await asyncio.to_thread(
            lambda: self._desk.count(asker.person, filters, at_most=most)
        )
        return _answer(
            "look",
            turn=str(event.turn),
            tiles=[self._tile(job, asker.language) for job in page.jobs],
            next=page.next or "",
            count=count.number,
            many=count.more,
        )

    @spoken
    async def more(self, request: gr.Request, event: gr.EventData) -> Any:
        """Give the page after a key."""
        asker, filters = self.asker(request), read_filters(event.filters)
        page = await asyncio.to_thread(
            lambda: self._desk.history(asker.person, filters, after=str(event.after), limit=PAGE)
        )
        tiles = [self._tile(job, asker.language) for job in page.jobs]
        return _answer("more", turn=str(event.turn), tiles=tiles, next=page.next or "")

    @spoken
    async def open(self, request: gr.Request, event: gr.EventData) -> Any:
        """Give the large view of one job."""
        return await self._opened(self.asker(request), str(event.job))

    async def _opened(self, asker: Asker, job_id: str) -> Any:
        details = await asyncio.to_thread(self._desk.details, asker.person, job_id)
        job = details.job
        workflow = self._catalog.workflows.get(job.workflow)
        kinds = dict.fromkeys(output.kind for output in job.outputs)
        sends = {kind: self._sends(kind, asker.language) for kind in kinds}
        markup = showing.view(details, workflow, sends, asker.language, open_tabs=self._pages)
        return _answer(
            "open", job=job_id, html=markup, tile=self._tile(job, asker.language)["html"]
        )

    def _sends(self, kind: str, language: str) -> list[showing.Way]:
        """Name the fields that take a result, as `Tab · Field`."""
        return [
            showing.Way(one.tab, one.field, self._way(one, language)) for one in self._takes(kind)
        ]

    def _takes(self, kind: str) -> list[Receiver]:
        return [one for one in self._desk.receivers(kind) if one.tab in self._pages]

    def _way(self, one: Receiver, language: str) -> str:
        tab = self._pages[one.tab].tab
        field = tab.parameter(one.field)
        label = texts.local(field.label, language) if field else one.field
        return f"{texts.local(tab.title, language)} · {label}"

    @spoken
    async def favourite(self, request: gr.Request, event: gr.EventData) -> Any:
        """Set or unset a favourite, and give its large view and tile anew."""
        asker = self.asker(request)
        on = event.on is True
        await asyncio.to_thread(self._desk.favourite, asker.person, str(event.job), on)
        return await self._opened(asker, str(event.job))

    @spoken
    async def remove(self, request: gr.Request, event: gr.EventData) -> Any:
        """Put jobs out of sight, to be restored within a day."""
        asker = self.asker(request)
        gone = await asyncio.to_thread(self._desk.delete, asker.person, _ids(event.jobs))
        return _answer("removed", jobs=list(gone))

    @spoken
    async def restore(self, request: gr.Request, event: gr.EventData) -> Any:
        """Bring deleted jobs back."""
        asker = self.asker(request)
        back = await asyncio.to_thread(self._desk.restore, asker.person, _ids(event.jobs))
        return _answer("restored", jobs=list(back))

    @spoken
    async def changed(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Let the tabs whose results came or went show what is there now."""
        asker = self.asker(request)
        shown: Mapping[str, Any] = event.shown if isinstance(event.shown, Mapping) else {}
        updates: list[Any] = []
        for name, page in self._pages.items():
            if name in _ids(event.tabs):
                updates += await page.renewed(asker, str(shown.get(name, "")))
            else:
                updates += [gr.skip(), gr.skip()]
        return updates

    def _again(self, page: TabPage) -> Callable[..., Any]:
        """Make the handler that fills a tab's form with all that made a job, and turns to it."""

        async def again(self: GalleryPage, request: gr.Request, event: gr.EventData) -> list[Any]:
            asker = self.asker(request)
            job = await asyncio.to_thread(self._desk.job, asker.person, str(event.job))
            names = {one.ref: one.name for one in job.given}
            fields = form.filled(page.form, job.values, names, at=page.moment(asker))
            return [gr.Tabs(selected=page.tab.name), *fields]

        return self._bound(again)

    def _send(self, page: TabPage) -> Callable[..., Any]:
        """Make the handler that puts a result into one of a tab's fields, and turns to it."""

        async def send(
            self: GalleryPage, request: gr.Request, event: gr.EventData, *held: Any
        ) -> list[Any]:
            asker = self.asker(request)
            job = await asyncio.to_thread(self._desk.job, asker.person, str(event.job))
            item, at = sendable(job, str(event.name)), page.moment(asker)
            fields = form.sent_to(page.form, held, str(event.field), item, at=at)
            return [gr.Tabs(selected=page.tab.name), *fields]

        return self._bound(send)

    def _bound(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Make a method of a function, so that it speaks as all handlers do."""
        said: Callable[..., Any] = spoken(handler).__get__(self)
        return said

    def _tile(self, job: Job, language: str) -> dict[str, str]:
        title = self._title(job, language)
        return {"job": job.job_id, "html": showing.tile(job, title, language)}

    def _title(self, job: Job, language: str) -> str:
        workflow = self._catalog.workflows.get(job.workflow)
        return texts.local(workflow.manifest.title, language) if workflow else job.workflow


def _answer(kind: str, **facts: Any) -> dict[str, Any]:
    """Make a value that is never equal to the one before, so that the page hears of it."""
    return {"kind": kind, "at": time.monotonic_ns(), **facts}


def _titles(title: Mapping[str, str]) -> Mapping[str, str]:
    return {language: texts.local(title, language) for language in texts.LANGUAGES}


def _workflows(tab: Tab) -> list[tuple[str, Mapping[str, str]]]:
    return [(workflow.name, _titles(workflow.manifest.title)) for workflow in tab.workflows]


def _state_words(state: State) -> Mapping[str, str]:
    return {language: texts.text(f"state.{state}", language) for language in texts.LANGUAGES}


def _ids(given: object) -> list[str]:
    return [str(one) for one in given] if isinstance(given, list) else []


def read_filters(given: object) -> Filters:
    """Read what the page asks for; what is no filter of ours does not count."""
    asked: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    state = asked.get("state")
    return Filters(
        tab=str(asked.get("tab") or "") or None,
        workflow=str(asked.get("workflow") or "") or None,
        states=(State(state),) if state in [str(one) for one in State] else (),
        favourite=asked.get("favourite") is True,
        since_us=_moment(asked.get("since_ms")),
        until_us=_moment(asked.get("until_ms")),
        text=str(asked.get("text") or "")[:_TEXT_AT_MOST],
    )


def _moment(given: object) -> int | None:
    """Read a browser's milliseconds as our microseconds."""
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not abs(given) < 1e15:
        return None
    return round(given * 1000)


def sendable(job: Job, name: str) -> dict[str, str]:
    """Write a result as a form's field holds it."""
    output = next((one for one in job.outputs if one.name == name), None)
    if output is None:
        raise StudioError("file_unknown", name=name)
    return {"job_id": job.job_id, "name": output.name, "url": _shown_at(job, output)}


def _shown_at(job: Job, output: Output) -> str:
    return thumbnail_url(job, output) if output.kind == "image" else output_url(job, output)
