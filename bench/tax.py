"""Studio's tax on one job, against a bare script on the same ComfyUI (practice, real wire)."""

from __future__ import annotations

import json
import statistics
import time
import uuid
from typing import Any

import requests
import websocket

from bench.row import Row, ms, studio
from studio.build import Studio
from studio.engine.workflow.binding import bind
from studio.practice import PracticeServer

PERSON = "g-bench"
ROUNDS = 12


def _bare(url: str, prompt: dict[str, Any]) -> float:
    """Do what a plain script does: socket, POST, wait for the end, history, fetch the picture."""
    client_id, prompt_id = str(uuid.uuid4()), str(uuid.uuid4())
    begun = time.perf_counter()
    socket = websocket.create_connection(
        f"{url.replace('http', 'ws')}/ws?clientId={client_id}", timeout=60
    )
    body = {"prompt": prompt, "client_id": client_id, "prompt_id": prompt_id}
    requests.post(f"{url}/prompt", json=body, timeout=10).raise_for_status()
    while True:
        frame = socket.recv()
        if isinstance(frame, str):
            message = json.loads(frame)
            data = message["data"]
            if message["type"] == "executing" and data["node"] is None:
                break
    history = requests.get(f"{url}/history/{prompt_id}", timeout=10).json()[prompt_id]
    for output in history["outputs"].values():
        for image in output["images"]:
            requests.get(f"{url}/view", params=image, timeout=10).raise_for_status()
    socket.close()
    return time.perf_counter() - begun


def _ours(house: Studio, values: dict[str, Any]) -> float:
    begun = time.perf_counter()
    job = house.desk.submit(PERSON, "text_to_image", values)
    while not house.desk.job(PERSON, job.job_id).state.ended:
        time.sleep(0.002)
    return time.perf_counter() - begun


def _pair(pace_s: float, steps: int, rounds: int) -> tuple[list[float], list[float]]:
    bare, ours = [], []
    with (
        PracticeServer(pace_s=pace_s) as practice,
        studio(comfy_urls=(practice.url,)) as house,
    ):
        workflow = house.catalog.workflow("text_to_image_checkpoint")
        for number in range(rounds + 1):
            values = {
                "prompt": f"a cat {number}",
                "model": "random-sd15.safetensors",
                "steps": steps,
                "seed": str(number),
            }
            ours.append(_ours(house, values))
            bound = bind(
                workflow,
                house.desk.recent(PERSON, limit=1).jobs[0].values,
                files={},
                prefix=f"bare/{number}",
            )
            for node in bound.values():
                if "seed" in node["inputs"]:
                    node["inputs"]["seed"] = 1_000_000 + number
            bare.append(_bare(practice.url, bound))
    return bare[1:], ours[1:]


def measure() -> list[Row]:
    bare, ours = _pair(0.01, 4, ROUNDS)
    added = statistics.median(o - b for o, b in zip(ours, bare, strict=True))
    long_bare, long_ours = _pair(0.25, 20, 2)
    ratio = statistics.median(o / b for o, b in zip(long_ours, long_bare, strict=True))
    return [
        Row("Studio's tax on one job, median added", ms(added), "<= 50 ms", added <= 0.05),
        Row("… on a job of about 5 s", f"{ratio:.3f}x", "<= 1.02x", ratio <= 1.02),
    ]
