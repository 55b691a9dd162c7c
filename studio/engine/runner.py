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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from studio.engine.bus import Bus
from studio.engine.comfy import refusals
from studio.engine.comfy.client import ComfyClient, Listener, RunRecord
from studio.engine.comfy.events import Failed, OutputFile
from studio.engine.comfy.fleet import Fleet, Server, Slot
from studio.engine.comfy.refusals import is_out_of_memory
from studio.engine.jobs import Claim, Failure, Job, News, Output, State
from studio.engine.ledger import MAX_ATTEMPTS, Ledger
from studio.engine.media import Media
from studio.engine.progress import Progress
from studio.engine.reporter import Reporter
from studio.engine.stocks import Stocks
from studio.engine.store import Draft, Store
from studio.engine.watcher import Elsewhere, Life, Pace, Stale, Stopping, Watcher, Why
from studio.engine.workflow.binding import bind
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.graph import model_files, titles
from studio.errors import StudioError

log = logging.getLogger("studio.runner")

UNFIT_WAIT_S: Final = 2.0
"""How long a job rests that only servers without a free slot can run."""


_TURNS_AWAY: Final = frozenset({"server_away", "server_answer", "server_forbidden"})


class TurnedAway(Exception):  # noqa: N818  a turn of the story, not an error that people meet
    """A server did not take the job. `prompt_id` is empty when it was not even asked."""

    def __init__(self, error: StudioError, prompt_id: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.prompt_id = prompt_id


class Unwanted(Exception):  # noqa: N818  likewise
    """The person does not want to wait for files whose server is away."""


@dataclass(frozen=True, slots=True)
class _Nurse:
    """What a watcher tells and asks about its server's health."""

    fleet: Fleet
    server: str
    unfit: Callable[[], Mapping[str, object]]

    def silent(self) -> None:
        """Let the server have nothing more for now."""
        self.fleet.silent(self.server)

    def speaks(self) -> None:
        """Let it have jobs again."""
        self.fleet.well(self.server)

    def replaced(self) -> bool:
        """Tell whether another server could do the job."""
        return self.fleet.another(self.server, refuse=self.unfit())


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a claim is ours without a word, and how often we say the word. Seconds.

    `wish_s` is how often the rows are asked for wishes to cancel.
    """

    lease_s: float = 30.0
    beat_s: float = 10.0
    wish_s: float = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One claim being worked on."""

    claim: Claim
    report: Reporter
    life: Life

    @property
    def job(self) -> Job:
        """The job as it was when claimed."""
        return self.claim.job

    @property
    def tags(self) -> dict[str, str]:
        """Give what every log line about it carries."""
        return {"job": self.job.job_id, "person": self.job.person}


class Runner:
    """Runs claims. One instance a process, used by all its worker threads."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        fleet: Fleet,
        catalog: Catalog,
        store: Store,
        media: Media,
        bus: Bus,
        stocks: Stocks,
        worker: str,
        kept: Callable[[Sequence[Output]], None] = lambda _: None,
        pace: Pace | None = None,
        lease: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], datetime.date] = lambda: datetime.datetime.now(datetime.UTC).date(),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._catalog = catalog
        self._store = store
        self._media = media
        self._bus = bus
        self._stocks = stocks
        self._worker = worker
        self._kept = kept
        self._pace = pace or Pace()
        self._lease = lease or Lease()
        self._clock = clock
        self._today = today
        self._new_id = new_id
        self._runs: set[Run] = set()
        self._abandoned: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._heart: threading.Thread | None = None
        fleet.on_change(self._call_off)

    def start(self) -> None:
        """Begin the heartbeat that keeps the leases of this process."""
        self._stopped.clear()
        self._heart = threading.Thread(target=self._beat, name="studio-heart", daemon=True)
        self._heart.start()

    def stop(self) -> None:
        """Hand over every running job, prompts and all, and end the heartbeat."""
        self._stopped.set()
        for run in self._alive():
            run.life.stop()
        if self._heart is not None:
            self._heart.join(timeout=5)

    @property
    def running(self) -> int:
        """Count the jobs that are worked on here."""
        return len(self._alive())

    def pump(self) -> bool:
        """Claim the best job and run it to its end; tell whether there was one to run."""
        if self._stopped.is_set():
            return False
        barren: set[str] = set()
        while (slot := self._fleet.take(refuse=barren)) is not None:
            with slot:
                skip = self._stocks.hopeless(slot.server)
                claim = self._ledger.claim(
                    self._worker,
                    lease_s=self._lease.lease_s,
                    skip=skip,
                    servers=self._fleet.names,
                )
                if claim is not None:
                    self.run(claim, slot)
                    return True
            if not skip:
                return False  # nothing waits, for this server or any other
            barren.add(slot.server.name)
        return False

    def run(self, claim: Claim, slot: Slot) -> None:
        """Carry one claim to an end state, or give it back; `slot` is traded for a better one."""
        with self._living(claim) as run:
            log.info("job starts, attempt %d", run.job.attempt, extra=run.tags)
            try:
                self._carry(run, slot)
            except Stale:
                log.warning("the lease was lost: another worker has the job", extra=run.tags)
            except Stopping:
                self._give_back(run, keep_prompt=True, count=False)
            except Elsewhere as gone:
                log.warning("its server is gone: to another one", extra=run.tags)
                self._abandon(run.report.last.server, gone.prompt_id)
                self._give_back(run, keep_prompt=False, count=True)

    def _carry(self, run: Run, slot: Slot) -> None:
        try:
            self._journey(run, slot)
        except (Stale, Stopping, Elsewhere):
            raise
        except Unwanted:
            self._end(run, State.CANCELLED)
        except TurnedAway as turned:
            self._turned_away(run, turned)
        except StudioError as error:
            self._troubled(run, error)
        except Exception:
            # The loop's edge: whatever it was, the person gets an end and the host a trace.
            log.exception("the runner met a fault of its own", extra=run.tags)
            self._end(run, State.FAILED, failure=Failure("internal"))

    # The journey --------------------------------------------------------------------------

    def _journey(self, run: Run, slot: Slot) -> None:
        if run.job.prompt_id:
            kept = self._fleet.adopt(run.job.server)
            if kept is None:
                log.warning("server %s is no longer ours: anew", run.job.server, extra=run.tags)
            else:
                slot.release()  # that one is of no use here
                slot = kept
                with kept:
                    if self._adopt(run, kept.server):
                        return
                    self._send(run, kept)
                return
        self._send(run, slot)

    def _send(self, run: Run, slot: Slot) -> None:
        """Begin a new prompt on the server that will do best."""
        if run.life.cancel_wanted:
            self._end(run, State.CANCELLED)
            return
        models = model_files(self._bound(run, {ref: ref for ref in run.job.inputs}, None))
        place = self._fleet.trade(slot, refuse=self._unfit(run), models=models)
        if place is None:
            # Its turn comes again soon: a fit server may be free then, or another process's is.
            self._give_back(run, keep_prompt=False, count=False, wait_s=UNFIT_WAIT_S)
            return
        with place:
            self._attempt(run, place.server)

    def _unfit(self, run: Run) -> Mapping[str, object]:
        return self._stocks.unfit(run.job.workflow, run.job.values)

    def _adopt(self, run: Run, server: Server) -> bool:
        """Take over the prompt of an earlier attempt; False when it is to be sent anew."""
        run.report.on(server.name)
        prompt = self._bound(run, {ref: ref for ref in run.job.inputs}, None)
        prompt_id = run.job.prompt_id
        run.report.resume()
        with self._hearing(run, server.client, prompt_id, run.job.client_id) as listener:
            watcher = Watcher(
                server.client,
                prompt_id,
                listener,
                life=run.life,
                report=run.report,
                progress=self._progress(run, prompt),
                pace=self._pace,
                nurse=self._nurse(run, server),
                adopted=True,
                clock=self._clock,
            )
            record = watcher.watch()
        if record is None:
            log.info("the prompt of an earlier attempt is gone: anew", extra=run.tags)
            return False
        self._finish(run, server.client, record, prompt)
        return True

    def _attempt(self, run: Run, server: Server, *, freed: bool = False) -> None:
        """Upload, bind, listen, send, watch. The row knows the prompt before ComfyUI does.

        A run that met too little memory is tried once more after the server was `freed`.
        """
        client = server.client
        run.report.on(server.name)
        run.report.phase("phase.uploading")
        with self._turning_away():
            files = {ref: self._upload(run, client, ref) for ref in run.job.inputs}
            prompt = self._bound(run, files, client)
        prompt_id = self._new_id()
        with self._hearing(run, client, prompt_id) as listener:
            watcher = Watcher(
                client,
                prompt_id,
                listener,
                life=run.life,
                report=run.report,
                progress=self._progress(run, prompt),
                pace=self._pace,
                nurse=self._nurse(run, server),
                clock=self._clock,
            )
            sent = self._ledger.sent(
                run.claim,
                server=server.name,
                prompt_id=prompt_id,
                client_id=listener.client_id,
            )
            if not sent:
                raise Stale
            with self._turning_away(prompt_id):
                self._submit(run, client, prompt, prompt_id, watcher)
            self._fleet.ran(server.name, model_files(prompt))
            record = watcher.watch()
        if record is None:
            self._vanished(run, watcher.why_unknown)
        elif not freed and record.failed is not None and is_out_of_memory(record.failed):
            log.warning("out of memory: freeing the server, once more", extra=run.tags)
            client.free()
            self._attempt(run, server, freed=True)
        else:
            self._finish(run, client, record, prompt)

    @contextmanager
    def _turning_away(self, prompt_id: str = "") -> Iterator[None]:
        """Tell a server that does not take a job from one that fails it: nothing has run yet."""
        try:
            yield
        except StudioError as error:
            if error.code not in _TURNS_AWAY:
                raise
            raise TurnedAway(error, prompt_id) from error

    def _nurse(self, run: Run, server: Server) -> _Nurse:
        return _Nurse(self._fleet, server.name, lambda: self._unfit(run))

    @contextmanager
    def _hearing(
        self, run: Run, client: ComfyClient, prompt_id: str, client_id: str = ""
    ) -> Iterator[Listener]:
        """Listen to a prompt; leave its socket's id to the next worker when that one takes over."""
        listener = client.listen(prompt_id, client_id=client_id)
        with listener, run.life.woken_through(listener):
            try:
                yield listener
            except (Stale, Stopping):
                listener.give_up()
                raise

    def _upload(self, run: Run, client: ComfyClient, ref: str) -> str:
        """Bring one input to the server under a name made of its content."""
        run.life.mind()
        return client.upload(self._media.path(run.job.person, ref), ref)

    def _bound(
        self, run: Run, files: Mapping[str, str], client: ComfyClient | None
    ) -> dict[str, Any]:
        """Bind the job's values. The prefix is the attempt's own, so that no file is another's."""
        return bind(
            self._catalog.workflow(run.job.workflow),
            run.job.values,
            files=files,
            listed=client.models if client else None,
            prefix=f"studio/{run.job.workflow}/{run.job.job_id}_{run.claim.fence}",
        )

    def _progress(self, run: Run, prompt: Mapping[str, Any]) -> Progress:
        typical_s = self._ledger.typical_s(run.job.workflow)
        return Progress(prompt, titles(prompt), typical_s, self._clock())

    def _submit(
        self,
        run: Run,
        client: ComfyClient,
        prompt: Mapping[str, Any],
        prompt_id: str,
        watcher: Watcher,
    ) -> None:
        """Send the prompt. A server that went away meanwhile may have it: doubt, not failure."""
        run.life.mind()
        run.report.phase("phase.queued")
        try:
            client.submit(prompt, prompt_id, extra_data={"preview_method": "auto"})
        except StudioError as error:
            if error.code != "server_away":
                raise
            log.warning("no answer to the prompt: will ask for it", extra=run.tags)
            watcher.doubt()

    # Endings ------------------------------------------------------------------------------

    def _finish(
        self, run: Run, client: ComfyClient, record: RunRecord, prompt: Mapping[str, Any]
    ) -> None:
        """Turn the server's record into the job's end."""
        if record.outcome == "success":
            self._fleet.well(run.report.last.server)
            outputs = self._keep(run, client, record)
            self._end(run, State.COMPLETED, outputs=outputs)
            self._kept(outputs)
        elif record.outcome == "interrupted":
            self._end(run, State.CANCELLED)
        else:
            self._end(run, State.FAILED, failure=_failure_of(record.failed, prompt))

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
                self._fetch(run, client, draft, node, file)
            return draft.keep()

    def _fetch(
        self, run: Run, client: ComfyClient, draft: Draft, node: str, file: OutputFile
    ) -> None:
        """Bring one file home. The run is done: while its server is away, wait for the file."""
        while True:
            run.life.mind()
            try:
                with draft.add(node, file.filename) as into:
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
            self._end(run, State.FAILED, failure=Failure("run_lost"))
        else:
            self._give_back(run, keep_prompt=False, count=why is Why.FORGOTTEN)

    def _turned_away(self, run: Run, turned: TurnedAway) -> None:
        """Let a server rest that did not take the job, and another one have it, if there is one.

        A server that is away costs no attempt. The others do: no job goes round for ever.
        """
        server, error = run.report.last.server, turned.error
        self._fleet.ails(server)
        if turned.prompt_id:
            self._abandon(server, turned.prompt_id)  # an answer of 504 may hide one that was taken
        if error.code == "server_away":
            self._give_back(run, keep_prompt=False, count=False)
        elif self._fleet.another(server, refuse=self._unfit(run)):
            log.warning("turned away by %s: %s", server, error, extra=run.tags)
            self._give_back(run, keep_prompt=False, count=True)
        else:
            self._end(run, State.FAILED, failure=_as_failure(error))

    def _abandon(self, server: str, prompt_id: str) -> None:
        """Remember a prompt that must not run any more, and stop it if its server answers."""
        with self._lock:
            self._abandoned.add((server, prompt_id))
        self._call_off()

    def _call_off(self) -> None:
        """Stop the abandoned prompts on every server that is there."""
        online = {server.name: server for server in self._fleet.usable()}
        with self._lock:
            waiting = [pair for pair in self._abandoned if pair[0] in online]
        for name, prompt_id in waiting:
            try:
                online[name].client.cancel(prompt_id)
            except StudioError as error:
                log.warning("an abandoned prompt may still run on %s: %s", name, error)
                continue
            with self._lock:
                self._abandoned.discard((name, prompt_id))

    def _troubled(self, run: Run, error: StudioError) -> None:
        """Another server, or this one later, may do what this one could not; else it is the end."""
        if error.code == "server_away" or self._lacks_only_here(run, error):
            self._give_back(run, keep_prompt=False, count=False)
            return
        self._end(run, State.FAILED, failure=_as_failure(error))

    def _lacks_only_here(self, run: Run, error: StudioError) -> bool:
        """Tell whether what we knew of this server was old, and another one will do."""
        if error.code not in ("missing_model", "missing_node"):
            return False
        self._stocks.refresh()
        unfit = self._stocks.unfit(run.job.workflow, run.job.values)
        others = {server.name for server in self._fleet.usable()} - set(unfit)
        return run.report.last.server in unfit and bool(others)

    def _end(
        self,
        run: Run,
        state: State,
        *,
        outputs: tuple[Output, ...] = (),
        failure: Failure | None = None,
    ) -> None:
        """Move the job to an end state and tell its followers, if the job is still ours."""
        if state is State.COMPLETED:
            ours = self._ledger.complete(run.claim, outputs)
        elif state is State.FAILED:
            ours = self._ledger.fail(run.claim, failure or Failure("internal"))
        else:
            ours = self._ledger.cancelled(run.claim)
        if not ours:
            raise Stale
        reason = f": {failure.code} {failure.details}" if failure else ""
        log.info("job %s%s", state.value, reason, extra=run.tags)
        run.report.ended(state)

    def _give_back(self, run: Run, *, keep_prompt: bool, count: bool, wait_s: float = 0.0) -> None:
        """Let the next claimer have it, not before `wait_s` seconds."""
        if self._ledger.give_back(run.claim, keep_prompt=keep_prompt, count=count, wait_s=wait_s):
            log.info("job given back", extra=run.tags)
            run.report.waits()

    # Life ---------------------------------------------------------------------------------

    @contextmanager
    def _living(self, claim: Claim) -> Iterator[Run]:
        """Keep the lease beating and hear of a cancel for as long as the claim is worked on."""
        run = Run(claim, Reporter(self._bus, claim, clock=self._clock), Life())
        forget = self._bus.on_cancel(claim.job.job_id, run.life.want_cancel)
        with self._lock:
            self._runs.add(run)
        try:
            self._renew(run)  # a cancel may have come between the claim and our listening for it
            yield run
        finally:
            forget()
            with self._lock:
                self._runs.discard(run)

    def standing(self) -> tuple[News, ...]:
        """Give the last news of each job this process runs."""
        return tuple(run.report.last for run in self._alive())

    def _alive(self) -> list[Run]:
        with self._lock:
            return list(self._runs)

    def _beat(self) -> None:
        beat_at = self._clock() + self._lease.beat_s
        while not self._stopped.wait(min(self._lease.wish_s, self._lease.beat_s)):
            self._look_for_wishes()
            if self._clock() < beat_at:
                continue
            beat_at = self._clock() + self._lease.beat_s
            for run in self._alive():
                try:
                    self._renew(run)
                except Exception:
                    # The heart's edge: a database away for a moment must not stop the others.
                    log.exception("heartbeat failed", extra=run.tags)

    def _look_for_wishes(self) -> None:
        """See in the rows whose person wants it stopped: the bus may not reach us."""
        runs = self._alive()
        try:
            unwanted = self._ledger.unwanted(run.claim for run in runs)
        except Exception:
            # The heart's edge, as below: the wish is still in the row at the next look.
            log.exception("could not look for wishes to cancel")
            return
        for run in runs:
            if run.job.job_id in unwanted and not run.life.cancel_wanted:
                run.life.want_cancel()

    def _renew(self, run: Run) -> None:
        beat = self._ledger.beat(run.claim, lease_s=self._lease.lease_s)
        if not beat.ours:
            run.life.lose()
        elif beat.cancel_wanted:
            run.life.want_cancel()


def _failure_of(failed: Failed | None, prompt: Mapping[str, Any]) -> Failure:
    """Say in our codes what ComfyUI's `execution_error` says; an old record may not say it."""
    if failed is None:
        return Failure("run_failed", {"node": "ComfyUI", "reason": "?"})
    return _as_failure(refusals.failure(failed, prompt))


def _as_failure(error: StudioError) -> Failure:
    return Failure(error.code, error.params, error.details)
