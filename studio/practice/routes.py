"""The HTTP side: all routes together, and what the whole server does to every request."""

from __future__ import annotations

import ipaddress
import logging
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import web

from studio.practice import sockets
from studio.practice.about_routes import AboutRoutes
from studio.practice.file_routes import FileRoutes
from studio.practice.job_routes import JobRoutes
from studio.practice.part import Handler, Route, Server
from studio.practice.prompt_routes import PromptRoutes

_log = logging.getLogger(__name__)

_BROKE: Final = "500 Internal Server Error\n\nServer got itself in trouble"


def application(server: Server) -> web.Application:
    """Make the web application; every route also exists under `/api`."""
    about = AboutRoutes(server)
    routes: list[Route] = [
        *PromptRoutes(server).table(),
        *about.table(),
        *FileRoutes(server).table(),
        ("GET", "/ws", _socket(server, about)),
        ("GET", "/view_metadata/{folder}", _nothing),
    ]
    doubled: list[Route] = [(method, f"/api{path}", handler) for method, path, handler in routes]
    app = web.Application(
        client_max_size=server.faults.max_upload_bytes,  # aiohttp's own is 1 MiB: less than a photo
        middlewares=[_around(server)],
    )
    for method, path, handler in [*routes, *doubled, *JobRoutes(server).table()]:
        # add_get answers HEAD as well.
        add = app.router.add_get if method == "GET" else app.router.add_post
        add(path, handler)
    # The real server ends with a static folder: unknown GETs are an empty 404, never a 405.
    app.router.add_get("/{unknown:.*}", _nothing)
    return app


async def _nothing(_request: web.Request) -> web.Response:
    """Answer an empty 404."""
    return web.Response(status=404, content_type="application/octet-stream")


def _socket(server: Server, about: AboutRoutes) -> Handler:
    async def socket(request: web.Request) -> web.StreamResponse:
        worker = server.worker

        def greet(sid: str) -> list[Any]:
            return sockets.greeting(worker.queue.remaining(), sid, worker.running())

        return await server.hub.connect(request, greet, about.told_features())

    return socket


def _around(server: Server) -> Any:
    """Refuse what the server refuses anywhere, and answer its own faults as recorded."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        refusal = _refusal(server, request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - the edge of a request: a broken body is a 500 in plain text
            _log.debug("%s %s answered 500", request.method, request.path, exc_info=True)
            return web.Response(status=500, text=_BROKE, headers={"Connection": "close"})

    return around


def _refusal(server: Server, request: web.Request) -> web.Response | None:
    if server.faults.forbidden or not _same_origin(request):
        return web.Response(status=403)
    limit = server.faults.max_upload_bytes
    if (request.content_length or 0) > limit:
        return web.Response(status=413, text=f"Maximum request body size {limit} exceeded.")
    if request.method == "OPTIONS":
        return web.Response()
    return None


def _same_origin(request: web.Request) -> bool:
    """Check Origin against a loopback Host, as the server does against foreign pages."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if not host or not origin:
        return True
    ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
    if not _is_loopback(ours.hostname or "") or not theirs.netloc:
        return True
    if ours.hostname != theirs.hostname:
        return False
    return ours.port is None or theirs.port is None or ours.port == theirs.port


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
