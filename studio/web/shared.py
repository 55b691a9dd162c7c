"""Links to single results: their REST routes, and the page and files they lead to.

The page needs no script and shows the result alone: no prompt, no name of anybody, nothing to
index. Nothing is kept in a cache without asking again, so that the end of a link is its end.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from studio import texts
from studio.engine.shares import PLAYED, SMALL, Share, Shared, SharedFile, Shares, Standing
from studio.errors import StudioError
from studio.web.answers import CODE_HEADER, error_answer, language_asked
from studio.web.names import disposition
from studio.web.rest import Described, Rest, json_body, plain_text

_STYLE: Final = (Path(__file__).parent / "assets" / "shared.css").read_text("utf-8")
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGE_POLICY: Final = (
    f"default-src 'none'; img-src 'self'; media-src 'self'; style-src 'sha256-{_STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ALWAYS: Final = {
    "cache-control": "private, no-cache",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex, nofollow",
}
_COPIED_AT_ONCE: Final = 4


# --- for who has the link -------------------------------------------------------------------------


class SharedPages:
    """The two public routes. `language` is for readers who ask for none."""

    def __init__(self, shares: Shares, language: str) -> None:
        self._shares = shares
        self._language = language
        # A copy that browsers play takes long to make: not in the threads of everything else.
        self._copying = anyio.CapacityLimiter(_COPIED_AT_ONCE)

    async def page(self, request: Request) -> Response:
        """Show the result large, with a way to keep it; a calm page too where there is none."""
        token = request.path_params["token"]
        language = language_asked(request, self._language)
        try:
            shared = await anyio.to_thread.run_sync(self._shares.open, token)
        except StudioError as error:
            if "text/html" not in request.headers.get("accept", ""):
                return error_answer(error, language)
            return _html(_gone(error, language), language, error)
        return _html(_shown(shared, site_of(request), language), language)

    async def file(self, request: Request) -> Response:
        """Send a file of a link; `?download=1` for keeping. Knows Range and If-None-Match."""
        token, name = request.path_params["token"], request.path_params["name"]
        try:
            found = await anyio.to_thread.run_sync(
                self._shares.file, token, name, limiter=self._copying
            )
        except StudioError as error:
            return error_answer(error, language_asked(request, self._language))
        return _sent(request, found, token, name)


def shared_routes(pages: SharedPages) -> list[Route]:
    """List the public routes."""
    return [
        Route("/shared/{token}", pages.page, methods=["GET"]),
        Route("/shared/{token}/{name}", pages.file, methods=["GET"]),
    ]


def _sent(request: Request, found: SharedFile, token: str, name: str) -> Response:
    tag = f'"{hashlib.sha256(f"{token}/{name}".encode()).hexdigest()[:32]}"'
    keep = request.query_params.get("download", "") not in ("", "0")
    headers = _ALWAYS | {
        "etag": tag,
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
        "content-disposition": disposition(name, attachment=keep),
    }
    asked = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    if tag in asked:
        return Response(status_code=304, headers=headers)
    return FileResponse(found.path, media_type=found.mime, headers=headers)


def site_of(request: Request) -> str:
    """Give the address under which the caller sees the studio, without a slash at the end.

    What proxies say of it was believed or taken out before (`web.proxies`).
    """
    host = request.headers.get("x-forwarded-host") or request.headers.get("host", "")
    root = str(request.scope.get("root_path", ""))
    return f"{request.scope.get('scheme', 'http')}://{host}{root}"


def _html(body: str, language: str, error: StudioError | None = None) -> HTMLResponse:
    headers = _ALWAYS | {"content-security-policy": _PAGE_POLICY, "content-language": language}
    headers["vary"] = "Cookie, Accept-Language, Accept"
    if error is not None:
        headers |= {CODE_HEADER: error.code, "cache-control": "no-store"}
    return HTMLResponse(body, status_code=error.status if error else 200, headers=headers)


def _document(title: str, head: str, body: str, language: str) -> str:
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex, nofollow">{head}<style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )


def _shown(shared: Shared, site: str, language: str) -> str:
    title = texts.text(f"shared.{shared.output.kind}", language)
    # The addresses hold for wherever the page is served: from `shared/TOKEN`, the file is beside.
    base = quote(shared.share.token)
    own = f"{base}/{quote(shared.file_name)}"
    until = texts.text("shared.until", language, day=_day(shared.share.expires_us))
    body = (
        f"<main>{_result(shared, base, own, title)}"
        f'<div class="line"><div><h1>{escape(title)}</h1><p>{escape(until)}</p></div>'
        f'<a href="{own}?download=1" download="{escape(shared.file_name)}">'
        f"{escape(texts.text('page.download', language))}</a></div></main>"
    )
    return _document(title, _card(shared, f"{site}/shared/{own}", title), body, language)


def _result(shared: Shared, base: str, own: str, title: str) -> str:
    output = shared.output
    size = f' width="{output.width_px}" height="{output.height_px}"' if output.width_px else ""
    match output.kind:
        case "image":
            return f'<img src="{own}"{size} alt="{escape(title)}">'
        case "video":
            return (
                f'<video src="{base}/{PLAYED}" poster="{base}/{SMALL}"{size} controls loop'
                ' playsinline preload="metadata"></video>'
            )
        case _:
            return (
                f'<img src="{base}/{SMALL}" alt=""><audio src="{own}" controls'
                ' preload="metadata"></audio>'
            )


def _card(shared: Shared, address: str, title: str) -> str:
    """Write what other programs show of a link to a picture: the picture."""
    output = shared.output
    if output.kind != "image":
        return ""
    tags = {"og:type": "website", "og:title": title, "og:image": address}
    tags["og:image:type"] = output.mime
    if output.width_px:
        tags |= {"og:image:width": str(output.width_px), "og:image:height": str(output.height_px)}
    return "".join(
        f'<meta property="{name}" content="{escape(value)}">' for name, value in tags.items()
    )


def _gone(error: StudioError, language: str) -> str:
    message, hint = texts.explain(error, language)
    body = f'<main class="gone"><h1>{escape(message)}</h1><p>{escape(hint)}</p></main>'
    return _document(message, "", body, language)


def _day(moment_us: int) -> str:
    return f"{datetime.fromtimestamp(moment_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"


# --- for its maker --------------------------------------------------------------------------------


class ShareOrder(BaseModel):
    """What to share. `name` is an `outputs[].name` of the job; without it, the first file."""

    job_id: str
    name: str | None = None
    days: int | None = Field(default=None, description="how long; SHARE_DAYS unless said")


class ShareView(BaseModel):
    """A link. `url` is null once it leads to nothing."""

    id: str
    job_id: str
    name: str
    state: Standing = Field(description="`hidden` while its job is deleted")
    url: str | None
    created_at: datetime
    expires_at: datetime


class ShareList(BaseModel):
    """Your links, the newest first; ended ones for another month."""

    shares: list[ShareView]
    days: int = Field(description="how long a new link lasts unless said")
    max_days: int = Field(description="the longest it may last")


class Unshared(BaseModel):
    """A link that was ended."""

    id: str
    state: Standing = Standing.REVOKED


class ShareRoutes:
    """The REST handlers."""

    def __init__(self, shares: Shares, rest: Rest) -> None:
        """Take who answers the question who asks: `rest`."""
        self._shares = shares
        self._rest = rest

    async def share(self, request: Request) -> ShareView:
        """Make a link to one result; asked again, the same link with a new end."""
        caller = await self._rest.caller(request)
        said = await json_body(request)
        if said.get("job_id") is None:
            raise StudioError("field_required", field="job_id")
        days = said.get("days")
        if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
            raise StudioError("field_wrong_type", field="days", type="integer")
        make = partial(
            self._shares.make,
            caller.person,
            plain_text(said["job_id"], "job_id"),
            None if said.get("name") is None else plain_text(said["name"], "name"),
            days=days,
        )
        return _view(await anyio.to_thread.run_sync(make), site_of(request))

    async def shares(
        self, request: Request, job_id: Annotated[str | None, Query(max_length=64)] = None
    ) -> ShareList:
        """List your links and how they stand; those to one job's files with `?job_id=`."""
        caller = await self._rest.caller(request)
        find = partial(self._shares.listing, caller.person, job_id=job_id)
        found, site = await anyio.to_thread.run_sync(find), site_of(request)
        return ShareList(
            shares=[_view(one, site) for one in found],
            days=self._shares.days,
            max_days=self._shares.max_days,
        )

    async def unshare(self, request: Request, share_id: str) -> Unshared:
        """End a link at once."""
        caller = await self._rest.caller(request)
        await anyio.to_thread.run_sync(self._shares.revoke, caller.person, share_id)
        return Unshared(id=share_id)


def share_router(handlers: ShareRoutes) -> APIRouter:
    """Bind the handlers to their addresses."""
    made = Described(prefix="/api")
    known = (401, 403, 404, 422, 503)
    made.bind("POST", "/shares", handlers.share, *known, 400, 413, ok=201, body=ShareOrder)
    made.bind("GET", "/shares", handlers.shares, *known)
    made.bind("DELETE", "/shares/{share_id}", handlers.unshare, *known)
    return made


def _view(share: Share, site: str) -> ShareView:
    opens = share.standing is Standing.ACTIVE
    return ShareView(
        id=share.share_id,
        job_id=share.job_id,
        name=share.name,
        state=share.standing,
        url=f"{site}/shared/{quote(share.token)}" if opens else None,
        created_at=datetime.fromtimestamp(share.created_us / 1e6, UTC),
        expires_at=datetime.fromtimestamp(share.expires_us / 1e6, UTC),
    )
