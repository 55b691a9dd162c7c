"""The recordings, as data and as events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from studio.engine.comfy import wire
from studio.engine.comfy.events import RunEvent

RECORDINGS = Path(__file__).parents[2] / "data" / "comfyui"


def recording(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))


def raw_frame(name: str) -> bytes:
    return (RECORDINGS / "binary_frames" / name).read_bytes()


def frames(recorded: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the frames of a recorded list: the recorder's own markers are none."""
    return [
        entry
        for entry in recorded
        if isinstance(entry.get("text"), dict) or isinstance(entry.get("binary"), dict)
    ]


def replay(recorded: list[dict[str, Any]]) -> list[RunEvent]:
    """Read a recorded list of frames through one `Reader`."""
    reader = wire.Reader()
    events: list[RunEvent] = []
    for entry in frames(recorded):
        if "text" in entry:
            events.extend(reader.text(json.dumps(entry["text"])))
        else:
            events.extend(reader.binary(_binary(entry["binary"])))
    return events


def every_frame_list(name: str) -> list[list[dict[str, Any]]]:
    """Find every list of frames anywhere in a recording."""
    found: list[list[dict[str, Any]]] = []

    def walk(value: object) -> None:
        if isinstance(value, list):
            entries = [entry for entry in value if isinstance(entry, dict)]
            if frames(entries):
                found.append(entries)
            for entry in value:
                walk(entry)
        elif isinstance(value, dict):
            for entry in value.values():
                walk(entry)

    walk(recording(name))
    return found


def _binary(recorded: dict[str, Any]) -> bytes:
    """Rebuild a frame: the head as recorded, the ids of type 4 written anew."""
    if recorded.get("event_type") != 4:
        return bytes.fromhex(recorded.get("head_hex_64") or recorded.get("head_hex", ""))
    meta = json.dumps(recorded["metadata"]).encode()
    return (4).to_bytes(4, "big") + len(meta).to_bytes(4, "big") + meta + b"\xff\xd8picture"
