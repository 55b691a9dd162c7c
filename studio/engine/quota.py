"""How much of the disk one person's files take, and where that ends.

Counted are kept results, by a sum that their rows' transactions keep, and the files they gave, by
the folder that holds them. Deleted results count until they cannot be restored any more: until
then they lie on the disk. What open jobs will likely add is foretold for their person's next order;
what a job really made is always kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.media import Media
from studio.errors import StudioError

_GB: Final = 1_000_000_000
_MB: Final = 1_000_000
_ROOM_FOR_S: Final = 1.0
_REMEMBERED: Final = 10_000
_MOST_OF_ONE: Final = 10
"""One job seldom keeps more than this part (1/10) of what one person may keep."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a person's files take, and may take at most (0 = no limit), in bytes."""

    results: int
    inputs: int
    max_bytes: int

    @property
    def bytes(self) -> int:
        """Give the sum."""
        return self.results + self.inputs

    @property
    def full(self) -> bool:
        """Tell whether nothing more is taken."""
        return bool(self.max_bytes) and self.bytes >= self.max_bytes


class Quota:
    """Counts persons' files. Blocks on one row of the database, and on the disk."""

    def __init__(self, database: Database, census: Census, media: Media, max_bytes: int) -> None:
        """Allow `max_bytes` a person; 0 = no limit."""
        self._db = database
        self._who = database.tables.person
        self._census = census
        self._media = media
        self._max_bytes = max_bytes
        self._room: dict[str, tuple[float, int]] = {}

    def used(self, person: str) -> Used:
        """Tell how much a person's files take."""
        query = self._who.select(self._who.kept_bytes).where(self._who.person == person)
        results = int(self._db.read(query.scalar) or 0)
        return Used(results, self._media.held_bytes(person), self._max_bytes)

    def check(self, person: str, more_bytes: int = 0) -> None:
        """Raise `quota_full` when there is no room, or none for so much more.

        What a job will make is not known before, so an order needs some room only, beside what the
        person's open jobs will likely add: else `quota_promised`.
        """
        if not self._max_bytes or self._had_room(person, more_bytes):
            return
        used = self.used(person)
        if used.full or used.bytes + more_bytes > self._max_bytes:
            raise StudioError(
                "quota_full",
                used=shown(used.bytes),
                max=shown(self._max_bytes),
                results=shown(used.results),
                inputs=shown(used.inputs),
            )
        if more_bytes:
            return
        jobs, to_come = self._census.bytes_to_come(person)
        left = self._max_bytes - used.bytes - to_come
        if left <= 0:
            raise StudioError(
                "quota_promised",
                used=shown(used.bytes),
                max=shown(self._max_bytes),
                jobs=jobs,
                more=shown(to_come),
            )
        self._remember(person, left * _MOST_OF_ONE // self._max_bytes)

    def _remember(self, person: str, orders: int) -> None:
        """Let so many orders of the next moment go without asking again."""
        if len(self._room) >= _REMEMBERED:
            self._room.clear()
        self._room[person] = time.monotonic() + _ROOM_FOR_S, orders

    def _had_room(self, person: str, more_bytes: int) -> bool:
        """Tell whether this was asked a moment ago: many orders at once ask the database once."""
        until, orders = self._room.get(person, (0.0, 0))
        if more_bytes or not orders or time.monotonic() >= until:
            return False
        self._room[person] = until, orders - 1
        return True


def shown(size: int) -> str:
    """Write a size as people read it."""
    return f"{size / _GB:.1f} GB" if size >= _GB else f"{size / _MB:.1f} MB"
