"""Whose turn it is: which waiting jobs a claim should try, and how many start before one of them.

Reads rows and changes none. All is asked inside a transaction of the ledger's, whose part this is;
the order that `line` foretells is the order kept here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from peewee import JOIN, SQL, fn

from studio.engine.database import Database
from studio.engine.jobs import State
from studio.engine.line import Line, Turn
from studio.engine.records import JobRow
from studio.engine.rows import tuples

_TURNS_TRIED: Final = 3
_NO_LIMIT: Final = 2**31 - 1
_ORPHAN_US: Final = 600_000_000
_STANDING_US: Final = 500_000


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a claim leaves to others: workflows, and jobs by their ids."""

    workflows: Collection[str]
    jobs: Collection[str]


@dataclass(frozen=True, slots=True)
class _Standing:
    """How everybody stood at a moment."""

    at_us: int
    line: Line


class Turns:
    """Knows the waiting and the running. Nobody gets more than `max_running` at once (0: no limit).

    `now` gives UTC epoch microseconds.
    """

    def __init__(self, database: Database, *, now: Callable[[], int], max_running: int) -> None:
        self._db = database
        self._rows = database.tables
        self._now = now
        self._max_running = max_running
        self._standing: _Standing | None = None

    def candidates(self, left_out: LeftOut, servers: Collection[str] | None) -> Iterator[JobRow]:
        """Give rows worth trying, the best first; MariaDB locks each, and skips locked ones.

        The orders are those of indexes: with another, MariaDB would walk the whole history.
        """
        job = self._rows.job
        left = self._due().where(job.prompt_id > "").order_by(job.prompt_id).limit(1)
        if servers is not None:
            nobodys = job.due_us < self._now() - _ORPHAN_US
            left = left.where(job.server.in_(sorted(servers)) | nobodys)
        yield from self._db.for_update(left, skip_locked=True)
        fresh = self._fresh(left_out)
        urgent = fresh.where(job.priority > 0, job.person.not_in(self._full()))
        first = urgent.order_by(job.priority.desc(), job.due_us, job.seq).limit(1)
        yield from self._db.for_update(first, skip_locked=True)
        for person in self._turns(fresh):
            mine = fresh.where(job.person == person)
            oldest = mine.order_by(job.due_us, job.seq).limit(1)
            yield from self._db.for_update(oldest, skip_locked=True)

    def may_run(self, person: str) -> bool:
        """Tell whether the person may have one more running.

        With the person's row locked: of two workers at once not both may take the last place.
        """
        if not self._max_running:
            return True
        who, job = self._rows.person, self._rows.job
        tuples(self._db.for_update(who.select(who.person).where(who.person == person)))
        runs = job.select().where(job.state == State.PROCESSING, job.person == person)
        return int(runs.count()) < self._max_running

    def ahead_of(self, row: JobRow) -> int:
        """Tell how many waiting jobs will start before this one; 0 when it waits not.

        How people stand may be half a second old.
        """
        job = self._rows.job
        if row.state != State.PENDING or row.prompt_id:
            return 0
        waits = job.select().where(job.state == State.PENDING)
        sooner = (job.due_us < row.due_us) | ((job.due_us == row.due_us) & (job.seq < row.seq))
        line = self._stand().line
        if row.priority > 0:
            level = (job.priority == row.priority) & sooner
            before = (job.prompt_id > "") | (job.priority > row.priority) | level
            return line.urgent_place(int(waits.where(before).count()))
        mine = waits.where(job.person == row.person, job.prompt_id == "", job.priority <= 0, sooner)
        return line.place(str(row.person), int(mine.count()))

    def forget(self) -> None:
        """Look again at how everybody stands: a job was moved."""
        self._standing = None

    def _due(self) -> Any:
        job = self._rows.job
        return job.select().where(job.state == State.PENDING, job.due_us <= self._now())

    def _fresh(self, left_out: LeftOut) -> Any:
        """Select the jobs without a prompt that may be begun."""
        job = self._rows.job
        fresh = self._due().where(job.prompt_id == "")
        if left_out.workflows:
            fresh = fresh.where(job.workflow.not_in(sorted(left_out.workflows)))
        if left_out.jobs:
            fresh = fresh.where(job.job_id.not_in(sorted(left_out.jobs)))
        return fresh

    def _full(self) -> Any:
        """Select the persons who have as many running as they may."""
        job = self._rows.job
        running = job.alias()
        query = running.select(running.person).where(running.state == State.PROCESSING)
        if not self._max_running:
            return query.where(SQL("1 = 0"))
        return query.group_by(running.person).having(fn.COUNT(SQL("1")) >= self._max_running)

    def _turns(self, fresh: Any) -> list[str]:
        """Persons with a job due, whose turn comes first."""
        who, job = self._rows.person, self._rows.job
        waits = fresh.select(job.person).distinct().alias("waits")
        runs = (
            job.select(job.person, fn.COUNT(SQL("1")).alias("jobs"))
            .where(job.state == State.PROCESSING)
            .group_by(job.person)
            .alias("runs")
        )
        query = (
            who.select(who.person)
            .join(waits, on=(waits.c.person == who.person))
            .join(runs, JOIN.LEFT_OUTER, on=(runs.c.person == who.person))
            .where(fn.COALESCE(runs.c.jobs, 0) < (self._max_running or _NO_LIMIT))
            .order_by(fn.COALESCE(runs.c.jobs, 0), who.last_served_us, who.created_us, who.person)
            .limit(_TURNS_TRIED)
        )
        return [str(person) for (person,) in tuples(query)]

    def _stand(self) -> _Standing:
        """How everybody stands, read again after half a second or a change of our own."""
        now, held = self._now(), self._standing
        if held is None or not 0 <= now - held.at_us < _STANDING_US:
            held = self._standing = self._read_standing(now)
        return held

    def _read_standing(self, now: int) -> _Standing:
        """Read who waits and who runs. Prompts without a worker and priorities go before turns."""
        job, who = self._rows.job, self._rows.person
        waits = job.select(job.person).where(job.state == State.PENDING)
        left = waits.where(job.prompt_id > "").order_by(job.prompt_id)
        first = waits.where(job.prompt_id == "", job.priority > 0)
        first = first.order_by(job.priority.desc(), job.due_us, job.seq)
        urgent = [str(p) for query in (left, first) for (p,) in tuples(query)]
        waiting = tuples(waits.group_by(job.person).select_extend(fn.COUNT(SQL("1"))))
        # Counted from an index alone, and the few urgent ones taken off.
        counts = Counter({str(p): int(n) for p, n in waiting}) - Counter(urgent)
        known = who.select(who.person, who.last_served_us, who.created_us)
        found = tuples(known.where(who.person.in_(sorted(counts)))) if counts else ()
        runs = job.select(job.person).where(job.state == State.PROCESSING)
        running = tuples(runs.order_by(job.started_us == 0, job.started_us, job.seq))
        line = Line(
            [Turn(str(p), counts[str(p)], (int(served), int(came))) for p, served, came in found],
            [str(p) for (p,) in running],
            urgent=urgent,
            at_most=self._max_running,
        )
        return _Standing(now, line)
