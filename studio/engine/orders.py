"""Writing down new jobs: those that come at the same moment in one commit, each told after it.

A part of the ledger, which owns every later move. The text of an INSERT is made once: to have
Peewee make it for every row took more time than the database.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from peewee import SQL, AutoField, IntegrityError, JSONField, fn

from studio.engine.database import Database
from studio.engine.jobs import Hook, Job, NewJob, State
from studio.engine.together import Together
from studio.engine.words import folded
from studio.errors import StudioError

GROUP_AT_MOST: Final = 32
"""How many jobs one commit may hold: a worker that wants to write waits for it."""


_EVERYBODYS: Final = frozenset({"database_away", "disk_full"})
"""What is wrong with the house and not with one order: trying each alone would take as long again.
"""


_Fresh = tuple[NewJob, int]
"""A job that is to be written, and when it came."""


class Orders:
    """Writes new jobs. Safe in many threads and processes at once; blocks until the commit.

    `find(job_id, person)` gives a job that is there already, inside a transaction, or raises
    `job_unknown`.
    """

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], int],
        max_pending: int,
        find: Callable[[str, str | None], Job],
    ) -> None:
        self._db = database
        self._rows = database.tables
        self._now = now
        self._max_pending = max_pending
        self._find = find
        self._jobs = _Insert(database, self._rows.job)
        self._words = _Insert(database, self._rows.words)
        self._together: Together[NewJob, Job] = Together(self._write_group, most=GROUP_AT_MOST)

    def write(self, new: NewJob) -> Job:
        """Write a job as pending; the same job_id again gives the job that is there.

        Raises `queue_full`, and `job_unknown` for an id that is another's.
        """
        return self._together(new)

    def _write_group(self, group: Sequence[NewJob]) -> Sequence[Job | Exception]:
        try:
            return self._db.tx(lambda: self._write_all(group))
        except StudioError as error:
            if error.code not in _EVERYBODYS:
                raise
            # Each raises its own: a traceback grows where it is raised.
            return [
                StudioError(error.code, details=error.details, retryable=error.retryable)
                for _ in group
            ]

    # Inside a transaction ------------------------------------------------------------------

    def _write_all(self, group: Sequence[NewJob]) -> list[Job | Exception]:
        who = sorted({new.person for new in group})
        shelved_us = self._hold(who)
        pending = self._pending(who)
        fresh: dict[str, _Fresh] = {}
        for new in group:
            if new.job_id not in fresh and pending[new.person] < self._max_pending:
                pending[new.person] += 1
                # A clock set back must not put a job among those that stand on shelves already.
                fresh[new.job_id] = new, max(self._now(), shelved_us[new.person] + 1)
        written = {id(new): _as_read(new, at) for new, at in self._insert(list(fresh.values()))}
        return [written.get(id(new)) or self._there(new) for new in group]

    def _insert(self, fresh: Sequence[_Fresh]) -> Sequence[_Fresh]:
        """Write those whose id is not there yet, with what they are found by, and give them."""
        try:
            self._jobs.rows([_columns(*one) for one in fresh])
        except IntegrityError:
            fresh = [one for one in fresh if self._insert_alone(one)]
        for new, _ in fresh:
            if new.hook is not None:
                self._rows.webhook.insert(job_id=new.job_id, **_hook_columns(new.hook)).execute()
        words = {new.job_id: text for new, _ in fresh if (text := folded(new.words))}
        seqs = self._seqs(words)
        self._words.rows(
            [
                {
                    "person": new.person,
                    "created_us": created_us,
                    "seq": seqs[new.job_id],
                    "words": words[new.job_id],
                }
                for new, created_us in fresh
                if new.job_id in words
            ]
        )
        return fresh

    def _insert_alone(self, one: _Fresh) -> bool:
        try:
            self._jobs.rows([_columns(*one)])
        except IntegrityError:
            return False
        return True

    def _seqs(self, job_ids: Collection[str]) -> dict[str, int]:
        job = self._rows.job
        query = job.select(job.job_id, job.seq).where(job.job_id.in_(list(job_ids)))
        return {str(job_id): int(seq) for job_id, seq in (_tuples(query) if job_ids else ())}

    def _there(self, new: NewJob) -> Job | Exception:
        """Give the job that is there under this id; or say why there is none."""
        job = self._rows.job
        if not job.select(SQL("1")).where(job.job_id == new.job_id).exists():
            return StudioError("queue_full", limit=self._max_pending)
        try:
            return self._find(new.job_id, new.person)
        except StudioError as error:
            return error

    def _hold(self, who: Sequence[str]) -> dict[str, int]:
        """Lock the persons' rows, made when new: two submits at once must not both be the last.

        In one order, so that no two processes wait for each other. Gives the moment until which
        each person's jobs stand on shelves.
        """
        row = self._rows.person
        query = row.select(row.person, row.shelved_us).where(row.person.in_(who))
        held = self._db.for_update(query.order_by(row.person))
        found = dict(_tuples(held))
        new = [person for person in who if person not in found]
        if new:
            now = self._now()
            rows = [{"person": person, "created_us": now} for person in new]
            row.insert_many(rows).on_conflict_ignore().execute()
            found = dict(_tuples(held.clone()))
        return found

    def _pending(self, who: Sequence[str]) -> Counter[str]:
        job = self._rows.job
        query = (
            job.select(job.person, fn.COUNT(SQL("1")))
            .where(job.state == State.PENDING, job.person.in_(who))
            .group_by(job.person)
        )
        return Counter({str(person): int(count) for person, count in _tuples(query)})


class _Insert:
    """An INSERT into one table, of every column but the one that counts by itself."""

    def __init__(self, database: Database, model: Any) -> None:
        self._db: Any = database.peewee
        fields = [one for one in model._meta.sorted_fields if not isinstance(one, AutoField)]
        self._writers = {one.name: _writer(one) for one in fields}
        self._defaults = {one.name: one.default for one in fields}
        mark, (left, right) = self._db.param, tuple(self._db.quote)
        names = ", ".join(f"{left}{one.column_name}{right}" for one in fields)
        checked = f"json({mark})" if database.lite else mark
        marks = (checked if isinstance(one, JSONField) else mark for one in fields)
        # The names are those of our own tables.
        self._text = f"INSERT INTO {left}{model._meta.table_name}{right} ({names}) VALUES "  # noqa: S608
        self._marks = f"({', '.join(marks)})"

    def rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write rows, whatever they leave out by its default."""
        values = [
            write(row[name] if name in row else self._defaults[name])
            for row in rows
            for name, write in self._writers.items()
        ]
        if rows:
            self._db.execute_sql(self._text + ", ".join([self._marks] * len(rows)), values)


def _writer(field: Any) -> Callable[[Any], Any]:
    """Tell how a value of a column is handed to the database."""
    if isinstance(field, JSONField):
        return lambda value: None if value is None else json.dumps(value)
    write: Callable[[Any], Any] = field.db_value
    return write


def _tuples(query: Any) -> list[tuple[Any, ...]]:
    return list(query.tuples())


def _hook_columns(hook: Hook) -> dict[str, object]:
    return asdict(hook) | {"state": "waiting"}


def _columns(new: NewJob, created_us: int) -> dict[str, object]:
    return {
        "job_id": new.job_id,
        "person": new.person,
        "tab": new.tab,
        "workflow": new.workflow,
        "form": dict(new.values),
        "seed": new.seed,
        "inputs": list(new.inputs),
        "priority": new.priority,
        "given": [asdict(one) for one in new.given],
        "state": State.PENDING,
        "created_us": created_us,
    }


def _as_read(new: NewJob, created_us: int) -> Job:
    """Give the job just written, as it will be read."""
    return Job(
        job_id=new.job_id,
        person=new.person,
        tab=new.tab,
        workflow=new.workflow,
        values=json.loads(json.dumps(dict(new.values))),
        state=State.PENDING,
        seed=new.seed,
        inputs=new.inputs,
        priority=new.priority,
        created_us=created_us,
        given=new.given,
    )
