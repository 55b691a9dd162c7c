"""Shelves: what finds a person's older jobs by what they say and are, in any number of them.

The newest thousand of a person are simply read. Older ones stand on shelves, a run of jobs each,
with marks that tell where on the shelf something is: the pieces of its words (`words.pieces`), its
workflow, tab and state. What marks give are candidates; that they are right is asked of their rows,
so one rule answers on every database. A chore fills shelves, so that no order waits for it.
"""

from __future__ import annotations

import logging
import sys
import time
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any, Final

from peewee import SQL, fn

from studio.engine.database import Database
from studio.engine.jobs import State
from studio.engine.words import needed, pieces

log = logging.getLogger("studio.shelves")

JOBS_A_SHELF: Final = 1024
TOGETHER: Final = 8
"""So many shelves are made one, that there are fewer to look along."""
CALM_S: Final = 60.0
"""Jobs younger than that are left alone: their states still change."""
_AT_FIRST: Final = 2
_AT_ONCE: Final = 512
"""So many shelves are looked along first, then four times as many each time, up to that."""
_ASKED_AT_ONCE: Final = 64
"""So many marks, counted on each shelf, in one question: of many shelves most drop out at once."""
_READ_AT_ONCE: Final = 64
_ENOUGH: Final = 64
"""So many shelves are read at once, or as few as have enough between them for a page or two."""
_DENSE, _SPARSE = b"\1", b"\2"

Key = tuple[int, int]
"""`(created_us, seq)` of a job: the order of the gallery."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Up to when a person's jobs stand on shelves, and how often one of these was changed."""

    until_us: int
    changes: int


@dataclass(frozen=True, slots=True)
class Span:
    """Which keys are wanted: from `since_us` on, and before `until`."""

    since_us: int | None = None
    until: Key | None = None

    def reaches(self, shelf: _Shelf) -> bool:
        """Tell whether anything of a shelf, or of those before it, may be wanted."""
        return self.since_us is None or self.since_us <= shelf.newest_us

    def holds(self, shelf: _Shelf) -> bool:
        """Tell whether all of a shelf is wanted."""
        return (self.since_us is None or self.since_us <= shelf.oldest_us) and (
            self.until is None or shelf.newest_us < self.until[0]
        )


class Shelves:
    """Fills shelves and looks along them. Methods block on the database."""

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], int] | None = None,
        jobs_a_shelf: int = JOBS_A_SHELF,
        together: int = TOGETHER,
    ) -> None:
        self._db = database
        self._rows = database.tables
        self._now = now or database.now_us
        self._size = jobs_a_shelf
        self._large = jobs_a_shelf * together

    # Looking ------------------------------------------------------------------------------
    # For use inside a unit of work of the same database.

    def standing(self, person: str) -> Standing:
        """Tell how it stands with a person's shelves; equal before and after: nothing moved."""
        who = self._rows.person
        query = who.select(who.shelved_us, who.reshelved).where(who.person == person)
        row = next(iter(_tuples(query)), (0, 0))
        return Standing(int(row[0]), int(row[1]))

    def along(
        self, person: str, standing: Standing, wanted: Sequence[Sequence[int]], span: Span
    ) -> Iterator[int]:
        """Give the seqs of jobs that may have a mark of each group, the newest first.

        Nothing that has them is left out; some that have not may be among them.
        """
        size, upto_us = _AT_FIRST, standing.until_us
        if span.until is not None:
            upto_us = min(upto_us, span.until[0])
        while shelves := self._shelves(person, upto_us, size):
            yield from self._on([one for one in shelves if span.reaches(one)], wanted, span)
            if len(shelves) < size or not span.reaches(shelves[-1]):
                return
            upto_us = shelves[-1].oldest_us - 1
            size = min(size * 4, _AT_ONCE)

    def _shelves(self, person: str, upto_us: int, size: int) -> list[_Shelf]:
        """List the next shelves back in time."""
        shelf = self._rows.shelf
        query = (
            shelf.select(shelf.shelf_id, shelf.oldest_us, shelf.newest_us)
            .where(shelf.person == person, shelf.oldest_us <= upto_us)
            .order_by(shelf.oldest_us.desc())
            .limit(size)
        )
        return [_Shelf(*row) for row in _tuples(query)]

    def _on(
        self, shelves: Sequence[_Shelf], wanted: Sequence[Sequence[int]], span: Span
    ) -> Iterator[int]:
        """Give the seqs that some shelves may have; all marks of few shelves are asked at once."""
        left, groups = dict.fromkeys((one.shelf_id for one in shelves), -1), list(wanted)
        while groups and left:
            some = max(2, _ASKED_AT_ONCE // len(left))
            left, groups = self._narrowed(left, groups[:some]), groups[some:]
        for some_shelves in _by_need(shelves, left):
            seqs = self._column("seqs", some_shelves)
            cut = self._column("moments", [one for one in some_shelves if not span.holds(one)])
            for one in some_shelves:
                if one.shelf_id in seqs:
                    places = left[one.shelf_id]
                    if one.shelf_id in cut:
                        places &= _inside(span, cut[one.shelf_id], seqs[one.shelf_id])
                    yield from (seqs[one.shelf_id][place] for place in _each(places))

    def _narrowed(self, left: dict[int, int], groups: Sequence[Sequence[int]]) -> dict[int, int]:
        """Keep of each shelf the places that have a mark of each of these groups."""
        asked = [one for group in groups for one in group]
        # By the driver itself: a page may be chosen by some thousand such rows.
        found: dict[int, dict[int, int]] = defaultdict(dict)
        for shelf_id, one, raw in self._raw(
            f"SELECT shelf_id, mark, places FROM shelf_mark WHERE shelf_id IN ({_many(left)})"  # noqa: S608
            f" AND mark IN ({_many(asked)})"
        ):
            found[shelf_id][one] = _unpacked(bytes(raw))
        kept = {}
        for shelf_id, marks in found.items():
            places = left[shelf_id]
            for group in groups:
                places &= _either(marks, group)
            if places:
                kept[shelf_id] = places
        return kept

    def _column(self, name: str, shelves: Sequence[_Shelf]) -> dict[int, array[int]]:
        """Read when the jobs of some shelves came, or their seqs."""
        if not shelves:
            return {}
        ids = _many([one.shelf_id for one in shelves])
        rows = self._raw(f"SELECT shelf_id, {name} FROM shelf WHERE shelf_id IN ({ids})")  # noqa: S608
        return {int(shelf_id): _read("q", bytes(raw)) for shelf_id, raw in rows}

    def _raw(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask in words of our own, made of numbers alone."""
        connection: Any = self._db.peewee
        return list(connection.execute_sql(sql).fetchall())

    # Filling ------------------------------------------------------------------------------

    def tidy(self, stop_after_s: float) -> int:
        """Renew stale shelves and put what has grown old on new ones; give how many were written.

        Each is a short transaction of its own, and what is not done in time is done next time.
        """
        end, written = time.monotonic() + stop_after_s, 0
        for person in self._full():
            while time.monotonic() < end and self._shelve(person):
                written += 1
        for shelves in [*self._stale(), *self._small()]:
            if time.monotonic() < end:
                written += self._renew(shelves)
        if written:
            log.info("shelves written: %d", written)
        return written

    def note_gone(self, person: str, created_us: int) -> None:
        """Say, in the transaction that takes a job away, that its shelf has still its marks."""
        shelf = self._rows.shelf
        mine = (shelf.person == person) & (shelf.oldest_us <= created_us)
        query = shelf.select(shelf.shelf_id, shelf.newest_us).where(mine)
        row = next(iter(_tuples(query.order_by(shelf.oldest_us.desc()).limit(1))), None)
        if row is not None and int(row[1]) >= created_us:
            shelf.update(stale=shelf.stale + 1).where(shelf.shelf_id == row[0]).execute()

    def _stale(self) -> list[list[int]]:
        shelf = self._rows.shelf
        query = shelf.select(shelf.shelf_id).where(shelf.stale > 0)
        return self._db.read(lambda: [[int(shelf_id)] for (shelf_id,) in _tuples(query)])

    def _small(self) -> list[list[int]]:
        """Find small shelves that stand side by side and together make a large one."""
        shelf = self._rows.shelf
        many = (
            shelf.select(shelf.person)
            .where(shelf.jobs < self._large)
            .group_by(shelf.person)
            .having(fn.SUM(shelf.jobs) >= self._large)
        )
        query = shelf.select(shelf.person, shelf.shelf_id, shelf.jobs)
        order = shelf.person, shelf.oldest_us

        def read() -> list[tuple[str, int, int]]:
            persons = [str(person) for (person,) in _tuples(many)]
            return _tuples(query.where(shelf.person.in_(persons)).order_by(*order))

        return _side_by_side(self._db.read(read), self._large)

    def _full(self) -> list[str]:
        """Name the persons with enough jobs that stand on no shelf yet."""
        who, job = self._rows.person, self._rows.job
        enough = self._fresh(who.person, who.shelved_us).select(job.created_us)
        last = enough.order_by(job.created_us).limit(1).offset(self._size - 1)
        query = who.select(who.person).where(fn.COALESCE(last, 0) > 0)
        return self._db.read(lambda: [str(person) for (person,) in _tuples(query)])

    def _fresh(self, person: Any, since_us: Any) -> Any:
        """Select the jobs that stand on no shelf, and have been left alone for a while."""
        job, calm_us = self._rows.job, self._now() - round(CALM_S * 1e6)
        return job.select(job.created_us, job.seq, job.tab, job.workflow, job.state).where(
            job.person == person, job.created_us > since_us, job.created_us < calm_us
        )

    def _shelve(self, person: str) -> bool:
        """Put a person's oldest jobs that are on no shelf on one; tell whether there were enough.

        Read first and written then, with the person's row held and all asked again: an order holds
        it too, so that no job comes to stand before jobs that are shelved already.
        """
        since_us = self._db.read(lambda: self.standing(person)).until_us
        query = self._fresh(person, since_us)
        job = self._rows.job

        def read() -> list[_Row]:
            order = job.created_us, job.seq
            rows = [_Row(*row) for row in _tuples(query.order_by(*order).limit(self._large))]
            if len(rows) < self._size:
                return []
            if len(rows) < self._large:
                rows = rows[: self._size]
            # Those of one moment stay together.
            last = rows[-1]
            level = query.where(job.created_us == last.created_us, job.seq > last.seq)
            return rows + [_Row(*row) for row in _tuples(level.order_by(*order))]

        rows = self._db.read(read)
        if not rows:
            return False
        made = self._made(person, rows)

        def write() -> bool:
            who = self._rows.person
            held = who.select(who.shelved_us).where(who.person == person)
            [(until_us,)] = _tuples(self._db.for_update(held))
            if int(until_us) != since_us or self._count(person, since_us + 1, made) != len(rows):
                return False
            self._insert(person, made)
            who.update(shelved_us=made.moments[-1]).where(who.person == person).execute()
            return True

        return self._db.tx(write)

    def _renew(self, shelves: Sequence[int]) -> bool:
        """Write shelves that stand side by side anew as one, without the jobs that are gone."""
        shelf, job = self._rows.shelf, self._rows.job
        query = shelf.select(shelf.shelf_id, shelf.stale).where(shelf.shelf_id.in_(list(shelves)))
        order = query.order_by(shelf.shelf_id)
        edges = shelf.select(shelf.person, fn.MIN(shelf.oldest_us), fn.MAX(shelf.newest_us))
        edges = edges.where(shelf.shelf_id.in_(list(shelves))).group_by(shelf.person)

        def read() -> tuple[list[tuple[Any, ...]], str, list[_Row]]:
            before = _tuples(order)
            [(person, oldest_us, newest_us)] = _tuples(edges) or [("", 0, -1)]
            there = job.select(job.created_us, job.seq, job.tab, job.workflow, job.state).where(
                job.person == person, job.created_us >= oldest_us, job.created_us <= newest_us
            )
            rows = _tuples(there.order_by(job.created_us, job.seq))
            return before, str(person), [_Row(*row) for row in rows]

        before, person, rows = self._db.read(read)
        made = self._made(person, rows) if rows else None

        def write() -> bool:
            who, mark = self._rows.person, self._rows.mark
            if not before or _tuples(self._db.for_update(order)) != before:
                return False  # renewed by another, or one more job went meanwhile
            shelf.delete().where(shelf.shelf_id.in_(list(shelves))).execute()
            mark.delete().where(mark.shelf_id.in_(list(shelves))).execute()
            if made is not None:
                self._insert(person, made)
            changed = who.update(reshelved=who.reshelved + 1).where(who.person == person)
            changed.execute()
            return True

        return self._db.tx(write)

    def _made(self, person: str, rows: Sequence[_Row]) -> _Made:
        """Work out a shelf's marks, outside any transaction: what jobs say never changes."""
        words, oldest_us, newest_us = self._rows.words, rows[0].created_us, rows[-1].created_us
        query = words.select(words.seq, words.words).where(
            words.person == person, words.created_us >= oldest_us, words.created_us <= newest_us
        )
        said = self._db.read(lambda: {int(seq): str(text) for seq, text in _tuples(query)})
        places: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            for piece in pieces(said.get(row.seq, "")):
                places[piece].append(place)
            for fact in _facts(row):
                places[fact].append(place)
        marks: dict[int, bytes] = {}
        for piece, at in places.items():
            mark = mark_of(piece)
            if mark in marks:  # once in a hundred million shelves
                at = sorted(_each(_unpacked(marks[mark]) | _bits(at)))
            marks[mark] = _packed(at, len(rows))
        return _Made(
            [row.created_us for row in rows], [row.seq for row in rows], sorted(marks.items())
        )

    def _count(self, person: str, since_us: int, made: _Made) -> int:
        job = self._rows.job
        there = job.select(fn.COUNT(SQL("1"))).where(
            job.person == person, job.created_us >= since_us, job.created_us <= made.moments[-1]
        )
        return int(there.scalar() or 0)

    def _insert(self, person: str, made: _Made) -> None:
        """Write a shelf, by the driver itself: thousands of small rows, while others wait."""
        shelf = self._rows.shelf
        shelf_id = shelf.insert(
            person=person,
            oldest_us=made.moments[0],
            newest_us=made.moments[-1],
            jobs=len(made.seqs),
            moments=_little(array("q", made.moments)),
            seqs=_little(array("q", made.seqs)),
        ).execute()
        connection: Any = self._db.peewee
        given = ", ".join([connection.param] * 3)
        sql = f"INSERT INTO shelf_mark (shelf_id, mark, places) VALUES ({given})"  # noqa: S608
        cursor = connection.cursor()
        cursor.executemany(sql, [(int(shelf_id), one, places) for one, places in made.marks])
        cursor.close()


@dataclass(frozen=True, slots=True)
class _Row:
    """What of a job goes on a shelf, beside its words."""

    created_us: int
    seq: int
    tab: str
    workflow: str
    state: str


@dataclass(frozen=True, slots=True)
class _Made:
    """A shelf to be written; marks with their packed places."""

    moments: list[int]
    seqs: list[int]
    marks: list[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class _Shelf:
    """A shelf that stands there, from its oldest to its newest job."""

    shelf_id: int
    oldest_us: int
    newest_us: int


def _tuples(query: Any) -> list[tuple[Any, ...]]:
    return list(query.tuples())


def marks_of(term: str) -> list[list[int]]:
    """Give the marks that all jobs with a word have, each a group of its own."""
    return [[mark_of(piece)] for piece in needed(term)]


def fact(name: str, value: str) -> int:
    """Give the mark of a job's workflow, tab or state."""
    return mark_of(_said(name, value))


def mark_of(piece: str) -> int:
    """Give a piece's mark, a signed 64-bit number. Two pieces may share one: rows decide."""
    digest = blake2b(piece.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _said(name: str, value: str) -> str:
    return f"{name} {value}"  # longer than any piece, and with a blank, which none has


def _facts(row: _Row) -> list[str]:
    """What a job is. One that has not ended may come to be in any state yet."""
    states = [row.state] if State(row.state).ended else [str(state) for state in State]
    return [
        _said("workflow", row.workflow),
        _said("tab", row.tab),
        *(_said("state", state) for state in states),
    ]


def _by_need(shelves: Sequence[_Shelf], left: dict[int, int]) -> Iterator[list[_Shelf]]:
    """Part those shelves that have something into what is read at once."""
    some: list[_Shelf] = []
    found = 0
    for one in shelves:
        if one.shelf_id in left:
            some.append(one)
            found += left[one.shelf_id].bit_count()
        if found >= _ENOUGH or len(some) >= _READ_AT_ONCE:
            yield some
            some, found = [], 0
    if some:
        yield some


def _either(marks: dict[int, int], group: Sequence[int]) -> int:
    places = 0
    for one in group:
        places |= marks.get(one, 0)
    return places


def _bits(places: Sequence[int]) -> int:
    """Write places as the bits of a number."""
    room = bytearray(places[-1] // 8 + 1)
    for place in places:
        room[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(room, "little")


def _each(bits: int) -> Iterator[int]:
    """Give the places, from the last: few of thousands are soon found, many are not all listed."""
    said = f"{bits:b}" if bits else ""
    last, at = len(said) - 1, said.find("1")
    while at >= 0:
        yield last - at
        at = said.find("1", at + 1)


def _packed(places: Sequence[int], size: int) -> bytes:
    """Write places, from the first, as bits or, when they are few, one by one."""
    if len(places) * 2 < size // 8:
        return _SPARSE + _little(array("H", places))
    return _DENSE + _bits(places).to_bytes(size // 8 + 1, "little")


def _unpacked(raw: bytes) -> int:
    if raw[:1] == _SPARSE:
        return _bits(_read("H", raw[1:]))
    return int.from_bytes(raw[1:], "little")


def _inside(span: Span, moments: array[int], seqs: array[int]) -> int:
    """Give the places of a shelf that lie in a span, as bits."""
    first, last = 0, len(moments)
    if span.since_us is not None:
        first = bisect_left(moments, span.since_us)
    if span.until is not None:
        last = bisect_left(moments, span.until[0])
        while last < len(moments) and (moments[last], seqs[last]) < span.until:
            last += 1
    return (1 << last) - (1 << min(first, last))


def _side_by_side(shelves: Sequence[tuple[str, int, int]], large: int) -> list[list[int]]:
    """Find runs of small shelves of one person that together are large enough."""
    found: list[list[int]] = []
    for _, group in groupby(shelves, key=lambda shelf: shelf[0]):
        run: list[int] = []
        size = 0
        for _, shelf_id, jobs in group:
            run, size = ([*run, shelf_id], size + jobs) if jobs < large else ([], 0)
            if size >= large:
                found.append(run)
                run, size = [], 0
    return found


def _many(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, map(int, numbers)))


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _read(kind: str, raw: bytes) -> array[int]:
    numbers = array(kind)
    numbers.frombytes(raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
