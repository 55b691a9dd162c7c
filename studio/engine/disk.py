"""The floor of free disk space below which nothing new is taken.

Knows folders; knows no job.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

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
