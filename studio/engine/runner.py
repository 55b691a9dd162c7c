"""One job, from claimed to finished, on one ComfyUI: the story of the product, top to bottom.

Knows the parts it is given; knows no SQL, no socket and no widget.
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from typing import Any, BinaryIO, Final

from studio.engine.census import Census
from studio.engine.comfy import refusals
from studio.engine.comfy.client import ComfyClient, Listener, RunRecord
from studio.engine.comfy.events import Failed, OutputFile
from studio.engine.comfy.fleet import Server, Slot
from studio.engine.comfy.refusals import is_out_of_memory
from studio.engine.heart import Heart, Run
from studio.engine.jobs import Claim, Failure, Job, Output, State
from studio.engine.ledger import MAX_ATTEMPTS, Ledger
from studio.engine.media import Media
from studio.engine.places import Places, TurnedAway, Verdict, turning_away
from studio.engine.progress import Progress
from studio.engine.stages import Stages, saved
from studio.engine.store import Store
from studio.engine.watcher import Elsewhere, Pace, Stale, Stopping, Watcher, Why
from studio.engine.workflow.binding import wanted_files
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.graph import model_files
from studio.engine.workflow.parts import Part
from studio.errors import StudioError

log = logging.getLogger("studio.runner")

FULL_WAIT_S: Final = 2.0
"""How long a job rests that was claimed for a slot which another one took."""

Prompt = Mapping[str, Any]


class Unwanted(Exception):  # noqa: N818  a turn of the story, not an error that people meet
    """The person does not want to wait for files whose server is away."""


class Runner:
    """Runs claims. One instance a process, used by all its worker threads.

    `kept` is given each completed job's outputs, `left` called when a prompt was abandoned.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        census: Census,
        heart: Heart,
        places: Places,
        catalog: Catalog,
        store: Store,
        media: Media,
        worker: str,
        kept: Callable[[Sequence[Output]], None] = lambda _: None,
        left: Callable[[], None] = lambda: None,
        pace: Pace | None = None,
        lease_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime.date] = lambda: datetime.datetime.now(datetime.UTC).date(),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._ledger = ledger
        self._census = census
        self._heart = heart
        self._places = places
        self._catalog = catalog
        self._store = store
        self._media = media
        self._stages = Stages(catalog, media)
        self._worker = worker
        self._kept = kept
        self._left = left
        self._pace = pace or Pace()
        self._lease_s = lease_s
        self._clock = clock
        self._today = today
        self._new_id = new_id
        self._stopped = threading.Event()

    def start(self) -> None:
        """Take claims from now on, and keep them."""
        self._stopped.clear()
        self._heart.start()

    def stop(self) -> None:
        """Hand over every running job, prompts and all."""
        self._stopped.set()
        self._heart.stop()

    def pump(self) -> bool:
        """Claim the best job and run it to its end; tell whether there was one to run."""
        if self._stopped.is_set():
            return False
        with closing(self._places.seats()) as seats:
            for seat in seats:
                claim = self._ledger.claim(
                    self._worker,
                    lease_s=self._lease_s,
                    skip=seat.workflows,
                    leave=seat.jobs,
                    servers=self._places.names,
                )
                if claim is not None:
                    self.run(claim, seat.slot)
                    return True
                if seat.all_welcome:
                    return False  # nothing waits, for this server or any other
        return False

    def run(self, claim: Claim, slot: Slot) -> None:
        """Carry one claim to an end state, or give it back; `slot` is traded for a better one."""
        with self._heart.living(claim) as run:
            log.info("job starts, attempt %d", run.job.attempt, extra=run.tags)
            try:
                self._carry(run, slot)
            except Stale:
                log.warning("the lease was lost: another worker has the job", extra=run.tags)
            except Stopping:
                self._give_back(run, keep_prompt=True, count=False)

    def _carry(self, run: Run, slot: Slot) -> None:
        try:
            self._journey(run, slot)
        except (Stale, Stopping):
            raise
        except Unwanted:
            self._end(run, State.CANCELLED)
        except Elsewhere:
            log.warning("its server is gone: to another one", extra=run.tags)
            self._give_back(run, keep_prompt=False, count=True)
        except TurnedAway as turned:
            log.warning("turned away by %s: %s", run.server, turned.error, extra=run.tags)
            verdict = self._places.turned_away(self._rest(run), run.server, turned.error)
            self._obey(run, verdict, turned.error)
        except StudioError as error:
            self._obey(run, self._places.troubled(self._rest(run), run.server, error), error)
        except Exception:
            # The loop's edge: whatever it was, the person gets an end and the host a trace.
            log.exception("the runner met a fault of its own", extra=run.tags)
            self._fail(run, Failure("internal"))

    # The journey --------------------------------------------------------------------------

    def _journey(self, run: Run, slot: Slot) -> None:
        """Take over the prompt of an earlier attempt, where there is one; send what is left.

        A job has one run, or runs that go before its main one. The row tells which of them are
        done, and the prompt it names is always of the next.
        """
        kept = self._places.seat_of(run.job.server) if run.job.prompt_id else None
        if kept is None:
            if run.job.prompt_id:
                log.warning("server %s is no longer ours: anew", run.job.server, extra=run.tags)
            self._send(run, slot)
            return
        slot.release()  # that one is of no use here
        with kept:
            if not self._adopt(run, kept.server):
                self._send(run, kept)

    def _adopt(self, run: Run, server: Server) -> bool:
        """Follow a prompt that another worker sent; False when one is still to be sent."""
        run.report.on(server.name)
        part = self._stages.next(run.job)
        prompt = part.prompt()
        prompt_id = run.job.prompt_id
        run.report.resume()
        with self._hearing(run, server, prompt_id, run.job.client_id) as listener:
            progress = self._progress(run, part, prompt)
            watcher = self._watcher(run, server, prompt_id, listener, progress, adopted=True)
            record = watcher.watch()
        if record is None:
            log.info("the prompt of an earlier attempt is gone: anew", extra=run.tags)
            return False
        return self._finish(run, server.client, record, part, prompt)

    def _send(self, run: Run, slot: Slot) -> None:
        """Begin a new prompt on the server that will do best."""
        if run.life.cancel_wanted:
            self._end(run, State.CANCELLED)
            return
        models = wanted_files(self._catalog.workflow(run.job.workflow), run.job.values)
        place = self._places.best_for(self._rest(run), slot, models)
        if place is None:
            rests = not self._places.unfit(self._rest(run))
            wait_s = FULL_WAIT_S if rests else 0.0
            self._give_back(run, keep_prompt=False, count=False, wait_s=wait_s)
            return
        with place:
            if not self._attempt(run, place.server):
                self._send(run, place)

    def _attempt(self, run: Run, server: Server, *, freed: bool = False) -> bool:
        """Upload, bind, listen, send, watch. The row knows the prompt before ComfyUI does.

        A run that met too little memory is tried once more after the server was `freed`. Gives
        False when that was a run before the main one, and the next is to be sent.
        """
        client = server.client
        part = self._stages.next(run.job)
        run.report.on(server.name)
        run.report.phase("phase.uploading")
        with turning_away():
            files = {ref: self._upload(run, client, ref) for ref in part.inputs}
            prompt = part.prompt(files, listed=client.models, prefix=_prefix(run))
        prompt_id = self._new_id()
        with self._hearing(run, server, prompt_id) as listener:
            progress = self._progress(run, part, prompt)
            watcher = self._watcher(run, server, prompt_id, listener, progress)
            self._note(run, server, prompt_id, listener.client_id)
            with turning_away():
                self._submit(run, client, prompt, prompt_id, watcher)
            self._places.ran(server, model_files(prompt))
            record = watcher.watch()
        if record is None:
            self._vanished(run, watcher.why_unknown)
        elif not freed and record.failed is not None and is_out_of_memory(record.failed):
            log.warning("out of memory: freeing the server, once more", extra=run.tags)
            client.free()
            return self._attempt(run, server, freed=True)
        else:
            return self._finish(run, client, record, part, prompt)
        return True

    def _rest(self, run: Run) -> Job:
        """Give the job as what is left of it: a server must be able to do just that."""
        return self._stages.left(run.job)

    def _note(self, run: Run, server: Server, prompt_id: str, client_id: str) -> None:
        """Write into the row which prompt is the job's."""
        noted = self._ledger.sent(
            run.claim, server=server.name, prompt_id=prompt_id, client_id=client_id
        )
        if not noted:
            raise Stale

    def _upload(self, run: Run, client: ComfyClient, ref: str) -> str:
        """Bring one input to the server under a name made of its content."""
        run.life.mind()
        return client.upload(self._media.path(run.job.person, ref), ref)

    def _submit(
        self, run: Run, client: ComfyClient, prompt: Prompt, prompt_id: str, watcher: Watcher
    ) -> None:
        """Send the prompt. A server that went away meanwhile may have it: doubt, not failure."""
        run.report.phase("phase.queued")
        try:
            client.submit(
                prompt,
                prompt_id,
                extra_data={"preview_method": "auto"},
                may_send=lambda: self._heart.assure(run),
            )
        except StudioError as error:
            if error.code != "server_away":
                raise
            log.warning("no answer to the prompt: will ask for it", extra=run.tags)
            watcher.doubt()

    # Watching -----------------------------------------------------------------------------

    @contextmanager
    def _hearing(
        self, run: Run, server: Server, prompt_id: str, client_id: str = ""
    ) -> Iterator[Listener]:
        """Listen to a prompt; leave its socket's id to the next worker when that one takes over.

        Who lost the lease leaves the prompt to its new owner, and to nobody when it has none.
        """
        listener = server.client.listen(prompt_id, client_id=client_id)
        with listener, run.life.woken_through(listener):
            try:
                yield listener
            except Stale:
                listener.give_up()
                self._ledger.disown(run.claim, server=server.name, prompt_id=prompt_id)
                self._left()
                raise
            except Stopping:
                listener.give_up()
                raise

    def _watcher(
        self,
        run: Run,
        server: Server,
        prompt_id: str,
        listener: Listener,
        progress: Progress,
        *,
        adopted: bool = False,
    ) -> Watcher:
        return Watcher(
            server.client,
            prompt_id,
            listener,
            life=run.life,
            report=run.report,
            progress=progress,
            pace=self._pace,
            nurse=self._places.nurse(self._rest(run), server),
            adopted=adopted,
            clock=self._clock,
        )

    def _progress(self, run: Run, part: Part, prompt: Prompt) -> Progress:
        typical_s = self._census.typical_s(run.job.workflow)
        return self._stages.progress(part, prompt, typical_s, self._clock())

    # Endings ------------------------------------------------------------------------------

    def _finish(
        self, run: Run, client: ComfyClient, record: RunRecord, part: Part, prompt: Prompt
    ) -> bool:
        """Turn the server's record into the job's end; False when the next run is to be sent."""
        if record.outcome == "success":
            self._places.well(run.server)
            if part.before is not None:
                self._take_in(run, client, record, part)
                return False
            outputs = self._keep(run, client, record)
            self._end(run, State.COMPLETED, outputs=outputs)
            self._kept(outputs)
        elif record.outcome == "interrupted":
            self._end(run, State.CANCELLED)
        else:
            self._fail(run, _failure_of(record.failed, prompt), leaves_prompt=False)
        return True

    def _take_in(self, run: Run, client: ComfyClient, record: RunRecord, part: Part) -> None:
        """Make what a run made before the main one the job's own: it is never run again."""
        file = saved(record, part)
        with self._stages.draft() as path:
            self._fetch(run, client, file, lambda: path.open("wb"))
            made = self._stages.take(run.job, part, path)
        if not self._ledger.made(run.claim, made):
            raise Stale
        run.has(made)
        log.info("%s was made, %.1f s", made[-1].field, made[-1].seconds, extra=run.tags)

    def _keep(self, run: Run, client: ComfyClient, record: RunRecord) -> tuple[Output, ...]:
        """Fetch every file the run saved, all or none."""
        run.report.phase("phase.saving")
        files = [
            (output.node, file)
            for output in record.outputs
            for file in output.files
            if file.type == "output"
        ]
        if not files:
            raise StudioError("no_outputs")
        with self._store.draft(run.job.job_id, run.claim.fence, self._today()) as draft:
            for node, file in files:
                self._fetch(run, client, file, partial(draft.add, node, file.filename))
            return draft.keep()

    def _fetch(
        self,
        run: Run,
        client: ComfyClient,
        file: OutputFile,
        begin: Callable[[], AbstractContextManager[BinaryIO]],
    ) -> None:
        """Bring one file home. The run is done: while its server is away, wait for the file."""
        while True:
            run.life.mind()
            try:
                with begin() as into:
                    client.download(file, into)
            except StudioError as error:
                if error.code != "server_away":
                    raise
                if run.life.cancel_wanted:
                    raise Unwanted from error
                run.report.phase("phase.server_away")
                self._stopped.wait(self._pace.away_look_s)
            else:
                return

    def _vanished(self, run: Run, why: Why) -> None:
        """End or repeat a prompt that the server knows nothing of."""
        log.info("the prompt is not there: %s", why.value, extra=run.tags)
        if why in (Why.CANCELLED, Why.DELETED):
            self._end(run, State.CANCELLED)
        elif why is Why.FORGOTTEN and run.job.attempt >= MAX_ATTEMPTS:
            self._fail(run, Failure("run_lost"), leaves_prompt=False)
        else:
            self._give_back(run, keep_prompt=False, count=why is Why.FORGOTTEN)

    def _obey(self, run: Run, verdict: Verdict, error: StudioError) -> None:
        """Give a job back, or end it, that its server could not or would not do."""
        if verdict is Verdict.NOWHERE:
            self._fail(run, _as_failure(error))
        else:
            self._give_back(run, keep_prompt=False, count=verdict is Verdict.ELSEWHERE)

    def _end(self, run: Run, state: State, *, outputs: tuple[Output, ...] = ()) -> None:
        """Complete or cancel the job and tell its followers, if the job is still ours."""
        if state is State.COMPLETED:
            ours = self._ledger.complete(run.claim, outputs)
        else:
            ours = self._ledger.cancelled(run.claim)
        self._told(run, state, ours)

    def _fail(self, run: Run, failure: Failure, *, leaves_prompt: bool = True) -> None:
        """Fail the job. Unless its run has ended, its prompt is stopped wherever it still is."""
        ours = self._ledger.fail(run.claim, failure, leaves_prompt=leaves_prompt)
        self._told(run, State.FAILED, ours, f": {failure.code} {failure.details}")
        if leaves_prompt:
            self._left()

    def _told(self, run: Run, state: State, ours: bool, reason: str = "") -> None:
        if not ours:
            raise Stale
        log.info("job %s%s", state.value, reason, extra=run.tags)
        run.report.ended(state)

    def _give_back(self, run: Run, *, keep_prompt: bool, count: bool, wait_s: float = 0.0) -> None:
        """Let the next claimer have it, not before `wait_s` seconds."""
        if self._ledger.give_back(run.claim, keep_prompt=keep_prompt, count=count, wait_s=wait_s):
            log.info("job given back", extra=run.tags)
            run.report.waits()
        if not keep_prompt:
            self._left()


def _prefix(run: Run) -> str:
    """Name what a run saves: by the attempt's own name, so that no file is another's."""
    return f"studio/{run.job.workflow}/{run.job.job_id}_{run.claim.fence}"


def _failure_of(failed: Failed | None, prompt: Prompt) -> Failure:
    """Say in our codes what ComfyUI's `execution_error` says; an old record may not say it."""
    if failed is None:
        return Failure("run_failed", {"node": "ComfyUI", "reason": "?"})
    return _as_failure(refusals.failure(failed, prompt))


def _as_failure(error: StudioError) -> Failure:
    return Failure(error.code, error.params, error.details)
