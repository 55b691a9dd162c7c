"""The API's documentation, made from its own schema: `/api/openapi.json` and a page at `/api/docs`.

The page needs no script and nothing from elsewhere, so that it works where there is no network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from studio import texts
from studio.web.language import language_of

_SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "studio_person"},
    "session": {"type": "apiKey", "in": "cookie", "name": "studio_session"},
}
_OPEN: Final = ("/api/guest", "/api/register", "/api/login")
_LOOK: Final = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:16px/1.6 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
h2{font-size:1.05rem;margin:0;display:inline}code,pre{font:14px/1.5 ui-monospace,monospace}
details{border:1px solid var(--line);border-radius:.75rem;padding:.75rem 1rem;margin:.6rem 0}
summary{cursor:pointer}pre{background:var(--soft);padding:.75rem;border-radius:.5rem;overflow:auto}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .5rem;
border-top:1px solid var(--line);vertical-align:top}
"""


class Docs:
    """The documentation of some routes. `language` is for readers who ask for none."""

    def __init__(self, routes: APIRouter, language: str) -> None:
        self._routes = routes
        self._language = language

    def schema(self, root: str) -> dict[str, Any]:
        """Write the OpenAPI schema, for a studio that is served under `root`."""
        made = get_openapi(
            title="ComfyUI Studio",
            version="1",
            description=texts.text("rest.intro"),
            routes=self._routes.routes,
            servers=[{"url": root or "/"}],
        )
        made.setdefault("components", {})["securitySchemes"] = _SECURITY
        made["components"].get("schemas", {}).pop("HTTPValidationError", None)
        made["components"].get("schemas", {}).pop("ValidationError", None)
        for path, operations in made["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in _OPEN else [{name: []} for name in _SECURITY]
        return made

    async def openapi(self, request: Request) -> Response:
        """Send the schema."""
        return JSONResponse(self.schema(str(request.scope.get("root_path", ""))))

    async def page(self, request: Request) -> Response:
        """Send the page, in the reader's language."""
        root = str(request.scope.get("root_path", ""))
        language = language_of(request.cookies, request.headers, self._language)
        return HTMLResponse("".join(_page(self.schema(root), root, language)))

    def pages(self) -> list[Route]:
        """List the two routes."""
        return [
            Route("/api/openapi.json", self.openapi, methods=["GET"]),
            Route("/api/docs", self.page, methods=["GET"]),
        ]


def _page(schema: Mapping[str, Any], root: str, language: str) -> Iterator[str]:
    title = escape(texts.text("rest.title", language))
    yield f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}'
    yield '</title><meta name="viewport" content="width=device-width"><style>'
    yield f"{_LOOK}</style></head><body><h1>{title}</h1>"
    yield f"<p>{escape(texts.text('rest.intro', language))}</p>"
    yield f'<p><a href="{escape(root)}/api/openapi.json">openapi.json</a></p>'
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield from _operation(f"{method.upper()} {path}", operation, language)
    yield f"<h2>{escape(texts.text('rest.schemas', language))}</h2>"
    for name, shape in schema["components"].get("schemas", {}).items():
        yield f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_code(shape)}'
        yield "</details>"
    yield "</body></html>"


def _operation(title: str, operation: Mapping[str, Any], language: str) -> Iterator[str]:
    said = texts.text(f"rest.does.{operation['operationId']}", language)
    yield f"<details><summary><h2><code>{escape(title)}</code></h2> {escape(said)}</summary>"
    asked = operation.get("parameters", [])
    if asked:
        yield f"<h3>{escape(texts.text('rest.parameters', language))}</h3><table>"
        for one in asked:
            shape = escape(json.dumps(one["schema"], ensure_ascii=False))
            yield f"<tr><td><code>{escape(one['name'])}</code></td>"
            yield f"<td>{escape(one['in'])}</td><td><code>{shape}</code></td></tr>"
        yield "</table>"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<h3>{escape(kind)}</h3>{_code(content['schema'])}"
    yield f"<h3>{escape(texts.text('rest.answers', language))}</h3><table>"
    for status, answer in operation["responses"].items():
        shapes = [c.get("schema", {}) for c in answer.get("content", {}).values()]
        links = "".join(_link(shape.get("$ref", "")) for shape in shapes)
        yield f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td>"
        yield f"<td>{links}</td></tr>"
    yield "</table></details>"


def _link(ref: str) -> str:
    name = escape(ref.rpartition("/")[2])
    return f'<a href="#{name}">{name}</a>' if name else ""


def _code(shape: Any) -> str:
    return f"<pre>{escape(json.dumps(shape, indent=1, ensure_ascii=False))}</pre>"
