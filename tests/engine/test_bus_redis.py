"""News between processes: two buses on one real Redis stand for two processes."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from studio.engine.bus_redis import CANCELS, KEPT_S, NEWS, PREVIEW_MAX_BYTES, RedisBus
from studio.engine.jobs import News, State
from tests.servers import RedisServer

DEADLINE_S = 10.0
JPEG = b"\xff\xd8\xff\n\n" + bytes(range(256)) * 40


def news(seq: int, *, job_id: str = "j-1", state: State = State.PROCESSING) -> News:
    return News(
        job_id=job_id,
        person="anna",
        seq=seq,
        state=state,
        fraction=seq / 1000,
        phase="phase.sampling",
        node_title="取樣器 🎨",
        step=3,
        steps=8,
        eta_s=1.5,
        position=2,
        server="gpu",
    )


Open = Callable[[str], RedisBus]


@pytest.fixture
def opened(no_threads_left: None) -> Iterator[Open]:
    made: list[RedisBus] = []

    def make(url: str) -> RedisBus:
        bus = RedisBus(url)
        bus.start()
        made.append(bus)
        return bus

    yield make
    for bus in made:
        bus.stop()


def until(there: Callable[[], Any], timeout_s: float = DEADLINE_S) -> Any:
    end, rest = time.monotonic() + timeout_s, threading.Event()
    while not (value := there()):
        assert time.monotonic() < end, "it never came true"
        rest.wait(0.01)
    return value


def hears(server: RedisServer, listeners: int) -> None:
    """Wait until so many processes hear the news."""

    def all_there() -> bool:
        with server.client() as client:
            return bool(dict(client.pubsub_numsub(NEWS))[NEWS.encode()] >= listeners)

    until(all_there)


@pytest.fixture
def worker(opened: Open, redis_url: str) -> RedisBus:
    return opened(redis_url)


@pytest.fixture
def web(opened: Open, redis_url: str, worker: RedisBus, redis_server: RedisServer) -> RedisBus:
    bus = opened(redis_url)
    hears(redis_server, 2)
    return bus


async def collect(bus: RedisBus, enough: Callable[[News], bool], ready: Any = None) -> list[News]:
    heard: list[News] = []
    async with asyncio.timeout(DEADLINE_S), bus.follow("j-1") as sub:
        if ready is not None:
            ready()
        while True:
            got = await sub.next(1.0)
            if got is not None:
                heard.append(got)
                if enough(got):
                    return heard


def test_news_comes_whole_to_another_process(worker: RedisBus, web: RedisBus) -> None:
    told = news(5)

    heard = asyncio.run(collect(web, lambda _: True, lambda: worker.publish(told)))

    assert heard == [told]


def test_a_preview_comes_as_it_was_and_stays_with_later_news(
    worker: RedisBus, web: RedisBus, redis_server: RedisServer
) -> None:
    first = replace(news(1), preview=JPEG, preview_mime="image/png")
    with redis_server.client() as client, client.pubsub() as ears:
        ears.subscribe(NEWS)
        sizes: list[int] = []
        for seq in (1, 2, 3):
            worker.publish(replace(first, seq=seq))
            until(lambda seq=seq: (held := web.latest("j-1")) and held.seq == seq)
        while (message := ears.get_message(timeout=0.3)) is not None:
            if message["type"] == "message":
                sizes.append(len(message["data"]))

    held = web.latest("j-1")
    assert held is not None
    assert (held.preview, held.preview_mime) == (JPEG, "image/png")
    assert sizes[0] > len(JPEG)
    assert max(sizes[1:]) < 1000  # the same picture is sent once


def test_a_huge_preview_stays_at_home_and_no_preview_lies_in_the_hash(
    worker: RedisBus, web: RedisBus, redis_server: RedisServer
) -> None:
    worker.publish(replace(news(1), preview=b"x" * (PREVIEW_MAX_BYTES + 1)))
    heard = until(lambda: web.latest("j-1"))
    worker.publish(replace(news(2), preview=JPEG))
    until(lambda: (web.latest("j-1") or news(0)).seq == 2)

    assert heard.preview is None
    with redis_server.client() as client:
        kept = client.hgetall("studio:job:j-1")
        assert 0 < client.ttl("studio:job:j-1") <= KEPT_S
    assert sum(map(len, kept.values())) < 1000
    assert (kept[b"state"], kept[b"step"]) == (b"processing", b"3")


def test_a_process_that_comes_late_reads_how_a_job_stands(
    worker: RedisBus, opened: Open, redis_url: str, redis_server: RedisServer
) -> None:
    worker.publish(news(7))
    with redis_server.client() as client:
        until(lambda: client.exists("studio:job:j-1"))

    late = opened(redis_url)

    assert late.latest("j-1") == news(7)
    assert late.latest("j-2") is None


def test_a_wish_to_cancel_reaches_another_process_at_once(worker: RedisBus, web: RedisBus) -> None:
    called = threading.Event()
    worker.on_cancel("j-1", called.set)
    started = time.perf_counter()

    web.ask_cancel("j-1")

    assert called.wait(1.0)
    assert time.perf_counter() - started < 0.5


def test_what_is_no_news_harms_nobody(
    worker: RedisBus,
    web: RedisBus,
    redis_server: RedisServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    odd = {"from": "x", "news": {"job_id": "j-1", "state": "odd"}, "preview": "none"}
    with redis_server.client() as client:
        for message in (b"", b"\xff\x00", b"[]", b"{}", json.dumps(odd).encode()):
            client.publish(NEWS, message)
            client.publish(CANCELS, message)
    worker.publish(news(1))

    assert until(lambda: web.latest("j-1")) == news(1)
    assert "what is no news" in caplog.text


def test_an_end_is_told_though_the_process_stops_at_once(
    opened: Open, redis_url: str, redis_server: RedisServer, no_threads_left: None
) -> None:
    web, ending = opened(redis_url), RedisBus(redis_url)
    hears(redis_server, 1)
    ending.start()

    ending.publish(news(9, state=State.COMPLETED))
    ending.stop()

    assert until(lambda: web.latest("j-1")) == news(9, state=State.COMPLETED)


class TestWithoutRedis:
    def test_publishing_waits_for_nothing_and_own_followers_hear(
        self, opened: Open, own_redis: RedisServer
    ) -> None:
        bus = opened(own_redis.url)
        hears(own_redis, 1)
        own_redis.pause()  # the worst kind: connections stand, nobody answers
        started = time.perf_counter()
        for seq in range(1, 201):
            bus.publish(news(seq))
            bus.ask_cancel("j-9")
        took = time.perf_counter() - started

        heard = asyncio.run(collect(bus, lambda _: True))
        own_redis.go_on()

        assert took < 0.2
        assert heard == [news(200)]

    def test_it_never_came_up(self, opened: Open) -> None:
        from tests.servers import free_port

        bus = opened(f"redis://127.0.0.1:{free_port()}/0")
        started = time.perf_counter()

        bus.publish(news(1))

        assert bus.latest("j-1") == news(1)
        assert bus.latest("j-2") is None
        assert time.perf_counter() - started < 1.5

    def test_a_restarted_and_empty_redis_is_spoken_to_again(
        self, opened: Open, own_redis: RedisServer
    ) -> None:
        worker, web = opened(own_redis.url), opened(own_redis.url)
        hears(own_redis, 2)

        def restart() -> None:
            own_redis.kill()
            worker.publish(news(2))
            own_redis.start()

        async def main() -> None:
            async with asyncio.timeout(DEADLINE_S), web.follow("j-1") as sub:
                await asyncio.to_thread(restart)
                for seq in (2, 3):
                    if seq > 2:
                        worker.publish(news(seq))
                    while (got := await sub.next(1.0)) is None or got.seq < seq:
                        pass

        asyncio.run(main())

        called = threading.Event()
        worker.on_cancel("j-1", called.set)
        web.ask_cancel("j-1")
        assert called.wait(DEADLINE_S)

    def test_news_missed_while_deaf_is_read_from_the_hash(
        self, opened: Open, own_redis: RedisServer
    ) -> None:
        web = opened(own_redis.url)
        hears(own_redis, 1)

        async def main() -> News:
            async with asyncio.timeout(DEADLINE_S), web.follow("j-1") as sub:
                with own_redis.client() as client:
                    flat = {"eta_s": "", "preview_mime": "image/jpeg"}
                    told = {
                        name: str(value) if value is not None else ""
                        for name, value in vars_of(news(4)).items()
                    } | flat
                    client.hset("studio:job:j-1", mapping=told)
                    client.client_kill_filter(_type="pubsub")
                while True:
                    got = await sub.next(1.0)
                    if got is not None:
                        return got

        assert asyncio.run(main()).seq == 4


def vars_of(one: News) -> dict[str, Any]:
    from dataclasses import asdict

    told = asdict(one)
    del told["preview"]
    return told


def test_news_takes_a_few_milliseconds_between_processes(worker: RedisBus, web: RedisBus) -> None:
    async def main() -> list[float]:
        waits = []
        async with asyncio.timeout(DEADLINE_S), web.follow("j-1") as sub:
            for seq in range(1, 201):
                started = time.perf_counter()
                worker.publish(news(seq))
                while (got := await sub.next(1.0)) is None or got.seq < seq:
                    pass
                waits.append(time.perf_counter() - started)
        return waits

    waits = asyncio.run(main())

    assert statistics.median(waits) < 0.06  # one after the other, they wait for the breath
