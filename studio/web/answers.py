"""The one shape of an error over HTTP, in the caller's language."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from studio import texts
from studio.errors import StudioError
from studio.web.language import language_of

CODE_HEADER: Final = "x-error-code"
_WAIT_S: Final = "10"
"""Seconds to wait where nobody knows better, as for a full queue."""


def error_answer(error: StudioError, language: str) -> JSONResponse:
    """Write `{"error": {"code", "message", "hint", "field"?}}` with the code's HTTP status."""
    message, hint = texts.explain(error, language)
    body = {"code": error.code, "message": message, "hint": hint}
    if error.field is not None:
        body["field"] = error.field
    headers = {CODE_HEADER: error.code, "cache-control": "no-store"}
    if error.status == 429:
        headers["retry-after"] = error.params.get("wait_s", _WAIT_S)
    if error.status == 401:
        headers["www-authenticate"] = 'Bearer realm="studio"'
    return JSONResponse({"error": body}, status_code=error.status, headers=headers)


def language_asked(request: HTTPConnection, default: str = texts.DEFAULT) -> str:
    """Choose the language of an answer."""
    return language_of(request.cookies, request.headers, default)


def as_shown(code: str, params: Any, language: str) -> dict[str, str]:
    """Write a stored failure as programs get it."""
    message, hint = texts.explain_code(code, params, language)
    return {"code": code, "message": message, "hint": hint}
