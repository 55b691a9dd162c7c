"""Files in and out: uploads and `/view`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from studio.practice import uploads, views
from studio.practice.part import Route, Server


class FileRoutes:
    """`/upload/...` and `/view`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._assets: dict[str, Path] = {}

    def table(self) -> list[Route]:
        """List method, path, handler."""
        return [
            ("POST", "/upload/image", partial(self.upload, mask=False)),
            ("POST", "/upload/mask", partial(self.upload, mask=True)),
            ("GET", "/view", self.view),
        ]

    async def upload(self, request: web.Request, *, mask: bool) -> web.Response:
        """Store an upload and tell its real name."""
        form = await request.post()
        try:
            answer, path = uploads.take(form, self._server.folders, mask=mask)
        except uploads.RefusedError:
            return web.Response(status=400)
        if self._server.newer and path.is_file():
            answer["asset"] = self._asset(path)
        return web.json_response(answer)

    def _asset(self, path: Path) -> dict[str, Any]:
        """Register a file as an asset; the hash is of our own kind, only its form is theirs."""
        asset = views.asset(path)
        self._assets[asset["asset_hash"]] = path
        return asset

    async def view(self, request: web.Request) -> web.StreamResponse:
        """Give a file."""
        asset = self._assets.get(request.query.get("filename", ""))
        found = asset or views.find(request.query, self._server.folders)
        if isinstance(found, web.Response):
            return found
        return views.answer(found, request.query, attach=self._server.newer)
