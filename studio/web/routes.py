"""Routes of our own beside the page: a person's files, and the look.

Every file route asks who is asking; another's file and no file give the same 404. An admin reads
the files of a job that was opened within the hour, which was written down.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

from studio.engine.accounts import Guests
from studio.engine.desk import Desk
from studio.engine.jobs import DRAWN, Job, Output
from studio.engine.oversight import Oversight
from studio.errors import StudioError
from studio.web.answers import error_answer, language_asked
from studio.web.identity import person_of
from studio.web.names import disposition, download_name
from studio.web.visitors import visitor_of

_FOR_EVER: Final = "private, max-age=31536000, immutable"
_ONCE: Final = "private, no-store"
_SHOWN_INLINE: Final = (*DRAWN, "video/", "audio/")
"""What a browser may open on our origin; anything else (SVG, HTML, text) is only downloaded."""

Answer = Callable[[Request], Awaitable[Response]]
_Method = Callable[["Files", Request], Awaitable[Response]]


def _told(method: _Method) -> _Method:
    """Turn a StudioError into the one JSON error shape, in the person's language."""

    @wraps(method)
    async def answer(self: Files, request: Request) -> Response:
        try:
            return await method(self, request)
        except StudioError as error:
            return error_answer(error, language_asked(request))

    return answer


class Files:
    """The file routes of one studio."""

    def __init__(self, desk: Desk, guests: Guests, oversight: Oversight) -> None:
        self._desk = desk
        self._guests = guests
        self._oversight = oversight
        # Copies of films take long: they must not take the threads of everything else.
        self._copying = anyio.CapacityLimiter(8)

    @_told
    async def output(self, request: Request) -> Response:
        """Send one kept file; `?download=1` names it for keeping. Knows Range and If-None-Match."""
        person, job_id, name = await self._asked(request)
        job = await anyio.to_thread.run_sync(self._desk.job, person, job_id)
        output = next((o for o in job.outputs if o.name == name), None)
        if output is None:
            raise StudioError("file_unknown", file=name)
        path = await anyio.to_thread.run_sync(self._desk.output_file, person, job_id, name)
        return _file(request, path, job, output)

    @_told
    async def thumbnail(self, request: Request) -> Response:
        """Send the small picture of one kept file, as WebP."""
        person, job_id, name = await self._asked(request)
        path = await anyio.to_thread.run_sync(
            lambda: self._desk.output_file(person, job_id, name, thumbnail=True)
        )
        tag = _etag(job_id, name, "thumbnail")
        return _unchanged(request, tag) or FileResponse(
            path, media_type="image/webp", headers=_headers(request, tag)
        )

    @_told
    async def play(self, request: Request) -> Response:
        """Send what a browser plays of one kept file: itself, or the copy made for it.

        The first asking for a film that browsers do not know waits for its copy. Knows Range.
        """
        person, job_id, name = await self._asked(request)
        found = await anyio.to_thread.run_sync(
            self._desk.playable, person, job_id, name, limiter=self._copying
        )
        tag = _etag(job_id, name, "play", found.path.name)
        headers = _headers(request, tag)
        if not found.mime.startswith(_SHOWN_INLINE):
            raise StudioError("file_unknown", file=name)
        return _unchanged(request, tag) or FileResponse(
            found.path, media_type=found.mime, headers=headers
        )

    @_told
    async def zip(self, request: Request) -> Response:
        """Send results as one ZIP: `of=JOB` takes all files of a job, `of=JOB/NAME` one.

        By GET in the address or, since that has no room for hundreds, by the POST of a form.
        """
        person = person_of(request.cookies, self._guests)
        picks = [_pick(text) for text in await _picked(request)]
        if person is None or not picks:
            raise StudioError("file_unknown", file="zip")
        pieces = await anyio.to_thread.run_sync(self._desk.zip, person, picks)
        name = f"ComfyUI_Studio_{datetime.now(UTC).astimezone():%Y%m%d_%H%M}.zip"
        headers = {
            "content-disposition": disposition(name, attachment=True),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
        }
        return StreamingResponse(pieces, media_type="application/zip", headers=headers)

    @_told
    async def given(self, request: Request) -> Response:
        """Send one of the person's own inputs, by its reference.

        With `?job=ID` an admin gets what an opened job was given.
        """
        ref = request.path_params["ref"]
        person = person_of(request.cookies, self._guests)
        if person is None:
            raise StudioError("file_unknown", file=ref)
        opened = request.query_params.get("job")
        if opened is not None:
            owner = await self._owner(request, person, opened)
            job = await anyio.to_thread.run_sync(self._desk.job, owner, opened)
            if ref not in job.inputs and ref not in {one.ref for one in job.made}:
                raise StudioError("file_unknown", file=ref)
            person = owner
        path = await anyio.to_thread.run_sync(self._desk.input_file, person, ref)
        tag = _etag("input", ref)
        return _unchanged(request, tag) or FileResponse(path, headers=_headers(request, tag))

    async def _asked(self, request: Request) -> tuple[str, str, str]:
        job_id, name = request.path_params["job_id"], request.path_params["name"]
        person = person_of(request.cookies, self._guests)
        if person is None:
            raise StudioError("file_unknown", file=name)
        return await self._owner(request, person, job_id), job_id, name

    async def _owner(self, request: Request, person: str, job_id: str) -> str:
        """Give as whom a job's files are read: as oneself, but for an admin who opened it."""
        account = visitor_of(request.scope).account
        if account is None or not account.admin:
            return person
        owner = await anyio.to_thread.run_sync(self._oversight.owner_for, account, job_id)
        if owner is None or owner == person:
            return person
        request.state.once = True
        return owner


async def _picked(request: Request) -> list[str]:
    """Read which results are meant, from the address and from the fields of a form."""
    fields = parse_qsl((await request.body()).decode("utf-8", "replace"))
    form = [value for name, value in fields if name == "of"]
    return request.query_params.getlist("of") + form


def _pick(text: str) -> tuple[str, str | None]:
    job_id, _, name = text.partition("/")
    return job_id, name or None


def _file(request: Request, path: Path, job: Job, output: Output) -> Response:
    shown = output.mime.startswith(_SHOWN_INLINE)
    keep = not shown or request.query_params.get("download", "") not in ("", "0")
    tag = _etag(job.job_id, output.name, str(output.size_bytes))
    headers = _headers(request, tag)
    headers["content-disposition"] = disposition(download_name(job, output), attachment=keep)
    kind = output.mime if shown else "application/octet-stream"
    return _unchanged(request, tag) or FileResponse(path, media_type=kind, headers=headers)


def _headers(request: Request, tag: str) -> dict[str, str]:
    # What an admin sees of another's is kept in no cache.
    once = getattr(request.state, "once", False)
    return {
        "etag": tag,
        "cache-control": _ONCE if once else _FOR_EVER,
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "same-origin",
        "vary": "Cookie",
    }


def _etag(*parts: str) -> str:
    """Tag by what names the file: kept files never change."""
    return f'"{hashlib.sha256("/".join(parts).encode()).hexdigest()[:32]}"'


def _unchanged(request: Request, tag: str) -> Response | None:
    asked = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    if tag not in asked:
        return None
    return Response(status_code=304, headers=_headers(request, tag))


class Assets:
    """Our style sheet, script, mark and samples: few, fixed, read once, cached by content hash."""

    def __init__(self, files: Mapping[str, tuple[str, str]], pictures: Path) -> None:
        """Take name -> (media type, text), and a folder of WebP pictures."""
        self._files = {name: (kind, text.encode()) for name, (kind, text) in files.items()}
        self._files |= {p.name: ("image/webp", p.read_bytes()) for p in pictures.glob("*.webp")}

    def address(self, name: str) -> str:
        """Give a file's address, relative to the page, with its content hash."""
        return f"studio-assets/{name}?v={hashlib.sha256(self._files[name][1]).hexdigest()[:12]}"

    async def serve(self, request: Request) -> Response:
        """Send one of the files."""
        found = self._files.get(request.path_params["name"])
        if found is None:
            return Response(status_code=404)
        kind, body = found
        caching = (
            "public, max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
        )
        headers = {"cache-control": caching, "x-content-type-options": "nosniff"}
        return Response(body, media_type=kind, headers=headers)


def routes(files: Files, assets: Assets) -> list[Route]:
    """List every route of ours."""
    return [
        Route("/outputs/zip", files.zip, methods=["GET", "POST"]),
        Route("/play/{job_id}/{name}", files.play, methods=["GET"]),
        Route("/outputs/{job_id}/{name}", files.output, methods=["GET"]),
        Route("/thumbnails/{job_id}/{name}", files.thumbnail, methods=["GET"]),
        Route("/inputs/{ref}", files.given, methods=["GET"]),
        Route("/studio-assets/{name}", assets.serve, methods=["GET"]),
    ]
