"""Who is asking: each browser gets a signed cookie of its own when it loads the page.

The cookie is HttpOnly and `SameSite=Lax`, and `Secure` under https. Inside a frame of another site
(a Hugging Face Space is shown so) browsers neither store nor send a Lax cookie; there it is
`SameSite=None; Secure; Partitioned` instead, which works in that frame alone: the same browser is
another guest when it opens the studio in a tab of its own. A browser that refuses even this stays
the guest of its Gradio session, and loses sight of its jobs on a reload.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from studio.engine.accounts import COOKIE, COOKIE_AGE_S, Guests
from studio.web.visitors import By, visitor_of


class Identity:
    """Set or renew the person's cookie on page loads. Outermost of ours, so that it sees all."""

    def __init__(self, app: ASGIApp, *, guests: Guests, paths: Iterable[str] = ("", "/")) -> None:
        self._app = app
        self._guests = guests
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; on a page load the answer carries the cookie."""
        if not is_page_load(scope, self._paths):
            await self._app(scope, receive, send)
            return
        visitor = visitor_of(scope)
        if visitor.by in (By.SESSION, By.TOKEN, By.HOUSE):  # what they show is enough
            await self._app(scope, receive, send)
            return
        person = visitor.person
        value = self._guests.cookie(person) if person else self._guests.new()[1]
        cookie = cookie_header(value, Headers(scope=scope), str(scope.get("scheme", "http")))

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", cookie)
            await send(message)

        await self._app(scope, receive, send_with_cookie)


def is_page_load(scope: Scope, paths: frozenset[str] = frozenset({"", "/"})) -> bool:
    """Tell whether a request asks for the page itself."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    path = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
    return path in paths


def cookie_header(
    value: str,
    headers: Mapping[str, str],
    scheme: str,
    *,
    name: str = COOKIE,
    age_s: int = COOKIE_AGE_S,
    framed: bool = False,
) -> str:
    """Write the Set-Cookie line of an answer to these request headers.

    `framed`: the page may stand in another site's frame, though the request does not say so.
    """
    secure = scheme == "https" or headers.get("x-forwarded-proto", "").startswith("https")
    framed = framed or headers.get("sec-fetch-dest") == "iframe"
    line = f"{name}={value}; Max-Age={age_s}; Path=/; HttpOnly"
    if secure and framed:
        return f"{line}; SameSite=None; Secure; Partitioned"
    return f"{line}; SameSite=Lax" + ("; Secure" if secure else "")


def person_of(cookies: Mapping[str, str], guests: Guests) -> str | None:
    """Give the person a request's cookies prove, or None."""
    return guests.read(cookies.get(COOKIE))
