"""Which workflows were found to fit their graphs, kept from one start to the next.

A proof binds a graph in all its forms, twenty graphs take most of a second; its result follows from
the files and from our own code alone, whose digest is its key. A proof that cannot be read is made
again: the file may be thrown away at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import pydantic

from studio.engine import workflow

log = logging.getLogger("studio.proofs")

_CODE: Final = Path(workflow.__file__).parent


class Proofs:
    """Remembers by the texts a proof is about which nodes every form of the graph uses."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _read(file)
        self._used: dict[str, list[str]] = {}

    def get(self, *texts: str) -> frozenset[str] | None:
        """Give what the proof of these very texts found, or None when there was none."""
        key = _key(texts)
        found = self._known.get(key)
        if found is None:
            return None
        self._used[key] = found
        return frozenset(found)

    def add(self, always: frozenset[str], *texts: str) -> None:
        """Note that these texts were proven."""
        self._used[_key(texts)] = sorted(always)

    def save(self) -> None:
        """Write what was asked for or added; what was not is of files that are gone."""
        if self._used == self._known:
            return
        new = self._file.with_name(f"{self._file.name}.{os.getpid()}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(json.dumps(self._used), "utf-8")
            new.replace(self._file)
        except OSError as error:
            log.warning("what was proven is not kept, the next start proves it again: %s", error)
            with suppress(OSError):
                new.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, list[str]]:
    """Read the file; whatever is wrong with it, nothing was proven."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        return {
            str(key): [str(node) for node in nodes]
            for key, nodes in kept.items()
            if isinstance(nodes, list)
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        log.warning("what was proven cannot be read and is proven again: %s", error)
        return {}


def _key(texts: tuple[str, ...]) -> str:
    digest = hashlib.sha256(_code())
    for text in texts:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return digest.hexdigest()


@cache
def _code() -> bytes:
    """Give a digest of what proves: another version may find what this one did not."""
    digest = hashlib.sha256(f"{sys.version} {pydantic.VERSION}".encode())
    for path in sorted(_CODE.glob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()
