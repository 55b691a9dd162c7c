"""Who asks and in which language; and the one place where an error is told to a person."""

from __future__ import annotations

import html
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, cast

import gradio as gr

from studio import texts
from studio.engine.accounts import Guests
from studio.engine.workflow.catalog import Tab
from studio.errors import StudioError
from studio.web.identity import person_of
from studio.web.language import language_of

log = logging.getLogger("studio.tabs")

Handler = TypeVar("Handler", bound=Callable[..., Coroutine[Any, Any, Any]])


@dataclass(frozen=True, slots=True)
class Asker:
    """The person behind one event, their language, and the page's session.

    `counted` is whom limits count: a program's session is its own choice, so there its address.
    """

    person: str
    language: str
    session: str
    counted: str = ""


def asker_of(request: gr.Request, guests: Guests, default: str = texts.DEFAULT) -> Asker:
    """Read who asks: the signed cookie, or for programs without one the guest of their session."""
    session = request.session_hash or ""
    cookies: Mapping[str, str] = request.cookies or {}
    headers = {name.lower(): value for name, value in request.headers.items()}
    known = person_of(cookies, guests)
    person = known or guests.of_session(session)
    counted = known or (request.client.host if request.client else session)
    return Asker(person, language_of(cookies, headers, default), session, counted)


def in_their_words(error: StudioError, language: str, tab: Tab | None = None) -> tuple[str, str]:
    """Give sentence and hint; a field at fault is called as the form calls it."""
    params = dict(error.params)
    parameter = tab.parameter(error.field) if tab and error.field else None
    if parameter is not None:
        params["field"] = texts.local(parameter.label, language)
    return texts.explain_code(error.code, params, language)


def told(error: StudioError, language: str, tab: Tab | None = None) -> gr.Error:
    """Make what the page shows of an error of ours. Gradio shows it as HTML, so it is escaped."""
    return _error(html.escape(_words(error, language, tab)), error, language)


def told_program(error: StudioError, language: str, tab: Tab | None = None) -> gr.Error:
    """Make what a program's client raises of an error of ours: plain text."""
    return _error(_words(error, language, tab), error, language)


def _words(error: StudioError, language: str, tab: Tab | None) -> str:
    sentence, hint = in_their_words(error, language, tab)
    return (f"{sentence}{hint}" if sentence.endswith("。") else f"{sentence} {hint}").strip()


def _error(words: str, error: StudioError, language: str) -> gr.Error:
    log.info("told a person: %s", error)
    return gr.Error(words, title=texts.text("page.error.title", language), print_exception=False)


class Speaks(ABC):
    """A page part whose handlers may raise StudioError: knows how to say it."""

    tab: Tab | None = None

    @abstractmethod
    def asker(self, request: gr.Request) -> Asker:
        """Read who asks."""


def spoken(handler: Handler) -> Handler:
    """Let a handler of a `Speaks` raise StudioError; the person reads a sentence and a hint.

    Of a handler wired with `queue=False` Gradio's page shows no fault: `assets/told.js` does.
    """

    @wraps(handler)
    async def said(self: Speaks, request: gr.Request, *args: Any) -> Any:
        try:
            return await handler(self, request, *args)
        except StudioError as error:
            raise told(error, self.asker(request).language, self.tab) from error
        except Exception as fault:
            # The edge of the page: whatever went wrong, a person reads a sentence of ours.
            log.exception("%s failed", handler.__qualname__)
            raise told(StudioError("internal"), self.asker(request).language) from fault

    return cast("Handler", said)
