"""The one owner of job state: every move is one conditional UPDATE, and tells whether we moved it.

Knows rows and leases; knows no ComfyUI and no file. Whose turn it is, `turns` knows; new rows are
written by `orders`; what the house only asks is `census`. An UPDATE carries the old state and the
fence of the claim in its WHERE: a worker that lost its lease writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from peewee import SQL, Case

from studio.engine.database import Database
from studio.engine.jobs import MOVES, OPEN, Beat, Claim, Failure, Given, Job, NewJob, Output, State
from studio.engine.orders import Orders
from studio.engine.records import JobRow
from studio.engine.rows import (
    failure_columns,
    job_of,
    made_columns,
    output_columns,
    output_of,
    tuples,
)
from studio.engine.turns import LeftOut, Turns
from studio.errors import StudioError

MAX_ATTEMPTS: Final = 3
"""How many prompts are begun for one job before it fails with `attempts_spent`."""
MAX_ADOPTIONS: Final = 10
"""How often a job changes hands: bounds a job whose every worker dies, and no more."""


@dataclass(frozen=True, slots=True)
class AbandonedPrompt:
    """A prompt that no job's row names any more, and since how long that is so."""

    server: str
    prompt_id: str
    age_s: float


class Ledger:
    """Creates, claims and moves jobs. Safe in many threads and processes at once.

    `now` gives UTC epoch microseconds, by the database's clock unless given. Every method blocks.
    """

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], int] | None = None,
        max_pending: int = 50,
        max_running: int = 0,
    ) -> None:
        self._db = database
        self._rows = database.tables
        self._now = now or database.now_us
        self._orders = Orders(database, now=self._now, max_pending=max_pending, find=self._get)
        self._turns = Turns(database, now=self._now, max_running=max_running)

    # A person's side -----------------------------------------------------------------------

    def create(self, new: NewJob) -> Job:
        """Write a job as pending; the same job_id again gives the job that is there.

        Raises `queue_full` when the person has `max_pending` waiting already.
        """
        job = self._orders.write(new)
        self._turns.forget()
        return job

    def get(self, job_id: str, *, person: str | None = None) -> Job:
        """Give one job with its outputs; of this person only, unless None. Raises `job_unknown`."""
        return self._db.read(lambda: self._get(job_id, person))

    def by_seq(self, seqs: Sequence[int]) -> list[Job]:
        """Give the jobs of these rows with their outputs, in this order; what is gone is left out.

        For use inside a unit of work of the same database.
        """
        if not seqs:
            return []
        job = self._rows.job
        found = dict(self._with_outputs(list(job.select().where(job.seq.in_(list(seqs))))))
        return [found[seq] for seq in seqs if seq in found]

    def ask_cancel(self, job_id: str, *, person: str | None) -> Job:
        """Cancel a waiting job now; ask for the end of one that a worker or a ComfyUI has.

        Cancelling twice is the same as once. Raises `job_unknown`, and `job_ended` for a job that
        completed or failed before.
        """
        job = self._db.tx(lambda: self._ask_cancel(job_id, person))
        self._turns.forget()
        return job

    def running(self, person: str, tab: str | None = None) -> list[Job]:
        """List the person's pending and processing jobs, oldest first."""
        job = self._rows.job
        query = job.select().where(job.person == person, job.state.in_(OPEN)).order_by(job.seq)
        if tab is not None:
            query = query.where(job.tab == tab)
        return self._db.read(lambda: [job_of(row) for row in query])

    def page(
        self, person: str, *, tab: str | None = None, after: str | None = None, limit: int = 12
    ) -> tuple[list[Job], str | None]:
        """List the person's ended jobs, the last ended first, and the key of the next page.

        A job that ends meanwhile goes in front of the first page, so no page skips or repeats one.
        A key that is not ours begins at the first page.
        """
        query = self._page_query(person, tab, after).limit(limit + 1)
        jobs = self._db.read(lambda: self._with_outputs(list(query)))
        more = len(jobs) > limit
        return [job for _, job in jobs[:limit]], _page_key(*jobs[limit - 1]) if more else None

    def ahead_of(self, job_id: str) -> int:
        """Tell how many waiting jobs will start before this one; 0 when it is next or waits not.

        First the prompts that a ComfyUI has already, then priorities, then turns, as `claim` takes
        them and `engine.line` foretells. How people stand may be half a second old.
        """
        return self._db.read(lambda: self._turns.ahead_of(self._row(job_id, None)))

    # A worker's side -----------------------------------------------------------------------

    def claim(
        self,
        worker: str,
        *,
        lease_s: float = 30.0,
        skip: Collection[str] = (),
        leave: Collection[str] = (),
        servers: Collection[str] | None = None,
    ) -> Claim | None:
        """Take the job whose turn it is, or give None when none is due.

        Jobs of the workflows in `skip`, and those in `leave`, are left to a server that can run
        them, except a prompt that a ComfyUI has already. With `servers`, a prompt on another one is
        left to a worker that serves it, for 10 minutes: then nobody does.

        First a prompt that runs on a ComfyUI without a worker, since its GPU is spent already; then
        the highest priority; then by person: fewest running, then least lately served; then the
        oldest. Nobody gets more than `max_running` at once (0 = no limit), but for prompts that run
        already. A job whose attempts are spent fails here, and the next is taken.
        """
        left_out = LeftOut(skip, leave)
        taken = self._db.tx(lambda: self._claim(worker, lease_s, left_out, servers))
        self._turns.forget()
        return taken

    def beat(self, claim: Claim, *, lease_s: float = 30.0) -> Beat:
        """Lengthen the lease, and learn whether the job is still ours and still wanted."""
        return self._db.tx(lambda: self._beat(claim, lease_s))

    def unwanted(self, claims: Iterable[Claim]) -> set[str]:
        """Of jobs that are worked on, give the ids of those that their persons want stopped."""
        asked = [claim.job.job_id for claim in claims]
        if not asked:
            return set()
        job = self._rows.job
        query = job.select(job.job_id).where(job.job_id.in_(asked), job.cancel_wanted)
        return self._db.read(lambda: {str(job_id) for (job_id,) in tuples(query)})

    def sent(self, claim: Claim, *, server: str, prompt_id: str, client_id: str = "") -> bool:
        """Note which prompt on which server is the job's. Call before the prompt is posted.

        `client_id` is the socket that hears of it, under which another worker may listen later.

        A prompt in place of an adopted one that vanished is a new attempt, and counted.
        """
        return self._moved(lambda: self._sent(claim, server, prompt_id, client_id))

    def made(self, claim: Claim, made: Sequence[Given]) -> bool:
        """Note all that runs before the main one have made; the prompt that did is over."""
        columns = made_columns(made) | {"prompt_id": "", "client_id": "", "server": ""}
        return self._moved(lambda: self._change(claim, **columns))

    def complete(self, claim: Claim, outputs: Sequence[Output]) -> bool:
        """Write the outputs and the end together: a person sees the whole result or none."""
        return self._moved(lambda: self._complete(claim, outputs))

    def fail(self, claim: Claim, failure: Failure, *, leaves_prompt: bool = False) -> bool:
        """End the job with a reason. `leaves_prompt`: its prompt may run on, and is abandoned."""
        return self._moved(lambda: self._fail(claim, failure, leaves_prompt))

    def cancelled(self, claim: Claim) -> bool:
        """End the job as cancelled, when its prompt is surely off every ComfyUI."""
        return self._moved(lambda: self._end(claim, State.CANCELLED))

    def give_back(
        self, claim: Claim, *, keep_prompt: bool, count: bool, wait_s: float = 0.0
    ) -> bool:
        """Let another worker have the job, not before `wait_s` seconds.

        `keep_prompt` lets it adopt the prompt; else that is abandoned, and the next claim begins a
        new one. `count=False` takes back the attempt (or the adoption) this claim counted. A job
        whose person wants it stopped, and of which nothing is left on a server, is cancelled
        instead.
        """
        return self._moved(lambda: self._give_back(claim, keep_prompt, count, wait_s))

    def disown(self, claim: Claim, *, server: str, prompt_id: str) -> None:
        """Abandon a prompt of ours, unless the job's row names it: then its new owner has it.

        For a worker that lost its lease, perhaps between noting the prompt and posting it.
        """
        self._db.tx(lambda: self._disown(claim, server, prompt_id))

    def abandoned(self, servers: Collection[str]) -> list[AbandonedPrompt]:
        """List the prompts on these servers that must not run any more, the oldest first."""
        row = self._rows.abandoned
        query = row.select(row.server, row.prompt_id, row.since_us).where(
            row.server.in_(sorted(servers))
        )
        found = self._db.read(lambda: tuples(query.order_by(row.since_us))) if servers else []
        now = self._now()
        return [AbandonedPrompt(str(s), str(p), (now - int(us)) / 1e6) for s, p, us in found]

    def called_off(self, prompt: AbandonedPrompt) -> None:
        """Forget an abandoned prompt: it surely runs no more."""
        row = self._rows.abandoned
        gone = row.delete().where(row.server == prompt.server, row.prompt_id == prompt.prompt_id)
        self._db.tx(gone.execute)

    def forget_abandoned(self, age_s: float) -> int:
        """Forget prompts on servers that nobody serves any more, and count them."""
        row = self._rows.abandoned
        old = row.delete().where(row.since_us < self._now() - round(age_s * 1e6))
        return self._db.tx(lambda: int(old.execute()))

    # The house's side ----------------------------------------------------------------------

    def reap(self, *, even_live: bool = False) -> int:
        """Put jobs whose lease ran out back to pending, prompt kept, and count them.

        One that its person wanted stopped, and that reached no server, is cancelled. `even_live`
        takes back leases that still run: only for a process that knows it is the only one.
        """
        count = self._db.tx(lambda: self._reap(even_live))
        if count:
            self._turns.forget()
        return count

    def set_priority(self, job_id: str, priority: int) -> Job:
        """Let a waiting job start before all of a lower priority; 0 is everybody's.

        Raises `job_unknown`, and `job_ended` when it has ended.
        """
        job = self._db.tx(lambda: self._set_priority(job_id, priority))
        self._turns.forget()
        return job

    def take_chore(self, name: str, every_s: float) -> bool:
        """Tell whether this process is the one to do a chore now; it is then due in `every_s`."""
        return self._db.tx(lambda: self._take_chore(name, round(every_s * 1e6)))

    # Inside a transaction ------------------------------------------------------------------

    def _get(self, job_id: str, person: str | None) -> Job:
        row = self._row(job_id, person)
        [(_, job)] = self._with_outputs([row])
        return job

    def _row(self, job_id: str, person: str | None, *, lock: bool = False) -> JobRow:
        job = self._rows.job
        query = job.select().where(job.job_id == job_id)
        if person is not None:
            query = query.where(job.person == person, job.deleted_us == 0)
        row = (self._db.for_update(query) if lock else query).first()
        if row is None:
            raise StudioError("job_unknown", job_id=job_id)
        found: JobRow = row
        return found

    def _with_outputs(self, rows: Sequence[JobRow]) -> list[tuple[int, Job]]:
        """Give `(seq, job)` of each row, with its outputs in their order."""
        out = self._rows.output
        wanted = [row.job_id for row in rows if row.state == State.COMPLETED]
        found = out.select().where(out.job_id.in_(wanted)).order_by(out.job_id, out.position)
        files = {
            job_id: tuple(output_of(row) for row in group)
            for job_id, group in groupby(found if wanted else (), key=lambda row: str(row.job_id))
        }
        return [(int(row.seq), job_of(row, files.get(str(row.job_id), ()))) for row in rows]

    def _page_query(self, person: str, tab: str | None, after: str | None) -> Any:
        job = self._rows.job
        query = (
            job.select()
            .where(job.person == person, job.ended_us > 0, job.deleted_us == 0)
            .order_by(job.ended_us.desc(), job.seq.desc())
        )
        if tab is not None:
            query = query.where(job.tab == tab)
        key = _read_page_key(after)
        if key is None:
            return query
        ended_us, seq = key
        # Not as row values: MariaDB uses no index for those.
        return query.where(job.ended_us <= ended_us, (job.ended_us < ended_us) | (job.seq < seq))

    def _ask_cancel(self, job_id: str, person: str | None) -> Job:
        job = self._rows.job
        row = self._row(job_id, person, lock=True)
        state = State(row.state)
        if state in (State.COMPLETED, State.FAILED):
            raise StudioError("job_ended", job_id=job_id, state=state)
        if state is State.CANCELLED:
            return job_of(row)
        mine = (job.seq == row.seq) & (job.state == state)
        if state is State.PENDING and not row.prompt_id:
            moved = job.update(**self._ending_unclaimed(state, State.CANCELLED), cancel_wanted=True)
            moved.where(mine).execute()
        else:
            job.update(cancel_wanted=True).where(mine).execute()
        return self._get(job_id, person)

    def _set_priority(self, job_id: str, priority: int) -> Job:
        job = self._rows.job
        row = self._row(job_id, None, lock=True)
        if State(row.state).ended:
            raise StudioError("job_ended", job_id=job_id, state=row.state)
        job.update(priority=priority).where(job.seq == row.seq).execute()
        return self._get(job_id, None)

    def _claim(
        self,
        worker: str,
        lease_s: float,
        left_out: LeftOut,
        servers: Collection[str] | None,
    ) -> Claim | None:
        for row in self._turns.candidates(left_out, servers):
            if _spent(row):
                self._spend(row)
                return self._claim(worker, lease_s, left_out, servers)
            claim = self._take(row, worker, lease_s)
            if claim is not None:
                return claim
        return None

    def _take(self, row: JobRow, worker: str, lease_s: float) -> Claim | None:
        job, now = self._rows.job, self._now()
        adopts = bool(row.prompt_id)
        if not adopts and not self._turns.may_run(str(row.person)):
            return None
        moved = job.update(
            state=_legal(State.PENDING, State.PROCESSING),
            fence=row.fence + 1,
            attempt=row.attempt + (not adopts),
            adoptions=row.adoptions + adopts,
            lease_us=now + round(lease_s * 1e6),
            worker=worker,
        ).where(job.seq == row.seq, job.fence == row.fence, job.state == State.PENDING)
        if int(moved.execute()) != 1:
            return None
        if not adopts:
            # An adopted prompt had its turn when it was first taken.
            who = self._rows.person
            who.update(last_served_us=now).where(who.person == row.person).execute()
        taken = self._get(row.job_id, None)
        return Claim(job=taken, fence=taken.fence)

    def _sent(self, claim: Claim, server: str, prompt_id: str, client_id: str) -> bool:
        job = self._rows.job
        row = self._row(claim.job.job_id, None, lock=True)
        other = bool(row.prompt_id) and row.prompt_id != prompt_id
        ours = self._change(
            claim,
            attempt=job.attempt + 1 if other else job.attempt,
            server=server,
            prompt_id=prompt_id,
            client_id=client_id,
            # What a run before made took its time too.
            started_us=Case(None, [(job.made.is_null(), self._now())], job.started_us),
        )
        if ours and other:
            self._abandon(row)
        return ours

    def _disown(self, claim: Claim, server: str, prompt_id: str) -> None:
        job = self._rows.job
        owned = job.select(SQL("1")).where(
            job.job_id == claim.job.job_id, job.prompt_id == prompt_id
        )
        if not owned.exists():
            self._write_off(server, prompt_id)

    def _abandon(self, row: JobRow) -> None:
        """Note the row's prompt as one that must not run, in the move that makes it so."""
        if row.prompt_id:
            self._write_off(str(row.server), str(row.prompt_id))

    def _write_off(self, server: str, prompt_id: str) -> None:
        row = self._rows.abandoned
        new = row.insert(server=server, prompt_id=prompt_id, since_us=self._now())
        new.on_conflict_ignore().execute()

    def _fail(self, claim: Claim, failure: Failure, leaves_prompt: bool) -> bool:
        row = self._row(claim.job.job_id, None, lock=True)
        ours = self._end(claim, State.FAILED, **failure_columns(failure))
        if ours and leaves_prompt:
            self._abandon(row)
        return ours

    def _spend(self, row: JobRow) -> None:
        self._abandon(row)
        job = self._rows.job
        failure = Failure(
            "attempts_spent", {"attempts": str(max(int(row.attempt), int(row.adoptions)))}
        )
        ended = job.update(
            **self._ending_unclaimed(State.PENDING, State.FAILED), **failure_columns(failure)
        )
        ended.where(
            job.seq == row.seq, job.fence == row.fence, job.state == State.PENDING
        ).execute()

    def _beat(self, claim: Claim, lease_s: float) -> Beat:
        until = self._now() + round(lease_s * 1e6)
        if not self._change(claim, lease_us=until):
            return Beat(ours=False, cancel_wanted=False)
        return Beat(ours=True, cancel_wanted=bool(self._row(claim.job.job_id, None).cancel_wanted))

    def _change(self, claim: Claim, **columns: object) -> bool:
        """Write to a job under this claim; the one place where the fence is asked."""
        job = self._rows.job
        changed = job.update(**columns).where(
            job.job_id == claim.job.job_id,
            job.fence == claim.fence,
            job.state == State.PROCESSING,
        )
        return int(changed.execute()) == 1

    def _end(self, claim: Claim, end: State, **columns: object) -> bool:
        ending = self._ending(State.PROCESSING, end)
        return self._change(claim, **ending, **columns) or self._landed(claim, end)

    def _ending(self, old: State, end: State) -> dict[str, object]:
        return {
            "state": _legal(old, end),
            "ended_us": self._now(),
            "lease_us": 0,
            "due_us": 0,
        }

    def _ending_unclaimed(self, old: State, end: State) -> dict[str, object]:
        """End without a claim. The fence moves: no late worker may take this end for its own."""
        return self._ending(old, end) | {"fence": self._rows.job.fence + 1}

    def _landed(self, claim: Claim, state: State) -> bool:
        """Tell whether this very claim made the move before: a COMMIT whose answer was lost."""
        job = self._rows.job
        return bool(
            job.select()
            .where(job.job_id == claim.job.job_id, job.fence == claim.fence, job.state == state)
            .exists()
        )

    def _complete(self, claim: Claim, outputs: Sequence[Output]) -> bool:
        if not self._change(claim, **self._ending(State.PROCESSING, State.COMPLETED)):
            return self._landed(claim, State.COMPLETED)
        rows = [output_columns(claim, output) for output in outputs]
        if rows:
            self._rows.output.insert_many(rows).execute()
            who, more = self._rows.person, sum(output.size_bytes for output in outputs)
            kept = who.update(kept_bytes=who.kept_bytes + more)
            kept.where(who.person == claim.job.person).execute()
        return True

    def _give_back(self, claim: Claim, keep_prompt: bool, count: bool, wait_s: float) -> bool:
        row = self._row(claim.job.job_id, None, lock=True)
        ended = row.cancel_wanted and not (keep_prompt and row.prompt_id)
        ours = (
            self._end(claim, State.CANCELLED)
            if ended
            else self._hand_over(claim, row, keep_prompt, count, wait_s)
        )
        if ours and not keep_prompt:
            self._abandon(row)
        return ours

    def _hand_over(
        self, claim: Claim, row: JobRow, keep_prompt: bool, count: bool, wait_s: float
    ) -> bool:
        columns: dict[str, object] = (
            {}
            if keep_prompt
            else {
                "prompt_id": "",
                "client_id": "",
                "server": "",
            }
        )
        if not count:
            columns |= self._uncounted(claim, row)
        return self._change(
            claim,
            **columns,
            state=_legal(State.PROCESSING, State.PENDING),
            lease_us=0,
            worker="",
            due_us=self._now() + round(wait_s * 1e6) if wait_s or keep_prompt else 0,
        )

    def _uncounted(self, claim: Claim, row: JobRow) -> dict[str, object]:
        if claim.job.prompt_id:
            return {"adoptions": max(row.adoptions - 1, 0)}
        return {"attempt": max(row.attempt - 1, 0)}

    def _reap(self, even_live: bool) -> int:
        job, now = self._rows.job, self._now()
        overdue = job.state == State.PROCESSING
        if not even_live:
            overdue &= job.lease_us < now
        nothing_left = job.cancel_wanted & (job.prompt_id == "")
        stopped = job.update(**self._ending_unclaimed(State.PROCESSING, State.CANCELLED))
        if even_live:
            # Alone here: a prompt on a server that is no longer ours is nobody's.
            left = (job.state == State.PENDING) & (job.prompt_id > "")
            job.update(due_us=0).where(left).execute()
            now = 0
        back = job.update(
            state=_legal(State.PROCESSING, State.PENDING),
            lease_us=0,
            worker="",
            # A worker that died before it sent anything began no prompt: it is counted as a change
            # of hands, which bounds a job that kills its workers, and takes no attempt away.
            attempt=Case(
                None, [((job.prompt_id == "") & (job.attempt > 0), job.attempt - 1)], job.attempt
            ),
            adoptions=Case(None, [(job.prompt_id == "", job.adoptions + 1)], job.adoptions),
            # Since when a prompt is without a worker: another fleet's waits for it in vain.
            due_us=Case(None, [(job.prompt_id != "", now)], 0),
        )
        return int(stopped.where(overdue, nothing_left).execute()) + int(
            back.where(overdue).execute()
        )

    def _take_chore(self, name: str, every_us: int) -> bool:
        chore, now = self._rows.chore, self._now()
        chore.insert(name=name, due_us=0).on_conflict_ignore().execute()
        moved = chore.update(due_us=now + every_us).where(chore.name == name, chore.due_us <= now)
        return int(moved.execute()) == 1

    def _moved(self, work: Callable[[], bool]) -> bool:
        moved = self._db.tx(work)
        self._turns.forget()
        return moved


def _spent(row: JobRow) -> bool:
    return int(row.adoptions) >= MAX_ADOPTIONS or (
        not row.prompt_id and int(row.attempt) >= MAX_ATTEMPTS
    )


def _legal(old: State, new: State) -> State:
    if new not in MOVES[old]:
        raise ValueError(f"a job never moves from {old} to {new}")
    return new


def _page_key(seq: int, job: Job) -> str:
    return f"{job.ended_us}-{seq}"


def _read_page_key(key: str | None) -> tuple[int, int] | None:
    ended, _, seq = (key or "").partition("-")
    if not (ended.isascii() and ended.isdigit() and seq.isascii() and seq.isdigit()):
        return None
    # Beyond a BIGINT a database would complain; beyond any row it need not be exact.
    return min(int(ended[:19]), 2**62), min(int(seq[:19]), 2**62)
