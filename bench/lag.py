"""From ComfyUI's frame to the follower: 500 followers, 50 of them with 5 updates a second.

At the desk they are asyncio tasks on the desk's own `follow`, which page and API use; in the second
home the news come from another process's bus over Redis. Through the door they are connections of
another process that reads `/api/events/{id}` of a whole studio. A frame's time is taken where the
client's reading of the socket hands it on, as near to ComfyUI as this process is.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager

from bench.home import home, homes
from bench.row import Row, ms, percentile, studio
from bench.start import free_port
from bench.streams import ARRIVE_S, RUN_S, Stream
from studio.build import Studio
from studio.engine.accounts import COOKIE
from studio.engine.bus import Bus
from studio.engine.bus_redis import RedisBus
from studio.engine.jobs import News, State
from studio.settings import PROJECT
from studio.tabs import make_demo

FOLLOWERS = 500
LIVELY = 50
PERSONS = 50
"""How many people they are: one may hold a few streams only."""
STEP = 1e-4
"""The API tells progress to four places: it tells each piece of news of a job from all others."""


def _publish(bus: Bus, jobs: list[News], sent: dict[object, float], stop: threading.Event) -> None:
    """Publish as the reporter does: 5 updates a second for each lively job."""
    number = 0
    while not stop.is_set():
        number += 1
        for job in jobs:
            seq = 1_000_000 + number
            fraction = round(number * STEP, 4)
            sent[job.job_id, fraction] = time.time()
            bus.publish(News(job.job_id, job.person, seq, State.PROCESSING, fraction=fraction))
            if stop.wait(0.2 / len(jobs)):
                return


@contextmanager
def _lively(bus: Bus, jobs: list[News]) -> Iterator[dict[object, float]]:
    """Publish meanwhile; give when which news of which job was sent."""
    sent: dict[object, float] = {}
    stop = threading.Event()
    thread = threading.Thread(target=_publish, args=(bus, jobs, sent, stop))
    thread.start()
    try:
        yield sent
    finally:
        stop.set()
        thread.join()


def _jobs(house: Studio) -> tuple[list[News], list[News]]:
    """Order and claim: jobs that run, and as many that wait."""
    values = {"prompt": "a cat", "model": "random-sd15.safetensors", "steps": 5}
    ordered = [
        house.desk.submit(f"g-bench-{n % PERSONS}", "text_to_image", {**values, "seed": str(n)})
        for n in range(2 * LIVELY)
    ]
    for _ in range(LIVELY):
        house.ledger.claim("w-bench", lease_s=600)
    jobs = [house.desk.job(job.person, job.job_id) for job in ordered]
    told = [News(job.job_id, job.person, 0, job.state) for job in jobs]
    return (
        [job for job in told if job.state is State.PROCESSING],
        [job for job in told if job.state is State.PENDING],
    )


def _followed(running: list[News], waiting: list[News]) -> list[News]:
    """Give the job that each follower follows: one each for the lively, the rest wait."""
    return [
        running[n % LIVELY] if n < LIVELY else waiting[n % len(waiting)] for n in range(FOLLOWERS)
    ]


# At the desk ------------------------------------------------------------------------------


async def _follow(house: Studio, job: News, heard_at: dict[object, float]) -> None:
    async with aclosing(house.desk.follow(job.person, job.job_id)) as heard:
        async for news in heard:
            heard_at.setdefault((job.job_id, news.fraction), time.time())


async def _all(house: Studio, jobs: list[News]) -> dict[object, float]:
    heard_at: dict[object, float] = {}
    tasks = []
    for job in jobs:
        tasks.append(asyncio.create_task(_follow(house, job, heard_at)))
        await asyncio.sleep(ARRIVE_S / len(jobs))
    await asyncio.sleep(RUN_S)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return heard_at


def _at_the_desk(where: str, settings: dict[str, str]) -> Row:
    limits = {"studio_workers": 0, "max_pending_per_person": 10_000}
    with studio(start=False, **limits, **settings) as house:
        running, waiting = _jobs(house)
        house.bus.start()
        elsewhere: Bus = RedisBus(settings["redis_url"]) if settings else house.bus
        if settings:
            elsewhere.start()
        try:
            with _lively(elsewhere, running) as sent:
                heard_at = asyncio.run(_all(house, _followed(running, waiting)))
        finally:
            if settings:
                elsewhere.stop()
    return _row(f"at the desk, {where}", sent, heard_at)


# Through the door -------------------------------------------------------------------------


def _through_the_door() -> Row:
    limits = {"studio_workers": 0, "max_pending_per_person": 10_000, "rate_status": 0}
    port = free_port()
    with studio(start=False, **limits) as house:
        running, waiting = _jobs(house)
        demo = make_demo(house)
        demo.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
        try:
            streams = [
                Stream(job.job_id, f"{COOKIE}={house.guests.cookie(job.person)}")
                for job in _followed(running, waiting)
            ]
            with _lively(house.bus, running) as sent:
                heard_at = _read_elsewhere(port, streams)
        finally:
            demo.close()
    return _row("through 500 connections of the API, SQLite", sent, heard_at)


def _read_elsewhere(port: int, streams: list[Stream]) -> dict[object, float]:
    """Follow in another process, which shares nothing with the server but the machine's clock."""
    reader = subprocess.run(
        [sys.executable, "-m", "bench.streams", str(port)],
        input=json.dumps([list(stream) for stream in streams]),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=ARRIVE_S + RUN_S + 60,
    )
    heard_at: dict[object, float] = {}
    for job_id, progress, at in json.loads(reader.stdout):
        heard_at.setdefault((job_id, progress), at)
    return heard_at


def _row(how: str, sent: dict[object, float], heard_at: dict[object, float]) -> Row:
    lags = [at - sent[key] for key, at in heard_at.items() if key in sent]
    p95 = percentile(lags, 95)
    what = f"news to follower, {FOLLOWERS} followers, {LIVELY} lively, {how}, p95 of {len(lags)}"
    return Row(what, ms(p95), "<= 100 ms", p95 <= 0.1)


def measure() -> list[Row]:
    rows = []
    for where in homes():
        with home(where) as settings:
            rows.append(_at_the_desk(where, settings))
    return [*rows, _through_the_door()]
