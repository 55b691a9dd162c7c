"""The pages about a person's account: log in, register, and the account itself.

They hold no secret and no script of their own: forms are sent by `assets/account.js` to the REST
routes. Every address is relative, so that a path before ours changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from studio import texts
from studio.engine.desk import Desk
from studio.engine.people import PASSWORD_MAX, PASSWORD_MIN, Account, People, Registration
from studio.engine.quota import Used, shown
from studio.web.answers import CODE_HEADER, language_asked
from studio.web.guards import frame_ancestors
from studio.web.routes import Assets
from studio.web.visitors import By, Mode, Visitor, visitor_of

_ASSETS: Final = Path(__file__).parent / "assets"
_KINDS: Final = {"account.css": "text/css"} | dict.fromkeys(
    ("account.js", "first.js"), "text/javascript"
)
_NEXT_AT_MOST: Final = 2000
_NOT_IN_A_WAY: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_SAID: Final = ("out", "ended", "deleted")
_SCRIPT_WORDS: Final = {
    "fill_in": "account.fill_in",
    "away": "account.away",
    "odd": "account.odd",
    "login": "account.login",
    "tokens_none": "account.tokens_none",
    "token_read": "account.token_read",
    "token_write": "account.token_write",
    "token_used": "account.token_used",
    "token_unused": "account.token_unused",
    "token_made": "account.token_made",
    "revoke": "account.revoke",
    "copy": "account.copy",
    "copied": "account.copied",
    "links_none": "account.links_none",
    "link_until": "account.link_until",
    "link_hidden": "account.link_hidden",
    "link_end": "account.link_end",
    "register_neutral": "account.register_neutral",
}
_OTHER: Final = {"en": ("zh-TW", "繁體中文"), "zh-TW": ("en", "English")}


def own_way(text: str) -> str:
    """Give a path of ours, as a way from the studio's root, or nothing for any other address.

    It must begin with one slash. Nothing in it may climb, or be read as another site by any
    browser: backslashes, blanks and what is not printed count as attempts.
    """
    if not text.startswith("/") or text.startswith("//") or len(text) > _NEXT_AT_MOST:
        return ""
    path = unquote(text.split("?")[0].split("#")[0])
    if _NOT_IN_A_WAY.search(text) or _NOT_IN_A_WAY.search(path) or path.startswith("//"):
        return ""
    if any(part in (".", "..") for part in path.split("/")):
        return ""
    return text[1:]


def look() -> dict[str, tuple[str, str]]:
    """Give the pages' files, name -> (media type, text)."""
    return {name: (kind, (_ASSETS / name).read_text("utf-8")) for name, kind in _KINDS.items()}


class AccountPages:
    """The handlers. `language` is for readers who ask for none; `framed`: see `web.guards`."""

    def __init__(
        self, people: People, desk: Desk, mode: Mode, *, language: str, framed: bool
    ) -> None:
        self._people = people
        self._desk = desk
        self._mode = mode
        self._language = language
        self._framed = framed

    def routes(self, assets: Assets) -> list[Route]:
        """List the routes; `assets` serves `look`."""
        self._assets = assets
        return [
            Route("/account/login", self.login, methods=["GET"]),
            Route("/account/register", self.register, methods=["GET"]),
            Route("/account", self.account, methods=["GET"]),
        ]

    async def login(self, request: Request) -> Response:
        """Show the form; who is logged in goes on to `?next=`."""
        way = own_way(request.query_params.get("next", ""))
        visitor = visitor_of(request.scope)
        if self._mode is Mode.OFF or visitor.by is By.SESSION:
            return RedirectResponse(f"../{_ascii(way)}", 303)
        page = self._page(request, "../", way)
        said = request.query_params.get("said", "")
        return self._html(page, _login(page, visitor, self._state, said if said in _SAID else ""))

    async def register(self, request: Request) -> Response:
        """Show the form, or that new accounts are the host's to make."""
        way = own_way(request.query_params.get("next", ""))
        visitor = visitor_of(request.scope)
        if self._mode is Mode.OFF or visitor.by is By.SESSION:
            return RedirectResponse(f"../{_ascii(way)}", 303)
        page = self._page(request, "../", way)
        if self._people.registration is Registration.CLOSED:
            return self._html(page, _closed(page), status=403, code="registration_closed")
        invitation = request.query_params.get("invitation", "")[:200]
        return self._html(page, _register(page, visitor, self._state, invitation))

    async def account(self, request: Request) -> Response:
        """Show what a person may know and change of themselves."""
        visitor = visitor_of(request.scope)
        if self._mode is Mode.OFF:
            return RedirectResponse("./", 303)
        if visitor.person is None:
            return RedirectResponse("account/login?next=/account", 303)
        used = await anyio.to_thread.run_sync(self._desk.quota, visitor.person)
        page = self._page(request, "./", "")
        if visitor.account is None:
            return self._html(page, _guest(page, used, self._state))
        return self._html(page, _account(page, visitor.account, used))

    @property
    def _state(self) -> _State:
        return _State(self._mode, self._people.registration)

    def _page(self, request: Request, base: str, way: str) -> _Page:
        return _Page(language_asked(request, self._language), base, way, self._assets.address)

    def _html(self, page: _Page, body: _Body, *, status: int = 200, code: str = "") -> Response:
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
            " connect-src 'self'; form-action 'self'; base-uri 'none'; "
            f"{frame_ancestors(self._framed)}"
        )
        headers = {
            "cache-control": "no-store",
            "content-language": page.language,
            "content-security-policy": policy,
            "vary": "Cookie, Accept-Language",
        }
        if code:
            headers[CODE_HEADER] = code
        return HTMLResponse(_document(page, body), status_code=status, headers=headers)


def _ascii(way: str) -> str:
    """Write a way for a header."""
    return quote(way, safe="/?#[]@!$&'()*+,;=:%~")


# --- what a page is made of -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _State:
    mode: Mode
    registration: Registration

    @property
    def registers(self) -> bool:
        return self.registration is not Registration.CLOSED


@dataclass(frozen=True, slots=True)
class _Page:
    """For whom and from where: `base` leads from the page to the studio, `way` on from there."""

    language: str
    base: str
    way: str
    asset: Callable[[str], str]

    def say(self, name: str, **params: object) -> str:
        """Give our words for `account.NAME`, as markup."""
        return escape(texts.text(f"account.{name}", self.language, **params))

    def to(self, path: str, *, on: bool = True) -> str:
        """Write the way to another page of ours, which goes on where this one would."""
        more = f"?next=/{quote(self.way, safe='/')}" if self.way and on else ""
        return escape(f"{self.base}{path}{more}")

    def day(self, moment_us: int) -> str:
        return f"{datetime.fromtimestamp(moment_us / 1e6, UTC):%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class _Body:
    title: str
    main: str
    wide: bool = False


def _document(page: _Page, body: _Body) -> str:
    tag, name = _OTHER[page.language]
    asset = {name: escape(page.base + page.asset(name)) for name in (*_KINDS, "mark.svg")}
    words = {name: texts.text(key, page.language) for name, key in _SCRIPT_WORDS.items()}
    table = json.dumps(words, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f'<!doctype html><html lang="{page.language}"><head><meta charset="utf-8">'
        f"<title>{body.title} · {escape(texts.text('page.title', page.language))}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex">'
        f'<script src="{asset["first.js"]}"></script>'
        f'<link rel="icon" type="image/svg+xml" href="{asset["mark.svg"]}">'
        f'<link rel="stylesheet" href="{asset["account.css"]}">'
        f'<script defer src="{asset["account.js"]}"></script></head>'
        f'<body data-base="{escape(page.base)}" data-next="{escape(page.way)}">'
        f'<script type="application/json" id="words">{table}</script>'
        f'<header><a class="brand" href="{escape(page.base)}"><img src="{asset["mark.svg"]}" alt=""'
        f' width="28" height="28">{escape(texts.text("page.title", page.language))}</a>'
        f'<button type="button" class="pill" data-language="{tag}" lang="{tag}">{name}</button>'
        f'</header><main class="{"wide" if body.wide else "narrow"}">{body.main}'
        f'<noscript><p class="note bad">{page.say("need_script")}</p></noscript></main>'
        "</body></html>"
    )


def _field(
    form: str,
    name: str,
    label: str,
    *,
    kind: str = "text",
    value: str = "",
    complete: str = "off",
    hint: str = "",
    more: str = "",
) -> str:
    """Draw a labelled field with room for its fault; `label` and `hint` are markup."""
    own = f"{form}-{name}"
    told = f"{own}-hint " if hint else ""
    shown_hint = f'<p class="hint" id="{own}-hint">{hint}</p>' if hint else ""
    plain = "" if kind == "text" else ' autocapitalize="none" spellcheck="false"'
    return (
        f'<div class="field"><label for="{own}">{label}</label>'
        f'<input id="{own}" name="{name}" type="{kind}" value="{escape(value)}"'
        f' autocomplete="{complete}" aria-describedby="{told}{own}-fault"{plain}{more}>{shown_hint}'
        f'<p class="fault" id="{own}-fault" role="alert"></p></div>'
    )


def _form(act: str, fields: str, button: str, *, strong: bool = True, more: str = "") -> str:
    """Draw a form that the script sends. It posts, so that nothing typed enters an address."""
    kind = "strong" if strong else "plain"
    return (
        f'<form method="post" novalidate data-act="{act}"{more}>{fields}'
        '<p class="fault" data-fault role="alert"></p>'
        f'<div class="row"><button type="submit" class="{kind}">{button}</button>'
        '<p class="done" data-done role="status"></p></div></form>'
    )


def _email_field(page: _Page, form: str, value: str = "", *, complete: str = "username") -> str:
    more = ' inputmode="email" autofocus' if not value else ' inputmode="email"'
    return _field(
        form, "email", page.say("email"), kind="email", value=value,
        complete=complete, more=more,
    )  # fmt: skip


def _new_password(page: _Page, form: str, name: str, label: str) -> str:
    hint = page.say("password_hint", min=PASSWORD_MIN, max=PASSWORD_MAX)
    more = ' data-error="password"' if name != "password" else ""
    return _field(form, name, label, kind="password", complete="new-password", hint=hint, more=more)


# --- coming in ------------------------------------------------------------------------------------


def _login(page: _Page, visitor: Visitor, state: _State, said: str) -> _Body:
    intro = page.say("login_required" if state.mode is Mode.REQUIRED else "login_intro")
    news = f'<p class="note" role="status">{page.say(f"said_{said}")}</p>' if said else ""
    fields = _email_field(page, "login") + _field(
        "login", "password", page.say("password"),
        kind="password", complete="current-password",
    )  # fmt: skip
    guest = state.mode is Mode.GUESTS
    ways = []
    if state.registers:
        way = page.to("account/register")
        ways.append(f'{page.say("no_account")} <a href="{way}">{page.say("register")}</a>')
    if guest:
        ways.append(f'<a href="{page.to("", on=False)}">{page.say("as_guest")}</a>')
    stays = f'<p class="hint">{page.say("login_guest")}</p>' if guest and visitor.person else ""
    main = (
        f'<section class="card"><h1>{page.say("login")}</h1>{news}<p>{intro}</p>'
        f"{_form('login', fields, page.say('login'))}{_ways(ways)}{stays}"
        f'<p class="hint">{page.say("forgotten")}</p></section>'
    )
    return _Body(page.say("login"), main)


def _register(page: _Page, visitor: Visitor, state: _State, invitation: str) -> _Body:
    keeps = state.mode is Mode.GUESTS and visitor.person is not None
    intro = page.say("register_keeps" if keeps else "register_intro")
    fields = ""
    if state.registration is Registration.INVITATION:
        intro = f"{page.say('register_invited')} {intro}"
        fields = _field(
            "register", "invitation", page.say("invitation"), value=invitation,
            more=' spellcheck="false" autocapitalize="none"',
        )  # fmt: skip
    fields += (
        _email_field(page, "register")
        + _new_password(page, "register", "password", page.say("password"))
        + _field("register", "name", page.say("name"), complete="name",
                 hint=page.say("name_hint"))
    )  # fmt: skip
    way = page.to("account/login")
    ways = [f'{page.say("have_account")} <a href="{way}">{page.say("login")}</a>']
    main = (
        f'<section class="card"><h1>{page.say("register")}</h1><p>{intro}</p>'
        f"{_form('register', fields, page.say('register'))}{_ways(ways)}</section>"
    )
    return _Body(page.say("register"), main)


def _closed(page: _Page) -> _Body:
    way = page.to("account/login")
    main = (
        f'<section class="card"><h1>{page.say("register_closed")}</h1>'
        f"<p>{page.say('register_closed_hint')}</p>"
        f'<p class="row"><a class="plain" href="{way}">{page.say("login")}</a></p></section>'
    )
    return _Body(page.say("register"), main)


def _ways(ways: list[str]) -> str:
    return "".join(f'<p class="way">{way}</p>' for way in ways)


# --- oneself --------------------------------------------------------------------------------------


def _account(page: _Page, account: Account, used: Used) -> _Body:
    top = _top(page, page.say("title"), logout=True)
    cards = (
        _profile(page, account, used)
        + _password_card(page, account)
        + _tokens(page)
        + _links(page)
        + _leaving(page, account.email)
    )
    return _Body(page.say("title"), f'{top}<div class="cards">{cards}</div>', wide=True)


def _guest(page: _Page, used: Used, state: _State) -> _Body:
    keep = page.to("account/register", on=False)
    ways = f'<a class="plain" href="{page.to("account/login", on=False)}">{page.say("login")}</a>'
    if state.registers:
        ways = f'<a class="strong" href="{keep}">{page.say("guest_keep")}</a>{ways}'
    about = (
        f'<section class="card whole"><p>{page.say("guest_intro")}</p><div class="row">{ways}</div>'
        f"{_disk(page, used)}</section>"
    )
    top = _top(page, page.say("guest_title"), logout=False)
    cards = f'<div class="cards">{about}{_links(page)}{_leaving(page, None)}</div>'
    return _Body(page.say("guest_title"), top + cards, wide=True)


def _top(page: _Page, title: str, *, logout: bool) -> str:
    leave = (
        f'<button type="button" class="plain" data-act="logout">{page.say("logout")}</button>'
        if logout
        else ""
    )
    way = page.to("", on=False)
    return (
        f'<div class="top"><h1>{title}</h1><div class="row"><a class="plain" href="{way}">'
        f"{page.say('to_studio')}</a>{leave}</div></div>"
    )


def _profile(page: _Page, account: Account, used: Used) -> str:
    fields = (
        _field("profile", "name", page.say("name"), value=account.name, complete="name",
               hint=page.say("name_hint"))
        + _email_field(page, "profile", account.email)
        + '<div data-if-changed="email" hidden>'
        + _field("profile", "password", page.say("email_password"), kind="password",
                 complete="current-password")
        + "</div>"
    )  # fmt: skip
    role = page.say(f"role_{account.role}")
    since = page.say("since", day=page.day(account.created_us))
    told = f' data-refused="{page.say("email_refused")}" data-done-words="{page.say("saved")}"'
    form = _form("profile", fields, page.say("save"), strong=False, more=told)
    return (
        f'<section class="card"><h2>{page.say("profile")} <small>{role} · {since}</small></h2>'
        f"{form}{_disk(page, used)}</section>"
    )


def _disk(page: _Page, used: Used) -> str:
    sizes = {"used": used.bytes, "results": used.results, "inputs": used.inputs}
    told = {name: shown(size) for name, size in sizes.items()}
    said, bar = page.say("disk_used", **told), ""
    if used.max_bytes:
        said = page.say("disk_of", **told, max=shown(used.max_bytes))
        bar = f'<progress max="{used.max_bytes}" value="{min(used.bytes, used.max_bytes)}"'
        bar += f' aria-label="{page.say("disk")}"></progress>'
    return f'<div class="disk"><h3>{page.say("disk")}</h3>{bar}<p>{said}</p></div>'


def _password_card(page: _Page, account: Account) -> str:
    # The address is there for password managers: they keep a password with its name.
    fields = (
        f'<input type="text" name="email" value="{escape(account.email)}" autocomplete="username"'
        ' class="away" tabindex="-1" aria-hidden="true" readonly>'
        + _field("change", "old_password", page.say("old_password"), kind="password",
                 complete="current-password")
        + _new_password(page, "change", "new_password", page.say("new_password"))
    )  # fmt: skip
    told = f' data-refused="{page.say("password_wrong")}" data-done-words="{page.say("changed")}"'
    form = _form("password", fields, page.say("change_password"), strong=False, more=told)
    return (
        f'<section class="card"><h2>{page.say("change_password")}</h2>'
        f"<p>{page.say('change_hint')}</p>{form}</section>"
    )


def _tokens(page: _Page) -> str:
    scope = "".join(
        f'<label class="chip"><input type="radio" name="scope" value="{value}"{on}>'
        f"<span>{page.say(f'token_{value}')}</span></label>"
        for value, on in (("read", ""), ("write", " checked"))
    )
    fields = (
        f'<div class="pair">{_field("token", "name", page.say("token_name"))}'
        f'<fieldset class="field"><legend>{page.say("token_scope")}</legend>'
        f'<div class="chips">{scope}</div></fieldset></div>'
    )
    once = _to_copy(page, "token", page.say("token_once"))
    hook = (
        f'<div class="hook"><h3>{page.say("hook")}</h3><p>{page.say("hook_intro")}</p>'
        f'<button type="button" class="plain" data-act="hook">{page.say("hook_show")}</button>'
        f"{_to_copy(page, 'hook', page.say('hook_keep'))}"
        f'<button type="button" class="plain" data-act="renew" hidden>{page.say("hook_renew")}'
        f'</button><p role="status" data-renewed="{page.say("hook_renewed")}"></p></div>'
    )
    form = _form("token", fields, page.say("token_make"), strong=False)
    return (
        f'<section class="card whole"><h2>{page.say("tokens")}</h2>'
        f"<p>{page.say('tokens_intro')}</p>{form}{once}"
        '<ul class="list" data-list="tokens" aria-live="polite"></ul>'
        f"{hook}</section>"
    )


def _to_copy(page: _Page, name: str, label: str) -> str:
    """Draw where the script shows a secret."""
    return (
        f'<div class="once" data-once="{name}" hidden><label for="{name}-secret">{label}</label>'
        f'<div class="copy"><input id="{name}-secret" readonly autocomplete="off"'
        f' spellcheck="false"><button type="button" class="plain" data-copy="{name}-secret">'
        f"{page.say('copy')}</button></div></div>"
    )


def _links(page: _Page) -> str:
    return (
        f'<section class="card whole" data-links hidden><h2>{page.say("links")}</h2>'
        f"<p>{page.say('links_intro')}</p>"
        '<ul class="list" data-list="links" aria-live="polite"></ul>'
        '<p class="fault" data-fault role="alert"></p></section>'
    )


def _leaving(page: _Page, email: str | None) -> str:
    word = email or texts.text("account.delete_word", page.language)
    fields = _field("leave", "sure", page.say("delete_type_email", word=word))
    if email is not None:
        fields += _field(
            "leave", "password", page.say("password"),
            kind="password", complete="current-password",
        )  # fmt: skip
    told = f' data-word="{escape(word)}" data-mismatch="{page.say("delete_mismatch", word=word)}"'
    told += f' data-refused="{page.say("password_wrong")}"'
    form = _form("leave", fields, page.say("delete_now"), more=told, strong=False)
    warning = page.say("delete_account" if email is not None else "delete_guest")
    return (
        f'<section class="card whole danger"><details><summary><h2>{page.say("delete")}</h2>'
        f"</summary><p><strong>{warning}</strong></p><p>{page.say('delete_first')}</p>{form}"
        "</details></section>"
    )
