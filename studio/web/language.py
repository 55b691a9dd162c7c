"""Which language a browser reads: a cookie it chose, else what it asks for.

Gradio translates static words in the browser by `navigator.language`, read while the page's first
module loads: only a script that stands first in `<head>` comes early enough to set it. So this
middleware writes that script, our style sheet and the right `<html lang>` into the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio import texts
from studio.web.identity import is_page_load

COOKIE: Final = "studio_lang"
_LANG = re.compile(rb'(<html[^>]*?\blang=")[^"]*(")')


def language_of(
    cookies: Mapping[str, str], headers: Mapping[str, str], default: str = texts.DEFAULT
) -> str:
    """Choose the language for one request: `studio_lang`, else Accept-Language, else `default`."""
    chosen = cookies.get(COOKIE, "")
    if chosen in texts.LANGUAGES:
        return chosen
    return texts.pick(f"{headers.get('accept-language', '')},{default}")


class Language:
    """Put `first` (markup) first into the page's head and the person's language into `<html>`."""

    def __init__(self, app: ASGIApp, *, first: str, default: str = texts.DEFAULT) -> None:
        self._app = app
        self._first = first
        self._default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; a page load is held back until it is whole, then rewritten."""
        if not is_page_load(scope):
            await self._app(scope, receive, send)
            return
        cookies, headers = HTTPConnection(scope).cookies, Headers(scope=scope)
        page = _Page(send, self._first, language_of(cookies, headers, self._default), self._default)
        await self._app(scope, receive, page.take)


class _Page:
    """Collects one HTML answer and sends it rewritten; anything else passes through."""

    def __init__(self, send: Send, first: str, language: str, default: str) -> None:
        self._send = send
        self._first = first
        self._language = language
        self._default = default
        self._start: Message | None = None
        self._body = bytearray()

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = rewrite(bytes(self._body), self._first, self._language, self._default)
        headers = MutableHeaders(scope=start)
        headers["content-length"] = str(len(body))
        headers["content-language"] = self._language
        headers["cache-control"] = "no-store"
        headers.add_vary_header("Cookie, Accept-Language")
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def rewrite(page: bytes, first: str, language: str, default: str) -> bytes:
    """Insert `first` as the first child of `<head>`; `<html lang>` says the language."""
    opened = f"<head><script>window.studioDefault={json.dumps(default)}</script>{first}"
    page = page.replace(b"<head>", opened.encode(), 1)
    return _LANG.sub(rb"\g<1>" + language.encode() + rb"\g<2>", page, count=1)


def _is_html(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/html")
