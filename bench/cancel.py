"""From a cancel in one process to the stopped prompt of another one, in each home.

Page and worker are two studios that share nothing but the home: Redis carries the wish where there
is one, and the worker's look into the rows where not.
"""

from __future__ import annotations

import statistics
import time

from bench.home import home, homes
from bench.row import Row, ms, percentile, studio
from studio.build import Studio
from studio.engine.jobs import State
from studio.practice import PracticeServer

PERSON = "g-bench"
SHARED_WORDS = "the same for both of them"
TIMES = 20


def measure() -> list[Row]:
    return [row for name in homes() for row in _measure(name)]


def _measure(name: str) -> list[Row]:
    with (
        home(name) as where,
        PracticeServer(pace_s=0.05) as practice,
        studio(comfy_urls=(practice.url,), studio_secret=SHARED_WORDS, **where) as worker,
    ):
        shared = {"database_url": worker.settings.database_url, **where}
        with studio(studio_workers=0, studio_secret=SHARED_WORDS, **shared) as web:
            took = [_one(web, practice, seed) for seed in range(TIMES)]
    late = percentile(took, 95)
    return [
        Row(f"cancel from another process, {name}, p95", ms(late), "<= 1 s", late <= 1.0),
        Row("… median", ms(statistics.median(took))),
    ]


def _one(web: Studio, practice: PracticeServer, seed: int) -> float:
    """Order a long job, cancel it in its second step, and wait until its row says so."""
    values = {"prompt": "a cat", "model": "random-sd15.safetensors", "steps": 60}
    job = web.desk.submit(PERSON, "text_to_image", values | {"seed": str(seed)})
    while len(practice.posted) <= seed:
        time.sleep(0.01)
    practice.wait_for("progress:2", practice.posted[-1]["prompt_id"])
    asked = time.perf_counter()
    web.desk.cancel(PERSON, job.job_id)
    while web.desk.job(PERSON, job.job_id).state is not State.CANCELLED:
        time.sleep(0.005)
    return time.perf_counter() - asked
