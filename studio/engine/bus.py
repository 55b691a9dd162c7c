"""Live news of running jobs, from worker threads to asyncio followers, newest only.

Knows how to carry news; decides nothing by it. The end of a job is believed from its row alone:
news may be late or lost, and followers look at the row now and then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Final, Protocol

from studio.engine.jobs import News

log = logging.getLogger("studio.bus")

KEEP_ENDED_S: Final = 60.0
"""How long the last news of an ended job is held, for followers that come a little late."""
MAX_HELD: Final = 2000
"""How many jobs' last news are held at most; the longest unheard is forgotten first."""


class Bus(Protocol):
    """What every kind of bus does. Every method may be called from any thread; none raises."""

    def start(self) -> None:
        """Begin to hear other processes, where there may be some."""

    def stop(self) -> None:
        """Say what is left to say, and end every thread."""

    def publish(self, news: News) -> None:
        """Give news to the job's followers, unless later news was there before. Never waits."""

    def latest(self, job_id: str) -> News | None:
        """Give the last news of a job, or None. May ask another machine: not in an event loop."""

    def follow(self, job_id: str) -> Subscription:
        """Follow a job: `async with bus.follow(id) as sub: news = await sub.next(1.0)`."""

    def ask_cancel(self, job_id: str) -> None:
        """Tell whoever runs the job to stop it. Nobody may be there: the row carries the wish."""

    def on_cancel(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback`, from any thread, when the job shall stop. Gives "forget"."""


class MemoryBus:
    """Carries news inside one process."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        keep_ended_s: float = KEEP_ENDED_S,
        max_held: int = MAX_HELD,
    ) -> None:
        self._clock = clock
        self._keep_ended_s = keep_ended_s
        self._max_held = max_held
        self._lock = threading.Lock()
        self._latest: OrderedDict[str, News] = OrderedDict()
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._followers: dict[str, set[Subscription]] = {}
        self._cancels: dict[str, list[Callable[[], None]]] = {}

    def start(self) -> None:
        """Do nothing: nobody else is to be heard."""

    def stop(self) -> None:
        """Do nothing: there is no thread."""

    def publish(self, news: News) -> None:
        """Give news to the job's followers, unless later news was there before."""
        with self._lock:
            if self._late(news):
                return
            self._hold(news)
            self._forget_old()
            followers = tuple(self._followers.get(news.job_id, ()))
        for follower in followers:
            follower._put(news)

    def latest(self, job_id: str) -> News | None:
        """Give the last news of a job, or None when there was none or it is forgotten."""
        with self._lock:
            self._forget_old()
            return self._latest.get(job_id)

    def follow(self, job_id: str) -> Subscription:
        """Follow a job: `async with bus.follow(id) as sub: news = await sub.next(1.0)`."""
        return Subscription(self, job_id)

    def forget_unfollowed(self) -> tuple[str, ...]:
        """Forget the news of jobs that nobody follows here, and list those that somebody does."""
        with self._lock:
            for job_id in [known for known in self._latest if known not in self._followers]:
                self._latest.pop(job_id)
                self._ended.pop(job_id, None)
            return tuple(self._followers)

    def ask_cancel(self, job_id: str) -> None:
        """Tell whoever runs the job to stop it. Nobody may be there: the row carries the wish."""
        with self._lock:
            callbacks = tuple(self._cancels.get(job_id, ()))
        for callback in callbacks:
            try:
                callback()
            except Exception:
                # The edge to foreign code: one runner's fault must not deafen the others.
                log.exception("a cancel callback failed", extra={"job": job_id})

    def on_cancel(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback`, from any thread, when the job shall stop. Gives "forget"."""
        with self._lock:
            self._cancels.setdefault(job_id, []).append(callback)

        def forget() -> None:
            with self._lock:
                callbacks = self._cancels.get(job_id, [])
                if callback in callbacks:
                    callbacks.remove(callback)
                if not callbacks:
                    self._cancels.pop(job_id, None)

        return forget

    def _late(self, news: News) -> bool:
        held = self._latest.get(news.job_id)
        return held is not None and _overtaken(news, held)

    def _hold(self, news: News) -> None:
        # The result takes the place of the preview; a held picture would only cost memory.
        self._latest[news.job_id] = replace(news, preview=None) if news.state.ended else news
        self._latest.move_to_end(news.job_id)
        if news.state.ended:
            self._ended[news.job_id] = self._clock()

    def _forget_old(self) -> None:
        too_old = self._clock() - self._keep_ended_s
        while self._ended and next(iter(self._ended.values())) < too_old:
            job_id, _ = self._ended.popitem(last=False)
            self._latest.pop(job_id, None)
        while len(self._latest) > self._max_held:
            job_id, _ = self._latest.popitem(last=False)
            self._ended.pop(job_id, None)

    def _join(self, follower: Subscription) -> News | None:
        with self._lock:
            self._followers.setdefault(follower.job_id, set()).add(follower)
            return self._latest.get(follower.job_id)

    def _leave(self, follower: Subscription) -> None:
        with self._lock:
            followers = self._followers.get(follower.job_id, set())
            followers.discard(follower)
            if not followers:
                self._followers.pop(follower.job_id, None)


class Subscription:
    """One follower of one job, in the event loop that entered it. Holds no thread and one news."""

    def __init__(self, bus: MemoryBus, job_id: str) -> None:
        self.job_id = job_id
        self._bus = bus
        self._lock = threading.Lock()
        self._news: News | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fresh = asyncio.Event()

    async def __aenter__(self) -> Subscription:
        self._loop = asyncio.get_running_loop()
        held = self._bus._join(self)
        if held is not None:
            self._put(held)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bus._leave(self)

    async def next(self, timeout_s: float) -> News | None:
        """Wait for news not given before: the newest there is; None when none came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._fresh.wait()
        except TimeoutError:
            return None
        self._fresh.clear()
        return self._take()

    def _take(self) -> News | None:
        with self._lock:
            news, self._news = self._news, None
        return news

    def _put(self, news: News) -> None:
        """Keep the newest, and wake the loop once for all that came before it looked."""
        with self._lock:
            if self._news is not None and _overtaken(news, self._news):
                return
            asleep = self._news is None
            self._news = news
        if asleep and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._fresh.set)
            except RuntimeError:
                # The loop closed under its follower, as when a server stops: nobody listens now.
                self._bus._leave(self)


def _overtaken(news: News, by: News) -> bool:
    """Tell whether `news` comes too late after `by`. An end never does; nothing follows one."""
    return by.state.ended or (news.seq < by.seq and not news.state.ended)
