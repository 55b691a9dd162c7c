"""A whole studio in a folder, and the words tests use of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.build import Studio, build
from studio.engine.jobs import Job, News
from studio.settings import PROJECT, load
from tests import proven

ANN = "g-ann"
BEN = "g-ben"
MODEL = "random-sd15.safetensors"


@dataclass
class House:
    """A studio with its folders, and the words tests use of it."""

    studio: Studio
    folder: Path

    def order(self, person: str = ANN, **values: Any) -> Job:
        """Order a small picture from a checkpoint."""
        wanted = {"prompt": "a cat", "model": MODEL, "steps": 4, "seed": "7"} | values
        return self.studio.desk.submit(person, "text_to_image", wanted)

    def blend(self, *pictures: Path, person: str = ANN, **values: Any) -> Job:
        """Order a pixel blend."""
        wanted = {"images": list(pictures)} | values
        return self.studio.desk.submit(person, "image_blend", wanted)

    def ended(self, job: Job, timeout_s: float = 20) -> Job:
        """Follow a job to its end and give it."""
        self.follow(job, until=lambda news: news.state.ended, timeout_s=timeout_s)
        return self.studio.desk.job(job.person, job.job_id)

    def follow(
        self, job: Job, *, until: Callable[[News], bool], timeout_s: float = 20
    ) -> list[News]:
        """Collect news until one of them will do."""
        return asyncio.run(self._follow(job, until, timeout_s))

    async def _follow(
        self, job: Job, until: Callable[[News], bool], timeout_s: float
    ) -> list[News]:
        heard: list[News] = []
        async with asyncio.timeout(timeout_s):
            async with aclosing(self.studio.desk.follow(job.person, job.job_id)) as news_of_it:
                async for news in news_of_it:
                    heard.append(news)
                    if until(news):
                        return heard
        raise AssertionError(f"the job ended before: {heard[-1]}")

    def paths(self, job: Job) -> list[Path]:
        """Find the kept files of a job."""
        desk = self.studio.desk
        return [desk.output_file(job.person, job.job_id, one.name) for one in job.outputs]


@contextmanager
def opened(folder: Path, **settings: Any) -> Iterator[House]:
    """Build, start and stop a studio in `folder`."""
    pace = settings.pop("pace", None)
    proven.remind(folder / "data")
    studio = build(
        load(
            env_file=None,
            data_dir=folder / "data",
            outputs_dir=settings.pop("outputs_dir", folder / "outputs"),
            log_dir=folder / "logs",
            workflows_dir=settings.pop("workflows_dir", PROJECT / "workflows"),
            **settings,
        ),
        **({"pace": pace} if pace else {}),
    )
    proven.learn(folder / "data")
    studio.start()
    try:
        yield House(studio, folder)
    finally:
        studio.stop()


def wait_until(there: Callable[[], Any], timeout_s: float = 10) -> Any:
    """Wait for a value that is not false; for what has no event to await."""
    ends = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := there()):
        assert time.monotonic() < ends, "it never came true"
        pause.wait(0.02)
    return value
