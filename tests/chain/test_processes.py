"""A web process without workers, and worker processes beside it, on MariaDB and Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from studio.engine.jobs import Job, State
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.chain.house import ANN, House, opened, wait_until

WORKER = """
import json, sys
from studio.engine.heart import Lease
from studio.settings import load
from studio.worker import run_worker
assert "gradio" not in sys.modules and "fastapi" not in sys.modules
run_worker(
    load(env_file=None, **json.loads(sys.argv[1])),
    ready=lambda: print("ready", flush=True),
    lease=Lease(lease_s=3.0, beat_s=0.5),
)
assert "gradio" not in sys.modules
"""

PATIENCE_S = 60.0

Start = Callable[[int], list["subprocess.Popen[str]"]]


@pytest.fixture
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(profile="newer", pace_s=0.03) as server:
        yield server
        server.faults.release()


@pytest.fixture
def settings(practice: PracticeServer, full_home: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """What web and worker processes share."""
    return {
        "comfy_urls": practice.url,
        "data_dir": str(tmp_path / "data"),
        "outputs_dir": str(tmp_path / "outputs"),
        "log_dir": str(tmp_path / "logs"),
        "studio_secret": "one secret for all of them",
        "studio_grace_s": 1.0,
        **full_home,
    }


@pytest.fixture
def start(settings: dict[str, Any]) -> Iterator[Start]:
    """Start worker processes of one job each; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def some(count: int) -> list[subprocess.Popen[str]]:
        given = json.dumps(settings | {"studio_workers": 1})
        fresh = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, given],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        started.extend(fresh)
        for process in fresh:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return fresh

    yield some
    for process in started:
        process.kill()
        process.communicate(timeout=10)


@pytest.fixture
def web(settings: dict[str, Any], tmp_path: Path) -> Iterator[House]:
    """The process that takes jobs and runs none."""
    kept = {name: settings[name] for name in settings if not name.endswith("_dir")}
    with opened(tmp_path, studio_workers=0, **kept) as house:
        yield house


def hears(practice: PracticeServer, client_id: str) -> bool:
    return practice.hub.hears(client_id)


def places(web: House) -> list[tuple[bool, int]]:
    """Tell of each worker process whether it answers, and how many jobs it follows."""
    return [(one.online, one.places) for one in web.studio.desk.workers()]


def pid_of(web: House, job: Job) -> int:
    """Find the process that runs a job."""
    name = web.studio.desk.job(ANN, job.job_id).worker
    workers = web.studio.desk.workers
    wait_until(lambda: name in {one.name for one in workers()}, timeout_s=PATIENCE_S)
    (found,) = [worker for worker in workers() if worker.name == name]
    return found.pid


def test_what_two_workers_do_is_seen_and_stopped_from_the_web_process(
    web: House, start: Start, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler", step=2)
    first, second = web.order(steps=12, seed="1"), web.order(steps=12, seed="2")
    assert web.studio.desk.job(ANN, first.job_id).state is State.PENDING

    start(2)
    wait_until(lambda: len(practice.posted) == 2, timeout_s=PATIENCE_S)
    jobs = [web.studio.desk.job(ANN, job.job_id) for job in (first, second)]
    assert len({job.worker for job in jobs}) == 2
    wait_until(lambda: places(web) == [(True, 1)] * 2, timeout_s=PATIENCE_S)

    practice.faults.release()
    running = next(job for job in jobs if job.prompt_id == practice.posted[0]["prompt_id"])
    heard = web.follow(running, until=lambda news: news.state.ended, timeout_s=PATIENCE_S)
    assert heard[-1].state is State.COMPLETED
    assert len({news.step for news in heard if news.steps == 12}) > 3
    assert any(news.preview and news.preview[:3] == b"\xff\xd8\xff" for news in heard)
    assert [news.fraction for news in heard] == sorted(news.fraction for news in heard)
    for job in (first, second):
        assert web.ended(job, PATIENCE_S).state is State.COMPLETED
        assert web.paths(web.studio.desk.job(ANN, job.job_id))[0].stat().st_size > 0

    practice.faults.hold("sampler", step=2)  # held, it still hears of an interrupt
    long = web.order(steps=12, seed="3")
    web.follow(long, until=lambda news: news.step >= 2, timeout_s=PATIENCE_S)
    web.studio.desk.cancel(ANN, long.job_id)
    assert web.ended(long).state is State.CANCELLED  # while it is held: how soon is the bench's
    assert practice.worker.queue.remaining() == 0


def test_a_killed_workers_prompt_is_followed_by_another_and_a_stopped_ones_left_to_the_next(
    web: House, start: Start, practice: PracticeServer
) -> None:
    processes = start(2)
    practice.faults.hold("sampler", step=3)
    job = web.order(steps=12, seed="1")
    wait_until(lambda: practice.posted, timeout_s=PATIENCE_S)
    web.follow(job, until=lambda news: news.step >= 2, timeout_s=PATIENCE_S)
    client_id = practice.posted[0]["client_id"]
    killed = pid_of(web, job)

    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not hears(practice, client_id), timeout_s=PATIENCE_S)
    wait_until(lambda: hears(practice, client_id), timeout_s=PATIENCE_S)
    practice.faults.release()
    heard = web.follow(job, until=lambda news: news.state.ended, timeout_s=PATIENCE_S)

    assert heard[-1].state is State.COMPLETED
    assert any(news.step > 3 for news in heard)
    assert len(practice.posted) == 1

    (other,) = [process for process in processes if process.pid != killed]
    practice.faults.hold("sampler", step=3)
    left = web.order(steps=12, seed="2")
    wait_until(lambda: len(practice.posted) == 2, timeout_s=PATIENCE_S)
    web.follow(left, until=lambda news: news.step >= 2, timeout_s=PATIENCE_S)
    other.terminate()

    assert other.wait(timeout=20) == 0
    handed = web.studio.desk.job(ANN, left.job_id)
    assert (handed.state, handed.prompt_id) == (State.PENDING, practice.posted[1]["prompt_id"])
    workers = web.studio.desk.workers
    wait_until(lambda: all(one.pid != other.pid for one in workers()), timeout_s=PATIENCE_S)

    start(1)
    practice.faults.release()
    assert web.ended(left, PATIENCE_S).state is State.COMPLETED
    assert len(practice.posted) == 2
