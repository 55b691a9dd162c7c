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

import av
from PIL import Image, UnidentifiedImageError

from studio.engine.workflow import catalog
from studio.engine.workflow.draft import Draft, Note, draft
from studio.engine.workflow.faults import FaultError
from studio.errors import StudioError
from studio.texts import Sentence

MAX_BYTES: Final = 20_000_000
_PICTURE_STARTS: Final = (b"\x89PNG", b"RIFF")
_UTF16_STARTS: Final = (b"\xff\xfe", b"\xfe\xff")
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

    `file` is JSON of *Export (API)*, or a picture or video ComfyUI saved with its prompt inside.
    Raises `import_failed` with the reason; files that are there are never overwritten.
    """
    chosen = name or name_of(file)
    try:
        _refuse_taken(file, folder, chosen)
        made = draft(_text(file), chosen, _title(file, name))
        _prove(folder, chosen, made)
    except FaultError as fault:
        raise StudioError("import_failed", file=file.name, reason=fault.said) from fault
    return _write(folder, chosen, made)


def name_of(file: Path) -> str:
    """Make a workflow's name of a file's: small letters, digits, underscores, a letter first."""
    name = re.sub(r"[^a-z0-9]+", "_", _stem(file).lower()).strip("_")
    name = re.sub(r"^[^a-z]+", "", name)
    return name[:60].rstrip("_") or "workflow"


def _title(file: Path, name: str | None) -> str:
    words = re.sub(r"[_\-\s]+", " ", name or _stem(file)).strip()
    return (words[:1].upper() + words[1:])[:80] or "Workflow"


def _stem(file: Path) -> str:
    """Give a file's own name without the `_api` that exports are told apart by."""
    return re.sub(r"(?<=.)[ ._-]api$", "", file.stem, flags=re.IGNORECASE)


def _refuse_taken(file: Path, folder: Path, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise FaultError.of("fault.name", name=name)
    known = catalog.load(folder)
    taken = {*known.workflows, *(tab.name for tab in known.tabs)}
    for path in (folder / f"{name}.yaml", folder / f"{name}.json"):
        if path.exists() and path.resolve() != file.resolve():
            taken.add(name)
    if name in taken:
        raise FaultError.of("fault.taken", name=name)


def _text(file: Path) -> str:
    """Read the graph's text: the file itself, or what ComfyUI wrote into a picture."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise FaultError.of("fault.too_large", max_mb=MAX_BYTES // 1_000_000)
        data = file.read_bytes()
    except OSError as exc:
        raise FaultError.of("fault.unread", detail=exc.strerror) from exc
    if data.startswith(_PICTURE_STARTS):
        return _text_in_picture(data)
    if _is_film(data):
        return _text_in_film(file)
    try:
        # PowerShell's > writes UTF-16.
        return data.decode("utf-16" if data.startswith(_UTF16_STARTS) else "utf-8-sig")
    except UnicodeDecodeError as exc:
        raise FaultError.of("fault.neither") from exc


def _text_in_picture(data: bytes) -> str:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            written = picture.info.get("prompt") or picture.getexif().get(_EXIF_MODEL)
            page = picture.info.get("workflow")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as exc:
        raise FaultError.of("fault.damaged") from exc
    if not isinstance(written, str) and page:
        raise FaultError.of("fault.page_format")
    if not isinstance(written, str):
        raise FaultError.of("fault.no_graph")
    return written.removeprefix("prompt:")


def _is_film(data: bytes) -> bool:
    """Tell an MP4, MOV, WebM or MKV by its first bytes."""
    return data[4:8] == b"ftyp" or data.startswith(b"\x1a\x45\xdf\xa3")


def _text_in_film(file: Path) -> str:
    """Read what ComfyUI's SaveVideo and SaveWEBM write beside the pictures."""
    try:
        with av.open(str(file)) as film:
            written = {name.lower(): value for name, value in film.metadata.items()}
    except (av.FFmpegError, OSError, ValueError) as exc:
        raise FaultError.of("fault.damaged") from exc
    if "prompt" not in written:
        raise FaultError.of("fault.no_graph")
    return written["prompt"]


def _prove(folder: Path, name: str, made: Draft) -> None:
    """Load the draft as the app will, in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        trial = Path(place)
        models = folder / catalog.MODELS_FILE
        if models.exists():
            shutil.copy(models, trial)
        _write(trial, name, made)
        loaded = catalog.load(trial)
    if name not in loaded.workflows:
        first = loaded.broken[0]
        said = {"file": first.file, "line": first.line, "reason": first.said}
        raise FaultError(Sentence("fault.draft", said))


def _write(folder: Path, name: str, made: Draft) -> Imported:
    manifest, graph = folder / f"{name}.yaml", folder / f"{name}.json"
    graph.write_text(made.graph, "utf-8")
    manifest.write_text(made.manifest, "utf-8")
    return Imported(name, manifest, graph, made.notes)
