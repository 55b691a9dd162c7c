"""Who starts when: the line of waiting jobs, as the claims will take them. Pure: no row, no clock.

Foretold as if every running job ended in turn, the one that started first first. Jobs that come
later, and jobs of uneven length, change it.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

STARTS_FORETOLD: Final = 5_000
"""How far the order is foretold; who stands behind is told a place at the end of it."""

_FAR: Final = 1_000_000

_Key = tuple[int, tuple[int, int, str]]


@dataclass(frozen=True, slots=True)
class Turn:
    """One person in the line: how many of their jobs wait for a turn, and how they stand.

    `since` is what decides between two who have as many running: when they were last served, then
    when they first came.
    """

    person: str
    waiting: int
    since: tuple[int, int]


class Line:
    """The places of all waiting jobs; each person's own count from 0, the oldest first."""

    def __init__(
        self,
        turns: Sequence[Turn],
        running: Sequence[str],
        *,
        urgent: Sequence[str] = (),
        at_most: int = 0,
    ) -> None:
        """`running` are the owners of the running jobs, the first to end first.

        `urgent` are those of the jobs that start before everybody's turn, in their order; no turn
        counts them. Nobody gets more than `at_most` at once (0 = no limit).
        """
        foretold = _Foretelling(turns, running, urgent, at_most or len(turns) + _FAR)
        foretold.run()
        self._urgent, self._places = foretold.urgent_places, foretold.places
        self._told = foretold.told

    def place(self, person: str, own: int) -> int:
        """Tell how many start before the `own`-th waiting job of a person."""
        places = self._places.get(person, ())
        return places[own] if own < len(places) else self._told + own - len(places)

    def urgent_place(self, index: int) -> int:
        """Tell how many start before the urgent job of this index."""
        return self._urgent.get(index, index)


class _Foretelling:
    """Lets running jobs end and waiting ones start, one by one."""

    def __init__(
        self, turns: Sequence[Turn], running: Sequence[str], urgent: Sequence[str], at_most: int
    ) -> None:
        self._waiting = {turn.person: turn.waiting for turn in turns}
        self._since = {turn.person: (*turn.since, turn.person) for turn in turns}
        self._runs, self._busy = Counter(running), deque(running)
        self._urgent = list(enumerate(urgent))
        self._at_most = at_most
        self._latest = max((since[0] for since in self._since.values()), default=0)
        self._heap: list[_Key] = []
        self.places: dict[str, list[int]] = {person: [] for person in self._waiting}
        self.urgent_places: dict[int, int] = {}
        self.told = 0

    def run(self) -> None:
        """Go on until all have started, or far enough is foretold."""
        for person in self._waiting:
            self._line_up(person)
        total = len(self._urgent) + sum(self._waiting.values())
        while self.told < min(total, STARTS_FORETOLD):
            if self._busy:
                self._end_one()
            while not (self._start_urgent() or self._start_next()):
                self._end_one()
            self.told += 1

    def _start_urgent(self) -> bool:
        for position, (index, person) in enumerate(self._urgent):
            if self._runs[person] < self._at_most:
                del self._urgent[position]
                self.urgent_places[index] = self.told
                self._begin(person)
                return True
        return False

    def _start_next(self) -> bool:
        """Start a job of the person whose turn it is; tell whether anybody may have one.

        The heap also holds how people stood before: what is no longer so is thrown away.
        """
        while self._heap:
            count, since = self._heap[0]
            person = since[2]
            fresh = (count, since) == (self._runs[person], self._since[person])
            if fresh and self._waiting[person] and count >= self._at_most:
                return False
            heapq.heappop(self._heap)
            if fresh and self._waiting[person]:
                self.places[person].append(self.told)
                self._waiting[person] -= 1
                self._begin(person)
                return True
        return False

    def _begin(self, person: str) -> None:
        self._since[person] = (self._latest + self.told + 1, 0, person)
        self._runs[person] += 1
        self._busy.append(person)
        self._line_up(person)

    def _end_one(self) -> None:
        person = self._busy.popleft()
        self._runs[person] -= 1
        self._line_up(person)

    def _line_up(self, person: str) -> None:
        if self._waiting.get(person):
            heapq.heappush(self._heap, (self._runs[person], self._since[person]))
