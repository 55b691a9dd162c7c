"""The head of the page and its banner, from values to HTML. Pure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from studio import texts
from studio.engine.desk import ServerView
from studio.engine.roster import Worker
from studio.tabs.result import attribute


@dataclass(frozen=True, slots=True)
class House:
    """How the house stands, as everybody may see it. `waiting`: jobs of all persons.

    `deserted`: no process is there that would run a job.
    """

    servers: tuple[ServerView, ...]
    waiting: int
    workers: tuple[Worker, ...] = ()
    deserted: bool = False

    @property
    def online(self) -> int:
        """Count the servers that answer."""
        return sum(1 for server in self.servers if server.online)

    @property
    def practice(self) -> bool:
        """Tell whether drawn placeholders stand in for a ComfyUI."""
        return any(server.practice and server.online for server in self.servers) and not any(
            server.online and not server.practice for server in self.servers
        )

    @property
    def working(self) -> int:
        """Count the worker processes that answer."""
        return sum(1 for worker in self.workers if worker.online)

    @property
    def away(self) -> tuple[ServerView, ...]:
        """List the servers that should answer and do not."""
        if self.practice:
            return ()
        return tuple(server for server in self.servers if not server.online and not server.practice)


@dataclass(frozen=True, slots=True)
class Public:
    """How the public share link stands, for who may know; `problem` says why there is none."""

    url: str = ""
    until: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Who:
    """Whose page it is. `kind` is local, guest, member or admin; `name` is an account's.

    `guests`: who logs out may go on as a guest. `public`: the share link, of an admin's page.
    """

    person: str
    kind: str
    name: str = ""
    guests: bool = True
    public: Public | None = None

    @property
    def alone(self) -> bool:
        """Tell whether this studio has one person and no accounts."""
        return self.kind == "local"


def head(house: House | None, who: Who | None, language: str, *, mark: str) -> str:
    """Draw name and mark; at the right servers, queue, language and person."""
    pills = _of_house(house, language) if house is not None else ""
    pills += _public(who.public, language) if who is not None and who.public else ""
    return (
        f'<header class="studio-head"><div class="studio-brand"><img src="{attribute(mark)}" alt=""'
        ' width="28" height="28"><h1>ComfyUI Studio</h1></div><div class="studio-pills">'
        f"{pills}{_languages(language)}{_person(who, language)}</div></header>"
    )


def _of_house(house: House, language: str) -> str:
    return _servers(house, language) + _workers(house, language) + _queue(house, language)


def _servers(house: House, language: str) -> str:
    if house.practice:
        state, words = "practice", texts.text("page.practice", language)
    else:
        state = "online" if house.online else "offline"
        words = texts.text(f"page.{state}", language)
    count = "" if house.practice else f"<b>{house.online}</b>"
    title = attribute("\n".join(f"{s.name}: {_standing(s, language)}" for s in house.servers))
    return (
        f'<span class="studio-pill" data-state="{state}" title="{title}"><i></i>{count}'
        f'<span class="studio-wide">{html.escape(words)}</span></span>'
    )


def _standing(server: ServerView, language: str) -> str:
    words = texts.text("page.online" if server.online else "page.offline", language)
    return f"{words} ({server.version})" if server.online and server.version else words


def queue_length(house: House) -> int:
    """Count what is ahead: our waiting jobs and what lies in the servers' own queues."""
    return house.waiting + sum(server.queue_length for server in house.servers if server.online)


def _workers(house: House, language: str) -> str:
    words = texts.text("page.workers", language)
    there = [one for one in house.workers if one.online]
    busy = ", ".join(f"{one.running}/{one.places}" for one in there)
    title = attribute(f"{words}: {busy or 0}")
    state = ' data-state="offline"' if house.deserted else ""
    return (
        f'<span class="studio-pill studio-workers" title="{title}"{state}>'
        '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M3 5h10v7H3zM6 5V3h4v2M3 8h10"/>'
        f'</svg><span class="studio-wide">{html.escape(words)}</span>'
        f"<b>{house.working}</b></span>"
    )


def _queue(house: House, language: str) -> str:
    words = texts.text("page.queue", language)
    return (
        f'<span class="studio-pill" title="{attribute(words)}">'
        '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M2 4h12M2 8h12M2 12h8"/></svg>'
        f'<span class="studio-wide">{html.escape(words)}</span><b>{queue_length(house)}</b></span>'
    )


def _public(link: Public, language: str) -> str:
    """Draw the way to the public link, or why there is none."""
    key = "page.link" if link.url else "page.link_none"
    words = f'<span class="studio-wide">{html.escape(texts.text(key, language))}</span>'
    icon = (
        '<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M6.5 9.5l3-3M7 4.5l1-1a3 3 0 0 1 4.5'
        ' 4.5l-1 1M9 11.5l-1 1A3 3 0 0 1 3.5 8l1-1"/></svg>'
    )
    if not link.url:
        why = f'data-state="offline" title="{attribute(link.problem)}"'
        return f'<span class="studio-pill" {why}>{icon}{words}</span>'
    title = attribute(texts.text("page.link_until", language, day=link.until))
    return (
        f'<a class="studio-pill" href="{attribute(link.url)}" target="_blank" rel="noopener"'
        f' title="{title}" aria-label="{title}">{icon}{words}</a>'
    )


def _languages(language: str) -> str:
    other = "zh-TW" if language == "en" else "en"
    name, short = ("繁體中文", "中") if other == "zh-TW" else ("English", "EN")
    return (
        f'<button type="button" class="studio-pill" data-language="{other}" lang="{other}"'
        f' title="{name}"><span class="studio-wide">{name}</span>'
        f'<span class="studio-narrow">{short}</span></button>'
    )


def _person(who: Who | None, language: str) -> str:
    """Draw the way to one's account, and for a guest the way in. The script reads who it is."""
    if who is None or who.alone:
        return ""
    guest = who.kind == "guest"
    code = who.person.rpartition("-")[2][:4].upper()
    name = f"{texts.text('page.guest', language)} {code}" if guest else who.name
    hint = texts.text("page.guest_hint" if guest else "account.title", language)
    title = attribute(hint if guest else f"{name}: {hint}")
    kind = texts.text("account.role_admin", language) if who.kind == "admin" else ""
    return (
        f'<a class="studio-pill studio-person" href="account" title="{title}"'
        f' aria-label="{attribute(f"{name} {kind}".strip())}"'
        f' data-person="{attribute(who.person)}" data-kind="{attribute(who.kind)}"'
        f' data-name="{attribute(name)}"{" data-guests" if who.guests else ""}>'
        '<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="5.5" r="2.8"/>'
        '<path d="M2.8 14c.6-3 2.6-4.4 5.2-4.4s4.6 1.4 5.2 4.4"/></svg>'
        f'<span class="studio-wide studio-name">{html.escape(name)}</span>'
        + (f'<em class="studio-wide">{html.escape(kind)}</em>' if kind else "")
        + "</a>"
        + (_way_in(language) if guest else "")
    )


def _way_in(language: str) -> str:
    words = html.escape(texts.text("account.login", language))
    return f'<a class="studio-pill studio-wide" href="account/login">{words}</a>'


def banner(house: House, language: str) -> str:
    """Say what nobody may overlook: practice mode, or a server that is away. Else nothing."""
    if house.practice:
        return _practice(language)
    if house.deserted:
        words = html.escape(texts.text("page.no_worker", language))
        return f'<div class="studio-banner studio-banner-away" role="alert"><p>{words}</p></div>'
    if house.away:
        rows = "".join(f"<p>{html.escape(_why(server, language))}</p>" for server in house.away)
        return f'<div class="studio-banner studio-banner-away" role="alert">{rows}</div>'
    return '<div class="studio-banner" hidden></div>'


def _why(server: ServerView, language: str) -> str:
    """Say why a server takes no jobs."""
    known = texts.has(server.reason)
    return texts.text(server.reason if known else "page.away", language, server=server.name)


def _practice(language: str) -> str:
    say = {key: html.escape(texts.text(f"page.practice.{key}", language)) for key in ("say", "how")}
    steps = "".join(f"<li>{_code(step)}</li>" for step in _steps(language))
    return (
        '<div class="studio-banner studio-banner-practice" role="status">'
        f"<details><summary><strong>{say['say']}</strong><span>{say['how']}</span></summary>"
        f"<ol>{steps}</ol></details></div>"
    )


def _steps(language: str) -> Sequence[str]:
    return [texts.text(f"page.practice.step{n}", language) for n in (1, 2, 3)]


def _code(words: str) -> str:
    """Set what stands between back-ticks as code."""
    parts = html.escape(words).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
