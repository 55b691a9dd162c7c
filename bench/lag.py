"""From ComfyUI's frame to the follower: 500 followers at the desk, 50 of them with 5 updates/s.

Followers are asyncio tasks on the desk's own `follow`, which page and API use. The frame's time is
taken where the client reads it from the socket, as near to ComfyUI as this process is.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

from bench.row import Row, ms, percentile, studio
from studio.build import Studio
from studio.engine.jobs import News, State

FOLLOWERS = 500
LIVELY = 50
ARRIVE_S = 5.0
RUN_S = 10.0


def _publish(house: Studio, jobs: list[str], sent: dict[int, float], stop: threading.Event) -> None:
    """Publish as the reporter does: 5 updates a second for each lively job."""
    seq = 1_000_000
    while not stop.is_set():
        for job_id in jobs:
            seq += 1
            sent[seq] = time.perf_counter()
            house.bus.publish(News(job_id, "g-bench", seq, State.PROCESSING, fraction=0.5))
            if stop.wait(0.2 / len(jobs)):
                return


async def _follow(house: Studio, job_id: str, sent: dict[int, float], lags: list[float]) -> None:
    async with aclosing(house.desk.follow("g-bench", job_id)) as heard:
        async for news in heard:
            if news.seq in sent:
                lags.append(time.perf_counter() - sent[news.seq])


async def _all(house: Studio, jobs: list[str], sent: dict[int, float]) -> list[float]:
    lags: list[float] = []
    tasks = []
    for number in range(FOLLOWERS):
        job_id = jobs[number % LIVELY] if number < LIVELY else jobs[LIVELY + number % 50]
        tasks.append(asyncio.create_task(_follow(house, job_id, sent, lags)))
        await asyncio.sleep(ARRIVE_S / FOLLOWERS)
    await asyncio.sleep(RUN_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return lags


def measure() -> list[Row]:
    with studio(start=False, studio_workers=0, max_pending_per_person=10_000) as house:
        values = {"prompt": "a cat", "model": "random-sd15.safetensors", "steps": 5}
        jobs = [
            house.desk.submit("g-bench", "text_to_image", {**values, "seed": str(n)}).job_id
            for n in range(LIVELY + 50)
        ]
        for _ in range(LIVELY):
            house.ledger.claim("w-bench", lease_s=600)
        claimed = [j.job_id for j in house.desk.running("g-bench") if j.state is State.PROCESSING]
        quiet = [job for job in jobs if job not in claimed]
        sent: dict[int, float] = {}
        stop = threading.Event()
        thread = threading.Thread(target=_publish, args=(house, claimed, sent, stop))
        thread.start()
        try:
            lags = asyncio.run(_all(house, claimed + quiet, sent))
        finally:
            stop.set()
            thread.join()
    p95 = percentile(lags, 95)
    return [
        Row(
            f"news to follower, {FOLLOWERS} followers, {LIVELY} lively, p95 of {len(lags)}",
            ms(p95),
            "<= 100 ms",
            p95 <= 0.1,
        )
    ]
