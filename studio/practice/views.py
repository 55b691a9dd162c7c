"""Files that go out: `/view` (`view.json`)."""

from __future__ import annotations

import io
import mimetypes
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from PIL import Image

from studio.practice.files import Folders, digest, inside, split_annotation

_TYPES: Final = {
    ".wav": "audio/x-wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".opus": "audio/ogg",
    ".ogg": "audio/ogg",
    ".webp": "image/webp",
    ".webm": "video/webm",
    ".mp4": "video/mp4",
}
_SCRIPTED: Final = frozenset(
    {
        "text/html",
        "text/html-sandboxed",
        "application/xhtml+xml",
        "text/javascript",
        "application/javascript",
        "text/css",
        "image/svg+xml",
        "text/xml",
        "application/xml",
    }
)
_PREVIEW_QUALITY: Final = 90


def find(query: Mapping[str, str], folders: Folders) -> Path | web.Response:
    """Find the file a query names, or the answer that refuses it."""
    if "filename" not in query:
        return web.Response(status=404)
    name, kind = split_annotation(query["filename"], query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name:
        return web.Response(status=400)
    try:
        base = folders.of(kind)
    except KeyError:
        return web.Response(status=400)
    folder = Path(os.path.normpath(base / query.get("subfolder", "")))
    if not inside(folder, base):
        return web.Response(status=403)
    path = folder / os.path.basename(name)  # noqa: PTH119 - a folder inside the name is dropped
    return path if path.is_file() else web.Response(status=404)


def answer(path: Path, query: Mapping[str, str], *, attach: bool) -> web.StreamResponse:
    """Give a file, a preview of it, or some of its channels.

    `attach` is the later versions' way with types that can run script.
    """
    disposition = {"Content-Disposition": f'filename="{path.name}"'}
    if "preview" in query:
        return _preview(path, query["preview"], disposition)
    channel = query.get("channel", "rgba")
    if channel in ("rgb", "a"):
        return _channel(path, channel, disposition)
    kind = _TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0]
    if kind in _SCRIPTED:
        kind = None
        if attach:
            disposition["Content-Disposition"] = f'attachment; filename="{path.name}"'
    return web.FileResponse(
        path, headers={**disposition, "Content-Type": kind or "application/octet-stream"}
    )


def _preview(path: Path, wish: str, headers: dict[str, str]) -> web.Response:
    """Give a smaller copy: `webp;50`, `jpeg;80`; unknown words mean webp."""
    word, _, quality = wish.partition(";")
    kind = word if word in ("webp", "jpeg") else "webp"
    level = int(quality) if quality.isdigit() else _PREVIEW_QUALITY
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        shown = picture.convert("RGB") if kind == "jpeg" else picture
        shown.save(buffer, kind, quality=level)
    return web.Response(body=buffer.getvalue(), content_type=f"image/{kind}", headers=headers)


def _channel(path: Path, channel: str, headers: dict[str, str]) -> web.Response:
    buffer = io.BytesIO()
    with Image.open(path) as picture:
        if channel == "rgb":
            shown = picture.convert("RGB")
        else:
            alpha = picture.convert("RGBA").getchannel("A")
            shown = Image.new("RGBA", picture.size)
            shown.putalpha(alpha)
        shown.save(buffer, "PNG")
    return web.Response(body=buffer.getvalue(), content_type="image/png", headers=headers)


def asset(path: Path) -> dict[str, Any]:
    """Describe a file as later versions' upload answers do; only the form of the hash is theirs."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, path.as_uri())),
        "name": path.name,
        "asset_hash": f"blake3:{digest(path)}",
        "size": path.stat().st_size,
        "mime_type": kind,
        "tags": ["input"],
    }
