"""What a person made: pages by key, filters, search, favourites, and deleting with undo.

Moves no job's state, which is the ledger's alone. Time and favourites are asked of one index that
holds all columns of these questions (`job_gallery`); what jobs say and are, of shelves (`shelves`),
the newest jobs being read. So a page of a million jobs comes as quickly as one of a thousand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from typing import Any, Final

from peewee import SQL, fn

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.jobs import Job, State
from studio.engine.ledger import Ledger
from studio.engine.rows import files_of
from studio.engine.shelves import Key, Shelves, Span, Standing, fact, marks_of
from studio.engine.words import terms
from studio.errors import StudioError

COUNTED_AT_MOST: Final = 1000
FOUND_AT_MOST: Final = 200
"""So many jobs with some words are enough for a page to count: each is read for it."""

AT_ONCE_AT_MOST: Final = 500
_PURGED_AT_ONCE: Final = 200
_FEW_FAVOURITES: Final = 2000
_VERIFIED_AT_FIRST: Final = 64
_VERIFIED_AT_ONCE: Final = 512
_AGAIN: Final = 5


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a person's history is wanted; what is left empty does not count.

    `since_us` (inclusive) and `until_us` (exclusive) are UTC epoch microseconds of the order.
    `text` finds jobs whose prompts, file names or seed hold each of its words, Chinese ones of any
    length. `favourite` True: favourites only.
    """

    tab: str | None = None
    workflow: str | None = None
    states: tuple[State, ...] = ()
    favourite: bool = False
    since_us: int | None = None
    until_us: int | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs there are; `more` when counting stopped at `number`."""

    number: int
    more: bool


class History:
    """Reads and tidies the jobs of persons. Methods block on the database."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        census: Census,
        *,
        now: Callable[[], int] | None = None,
        shelves: Shelves | None = None,
    ) -> None:
        self._db = database
        self._rows = database.tables
        self._ledger = ledger
        self._census = census
        self._now = now or database.now_us
        self._shelves = shelves or Shelves(database, now=self._now)

    def page(
        self,
        person: str,
        filters: Filters,
        *,
        after: str | None = None,
        limit: int = 24,
        skip: int = 0,
    ) -> tuple[list[Job], str | None]:
        """List the person's jobs of every state, newest order first, and the next page's key.

        New jobs come before the first page, so no page skips or repeats one. A key that is not
        ours begins at the first page. `skip` passes over so many: they are all read in the index.
        """
        after_key = _read_key(after)

        def read() -> tuple[list[Job], str | None]:
            keys = self._keys(person, filters, after_key, limit + 1, skip)
            jobs = self._ledger.by_seq([seq for _, seq in keys[:limit]])
            return jobs, "{}-{}".format(*keys[limit - 1]) if len(keys) > limit else None

        return self._db.read(read)

    def count(self, person: str, filters: Filters, *, at_most: int = COUNTED_AT_MOST) -> Count:
        """Count the jobs that `page` lists, up to `at_most`."""
        found = self._db.read(lambda: self._count(person, filters, at_most + 1))
        return Count(min(found, at_most), found > at_most)

    def several(self, person: str, job_ids: Sequence[str]) -> dict[str, Job]:
        """Give some of the person's jobs by id, in one reading. Raises `job_unknown`."""
        job, ids = self._rows.job, _few(job_ids)
        query: Any = job.select(job.seq).where(self._mine(person, ids, deleted=False))

        def read() -> dict[str, Job]:
            seqs = [int(seq) for (seq,) in query.tuples()]
            return {one.job_id: one for one in self._ledger.by_seq(seqs)}

        found = self._db.read(read) if ids else {}
        for job_id in ids:
            if job_id not in found:
                raise StudioError("job_unknown", job_id=job_id)
        return found

    def favourite(self, person: str, job_id: str, on: bool) -> Job:
        """Set or unset a favourite. Raises `job_unknown`."""
        job = self._rows.job
        mark = job.update(favourite=on).where(
            job.job_id == job_id, job.person == person, job.deleted_us == 0
        )
        self._db.tx(mark.execute)
        return self._ledger.get(job_id, person=person)

    def delete(self, person: str, job_ids: Sequence[str]) -> tuple[str, ...]:
        """Put ended jobs out of sight, to be restored or purged; give those that now are.

        Raises `job_not_ended` for one that still waits or runs, and then deletes none. Unknown and
        deleted ones are passed over.
        """
        job, ids = self._rows.job, _few(job_ids)
        mine = self._mine(person, ids, deleted=False)

        def hide() -> tuple[str, ...]:
            rows = self._db.for_update(job.select(job.job_id, job.state).where(mine))
            found = [(str(job_id), str(state)) for job_id, state in rows.tuples()]
            for job_id, state in found:
                if not State(state).ended:
                    raise StudioError("job_not_ended", job_id=job_id)
            job.update(deleted_us=self._now()).where(mine).execute()
            return tuple(job_id for job_id, _ in found)

        return self._db.tx(hide) if ids else ()

    def restore(self, person: str, job_ids: Sequence[str]) -> tuple[str, ...]:
        """Bring deleted jobs back into sight; give those that were still there."""
        job, ids = self._rows.job, _few(job_ids)
        mine = self._mine(person, ids, deleted=True)

        def show() -> tuple[str, ...]:
            rows = self._db.for_update(job.select(job.job_id).where(mine))
            found = tuple(str(job_id) for (job_id,) in rows.tuples())
            job.update(deleted_us=0).where(mine).execute()
            return found

        return self._db.tx(show) if ids else ()

    def inputs(self) -> set[str]:
        """Give the references of every job's files: Use again needs them."""
        job = self._rows.job
        some = SQL("(inputs != '[]' OR made IS NOT NULL)")
        query = job.select(job.inputs, job.made).where(some).tuples()

        def read() -> set[str]:
            return {ref for row in query.iterator() for ref in files_of(*row)}

        return self._db.read(read)

    def purge(self, older_than_s: float, forget: Callable[[Job], None]) -> int:
        """End the undo of jobs deleted so long ago: rows and, by `forget`, files. Give how many.

        The rows go first and for good: from then on no restore can show a job without its files.
        Files that a stopped process left behind are found by the store's sweep of unknown folders.
        """
        purged = 0
        while gone := self._db.tx(lambda: self._purge_some(older_than_s)):
            for one in gone:
                forget(one)
            purged += len(gone)
        return purged

    def forget(self, person: str, forget: Callable[[Job], None]) -> int:
        """Take away all that a person had, for good: rows, then files by `forget`. Give how many.

        What has not ended is out of sight at once, and purged when it has ended.
        """
        job, forgotten = self._rows.job, 0
        mine = job.person == person
        self._db.tx(job.update(deleted_us=1).where(mine).execute)
        while gone := self._db.tx(lambda: self._remove(mine & (job.ended_us > 0))):
            for one in gone:
                forget(one)
            forgotten += len(gone)
        return forgotten

    def tidy(self, stop_after_s: float) -> int:
        """Put jobs that have grown old where they are quickly found; give how much was done."""
        return self._shelves.tidy(stop_after_s)

    def expire(self, older_than_s: float, forget: Callable[[Job], None]) -> int:
        """Take away what ended so long ago, but no favourite: rows, then files. Give how many."""
        expired = 0
        for workflow in self._census.workflows():
            for state in (one for one in State if one.ended):
                while gone := self._db.tx(
                    partial(self._expire_some, workflow, state, older_than_s)
                ):
                    for one in gone:
                        forget(one)
                    expired += len(gone)
        return expired

    def _expire_some(self, workflow: str, state: State, older_than_s: float) -> list[Job]:
        job = self._rows.job
        before = self._now() - round(older_than_s * 1e6)
        return self._remove(
            (job.workflow == workflow)
            & (job.state == state)
            & (job.ended_us > 0)
            & (job.ended_us < before)
            & (job.favourite == False)  # noqa: E712  SQL, not Python
        )

    def _purge_some(self, older_than_s: float) -> list[Job]:
        job = self._rows.job
        before = self._now() - round(older_than_s * 1e6)
        gone = (job.deleted_us > 0) & (job.deleted_us < before)
        return self._remove(gone & (job.ended_us > 0))

    def _remove(self, which: Any) -> list[Job]:
        """Take away some of the rows that `which` names, and give their jobs."""
        job, out, words = self._rows.job, self._rows.output, self._rows.words
        query = job.select(job.seq, job.person, job.created_us).where(which).limit(_PURGED_AT_ONCE)
        rows = [tuple(row) for row in self._db.for_update(query, skip_locked=True).tuples()]
        jobs = self._ledger.by_seq([int(seq) for seq, _, _ in rows])
        if not jobs:
            return []
        out.delete().where(out.job_id.in_([one.job_id for one in jobs])).execute()
        for seq, person, created_us in rows:
            words.delete().where(
                words.person == person, words.created_us == created_us, words.seq == seq
            ).execute()
            self._shelves.note_gone(person, created_us)
        job.delete().where(job.seq.in_([seq for seq, _, _ in rows])).execute()
        webhook = self._rows.webhook
        webhook.delete().where(webhook.job_id.in_([one.job_id for one in jobs])).execute()
        share = self._rows.share
        share.delete().where(share.job_id.in_([one.job_id for one in jobs])).execute()
        self._free(jobs)
        return jobs

    def _free(self, jobs: Sequence[Job]) -> None:
        """Take off each person's sum what these jobs kept; in one order, so that none deadlock."""
        who, freed = self._rows.person, Counter[str]()
        for one in jobs:
            freed[one.person] += sum(output.size_bytes for output in one.outputs)
        for person, less in sorted(freed.items()):
            who.update(kept_bytes=who.kept_bytes - less).where(who.person == person).execute()

    # Finding ------------------------------------------------------------------------------

    def _count(self, person: str, filters: Filters, at_most: int) -> int:
        if filters.text or _facts(filters) or filters.favourite:
            return len(self._keys(person, filters, None, at_most))
        job = self._rows.job
        some = self._plain(person, filters, None, ()).order_by().limit(at_most).alias("some")
        return int(job.select(fn.COUNT(SQL("1"))).from_(some).scalar() or 0)

    def _keys(
        self, person: str, filters: Filters, before: Key | None, limit: int, skip: int = 0
    ) -> list[Key]:
        """Give the keys of so many jobs after the first `skip`, the newest first."""
        found = terms(filters.text)
        wanted = _facts(filters) + _in_turn([marks_of(term) for term in found])
        if not wanted or (filters.favourite and self._few_favourites(person)):
            query = self._plain(person, filters, before, found).limit(limit).offset(skip)
            return _keys_of(query)
        keys: list[Key] = []
        for _ in range(_AGAIN):
            # A shelf that was changed meanwhile may have been passed over: then once more.
            standing = self._shelves.standing(person)
            some = self._walk(person, filters, before, found, wanted, standing, skip + limit)
            keys = list(islice(some, skip, skip + limit))
            if self._shelves.standing(person).changes == standing.changes:
                break
        return keys

    def _walk(
        self,
        person: str,
        filters: Filters,
        before: Key | None,
        found: Sequence[str],
        wanted: Sequence[Sequence[int]],
        standing: Standing,
        enough: int,
    ) -> Iterator[Key]:
        """Read the newest jobs, which are on no shelf; then look along the shelves."""
        job, words = self._rows.job, self._rows.words
        if before is None or before[0] > standing.until_us:
            newest = self._read_along(found)
            at = words if found else job
            newest = newest.where(at.created_us > standing.until_us)
            yield from _keys_of(self._bounded(newest, at, person, filters, before).limit(enough))
        until = before
        if filters.until_us is not None and (until is None or filters.until_us <= until[0]):
            until = filters.until_us, -1
        seqs = self._shelves.along(person, standing, wanted, Span(filters.since_us, until))
        size = _VERIFIED_AT_FIRST
        while some := list(islice(seqs, size)):
            yield from self._verified(some, filters, found)
            size = min(size * 2, _VERIFIED_AT_ONCE)

    def _verified(
        self, seqs: Sequence[int], filters: Filters, found: Sequence[str]
    ) -> Sequence[Key]:
        """Ask the rows which of these jobs are truly wanted; in the same order."""
        job, words = self._rows.job, self._rows.words
        numbers = SQL(f"({', '.join(map(str, seqs))})")  # hundreds of parameters take longer to say
        query = job.select(job.created_us, job.seq).where(job.seq.in_(numbers))
        query = query.where(*self._filtered(filters, by_index=False))
        if found:
            query = query.join(words, on=self._same()).where(*self._say(found))
        return sorted(_keys_of(query), reverse=True)

    def _few_favourites(self, person: str) -> bool:
        """Tell whether reading a person's favourites is the quickest way to what is among them."""
        job = self._rows.job
        query = job.select(job.seq).where(job.person == person, job.favourite == True)  # noqa: E712
        return not query.order_by(job.created_us).limit(1).offset(_FEW_FAVOURITES).tuples().first()

    def _plain(
        self, person: str, filters: Filters, before: Key | None, found: Sequence[str]
    ) -> Any:
        """Select from an index alone, with the words of favourites looked up one by one."""
        job, words = self._rows.job, self._rows.words
        query = job.select(job.created_us, job.seq)
        if found:
            query = query.join(words, on=self._same()).where(*self._say(found))
        return self._bounded(query, job, person, filters, before)

    def _read_along(self, found: Sequence[str]) -> Any:
        """Select from the jobs or, when searching, along their words."""
        job, words = self._rows.job, self._rows.words
        if not found:
            return job.select(job.created_us, job.seq)
        query = words.select(words.created_us, words.seq).join(job, on=(job.seq == words.seq))
        return query.where(*self._say(found))

    def _bounded(
        self, query: Any, at: Any, person: str, filters: Filters, before: Key | None
    ) -> Any:
        """Keep to a person, the filters and what comes after a key, the newest first."""
        query = query.where(at.person == person, *self._filtered(filters))
        if filters.since_us is not None:
            query = query.where(at.created_us >= filters.since_us)
        if filters.until_us is not None:
            query = query.where(at.created_us < filters.until_us)
        if before is not None:
            # Not as row values: MariaDB uses no index for those.
            created_us, seq = before
            query = query.where(
                at.created_us <= created_us, (at.created_us < created_us) | (at.seq < seq)
            )
        return query.order_by(at.created_us.desc(), at.seq.desc())

    def _mine(self, person: str, ids: Sequence[str], *, deleted: bool) -> Any:
        """Ask for a person's jobs by id; another index would read every job that is not deleted."""
        job = self._rows.job
        sight = _as_is(job.deleted_us, "0")
        theirs = _as_is(job.person, "''") == person
        return job.job_id.in_(ids) & theirs & ((sight > 0) if deleted else (sight == 0))

    def _same(self) -> Any:
        job, words = self._rows.job, self._rows.words
        return (
            (words.person == job.person)
            & (words.created_us == job.created_us)
            & (words.seq == job.seq)
        )

    def _say(self, found: Sequence[str]) -> list[Any]:
        words = self._rows.words
        # Folded before: bytes are enough, and MariaDB is nearly twice as quick with them.
        said = words.words if self._db.lite else words.words.cast("binary")
        return [fn.INSTR(said, term) > 0 for term in found]

    def _filtered(self, filters: Filters, *, by_index: bool = True) -> list[Any]:
        """Ask the columns as expressions: asked plainly, another index would seem to fit better."""
        job = self._rows.job
        asked = [_as_is(job.deleted_us, "0") == 0]
        if filters.tab:
            asked.append(_as_is(job.tab, "''") == filters.tab)
        if filters.workflow:
            asked.append(_as_is(job.workflow, "''") == filters.workflow)
        if filters.states:
            asked.append(_as_is(job.state, "''").in_([str(state) for state in filters.states]))
        if filters.favourite and by_index:
            asked.append(job.favourite == True)  # noqa: E712  SQL; the one with its own index
        elif filters.favourite:
            asked.append(_as_is(job.favourite, "0") == 1)
        return asked


def _facts(filters: Filters) -> list[list[int]]:
    """Give the marks of what is asked of a job beside its words; one of each group is enough."""
    asked = []
    if filters.workflow:
        asked.append([fact("workflow", filters.workflow)])
    if filters.tab:
        asked.append([fact("tab", filters.tab)])
    if filters.states:
        asked.append([fact("state", str(state)) for state in filters.states])
    return asked


def _in_turn(terms_marks: Sequence[Sequence[Sequence[int]]]) -> list[Sequence[int]]:
    """Take a mark of each word, then the next of each: what no job has together shows soon."""
    turns = zip_longest(*terms_marks)
    return [group for turn in turns for group in turn if group is not None]


def _keys_of(query: Any) -> list[Key]:
    return [(int(created_us), int(seq)) for created_us, seq in query.tuples()]


def _as_is(column: Any, absent: str) -> Any:
    return fn.COALESCE(column, SQL(absent), coerce=False)


def _few(job_ids: Sequence[str]) -> list[str]:
    ids = list(dict.fromkeys(job_ids))
    if len(ids) > AT_ONCE_AT_MOST:
        raise StudioError("too_many_at_once", max=AT_ONCE_AT_MOST)
    return ids


def _read_key(key: str | None) -> tuple[int, int] | None:
    created, _, seq = (key or "").partition("-")
    if not (created.isascii() and created.isdigit() and seq.isascii() and seq.isdigit()):
        return None
    # Beyond a BIGINT a database would complain; beyond any row it need not be exact.
    return min(int(created[:19]), 2**62), min(int(seq[:19]), 2**62)
