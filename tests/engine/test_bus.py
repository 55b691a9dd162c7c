from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest

from studio.engine.bus import Bus, MemoryBus
from studio.engine.bus_redis import RedisBus
from studio.engine.jobs import News, State

DEADLINE_S = 5.0


@pytest.fixture(autouse=True)
def nothing_left(no_threads_left: None) -> None:
    """Every test here ends with the threads it began with."""


@pytest.fixture(params=["memory", "redis"])
def bus(request: pytest.FixtureRequest, nothing_left: None) -> Iterator[Bus]:
    """Each kind of bus: one contract for all."""
    kind = (
        MemoryBus() if request.param == "memory" else RedisBus(request.getfixturevalue("redis_url"))
    )
    kind.start()
    yield kind
    kind.stop()


def news(seq: int, *, job_id: str = "j-1", state: State = State.PROCESSING) -> News:
    return News(job_id=job_id, person="anna", seq=seq, state=state, fraction=seq / 1000)


def hub_of(bus: Bus) -> MemoryBus:
    """The part that fans out inside the process."""
    return bus._hub if isinstance(bus, RedisBus) else cast(MemoryBus, bus)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(DEADLINE_S * 4):
            return await main()

    return asyncio.run(limited())


class TestFollowing:
    def test_a_follower_hears_news_from_another_thread(self, bus: Bus) -> None:
        async def main() -> News | None:
            async with bus.follow("j-1") as sub:
                await asyncio.to_thread(bus.publish, news(1))
                return await sub.next(DEADLINE_S)

        assert run(main) == news(1)

    def test_a_follower_that_comes_late_hears_the_last_news_at_once(self, bus: Bus) -> None:
        bus.publish(news(1))
        bus.publish(news(2))

        async def main() -> News | None:
            async with bus.follow("j-1") as sub:
                return await sub.next(0.01)

        assert run(main) == news(2)

    def test_a_slow_follower_hears_the_newest_only(self, bus: Bus) -> None:
        async def main() -> list[News | None]:
            async with bus.follow("j-1") as sub:
                for seq in range(1, 501):
                    bus.publish(news(seq))
                return [await sub.next(DEADLINE_S), await sub.next(0.02)]

        assert run(main) == [news(500), None]

    def test_late_news_is_not_heard_after_later(self, bus: Bus) -> None:
        async def main() -> list[News | None]:
            async with bus.follow("j-1") as sub:
                bus.publish(news(5))
                first = await sub.next(DEADLINE_S)
                bus.publish(news(4))
                return [first, await sub.next(0.02)]

        assert run(main) == [news(5), None]
        assert bus.latest("j-1") == news(5)

    def test_an_end_is_heard_whatever_its_number_and_nothing_after_it(self, bus: Bus) -> None:
        end = news(1, state=State.CANCELLED)

        async def main() -> list[News | None]:
            async with bus.follow("j-1") as sub:
                bus.publish(news(5))
                bus.publish(end)
                bus.publish(news(6))
                return [await sub.next(DEADLINE_S), await sub.next(0.02)]

        assert run(main) == [end, None]

    def test_followers_hear_their_own_job_only(self, bus: Bus) -> None:
        async def main() -> list[News | None]:
            async with bus.follow("j-1") as one, bus.follow("j-2") as two:
                bus.publish(news(1, job_id="j-2"))
                return [await one.next(0.02), await two.next(DEADLINE_S)]

        assert run(main) == [None, news(1, job_id="j-2")]

    def test_five_hundred_followers_cost_no_thread_and_all_hear_the_end(self, bus: Bus) -> None:
        jobs = [f"j-{number}" for number in range(50)]
        end = 200

        async def follow(job_id: str, ready: asyncio.Semaphore) -> int:
            heard = 0
            async with bus.follow(job_id) as sub:
                ready.release()
                while heard < end:
                    got = await sub.next(DEADLINE_S)
                    assert got is not None
                    assert got.seq > heard
                    heard = got.seq
            return heard

        def publish(job_id: str) -> None:
            for seq in range(1, end + 1):
                bus.publish(news(seq, job_id=job_id))

        async def main() -> tuple[list[int], int]:
            ready = asyncio.Semaphore(0)
            before = threading.active_count()
            followers = [
                asyncio.create_task(follow(job_id, ready)) for job_id in jobs for _ in range(10)
            ]
            for _ in followers:
                await ready.acquire()
            during = threading.active_count()
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(4) as pool:
                await asyncio.gather(*(loop.run_in_executor(pool, publish, job) for job in jobs))
            return await asyncio.gather(*followers), during - before

        heard, threads = run(main)

        assert heard == [end] * 500
        assert threads == 0

    def test_news_for_a_follower_whose_loop_is_gone_harms_nobody(self, bus: Bus) -> None:
        async def leave_open() -> Any:
            sub = bus.follow("j-1")
            await sub.__aenter__()
            return sub

        gone = asyncio.run(leave_open())
        bus.publish(news(1))

        assert bus.latest("j-1") == news(1)
        assert gone not in hub_of(bus)._followers.get("j-1", set())

    def test_a_follower_that_leaves_is_forgotten(self, bus: Bus) -> None:
        hub = hub_of(bus)

        async def main() -> None:
            async with bus.follow("j-1"):
                assert hub._followers
            assert not hub._followers

        run(main)


class TestHolding:
    def test_ended_jobs_are_forgotten_after_a_while(self) -> None:
        now = [0.0]
        bus = MemoryBus(clock=lambda: now[0], keep_ended_s=60)
        bus.publish(news(1, job_id="running"))
        bus.publish(news(1, job_id="done", state=State.COMPLETED))

        now[0] = 59
        assert bus.latest("done") is not None
        now[0] = 61
        assert bus.latest("done") is None
        assert bus.latest("running") is not None

    def test_what_is_held_is_bounded(self) -> None:
        bus = MemoryBus(max_held=10)
        for number in range(100):
            bus.publish(news(1, job_id=f"j-{number}"))

        held = [number for number in range(100) if bus.latest(f"j-{number}")]

        assert held == list(range(90, 100))

    def test_the_preview_of_an_ended_job_is_not_held(self, bus: Bus) -> None:
        ended = replace(news(9, state=State.COMPLETED), preview=b"x" * 1000)

        bus.publish(ended)

        assert bus.latest("j-1") == replace(ended, preview=None)


class TestCancel:
    def test_a_wish_to_cancel_reaches_the_job_only(self, bus: Bus) -> None:
        called: list[str] = []
        bus.on_cancel("j-1", lambda: called.append("one"))
        bus.on_cancel("j-2", lambda: called.append("two"))

        bus.ask_cancel("j-1")
        bus.ask_cancel("nobody")

        assert called == ["one"]

    def test_a_forgotten_callback_is_not_called(self, bus: Bus) -> None:
        called: list[str] = []
        forget = bus.on_cancel("j-1", lambda: called.append("one"))

        forget()
        forget()
        bus.ask_cancel("j-1")

        assert called == []

    def test_a_faulty_callback_keeps_no_other_from_hearing(
        self, bus: Bus, caplog: pytest.LogCaptureFixture
    ) -> None:
        called: list[str] = []

        def faulty() -> None:
            raise RuntimeError("fault")

        bus.on_cancel("j-1", faulty)
        bus.on_cancel("j-1", lambda: called.append("two"))

        bus.ask_cancel("j-1")

        assert called == ["two"]
        assert "a cancel callback failed" in caplog.text


def test_news_arrives_in_a_few_milliseconds(bus: Bus) -> None:
    async def main() -> float:
        waits = []
        async with bus.follow("j-1") as sub:
            for seq in range(1, 101):
                started = time.perf_counter()
                await asyncio.to_thread(bus.publish, news(seq))
                assert await sub.next(DEADLINE_S)
                waits.append(time.perf_counter() - started)
        return sorted(waits)[50]

    assert run(main) < 0.05
