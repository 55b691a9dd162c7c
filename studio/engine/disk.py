"""How much is on the disk: the floor below which nothing new is taken, and what folders hold.

Knows folders; knows no job.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from studio.errors import StudioError


def free_bytes(folder: Path) -> int:
    """Give the free space of the disk a folder is on, in bytes."""
    return shutil.disk_usage(folder).free


class DiskFloor:
    """Refuses new work while one of the disks behind `folders` has less than `floor_bytes` free.

    A running job that fills a disk fails by itself and leaves nothing; this is what keeps it from
    starting. 0 = no floor.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        floor_bytes: int,
        *,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._folders = tuple(folders)
        self.floor_bytes = floor_bytes
        self._free = free

    def free_bytes(self) -> int:
        """Give the free space of the fullest disk, in bytes."""
        return min(self._free(folder) for folder in self._folders)

    def check(self) -> None:
        """Raise `disk_full` when there is too little space for a new job."""
        free = self.free_bytes()
        if free < self.floor_bytes:
            details = f"{free} bytes free, floor {self.floor_bytes}"
            raise StudioError("disk_full", details=details, retryable=True)


class FolderSizes:
    """How many bytes the files of folders take, for folders whose files never change their size.

    A folder is listed again only when its own time says that a file came or went, and then only
    the new ones are measured. Safe in many threads, and right when another process writes.
    """

    _SETTLED_NS: Final = 2_000_000_000
    """A folder changed this recently may change again within the grain of its clock."""

    def __init__(self, *, kept: int = 256, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Remember so many folders, the last asked for."""
        self._kept = kept
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[int, dict[str, int]]] = OrderedDict()

    def bytes_in(self, folder: Path) -> int:
        """Give the sum of a folder's files; 0 for a folder that is not there."""
        try:
            changed_ns = folder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0
        with self._lock:
            known_ns, sizes = self._known.get(folder, (-1, {}))
        if known_ns != changed_ns:
            sizes = _sizes(folder, sizes)
            settled = self._now_ns() - changed_ns > self._SETTLED_NS
            with self._lock:
                self._known[folder] = (changed_ns if settled else -1, sizes)
                self._known.move_to_end(folder)
                if len(self._known) > self._kept:
                    self._known.popitem(last=False)
        return sum(sizes.values())


def _sizes(folder: Path, known: dict[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            size = known.get(entry.name)
            try:
                found[entry.name] = entry.stat().st_size if size is None else size
            except FileNotFoundError:
                continue  # it went while we looked
    return found
