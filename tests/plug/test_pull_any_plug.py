"""Pull any plug, in any order: every job that was accepted ends, once, with its own result."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.engine.census import Census
from studio.engine.database import open_database
from studio.engine.jobs import Job, State
from studio.engine.ledger import Ledger
from studio.engine.store import Store
from studio.settings import PROJECT
from tests.plug.parts import LEASE, SIDE_PX, colour, job_of, read_journal
from tests.servers import MariaDB, RedisServer, free_port, start_mariadb, start_redis

LONG = os.environ.get("STUDIO_PLUG_LONG") == "1"
SEED = int(os.environ.get("STUDIO_PLUG_SEED", "1"))
JOBS = 200 if LONG else 24
ROUNDS = 4 if LONG else 1
COMFIES = 3 if LONG else 2
WORKERS = 3 if LONG else 2
AWAY_S = 20.0 if LONG else 4.0
END_S = 600.0 if LONG else 100.0
START_S = 150.0 if LONG else 60.0

pytestmark = pytest.mark.timeout(1500 if LONG else 240)


@dataclass
class Part:
    """A process that may be killed and started again."""

    kind: str
    given: dict[str, Any]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    killed_at: list[float] = field(default_factory=list)
    begins_at: int = 0

    def start(self) -> None:
        self.begins_at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.plug.parts", self.kind, json.dumps(self.given)],
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )

    def is_ready(self) -> bool:
        """Whether a worker said, since it was started, that it takes jobs."""
        return b"ready" in self.log.read_bytes()[self.begins_at :]

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        assert self.process is not None
        self.killed_at.append(time.time())
        self.process.kill()
        self.process.wait(timeout=20)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGCONT)
            self.kill()


class House:
    """All parts of one studio, spread over processes, on one home."""

    def __init__(self, folder: Path, home: dict[str, str]) -> None:
        self.folder = folder
        ports = [free_port() for _ in range(COMFIES)]
        self.settings: dict[str, Any] = {
            "comfy_urls": ",".join(f"http://127.0.0.1:{port}" for port in ports),
            "data_dir": str(folder / "data"),
            "outputs_dir": str(folder / "outputs"),
            "log_dir": str(folder / "logs"),
            "studio_secret": "one secret for all of them",
            "studio_grace_s": 1.0,
            "studio_workers": 2 * COMFIES,
            "database_url": f"sqlite:///{folder / 'data' / 'studio.db'}",
            **home,
        }
        self.comfies = [self._comfy(index, port) for index, port in enumerate(ports)]
        self.workers = [
            Part("worker", {"settings": self.settings}, folder / f"worker-{index}.log")
            for index in range(WORKERS)
        ]
        without = {k: v for k, v in self.settings.items() if k != "studio_workers"}
        self.web = Part(
            "web",
            {
                "settings": without,
                "folder": str(folder),
                "jobs": JOBS,
                "pause_s": 0.05,
                "journal": str(folder / "web.jsonl"),
            },
            folder / "web.log",
        )

    def _comfy(self, index: int, port: int) -> Part:
        home = self.folder / f"comfy-{index}"
        home.mkdir()
        given = {
            "port": port,
            "pace_s": 0.1,
            "folder": str(home),
            "journal": str(self.folder / f"comfy-{index}.jsonl"),
        }
        return Part("comfy", given, self.folder / f"comfy-{index}.log")

    @property
    def parts(self) -> list[Part]:
        return [*self.comfies, *self.workers, self.web]

    def told(self, what: str) -> list[dict[str, Any]]:
        return [line for line in read_journal(self.folder / "web.jsonl") if line["what"] == what]

    @property
    def posted(self) -> list[dict[str, Any]]:
        """Every prompt that every ComfyUI took."""
        paths = [self.folder / f"comfy-{index}.jsonl" for index in range(COMFIES)]
        return [line for path in paths for line in read_journal(path)]

    def made(self) -> dict[str, list[tuple[Part, float]]]:
        """Which ComfyUI finished which job when, by the files it saved."""
        found: dict[str, list[tuple[Part, float]]] = {}
        for comfy in self.comfies:
            for path in Path(comfy.given["folder"]).glob("output/studio/*/*.png"):
                prefix = path.name.rpartition("_00001_")[0]
                found.setdefault(job_of(prefix), []).append((comfy, path.stat().st_mtime))
        return found


@dataclass
class Home:
    """Where records and news are; each part that can be killed here."""

    name: str
    settings: dict[str, str]
    redis: RedisServer | None = None
    mariadb: MariaDB | None = None


@pytest.fixture(params=["sqlite", "mariadb+redis"] if LONG else ["mariadb+redis"])
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    if request.param == "sqlite":
        yield Home("sqlite", {})
        return
    redis, mariadb = start_redis(), start_mariadb()
    settings = {"redis_url": redis.url, "database_url": mariadb.new_database()}
    yield Home("mariadb+redis", settings, redis, mariadb)
    mariadb.stop()
    redis.stop()


@pytest.fixture
def house(tmp_path: Path, home: Home) -> Iterator[House]:
    (tmp_path / "data").mkdir()
    house = House(tmp_path, home.settings)
    for part in house.parts:
        part.start()
    yield house
    for part in house.parts:
        part.stop()


def wait_until(there: Callable[[], Any], timeout_s: float, why: Callable[[], str]) -> None:
    end, rest = time.monotonic() + timeout_s, threading.Event()
    while not there():
        assert time.monotonic() < end, why()
        rest.wait(0.1)


def wait_s(seconds: float) -> None:
    threading.Event().wait(seconds)


# The plugs --------------------------------------------------------------------------------


def kill_a_worker(house: House, rng: random.Random) -> None:
    worker = rng.choice(house.workers)
    worker.kill()
    worker.start()


def stop_a_worker(house: House, rng: random.Random) -> None:
    """SIGTERM: it finishes or hands over within its grace time, and says so by its exit."""
    worker = rng.choice(house.workers)
    wait_until(worker.is_ready, START_S, lambda: tails(house))
    worker.send(signal.SIGTERM)
    assert worker.process is not None
    assert worker.process.wait(timeout=30) == 0
    worker.start()


def pause_a_worker(house: House, rng: random.Random) -> None:
    """Past its lease: two workers then believe that they own its jobs."""
    worker = rng.choice(house.workers)
    worker.send(signal.SIGSTOP)
    wait_s(LEASE.lease_s + 2)
    worker.send(signal.SIGCONT)


def kill_the_web(house: House, _: random.Random) -> None:
    house.web.kill()
    house.web.start()


def restart_a_comfyui(house: House, rng: random.Random) -> None:
    """It comes back with empty queue and history."""
    comfy = rng.choice(house.comfies)
    comfy.kill()
    wait_s(rng.uniform(0.0, 1.0))
    comfy.start()


def plugs_of(home: Home) -> list[Callable[[House, random.Random], None]]:
    plugs = [kill_a_worker, stop_a_worker, pause_a_worker, kill_the_web, restart_a_comfyui]
    if home.redis is None or home.mariadb is None:
        return plugs
    redis, mariadb = home.redis, home.mariadb

    def empty_redis(_house: House, _rng: random.Random) -> None:
        redis.kill()
        redis.start()

    def kill_the_database(_house: House, _rng: random.Random) -> None:
        mariadb.kill()
        mariadb.start()

    def database_away(_house: House, _rng: random.Random) -> None:
        mariadb.kill()
        wait_s(AWAY_S)
        mariadb.start()

    return [*plugs, empty_redis, kill_the_database, database_away]


# The promise ------------------------------------------------------------------------------


def test_every_accepted_job_ends_once_whatever_is_pulled(house: House, home: Home) -> None:
    rng = random.Random(SEED)  # noqa: S311  a seed to repeat a run by
    plugs = plugs_of(home) * ROUNDS
    rng.shuffle(plugs)
    wait_until(lambda: len(house.posted) >= 3, START_S, lambda: tails(house))
    pulled = []

    for plug in plugs:
        before = len(house.posted)
        pulled.append((plug.__name__, time.time()))
        plug(house, rng)
        # In mid-job: not before something runs again, while there is something to run.
        wait_until(
            lambda before=before: len(house.posted) > before or all_told(house),
            60,
            lambda: f"nothing ran after {pulled[-1]}\n{tails(house)}",
        )
    wait_until(lambda: all_told(house), END_S, lambda: f"{missing(house)}\n{tails(house)}")

    check_rows_and_files(house, pulled)


def all_told(house: House) -> bool:
    """Whether the follower heard the end of every job."""
    return len({line["job"] for line in house.told("ended")}) == JOBS


def missing(house: House) -> str:
    accepted = {line["job"] for line in house.told("accepted")}
    return f"no end of {accepted - {line['job'] for line in house.told('ended')}}"


def tails(house: House) -> str:
    return "\n".join(f"--- {p.log.name}\n{p.log.read_text()[-1500:]}" for p in house.parts)


def check_rows_and_files(house: House, pulled: list[tuple[str, float]]) -> None:
    database = open_database(house.settings["database_url"], patience_s=10)
    ledger = Ledger(database)
    accepted = {line["job"]: line["number"] for line in house.told("accepted")}
    rows = database.tables.job
    ids = database.read(lambda: [str(job_id) for (job_id,) in rows.select(rows.job_id).tuples()])
    jobs = [ledger.get(job_id) for job_id in ids]
    outputs = database.tables.output
    owners = database.read(
        lambda: {str(job_id) for (job_id,) in outputs.select(outputs.job_id).distinct().tuples()}
    )
    store = Store(Path(house.settings["outputs_dir"]))
    for part in house.parts:
        part.stop()
    store.sweep_drafts(0, now_s=time.time() + 60)  # a killed worker's halves: a day old, they go
    store.sweep_unknown(Census(database).kept, 0, now_s=time.time() + 60)
    states = Counter(job.state for job in jobs)
    report(house, jobs, states, pulled)
    database.close()

    assert sorted(ids) == sorted(accepted), "each accepted job has one row, and nothing else has"
    assert len(accepted) == JOBS
    assert all(job.state.ended for job in jobs)
    assert states[State.CANCELLED] == 0, "nobody cancelled anything"
    reasons = [job.failure.code for job in jobs if job.failure is not None]
    assert set(reasons) <= {"attempts_spent", "run_lost"}, reasons
    assert owners == {job.job_id for job in jobs if job.state is State.COMPLETED}
    for job in jobs:
        if job.state is State.COMPLETED:
            check_content(store, job, accepted[job.job_id])
    known = {output.path for job in jobs for output in job.outputs}
    root = Path(house.settings["outputs_dir"])
    there = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.is_file() and ".thumbs" not in path.parts
    }
    assert there == known, "no half file, no orphan"
    check_nothing_ran_twice(house, jobs)
    told = {line["job"]: line["state"] for line in house.told("ended")}
    assert told == {job.job_id: job.state for job in jobs}, "the follower heard the truth"
    check_progress_was_seen_again(house, pulled)
    posts = Counter(line["prompt_id"] for line in house.posted)
    assert max(posts.values()) == 1, "no prompt was posted twice"


def check_content(store: Store, job: Job, number: int) -> None:
    (output,) = job.outputs
    with Image.open(store.path(output)) as picture:
        picture.load()
        if number % 2 == 0:
            assert picture.size == (SIDE_PX, SIDE_PX)
            assert picture.convert("RGB").getpixel((9, 9)) == colour(number)
        else:
            assert picture.size == (output.width_px, output.height_px)


def check_nothing_ran_twice(house: House, jobs: list[Job]) -> None:
    """A job was done twice only where the server that had done it was killed before it told."""
    for job in jobs:
        ends = sorted(house.made().get(job.job_id, []), key=lambda one: one[1])
        for comfy, made_at in ends[:-1]:
            forgot = any(made_at <= killed <= job.ended_us / 1e6 for killed in comfy.killed_at)
            assert forgot, f"{job.job_id} was done on {comfy.log.name} and once more"


def check_progress_was_seen_again(house: House, pulled: list[tuple[str, float]]) -> None:
    """After each plug the follower heard of a job that ran on, until all had ended."""
    told = [line["at"] for what in ("progress", "ended") for line in house.told(what)]
    for (name, at), (_, until) in zip(pulled, [*pulled[1:], ("end", max(told))], strict=True):
        still = at < max(told)
        assert not still or any(at < heard for heard in told if heard <= until + 60), name


def report(
    house: House, jobs: list[Job], states: Counter[State], pulled: list[tuple[str, float]]
) -> None:
    """Say what was done to it: seen with `pytest -s`, and beside a failure."""
    twice = sum(len(ends) > 1 for ends in house.made().values())
    seconds = max(job.ended_us for job in jobs) / 1e6 - min(job.created_us for job in jobs) / 1e6
    sys.stdout.write(
        f"\n{len(jobs)} jobs in {seconds:.0f} s, {len(pulled)} plugs "
        f"{dict(Counter(name for name, _ in pulled))}: {dict(states)}; "
        f"{len(house.posted)} prompts posted, {sum(job.attempt > 1 for job in jobs)} jobs begun "
        f"again, {twice} done again after their server forgot them\n"
    )
