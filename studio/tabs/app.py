"""The whole page: head, banner, one tab a catalog tab, endpoints for programs; and its launch."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import gradio as gr
from fastapi import APIRouter
from gradio.i18n import I18nData

from studio import texts
from studio.engine.desk import ServerView
from studio.engine.workflow.catalog import Tab
from studio.errors import StudioError
from studio.tabs import admin, gallery, head
from studio.tabs.api import Programs, unmarked
from studio.tabs.asking import Asker, asker_of
from studio.tabs.follow import Watches
from studio.tabs.parts import Parts
from studio.tabs.pictures import SAMPLES
from studio.tabs.quiet import QUIET
from studio.tabs.tab import TabPage
from studio.tabs.theme import theme
from studio.tabs.tunnel import ShareLink, share_refusal
from studio.tabs.words import Words
from studio.web.accounts import AccountRoutes, account_router
from studio.web.admin import AdminRoutes, admin_router
from studio.web.gradio_files import GradioFiles
from studio.web.guards import Guards, Rules
from studio.web.pages import AccountPages
from studio.web.proxies import networks
from studio.web.rest import Rest, router
from studio.web.shared import ShareRoutes, share_router
from studio.web.site import site
from studio.web.visitors import LOCAL_PERSON, Mode, Visitors

ASSETS: Final = Path(__file__).parent / "assets"
MB: Final = 1_000_000
FOLLOWERS: Final = 1000
"""Gradio's slots for events of the whole app: each page that watches a job takes one."""

CACHE_SWEEP_S: Final = 3600
CACHE_KEEP_S: Final = 24 * 3600
"""Uploads on their way in, and files handed to programs, live a day in Gradio's cache."""

_KINDS: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SCRIPT_WORDS: Final = {
    "close": "page.view.close",
    "previous": "page.view.previous",
    "next": "page.view.next",
    "download": "page.download",
    "fault": "page.error.title",
    "ended": "account.ended",
    "ended_hint": "account.ended_hint",
    "again": "account.again",
    "as_guest": "account.as_guest",
    "other": "account.other",
    "other_hint": "account.other_hint",
    "reload": "account.reload",
    "share_title": "page.share.title",
    "share_making": "page.share.making",
    "share_until": "shared.until",
    "share_what": "page.share.what",
    "share_copy": "page.share.copy",
    "share_copied": "page.share.copied",
    "share_open": "page.share.open",
    "share_stop": "page.share.stop",
    "share_stopped": "page.share.stopped",
    "share_which": "page.share.which",
    "share_file": "page.share.file",
    "share_term": "page.share.term",
    "share_make": "page.share.make",
    "share_makes": "page.share.makes",
    "share_made": "page.share.made",
    "share_renew": "page.share.renew",
    "share_copy_all": "page.share.copy_all",
    "large": "gallery.open",
}
_TICK: Final = """
const tick = () => { if (!document.hidden && !window.studio.away) trigger('tick'); };
window.studio.tick = tick;
setInterval(tick, 5000);
document.addEventListener('visibilitychange', tick);
"""


class StudioBlocks(gr.Blocks):
    """Blocks whose `launch()` brings look, languages, routes, identity and the studio's life."""

    def __init__(self, parts: Parts) -> None:
        # Gradio's own place is shared by all users of the machine; this one is ours alone.
        own = str(parts.settings.data_dir / "gradio")
        self.folder = Path(os.environ.setdefault("GRADIO_TEMP_DIR", own))
        self.parts = parts  # first: Gradio makes an application at once
        mode = Mode(parts.settings.studio_accounts)
        self._visitors = Visitors(parts.guests, parts.people, mode)
        super().__init__(
            title=texts.text("page.title"),
            analytics_enabled=False,
            delete_cache=(CACHE_SWEEP_S, CACHE_KEEP_S),
            fill_width=True,
        )
        self.words = Words()
        self.link: ShareLink | None = None
        self._fault: Exception | None = None
        self._handed: set[str] = set()
        self.temp_file_sets.append(self._handed)
        self.programs = Programs(parts, self.folder, self._handed)

    def launch(self, *args: Any, **kwargs: Any) -> Any:
        """Take what `gr.Blocks.launch` takes; what is not said comes from the settings.

        A public link (`share`) is opened beside the running page, see `tunnel`. Raises
        `share_refused` when the host has not said who may come in.
        """
        bound = inspect.signature(gr.Blocks.launch).bind_partial(self, *args, **kwargs)
        given = {name: value for name, value in bound.arguments.items() if name != "self"}
        options = self._defaults() | given
        options["max_threads"] = max(FOLLOWERS, options["max_threads"])
        # Who a proxy is, and what of it is believed, is ours to say: see `web.proxies`.
        os.environ["FORWARDED_ALLOW_IPS"] = ""
        options["app_kwargs"] = self._site() | (given.get("app_kwargs") or {})
        self.link = self._share_link(options)
        options["share"] = False
        try:
            return super().launch(**options)
        except OSError as exc:
            # Gradio takes every failed start for a busy port.
            if self._fault is not None:
                raise self._fault from None
            port = options.get("server_port", "?")
            raise StudioError(
                "settings_invalid",
                name="STUDIO_PORT",
                value=port,
                allowed=texts.Sentence("allowed.free_port"),
            ) from exc

    def _share_link(self, options: Mapping[str, Any]) -> ShareLink | None:
        """Make what opens the public link, when one is wanted."""
        wanted = options.get("share")
        if wanted is None:
            wanted = os.environ.get("GRADIO_SHARE", "").lower() == "true"
        if not wanted or os.environ.get("SPACE_ID"):
            return None
        refusal = share_refusal(self.parts.settings)
        if refusal is not None:
            raise refusal
        return ShareLink(
            lambda: (self.server_name, self.server_port) if self.is_running else None,
            server=options.get("share_server_address"),
            certificate=options.get("share_server_tls_certificate"),
            protocol=options.get("share_server_protocol"),
            language=self.parts.settings.studio_language,
        )

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any, explicit_call: bool = False
    ) -> Any:
        """Hand on what an event was given, but no file elsewhere: Gradio would fetch it at once."""
        given = [unmarked(one) for one in inputs]
        return await super().preprocess_data(block_fn, given, state, explicit_call)

    def _defaults(self) -> dict[str, Any]:
        settings = self.parts.settings
        said = settings.model_fields_set
        place: dict[str, Any] = {}
        if "studio_host" in said or "GRADIO_SERVER_NAME" not in os.environ:
            place["server_name"] = settings.studio_host
        if "studio_port" in said or "GRADIO_SERVER_PORT" not in os.environ:
            place["server_port"] = settings.studio_port
        if settings.studio_root_path:
            place["root_path"] = settings.studio_root_path
        if settings.studio_share:
            place["share"] = True
        return place | {
            "max_threads": FOLLOWERS,
            "theme": theme(),
            "i18n": self.words.i18n,
            "favicon_path": ASSETS / "mark.svg",
            "footer_links": ["api"],
            "run_history": False,
            "show_error": True,
            "ssr_mode": False,
            "max_file_size": settings.max_upload_mb * 1_000_000,
            # Gradio would ask for the whole page once and give up after 3 s, on a busy machine too.
            # That it answers at all it has asked before, with patience.
            "_frontend": False,
        }

    def _site(self) -> dict[str, Any]:
        parts = self.parts
        return site(
            parts.desk,
            parts.guests,
            shares=parts.shares,
            oversight=parts.oversight,
            account=AccountPages(
                parts.people,
                parts.desk,
                self._visitors.mode,
                language=parts.settings.studio_language,
                framed=bool(os.environ.get("SPACE_ID")),
            ),
            start=self._start,
            stop=self._stop,
            look=look(),
            pictures=SAMPLES,
            language=parts.settings.studio_language,
            rest=self._rest(),
        )

    def _rest(self) -> APIRouter:
        parts, settings = self.parts, self.parts.settings
        language = settings.studio_language
        rest = Rest(parts.desk, parts.guests, parts.limits, parts.catalog, language)
        accounts = AccountRoutes(
            desk=parts.desk,
            guests=parts.guests,
            people=parts.people,
            visitors=self._visitors,
            limits=parts.limits,
            settings=settings,
            framed=bool(os.environ.get("SPACE_ID")),
        )
        made = router(rest, parts.catalog, settings.prompt_max_chars)
        made.routes.extend(account_router(accounts).routes)
        made.routes.extend(share_router(ShareRoutes(parts.shares, rest)).routes)
        overseers = AdminRoutes(parts.oversight, self._visitors, language)
        made.routes.extend(admin_router(overseers).routes)
        return made

    @property
    def app(self) -> Any:
        """Give Gradio's web application."""
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        # Gradio puts its own middlewares around those it is given, CORS among them: only here,
        # where it hands over the finished application, can ours be the outermost.
        parts = self.parts
        settings = parts.settings
        app.add_middleware(
            Guards,
            visitors=self._visitors,
            limits=parts.limits,
            files=GradioFiles(self.folder, settings.data_dir / "claims"),
            rules=Rules(
                trusted=networks(settings.trusted_proxies),
                origins=frozenset(settings.cors_origins),
                max_body_bytes=settings.max_body_mb * MB,
                max_upload_bytes=settings.max_upload_mb * MB,
                language=settings.studio_language,
                space=bool(os.environ.get("SPACE_ID")),
                link=lambda: self.link.address if self.link else "",
            ),
        )
        self._app = app

    def _start(self) -> None:
        try:
            self.parts.start()
        except Exception as fault:
            self._fault = fault
            raise
        if self.link is not None:
            self.link.start()

    def _stop(self) -> None:
        """From here on a cancelled follower means that the server ends, and no wish."""
        self.programs.closing = True
        if self.link is not None:
            self.link.stop()
        self.parts.stop()


def look() -> dict[str, tuple[str, str]]:
    """Give the page's own files, name -> (media type, text), the words of its script among them."""
    files = {
        path.name: (_KINDS[path.suffix], path.read_text("utf-8"))
        for path in sorted(ASSETS.iterdir())
        if path.suffix in _KINDS
    }
    words = {
        language: {name: texts.text(key, language) for name, key in _SCRIPT_WORDS.items()}
        for language in texts.LANGUAGES
    }
    script = f"window.studioWords = {json.dumps(words, ensure_ascii=False)};"
    return {"words.js": ("text/javascript", script), **files}


def make_demo(parts: Parts) -> StudioBlocks:
    """Draw the page of one studio. Nothing runs before `launch()`."""
    demo = StudioBlocks(parts)
    with demo:
        demo.programs.draw()  # first, so that no event of the page takes one of their names
        Page(parts, demo).draw()
    return demo


class Page:
    """Draws the page around the tabs, and refreshes what speaks of the house."""

    def __init__(self, parts: Parts, demo: StudioBlocks) -> None:
        self._desk = parts.desk
        self._parts = parts
        self._demo = demo
        self._words = demo.words
        watches = Watches()
        self._tabs = [
            TabPage(parts, tab, demo.words, watches=watches, folder=demo.folder)
            for tab in parts.catalog.tabs
        ]
        self._gallery = gallery.GalleryPage(parts, demo.words, self._tabs)
        self._admin = admin.AdminPage(parts, demo.words)

    def draw(self) -> None:
        """Draw head, banner and tabs into the open Blocks, and join the events."""
        self._head = gr.HTML(
            head.head(None, None, texts.DEFAULT, mark=_MARK),
            elem_id="studio-head",
            js_on_load=_TICK,
            apply_default_css=False,
        )
        self._banner = gr.HTML(elem_id="studio-banner", apply_default_css=False, js_on_load=None)
        with gr.Tabs(elem_id="studio-tabs", overflow_behavior="wrap") as self._strip:
            for page in self._tabs:
                with gr.Tab(self._title(page.tab), id=page.tab.name):
                    page.draw()
            with gr.Tab(self._words.page("gallery.title"), id=gallery.NAME):
                self._gallery.draw()
            self._admin.draw()
        self._servers = gr.Textbox(visible="hidden", elem_id="studio-servers")
        for page in self._tabs:
            page.draw_hidden()
        self._wire()

    def _wire(self) -> None:
        quiet = QUIET | {"queue": False}
        fields = [component for page in self._tabs for component in page.form.components]
        stamp = f"{zlib.crc32(' '.join(str(field.elem_id) for field in fields).encode()):x}"
        for page in self._tabs:
            page.wire()
        self._gallery.wire(self._strip)
        self._admin.wire()
        restored = self._demo.load(
            None,
            None,
            fields,
            js=f"() => window.studio.restore('{stamp}')",
            **QUIET,
        )
        arrival = [output for page in self._tabs for output in page.arrival]
        restored.then(self.arrive, None, [*self._house_parts, *arrival], **quiet)
        restored.then(self._admin.show, None, self._admin.tab, **quiet)
        gr.on(
            [changed(component) for component in fields],
            None,
            fields,
            js=f"(...held) => window.studio.keep('{stamp}', held)",
            **QUIET,
        )
        pulses = [page.pulse for page in self._tabs]
        self._head.tick(self.refresh, None, [*self._house_parts, *pulses], **quiet)
        hints = [page.hints for page in self._tabs]
        self._servers.change(self.hint, None, hints, **quiet)
        self._servers.change(self.settle, fields, fields, preprocess=False, **quiet)
        listed = [field.component for page in self._tabs for field in page.form.listed]
        if listed:
            self._servers.change(self.relist, listed, listed, preprocess=False, **quiet)

    def _title(self, tab: Tab) -> I18nData:
        return self._words.of(f"{tab.name}.title", tab.title)

    @property
    def _house_parts(self) -> list[Any]:
        return [self._head, self._banner, self._servers]

    # Handlers -----------------------------------------------------------------------------

    async def arrive(self, request: gr.Request) -> list[Any]:
        """Fill the page when it is opened: the house, what runs, the last results."""
        asker = self._asker(request)
        updates = await self._house(asker)
        for page in self._tabs:
            updates += await page.arrived(asker)
        return updates

    async def settle(self, request: gr.Request, *raw: Any) -> list[Any]:
        """Let each form fit the fields a browser kept over a reload, and what the servers have."""
        asker = self._asker(request)
        updates: list[Any] = []
        for page in self._tabs:
            count = len(page.form.fields)
            updates += page.settle(asker, raw[len(updates) : len(updates) + count])
        return updates

    async def refresh(self, request: gr.Request) -> list[Any]:
        """Renew what speaks of the house, and notice what another page of the person ordered."""
        asker = self._asker(request)
        jobs = await asyncio.to_thread(self._desk.running, asker.person)
        return await self._house(asker) + [page.pulse_of(jobs) for page in self._tabs]

    async def hint(self, request: gr.Request) -> list[Any]:
        """Say anew in each tab what no server can run now."""
        language = self._asker(request).language
        return await asyncio.to_thread(lambda: [page.hinted(language) for page in self._tabs])

    async def relist(self, *held: Any) -> list[Any]:
        """Give the model fields what the servers list now."""
        updates: list[Any] = []
        for page in self._tabs:
            count = len(page.form.listed)
            updates += await page.listed(held[len(updates) : len(updates) + count])
        return updates

    async def _house(self, asker: Asker) -> list[Any]:
        house = await asyncio.to_thread(self._standing)
        who = await asyncio.to_thread(self._who, asker)
        lacks = await asyncio.to_thread(self._lacking)
        return [
            head.head(house, who, asker.language, mark=_MARK),
            head.banner(house, asker.language),
            f"{_mark_of(house.servers)} {lacks}",
        ]

    def _who(self, asker: Asker) -> head.Who:
        person = asker.person
        if person == LOCAL_PERSON:
            return head.Who(person, "local")
        guests = Mode(self._parts.settings.studio_accounts) is Mode.GUESTS
        account = self._parts.people.account(person)
        if account is None:
            return head.Who(person, "guest", guests=guests)
        public = self._public(asker.language) if account.admin else None
        return head.Who(person, str(account.role), account.name, guests=guests, public=public)

    def _public(self, language: str) -> head.Public | None:
        """Tell an admin of the public link, where one is wanted."""
        shared = self._demo.link
        if shared is None:
            return None
        if (link := shared.link) is not None:
            return head.Public(link.url, f"{link.ends_at.astimezone():%Y-%m-%d %H:%M}")
        problem = shared.why(language)
        return head.Public(problem=problem) if problem else None

    def _standing(self) -> head.House:
        desk = self._desk
        servers, workers = tuple(desk.servers()), tuple(desk.workers())
        return head.House(servers, desk.waiting(), workers, desk.deserted())

    def _lacking(self) -> str:
        """Write what the servers lack in short, so that a change is noticed."""
        names = [page.tab.name for page in self._tabs]
        said = [(self._desk.lack_sentences(name), self._desk.idle(name)) for name in names]
        return f"{zlib.crc32(repr(said).encode()):x}"

    def _asker(self, request: gr.Request) -> Asker:
        return asker_of(request, self._parts.guests, self._parts.settings.studio_language)


_MARK: Final = "studio-assets/mark.svg"


def _mark_of(servers: Sequence[ServerView]) -> str:
    """Write which servers answer, so that a change is noticed."""
    return " ".join(f"{server.name}={server.online}" for server in servers)


def changed(component: Any) -> Any:
    """Give a component's change event."""
    return component.change
