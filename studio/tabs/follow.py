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
from typing import Final, cast

from studio.engine.desk import Desk
from studio.engine.jobs import Job, News, State

FRAME_EVERY_S: Final = 0.2
"""At most five frames a second; news is newest-only, so nothing that lasts is missed."""

LIST_EVERY_S: Final = 2.0
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
    unended: set[str] = set()
    while True:
        watch.poked = False
        jobs = await asyncio.to_thread(desk.running, person, tab)
        for gone in unended - _ids(jobs):  # ended while another was in focus
            row = await asyncio.to_thread(desk.job, person, gone)
            if row.state is not State.CANCELLED:
                yield Frame(row, _last_news(row), jobs_beside(row, jobs), done=True)
        unended = _ids(jobs)
        job = focus(jobs)
        if job is None:
            return
        async with aclosing(_follow_one(desk, job, jobs, watch)) as frames:
            async for frame in frames:
                unended |= _ids(frame.others)
                if frame.done:
                    unended.discard(frame.job.job_id)
                yield frame


def _ids(jobs: Sequence[Job]) -> set[str]:
    return {job.job_id for job in jobs}


def _last_news(job: Job) -> News:
    """Say of a job that ended unwatched what its row knows."""
    return News(job.job_id, job.person, 0, job.state, fraction=1.0)


async def _follow_one(
    desk: Desk, job: Job, jobs: Sequence[Job], watch: Watch
) -> AsyncGenerator[Frame, None]:
    """Yield frames of one job until it ends, or until another should be in focus."""
    now = asyncio.get_running_loop().time
    shown: bytes | None = None
    listed_at, first = now(), True
    async with aclosing(news_of(desk, job.person, job.job_id)) as heard:
        async for news in heard:
            if news.state.ended:
                row = await asyncio.to_thread(desk.job, job.person, job.job_id)
                jobs = await asyncio.to_thread(desk.running, job.person, job.tab)
                yield Frame(row, news, jobs_beside(job, jobs), first=first, done=True)
                return
            if watch.poked or now() - listed_at >= LIST_EVERY_S:
                watch.poked, listed_at = False, now()
                before, jobs = jobs, await asyncio.to_thread(desk.running, job.person, job.tab)
                if _ids(before) - _ids(jobs) or _overtaken(job, jobs):
                    return
            fresh = news.preview is not None and news.preview is not shown
            shown = news.preview or shown
            yield Frame(job, news, jobs_beside(job, jobs), first=first, fresh=fresh)
            first = False
            await asyncio.sleep(FRAME_EVERY_S)


def news_of(desk: Desk, person: str, job_id: str) -> AsyncGenerator[News, None]:
    """Give the desk's news as what they are: a generator, to be closed by who leaves early."""
    return cast("AsyncGenerator[News, None]", desk.follow(person, job_id))


def _overtaken(job: Job, jobs: Sequence[Job]) -> bool:
    """Tell whether another job works while this one still waits."""
    working = _ids([other for other in jobs if other.state is State.PROCESSING])
    return bool(working) and job.job_id not in working


def jobs_beside(job: Job, jobs: Sequence[Job]) -> tuple[Job, ...]:
    """List the others of some jobs."""
    return tuple(other for other in jobs if other.job_id != job.job_id)
