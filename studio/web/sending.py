"""What a program sends, as the desk takes it: parameters by name, files in each way they come.

A file is base64 text, a `data:` URI, the id of an upload, an output of an own job, or an address
elsewhere. Never a path of this machine.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from studio.engine.workflow.binding import span
from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind, Parameter, absent
from studio.errors import StudioError

REF: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{2,4}")
"""What `/api/upload` calls a file."""

NOT_PARAMETERS: Final = ("workflow", "values", "webhook")
_DATA: Final = re.compile(r"data:([^,;]*)((?:;[^,;]*)*),", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"https?://", re.IGNORECASE)
_SLICE_CHARS: Final = 4 * (1 << 18)


def values_of(body: Mapping[str, Any], entry: Tab, folder: Path) -> dict[str, Any]:
    """Give the desk's values of an order; files that come inside it are written into `folder`."""
    given = {name: value for name, value in body.items() if name not in NOT_PARAMETERS}
    inner = body.get("values") or {}
    if not isinstance(inner, Mapping):
        raise StudioError("field_wrong_type", field="values", type="object")
    given |= inner
    _spread_lists(given, entry)
    writer = _Writer(folder)
    return {
        name: writer.sent(entry.parameter(name), name, value)
        for name, value in given.items()
        if not (absent(value) and entry.parameter(name) is None)
    }


def _spread_lists(given: dict[str, Any], entry: Tab) -> None:
    """Lay `images`, `audio`, `prompts` and such into the fields of workflows that name others."""
    for name, kinds in (
        ("images", (Kind.IMAGE,)),
        ("image", (Kind.IMAGE,)),
        ("audio", (Kind.AUDIO,)),
        ("video", (Kind.VIDEO,)),
        ("prompts", (Kind.TEXT,)),
        ("prompt", (Kind.TEXT,)),
    ):
        if name not in given or entry.parameter(name) is not None:
            continue
        value = given.pop(name)
        if absent(value):
            continue
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        _lay(given, entry, name, items, kinds)


def _lay(
    given: dict[str, Any], entry: Tab, name: str, items: Sequence[Any], kinds: Sequence[Kind]
) -> None:
    several = next((p for p in entry.parameters if p.type is Kind.IMAGES), None)
    if several is not None and Kind.IMAGE in kinds:
        given.setdefault(several.name, items)
        return
    free = [p.name for p in _fields(entry, kinds) if absent(given.get(p.name))]
    if not free:
        raise StudioError("field_unknown", field=name, workflow=entry.name)
    if len(items) > len(free):
        possible = span(0, len(free))
        raise StudioError("field_count", field=name, count=len(items), possible=possible)
    given.update(zip(free, items, strict=False))
    if name == "prompts" and entry.parameter("shots") is not None:
        given.setdefault("shots", len(items))  # a list of prompts says how many there are


def _fields(entry: Tab, kinds: Sequence[Kind]) -> Iterator[Parameter]:
    for parameter in entry.parameters:
        if Kind.TEXT in kinds and not parameter.name.startswith("prompt"):
            continue
        if parameter.type in kinds:
            yield parameter


class _Writer:
    """Turns files as programs send them into files as the desk takes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def sent(self, parameter: Parameter | None, name: str, value: Any) -> Any:
        if parameter is None or not parameter.type.file or absent(value):
            return value
        if isinstance(value, list):
            return [self._file(name, one) for one in value]
        if parameter.type is Kind.IMAGES:
            return [self._file(name, value)]
        return self._file(name, value)

    def _file(self, name: str, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            return self._text(name, value, "")
        if not isinstance(value, Mapping):
            raise StudioError("field_wrong_type", field=name, type="file")
        found = self._named(name, value)
        extra = {key: value[key] for key in ("invert", "feather_px") if key in value}
        return found | extra

    def _named(self, name: str, value: Mapping[str, Any]) -> dict[str, Any]:
        called = value.get("name") if isinstance(value.get("name"), str) else ""
        if isinstance(value.get("job_id"), str) and called:
            return {"job_id": value["job_id"], "name": called}
        for key in ("upload", "filename", "ref", "data"):
            if isinstance(value.get(key), str):
                return self._text(name, value[key], str(called or value.get("original_name") or ""))
        if isinstance(value.get("url"), str) and not _DATA.match(value["url"][:1000]):
            return _elsewhere(value["url"], str(called or ""))
        if isinstance(value.get("url"), str):
            return self._text(name, value["url"], str(called or ""))
        raise StudioError("field_wrong_type", field=name, type="file")

    def _text(self, name: str, text: str, called: str) -> dict[str, Any]:
        if REF.fullmatch(text):
            return {"ref": text} | ({"name": called} if called else {})
        if _ADDRESS.match(text):
            return _elsewhere(text, called)
        self._count += 1
        path = self._folder / str(self._count)
        shown = called or f"{name} {self._count}"
        with path.open("wb") as file:
            for part in _decoded(text, shown, name):
                file.write(part)
        return {"path": str(path), "orig_name": shown}


def _elsewhere(url: str, called: str) -> dict[str, Any]:
    return {"url": url} | ({"name": called} if called else {})


def names_address(sent: Any) -> bool:
    """Tell whether an order may hold an address, to look at which takes its time."""
    if isinstance(sent, str):
        return _ADDRESS.match(sent) is not None
    if isinstance(sent, Mapping):
        return any(names_address(one) for one in sent.values())
    return isinstance(sent, list) and any(names_address(one) for one in sent)


def _decoded(text: str, shown: str, field: str) -> Iterator[bytes]:
    """Give the bytes that base64 text stands for, piece by piece."""
    start = 0
    mark = _DATA.match(text[:1000])
    if mark is not None:
        if ";base64" not in mark[2].lower():
            raise StudioError("file_broken", field=field, name=shown)
        start = mark.end()
    if any(sign.isspace() for sign in text[start : start + 200]):
        text, start = "".join(text[start:].split()), 0
    try:
        for at in range(start, len(text), _SLICE_CHARS):
            part = text[at : at + _SLICE_CHARS]
            yield base64.b64decode(part + "=" * (-len(part) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise StudioError("file_broken", field=field, name=shown, details=str(exc)) from exc
