"""What the house asks of the jobs of everybody: how many, how long, what files they need.

Reads rows and changes none; moves are the ledger's. Knows no person's rights: it is asked by
chores, health, workers and the host, never for a visitor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from peewee import SQL, fn

from studio.engine.database import Database
from studio.engine.jobs import ENDED, OPEN, Job, State
from studio.engine.rows import files_of, job_of, tuples

_TYPICAL_OF: Final = 20
"""How many of a workflow's last completed jobs tell what the next will be like."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the moment; `accepted` is the number of the newest job."""

    waiting: int
    running: int
    accepted: int
    now_us: int


@dataclass(frozen=True, slots=True)
class Ended:
    """When one job came, was last started (0 = never), and ended; in epoch microseconds."""

    workflow: str
    state: State
    created_us: int
    started_us: int
    ended_us: int


class Census:
    """Asks the rows of all jobs. Safe in many threads; every method blocks on the database.

    `now` gives UTC epoch microseconds, by the database's clock unless given.
    """

    def __init__(self, database: Database, *, now: Callable[[], int] | None = None) -> None:
        self._db = database
        self._rows = database.tables
        self._now = now or database.now_us

    def counts(self) -> Counts:
        """Count the waiting and the running jobs, from an index alone."""
        job = self._rows.job
        counts = job.select(job.state, fn.COUNT(SQL("1"))).where(job.state.in_(OPEN))

        def ask() -> Counts:
            found = {str(state): int(n) for state, n in tuples(counts.group_by(job.state))}
            newest = int(job.select(fn.MAX(job.seq)).scalar() or 0)
            waiting, running = (found.get(state, 0) for state in OPEN)
            return Counts(waiting, running, newest, self._now())

        return self._db.read(ask)

    def waiting(self) -> int:
        """Count the pending jobs that are due."""
        job = self._rows.job
        query = job.select().where(job.state == State.PENDING, job.due_us <= self._now())
        return self._db.read(lambda: int(query.count()))

    def open_jobs(self, workflows: Collection[str]) -> dict[tuple[str, State], int]:
        """Count the open jobs of these workflows, by workflow and state."""
        job = self._rows.job
        query = (
            job.select(job.workflow, job.state, fn.COUNT(SQL("1")))
            .where(job.workflow.in_(sorted(workflows)), job.state.in_(OPEN))
            .group_by(job.workflow, job.state)
        )
        found = self._db.read(lambda: tuples(query))
        return {(str(name), State(state)): int(n) for name, state, n in found}

    def ended_between(self, after_us: int, upto_us: int, workflows: Collection[str]) -> list[Ended]:
        """List the jobs of these workflows that ended after one moment and not after another."""
        job = self._rows.job
        query = job.select(
            job.workflow, job.state, job.created_us, job.started_us, job.ended_us
        ).where(
            job.workflow.in_(sorted(workflows)),
            job.state.in_(ENDED),
            job.ended_us > after_us,
            job.ended_us <= upto_us,
        )
        found = self._db.read(lambda: tuples(query))
        return [Ended(str(w), State(s), int(c), int(b), int(e)) for w, s, c, b, e in found]

    def processing(self, limit: int) -> list[Job]:
        """List the jobs of everybody that workers have, the oldest first: for the host's eyes."""
        job = self._rows.job
        query = job.select().where(job.state == State.PROCESSING).order_by(job.seq).limit(limit)
        return self._db.read(lambda: [job_of(row) for row in query])

    def typical_s(self, workflow: str) -> float | None:
        """Give the median seconds of the workflow's last completed jobs; None before the first."""
        job = self._rows.job
        query = (
            job.select(job.ended_us - job.started_us)
            .where(job.workflow == workflow, job.state == State.COMPLETED, job.started_us > 0)
            .order_by(job.ended_us.desc())
            .limit(_TYPICAL_OF)
        )
        taken_us = self._db.read(lambda: [int(us) for (us,) in tuples(query)])
        return median(taken_us) / 1e6 if taken_us else None

    def bytes_to_come(self, person: str) -> tuple[int, int]:
        """Count a person's open jobs, and guess how much they will keep, in bytes.

        Each as much as the last completed ones of its workflow; before the first, nothing.
        """
        job = self._rows.job
        query = (
            job.select(job.workflow, fn.COUNT(SQL("1")))
            .where(job.state.in_(OPEN), job.person == person)
            .group_by(job.workflow)
        )

        def ask() -> tuple[int, int]:
            jobs = [(str(name), int(n)) for name, n in tuples(query)]
            likely = sum(n * self._typical_bytes(name) for name, n in jobs)
            return sum(n for _, n in jobs), likely

        return self._db.read(ask)

    def inputs_in_use(self, *, ended_within_s: float = 0.0) -> set[str]:
        """Give the input references of every job that has not ended: these are never cleaned.

        And of those that ended so few seconds ago.
        """
        job = self._rows.job
        since_us = self._now() - round(ended_within_s * 1e6)
        files = job.select(job.inputs, job.made)
        is_open = files.where(job.state.in_(OPEN))
        ended = files.where(job.state.in_(ENDED), job.ended_us > since_us)

        def ask() -> set[str]:
            found = tuples(is_open)
            if ended_within_s:
                # By workflow, since that is how the index is ordered.
                found += tuples(ended.where(job.workflow.in_(self._workflows())))
            return {ref for refs, made in found for ref in files_of(refs, made)}

        return self._db.read(ask)

    def workflows(self) -> list[str]:
        """List every workflow that ever had a job here."""
        return self._db.read(self._workflows)

    def kept(self, folders: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Of `(job_id, fence)` pairs, give those that a result or a live claim owns."""
        asked = set(folders)
        if not asked:
            return set()
        job = self._rows.job
        query = job.select(job.job_id, job.fence).where(
            job.job_id.in_([job_id for job_id, _ in asked]),
            job.state.in_((State.COMPLETED, State.PROCESSING)),
        )
        found = self._db.read(lambda: tuples(query))
        return {(str(job_id), int(fence)) for job_id, fence in found} & asked

    def _typical_bytes(self, workflow: str) -> int:
        job, out = self._rows.job, self._rows.output
        last = job.select(job.job_id).where(job.workflow == workflow, job.state == State.COMPLETED)
        ids = [
            job_id for (job_id,) in tuples(last.order_by(job.ended_us.desc()).limit(_TYPICAL_OF))
        ]
        if not ids:
            return 0
        kept = out.select(fn.SUM(out.size_bytes)).where(out.job_id.in_(ids)).scalar()
        return int(kept or 0) // len(ids)

    def _workflows(self) -> list[str]:
        job = self._rows.job
        return [str(name) for (name,) in tuples(job.select(job.workflow).distinct())]
