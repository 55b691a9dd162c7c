"""Files that come in: `/upload/image` and `/upload/mask` (`uploads.json`)."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

from aiohttp import web
from multidict import MultiDictProxy
from PIL import Image

from studio.practice.files import Folders, digest, inside

Form = MultiDictProxy[str | bytearray | bytes | web.FileField]


class RefusedError(Exception):
    """An upload the server answers with an empty 400."""


def take(form: Form, folders: Folders, *, mask: bool) -> tuple[dict[str, Any], Path]:
    """Store an upload; gives the answer and the path. Raises `RefusedError`; others are a 500."""
    field = form.get("image")
    if field is None or field == "":
        raise RefusedError
    if not isinstance(field, web.FileField):
        raise TypeError("image is not a file field")
    if not field.filename:
        raise RefusedError
    kind, subfolder = str(form.get("type", "input")), str(form.get("subfolder", ""))
    base = folders.of(kind)
    path = _place(base, subfolder, field.filename)
    if mask:
        reference = form["original_ref"]
        _write_mask(folders, path, json.loads(str(reference)), field.file.read())
        name = field.filename
    else:
        path, name = _write(path, field.filename, field.file.read(), _overwrites(form))
    return {"name": name, "subfolder": subfolder, "type": kind}, path


def _overwrites(form: Form) -> bool:
    # Python's "True" does not count.
    return form.get("overwrite") in ("true", "1")


def _place(base: Path, subfolder: str, filename: str) -> Path:
    """Work out where a file goes; the subfolder is made, one inside the name is not."""
    folder = Path(os.path.normpath(base / subfolder))
    if os.path.isabs(filename):  # noqa: PTH117 - the wire's own text
        raise OSError("absolute file name")
    path = Path(os.path.normpath(folder / filename))
    if not inside(folder, base) or not inside(path, base):
        raise RefusedError
    folder.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, name: str, data: bytes, overwrite: bool) -> tuple[Path, str]:
    """Write under a free name: the same bytes keep theirs, other bytes get ` (1)`, ` (2)`."""
    stem, ending = os.path.splitext(name)  # noqa: PTH122 - the name may hold a folder
    place, number = path, 0
    # Asking a folder that is not there raises nothing; writing below does, as recorded.
    while not overwrite and place.exists():
        if digest(place) == hashlib.sha256(data).hexdigest():
            return place, name
        number += 1
        name = f"{stem} ({number}){ending}"
        place = path.with_name(os.path.basename(name))  # noqa: PTH119
    place.write_bytes(data)
    return place, name


def _write_mask(folders: Folders, path: Path, original: dict[str, Any], data: bytes) -> None:
    """Put the mask's alpha into the original; without an original nothing is written."""
    base = folders.of(original.get("type", "output"))
    name = original["filename"]
    source = Path(os.path.normpath(base / original.get("subfolder", "") / name))
    if name.startswith("/") or ".." in name or not inside(source, base) or not source.is_file():
        return
    with Image.open(source) as picture, Image.open(io.BytesIO(data)) as mask:
        made = picture.convert("RGBA")
        made.putalpha(mask.convert("RGBA").getchannel("A").resize(made.size))
        made.save(path, "PNG", compress_level=4)
