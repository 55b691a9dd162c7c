"""JPEG and PNG files without their metadata, byte by byte: nothing is decoded or lost."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT: Final = frozenset({b"IHDR", b"IDAT", b"IEND"})
_PACKED: Final = frozenset({b"zTXt", b"iTXt", b"iCCP"})
_UNPACKED_AT_MOST: Final = 1 << 20
"""Bytes: Pillow refuses a picture for a text or profile that is larger when unpacked."""
_PACKS: Final = 1000
"""By how much deflate packs at the most (1032), rounded down."""
# In JPEG's coded data, FF 00 is data and FF D0 to D7 only mark places; anything else ends it.
_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_END: Final = 0xD9
_SCAN: Final = 0xDA
# APP0 (JFIF) and APP14 (Adobe) say how colours are coded; other APPs and comments are metadata.
_METADATA: Final = (*range(0xE1, 0xEE), 0xEF, 0xFE)


def jpeg(data: bytes) -> bytes | None:
    """Give the picture of a JPEG without metadata and without what follows it, None if damaged.

    Phones put films and depth maps behind the picture.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    kept, at, coded = [data[:2]], 2, False
    while (found := _MARKER.search(data, at)) is not None:
        start, kind = found.start(), data[found.start() + 1]
        if coded:  # before the first scan, bytes between segments only fill
            kept.append(data[at:start])
        if kind == _END:
            return b"".join((*kept, data[start : start + 2]))
        at = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if not start + 4 <= at <= len(data):
            return None
        coded = coded or kind == _SCAN
        if kind not in _METADATA:
            kept.append(data[start:at])
    return None


def png(data: bytes) -> bytes | None:
    """Give an 8-bit RGB PNG of its three needed kinds of chunks; None for any other PNG."""
    if not data.startswith(_PNG) or data[12:16] != b"IHDR" or data[24:26] != b"\x08\x02":
        return None
    kept, at = [_PNG], 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in (b"tRNS", b"acTL") or end > len(data):
            return None
        if kind in _PNG_KEPT:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    return None


def packs_much(file: BinaryIO) -> bool:
    """Tell whether a PNG holds a packed text or profile that may be very large unpacked.

    Reads the heads of its chunks alone.
    """
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:
        size = int.from_bytes(head[:4], "big")
        if head[4:] in _PACKED and size > _UNPACKED_AT_MOST // _PACKS:
            return True
        file.seek(size + 4, 1)
    return False


def unpacked(data: bytes) -> bytes:
    """Give a PNG without its packed texts, and without a profile that is too large."""
    kept = [data[: len(_PNG)]]
    for start, end in _chunks(data):
        kind = data[start + 4 : start + 8]
        if kind not in _PACKED or (kind == b"iCCP" and _small(data[start + 8 : end - 4])):
            kept.append(data[start:end])
    return b"".join(kept)


def _chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Give start and end of each chunk; the last may be cut off."""
    at = len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield at, end
        at = end


def _small(profile: bytes) -> bool:
    """Tell whether a profile unpacks to no more than is read."""
    _, _, packed = profile.partition(b"\x00")
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed[1:], _UNPACKED_AT_MOST)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail
