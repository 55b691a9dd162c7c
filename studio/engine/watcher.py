"""Following one prompt on one ComfyUI to its end, whatever the socket does meanwhile.

Knows the client, progress and the reporter; knows no ledger, no files and no database.
The server's own records decide; frames are the quick way to hear when to ask them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, assert_never

from studio.engine.comfy.client import ComfyClient, Listener, RunRecord, StandingKind
from studio.engine.comfy.events import (
    Back,
    Cached,
    Ended,
    Failed,
    Interrupted,
    Lost,
    NodeFinished,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    Preview,
    Queued,
    RunEvent,
    Silent,
    Started,
    Succeeded,
    Unknown,
)
from studio.engine.progress import Progress
from studio.engine.reporter import Reporter
from studio.errors import StudioError

log = logging.getLogger("studio.watcher")


class Stale(Exception):  # noqa: N818  a turn of the story, not an error that people meet
    """The lease is another worker's now: stop, and touch nothing."""


class Stopping(Exception):  # noqa: N818  likewise
    """This process is going down: hand the job over with its prompt, for the next to adopt."""


class Elsewhere(Exception):  # noqa: N818  likewise
    """The server has been away for too long with this prompt, and another one can do the job."""

    def __init__(self, prompt_id: str) -> None:
        super().__init__(prompt_id)
        self.prompt_id = prompt_id


class Nurse(Protocol):
    """What a watcher tells and asks about the health of the server it watches."""

    def silent(self) -> None:
        """Hear that the server says nothing of a prompt it runs."""

    def speaks(self) -> None:
        """Hear that a silent server speaks again."""

    def replaced(self) -> bool:
        """Tell whether another server could do the job."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the watcher looks up, and how patient it is. All in seconds."""

    tick_s: float = 0.5
    queue_look_s: float = 1.0
    away_look_s: float = 2.0
    end_patience_s: float = 10.0
    cancel_again_s: float = 3.0
    silent_s: float = 40.0
    gone_s: float = 60.0
    log_every_s: float = 60.0
    time_limit_s: float = 3600.0


class Life:
    """What others want of a running claim. Set from any thread, minded by the one that runs it."""

    def __init__(self) -> None:
        self.cancel_wanted = False
        self.held_until = float("-inf")
        """Until when the claim is surely ours, by the clock of who beats for it."""
        self._stale = False
        self._stopping = False
        self._listener: Listener | None = None

    def want_cancel(self) -> None:
        """Say that the person wants the job stopped."""
        self.cancel_wanted = True
        self._wake()

    def lose(self) -> None:
        """Say that the lease is gone."""
        self._stale = True
        self._wake()

    def stop(self) -> None:
        """Say that this process is going down."""
        self._stopping = True
        self._wake()

    def mind(self) -> None:
        """Raise `Stale` or `Stopping` when it is time to let go."""
        if self._stale:
            raise Stale
        if self._stopping:
            raise Stopping

    @contextmanager
    def woken_through(self, listener: Listener) -> Iterator[None]:
        """Let wishes interrupt this listener's wait."""
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    def _wake(self) -> None:
        listener = self._listener
        if listener is not None:
            listener.nudge()


class Why(Enum):
    """Why a server may know nothing of our prompt."""

    NEVER_SENT = "the prompt never arrived"
    CANCELLED = "we took it out of the queue"
    DELETED = "somebody took it out of the queue"
    FORGOTTEN = "the server restarted and forgot it"


class Watcher:
    """Watches one prompt. `adopted`: an earlier attempt sent it, so its frames were missed."""

    def __init__(
        self,
        client: ComfyClient,
        prompt_id: str,
        listener: Listener,
        *,
        life: Life,
        report: Reporter,
        progress: Progress,
        pace: Pace,
        nurse: Nurse,
        adopted: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._prompt_id = prompt_id
        self._listener = listener
        self._life = life
        self._report = report
        self._progress = progress
        self._pace = pace
        self._nurse = nurse
        self._clock = clock
        self._frames_missed = adopted
        self._unsure = adopted
        self._deaf = adopted  # its frames go to the socket of the process that sent it
        self._can_hear = not adopted or listener.borrows
        self._started = False
        self._over_since: float | None = None
        self._away_since: float | None = None
        self._running_since: float | None = None
        self._looked_at = float("-inf")
        self._word_at = self._logged_at = clock()
        self._silent = False
        self._cancel_sent_at: float | None = None
        self._outputs: list[NodeOutput] = []
        self._failed: Failed | None = None
        self._ended_how: str | None = None

    def doubt(self) -> None:
        """Say that nobody knows whether the prompt arrived: the server went away in the answer."""
        self._unsure = True
        self._went_away()

    def watch(self) -> RunRecord | None:
        """Return the server's record of the end, or None when it knows nothing of the prompt.

        Raises `Stale`, `Stopping`, `Elsewhere`, and `time_limit` or, of a server that says nothing,
        `run_silent`, after having asked for the end.
        """
        ask = self._frames_missed
        while True:
            self._life.mind()
            self._mind_cancel()
            self._mind_limit()
            self._mind_gone()
            self._log_now_and_then()
            if ask or self._records_due():
                known, record = self._ask_records()
                if not known or record is not None:
                    return record
            ask = self._hear(self._listener.get(self._pace.tick_s))

    @property
    def why_unknown(self) -> Why:
        """Tell why `watch` returned None."""
        if self._cancel_sent_at is not None:
            return Why.CANCELLED
        if self._unsure:
            return Why.NEVER_SENT
        if self._frames_missed or self._started:
            return Why.FORGOTTEN
        return Why.DELETED

    # Hearing ------------------------------------------------------------------------------

    def _hear(self, event: RunEvent | None) -> bool:
        """Take in one event; tell whether the server's records should be asked now."""
        match event:
            case None | Unknown():
                return False
            case Queued():
                return not self._started and self._quiet_for(self._pace.queue_look_s)
            case Preview():
                self._speaks()
                self._report.preview(event)
                return False
            case Lost():
                self._frames_missed = True
                self._went_away()
                return False
            case Back() | Silent():
                return True
            case Ended():
                self._over_since = self._over_since or self._clock()
                return True
            case Succeeded() | Failed() | Interrupted():
                self._how_it_ends(event)
                return False
            case Started() | Cached() | NodeStarted() | NodeProgress() | NodeFinished():
                self._speaks()
                self._works()
                self._advance(event)
                return False
            case NodeOutput():
                self._speaks()
                self._outputs.append(event)
                self._advance(event)
                return False
            case _:
                assert_never(event)

    def _advance(self, event: RunEvent) -> None:
        self._deaf = False
        now = self._clock()
        self._progress.read(event, now)
        self._report.progress(self._progress.view(now))

    def _how_it_ends(self, event: Succeeded | Failed | Interrupted) -> None:
        """Remember the ending in case the records are late; `Ended` follows within moments."""
        self._over_since = self._over_since or self._clock()
        if isinstance(event, Failed):
            self._failed, self._ended_how = event, "error"
        else:
            self._ended_how = "success" if isinstance(event, Succeeded) else "interrupted"

    def _works(self) -> None:
        self._started = True
        self._unsure = False
        self._running_since = self._running_since or self._clock()

    # Asking -------------------------------------------------------------------------------

    def _records_due(self) -> bool:
        """Tell whether the records must be asked although no event said so."""
        if self._over_since is not None:
            return self._quiet_for(0.1)
        if self._away_since is not None or self._unsure:
            return self._quiet_for(self._pace.away_look_s)
        if self._deaf:
            return self._quiet_for(self._pace.queue_look_s)
        return self._cancel_sent_at is not None and self._quiet_for(self._pace.tick_s)

    def _quiet_for(self, seconds: float) -> bool:
        return self._clock() - self._looked_at >= seconds

    def _ask_records(self) -> tuple[bool, RunRecord | None]:
        """Ask queue and history. `(known, record)`: known and no record means watch on."""
        try:
            standing = self._client.look(self._prompt_id)
        except StudioError as error:
            if error.code != "server_away":
                raise
            self._went_away()
            return True, None
        finally:
            self._looked_at = self._clock()
        self._came_back()
        match standing.kind:
            case StandingKind.FINISHED:
                if self._over_since is None:
                    log.info("recovered from history: %s ended unheard", self._prompt_id)
                return True, standing.record
            case StandingKind.RUNNING:
                self._works()
                self._listener.tune_in()
                self._mind_silence()
            case StandingKind.QUEUED:
                self._unsure = False
                self._listener.tune_in()
                if standing.position:
                    self._word_at = self._clock()  # another's turn: nothing to be heard of ours
                if not self._mind_silence():
                    self._report.phase("phase.queued", position=standing.position)
            case StandingKind.UNKNOWN:
                return self._unknown()
        return True, None

    def _unknown(self) -> tuple[bool, RunRecord | None]:
        """A run that ended before our eyes may be in history a little later; else it is gone."""
        if self._over_since is None:
            return False, None
        if self._clock() - self._over_since < self._pace.end_patience_s:
            return True, None
        if self._ended_how is None:
            return False, None
        log.warning("no history of %s; keeping what its frames told", self._prompt_id)
        return True, RunRecord(
            outcome=self._ended_how, outputs=tuple(self._outputs), failed=self._failed
        )

    def _mind_silence(self) -> bool:
        """Notice a server that holds our prompt at its front, and says and does nothing.

        It may be loading a large model; a dead worker thread looks just the same. So it is shown,
        and gets no more jobs meanwhile, but its prompt is waited for: it may still complete. An
        adopted prompt is heard through the socket of who sent it (`Listener.tune_in`); where that
        one's id was not kept, no silence can be told.
        """
        if not self._can_hear or self._clock() - self._word_at < self._pace.silent_s:
            return False
        if not self._silent:
            log.warning("ComfyUI says nothing of prompt %s, which it holds", self._prompt_id)
        self._silent = True
        self._nurse.silent()
        self._report.phase("phase.silent")
        return True

    def _speaks(self) -> None:
        self._word_at = self._clock()
        if self._silent:
            self._silent = False
            self._nurse.speaks()

    def _went_away(self) -> None:
        self._away_since = self._away_since or self._clock()
        self._report.phase("phase.server_away")

    def _came_back(self) -> None:
        """The time a server was away burns nobody's limit."""
        if self._away_since is None:
            return
        if self._running_since is not None:
            self._running_since += self._clock() - self._away_since
        self._away_since = None
        self._word_at = self._clock()
        self._report.progress(self._progress.view(self._clock()))

    # Wishes and limits --------------------------------------------------------------------

    def _mind_cancel(self) -> None:
        if self._life.cancel_wanted:
            self._report.phase("phase.cancelling")
            self._stop_prompt()

    def _mind_limit(self) -> None:
        since = self._running_since
        if since is None or self._away_since is not None:
            return
        if self._clock() - since > self._pace.time_limit_s:
            self._stop_prompt()
            if self._silent:
                raise StudioError("run_silent")
            raise StudioError("time_limit", minutes=round(self._pace.time_limit_s / 60))

    def _mind_gone(self) -> None:
        """Give up on a server that is gone while another one can do the job.

        Nobody can know whether a prompt on a server that does not answer will complete. Mostly the
        process is dead, and its queue with it: ComfyUI keeps that in memory alone. Should it be
        the network, the prompt may complete there unseen; then it is cancelled as soon as the
        server is back, and its result is never taken, since the job's row names another prompt by
        then. A prompt that is known to have completed never comes this way: `_over_since` is set.
        """
        away, cancelled = self._away_since, self._life.cancel_wanted
        if away is None or cancelled or self._over_since is not None:
            return
        if self._clock() - away >= self._pace.gone_s and self._nurse.replaced():
            raise Elsewhere(self._prompt_id)

    def _log_now_and_then(self) -> None:
        """Log how a long job stands."""
        now = self._clock()
        if now - self._logged_at >= self._pace.log_every_s:
            self._logged_at = now
            self._report.log()

    def _stop_prompt(self) -> None:
        """Stop our own prompt on the server, again every few seconds: a deaf node hears late."""
        sent = self._cancel_sent_at
        if sent is not None and self._clock() - sent < self._pace.cancel_again_s:
            return
        try:
            self._client.cancel(self._prompt_id)
        except StudioError as error:
            if error.code != "server_away":
                raise
            self._went_away()
            return
        self._cancel_sent_at = self._clock()
