"""The front desk: what one person may ask of the studio.

The only door for tabs, routes and API endpoints, so that page and programs share validation,
ledger and follow. Every question names the person; another's job is `job_unknown`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from studio.engine.bus import Bus
from studio.engine.comfy.fleet import STARTING, Fleet
from studio.engine.jobs import Job, NewJob, News, Output, State
from studio.engine.ledger import Ledger
from studio.engine.media import InputFile, Media, thumbnail
from studio.engine.reporter import SEQ_PER_ATTEMPT
from studio.engine.roster import Roster, Worker
from studio.engine.stocks import ServerReport, Stocks
from studio.engine.store import Store
from studio.engine.tasks import Doorbell
from studio.engine.workflow.binding import Workflow, check
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.manifest import Kind, Parameter
from studio.engine.workflow.measures import Measure
from studio.errors import StudioError
from studio.texts import DEFAULT, local, text

log = logging.getLogger("studio.desk")

HEARTBEAT_S: Final = 1.0
"""A follower hears at least this often: a handler that never yields never learns of its viewer."""

ROW_EVERY_S: Final = 2.0
"""News may be lost, rows are not: how often a follower asks the row."""


@dataclass(frozen=True, slots=True)
class ServerView:
    """One ComfyUI as people see it. `reason` is a text key for why it takes no jobs, or empty."""

    name: str
    url: str
    online: bool
    practice: bool
    version: str
    queue_length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs newest first, and the key of the next page (None = no more)."""

    jobs: tuple[Job, ...]
    next: str | None


class Desk:
    """Takes orders and tells how they stand. Methods block on the database: call them in a thread.

    `follow` alone is async and holds no thread.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        ledger: Ledger,
        media: Media,
        bus: Bus,
        fleet: Fleet,
        stocks: Stocks,
        store: Store,
        doorbell: Doorbell,
        roster: Roster,
        prompt_max_chars: int,
        rng: random.Random | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._media = media
        self._bus = bus
        self._fleet = fleet
        self._stocks = stocks
        self._store = store
        self._doorbell = doorbell
        self._roster = roster
        self._prompt_max_chars = prompt_max_chars
        self._rng = rng or random.SystemRandom()
        self._new_id = new_id

    # Orders -------------------------------------------------------------------------------

    def submit(self, person: str, tab: str, values: Mapping[str, Any]) -> Job:
        """Check the values, store the files, write the job and ring the doorbell.

        `tab` is a tab's, an endpoint's or a workflow's name; the job belongs to the workflow's tab.
        `values` are by manifest parameter name; files are `Path`s (of uploads) or
        `{"path": ..., "orig_name": ...}`; a list for `images`. Raises `StudioError` with `field`.
        """
        workflow = self._catalog.entry(tab).pick(values)
        taken: dict[str, Measure] = {}
        stored = {
            name: self._stored(person, workflow, name, value, taken)
            for name, value in values.items()
        }
        checked = check(
            workflow,
            stored,
            rng=self._rng,
            prompt_max_chars=self._prompt_max_chars,
            measures=taken,
        )
        return self._order(
            NewJob(
                job_id=self._new_id(),
                person=person,
                tab=workflow.manifest.tab,
                workflow=workflow.name,
                values=checked,
                seed=_seed_of(workflow, checked),
                inputs=tuple(taken),
            )
        )

    def retry(self, person: str, job_id: str, *, new_seed: bool = False) -> Job:
        """Order an ended job again, with the same or a newly drawn seed."""
        old = self._ledger.get(job_id, person=person)
        workflow = self._catalog.workflow(old.workflow)
        values = dict(old.values)
        if new_seed:
            values.update(dict.fromkeys(_seed_names(workflow), "-1"))
        checked = check(workflow, values, rng=self._rng, prompt_max_chars=self._prompt_max_chars)
        return self._order(
            NewJob(
                job_id=self._new_id(),
                person=person,
                tab=old.tab,
                workflow=old.workflow,
                values=checked,
                seed=_seed_of(workflow, checked),
                inputs=old.inputs,
            )
        )

    def cancel(self, person: str, job_id: str) -> Job:
        """Stop the real job: at once when pending, through its runner when processing."""
        job = self._ledger.ask_cancel(job_id, person=person)
        if job.state.ended:
            self._bus.publish(_as_news(job))
        else:
            self._bus.ask_cancel(job_id)
        return job

    def _order(self, new: NewJob) -> Job:
        """Commit the row first, then ring: a lost ring harms nothing, a lost row would.

        What no server that is there could run is refused before, with the name of what it lacks.
        """
        self._stocks.require(new.workflow, new.values)
        job = self._ledger.create(new)
        log.info("job accepted", extra={"job": job.job_id, "person": job.person})
        self._doorbell.ring()
        return job

    def _stored(
        self,
        person: str,
        workflow: Workflow,
        name: str,
        value: Any,
        taken: dict[str, Measure],
    ) -> Any:
        """Put the files of one parameter into the person's store; other values pass through.

        `taken` collects the measures of the files by reference.
        """
        parameter = workflow.manifest.parameter(name)
        if parameter is None or not parameter.type.file or value in (None, "", []):
            return value
        given = value if isinstance(value, (list, tuple)) else [value]
        files = [self._take(person, parameter, one) for one in given]
        taken.update({f.ref: Measure(f.width_px, f.height_px, f.seconds) for f in files})
        refs = [file.ref for file in files]
        return refs if isinstance(value, (list, tuple)) else refs[0]

    def _take(self, person: str, parameter: Parameter, given: Any) -> InputFile:
        path, name = _upload_of(given, parameter.name)
        return self._media.take(person, path, name)

    # Questions ----------------------------------------------------------------------------

    def job(self, person: str, job_id: str) -> Job:
        """Give one job of this person, or raise `job_unknown`."""
        return self._ledger.get(job_id, person=person)

    def running(self, person: str, tab: str | None = None) -> Sequence[Job]:
        """List this person's pending and processing jobs, oldest first."""
        return self._ledger.running(person, tab)

    def recent(
        self, person: str, tab: str | None = None, *, after: str | None = None, limit: int = 12
    ) -> Page:
        """List this person's ended jobs, newest first."""
        jobs, key = self._ledger.page(person, tab=tab, after=after, limit=limit)
        return Page(tuple(jobs), key)

    def waiting(self) -> int:
        """Count the jobs of everybody that wait for a worker."""
        return self._ledger.waiting()

    def why_waiting(self, language: str = DEFAULT) -> str:
        """Say why no server takes a job now, server by server; empty when one does."""
        return self._fleet.why_none(language=language)

    def choices(
        self, tab: str, parameter: str, language: str = DEFAULT
    ) -> Sequence[tuple[str, str]]:
        """Give `(label, value)` pairs for a model field, from what the servers really list."""
        form = self._catalog.tab(tab)
        field = form.parameter(parameter)
        if field is None:
            raise StudioError("field_unknown", field=parameter, workflow=tab)
        if field.picks:
            return form.model_choices(self._fleet.choices, language, name=parameter)
        return [(name, name) for name in self._fleet.choices(field.folder or "")]

    def workers(self) -> Sequence[Worker]:
        """Tell which processes run jobs, those that answer first; each tells every 10 s."""
        return self._roster.workers()

    def servers(self) -> Sequence[ServerView]:
        """Tell how the ComfyUI servers are."""
        return [
            ServerView(
                name=status.name,
                url=status.url,
                online=status.online,
                practice=status.stand_in,
                version=status.version,
                queue_length=status.queue_remaining,
                reason=status.reason,
            )
            for status in self._fleet.views()
        ]

    def lacks(self, tab: str) -> Mapping[str, tuple[ServerReport, ...]]:
        """Say what each online server lacks for each workflow of a tab.

        A server that was not asked yet is not among them. Reads memory only, so a page may ask
        whenever it is drawn.
        """
        names = [workflow.name for workflow in self._catalog.tab(tab).workflows]
        return {name: self._stocks.reports(name) for name in names}

    def lack_sentences(self, tab: str, language: str = DEFAULT) -> Sequence[str]:
        """Say to people why a tab, or a part of it, will not work now; empty when it will.

        Only of workflows that no online server can run: what one of several lacks is the host's.
        """
        said: dict[str, None] = {}
        for name, found in self.lacks(tab).items():
            if found and not any(one.report.fit for one in found):
                title = local(self._catalog.workflow(name).manifest.title, language)
                least = min((one.report for one in found), key=lambda report: len(report.lacks))
                needed = [lack.sentence(language) for lack in least.lacks if lack.needed]
                said.update({text("lack.of", language, title=title, lack=s): None for s in needed})
        return list(said)

    def output_file(self, person: str, job_id: str, name: str, *, thumbnail: bool = False) -> Path:
        """Find a kept file of this person's job by its `Output.name`, or raise `file_unknown`."""
        for output in self._ledger.get(job_id, person=person).outputs:
            if output.name == name:
                kept = self._store.path(output)
                return _thumbnail_of(kept, output) if thumbnail else kept
        raise StudioError("file_unknown", name=name)

    def input_file(self, person: str, ref: str) -> Path:
        """Find a stored input of this person by its reference, or raise `file_unknown`."""
        return self._media.path(person, ref)

    # Following ----------------------------------------------------------------------------

    async def follow(self, person: str, job_id: str) -> AsyncIterator[News]:
        """Yield news until the job has ended, the present state first, and at least each second.

        Ends after the news whose state is an end state; the full result is then `job()`. The end
        is believed from the row only. Raises `job_unknown` at once when it is not this person's.
        """
        async with self._bus.follow(job_id) as subscription:
            news = await asyncio.to_thread(self._stand, person, job_id)
            asked_at = time.monotonic()
            while True:
                yield news
                if news.state.ended:
                    return
                heard = await subscription.next(HEARTBEAT_S)
                ended = heard is not None and heard.state.ended
                if heard is not None and not ended and heard.seq > news.seq:
                    news = heard
                elif ended or time.monotonic() - asked_at >= ROW_EVERY_S:
                    row = await asyncio.to_thread(self._stand, person, job_id)
                    asked_at = time.monotonic()
                    news = _later(row, news)

    def _stand(self, person: str, job_id: str) -> News:
        """Tell how a job stands: the row's state, with the latest news when they speak of it."""
        job = self._ledger.get(job_id, person=person)
        latest = self._bus.latest(job_id)
        if job.state is State.PENDING:
            lacks = self._stocks.waits(job_id, job.workflow, job.values)
            phase = "phase.waiting_fit" if lacks else self._waiting_phase()
            return replace(_as_news(job), phase=phase, position=self._ledger.ahead_of(job_id) + 1)
        if job.state is State.PROCESSING and latest and latest.state is State.PROCESSING:
            return latest
        return _as_news(job)

    def _waiting_phase(self) -> str:
        """Say why a job waits: for its turn, or for any server to be there."""
        servers = self._fleet.views()
        looking = any(server.online or server.reason == STARTING for server in servers)
        return "phase.waiting" if looking else "phase.offline"


def _thumbnail_of(kept: Path, output: Output) -> Path:
    """Give a picture's thumbnail, made at the first asking; it lies, and goes, with its picture."""
    if output.kind != "image":
        raise StudioError("file_unknown", name=output.name)
    small = kept.parent / ".thumbs" / f"{kept.name}.webp"
    if not small.is_file():
        thumbnail(kept, small)
    return small


def _seed_names(workflow: Workflow) -> list[str]:
    return [p.name for p in workflow.manifest.parameters if p.type is Kind.SEED]


def _seed_of(workflow: Workflow, values: Mapping[str, Any]) -> str | None:
    """Give the seed a job runs with, as exact text; None where a workflow has none."""
    return next((str(values[name]) for name in _seed_names(workflow)), None)


def _as_news(job: Job) -> News:
    """Say what a row alone knows."""
    return News(
        job_id=job.job_id,
        person=job.person,
        seq=job.fence * SEQ_PER_ATTEMPT,
        state=job.state,
        fraction=1.0 if job.state is State.COMPLETED else 0.0,
        phase="phase.starting" if job.state is State.PROCESSING else "",
        server=job.server,
    )


def _later(row: News, heard: News) -> News:
    """Choose between what the row says and what was heard; an end is always later."""
    if row.state.ended:
        return replace(
            row, seq=max(row.seq, heard.seq + 1), fraction=max(row.fraction, heard.fraction)
        )
    if row.state is heard.state is State.PENDING:
        return replace(row, seq=max(row.seq, heard.seq))  # it knows place and reason of the wait
    return row if row.seq >= heard.seq else heard


def _upload_of(given: Any, field: str) -> tuple[Path, str]:
    """Read the two ways a file is handed over: a path, or Gradio's `{path, orig_name}`."""
    if isinstance(given, Mapping):
        path, name = given.get("path"), given.get("orig_name")
    else:
        path, name = given, None
    if not isinstance(path, (str, Path)) or not str(path):
        raise StudioError("field_wrong_type", field=field, kind="file")
    return Path(path), str(name or Path(path).name)
