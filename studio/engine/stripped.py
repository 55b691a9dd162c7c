"""Copies of kept files without their metadata: no prompt, no workflow, no tags, no dates.

What is seen and heard is untouched: nothing is decoded or coded anew. PNG, JPEG, WebP, GIF, WAV,
FLAC and MP3 are written again piece by piece, of known pieces only; in MP4, MOV, M4A, WebM and MKV
the places of metadata are overwritten with nothing, so that no offset moves; OGG gets a new
container. Of EXIF only the turn of a picture stays, of its own. What this module does not know
well enough is refused rather than copied. Knows files only.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from PIL import Image

from studio.engine.later import Later
from studio.errors import StudioError

if TYPE_CHECKING:
    import av
else:
    av = Later("av")

Piece = bytes | slice
"""Bytes of our own, or a part of the file."""

_STEP: Final = 1 << 20
_ORIENTATION: Final = 0x0112
_TURNS: Final = range(2, 9)
_DAMAGE: Final = (OSError, ValueError, IndexError, struct.error, SyntaxError)

# What a PNG's picture, colours and frames need; ComfyUI hides a graph in chunks of its own too.
_PNG_KEPT: Final = frozenset(
    b"IHDR PLTE IDAT IEND tRNS gAMA cHRM sRGB iCCP cICP sBIT bKGD pHYs acTL fcTL fdAT".split()
)
_WEBP_KEPT: Final = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WAV_KEPT: Final = frozenset((b"fmt ", b"fact", b"data", b"ds64"))
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04
_FLAC_KEPT: Final = frozenset((0, 3))  # STREAMINFO, SEEKTABLE
_GIF_KEPT: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")

_BOXES_OF_BOXES: Final = frozenset((b"moov", b"trak", b"mdia", b"minf", b"moof", b"traf", b"mvex"))
_BOXES_BLANKED: Final = frozenset((b"udta", b"meta", b"uuid", b"free", b"skip", b"wide", b"ilst"))
_BOXES_DATED: Final = frozenset((b"mvhd", b"tkhd", b"mdhd"))

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_MASTERS: Final = frozenset((_SEGMENT, 0x1549A966, 0x1654AE6B, 0xAE))
"""Segment, Info, Tracks, TrackEntry."""
_BLANKED: Final = frozenset(
    (0x1254C367, 0x1941A469, 0x1043A770, 0x7BA9, 0x4461, 0x7384, 0x536E, 0xBF, 0xEC)
)
"""Tags, Attachments, Chapters, Title, DateUTC, SegmentFilename, Name; CRC-32, which would no longer
be true; and Void, whose filling is not looked at by anybody."""


def copy(source: Path, into: Path, mime: str) -> None:
    """Write a copy of a kept file of this type without metadata; it is there whole or not at all.

    Raises `share_unsupported` for a type, or a file, whose metadata cannot surely be taken out.
    """
    way = _WAYS.get(mime)
    if way is None:
        raise StudioError("share_unsupported", details=mime)
    into.parent.mkdir(parents=True, exist_ok=True)
    part = into.with_name(f"{uuid.uuid4().hex}.part")
    try:
        way(source, part)
        part.replace(into)
    except (av.FFmpegError, *_DAMAGE) as error:
        raise StudioError("share_unsupported", details=f"{mime}: {error!r}") from error
    finally:
        part.unlink(missing_ok=True)


# --- written again, of known pieces only ----------------------------------------------------------


def _rewritten(
    pieces_of: Callable[[mmap.mmap, int], Iterator[Piece]],
) -> Callable[[Path, Path], None]:
    """Make a way of copying: the file is mapped, never read whole."""

    def way(source: Path, into: Path) -> None:
        turn = _turn(source)
        with (
            source.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            into.open("wb") as out,
        ):
            for piece in pieces_of(mapped, turn):
                _write(out, mapped, piece)

    return way


def _write(out: BinaryIO, data: mmap.mmap, piece: Piece) -> None:
    if isinstance(piece, bytes):
        out.write(piece)
        return
    for at in range(piece.start, piece.stop, _STEP):
        out.write(data[at : min(at + _STEP, piece.stop)])


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else int(piece.stop - piece.start)


def _turn(source: Path) -> int:
    """Give how a picture is to be turned when it is shown, 0 when it is not."""
    try:
        with Image.open(source, formats=("PNG", "JPEG", "WEBP")) as picture:
            turn = picture.getexif().get(_ORIENTATION, 0)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0  # a sound, or a picture of a size that only its browser need read
    return turn if turn in _TURNS else 0


def _exif(turn: int) -> bytes:
    """Write an EXIF block that says nothing but the turn."""
    block = Image.Exif()
    block[_ORIENTATION] = turn
    return block.tobytes().removeprefix(b"Exif\x00\x00")


def _png(data: mmap.mmap, turn: int) -> Iterator[Piece]:
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("not a PNG")
    yield slice(0, 8)
    at = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ValueError("cut short")
        if kind in _PNG_KEPT:
            yield slice(at, end)
        if kind == b"IEND":
            return
        if kind == b"IHDR" and turn:
            block = b"eXIf" + _exif(turn)
            yield struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
        at = end


def _jpeg(data: mmap.mmap, turn: int) -> Iterator[Piece]:
    if data[:3] != b"\xff\xd8\xff":
        raise ValueError("not a JPEG")
    yield slice(0, 2)
    if turn:
        block = b"Exif\x00\x00" + _exif(turn)
        yield b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker where one must be")
        kind = data[at + 1]
        if kind == 0xFF:  # a filling byte
            at += 1
            continue
        if kind == 0xD9:
            yield slice(at, at + 2)
            return  # phones put films and depth maps behind the picture
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if kind == 0xDA:
            end = _scan_end(data, end)
        if end > len(data):
            raise ValueError("cut short")
        if _jpeg_kept(kind, data[at + 4 : at + 16]):
            yield slice(at, end)
        at = end


def _jpeg_kept(kind: int, start: bytes) -> bool:
    """APP0 (JFIF), APP14 (Adobe) and an ICC profile say how colours are coded."""
    if kind == 0xE2:
        return start[:11] == b"ICC_PROFILE"
    if kind == 0xE0:
        return start[:4] == b"JFIF"
    return kind not in (*range(0xE1, 0xEE), 0xEF, 0xFE)


def _scan_end(data: mmap.mmap, at: int) -> int:
    """Find the next marker behind coded data, in which FF 00 is data and FF D0-D7 mark places."""
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        if data[at + 1] != 0 and not 0xD0 <= data[at + 1] <= 0xD7:
            return at
        at += 2
    raise ValueError("cut short")


def _riff_chunks(data: mmap.mmap, form: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Walk a RIFF file: kind, first and last place of each chunk, filling included."""
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != form:
        raise ValueError(f"not a RIFF file of {form!r}")
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        end = at + 8 + size
        if end > len(data) and kind != b"data":  # a stream's length may be unknown: FFFFFFFF
            raise ValueError("cut short")
        end = min(end + size % 2, len(data))
        yield kind, at, end
        at = end


def _webp(data: mmap.mmap, turn: int) -> Iterator[Piece]:
    kept: list[Piece] = []
    for kind, at, end in _riff_chunks(data, b"WEBP"):
        if kind == b"VP8X":
            head = bytearray(data[at:end])
            head[8] &= ~(_WEBP_EXIF | _WEBP_XMP)
            head[8] |= _WEBP_EXIF if turn else 0
            kept.append(bytes(head))
        elif kind in _WEBP_KEPT:
            kept.append(slice(at, end))
    if turn:
        block = _exif(turn)
        kept.append(struct.pack("<4sI", b"EXIF", len(block)) + block + b"\0" * (len(block) % 2))
    yield struct.pack("<4sI4s", b"RIFF", 4 + sum(map(_length, kept)), b"WEBP")
    yield from kept


def _wav(data: mmap.mmap, _turn: int) -> Iterator[Piece]:
    chunks = list(_riff_chunks(data, b"WAVE"))
    if not any(kind == b"data" for kind, _, _ in chunks):
        raise ValueError("no sound in it")
    kept = [slice(at, end) for kind, at, end in chunks if kind in _WAV_KEPT]
    size = min(4 + sum(map(_length, kept)), 0xFFFFFFFF)
    yield data[:4] + struct.pack("<I4s", size, b"WAVE")
    yield from kept


def _gif(data: mmap.mmap, _turn: int) -> Iterator[Piece]:
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise ValueError("not a GIF")
    at = 13 + _table_bytes(data[10])
    yield slice(0, at)
    while True:
        start, kind = at, data[at]
        if kind == 0x3B:
            yield slice(at, at + 1)
            return
        if kind == 0x2C:
            at = _blocks_end(data, at + 11 + _table_bytes(data[at + 9]))
            keep = True
        elif kind == 0x21:
            keep = data[at + 1] == 0xF9 or (
                data[at + 1] == 0xFF and data[at + 3 : at + 14] in _GIF_KEPT
            )
            at = _blocks_end(data, at + 2)
        else:
            raise ValueError("no block where one must be")
        if keep:
            yield slice(start, at)


def _table_bytes(flags: int) -> int:
    """Give the length of a colour table; 0 when the flags say that there is none."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _blocks_end(data: mmap.mmap, at: int) -> int:
    while data[at]:
        at += data[at] + 1
    return at + 1


def _flac(data: mmap.mmap, _turn: int) -> Iterator[Piece]:
    if data[:4] != b"fLaC":
        raise ValueError("not a FLAC file")
    at, last, kept = 4, False, list[tuple[int, slice]]()
    while not last:
        last, kind = bool(data[at] & 0x80), data[at] & 0x7F
        end = at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if kind in _FLAC_KEPT:
            kept.append((kind, slice(at + 1, end)))
        at = end
    if at >= len(data):
        raise ValueError("cut short")
    yield slice(0, 4)
    for number, (kind, body) in enumerate(kept, start=1):
        yield bytes([kind | (0x80 if number == len(kept) else 0)])
        yield body
    yield slice(at, _without_tail(data))


def _mp3(data: mmap.mmap, _turn: int) -> Iterator[Piece]:
    at = 0
    while data[at : at + 3] == b"ID3":
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte & 0x7F
        at += 10 + size + (10 if data[at + 5] & 0x10 else 0)
    while data[at] == 0:  # some writers fill behind their tag
        at += 1
    if data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        raise ValueError("no sound behind the tags")
    yield slice(at, _without_tail(data))


def _without_tail(data: mmap.mmap) -> int:
    """Find where the tags at the end of a sound begin: ID3v1, and APEv2 before it."""
    end = len(data)
    if data[max(0, end - 128) : end - 125] == b"TAG":
        end -= 128
    if data[max(0, end - 32) : end - 24] == b"APETAGEX":
        size, _, flags = struct.unpack_from("<III", data, end - 20)
        end -= size + (32 if flags & 0x80000000 else 0)
    return max(end, 0)


# --- overwritten where they stand -----------------------------------------------------------------


def _blanked(blank: Callable[[mmap.mmap], None]) -> Callable[[Path, Path], None]:
    """Make a way of copying: all bytes first, then nothing in place of metadata."""

    def way(source: Path, into: Path) -> None:
        shutil.copyfile(source, into)
        with into.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            blank(data)
            data.flush()
            os.fsync(file.fileno())

    return way


def _boxes(data: mmap.mmap) -> None:
    if data[4:8] != b"ftyp" or b"moov" not in _box_walk(data, 0, len(data)):
        raise ValueError("not an MP4")


def _box_walk(data: mmap.mmap, at: int, end: int) -> set[bytes]:
    """Take away what tells of the file, and give the kinds of boxes met on this level."""
    met = set()
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        size = size or end - at  # 0: to the end of the file
        if size < head or at + size > end:
            raise ValueError("a box that is no box")
        inside, stop = at + head, at + size
        met.add(kind)
        if kind in _BOXES_BLANKED:
            data[at + 4 : at + 8] = b"free"
            _zero(data, inside, stop)
        elif kind in _BOXES_DATED:
            # Version and flags, then when made and when changed: 4 bytes each, 8 in version 1.
            _zero(data, inside + 4, min(inside + (20 if data[inside] else 12), stop))
        elif kind in _BOXES_OF_BOXES:
            _box_walk(data, inside, stop)
        at = stop
    return met


def _elements(data: mmap.mmap) -> None:
    kind, size, at = _element(data, 0)
    if kind != _EBML or _SEGMENT not in _element_walk(data, at + size, len(data)):
        raise ValueError("not Matroska")


def _element_walk(data: mmap.mmap, at: int, end: int) -> set[int]:
    """Take away what tells of the file, and give the kinds of elements met on this level."""
    met = set()
    while at + 2 <= end:
        kind, size, inside = _element(data, at)
        if size < 0:
            if kind != _SEGMENT:  # a live stream's cluster: nobody knows where it ends
                raise ValueError("an element of unknown length")
            size = end - inside
        stop = inside + size
        if stop > end:
            raise ValueError("an element that is no element")
        met.add(kind)
        if kind in _BLANKED:
            _void(data, at, stop)
        elif kind in _MASTERS:
            _element_walk(data, inside, stop)
        at = stop
    return met


def _element(data: mmap.mmap, at: int) -> tuple[int, int, int]:
    """Read an EBML element: its kind, its length (-1: unknown), where its inside begins."""
    width = 9 - data[at].bit_length()
    kind = int.from_bytes(data[at : at + width], "big")
    at += width
    width = 9 - data[at].bit_length()
    if width > 8:
        raise ValueError("an element that is no element")
    size = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return kind, -1 if size == (1 << 7 * width) - 1 else size, at + width


def _void(data: mmap.mmap, at: int, stop: int) -> None:
    """Put an element that says nothing in the place of another."""
    width = 8 if stop - at >= 9 else 1
    size = stop - at - 1 - width
    data[at] = 0xEC
    data[at + 1 : at + 1 + width] = (size | 1 << 7 * width).to_bytes(width, "big")
    _zero(data, at + 1 + width, stop)


def _zero(data: mmap.mmap, at: int, stop: int) -> None:
    for start in range(at, stop, _STEP):
        here = min(_STEP, stop - start)
        data[start : start + here] = bytes(here)


# --- put into a new container ---------------------------------------------------------------------


def _ogg(source: Path, into: Path) -> None:
    with av.open(str(source)) as given, av.open(str(into), "w", format="ogg") as made:
        streams: dict[int, Any] = {
            one.index: made.add_stream_from_template(one) for one in given.streams.audio
        }
        if not streams:
            raise ValueError("no sound in it")
        for packet in given.demux(list(given.streams.audio)):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)


_WAYS: Final[Mapping[str, Callable[[Path, Path], None]]] = {
    "image/png": _rewritten(_png),
    "image/jpeg": _rewritten(_jpeg),
    "image/webp": _rewritten(_webp),
    "image/gif": _rewritten(_gif),
    "audio/wav": _rewritten(_wav),
    "audio/flac": _rewritten(_flac),
    "audio/mpeg": _rewritten(_mp3),
    "audio/ogg": _ogg,
    "audio/mp4": _blanked(_boxes),
    "video/mp4": _blanked(_boxes),
    "video/quicktime": _blanked(_boxes),
    "video/webm": _blanked(_elements),
    "video/x-matroska": _blanked(_elements),
}


def supports(mime: str) -> bool:
    """Tell whether files of a type can be copied without their metadata."""
    return mime in _WAYS
