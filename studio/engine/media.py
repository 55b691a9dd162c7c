"""Files coming in: told apart by content, pictures made plain, each stored once per person.

The one rule for pictures: what is stored is an 8-bit RGB picture, upright, in sRGB and without any
metadata, since ComfyUI's LoadImage heeds neither profiles nor transparency.

- a JPEG or PNG that is so already: its own bytes, metadata taken out, nothing coded anew;
- turned by its EXIF orientation: turned upright, the tag is gone;
- transparent (alpha channel, palette or colour key): laid onto white, and noted; LoadImage would
  show whatever colour lies hidden under the transparent parts;
- palette, grey, 1-bit, CMYK, LAB, YCbCr: the colours they stand for, by their ICC profile if any
  (in a PNG, one of up to 1 MB);
- 16 bits a channel: scaled to 8; 32-bit whole numbers are read as 0 to 65535, floats as 0 to 1;
- animated or of several pages: the first frame, and noted;
- what had to be changed: PNG; but from a camera's format (JPEG, HEIC) and over 4 megapixels JPEG at
  quality 95 with full colour, fifteen times as quick as the PNG and as good to the eye;
- where a PNG would be larger than an upload may be: that JPEG too, and noted;
- damaged: refused, but for a JPEG that lacks nothing but its end mark.

Masks are 8-bit grey PNGs (`masks` says how they are read); for sound see `sounds`; video is kept
byte by byte, but what lies on its side is turned upright. Knows no jobs.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import shutil
import struct
import tempfile
import unicodedata
import uuid
import zlib
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from PIL import Image, ImageCms

from studio.engine import bare, masks, playable, sounds
from studio.engine.disk import FolderSizes
from studio.engine.later import Later
from studio.errors import StudioError

if TYPE_CHECKING:
    import av
else:
    av = Later("av")

_HEIC: Final = find_spec("pillow_heif") is not None
"""Without the codec, HEIC is refused as a type that cannot be used."""
_PICTURES: Final = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF" + (", HEIC" if _HEIC else "")
_SOUNDS: Final = "WAV, MP3, FLAC, OGG, M4A, AAC, AIFF"
_FILMS: Final = "MP4, MOV, WebM, MKV"
ALLOWED: Final = f"{_PICTURES}; {_SOUNDS}; {_FILMS}"
FITTING: Final[Mapping[str, str]] = {
    "image": _PICTURES,
    "audio": f"{_SOUNDS}; {_FILMS}",
    "video": _FILMS,
}
"""What may be given where a kind is asked for."""

NOTE_FIRST_FRAME: Final = "note.first_frame"
NOTE_WHITE: Final = "note.transparency_white"
NOTE_JPEG: Final = "note.saved_as_jpeg"

# What decoders raise on damaged bytes, beside their own errors.
_DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_BOMB: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_REF: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{2,4}")
_NOTES: Final = ".notes"
_HEAD_BYTES: Final = 512
# Run lengths only: for photos smaller and a quarter quicker than deflate at the same level.
_QUICK_PNG: Final = {"compress_level": 1, "compress_type": zlib.Z_RLE}
_GOOD_JPEG: Final = {"quality": 95, "subsampling": 0}
_CHUNK_BYTES: Final = 1 << 20
_CAMERAS: Final = frozenset({"JPEG", "MPO", "HEIF"})
_LARGE_PX: Final = 4_000_000
_ORIENTATION: Final = 0x0112
_UPRIGHT: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class InputFile:
    """One stored file. `ref` is `<sha256>.<ext>` of the stored bytes; px are 0 for sound.

    `notes` are text keys of what was changed; `seconds` is the measured length of sound or video.
    """

    ref: str
    kind: str
    mime: str
    size_bytes: int
    width_px: int
    height_px: int
    original_name: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sniffed:
    """What the first bytes say: `picture` is Pillow's format, `stream` is FFmpeg's demuxer."""

    ext: str
    mime: str
    picture: str = ""
    stream: str = ""


class Media:
    """The store of files that people gave, in `folder`, one folder a person.

    `max_bytes` bounds a file, `max_pixels` a picture, both before anything is decoded;
    `max_seconds` bounds sound and video.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, max_pixels: int, max_seconds: float = 1800.0
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._max_seconds = max_seconds
        self._sizes = FolderSizes()

    @property
    def max_bytes(self) -> int:
        """Give the size of the largest file that is taken."""
        return self._max_bytes

    def take(self, person: str, source: Path, original_name: str) -> InputFile:
        """Check, make plain and store a file; the same content is stored once.

        Raises `file_unknown`, `file_too_large`, `file_type_unsupported`, `file_broken`,
        `picture_too_large`, `media_empty` or `media_too_long`. `source` is only read.
        """
        name, kind = self._looked_at(source, original_name)
        if kind.picture:
            file = self._take_picture(person, source, name, kind)
        else:
            file = self._take_stream(person, source, name, kind)
        return self._noted(person, source, file)

    def take_sound(self, person: str, source: Path, original_name: str) -> InputFile:
        """Take a sound like `take`, and of a video its sound alone, which is noted."""
        name, kind = self._looked_at(source, original_name)
        if kind.picture:
            return self._take_picture(person, source, name, kind)
        file = self._take_stream(person, source, name, kind, sound_only=True)
        return self._noted(person, source, file)

    def take_mask(
        self,
        person: str,
        sources: Sequence[Path],
        original_name: str,
        *,
        size: tuple[int, int] | None,
        painted: bool,
        invert: bool = False,
        feather_px: float = 0.0,
    ) -> InputFile:
        """Make one mask of exactly `size` (w, h): of painted layers, or of one given picture.

        Without a size, that of the first layer counts. Raises like `take`, and `nothing_painted` or
        `mask_other_size`.
        """
        name = shown_name(original_name)
        layers = [self._picture(source, name) for source in sources]
        size = size or layers[0].size
        self._refuse_other_shape(layers, size)
        mask = masks.of_layers(layers, size) if painted else masks.of_picture(layers[0], size)
        if masks.is_empty(mask):
            raise StudioError("nothing_painted")
        mask = masks.feathered(masks.inverted(mask) if invert else mask, feather_px)
        ref, bytes_ = self._keep(person, "png", lambda file: mask.save(file, "PNG", **_QUICK_PNG))
        return InputFile(ref, "mask", "image/png", bytes_, *size, name)

    def path(self, person: str, ref: str) -> Path:
        """Find a stored file of this person, or raise `file_unknown`."""
        path = self._home(person) / ref
        if not _REF.fullmatch(ref) or not path.is_file():
            raise StudioError("file_unknown")
        return path

    def has(self, person: str, ref: str) -> bool:
        """Tell whether a file of this person is still stored."""
        return bool(_REF.fullmatch(ref)) and (self._home(person) / ref).is_file()

    def held_bytes(self, person: str) -> int:
        """Give how much this person's stored files take."""
        return self._sizes.bytes_in(self._home(person))

    def open(self, person: str, ref: str) -> BinaryIO:
        """Open a stored file of this person for reading, or raise `file_unknown`."""
        return self.path(person, ref).open("rb")

    def sweep(self, keep: Container[str], older_than_s: float, now: float) -> int:
        """Remove files not in `keep` and last taken over `older_than_s` ago; give how many.

        `now` is in epoch seconds. Halves of files that a stopped process left go the same way.
        """
        removed = 0
        for path in self._folder.glob("*/*"):
            if path.name.removesuffix(_NOTES) in keep or now - path.stat().st_mtime <= older_than_s:
                continue
            path.unlink(missing_ok=True)
            removed += 1
        return removed

    def forget(self, person: str) -> None:
        """Take away every file of a person."""
        shutil.rmtree(self._home(person), ignore_errors=True)

    def _noted(self, person: str, source: Path, file: InputFile) -> InputFile:
        """Keep beside a file what was changed of it, for orders that name it by its reference."""
        home = self._home(person)
        earlier = _read_notes(source) if source.parent == home else ()
        notes = tuple(dict.fromkeys((*earlier, *file.notes)))
        if notes:
            try:
                (home / f"{file.ref}{_NOTES}").write_text("\n".join(notes), "utf-8")
            except OSError as exc:
                raise _unwritten(exc) from exc
        return replace(file, notes=notes)

    def _home(self, person: str) -> Path:
        # A person's id is not ours to trust as a folder name.
        return self._folder / hashlib.sha256(person.encode()).hexdigest()[:32]

    def _size(self, source: Path, name: str) -> int:
        if not source.is_file():
            raise StudioError("file_unknown")
        size = source.stat().st_size
        if size > self._max_bytes:
            raise StudioError(
                "file_too_large", name=name, size_mb=_mb(size), max_mb=_mb(self._max_bytes)
            )
        return size

    def _looked_at(self, source: Path, original_name: str) -> tuple[str, _Sniffed]:
        """Give the name to show and what the file is, or refuse it."""
        name = shown_name(original_name)
        size = self._size(source, name)
        with source.open("rb") as file:
            kind = sniff(file.read(_HEAD_BYTES))
            if kind is _MP3:
                kind = _behind_tags(file)
        if size == 0:
            raise StudioError("file_broken", name=name)
        if kind is None:
            raise StudioError("file_type_unsupported", name=name, allowed=ALLOWED)
        return name, kind

    def _take_picture(self, person: str, source: Path, name: str, sniffed: _Sniffed) -> InputFile:
        picture, notes, untouched = self._decoded(source, name, sniffed)
        own = _bare(source) if untouched else None
        if own is not None:
            ext, mime = (sniffed.ext, sniffed.mime)
            ref, size = self._keep(person, ext, lambda file: _write(file, own))
        elif sniffed.picture in _CAMERAS and picture.width * picture.height > _LARGE_PX:
            mime = "image/jpeg"
            ref, size = self._keep_jpeg(person, picture)
        else:
            mime = "image/png"
            ref, size = self._keep(
                person, "png", lambda file: picture.save(file, "PNG", **_QUICK_PNG)
            )
        if size > self._max_bytes:
            (self._home(person) / ref).unlink(missing_ok=True)
            mime, notes = "image/jpeg", (*notes, NOTE_JPEG)
            ref, size = self._keep_jpeg(person, picture)
        return InputFile(ref, "image", mime, size, picture.width, picture.height, name, notes)

    def _keep_jpeg(self, person: str, picture: Image.Image) -> tuple[str, int]:
        return self._keep(person, "jpg", lambda file: picture.save(file, "JPEG", **_GOOD_JPEG))

    def _picture(self, source: Path, name: str) -> Image.Image:
        """Open a picture for a mask: upright, 8 bits a channel, its transparency kept."""
        _, sniffed = self._looked_at(source, name)
        if not sniffed.picture:
            raise StudioError("file_type_unsupported", name=name, allowed=_PICTURES)
        with self._opened(source, name, sniffed) as picture:
            return _upright(picture)

    def _refuse_other_shape(self, layers: Sequence[Image.Image], size: tuple[int, int]) -> None:
        for layer in layers:
            if not masks.same_shape(layer.size, size):
                raise StudioError("mask_other_size", mask=_by(layer.size), picture=_by(size))

    def _decoded(
        self, source: Path, name: str, sniffed: _Sniffed
    ) -> tuple[Image.Image, tuple[str, ...], bool]:
        """Give the plain picture, the notes, and whether it was so before."""
        with self._opened(source, name, sniffed) as picture:
            return *plain_picture(picture), _is_plain(picture)

    @contextmanager
    def _opened(self, source: Path, name: str, sniffed: _Sniffed) -> Iterator[Image.Image]:
        """Open a picture within the limits; whatever its decoder meets is told as ours."""
        if sniffed.picture == "HEIF" and not _reads_heic():
            raise StudioError("file_type_unsupported", name=name, allowed=ALLOWED)
        try:
            given = _lean(source) if sniffed.picture == "PNG" else source
            with Image.open(given, formats=[sniffed.picture]) as picture:
                self._refuse_bomb(picture.width * picture.height, name)
                yield _loaded(picture, source)
        except _BOMB as exc:
            self._refuse_bomb(int((re.findall(r"\d+", str(exc)) or ["0"])[0]), name)
            raise StudioError("file_broken", name=name, details=str(exc)) from exc
        except _DAMAGE as exc:
            raise StudioError("file_broken", name=name, details=repr(exc)) from exc

    def _refuse_bomb(self, pixels: int, name: str) -> None:
        if pixels > self._max_pixels:
            raise StudioError(
                "picture_too_large",
                name=name,
                megapixels=_mega(pixels),
                max_megapixels=_mega(self._max_pixels),
            )

    def _take_stream(
        self, person: str, source: Path, name: str, sniffed: _Sniffed, *, sound_only: bool = False
    ) -> InputFile:
        with self._streaming(name):
            facts = sounds.facts_of(
                source, sniffed.stream, max_seconds=self._max_seconds, sound_only=sound_only
            )
        if facts.keep and sniffed is not _TAGGED_FLAC:
            with source.open("rb") as file:
                ref, size = self._keep(person, sniffed.ext, lambda into: _copy(file, into))
            mime = sniffed.mime
        else:
            film = facts.kind == "video"
            write = _write_plain_film if film else sounds.write_flac
            with self._streaming(name):
                ref, size = self._keep(
                    person,
                    "mp4" if film else "flac",
                    lambda into: write(source, sniffed.stream, into),
                )
            mime = "video/mp4" if film else "audio/flac"
        return InputFile(
            ref, facts.kind, mime, size, facts.width_px, facts.height_px, name, facts.notes,
            facts.seconds,
        )  # fmt: skip

    @contextmanager
    def _streaming(self, name: str) -> Iterator[None]:
        """Tell whatever FFmpeg meets as ours."""
        try:
            yield
        except StudioError:
            raise
        except (av.FFmpegError, AttributeError, *_DAMAGE) as exc:
            # PyAV gives a stream without a known codec no width at all.
            raise sounds.refusal(exc, name, self._max_seconds) from exc

    def _keep(self, person: str, ext: str, write: Callable[[BinaryIO], None]) -> tuple[str, int]:
        """Write to a file of its own, then give it the name of its content, all at once."""
        home = self._home(person)
        home.mkdir(parents=True, exist_ok=True)
        part = home / f"{uuid.uuid4().hex}.part"
        try:
            with part.open("w+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            ref = f"{digest}.{ext}"
            size = part.stat().st_size
            part.replace(home / ref)  # the same content, if it was there: and it counts as new
        except OSError as exc:
            raise _unwritten(exc) from exc
        finally:
            part.unlink(missing_ok=True)
        return ref, size


@cache
def _reads_heic() -> bool:
    """Load the codec, at the first HEIC; tell whether it works here."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def thumbnail(source: Path, into: Path, side_px: int = 512) -> None:
    """Write a WebP of at most `side_px` on its longer side, upright; raises `file_broken`."""
    part = into.with_name(f"{uuid.uuid4().hex}.part")
    if source.suffix.lower() in (".heic", ".heif"):
        _reads_heic()
    try:
        with Image.open(source) as picture:
            picture.draft("RGB", (side_px, side_px))
            picture.load()
            shown = _upright(picture)
        mode = "RGBA" if shown.has_transparency_data else "RGB"
        shown = shown.convert(mode)
        shown.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        into.parent.mkdir(parents=True, exist_ok=True)
        shown.save(part, "WEBP", quality=82, method=4)
        part.replace(into)
    except (*_DAMAGE, *_BOMB) as exc:
        raise StudioError("file_broken", name=source.name, details=repr(exc)) from exc
    finally:
        part.unlink(missing_ok=True)


def plain_picture(picture: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Apply this module's rule to an opened picture; give 8-bit RGB and the notes."""
    notes: tuple[str, ...] = ()
    # A phone's MPO holds a second view for depth, not an animation.
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        notes = (NOTE_FIRST_FRAME,)
    picture.load()
    whole = _upright(picture)
    plain = _to_srgb(_coloured(whole), picture.info.get("icc_profile"))
    if whole.has_transparency_data:
        plain, showed_through = _onto_white(plain, whole.convert("RGBA").getchannel("A"))
        notes += (NOTE_WHITE,) if showed_through else ()
    plain.info = {}  # Pillow would write a profile or comment found here
    return plain, notes


def _is_plain(picture: Image.Image) -> bool:
    """Tell whether a loaded picture is what LoadImage needs: its own bytes will then do."""
    return (
        picture.format in ("JPEG", "PNG")
        and picture.mode == "RGB"
        and _turned(picture) is None
        and not picture.has_transparency_data
        and _foreign(picture.info.get("icc_profile")) is None
    )


def _bare(source: Path) -> bytes | None:
    data = source.read_bytes()
    return bare.jpeg(data) or bare.png(data)


def _behind_tags(file: BinaryIO) -> _Sniffed:
    """Tell what stands behind a tag of MP3 files: taggers put it before FLAC and AAC too."""
    file.seek(0)
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return _MP3
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    file.seek(10 + size)
    found = sniff(file.read(_HEAD_BYTES))
    return {"flac": _TAGGED_FLAC, "aac": _AAC}.get(found.ext if found else "", _MP3)


def sniff(head: bytes) -> _Sniffed | None:
    """Tell a file's type by its first 512 bytes; None for what cannot be used here."""
    if head.startswith(_MATROSKA) and b"webm" in head[:64]:
        return _Sniffed("webm", "video/webm", stream="matroska")
    for start, found in _STARTS:
        if head.startswith(start):
            return found
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso(head)
    if head[:2] == b"BM" and head[14:18] in _BMP_HEADERS:
        return _Sniffed("bmp", "image/bmp", picture="BMP")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _Sniffed("aiff", "audio/aiff", stream="aiff")
    # An ADTS frame of AAC: 12 set bits, then layer 0.
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return _AAC
    # An MPEG audio frame: 11 set bits, then layer III or II.
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 in (0xE2, 0xE4):
        return _MP3
    return None


def shown_name(name: str) -> str:
    """Make a given file name fit to show: no folders, no control marks, at most 120 characters."""
    last = re.split(r"[/\\]", name)[-1]
    clean = re.sub(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "", last).strip()
    # Apple's systems take letters and their accents apart: the same name would not be found.
    return unicodedata.normalize("NFC", clean)[-120:] or "file"


_MATROSKA: Final = b"\x1a\x45\xdf\xa3"
_MP3: Final = _Sniffed("mp3", "audio/mpeg", stream="mp3")
_AAC: Final = _Sniffed("aac", "audio/aac", stream="aac")
# Never kept as it is: few readers of FLAC look behind a tag of MP3.
_TAGGED_FLAC: Final = _Sniffed("flac", "audio/flac", stream="flac")
_STARTS: Final = (
    (b"\x89PNG\r\n\x1a\n", _Sniffed("png", "image/png", picture="PNG")),
    (b"\xff\xd8\xff", _Sniffed("jpg", "image/jpeg", picture="JPEG")),
    (b"GIF87a", _Sniffed("gif", "image/gif", picture="GIF")),
    (b"GIF89a", _Sniffed("gif", "image/gif", picture="GIF")),
    (b"II*\x00", _Sniffed("tiff", "image/tiff", picture="TIFF")),
    (b"MM\x00*", _Sniffed("tiff", "image/tiff", picture="TIFF")),
    (b"II+\x00", _Sniffed("tiff", "image/tiff", picture="TIFF")),
    (b"MM\x00+", _Sniffed("tiff", "image/tiff", picture="TIFF")),
    (b"ID3", _MP3),
    (b"fLaC", _Sniffed("flac", "audio/flac", stream="flac")),
    (b"OggS", _Sniffed("ogg", "video/ogg", stream="ogg")),
    (_MATROSKA, _Sniffed("mkv", "video/x-matroska", stream="matroska")),
)
_RIFF: Final = {
    b"WEBP": _Sniffed("webp", "image/webp", picture="WEBP"),
    b"WAVE": _Sniffed("wav", "audio/wav", stream="wav"),
}
_BMP_HEADERS: Final = {struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124)}
_AVIF: Final = frozenset({b"avif", b"avis"})
_HEIF: Final = frozenset(
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
)


def _iso(head: bytes) -> _Sniffed | None:
    """Tell AVIF, HEIC and MP4 apart by the brands of the first box (ISO 14496-12)."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}
    if brands & _AVIF:
        return _Sniffed("avif", "image/avif", picture="AVIF")
    if brands & _HEIF:
        return _Sniffed("heic", "image/heic", picture="HEIF")
    if head[8:12] == b"crx ":
        return None  # a camera's raw picture
    if head[8:12] == b"qt  ":
        return _Sniffed("mov", "video/quicktime", stream="mov")
    return _Sniffed("mp4", "video/mp4", stream="mov")


# --- pictures ---


def _lean(source: Path) -> Path | BytesIO:
    """Give a PNG without packed texts and profiles that Pillow would refuse the picture for."""
    with source.open("rb") as file:
        if not bare.packs_much(file):
            return source
    return BytesIO(bare.unpacked(source.read_bytes()))


def _loaded(picture: Image.Image, source: Path) -> Image.Image:
    """Decode a picture; what a JPEG shows without its end mark, if nothing else is missing."""
    try:
        picture.load()
    except OSError:
        whole = _without_end(source.read_bytes()) if picture.format == "JPEG" else None
        if whole is None:
            raise
        return whole
    return picture


def _without_end(data: bytes) -> Image.Image | None:
    """Decode a JPEG with two different fillings at its end: what is missing would show."""
    views = [
        Image.open(BytesIO(data + filling * 64 + b"\xff\xd9"), formats=["JPEG"])
        for filling in (b"\x00", b"\x55")
    ]
    return views[0] if views[0].tobytes() == views[1].tobytes() else None


def _turned(picture: Image.Image) -> Image.Transpose | None:
    """Tell how a loaded picture must be turned; Pillow itself turns TIFFs as it loads them.

    By its EXIF alone, as browsers show it: Pillow would also look into XMP and old text chunks.
    """
    exif = Image.Exif()
    try:
        exif.load(picture.info.get("exif", b""))
        return _UPRIGHT.get(exif.get(_ORIENTATION, 1))
    except _DAMAGE:
        return None  # damaged metadata of a sound picture


def _upright(picture: Image.Image) -> Image.Image:
    """Give a loaded picture upright and with 8 bits a channel."""
    turn = _turned(picture)
    shallow = _eight_bits(picture)
    return shallow if turn is None else shallow.transpose(turn)


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Scale deep pictures to 8 bits; Pillow's own conversion would clip them to white."""
    if not picture.mode.startswith("I") and picture.mode != "F":
        return picture
    scale = 255.0 if picture.mode == "F" else 1.0 / 257.0
    pixels = np.nan_to_num(np.asarray(picture, dtype=np.float32)) * scale
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _onto_white(picture: Image.Image, opacity: Image.Image) -> tuple[Image.Image, bool]:
    """Lay a picture onto white; tell whether any of the white is to be seen."""
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=opacity)
    return white, opacity.getextrema()[0] != 255


def _coloured(picture: Image.Image) -> Image.Image:
    """Give the picture's colours alone, as its profile speaks of them: grey, RGB or CMYK."""
    if picture.mode in ("L", "RGB", "CMYK"):
        return picture
    if picture.mode in ("LA", "1"):
        return picture.convert("L")
    # By way of RGBA: Pillow warns of a palette with opacity that is made RGB at once.
    return picture.convert("RGBA").convert("RGB") if picture.mode == "P" else picture.convert("RGB")


def _to_srgb(picture: Image.Image, profile: object) -> Image.Image:
    given = _foreign(profile)
    if given is not None:
        grey_in_colour = picture.mode == "L" and given.profile.xcolor_space.strip() == "RGB"
        source = picture.convert("RGB") if grey_in_colour else picture
        try:
            ours = ImageCms.createProfile("sRGB")
            turned = ImageCms.profileToProfile(source, given, ours, outputMode="RGB")
            return turned or picture.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass  # a profile of other colours than the picture's: as if it had none
    return picture.convert("RGB")


def _foreign(profile: object) -> ImageCms.ImageCmsProfile | None:
    """Read an ICC profile; None for that of sRGB and for a damaged one, whose numbers are sRGB's.

    Without a profile, too, the plain numbers are the best guess.
    """
    if not isinstance(profile, bytes) or not profile:
        return None
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        return None if "sRGB" in ImageCms.getProfileDescription(given) else given
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


# --- small things ---


def _read_notes(stored: Path) -> tuple[str, ...]:
    beside = stored.with_name(f"{stored.name}{_NOTES}")
    return tuple(beside.read_text("utf-8").split()) if beside.is_file() else ()


def _copy(source: BinaryIO, into: BinaryIO) -> None:
    while chunk := source.read(_CHUNK_BYTES):
        into.write(chunk)


def _write_plain_film(source: Path, _demuxer: str, into: BinaryIO) -> None:
    """Write a copy of a video, upright, with one known sound; raises ValueError with a reason."""
    with tempfile.TemporaryDirectory(prefix="studio-") as folder:
        made = Path(folder) / "plain.mp4"
        why = playable.copy_apart(source, made)
        if why:
            raise ValueError(why)
        with made.open("rb") as file:
            _copy(file, into)


def _unwritten(exc: OSError) -> StudioError:
    full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
    return StudioError("disk_full" if full else "internal", details=repr(exc))


def _write(into: BinaryIO, data: bytes) -> None:
    into.write(data)


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _mb(size_bytes: int) -> str:
    return f"{math.ceil(size_bytes / 1e5) / 10:g}"


def _mega(pixels: int) -> str:
    return f"{math.ceil(pixels / 1e5) / 10:g}"
