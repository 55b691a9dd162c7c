"""Files that a form or a program hands over, in each way they come, for one job's values.

A file is given as a path or as a mapping:

- `{"path": ..., "orig_name": ...}`: an upload; `name` counts where there is no `orig_name`;
- `{"ref": ..., "name"?}`: a file this person gave before, by its reference;
- `{"job_id": ..., "name": ...}`: a file that a job of this person made, by its `Output.name`;
- `{"url": ..., "name"?}`: a file elsewhere, which is fetched by `engine.outside`;
- `{"layers": [...], "background"?, "composite"?}`: what an editor of pictures gives: for a mask its
  painted layers count, for a picture its composite.

A mask may say `"invert": true` and `"feather_px": n`. Knows no SQL and no ComfyUI.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from studio.engine.jobs import Given
from studio.engine.media import FITTING, InputFile, Media
from studio.engine.outside import Deadline, Outside
from studio.engine.workflow.manifest import Kind, Manifest, Parameter
from studio.errors import StudioError

Made = Callable[[str, str, str], Path]
"""Finds an output of a person's job: person, job_id, name."""

_KINDS: Final[Mapping[Kind, str]] = {
    Kind.IMAGE: "image",
    Kind.IMAGES: "image",
    Kind.AUDIO: "audio",
    Kind.VIDEO: "video",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """Values with references in place of files, and what is known of each file."""

    values: Mapping[str, Any]
    given: tuple[Given, ...]


@dataclass(slots=True)
class _Order:
    """One person's files for one workflow, on their way."""

    person: str
    manifest: Manifest
    opened: ExitStack
    given: list[Given] = field(default_factory=list)
    deadline: Deadline | None = None

    def first(self, name: str | None) -> Given | None:
        """Give the first file under a parameter, or of any picture when None."""
        fits = (one for one in self.given if one.kind == "image" and name in (None, one.field))
        return next(fits, None)


class Intake:
    """Takes files in for persons; `made` finds what their jobs made.

    `outside` fetches what they name by address; None where the host does not want that.
    """

    def __init__(self, media: Media, made: Made, outside: Outside | None = None) -> None:
        self._media = media
        self._made = made
        self._outside = outside

    def take(self, person: str, manifest: Manifest, values: Mapping[str, Any]) -> Taken:
        """Store every file among the values. Raises `StudioError` with `field`."""
        kept = dict(values)
        with ExitStack() as opened:
            order = _Order(person, manifest, opened)
            for name in sorted(values, key=lambda name: _is_mask(manifest, name)):
                parameter = manifest.parameter(name)
                if parameter is not None and parameter.type.file:
                    kept[name] = self._parameter(order, parameter, values[name])
        return Taken(kept, tuple(order.given))

    def _parameter(self, order: _Order, parameter: Parameter, value: Any) -> Any:
        if value in (None, "", []):
            return value
        several = isinstance(value, (list, tuple))
        refs = [self._one(order, parameter, one) for one in (value if several else [value])]
        return refs if several else refs[0]

    def _one(self, order: _Order, parameter: Parameter, value: Any) -> str:
        try:
            if parameter.type is Kind.MASK:
                file = self._mask(order, parameter, value)
            else:
                file = self._file(order, parameter, value)
        except StudioError as error:
            error.field = error.field or parameter.name
            error.params.setdefault("field", error.field)
            if error.code == "file_type_unsupported" and parameter.type in _KINDS:
                error.params["allowed"] = FITTING[_KINDS[parameter.type]]
            raise
        order.given.append(known(parameter.name, file))
        return file.ref

    def _file(self, order: _Order, parameter: Parameter, value: Any) -> InputFile:
        path, name = self._found(order, parameter.name, _composite(value))
        take = self._media.take_sound if parameter.type is Kind.AUDIO else self._media.take
        file = take(order.person, path, name)
        if file.kind != _KINDS[parameter.type]:
            raise StudioError("file_kind", field=parameter.name, name=file.original_name)
        return file

    def _mask(self, order: _Order, parameter: Parameter, value: Any) -> InputFile:
        asked: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        painted = "layers" in asked
        layers = asked["layers"] if painted else [value]
        if not layers or not isinstance(layers, (list, tuple)):
            raise StudioError("nothing_painted")
        found = [self._found(order, parameter.name, layer) for layer in layers]
        picture = order.first(parameter.same_size_as)
        return self._media.take_mask(
            order.person,
            [path for path, _ in found],
            "mask.png" if painted else found[0][1],
            size=(picture.width_px, picture.height_px) if picture else None,
            painted=painted,
            invert=asked.get("invert") is True,
            feather_px=_pixels(asked.get("feather_px"), parameter.name),
        )

    def _found(self, order: _Order, name: str, value: Any) -> tuple[Path, str]:
        """Find a file and what the person calls it."""
        if isinstance(value, Mapping):
            if isinstance(value.get("job_id"), str):
                output = str(value.get("name"))
                return self._made(order.person, value["job_id"], output), output
            called = value.get("orig_name") or value.get("name")
            if isinstance(value.get("ref"), str):
                return self._media.path(order.person, value["ref"]), str(called or value["ref"])
            path = value.get("path")
            if path is None and isinstance(value.get("url"), str):
                fetched, there = self._fetched(order, value["url"])
                return fetched, str(called or there)
        else:
            path, called = value, None
        if not isinstance(path, (str, Path)) or not str(path):
            raise StudioError("field_wrong_type", field=name, type="file")
        return Path(path), str(called or Path(path).name)

    def _fetched(self, order: _Order, url: str) -> tuple[Path, str]:
        """Fetch a file for as long as its order is being taken, and give its name there."""
        if self._outside is None:
            raise StudioError("urls_off")
        order.deadline = order.deadline or self._outside.patience()
        draft = tempfile.NamedTemporaryFile(prefix="studio-")  # noqa: SIM115  (the order closes it)
        file = order.opened.enter_context(draft)
        name = self._outside.fetch(
            url, file, max_bytes=self._media.max_bytes, deadline=order.deadline
        )
        file.flush()
        return Path(file.name), name


def _is_mask(manifest: Manifest, name: str) -> bool:
    """Masks come last: they must know their picture's size."""
    parameter = manifest.parameter(name)
    return parameter is not None and parameter.type is Kind.MASK


def _composite(value: Any) -> Any:
    """Of what an editor gives, take the whole picture; refuse an empty canvas."""
    if not isinstance(value, Mapping) or "composite" not in value:
        return value
    if value["composite"] is None or not (value.get("background") or value.get("layers")):
        raise StudioError("nothing_painted")
    return value["composite"]


def _pixels(value: Any, name: str) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1000:
        raise StudioError("field_wrong_type", field=name, type="file")
    return float(value)


def known(name: str, file: InputFile) -> Given:
    """Say of a stored file what a job's row keeps of it, and the field it stands in."""
    return Given(
        field=name,
        ref=file.ref,
        kind=file.kind,
        mime=file.mime,
        name=file.original_name,
        size_bytes=file.size_bytes,
        width_px=file.width_px,
        height_px=file.height_px,
        seconds=file.seconds,
        notes=file.notes,
    )
