"""Telling whether this process is alone on a data folder. Knows files only.

A killed process leaves leases behind. Where nobody else can hold one, they need not run out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class SoleUse:
    """A lock on a folder that everybody who works there holds together.

    The system frees it when a process dies, however it dies.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "process.lock"
        self._handle: int | None = None

    def join(self, when_alone: Callable[[], object]) -> bool:
        """Begin to work here; `when_alone` is called, and True given, when nobody else does.

        Others that begin meanwhile wait until it has ended.
        """
        if sys.platform == "win32":
            return False  # it has no flock: there a lease simply runs out
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._handle = handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fcntl.flock(handle, fcntl.LOCK_SH)
            return False
        try:
            when_alone()
        finally:
            fcntl.flock(handle, fcntl.LOCK_SH)
        return True

    def leave(self) -> None:
        """End the work here."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
