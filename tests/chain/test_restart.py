"""Restarting the app loses no job and repeats none."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from studio.engine.jobs import State
from studio.practice import PracticeServer
from tests.chain.house import House, opened, wait_until

WORKER = """
import sys, threading
from pathlib import Path
from studio.build import build
from studio.settings import load
folder = Path(sys.argv[1])
studio = build(load(env_file=None, comfy_urls=(sys.argv[2],), data_dir=folder / "data",
                    outputs_dir=folder / "outputs", log_dir=folder / "logs"))
studio.start()
jobs = [studio.desk.submit("g-ann", "text_to_image", {
    "prompt": "a cat", "model": "random-sd15.safetensors", "steps": 4, "seed": str(n)})
    for n in range(int(sys.argv[3]))]
print("ready", flush=True)
threading.Event().wait()
"""


@pytest.fixture
def app(tmp_path: Path, practice: PracticeServer):
    """Start the studio as a process of its own that orders some jobs; killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(jobs: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), practice.url, str(jobs)],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def listening_for(house: House, practice: PracticeServer) -> bool:
    """Tell whether this studio has a socket under the id of the first prompt posted."""
    fleet = house.studio.fleet
    server = fleet.find(fleet.views()[0].name)
    assert server is not None
    ears = list(server.client._borrowed.values())
    client_id = practice.posted[0]["client_id"]
    return any(ear.client_id == client_id and ear.link.connected for ear in ears)


def test_machines_that_share_records_tell_their_own_comfyuis_apart(
    practice: PracticeServer, home: dict[str, str], tmp_path: Path
) -> None:
    with opened(tmp_path, comfy_urls=(practice.url,), **home) as house:
        (view,) = house.studio.desk.servers()

    place = practice.url.removeprefix("http://")
    assert view.name == (f"{socket.gethostname()} {place}" if home else place)


def all_ended(house: House) -> bool:
    return not house.studio.desk.running("g-ann")


def test_a_stopped_app_hands_its_running_prompt_to_the_next(
    practice: PracticeServer, tmp_path: Path
) -> None:
    practice.faults.hold("sampler")
    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        job = house.order()
        practice.wait_for("node:sampler")

    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        practice.faults.release()
        ended = house.ended(job)

    assert ended.state is State.COMPLETED
    assert len(practice.posted) == 1


def test_who_takes_over_a_running_prompt_hears_its_steps_and_previews(
    practice: PracticeServer, home: dict[str, str], tmp_path: Path
) -> None:
    practice.faults.hold("sampler", step=4)
    with opened(tmp_path, comfy_urls=(practice.url,), **home) as house:
        job = house.order(steps=20)
        before = house.follow(job, until=lambda news: news.step >= 3)

    with opened(tmp_path, comfy_urls=(practice.url,), **home) as house:
        wait_until(lambda: listening_for(house, practice))
        practice.faults.release()
        heard = house.follow(job, until=lambda news: news.state.ended)
        ended = house.studio.desk.job(job.person, job.job_id)

    assert ended.state is State.COMPLETED
    assert len(practice.posted) == 1
    assert len({news.step for news in heard if news.steps == 20}) > 3
    assert any(news.preview for news in heard)
    fractions = [news.fraction for news in heard]
    assert fractions == sorted(fractions)
    if home:  # the other process's news are in Redis: progress goes on where it was
        assert fractions[0] >= before[-1].fraction > 0


def test_who_takes_over_from_a_killed_app_hears_too(
    app, practice: PracticeServer, tmp_path: Path
) -> None:
    practice.faults.hold("sampler", step=2)
    process = app(1)
    practice.wait_for("node:sampler")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)

    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        (job,) = house.studio.desk.running("g-ann")
        wait_until(lambda: listening_for(house, practice))
        practice.faults.release()
        heard = house.follow(job, until=lambda news: news.state.ended)

    assert heard[-1].state is State.COMPLETED
    assert len(practice.posted) == 1
    assert {news.step for news in heard if news.steps} & {3, 4}


def test_a_killed_app_loses_no_job_and_repeats_none(
    app, practice: PracticeServer, tmp_path: Path
) -> None:
    practice.faults.hold("sampler")
    process = app(5)
    practice.wait_for("node:sampler")
    wait_until(lambda: len(practice.posted) == 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    practice.faults.release()

    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        wait_until(lambda: all_ended(house), timeout_s=60)
        jobs = house.studio.desk.recent("g-ann", limit=10).jobs

    assert [job.state for job in jobs] == [State.COMPLETED] * 5
    assert len(practice.posted) == 5
    assert len({job.prompt_id for job in jobs}) == 5


def test_a_job_that_ended_while_nobody_watched_is_collected(
    app, practice: PracticeServer, tmp_path: Path
) -> None:
    practice.faults.hold("sampler")
    process = app(1)
    practice.wait_for("node:sampler")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    practice.faults.release()
    practice.wait_for("finished")

    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        wait_until(lambda: all_ended(house), timeout_s=60)
        (job,) = house.studio.desk.recent("g-ann").jobs
        assert house.paths(job)[0].stat().st_size > 0

    assert job.state is State.COMPLETED
    assert len(practice.posted) == 1
