"""A real ComfyUI beside the practice server: run one prompt on both and hold the answers together.

Nothing here uses our own client: these runs are the measure, so they read the wire by themselves.
Set STUDIO_REAL_COMFY=http://127.0.0.1:PORT to a ComfyUI that serves nobody else; without it every
test in this folder is skipped.
"""

from __future__ import annotations

import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import websocket
from numpy.typing import NDArray
from PIL import Image

from studio.practice import PracticeServer

FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
Files = Mapping[str, bytes]
Prompt = dict[str, Any]
Pixels = NDArray[np.uint8]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def real_url() -> str:
    """Give the address of the real ComfyUI, or skip."""
    url = os.environ.get("STUDIO_REAL_COMFY", "").rstrip("/")
    if not url:
        pytest.skip("NO REAL COMFYUI: set STUDIO_REAL_COMFY=http://127.0.0.1:PORT to run this")
    assert urlsplit(url).hostname in ("127.0.0.1", "localhost"), "test load stays on this machine"
    return url


@pytest.fixture(scope="session")
def practice_url(real_url: str) -> Iterator[str]:
    """Give the address of a practice server that takes no time and lists the real one's files."""
    listed = requests.get(f"{real_url}/models/checkpoints", timeout=10).json()
    with PracticeServer(pace_s=0.0, mark=False, models={"checkpoints": listed}) as server:
        yield server.url


@dataclass(frozen=True, slots=True)
class RawRun:
    """All that one run said: the answer to the POST, its frames, and its history entry."""

    url: str
    prompt_id: str
    answer: dict[str, Any]
    frames: list[dict[str, Any]] = field(repr=False)
    history: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        return str(self.history["status"]["status_str"])

    def pictures(self, node: str) -> list[Pixels]:
        """Fetch the pictures of a save node, in batch order, as H×W×4 uint8 (alpha 255 if none)."""
        return [
            np.asarray(Image.open(io.BytesIO(self.file(item))).convert("RGBA"))
            for item in self.history["outputs"][node]["images"]
        ]

    def file(self, item: Mapping[str, str]) -> bytes:
        answer = requests.get(f"{self.url}/view", params=dict(item), timeout=10)
        answer.raise_for_status()
        return answer.content


def upload(url: str, files: Files, *, subfolder: str = "") -> None:
    for name, data in files.items():
        requests.post(
            f"{url}/upload/image",
            files={"image": (name, data)},
            data={"overwrite": "true", "subfolder": subfolder},
            timeout=10,
        ).raise_for_status()


def read_binary(frame: bytes) -> dict[str, Any]:
    """Read the head of a binary frame: its kind, and the metadata of kind 4."""
    kind = int.from_bytes(frame[:4], "big")
    data: dict[str, Any] = {}
    if kind == 4:
        length = int.from_bytes(frame[4:8], "big")
        data = json.loads(frame[8 : 8 + length])
    return {"type": f"binary {kind}", "data": data}


def raw_run(url: str, prompt: Prompt, files: Files | None = None, **extra: Any) -> RawRun:
    """Upload, listen, post, and read frames until `executing` with node null, within 120 s."""
    upload(url, files or {})
    client_id, prompt_id = uuid.uuid4().hex, str(uuid.uuid4())
    socket = websocket.create_connection(
        f"ws://{urlsplit(url).netloc}/ws?clientId={client_id}", timeout=60
    )
    try:
        socket.send(FLAGS)
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id, **extra}
        answer = requests.post(f"{url}/prompt", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        frames = list(frames_until_end(socket, prompt_id))
    finally:
        socket.close()
    history = requests.get(f"{url}/history/{prompt_id}", timeout=10).json()
    return RawRun(url, prompt_id, answer.json(), frames, history[prompt_id])


def frames_until_end(socket: websocket.WebSocket, prompt_id: str) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        frame = socket.recv()
        said = read_binary(frame) if isinstance(frame, bytes) else json.loads(frame)
        yield said
        data = said["data"]
        ended = said["type"] == "executing" and data.get("node") is None
        if ended and data.get("prompt_id") == prompt_id:
            return
    raise AssertionError("the run did not end within 120 s")


@pytest.fixture
def both(real_url: str, practice_url: str) -> Callable[..., tuple[RawRun, RawRun]]:
    """Run the same prompt with the same files on the real and on the practice server."""

    def run(prompt: Prompt, files: Files | None = None, **extra: Any) -> tuple[RawRun, RawRun]:
        return raw_run(real_url, prompt, files, **extra), raw_run(
            practice_url, prompt, files, **extra
        )

    return run


@pytest.fixture(scope="session")
def checkpoint(real_url: str) -> str:
    """Give a checkpoint that is quick on a CPU: its name must hold `tiny` or `random`."""
    listed: list[str] = requests.get(f"{real_url}/models/checkpoints", timeout=10).json()
    fit = sorted((name for name in listed if "random" in name), key=lambda name: "tiny" not in name)
    if not fit:
        pytest.skip("NO SMALL CHECKPOINT on the real ComfyUI: put one named *random* there")
    return fit[0]
