"""Telling whether this is the only process on a data folder. Knows files only.

A killed process leaves leases behind. Where nobody else can hold one, they need not run out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if sys.platform != "win32":
    import fcntl


class SoleUse:
    """A lock on a folder, freed by the system when its process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "process.lock"
        self._handle: int | None = None

    def take(self) -> bool:
        """Try to be the only one; tell whether this process is. Asked again, it gives the same."""
        if sys.platform == "win32":
            return False  # it has no flock: there a lease simply runs out
        if self._handle is None:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                return False
            self._handle = handle
        return True

    def free(self) -> None:
        """Let another process be the only one."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
