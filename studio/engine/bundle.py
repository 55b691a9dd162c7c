"""Several results as one ZIP, written as it is sent: neither memory nor disk ever holds it whole.

Files are stored as they are: pictures, sounds and videos do not get smaller by packing.
"""

from __future__ import annotations

import io
import logging
import re
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from studio.engine.jobs import Job, Output

log = logging.getLogger("studio.bundle")

_CHUNK_BYTES: Final = 1 << 18
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|\u202a-\u202e\u2066-\u2069\ud800-\udfff]+')
_STEM_BYTES: Final = 120
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file to be packed: its job and output, and where it lies."""

    job: Job
    output: Output
    path: Path


def names(entries: Sequence[Entry]) -> list[str]:
    """Name the files inside by day, what they show and number, each once and fit for any system.

    Such as `20261125_山水畫_1.png`; Chinese is kept, what Windows forbids is not.
    """
    seen: Counter[str] = Counter()
    found = []
    for entry in entries:
        day = time.strftime("%Y%m%d", time.localtime(entry.job.created_us / 1e6))
        about = _fit(_about(entry.job))
        ending = entry.output.name.rpartition(".")[2]
        stem = f"{day}_{about}_{entry.output.index + 1}"
        seen[stem.casefold() + ending] += 1
        again = seen[stem.casefold() + ending]
        found.append(f"{stem}{f'_{again}' if again > 1 else ''}.{ending}")
    return found


def stream(entries: Sequence[Entry]) -> Iterator[bytes]:
    """Give the ZIP piece by piece. A file that went away meanwhile is left out."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as packed:
        for entry, name in zip(entries, names(entries), strict=True):
            yield from _packed(packed, pipe, entry, name)
    yield pipe.taken()


def _packed(packed: zipfile.ZipFile, pipe: _Pipe, entry: Entry, name: str) -> Iterator[bytes]:
    made = time.localtime(entry.job.created_us / 1e6)[:6]
    facts = zipfile.ZipInfo(name, max(_OLDEST, made))
    facts.external_attr = 0o644 << 16
    try:
        file = entry.path.open("rb")
    except FileNotFoundError:
        log.warning("left out of a ZIP, it is gone: %s", entry.output.path)
        return
    with file, packed.open(facts, "w", force_zip64=entry.output.size_bytes > 1 << 31) as into:
        while chunk := file.read(_CHUNK_BYTES):
            into.write(chunk)
            yield pipe.taken()


def _about(job: Job) -> str:
    said = job.values.get("prompt")
    return said if isinstance(said, str) and said.strip() else job.tab


def _fit(text: str) -> str:
    clean = " ".join(_UNSAFE.sub(" ", text).split())
    cut = clean.encode()[:_STEM_BYTES].decode(errors="ignore")
    return cut.strip(" .") or "file"


class _Pipe(io.RawIOBase):
    """Takes what is written until it is taken away; nothing can be sought in it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        """Tell that it takes bytes."""
        return True

    def write(self, data: Iterable[int], /) -> int:  # type: ignore[override]
        """Keep a piece."""
        piece = bytes(data)
        self._pieces.append(piece)
        return len(piece)

    def taken(self) -> bytes:
        """Give all that was written since the last time."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
