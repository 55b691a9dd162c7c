"""Telling followers how one run stands. Knows the bus; decides nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from studio.engine.bus import Bus
from studio.engine.comfy.events import Preview
from studio.engine.jobs import Claim, News, State
from studio.engine.progress import ProgressView

log = logging.getLogger("studio.reporter")

PREVIEW_EVERY_S: Final = 0.2
SEQ_PER_ATTEMPT: Final = 1_000_000
"""News of a later attempt outranks all of an earlier one: its fence is higher."""


class Reporter:
    """Publish the news of one claim, each with a higher `seq`, previews at most five a second."""

    def __init__(
        self, bus: Bus, claim: Claim, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._preview_at = float("-inf")
        self._held: Preview | None = None
        self.last = News(
            job_id=claim.job.job_id,
            person=claim.job.person,
            seq=claim.fence * SEQ_PER_ATTEMPT,
            state=State.PROCESSING,
            phase="phase.starting",
        )

    def on(self, server: str) -> None:
        """Say which server works on it, from the first node on."""
        self.last = replace(self.last, server=server, node_title="", step=0, steps=0)

    def resume(self) -> None:
        """Begin where an earlier worker was, as far as it was heard: progress never falls."""
        heard = self._bus.latest(self.last.job_id)
        if heard is not None and not heard.state.ended:
            self._publish(replace(self.last, fraction=heard.fraction, preview=heard.preview))

    def phase(self, key: str, *, position: int = 0) -> None:
        """Say what happens now, by text key; `position` counts from 1 in ComfyUI's own queue."""
        if (key, position) != (self.last.phase, self.last.position):
            self._publish(replace(self.last, phase=key, position=position))

    def progress(self, view: ProgressView) -> None:
        """Say how far the whole graph is."""
        self._publish(
            replace(
                self.last,
                fraction=max(self.last.fraction, view.fraction),
                phase=view.phase,
                node_title=view.node_title,
                step=view.step,
                steps=view.steps,
                eta_s=view.eta_s,
                position=0,
            )
        )

    def preview(self, event: Preview) -> None:
        """Show a preview, or hold it until the next one is due."""
        self._held = event
        if self._clock() - self._preview_at >= PREVIEW_EVERY_S:
            self._publish(self.last)

    def waits(self) -> None:
        """Say that the job waits again for a worker."""
        self._publish(replace(self.last, state=State.PENDING, phase="phase.waiting", eta_s=None))

    def ended(self, state: State) -> None:
        """Say that the ledger has the job at this state now."""
        fraction = 1.0 if state is State.COMPLETED else self.last.fraction
        self._publish(replace(self.last, state=state, fraction=fraction, eta_s=None, preview=None))

    def log(self) -> None:
        """Write into the log how it stands."""
        last = self.last
        step = f", step {last.step}/{last.steps}" if last.steps else ""
        where = f" on {last.server}" if last.server else ""
        title = f" at {last.node_title}" if last.node_title else ""
        log.info(
            "%d %%%s%s%s, %s",
            round(100 * last.fraction),
            where,
            title,
            step,
            last.phase,
            extra={"job": last.job_id, "person": last.person},
        )

    def _publish(self, news: News) -> None:
        if self._held and self._clock() - self._preview_at >= PREVIEW_EVERY_S:
            news = replace(news, preview=self._held.data, preview_mime=self._held.mime)
            self._preview_at, self._held = self._clock(), None
        self.last = replace(news, seq=self.last.seq + 1, at_us=time.time_ns() // 1000)
        self._bus.publish(self.last)
