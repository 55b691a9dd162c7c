"""The front desk: what one person may ask of the studio.

The only door for tabs, routes and API endpoints, so that page and programs share validation,
ledger and follow. Every question names the person; another's job is `job_unknown`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from studio.engine import bundle
from studio.engine.bus import Bus
from studio.engine.census import Census
from studio.engine.darkroom import Darkroom, Playable
from studio.engine.disk import DiskFloor
from studio.engine.health import Health, Histogram, Metrics, Pulse
from studio.engine.history import AT_ONCE_AT_MOST, COUNTED_AT_MOST, Count, Filters, History
from studio.engine.intake import Intake
from studio.engine.jobs import Given, Hook, Job, NewJob, News, Output, State
from studio.engine.ledger import Ledger
from studio.engine.media import InputFile, Media
from studio.engine.outside import Outside
from studio.engine.quota import Quota, Used
from studio.engine.reporter import SEQ_PER_ATTEMPT
from studio.engine.roster import Worker
from studio.engine.servers import Servers
from studio.engine.stages import Stages
from studio.engine.store import Store
from studio.engine.tasks import Doorbell
from studio.engine.verdicts import ServerReport
from studio.engine.webhooks import Delivery, Webhooks
from studio.engine.workflow.binding import Workflow, check
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.manifest import Kind
from studio.engine.workflow.measures import Measure
from studio.errors import StudioError
from studio.texts import DEFAULT, local, text

log = logging.getLogger("studio.desk")

HEARTBEAT_S: Final = 1.0
"""A follower hears at least this often: a handler that never yields never learns of its viewer."""

ROW_EVERY_S: Final = 2.0
"""News may be lost, rows are not: how often a follower asks the row."""


@dataclass(frozen=True, slots=True)
class Again:
    """What makes an order the same order when it comes a second time.

    `key` is the person's own word for it. `body` is what was asked, in one spelling: the same body
    draws the same seed, so that another body is told from a repeated one.
    """

    key: str
    body: str

    def job_id(self, person: str) -> str:
        """Give the id of the job that this key stands for."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"studio:{person}:{self.key}"))

    @property
    def rng(self) -> random.Random:
        """Give what draws seeds for this body."""
        return random.Random(f"{self.key}\n{self.body}")  # noqa: S311  (a seed is no secret)


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


@dataclass(frozen=True, slots=True)
class Details:
    """All that is known of one job, for the large view, Use again and Send to.

    `missing` are the references of inputs that are no longer kept; `notes` are text keys about
    outputs by `Output.name`, such as one that no browser plays.
    """

    job: Job
    missing: frozenset[str]
    notes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Receiver:
    """A field that takes a result: `field` of `tab`, which holds several when `several`."""

    tab: str
    field: str
    several: bool


class Desk:
    """Takes orders and tells how they stand. Methods block on the database: call them in a thread.

    `follow` alone is async and holds no thread.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        ledger: Ledger,
        census: Census,
        media: Media,
        bus: Bus,
        servers: Servers,
        store: Store,
        history: History,
        darkroom: Darkroom,
        doorbell: Doorbell,
        pulse: Pulse,
        floor: DiskFloor,
        quota: Quota,
        lags: Histogram,
        prompt_max_chars: int,
        webhooks: Webhooks,
        outside: Outside | None = None,
        rng: random.Random | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._catalog = catalog
        self._ledger = ledger
        self._census = census
        self._media = media
        self._stages = Stages(catalog, media)
        self._bus = bus
        self._servers = servers
        self._store = store
        self._history = history
        self._darkroom = darkroom
        self._intake = Intake(media, self.output_file, outside)
        self._doorbell = doorbell
        self._pulse = pulse
        self._floor = floor
        self._quota = quota
        self._lags = lags
        self._prompt_max_chars = prompt_max_chars
        self._webhooks = webhooks
        self._rng = rng or random.SystemRandom()
        self._new_id = new_id

    # Orders -------------------------------------------------------------------------------

    def submit(
        self,
        person: str,
        tab: str,
        values: Mapping[str, Any],
        *,
        again: Again | None = None,
        hook: Hook | None = None,
    ) -> Job:
        """Check the values, store the files, write the job and ring the doorbell.

        `tab` is a tab's, an endpoint's or a workflow's name; the job belongs to the workflow's tab.
        `values` are by manifest parameter name; files come in the ways `engine.intake` lists:
        uploads, earlier inputs `{"ref"}`, own results `{"job_id", "name"}`, an editor's layers; a
        list for `images`. What was changed of them is in `Job.given[...].notes`. Raises
        `StudioError` with `field`.

        `hook` is told when the job has ended; raises `url_refused` for one that leads inwards.
        An order with `again` is taken once: the same again gives the job that is there, another
        under its key raises `key_reused`.
        """
        self._check_room(person)
        if hook is not None:
            self._webhooks.check(hook)
        workflow = self._catalog.entry(tab).pick(values)
        taken = self._intake.take(person, workflow.manifest, values)
        checked = check(
            workflow,
            taken.values,
            rng=again.rng if again else self._rng,
            prompt_max_chars=self._prompt_max_chars,
            measures=_measures(taken.given),
        )
        new = NewJob(
            job_id=again.job_id(person) if again else self._new_id(),
            person=person,
            tab=workflow.manifest.tab,
            workflow=workflow.name,
            values=checked,
            seed=_seed_of(workflow, checked),
            inputs=tuple(dict.fromkeys(one.ref for one in taken.given)),
            given=taken.given,
            words=_words(workflow, checked, taken.given),
            hook=hook,
        )
        return self._order(new) if again is None else self._order_once(new)

    def retry(self, person: str, job_id: str, *, new_seed: bool = False) -> Job:
        """Order an ended job again, with the same or a newly drawn seed."""
        self._check_room(person)
        old = self._ledger.get(job_id, person=person)
        for one in old.given:
            if not self._media.has(person, one.ref):
                raise StudioError("file_unknown", field=one.field, name=one.name)
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
                given=old.given,
                words=_words(workflow, checked, old.given),
            )
        )

    def upload(self, person: str, path: Path, name: str) -> InputFile:
        """Store a file for later orders, where `{"ref": file.ref}` names it."""
        self._quota.check(person, path.stat().st_size)
        return self._media.take(person, path, name)

    def measure(self, person: str, tab: str, field: str, value: Any) -> Given:
        """Store one file of a form and tell what it is, before anything is ordered.

        For showing a sound's length and the notes; `{"ref": given.ref, "name": given.name}` is then
        the value to submit. Raises `StudioError` with `field`, and `field_unknown`.
        """
        for workflow in self._catalog.entry(tab).workflows:
            parameter = workflow.manifest.parameter(field)
            if parameter is not None and parameter.type.file:
                return self._intake.take(person, workflow.manifest, {field: value}).given[0]
        raise StudioError("field_unknown", field=field, workflow=tab)

    def cancel(self, person: str, job_id: str) -> Job:
        """Stop the real job: at once when pending, through its runner when processing."""
        return self._stopped(self._ledger.ask_cancel(job_id, person=person))

    def stop(self, job_id: str) -> Job:
        """Stop anybody's job, as `cancel` does: for `engine.oversight`, which knows who may."""
        return self._stopped(self._ledger.ask_cancel(job_id, person=None))

    def _stopped(self, job: Job) -> Job:
        if job.state.ended:
            self._bus.publish(_as_news(job))
        else:
            self._bus.ask_cancel(job.job_id)
        return job

    def _check_room(self, person: str) -> None:
        """Raise `disk_full` or `quota_full` when there is no room for what a job would make."""
        self._floor.check()
        self._quota.check(person)

    def _order_once(self, new: NewJob) -> Job:
        """Order what a key stands for, unless it was ordered before."""
        try:
            job = self._ledger.get(new.job_id, person=new.person)
        except StudioError as error:
            if error.code != "job_unknown":
                raise
            job = self._order(new)
        if (job.workflow, _plain(job.values)) != (new.workflow, _plain(new.values)):
            raise StudioError("key_reused")
        asked = self._webhooks.of([job.job_id]).get(job.job_id)
        if (asked and asked.url) != (new.hook and new.hook.url):
            raise StudioError("key_reused")
        return job

    def _order(self, new: NewJob) -> Job:
        """Commit the row first, then ring: a lost ring harms nothing, a lost row would.

        What no server that is there could run is refused before, with the name of what it lacks.
        """
        self._servers.require(new.workflow, new.values)
        job = self._ledger.create(new)
        log.info("job accepted", extra={"job": job.job_id, "person": job.person})
        self._doorbell.ring()
        return job

    # Questions ----------------------------------------------------------------------------

    def job(self, person: str, job_id: str) -> Job:
        """Give one job of this person, or raise `job_unknown`."""
        return self._ledger.get(job_id, person=person)

    def webhooks(self, jobs: Sequence[Job]) -> Mapping[str, Delivery]:
        """Tell how the webhooks of jobs stand, by job_id, of those that have one."""
        return self._webhooks.of([job.job_id for job in jobs])

    def webhook_secret(self, person: str) -> str:
        """Give the key that signs what this person's webhooks are sent."""
        return self._webhooks.secret_of(person)

    def renew_webhook_secret(self, person: str) -> str:
        """Give a new such key; the one before signs nothing any more."""
        return self._webhooks.renew_secret(person)

    def running(self, person: str, tab: str | None = None) -> Sequence[Job]:
        """List this person's pending and processing jobs, oldest first."""
        return self._ledger.running(person, tab)

    def recent(
        self, person: str, tab: str | None = None, *, after: str | None = None, limit: int = 12
    ) -> Page:
        """List this person's ended jobs, newest first."""
        jobs, key = self._ledger.page(person, tab=tab, after=after, limit=limit)
        return Page(tuple(jobs), key)

    # The gallery --------------------------------------------------------------------------

    def history(
        self,
        person: str,
        filters: Filters | None = None,
        *,
        after: str | None = None,
        limit: int = 24,
        skip: int = 0,
    ) -> Page:
        """List this person's jobs of every state, the newest order first, paged by key.

        `skip` passes over so many, for those who count pages: costly where it is large.

        `Filters` (of `engine.history`): tab, workflow, states, favourites, dates, text. `after` is
        the `next` of the page before; a key that is not ours begins anew.
        """
        jobs, key = self._history.page(
            person, filters or Filters(), after=after, limit=limit, skip=skip
        )
        return Page(tuple(jobs), key)

    def count(
        self, person: str, filters: Filters | None = None, *, at_most: int = COUNTED_AT_MOST
    ) -> Count:
        """Count what `history` lists, up to so many; `Count.more` says that there are more."""
        return self._history.count(person, filters or Filters(), at_most=at_most)

    def favourite(self, person: str, job_id: str, on: bool = True) -> Job:
        """Set or unset a favourite, and give the job. Raises `job_unknown`."""
        return self._history.favourite(person, job_id, on)

    def delete(self, person: str, job_ids: Sequence[str]) -> tuple[str, ...]:
        """Take ended jobs out of sight, for `restore` to undo within a day; then files go too.

        Until then they count in `quota`.

        Gives the ids of those deleted now. Raises `job_not_ended`, deleting none.
        """
        return self._history.delete(person, job_ids)

    def restore(self, person: str, job_ids: Sequence[str]) -> tuple[str, ...]:
        """Undo `delete`; give the ids of those that are back."""
        return self._history.restore(person, job_ids)

    def forget(self, person: str) -> None:
        """Take away all that is a person's, for good: jobs, results, inputs.

        What waits or runs is stopped first; what is left of it goes when it has ended.
        """
        for job in self._ledger.running(person):
            with suppress(StudioError):  # it ended meanwhile, which is as good
                self.cancel(person, job.job_id)
        count = self._history.forget(person, self._store.remove)
        self._media.forget(person)
        log.info("a person left: %s jobs taken away", count, extra={"person": person})

    def details(self, person: str, job_id: str) -> Details:
        """Give a job with what the large view, Use again and Send to need."""
        job = self._ledger.get(job_id, person=person)
        files = (*job.inputs, *(one.ref for one in job.made))
        missing = {ref for ref in files if not self._media.has(person, ref)}
        notes = {one.name: note for one in job.outputs if (note := self._darkroom.note(one))}
        return Details(job, frozenset(missing), notes)

    def receivers(self, kind: str) -> Sequence[Receiver]:
        """List the fields that take a result of a kind (image, video or audio), in tab order.

        To send one there, put `{"job_id": ..., "name": Output.name}` into the field.
        """
        return [
            Receiver(tab.name, parameter.name, parameter.type is Kind.IMAGES)
            for tab in self._catalog.tabs
            for parameter in tab.parameters
            if kind in _TAKES.get(parameter.type, ())
        ]

    def zip(self, person: str, picks: Sequence[tuple[str, str | None]]) -> Iterator[bytes]:
        """Pack results as a ZIP, given piece by piece; each pick is `(job_id, Output.name)`.

        None for the name packs all files of the job. Whose they are and that they are there is
        asked before the first piece: raises `job_unknown`, `file_unknown`, `too_many_at_once`.
        """
        if len(picks) > AT_ONCE_AT_MOST:
            raise StudioError("too_many_at_once", max=AT_ONCE_AT_MOST)
        entries: dict[Path, bundle.Entry] = {}
        jobs = self._history.several(person, [job_id for job_id, _ in picks])
        for job_id, name in picks:
            job = jobs[job_id]
            wanted = [one for one in job.outputs if name in (None, one.name)]
            if not wanted:
                raise StudioError("file_unknown", name=name or "")
            for one in wanted:
                path = self._store.path(one)
                entries[path] = bundle.Entry(job, one, path)
        return bundle.stream(list(entries.values()))

    def playable(self, person: str, job_id: str, name: str) -> Playable:
        """Give what a browser plays of a result; for a video it cannot play, a copy it can.

        The first asking may take as long as the copy. Raises `file_unknown`.
        """
        return self._darkroom.play(self._output(person, job_id, name))

    def quota(self, person: str) -> Used:
        """Tell how much this person's files take, of how much."""
        return self._quota.used(person)

    # Of the house -------------------------------------------------------------------------

    def waiting(self) -> int:
        """Count the jobs of everybody that wait for a worker."""
        return self._census.waiting()

    def choices(
        self, tab: str, parameter: str, language: str = DEFAULT
    ) -> Sequence[tuple[str, str]]:
        """Give `(label, value)` pairs for a model field, from what the servers really list."""
        form = self._catalog.tab(tab)
        field = form.parameter(parameter)
        if field is None:
            raise StudioError("field_unknown", field=parameter, workflow=tab)
        if field.picks:
            return form.model_choices(self._servers.choices, language, name=parameter)
        return [(name, name) for name in self._servers.choices(field.folder or "")]

    def models(self) -> Mapping[str, Sequence[str]]:
        """Give the model files the servers list, for every folder that a workflow uses."""
        folders = {model.folder for model in self._catalog.models.values()}
        for workflow in self._catalog.workflows.values():
            folders.update(p.folder for p in workflow.manifest.parameters if p.folder)
        return {folder: list(self._servers.choices(folder)) for folder in sorted(folders)}

    def health(self) -> Health:
        """Look at the whole house. Raises `database_away`."""
        return self._pulse.health()

    def metrics(self) -> Metrics:
        """Count for a monitor. Raises `database_away`."""
        return self._pulse.metrics()

    def workers(self) -> Sequence[Worker]:
        """Tell which processes run jobs, those that answer first; each tells every 10 s."""
        return self._servers.workers()

    def deserted(self) -> bool:
        """Tell whether no process is there to run a job."""
        return self._servers.nobody_works

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
            for status in self._servers.views()
        ]

    def lacks(self, tab: str) -> Mapping[str, tuple[ServerReport, ...]]:
        """Say what each online server lacks for each workflow of a tab.

        A server that was not asked yet is not among them. Reads memory only, so a page may ask
        whenever it is drawn.
        """
        names = [workflow.name for workflow in self._catalog.tab(tab).workflows]
        return {name: self._servers.reports(name) for name in names}

    def idle(self, tab: str) -> Mapping[str, Mapping[str, str]]:
        """Name, by workflow, the fields of a tab that no server can heed, and the node it lacks."""
        names = [workflow.name for workflow in self._catalog.tab(tab).workflows]
        return {name: self._servers.idle(name) for name in names}

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
        """Find a kept file of this person's job by its `Output.name`, or raise `file_unknown`.

        `thumbnail` gives a small WebP instead: the picture, a video's poster, a sound's waveform.
        """
        output = self._output(person, job_id, name)
        return self._darkroom.small(output) if thumbnail else self._store.path(output)

    def _output(self, person: str, job_id: str, name: str) -> Output:
        for output in self._ledger.get(job_id, person=person).outputs:
            if output.name == name:
                return output
        raise StudioError("file_unknown", name=name)

    def input_file(self, person: str, ref: str) -> Path:
        """Find a stored input of this person by its reference, or raise `file_unknown`."""
        return self._media.path(person, ref)

    # Following ----------------------------------------------------------------------------

    async def follow(self, person: str, job_id: str) -> AsyncIterator[News]:
        """Yield news until the job has ended, the present state first, and at least each second.

        Ends after the news whose state is an end state; the full result is then `job()`. The end
        is believed from the row only. Raises `job_unknown` at once when it is not this person's,
        and `database_away` when that cannot be said; later such an absence is waited for.
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
                    if heard.at_us:
                        self._lags.observe(time.time() - heard.at_us / 1e6)
                elif ended or time.monotonic() - asked_at >= ROW_EVERY_S:
                    row = await asyncio.to_thread(self._stand_again, person, job_id)
                    asked_at = time.monotonic()
                    news = news if row is None else _later(row, news)

    def _stand_again(self, person: str, job_id: str) -> News | None:
        """Tell how a followed job stands; None while the database is away."""
        try:
            return self._stand(person, job_id)
        except StudioError as error:
            if error.code != "database_away":
                raise
            return None

    def _stand(self, person: str, job_id: str) -> News:
        """Tell how a job stands: the row's state, with the latest news when they speak of it."""
        job = self._ledger.get(job_id, person=person)
        latest = self._bus.latest(job_id)
        if job.state is State.PENDING:
            lacks = self._servers.waits(job_id, job.workflow, self._stages.left(job).values)
            phase = "phase.waiting_fit" if lacks else self._waiting_phase()
            return replace(_as_news(job), phase=phase, position=self._ledger.ahead_of(job_id) + 1)
        if job.state is State.PROCESSING and latest and latest.state is State.PROCESSING:
            return latest
        return _as_news(job)

    def _waiting_phase(self) -> str:
        """Say why a job waits: for its turn, for any server to be there, or for a worker."""
        if self._servers.nobody_works:
            return "phase.no_worker"
        return "phase.waiting" if self._servers.any_there else "phase.offline"


_TAKES: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.IMAGE: ("image",),
    Kind.IMAGES: ("image",),
    Kind.AUDIO: ("audio", "video"),
    Kind.VIDEO: ("video",),
}
"""Which results a field takes: of a video, a field for sound takes the sound."""


def _measures(given: Sequence[Given]) -> dict[str, Measure]:
    return {one.ref: Measure(one.width_px, one.height_px, one.seconds) for one in given}


def _words(workflow: Workflow, values: Mapping[str, Any], given: Sequence[Given]) -> str:
    """Collect what people look for: their texts, their files' names and the seed."""
    texts = [
        str(values[parameter.name])
        for parameter in workflow.manifest.parameters
        if parameter.type is Kind.TEXT and parameter.name in values
    ]
    seed = _seed_of(workflow, values)
    return " ".join([*texts, *(one.name for one in given), *([seed] if seed else [])])


def _plain(values: Mapping[str, Any]) -> str:
    """Write values in one spelling, to compare them."""
    return json.dumps(values, sort_keys=True)


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
