"""What the plug test starts, each as a process: `python -m tests.plug.parts PART SETTINGS`.

`comfy` is a practice server that writes down each prompt it took; `web` submits and follows by the
desk, and writes down what it was told; `worker` is the studio's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from contextlib import aclosing
from pathlib import Path
from typing import Any

from PIL import Image

from studio.build import Studio, build
from studio.engine.desk import Again
from studio.engine.heart import Lease
from studio.errors import StudioError
from studio.practice import PracticeServer
from studio.settings import load
from studio.worker import run_worker

LEASE = Lease(lease_s=3.0, beat_s=0.5)
SIDE_PX = 24
PERSONS = 10
MODEL = "random-sd15.safetensors"


class Journal:
    """Lines of JSON, each on the disk of this machine before the next thing happens."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._lock = threading.Lock()

    def write(self, **told: object) -> None:
        with self._lock:
            os.write(self._file, json.dumps({"at": time.time(), **told}).encode() + b"\n")


def read_journal(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


# A ComfyUI --------------------------------------------------------------------------------


class Told(list[dict[str, Any]]):
    """The prompts a practice server took; a killed one still has told of all."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    def append(self, posted: dict[str, Any]) -> None:
        inputs = [node["inputs"] for node in posted["prompt"].values()]
        prefix = next(given["filename_prefix"] for given in inputs if "filename_prefix" in given)
        self._journal.write(prompt_id=posted["prompt_id"], job=job_of(prefix))
        super().append(posted)


def job_of(prefix: str) -> str:
    """The job's id, from the prefix of its files: `studio/<workflow>/<job>_<fence>`."""
    return prefix.rpartition("/")[2].rpartition("_")[0]


def comfy(given: dict[str, Any]) -> None:
    server = PracticeServer(
        port=given["port"], pace_s=given["pace_s"], folder=Path(given["folder"])
    )
    server.posted = Told(Journal(Path(given["journal"])))
    with server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        threading.Event().wait()


# The page's process -----------------------------------------------------------------------


def colour(number: int) -> tuple[int, int, int]:
    """A colour no other job of a run has."""
    return (number % 251, (number * 7) % 253, 40 + number // 251)


def order(studio: Studio, number: int, folder: Path) -> str:
    """Order job `number`, which is the same job however often it is ordered."""
    person = f"g-{number % PERSONS}"
    again = Again(key=str(number), body=str(number))
    if number % 2:
        values: dict[str, Any] = {"prompt": f"cat {number}", "model": MODEL, "steps": 6}
        return studio.desk.submit(
            person, "text_to_image", values | {"seed": str(number)}, again=again
        ).job_id
    path = folder / f"{number}.png"
    Image.new("RGB", (SIDE_PX, SIDE_PX), colour(number)).save(path)
    values = {"images": [path, path]}
    return studio.desk.submit(person, "image_blend_pixel", values, again=again).job_id


class Web:
    """Orders jobs and follows each to its end, beginning again where a killed one stopped."""

    def __init__(self, studio: Studio, given: dict[str, Any]) -> None:
        self._studio = studio
        self._folder = Path(given["folder"])
        self._jobs = int(given["jobs"])
        self._pause_s = float(given["pause_s"])
        self._path = Path(given["journal"])
        self._journal = Journal(self._path)

    async def run(self) -> None:
        known = {line["number"]: line["job"] for line in self._of("accepted")}
        ended = {line["job"] for line in self._of("ended")}
        async with asyncio.TaskGroup() as group:
            for number in range(self._jobs):
                if number not in known:
                    known[number] = await self._order(number)
                    await asyncio.sleep(self._pause_s)
                if known[number] not in ended:
                    group.create_task(self._follow(f"g-{number % PERSONS}", known[number]))

    def _of(self, what: str) -> list[dict[str, Any]]:
        return [line for line in read_journal(self._path) if line["what"] == what]

    async def _order(self, number: int) -> str:
        while True:
            try:
                job = await asyncio.to_thread(order, self._studio, number, self._folder)
            except StudioError as error:
                if error.code not in ("database_away", "queue_full"):
                    raise
                await asyncio.sleep(0.3)
            else:
                self._journal.write(what="accepted", number=number, job=job)
                return job

    async def _follow(self, person: str, job: str) -> None:
        """Follow one job, as the page does: begun again only where it could not begin at all."""
        while True:
            try:
                await self._hear(person, job)
            except StudioError as error:
                if error.code != "database_away":
                    raise
                await asyncio.sleep(0.3)
            else:
                return

    async def _hear(self, person: str, job: str) -> None:
        fraction = -1.0
        async with aclosing(self._studio.desk.follow(person, job)) as news_of_it:
            async for news in news_of_it:
                if news.fraction > fraction or news.state.ended:
                    fraction = news.fraction
                    what = "ended" if news.state.ended else "progress"
                    self._journal.write(what=what, job=job, state=news.state, pid=os.getpid())


def web(given: dict[str, Any]) -> None:
    studio = build(load(env_file=None, **given["settings"], studio_workers=0))
    studio.start()
    asyncio.run(Web(studio, given).run())
    studio.stop()


def worker(given: dict[str, Any]) -> None:
    settings = load(env_file=None, **given["settings"])
    run_worker(settings, ready=lambda: print("ready", flush=True), lease=LEASE)  # noqa: T201


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    {"comfy": comfy, "web": web, "worker": worker}[sys.argv[1]](json.loads(sys.argv[2]))
