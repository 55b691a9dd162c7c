"""The one handler that follows jobs, for every tab: it watches, and changes nothing.

One follower per open page and tab looks after all running jobs of that person in that tab, also
those another page of theirs ordered. It is an async generator and holds no thread while it waits.
That its viewer leaves, or that the server goes down, says nothing about the job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Final

from studio.engine.desk import Desk
from studio.engine.jobs import Job, News, State

FRAME_EVERY_S: Final = 0.2
"""At most five frames a second; news is newest-only, so nothing that lasts is missed."""

LIST_EVERY_S: Final = 1.0
"""How often the list of running jobs is read anew while something runs."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a page shows at one moment: the job in focus, how it stands, and who waits behind it.

    `first`: the job has just come into focus. `fresh`: the preview is a new one. `done`: the job
    has ended, and `job` is its final row.
    """

    job: Job
    news: News
    others: tuple[Job, ...] = ()
    first: bool = False
    fresh: bool = False
    done: bool = False


@dataclass(slots=True)
class Watch:
    """One page's follower of one tab. `pinned`: the person looks at an earlier result."""

    poked: bool = False
    pinned: bool = False


class Watches:
    """The followers of this process, by page session and tab. Used from the event loop only."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Watch] = {}

    def find(self, session: str, tab: str) -> Watch | None:
        """Find the follower of a page's tab."""
        return self._open.get((session, tab))

    @contextmanager
    def watching(self, session: str, tab: str) -> Iterator[Watch]:
        """Be the follower of a page's tab."""
        watch = self._open[session, tab] = Watch()
        try:
            yield watch
        finally:
            del self._open[session, tab]


def focus(jobs: Sequence[Job]) -> Job | None:
    """Choose the job to show of the running ones, oldest first: one that works, else the first."""
    return next((job for job in jobs if job.state is State.PROCESSING), jobs[0] if jobs else None)


async def follow(desk: Desk, person: str, tab: str, watch: Watch) -> AsyncGenerator[Frame, None]:
    """Yield frames until none of this person's jobs in this tab runs any more.

    At least one frame a second, so that a page that left is noticed. Raises StudioError.
    """
    while True:
        watch.poked = False
        jobs = await asyncio.to_thread(desk.running, person, tab)
        job = focus(jobs)
        if job is None:
            return
        async with aclosing(_follow_one(desk, job, jobs, watch)) as frames:
            async for frame in frames:
                yield frame


async def _follow_one(
    desk: Desk, job: Job, jobs: Sequence[Job], watch: Watch
) -> AsyncGenerator[Frame, None]:
    """Yield frames of one job until it ends, or until another should be in focus."""
    now = asyncio.get_running_loop().time
    shown: bytes | None = None
    listed_at, first = now(), True
    async for news in desk.follow(job.person, job.job_id):
        if news.state.ended:
            row = await asyncio.to_thread(desk.job, job.person, job.job_id)
            yield Frame(row, news, _without(jobs, job), first=first, done=True)
            return
        if watch.poked or now() - listed_at >= LIST_EVERY_S:
            watch.poked, listed_at = False, now()
            jobs = await asyncio.to_thread(desk.running, job.person, job.tab)
            if news.state is State.PENDING and _overtaken(job, jobs):
                return
        fresh = news.preview is not None and news.preview is not shown
        shown = news.preview or shown
        yield Frame(job, news, _without(jobs, job), first=first, fresh=fresh)
        first = False
        await asyncio.sleep(FRAME_EVERY_S)


def _overtaken(job: Job, jobs: Sequence[Job]) -> bool:
    """Tell whether another job works while this one still waits."""
    best = focus(jobs)
    return best is not None and best.job_id != job.job_id


def _without(jobs: Sequence[Job], job: Job) -> tuple[Job, ...]:
    return tuple(other for other in jobs if other.job_id != job.job_id)
