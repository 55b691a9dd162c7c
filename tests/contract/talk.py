"""How these tests speak to a server: plain HTTP, and sockets that write down what they hear."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
import websocket

RECORDINGS = Path(__file__).parent.parent / "data" / "comfyui"
FLAGS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


def recording(name: str) -> Any:
    """Read one recording."""
    return json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))


class Ear:
    """One socket. `heard` grows: dicts are JSON frames, bytes are binary ones."""

    def __init__(self, url: str, client_id: str | None, flags: bool = False) -> None:
        query = "" if client_id is None else f"?clientId={client_id}"
        self.heard: list[Any] = []
        self.closed = False
        self._grown = threading.Condition()
        self.socket = websocket.create_connection(
            url.replace("http", "ws", 1) + "/ws" + query, timeout=20
        )
        if flags:
            self.say(FLAGS)
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        self.wait(lambda heard: bool(heard))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def say(self, message: Any) -> None:
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def close(self) -> None:
        self.socket.close(timeout=2)
        self._thread.join(10)

    def _listen(self) -> None:
        while True:
            try:
                message = self.socket.recv()
            except (websocket.WebSocketException, OSError):
                message = ""
            with self._grown:
                self.closed = message == ""
                if message != "":
                    self.heard.append(
                        message if isinstance(message, bytes) else json.loads(message)
                    )
                self._grown.notify_all()
            if self.closed:
                return

    def wait(self, enough: Callable[[list[Any]], bool], timeout_s: float = 20) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: enough(self.heard), timeout_s), kinds(self.heard)

    def wait_closed(self, timeout_s: float = 10) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: self.closed, timeout_s), kinds(self.heard)

    def until_end(self, prompt_id: str, timeout_s: float = 30) -> list[Any]:
        """Wait for `executing` null of a prompt and give all that was heard."""
        self.wait(lambda heard: any(is_end(one, prompt_id) for one in heard), timeout_s)
        return list(self.heard)

    def until_status(self, remaining: int, count: int = 1) -> list[Any]:
        """Wait for the n-th status of that length and give all that was heard."""
        self.wait(lambda heard: sum(is_status(one, remaining) for one in heard) >= count)
        return list(self.heard)


def is_end(frame: Any, prompt_id: str) -> bool:
    return (
        isinstance(frame, dict)
        and frame["type"] == "executing"
        and frame["data"] == {"node": None, "prompt_id": prompt_id}
    )


def is_status(frame: Any, remaining: int) -> bool:
    return (
        isinstance(frame, dict)
        and frame["type"] == "status"
        and frame["data"]["status"]["exec_info"]["queue_remaining"] == remaining
        and "sid" not in frame["data"]
    )


class Talker:
    """Plain HTTP to one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()

    def close(self) -> None:
        self.http.close()

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.http.get(self.url + path, timeout=20, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        return self.http.post(self.url + path, json=body, timeout=20, **options)

    def prompt(self, graph: Any, client_id: str | None = None, **more: Any) -> str:
        """Queue a graph and give its prompt id."""
        body = {"prompt": graph, **more}
        if client_id is not None:
            body["client_id"] = client_id
        answer = self.post("/prompt", body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["prompt_id"])

    def record(self, prompt_id: str) -> dict[str, Any]:
        """Give the history entry of a prompt, {} when there is none."""
        entry: dict[str, Any] = self.get(f"/history/{prompt_id}").json().get(prompt_id, {})
        return entry

    def run(self, graph: Any, client_id: str, **more: Any) -> tuple[dict[str, Any], list[Any]]:
        """Run a graph to its end; gives its history entry and the frames."""
        with Ear(self.url, client_id) as ear:
            prompt_id = self.prompt(graph, client_id, **more)
            frames = ear.until_end(prompt_id)
        return self.record(prompt_id), frames


# frames, made comparable


def kinds(frames: list[Any]) -> list[str]:
    """Give the type of each frame."""
    return [one["type"] if isinstance(one, dict) else "binary" for one in frames]


def recorded_frames(frames: list[dict[str, Any]]) -> list[Any]:
    """Give the frames of a recording without our own markers; binaries by what they decode to."""
    return [
        one.get("text", one.get("binary")) for one in frames if "text" in one or "binary" in one
    ]


def comparable(frames: list[Any], names: Mapping[str, str] | None = None) -> list[Any]:
    """Make frames comparable: prompt ids by order of appearance, times and file heads left out."""
    seen: dict[str, str] = dict(names or {})
    return [_plain(one, seen) for one in frames]


def _plain(frame: Any, seen: dict[str, str]) -> Any:
    if isinstance(frame, bytes):
        return _binary(decode(frame), seen)
    if "type" in frame:
        return {"type": frame["type"], "data": _renamed(frame["data"], seen)}
    return _binary(frame, seen)


def _binary(decoded: dict[str, Any], seen: dict[str, str]) -> Any:
    kept = ("event_type", "image_format_int", "metadata", "node_id", "text", "image")
    return _renamed({key: decoded[key] for key in kept if key in decoded}, seen)


def _renamed(value: Any, seen: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: seen.setdefault(str(inner), f"P{len(seen)}")
            if key == "prompt_id"
            else _renamed(inner, seen)
            for key, inner in value.items()
            if key not in ("timestamp", "traceback", "sid")
        }
    if isinstance(value, list):
        return [_renamed(inner, seen) for inner in value]
    return value


def decode(data: bytes) -> dict[str, Any]:
    """Decode a binary frame as the recorder did."""
    kind = struct.unpack(">I", data[:4])[0]
    size = struct.unpack(">I", data[4:8])[0]
    if kind == 1:
        return {"event_type": 1, "image_format_int": size, "image": _image(data[8:])}
    if kind == 3:
        node, text = data[8 : 8 + size].decode(), data[8 + size :].decode()
        return {"event_type": 3, "node_id": node, "text": text}
    metadata = json.loads(data[8 : 8 + size])
    return {"event_type": kind, "metadata": metadata, "image": _image(data[8 + size :])}


def _image(data: bytes) -> Any:
    import io

    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return [picture.format, list(picture.size), picture.mode]


# graphs


def small(color: int = 5, prefix: str = "studio/val", batch: int = 1, side: int = 64) -> Any:
    """The smallest graph that saves something."""
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": side, "height": side, "batch_size": batch, "color": color},
        },
        "2": {"class_type": "SaveImage", "inputs": {"filename_prefix": prefix, "images": ["1", 0]}},
    }


def sampled(seed: int = 1, steps: int = 5, ckpt: str = "random-sd15.safetensors") -> Any:
    """The sampler graph of the recordings."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": ckpt}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lighthouse", "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1},
        },
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "seed": seed,
                "steps": steps,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": "studio/t2i", "images": ["6", 0]},
            "_meta": {"title": "Result"},
        },
    }
