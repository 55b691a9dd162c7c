"""Stopping the prompts that no job's row names any more, on whatever server may still run them.

They are in the records, so that they outlive the worker that left them: any worker that serves
the server stops them, as soon as it answers. A prompt that a row names is never touched.
"""

from __future__ import annotations

import logging
from typing import Final

from studio.engine.comfy.fleet import Fleet
from studio.engine.ledger import Ledger
from studio.engine.rounds import Rounds
from studio.errors import StudioError

log = logging.getLogger("studio.abandoned")

LOOK_S: Final = 10.0
"""How often the records are asked for such prompts, in seconds."""
LATE_S: Final = 60.0
"""A prompt its server does not know may still be posted by a worker that slept: so long it is
asked for again."""


class Abandoned:
    """Calls off abandoned prompts on the servers of one fleet. `ledger` should give up soon."""

    def __init__(
        self, ledger: Ledger, fleet: Fleet, *, look_s: float = LOOK_S, late_s: float = LATE_S
    ) -> None:
        self._ledger = ledger
        self._fleet = fleet
        self._late_s = late_s
        trouble = "could not look for abandoned prompts"
        self._rounds = Rounds(
            self.call_off, "studio-abandoned", every_s=look_s, trouble=trouble, log=log
        )
        fleet.on_change(self._rounds.soon)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._rounds.start()

    def stop(self) -> None:
        """End the looking."""
        self._rounds.stop()

    def look_soon(self) -> None:
        """Say that a prompt was abandoned just now. Does not wait."""
        self._rounds.soon()

    def call_off(self) -> None:
        """Stop what was abandoned on every server that is there. Blocks on the network."""
        online = {server.name: server.client for server in self._fleet.usable()}
        for one in self._ledger.abandoned(online):
            try:
                there = online[one.server].cancel(one.prompt_id)
            except StudioError as error:
                log.warning("an abandoned prompt may still run on %s: %s", one.server, error)
                continue
            if there:
                log.info("an abandoned prompt was stopped on %s: %s", one.server, one.prompt_id)
            elif one.age_s > self._late_s:
                self._ledger.called_off(one)
