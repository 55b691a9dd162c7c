"""Output files: written once, kept whole or not at all, found again by relative path.

Knows folders and what a file is by its first bytes; knows no job's state. A result is drafted in
`.drafts/` and renamed in one step into `YYYY/MM/DD/<job_id>/<fence>/`. The fence keeps the folder
of a worker that lost its lease apart from the one that counts.
"""

from __future__ import annotations

import datetime
import errno
import io
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from studio.engine import playable
from studio.engine.jobs import Job, Output
from studio.errors import StudioError

log = logging.getLogger("studio.store")

_DRAFTS: Final = ".drafts"
_HEAD_BYTES: Final = 4096
_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
# EFBIG: a file-size limit of the process or the file system; for a person it is the same.
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Type:
    """What a file is: `kind` for people, `mime` for browsers, `suffix` for its name on disk."""

    kind: str
    mime: str
    suffix: str


_PNG = Type("image", "image/png", ".png")
_JPEG = Type("image", "image/jpeg", ".jpg")
_GIF = Type("image", "image/gif", ".gif")
_BMP = Type("image", "image/bmp", ".bmp")
_TIFF = Type("image", "image/tiff", ".tiff")
_WEBP = Type("image", "image/webp", ".webp")
_AVIF = Type("image", "image/avif", ".avif")
_HEIC = Type("image", "image/heic", ".heic")
_MP4 = Type("video", "video/mp4", ".mp4")
_MOV = Type("video", "video/quicktime", ".mov")
_WEBM = Type("video", "video/webm", ".webm")
_MKV = Type("video", "video/x-matroska", ".mkv")
_AVI = Type("video", "video/x-msvideo", ".avi")
_M4A = Type("audio", "audio/mp4", ".m4a")
_WAV = Type("audio", "audio/wav", ".wav")
_FLAC = Type("audio", "audio/flac", ".flac")
_OGG = Type("audio", "audio/ogg", ".ogg")
_MP3 = Type("audio", "audio/mpeg", ".mp3")
_JSON = Type("text", "application/json", ".json")
_TEXT = Type("text", "text/plain; charset=utf-8", ".txt")
_OTHER = Type("file", "application/octet-stream", ".bin")
_NAMED: Final = re.compile(
    r"\.(glb|gltf|obj|mtl|ply|stl|fbx|usdz?|splat|ksplat|spz|vrm"  # in three dimensions
    r"|svg|exr|hdr|psd|pdf|latent|safetensors|npy|npz|zip)"
)
"""Endings of files that are only ever downloaded: there they say what may open them.

Never HTML, nor any other ending that a double click would run.
"""
_WORDS: Final = re.compile(r"\.(csv|md|srt|vtt)")

_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF8", _GIF),
    (b"BM", _BMP),
    (b"II*\x00", _TIFF),
    (b"MM\x00*", _TIFF),
    (b"fLaC", _FLAC),
    (b"OggS", _OGG),
    (b"ID3", _MP3),
    (b"\xff\xfb", _MP3),
    (b"\xff\xf3", _MP3),
    (b"\xff\xf2", _MP3),
)
_RIFF: Final = {b"WEBP": _WEBP, b"WAVE": _WAV, b"AVI ": _AVI}
_FTYP: Final = {
    b"avif": _AVIF, b"avis": _AVIF, b"M4A ": _M4A, b"M4B ": _M4A, b"qt  ": _MOV,
    b"heic": _HEIC, b"heix": _HEIC, b"mif1": _HEIC, b"msf1": _HEIC,
}  # fmt: skip
_SOUND_ALONE: Final = {
    _MP4.mime: _M4A,
    _MOV.mime: _M4A,
    _WEBM.mime: Type("audio", "audio/webm", ".webm"),
    _MKV.mime: Type("audio", "audio/x-matroska", ".mka"),
}

# The format's own reader: `Image.open` would refuse a large upscale as a decompression bomb, and
# only the header is read here.
_READERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "image/png": PngImagePlugin.PngImageFile,
    "image/jpeg": JpegImagePlugin.JpegImageFile,
    "image/gif": GifImagePlugin.GifImageFile,
    "image/bmp": BmpImagePlugin.BmpImageFile,
    "image/tiff": TiffImagePlugin.TiffImageFile,
    "image/webp": WebPImagePlugin.WebPImageFile,
    "image/avif": AvifImagePlugin.AvifImageFile,
}


class Store:
    """Keeps what jobs made under one folder. Safe in many threads and processes at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._drafts = root / _DRAFTS

    @contextmanager
    def draft(self, job_id: str, fence: int, day: datetime.date) -> Iterator[Draft]:
        """Collect the files of one claim; what is not kept by the end is gone.

        Raises `disk_full`, with nothing left behind.
        """
        kept = self._root / f"{day:%Y/%m/%d}" / _safe(job_id) / str(int(fence))
        folder = self._drafts / f"{_safe(job_id)}-{int(fence)}"
        try:
            with _full_disk_told():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                yield Draft(self._root, folder, kept)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def path(self, output: Output) -> Path:
        """Find a kept file. Raises `file_unknown` when it is not there or not inside the root."""
        root = self._root.resolve()
        found = (root / output.path).resolve()
        if not found.is_relative_to(root) or not found.is_file():
            raise StudioError("file_unknown", name=output.name)
        return found

    def remove(self, job: Job) -> None:
        """Remove the files of a job. What is gone already is no fault."""
        for output in job.outputs:
            try:
                folder = self.path(output).parent.parent
            except StudioError:
                continue
            if folder.name == job.job_id:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep_drafts(self, older_than_s: float, *, now_s: float | None = None) -> int:
        """Remove drafts that nobody wrote to for so long, and count them.

        `now_s` is epoch seconds, as files carry them.
        """
        limit = (time.time() if now_s is None else now_s) - older_than_s
        old = [folder for folder in _folders(self._drafts) if _touched_s(folder) < limit]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def sweep_unknown(
        self,
        known: Callable[[Iterable[tuple[str, int]]], set[tuple[str, int]]],
        older_than_s: float,
        *,
        now_s: float | None = None,
    ) -> int:
        """Remove kept folders that no row knows, as a worker killed before its row left them.

        `known` gives, of `(job_id, fence)` pairs, those to keep; asked once a day of results.
        """
        limit = (time.time() if now_s is None else now_s) - older_than_s
        return sum(self._sweep_day(day, known, limit) for day in self._days())

    def _days(self) -> list[Path]:
        return sorted(self._root.glob("[0-9]" * 4 + "/[0-9][0-9]/[0-9][0-9]"))

    def _sweep_day(
        self,
        day: Path,
        known: Callable[[Iterable[tuple[str, int]]], set[tuple[str, int]]],
        limit: float,
    ) -> int:
        old = {
            (job.name, int(folder.name)): folder
            for job in _folders(day)
            for folder in _folders(job)
            if folder.name.isdigit() and _touched_s(folder) < limit
        }
        lost = set(old) - known(old.keys()) if old else set()
        for pair in lost:
            log.info("removing files no row knows, of fence %d", pair[1], extra={"job": pair[0]})
            shutil.rmtree(old[pair], ignore_errors=True)
            _remove_empty(old[pair].parent, day)
        return len(lost)


class Draft:
    """The files of one claim on their way. Names on disk are ours: `001.png`, `002.png`, …"""

    def __init__(self, root: Path, folder: Path, kept: Path) -> None:
        self._root = root
        self._folder = folder
        self._kept = kept
        self._outputs: list[Output] = []

    @contextmanager
    def add(self, node: str, filename: str) -> Iterator[BinaryIO]:
        """Write the next file of `node` through the given writer.

        Of `filename`, ComfyUI's name, only the ending is used, and only where content does not
        tell. A writer left by an exception adds nothing.
        """
        index = len(self._outputs)
        part = self._folder / f"{index + 1:03d}.part"
        with _full_disk_told():
            try:
                with _Writer(part) as file:
                    yield file
                    os.fsync(file.fileno())
            except BaseException:
                part.unlink(missing_ok=True)
                raise
            self._outputs.append(self._name(index, node, filename, part))

    def keep(self) -> tuple[Output, ...]:
        """Put all files in place in one step, and give them in the order they were added."""
        with _full_disk_told():
            _sync(self._folder)
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            if self._kept.exists():
                # The same claim kept before and its row was not written: this result replaces it.
                shutil.rmtree(self._kept)
            self._folder.rename(self._kept)
            self._sync_up()
        return tuple(self._outputs)

    def _sync_up(self) -> None:
        """Bring the new names to the disk, from the job's folder up to the root."""
        for folder in self._kept.parents:
            _sync(folder)
            if folder == self._root:
                return

    def _name(self, index: int, node: str, filename: str, part: Path) -> Output:
        kind = type_of(part, filename)
        width_px, height_px, seconds = measures(part, kind)
        if kind.kind == "video" and seconds and not width_px:
            kind = _SOUND_ALONE.get(kind.mime, kind)
        name = f"{index + 1:03d}{kind.suffix}"
        part.rename(self._folder / name)
        return Output(
            index=index,
            node=node,
            kind=kind.kind,
            name=name,
            path=(self._kept / name).relative_to(self._root).as_posix(),
            mime=kind.mime,
            size_bytes=(self._folder / name).stat().st_size,
            width_px=width_px,
            height_px=height_px,
            seconds=seconds,
        )


class _Writer(io.FileIO):
    """A new file whose full disk is told as ours, before an HTTP client takes it for its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Write all of `data`: a bare file may take a part only, when the disk is nearly full."""
        view, done = memoryview(data).cast("B"), 0
        with _full_disk_told():
            while done < len(view):
                done += super().write(view[done:]) or 0
        return done


def type_of(path: Path, filename: str) -> Type:
    """Tell what a file is by its first bytes; by the ending of `filename` where they do not."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    return _in_container(head) or _text(head, filename) or _by_ending(filename, _NAMED, _OTHER)


def _in_container(head: bytes) -> Type | None:
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _FTYP.get(head[8:12], _MP4)
    if head[:4] == b"\x1aE\xdf\xa3":
        return _WEBM if b"webm" in head[:64] else _MKV
    return None


def _text(head: bytes, filename: str) -> Type | None:
    """UTF-8 without control bytes is text. Never HTML or SVG: a browser would run those."""
    try:
        # The cut may split a character; what is lost of it does not matter.
        words = head.decode("utf-8", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    if not head or any(ord(char) < 32 and char not in "\t\n\r\f" for char in words):
        return None
    if filename.lower().endswith(".json"):
        return _JSON
    named = _by_ending(filename, _NAMED, _OTHER)
    return _by_ending(filename, _WORDS, _TEXT) if named is _OTHER else named


def _by_ending(filename: str, known: re.Pattern[str], plain: Type) -> Type:
    """Give the plain type under the ending of a name, if it is a known one."""
    ending = Path(filename).suffix.lower()
    return replace(plain, suffix=ending) if known.fullmatch(ending) else plain


def measures(path: Path, kind: Type) -> tuple[int, int, float]:
    """Give width and height in px and seconds, each 0 where it has no meaning or is unknown."""
    if kind.kind in ("video", "audio"):
        return playable.measure(path)
    return *size_px(path, kind), 0.0


def size_px(path: Path, kind: Type) -> tuple[int, int]:
    """Give width and height of a picture from its header; 0, 0 where there is none to read."""
    reader = _READERS.get(kind.mime)
    if reader is None:
        return 0, 0
    try:
        with path.open("rb") as file, reader(file) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, EOFError):
        # Pillow's readers say "not mine" and "broken" in these ways. The file is kept as it came.
        log.warning("a picture's header cannot be read: %s", path.name)
        return 0, 0


@contextmanager
def _full_disk_told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StudioError("disk_full", details=str(error), retryable=True) from error
        raise


def _safe(name: str) -> str:
    if not _SAFE.fullmatch(name):
        raise ValueError(f"not a name for a folder: {name!r}")
    return name


def _sync(folder: Path) -> None:
    """Bring a folder's entries to the disk. Windows opens no folder, and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _folders(parent: Path) -> list[Path]:
    """List the real folders in `parent`: links are not ours to walk or remove."""
    try:
        return [path for path in parent.iterdir() if path.is_dir() and not path.is_symlink()]
    except FileNotFoundError:
        return []


def _touched_s(folder: Path) -> float:
    """When anything in a folder was last written, in epoch seconds; now-ish when it is leaving."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return time.time()


def _remove_empty(folder: Path, above: Path) -> None:
    while folder != above.parent:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
