"""Workers killed at any moment lose no job and repeat none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio.engine.database import Database, migrate, open_database
from studio.engine.jobs import NewJob, State
from studio.engine.ledger import Ledger

WORKER = Path(__file__).with_name("killable_worker.py")
HOUSE = Path(__file__).parents[2]
JOBS = 80
KILLS = 10
DEADLINE_S = 60.0


class Crew:
    """Worker processes that are replaced when they are killed."""

    def __init__(self, url: str, folder: Path) -> None:
        self._command = [sys.executable, str(WORKER), url, str(folder)]
        self._log = (folder.parent / "workers.log").open("ab")
        self.members: list[subprocess.Popen[bytes]] = []

    def hire(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(HOUSE)}
        self.members.append(
            subprocess.Popen(self._command, env=environment, stdout=self._log, stderr=self._log)
        )

    def kill(self, index: int) -> None:
        member = self.members.pop(index)
        member.kill()
        member.wait(timeout=10)

    def dismiss(self) -> None:
        while self.members:
            self.kill(0)
        self._log.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "comfyui"
    made.mkdir()
    return made


@pytest.fixture
def crew(database_url: str, folder: Path) -> Iterator[Crew]:
    crew = Crew(database_url, folder)
    yield crew
    crew.dismiss()


@pytest.fixture
def migrated(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    migrate(opened)
    yield opened
    opened.close()


def test_jobs_of_killed_workers_are_each_completed_once(
    migrated: Database, crew: Crew, folder: Path, new_job: Callable[..., NewJob]
) -> None:
    rng = random.Random(20261125)  # noqa: S311  no secret
    ledger = Ledger(migrated, max_pending=JOBS)
    made = [ledger.create(new_job(rng.choice("abc"))).job_id for _ in range(JOBS)]
    for _ in range(3):
        crew.hire()

    kills, end, rest = 0, time.monotonic() + DEADLINE_S, threading.Event()
    while not all(ledger.get(job_id).state.ended for job_id in made):
        assert time.monotonic() < end, [ledger.get(job_id) for job_id in made]
        rest.wait(rng.uniform(0.1, 0.35))
        if kills < KILLS and len(list(folder.iterdir())) > kills:
            crew.kill(rng.randrange(3))
            crew.hire()
            kills += 1

    jobs = [ledger.get(job_id) for job_id in made]
    prompts = Counter(path.read_text() for path in folder.iterdir() if path.suffix != ".part")
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert all(len(job.outputs) == 1 for job in jobs)
    assert [job.outputs[0].name for job in jobs] == [f"{job.prompt_id}.png" for job in jobs]
    assert set(prompts.values()) == {1}, "a prompt was run again"
    assert kills >= 5
