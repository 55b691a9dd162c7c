"""Where a job may run: which servers will do, which is best, and what a refusal means.

Knows the fleet and what its servers have; knows no row. Three things stay apart: a server that is
away, one that turned the job away and another can be asked, and a job that nobody can run.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from studio.engine.comfy.fleet import Fleet, Server, Slot
from studio.engine.jobs import Job
from studio.engine.stocks import Stocks
from studio.engine.watcher import Nurse
from studio.errors import StudioError

_TURNS_AWAY: Final = frozenset({"server_away", "server_answer", "server_forbidden"})
_BARRED_AT_MOST: Final = 1_000


class TurnedAway(Exception):  # noqa: N818  a turn of the story, not an error that people meet
    """A server did not take the job, of which nothing has run yet."""

    def __init__(self, error: StudioError) -> None:
        super().__init__(str(error))
        self.error = error


class Verdict(Enum):
    """What becomes of a job that a server could not or would not do."""

    LATER = "it waits, and the attempt does not count"
    ELSEWHERE = "another server may do it, and the attempt counts: no job goes round for ever"
    NOWHERE = "it fails"


@dataclass(frozen=True, slots=True)
class Seat:
    """A slot, and what may not be claimed for it: its server could not run that."""

    slot: Slot
    workflows: Collection[str]
    jobs: Collection[str]

    @property
    def all_welcome(self) -> bool:
        """Tell whether any job may be claimed for it."""
        return not self.workflows and not self.jobs


@contextmanager
def turning_away() -> Iterator[None]:
    """Tell a server that does not take a job from one that fails it."""
    try:
        yield
    except StudioError as error:
        if error.code not in _TURNS_AWAY:
            raise
        raise TurnedAway(error) from error


class Places:
    """The servers of this process, as its jobs see them. Safe to use from many threads."""

    def __init__(self, fleet: Fleet, stocks: Stocks) -> None:
        self._fleet = fleet
        self._stocks = stocks
        self._barred: dict[str, Collection[str]] = {}
        self._lock = threading.Lock()
        stocks.on_change(self._welcome_all)

    @property
    def names(self) -> tuple[str, ...]:
        """Name every server that is ours, away or not."""
        return self._fleet.names

    def seats(self) -> Generator[Seat]:
        """Give free slots, the best first, one of each server while nothing is claimed for it."""
        barren: set[str] = set()
        while (slot := self._fleet.take(refuse=barren)) is not None:
            with slot:
                server = slot.server
                yield Seat(slot, self._stocks.hopeless(server), self._barred_from(server.name))
            barren.add(server.name)

    def seat_of(self, name: str) -> Slot | None:
        """Take a slot on a named server for a prompt it has already; None when it is not ours."""
        return self._fleet.adopt(name)

    def best_for(self, job: Job, slot: Slot, models: Collection[str]) -> Slot | None:
        """Trade a slot for the best that will do for a job; None when all those are full.

        Such a job is not claimed again for a server that will not do.
        """
        unfit = self.unfit(job)
        place = self._fleet.trade(slot, refuse=unfit, models=models)
        if place is None and unfit:
            self._bar(job.job_id, unfit)
        return place

    def unfit(self, job: Job) -> Mapping[str, object]:
        """Name the servers that are there and cannot run a job."""
        return self._stocks.unfit(job.workflow, job.values)

    def nurse(self, job: Job, server: Server) -> Nurse:
        """Give what a watcher of this job tells and asks about the health of its server."""
        return _Nurse(self, job, server.name)

    def ran(self, server: Server, models: Collection[str]) -> None:
        """Note which model files a server used just now."""
        self._fleet.ran(server.name, models)

    def well(self, server: str) -> None:
        """Note that a server did a job: it needs no rest."""
        self._fleet.well(server)

    def silent(self, server: str) -> None:
        """Let a server that says nothing have nothing more for now."""
        self._fleet.silent(server)

    def another(self, job: Job, server: str) -> bool:
        """Tell whether a server beside this one could do the job."""
        return self._fleet.another(server, refuse=self.unfit(job))

    def turned_away(self, job: Job, server: str, error: StudioError) -> Verdict:
        """Let a server rest that did not take a job, and say what becomes of the job."""
        self._fleet.ails(server)
        if error.code == "server_away":
            return Verdict.LATER
        return Verdict.ELSEWHERE if self.another(job, server) else Verdict.NOWHERE

    def troubled(self, job: Job, server: str, error: StudioError) -> Verdict:
        """Say what becomes of a job that met an error: what we knew of the server may be old."""
        if error.code == "server_away":
            return Verdict.LATER
        if error.code not in ("missing_model", "missing_node"):
            return Verdict.NOWHERE
        self._stocks.refresh()
        unfit = self.unfit(job)
        others = {one.name for one in self._fleet.usable()} - set(unfit)
        return Verdict.LATER if server in unfit and others else Verdict.NOWHERE

    def _bar(self, job_id: str, servers: Collection[str]) -> None:
        with self._lock:
            if len(self._barred) >= _BARRED_AT_MOST:
                self._barred.clear()
            self._barred[job_id] = frozenset(servers)

    def _barred_from(self, server: str) -> frozenset[str]:
        with self._lock:
            return frozenset(job for job, servers in self._barred.items() if server in servers)

    def _welcome_all(self) -> None:
        with self._lock:
            self._barred.clear()


@dataclass(frozen=True, slots=True)
class _Nurse:
    """What the watcher of one job tells and asks about its server's health."""

    places: Places
    job: Job
    server: str

    def silent(self) -> None:
        """Let the server have nothing more for now."""
        self.places.silent(self.server)

    def speaks(self) -> None:
        """Let it have jobs again."""
        self.places.well(self.server)

    def replaced(self) -> bool:
        """Tell whether another server could do the job."""
        return self.places.another(self.job, self.server)
