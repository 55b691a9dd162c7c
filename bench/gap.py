"""The pause a ComfyUI makes between two queued jobs, against bare serial submission."""

from __future__ import annotations

import itertools
import statistics
import time

import requests

from bench.row import Row, ms, studio
from bench.tax import PERSON, _bare
from studio.engine.workflow.binding import bind
from studio.practice import PracticeServer

JOBS = 12


def _gaps(url: str) -> list[float]:
    """Read the pauses from the server's own time stamps, in seconds."""
    spans = []
    for entry in requests.get(f"{url}/history", timeout=10).json().values():
        stamps = {kind: data["timestamp"] for kind, data in entry["status"]["messages"]}
        spans.append((stamps["execution_start"], stamps["execution_success"]))
    spans.sort()
    return [(b[0] - a[1]) / 1000 for a, b in itertools.pairwise(spans)]


def measure() -> list[Row]:
    with (
        PracticeServer(pace_s=0.02) as practice,
        studio(comfy_urls=(practice.url,), comfy_slots=2) as house,
    ):
        values = {"prompt": "a cat", "model": "random-sd15.safetensors", "steps": 5}
        for number in range(JOBS):
            house.desk.submit(PERSON, "text_to_image", {**values, "seed": str(number)})
        while house.desk.running(PERSON):
            time.sleep(0.05)
        ours = _gaps(practice.url)
        workflow = house.catalog.workflow("text_to_image_checkpoint")
        done = house.desk.recent(PERSON, limit=1).jobs[0].values
    with PracticeServer(pace_s=0.02) as practice:
        for number in range(JOBS):
            prompt = bind(workflow, {**done, "seed": str(number)}, files={}, prefix=f"b/{number}")
            _bare(practice.url, prompt)
        bare = _gaps(practice.url)
    middle = statistics.median(ours)
    return [
        Row("gap between queued jobs, 2 slots, median", ms(middle), "<= 20 ms", middle <= 0.02),
        Row("… the same jobs sent one after the other by a script", ms(statistics.median(bare))),
    ]
