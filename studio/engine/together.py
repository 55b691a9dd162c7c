"""Doing in one go what several threads ask for at the same moment.

Knows threads; knows not what is done. The first to come does it for all who came while the one
before was at it: nobody waits longer for the company, and who is alone is served at once.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Place(Generic[Asked, Answer]):
    """One asker's place in the line; its turn comes with the answer, or to serve the line."""

    __slots__ = ("answers", "asked", "turn")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answers: list[Answer | Exception] = []  # one, or none yet
        self.turn = threading.Event()


class Together(Generic[Asked, Answer]):
    """Call it as one would call the work for one. Safe in many threads.

    `work` gets what at most `most` askers want, in the order they came, and gives their answers in
    that order; an exception among these is raised to its asker alone. Where `work` itself raises,
    each of several is served once more by itself: what is wrong with one must not reach another.
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]], *, most: int
    ) -> None:
        self._work = work
        self._most = most
        self._lock = threading.Lock()
        self._line: deque[_Place[Asked, Answer]] = deque()
        self._served = False

    def __call__(self, asked: Asked) -> Answer:
        """Ask, wait for the answer, and give it."""
        mine: _Place[Asked, Answer] = _Place(asked)
        with self._lock:
            self._line.append(mine)
            waits, self._served = self._served, True
        if waits:
            mine.turn.wait()
        if not mine.answers:
            self._serve()
        answer = mine.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _serve(self) -> None:
        """Serve the head of the line, where we stand ourselves, and hand over to the next."""
        with self._lock:
            group = [self._line.popleft() for _ in range(min(self._most, len(self._line)))]
        try:
            self._answer(group)
        finally:
            with self._lock:
                # Something like Ctrl-C struck us: the others still want their answers.
                self._line.extendleft(p for p in reversed(group[1:]) if not p.answers)
                self._served = bool(self._line)
                following = list(self._line)[:1]
            for place in (*following, *(p for p in group if p.answers)):
                place.turn.set()

    def _answer(self, group: Sequence[_Place[Asked, Answer]]) -> None:
        try:
            answers = self._work([place.asked for place in group])
        except Exception as error:  # noqa: BLE001  handed on to the one who asked, and raised there
            if len(group) == 1:
                group[0].answers.append(error)
                return
            for place in group:
                self._answer([place])
            return
        for place, answer in zip(group, answers, strict=True):
            place.answers.append(answer)
