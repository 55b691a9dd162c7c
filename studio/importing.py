"""Bringing somebody's graph into `workflows/`: read the file, draft, prove, then write.

Nothing is written until the draft was loaded and proven beside what is there.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, UnidentifiedImageError

from studio.engine.workflow import catalog
from studio.engine.workflow.draft import Draft, Note, draft
from studio.engine.workflow.manifest import FaultError
from studio.errors import StudioError

MAX_BYTES: Final = 20_000_000
_PICTURE_STARTS: Final = (b"\x89PNG", b"RIFF")
_EXIF_MODEL: Final = 0x0110


@dataclass(frozen=True, slots=True)
class Imported:
    """What was written, and what the host should know of it."""

    name: str
    manifest: Path
    graph: Path
    notes: tuple[Note, ...]


def bring_in(file: Path, folder: Path, name: str | None = None) -> Imported:
    """Draft `NAME.yaml` and `NAME.json` from an exported graph, prove them, and put them there.

    `file` is JSON of *Export (API)*, or a picture ComfyUI saved with its prompt inside. Raises
    `graph_invalid` with the reason; files that are there are never overwritten.
    """
    chosen = name or name_of(file)
    _refuse_taken(file, folder, chosen)
    try:
        made = draft(_text(file), chosen, _title(file, name))
    except FaultError as fault:
        raise _invalid(file, fault.reason) from fault
    _prove(file, folder, chosen, made)
    return _write(folder, chosen, made)


def name_of(file: Path) -> str:
    """Make a workflow's name of a file's: small letters, digits, underscores, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", file.stem.lower()).strip("_")
    name = re.sub(r"^[^a-z]+", "", name)
    return name[:60].rstrip("_") or "workflow"


def _title(file: Path, name: str | None) -> str:
    words = re.sub(r"[_\-\s]+", " ", name or file.stem).strip()
    return (words[:1].upper() + words[1:])[:80] or "Workflow"


def _invalid(file: Path, reason: str) -> StudioError:
    return StudioError("graph_invalid", file=file.name, reason=reason)


def _refuse_taken(file: Path, folder: Path, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise _invalid(file, f"{name!r} is no name: small letters, digits and _, a letter first")
    known = catalog.load(folder)
    taken = {*known.workflows, *(tab.name for tab in known.tabs)}
    for path in (folder / f"{name}.yaml", folder / f"{name}.json"):
        if path.exists() and path.resolve() != file.resolve():
            taken.add(name)
    if name in taken:
        raise _invalid(file, f"there is a {name!r} already; choose another with --name")


def _text(file: Path) -> str:
    """Read the graph's text: the file itself, or what ComfyUI wrote into a picture."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise _invalid(file, f"it is larger than {MAX_BYTES // 1_000_000} MB")
        data = file.read_bytes()
    except OSError as exc:
        raise _invalid(file, f"it cannot be read: {exc.strerror}") from exc
    if data.startswith(_PICTURE_STARTS):
        return _text_in_picture(file, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _invalid(file, "it is neither JSON nor a picture saved by ComfyUI") from exc


def _text_in_picture(file: Path, data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            written = picture.info.get("prompt") or picture.getexif().get(_EXIF_MODEL)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as exc:
        raise _invalid(file, "the picture is damaged") from exc
    if not isinstance(written, str):
        raise _invalid(file, "this picture does not hold a graph; was its metadata taken out?")
    return written.removeprefix("prompt:")


def _prove(file: Path, folder: Path, name: str, made: Draft) -> None:
    """Load the draft as the app will, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place)
        models = folder / catalog.MODELS_FILE
        if models.exists():
            shutil.copy(models, trial)
        _write(trial, name, made)
        loaded = catalog.load(trial)
    if name not in loaded.workflows:
        faults = [f"{one.file}, line {one.line}: {one.reason}" for one in loaded.broken]
        raise _invalid(file, "; ".join(faults) or "the draft did not load")


def _write(folder: Path, name: str, made: Draft) -> Imported:
    manifest, graph = folder / f"{name}.yaml", folder / f"{name}.json"
    graph.write_text(made.graph, "utf-8")
    manifest.write_text(made.manifest, "utf-8")
    return Imported(name, manifest, graph, made.notes)
