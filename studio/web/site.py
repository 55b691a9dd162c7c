"""All that stands beside the page on its port, as one value for the server's constructor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
from fastapi import APIRouter
from starlette.applications import Starlette
from starlette.middleware import Middleware

from studio.engine.accounts import Guests
from studio.engine.desk import Desk
from studio.engine.oversight import Oversight
from studio.engine.shares import Shares
from studio.web import pages
from studio.web.docs import Docs
from studio.web.identity import Identity
from studio.web.language import Language
from studio.web.pages import AccountPages
from studio.web.routes import Assets, Files, routes
from studio.web.shared import SharedPages, shared_routes
from studio.web.vitals import vital_routes

_FIRST: Final = (Path(__file__).parent / "assets" / "first.js").read_text("utf-8")


def site(
    desk: Desk,
    guests: Guests,
    *,
    shares: Shares,
    oversight: Oversight,
    account: AccountPages,
    start: Callable[[], None],
    stop: Callable[[], None],
    look: Mapping[str, tuple[str, str]],
    pictures: Path,
    language: str,
    rest: APIRouter,
) -> dict[str, Any]:
    """Give `lifespan`, `middleware` and `routes` as a Starlette app takes them.

    `look` is the page's own files, name -> (media type, text): `.css` and `.js` are loaded in the
    page's head. `pictures` is a folder of sample pictures, open to all. `start` and `stop` block
    and are called once each, around the server's life. `rest` is the API for programs.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(start)
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(stop)

    assets = Assets({**look, **pages.look()}, pictures)
    return {
        "lifespan": lifespan,
        "routes": [
            *routes(Files(desk, guests, oversight), assets),
            *vital_routes(desk),
            *shared_routes(SharedPages(shares, language)),
            *account.routes(assets),
            *Docs(rest, language).pages(),
            *rest.routes,
        ],
        "docs_url": None,
        "redoc_url": None,
        "openapi_url": None,
        "middleware": [
            Middleware(Identity, guests=guests),
            Middleware(Language, first=_first(assets, look), default=language),
        ],
    }


def _first(assets: Assets, look: Mapping[str, tuple[str, str]]) -> str:
    """Write what stands first in the page's head."""
    lines = [f"<script>{_FIRST}</script>"]
    for name in look:
        address = assets.address(name)
        if name.endswith(".css"):
            lines.append(f'<link rel="stylesheet" href="{address}">')
        elif name.endswith(".js"):
            lines.append(f'<script defer src="{address}"></script>')
        elif name.endswith(".svg"):
            lines.append(f'<link rel="icon" type="image/svg+xml" href="{address}">')
    return "".join(lines)
