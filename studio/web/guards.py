"""What holds for every request on the port, Gradio's routes too. Outermost of all.

- Who asks is decided here, once (`web.visitors`); where a login is required, nobody else gets in.
- What another site's page sends is refused, unless it is on the list of origins or shows a token.
- Bodies are bounded; Gradio's routes that the page does not need are not there; Gradio's files are
  their person's.
- Every answer carries the security headers; errors are JSON in the caller's language, never HTML,
  never a trace.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import anyio.to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.engine.limits import Limits, Rate
from studio.errors import StudioError
from studio.web.answers import CODE_HEADER, error_answer, language_asked
from studio.web.gradio_files import GradioFiles
from studio.web.proxies import Network, believe
from studio.web.visitors import Mode, Visitor, Visitors

log = logging.getLogger("studio.web")

GRADIO: Final = "/gradio_api"
CLOSED: Final = (
    *(
        f"{GRADIO}/{name}"
        for name in (
            "proxy=",
            "stream/",
            "vibe-",
            "undo-vibe-edit",
            "process_recording",
            "deep_link",
            "run-history",
            "runs",
            "dev/",
            "token",
            "component_server",
            "custom_component/",
            "profiling",
        )
    ),
    "/monitoring",
    "/pwa_icon",
    "/manifest.json",
    "/svelte/",
    "/login",
    "/logout",
)
"""Routes of Gradio that neither the page nor its clients need. Some would fetch addresses."""

LOGIN_PAGE: Final = "/account/login"
OPEN: Final = frozenset(
    {
        LOGIN_PAGE,
        "/account/register",
        "/api/login",
        "/api/register",
        "/api/health",
        "/favicon.ico",
        "/robots.txt",
        f"{GRADIO}/startup-events",  # Gradio asks itself so whether it runs; it tells nothing
    }
)
"""What is open to all where a login is required: the way in, and whether the studio is well."""

OPEN_UNDER: Final = ("/studio-assets/", "/assets/", "/static/", "/shared/")
"""Our and Gradio's own scripts, styles and fonts; and what was shared on purpose."""

_FILES: Final = (f"{GRADIO}/file=", f"{GRADIO}/file/")
_UPLOADS: Final = (f"{GRADIO}/upload", "/api/upload")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_BYTES: Final = 1_000_000
"""What a form adds to the file in it, at most."""

_POLICY: Final = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
"""For pages. Gradio writes scripts into its page and makes functions of text."""

_SPACE: Final = {
    "script-src": " https://cdnjs.cloudflare.com https://huggingface.co",
    "connect-src": " https://huggingface.co https://*.hf.space",
    "img-src": " https://huggingface.co",
}
_SPACE_FRAMES: Final = " https://huggingface.co https://*.huggingface.co https://*.hf.space"


def frame_ancestors(space: bool) -> str:
    """Say which sites may show us in a frame. `space`: Hugging Face, too."""
    return "frame-ancestors 'self'" + (_SPACE_FRAMES if space else "")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say. `space`: shown in Hugging Face's frame.

    `link` gives the address of the public share link while there is one.
    """

    trusted: tuple[Network, ...]
    origins: frozenset[str]
    max_body_bytes: int
    max_upload_bytes: int
    language: str
    space: bool = False
    link: Callable[[], str] = str

    def policy(self, *, page: bool) -> str:
        """Write the Content-Security-Policy of a page, or of anything else."""
        frames = frame_ancestors(self.space)
        if not page:
            return frames
        more = _SPACE if self.space else {}
        return "; ".join([*(f"{k} {v}{more.get(k, '')}" for k, v in _POLICY.items()), frames])


class Guards:
    """The ASGI middleware around everything."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        visitors: Visitors,
        limits: Limits,
        files: GradioFiles,
        rules: Rules,
    ) -> None:
        self._app = app
        self._visitors = visitors
        self._limits = limits
        self._files = files
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":  # nothing here speaks it, and nobody would be asked
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        believe(scope, self._rules.trusted, link=self._rules.link())
        visit = Visit(scope, receive, send, self._rules)
        if visit.asks_leave:
            await PlainTextResponse("")(scope, receive, visit.send)
            return
        try:
            visitor = await self._visitors.receive(scope)
            if self._must_log_in(visit, visitor):
                if not visit.opens_a_page:
                    raise StudioError("login_ended" if visitor.ended else "login_needed")
                await RedirectResponse(visit.way_in, 303)(scope, receive, visit.send)
                return
            await self._admit(visit, visitor)
            await self._app(scope, visit.receive, visit.send)
        except StudioError as error:
            await visit.refuse(error)
        except Exception:
            # The edge of the app: whatever went wrong is told in our shape, and its trace is ours.
            log.exception("a request failed: %s %s", scope["method"], visit.path)
            await visit.refuse(StudioError("internal"))

    def _must_log_in(self, visit: Visit, visitor: Visitor) -> bool:
        if self._visitors.mode is not Mode.REQUIRED or visitor.account is not None:
            return False
        path = visit.path.rstrip("/")
        return path not in OPEN and not path.startswith(OPEN_UNDER)

    async def _admit(self, visit: Visit, visitor: Visitor) -> None:
        """Let a request in, or raise why not."""
        if visitor.ended and visit.method not in _SAFE and visit.path.startswith(GRADIO):
            # A page that is open still: what it orders would be of a guest whom nobody knows.
            raise StudioError("login_ended")
        if not visitor.by_token:
            visit.refuse_other_sites()
        if not visitor.writes and visit.method not in _SAFE:
            raise StudioError("token_read_only")
        path = visit.path
        if path.startswith(CLOSED):
            raise StudioError("route_unknown", path=path)
        visit.refuse_large()
        for mark in _FILES:
            if path.startswith(mark):
                await self._admit_file(visitor, path.removeprefix(mark))
        if path.rstrip("/") == f"{GRADIO}/upload" and visit.method == "POST":
            await self._admit_upload(visit, visitor)

    async def _admit_file(self, visitor: Visitor, file: str) -> None:
        if not await anyio.to_thread.run_sync(self._files.may_read, file, visitor.person):
            raise StudioError("file_unknown", file=file.rpartition("/")[2])

    async def _admit_upload(self, visit: Visit, visitor: Visitor) -> None:
        person = visitor.person
        who = person or address_of(visit.request)
        await anyio.to_thread.run_sync(self._limits.take, Rate.UPLOAD, who)
        if person is None:
            return
        del MutableHeaders(scope=visit.scope)["accept-encoding"]  # the answer is read on its way

        def claim(body: bytes) -> None:
            for path in json.loads(body):
                self._files.claim(path, person)

        visit.on_answer = claim


def address_of(request: HTTPConnection) -> str:
    """Give the caller's address, as far as it is known."""
    return request.client.host if request.client else "unknown"


def path_of(scope: Scope) -> str:
    """Give the path within the app, as its router reads it."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path


class Visit:
    """One request on its way in and its answer on the way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, rules: Rules) -> None:
        self.scope = scope
        self.request = HTTPConnection(scope)
        self.method = str(scope["method"])
        self.path = path_of(scope)
        self.on_answer: Any = None
        self._receive = receive
        self._send = send
        self._rules = rules
        self._read = 0
        self._fault: StudioError | None = None
        self._started = False
        self._replaced = False
        self._start: Message | None = None
        self._body = bytearray()

    # On the way in ------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """Give the site whose page asks, or nothing."""
        return self.request.headers.get("origin", "")

    @property
    def asks_leave(self) -> bool:
        """Tell whether a browser asks what another site's page may do."""
        asked = "access-control-request-method" in self.request.headers
        return self.method == "OPTIONS" and asked and bool(self.origin)

    @property
    def opens_a_page(self) -> bool:
        """Tell whether a browser wants to show the answer."""
        headers = self.request.headers
        wanted = headers.get("sec-fetch-dest", "document") in ("document", "iframe")
        return self.method == "GET" and wanted and "text/html" in headers.get("accept", "")

    def way_to(self, path: str) -> str:
        """Write the way from the asked address to a path of ours, whatever stands before both."""
        return "../" * (self.path.count("/") - 1) + path.removeprefix("/")

    @property
    def way_in(self) -> str:
        """Write the way to the login, which goes on to what was asked for."""
        query = self.scope.get("query_string", b"").decode("latin-1")
        asked = quote(self.path + (f"?{query}" if query else ""), safe="/")
        return self.way_to(LOGIN_PAGE) + (f"?next={asked}" if asked != "/" else "")

    def refuse_other_sites(self) -> None:
        """Raise `cross_site` for what another site's page sends."""
        headers = self.request.headers
        site = headers.get("sec-fetch-site")
        if self.method in _SAFE or site in ("same-origin", "none"):
            return
        if self.origin in self._rules.origins or (not self.origin and site is None):
            return  # no browser sends a change without either
        ours = (headers.get("x-forwarded-host") or headers.get("host", "")).lower()
        if site is None and urlsplit(self.origin).netloc.lower() == ours:
            return
        raise StudioError("cross_site")

    def refuse_large(self) -> None:
        """Raise `body_too_large` for a body that says how large it is."""
        said = self.request.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and int(said) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        """Pass on a piece of the body, unless the whole becomes too large."""
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            # Who reads may take this for a fault of the client's connection: it is told at the end.
            self._fault = self._too_large()
            raise self._fault
        return message

    @property
    def _most(self) -> int:
        if self.path.startswith(_UPLOADS):
            return self._rules.max_upload_bytes + _FORM_BYTES
        return self._rules.max_body_bytes

    def _too_large(self) -> StudioError:
        return StudioError("body_too_large", max_mb=f"{self._most / 1e6:g}")

    # On the way out -----------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Pass on a piece of the answer, with the headers; an error that is not ours is retold."""
        if self._replaced:
            return
        if message["type"] == "http.response.start":
            fault = self._fault or self._retold(message)
            if fault is not None:
                self._replaced = True
                await self._answer(fault)
                return
            self._dress(message)
            self._started = True
            if self.on_answer is not None and message["status"] == 200:
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if message.get("more_body", False):
                return
            await anyio.to_thread.run_sync(self.on_answer, bytes(self._body))
            await self._send(self._start)
            self._start = None
            message = {"type": "http.response.body", "body": bytes(self._body)}
        await self._send(message)

    async def refuse(self, error: StudioError) -> None:
        """Answer with an error, if nothing was answered yet."""
        if not self._started and not self._replaced:
            await self._answer(self._fault or error)

    async def _answer(self, error: StudioError) -> None:
        language = language_asked(self.request, self._rules.language)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(message)
                self._started = True
            await self._send(message)

        await error_answer(error, language)(self.scope, self._receive, send)

    def _retold(self, message: Message) -> StudioError | None:
        """Give our error for one of the framework's; Gradio's own routes speak to its clients."""
        status = message["status"]
        if CODE_HEADER in Headers(raw=message["headers"]) or self.path.startswith(f"{GRADIO}/"):
            return None
        if status == 404:
            return StudioError("route_unknown", path=self.path)
        if status == 405:
            return StudioError("method_wrong", method=self.method, path=self.path)
        return None

    def _dress(self, message: MutableMapping[str, Any]) -> None:
        headers = MutableHeaders(raw=message["headers"])
        message["headers"] = headers.raw
        headers.setdefault("x-content-type-options", "nosniff")
        headers.setdefault("referrer-policy", "same-origin")
        page = headers.get("content-type", "").startswith("text/html")
        headers.setdefault("content-security-policy", self._rules.policy(page=page))
        for name in [name for name in headers if name.startswith("access-control-")]:
            del headers[name]
        if self.origin in self._rules.origins and self.origin:
            self._open(headers)

    def _open(self, headers: MutableHeaders) -> None:
        """Let the page of a listed origin read the answer. Cookies are never for it."""
        headers["access-control-allow-origin"] = self.origin
        headers.add_vary_header("Origin")
        headers["access-control-expose-headers"] = "Retry-After, X-Error-Code, Content-Disposition"
        if self.asks_leave:
            headers["access-control-allow-methods"] = "GET, POST, PUT, DELETE"
            allowed = "Authorization, Content-Type, Idempotency-Key, Accept-Language"
            headers["access-control-allow-headers"] = allowed
            headers["access-control-max-age"] = "600"
