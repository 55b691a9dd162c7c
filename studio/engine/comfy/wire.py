"""Bytes and JSON of a ComfyUI -> events and values.

Unknown or malformed messages become `Unknown` or nothing, never a crash. Knows no socket and no
job. Learned from the recordings in `tests/data/comfyui`; numbers in comments name the traps of
their README.
"""

from __future__ import annotations

import heapq
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from studio.engine.comfy.answers import (
    DEFAULT_UPLOAD_BYTES,
    Accepted,
    Device,
    Features,
    QueueState,
    RunRecord,
    ServerInfo,
)
from studio.engine.comfy.events import (
    Cached,
    Ended,
    Failed,
    Interrupted,
    NodeFinished,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    OutputFile,
    Preview,
    Queued,
    RunEvent,
    Started,
    Succeeded,
    Unknown,
)

FLAGS: Final = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
"""What a client says first on its socket, or not at all (18)."""

_KEPT_PROMPTS: Final = 16
_MODELS_3D: Final = (".glb", ".gltf", ".obj", ".fbx", ".stl", ".ply", ".usdz", ".spz", ".splat")


class Reader:
    """Read the frames of one socket, in order. Make a new one for each connection.

    It remembers only what frames leave out: which prompt an old preview belongs to (18), and what
    was already told of a node, since `progress` repeats `progress_state` and each
    `progress_state` repeats every node so far. A fact is told once.
    """

    def __init__(self) -> None:
        self._told: dict[str, dict[str, tuple[float, float] | None]] = {}
        self._current: tuple[str | None, str | None] = (None, None)

    def text(self, frame: str | bytes) -> tuple[RunEvent, ...]:
        """Read one text frame."""
        kind, data = _unpack(frame)
        if kind == "progress_state":
            events = tuple(self._news(_node_states(data)))
        elif kind in _EVENTS:
            event = _EVENTS[kind](data)
            events = (Unknown(kind),) if event is None else tuple(self._news(iter((event,))))
        else:
            events = (Unknown(kind),)
        for event in events:
            self._place(event)
        return events

    def binary(self, frame: bytes) -> tuple[RunEvent, ...]:
        """Read one binary frame (19). An old preview gets the prompt and node last spoken of."""
        event = _binary(frame)
        if isinstance(event, Preview) and event.prompt_id is None:
            prompt_id, node = self._current
            return (Preview(prompt_id, node, event.mime, event.data),)
        return (event,)

    def _news(self, events: Iterator[RunEvent]) -> Iterator[RunEvent]:
        """Let through what has not been told of a node yet."""
        for event in events:
            match event:
                case NodeProgress(prompt_id, node, value, maximum):
                    fresh = self._tell(prompt_id, node, (value, maximum))
                case NodeFinished(prompt_id, node):
                    fresh = self._tell(prompt_id, node, None)
                case _:
                    fresh = True
            if fresh:
                yield event

    def _tell(self, prompt_id: str, node: str, fact: tuple[float, float] | None) -> bool:
        if prompt_id not in self._told:
            while len(self._told) >= _KEPT_PROMPTS:  # those of others never say that they ended
                del self._told[next(iter(self._told))]
            self._told[prompt_id] = {}
        told = self._told[prompt_id]
        if node in told and told[node] == fact:
            return False
        told[node] = fact
        return True

    def _place(self, event: RunEvent) -> None:
        """Keep in mind which prompt and node an old preview will belong to."""
        match event:
            case NodeStarted(prompt_id, node) | NodeProgress(prompt_id, node, _, _):
                self._current = (prompt_id, node) if prompt_id else (None, None)
            case Started(prompt_id):
                self._current = (prompt_id, None)
            case Ended(prompt_id):
                self._current = (None, None)
                self._told.pop(prompt_id, None)
            case _:
                pass


# Text frames ------------------------------------------------------------------------------


def _unpack(frame: str | bytes) -> tuple[str, Mapping[str, Any]]:
    """Give type and data of a text frame; a frame that is none has the type `""`."""
    message = _map(parse(frame))
    kind = message.get("type")
    return (kind if isinstance(kind, str) else ""), _map(message.get("data"))


def _status(data: Mapping[str, Any]) -> RunEvent | None:
    info = _map(_map(data.get("status")).get("exec_info"))
    remaining = _number(info.get("queue_remaining"))
    return None if remaining is None else Queued(int(remaining))


def _started(data: Mapping[str, Any]) -> RunEvent | None:
    prompt_id = _id(data.get("prompt_id"))
    return Started(prompt_id) if prompt_id else None


def _cached(data: Mapping[str, Any]) -> RunEvent | None:
    prompt_id = _id(data.get("prompt_id"))
    nodes = tuple(node for entry in _list(data.get("nodes")) if (node := _id(entry)))
    return Cached(prompt_id, nodes) if prompt_id else None


def _executing(data: Mapping[str, Any]) -> RunEvent | None:
    """Read `executing`: a node, or the end of the run; after a reconnect without prompt_id (30)."""
    prompt_id = _id(data.get("prompt_id"))
    node = _id(data.get("display_node")) or _id(data.get("node"))
    if node:
        return NodeStarted(prompt_id or None, node)
    return Ended(prompt_id) if prompt_id and data.get("node", "") is None else None


def _progress(data: Mapping[str, Any]) -> RunEvent | None:
    prompt_id, node = _id(data.get("prompt_id")), _id(data.get("node"))
    value, maximum = _number(data.get("value")), _number(data.get("max"))
    if not prompt_id or not node or value is None or maximum is None:
        return None
    return NodeProgress(prompt_id, node, value, maximum)


def _executed(data: Mapping[str, Any]) -> RunEvent | None:
    prompt_id, node = _id(data.get("prompt_id")), _id(data.get("node"))
    return read_output(prompt_id, node, data.get("output")) if prompt_id and node else None


def _succeeded(data: Mapping[str, Any]) -> RunEvent | None:
    prompt_id = _id(data.get("prompt_id"))
    return Succeeded(prompt_id) if prompt_id else None


def _failed(data: Mapping[str, Any]) -> Failed | None:
    """Read `execution_error` (25). `current_inputs` goes nowhere: it may hold secrets."""
    prompt_id = _id(data.get("prompt_id"))
    if not prompt_id:
        return None
    return Failed(
        prompt_id=prompt_id,
        node=_id(data.get("node_id")),
        class_type=_text(data.get("node_type")),
        exception_type=_text(data.get("exception_type")),
        message=_text(data.get("exception_message")).strip(),
        traceback=tuple(line for line in _list(data.get("traceback")) if isinstance(line, str)),
    )


def _interrupted(data: Mapping[str, Any]) -> Interrupted | None:
    prompt_id = _id(data.get("prompt_id"))
    return Interrupted(prompt_id, _id(data.get("node_id")) or None) if prompt_id else None


_EVENTS: Final[Mapping[str, Callable[[Mapping[str, Any]], RunEvent | None]]] = {
    "status": _status,
    "execution_start": _started,
    "execution_cached": _cached,
    "executing": _executing,
    "progress": _progress,
    "executed": _executed,
    "execution_success": _succeeded,
    "execution_error": _failed,
    "execution_interrupted": _interrupted,
}


def _node_states(data: Mapping[str, Any]) -> Iterator[RunEvent]:
    """Read `progress_state` (15). An inner node of an expanded one speaks for the node shown."""
    prompt_id = _id(data.get("prompt_id"))
    for node, entry in _map(data.get("nodes")).items():
        state = _map(entry)
        shown = _id(state.get("display_node_id")) or node
        value, maximum = _number(state.get("value")), _number(state.get("max"))
        if not prompt_id or value is None or maximum is None:
            continue
        if state.get("state") == "running":
            if value or maximum > 1:  # 0 of 1 says only that it runs: `executing` says so too
                yield NodeProgress(prompt_id, shown, value, maximum)
        elif state.get("state") == "finished" and shown == node:
            yield NodeFinished(prompt_id, node)


# Binary frames ----------------------------------------------------------------------------


def _binary(frame: bytes) -> RunEvent:
    """Read type 1 (preview), type 4 (preview with ids); name all others (19)."""
    kind, first = _u32(frame, 0), _u32(frame, 4)
    if kind == 1 and first is not None:
        return Preview(None, None, "image/png" if first == 2 else "image/jpeg", frame[8:])
    if kind == 4 and first is not None:
        return _preview_with_ids(frame, first)
    return Unknown("binary" if kind is None else f"binary {kind}")


def _preview_with_ids(frame: bytes, length: int) -> RunEvent:
    meta = _map(parse(frame[8 : 8 + length]))
    prompt_id = _id(meta.get("prompt_id"))
    if not prompt_id:
        return Unknown("binary 4")
    node = _id(meta.get("display_node_id")) or _id(meta.get("node_id")) or None
    mime = _text(meta.get("image_type")) or "image/jpeg"
    return Preview(prompt_id, node, mime, frame[8 + length :])


def _u32(frame: bytes, at: int) -> int | None:
    return int.from_bytes(frame[at : at + 4], "big") if len(frame) >= at + 4 else None


# Outputs ----------------------------------------------------------------------------------


def read_output(prompt_id: str, node: str, output: object) -> NodeOutput:
    """Read what a node handed out (39): every file under every key, in order, and texts.

    Temporary files are previews, never results (40): left out.
    """
    files: list[OutputFile] = []
    texts: list[str] = []
    for key, values in _map(output).items():
        for value in _list(values):
            if (file := _file(value)) is not None:
                files.append(file)
            elif key == "text" and isinstance(value, str):
                texts.append(value)
    return NodeOutput(
        prompt_id, node, tuple(file for file in files if file.type != "temp"), tuple(texts)
    )


def _file(value: object) -> OutputFile | None:
    """Read `{"filename", "subfolder", "type"}`; newer 3D nodes hand out a bare path."""
    if isinstance(value, str) and value.lower().endswith(_MODELS_3D):
        folder, _, name = value.replace("\\", "/").rpartition("/")
        return OutputFile(name, folder, "output")
    entry = _map(value)
    filename = _text(entry.get("filename"))
    if not filename:
        return None
    return OutputFile(filename, _text(entry.get("subfolder")), _text(entry.get("type")) or "output")


# Answers ----------------------------------------------------------------------------------


def parse(body: str | bytes) -> Any:
    """Read JSON; None when it is none, for an error's body may be plain text (9)."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def read_queue(body: object) -> QueueState:
    """Read `/queue`. Pending prompts come in heap order there: sorted by number here (10)."""
    queue = _map(body)
    return QueueState(
        running=tuple(prompt_id for _, prompt_id in _queue_items(queue.get("queue_running"))),
        pending=tuple(
            prompt_id
            for _, prompt_id in sorted(
                _queue_items(queue.get("queue_pending")), key=lambda item: item[0]
            )
        ),
    )


def _queue_items(items: object) -> Iterator[tuple[float, str]]:
    """Read `[number, prompt_id, ...]` (11)."""
    for item in _list(items):
        fields = _list(item)
        if len(fields) > 1 and (prompt_id := _id(fields[1])):
            number = _number(fields[0])
            yield (0.0 if number is None else number), prompt_id


def read_remaining(body: object) -> int:
    """Read GET `/prompt`: how many prompts run or wait on the whole server."""
    remaining = _number(_map(_map(body).get("exec_info")).get("queue_remaining"))
    return int(remaining or 0)


def read_history(body: object, prompt_id: str) -> RunRecord | None:
    """Read `/history/{id}`. None while it is pending or running, or unknown: all look alike (35).

    An interrupted run says "error" like a failed one; only its messages tell them apart (26).
    """
    entry = _map(body).get(prompt_id)
    if not isinstance(entry, Mapping):
        return None
    status = _map(entry.get("status"))
    messages = dict(_messages(status.get("messages")))
    failed = None
    if "execution_interrupted" in messages:
        outcome = "interrupted"
    elif "execution_error" in messages or status.get("status_str") == "error":
        outcome = "error"
        failed = _failed({"prompt_id": prompt_id, **messages.get("execution_error", {})})
    else:
        outcome = "success"
    return RunRecord(outcome, _outputs(prompt_id, entry), failed)


def _messages(messages: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for message in _list(messages):
        fields = _list(message)
        if len(fields) > 1 and isinstance(fields[0], str):
            yield fields[0], _map(fields[1])


def _outputs(prompt_id: str, entry: Mapping[str, Any]) -> tuple[NodeOutput, ...]:
    """Put a record's outputs in the stable order of the graph it carries."""
    item = _list(entry.get("prompt"))
    places = {node: at for at, node in enumerate(node_order(item[2] if len(item) > 2 else None))}
    last = len(places)

    def place(node: str) -> tuple[int, list[tuple[int, str]]]:
        at = places.get(node, places.get(node.split(".")[0], last))  # 5.0.1: made by node 5
        return at, _natural(node)

    outputs = _map(entry.get("outputs"))
    return tuple(read_output(prompt_id, node, outputs[node]) for node in sorted(outputs, key=place))


def node_order(graph: object) -> list[str]:
    """Order the nodes of an API-format graph: inputs before readers, else by node id (2 before 10).

    Independent of the order in the JSON. Nodes on a cycle or behind it come last.
    """
    nodes = {node: _sources(entry) for node, entry in _map(graph).items()}
    readers: dict[str, list[str]] = {node: [] for node in nodes}
    waits: dict[str, int] = {}
    for node, sources in nodes.items():
        known = sources & nodes.keys()
        waits[node] = len(known)
        for source in known:
            readers[source].append(node)
    ready = [(_natural(node), node) for node, count in waits.items() if not count]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        _, node = heapq.heappop(ready)
        order.append(node)
        for reader in readers[node]:
            waits[reader] -= 1
            if not waits[reader]:
                heapq.heappush(ready, (_natural(reader), reader))
    return order + sorted(nodes.keys() - set(order), key=_natural)


def _sources(node: object) -> set[str]:
    """Name the nodes that this node reads: inputs of the form `[node id, slot]`."""
    links = [_list(value) for value in _map(_map(node).get("inputs")).values()]
    return {link[0] for link in links if len(link) == 2 and isinstance(link[0], str)}


def _natural(node: str) -> list[tuple[int, str]]:
    """Compare runs of digits as numbers."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d{1,18})", node)
        if part
    ]


def read_system(body: object) -> ServerInfo | None:
    """Read `/system_stats`; unknown fields are ignored. None when no ComfyUI speaks so."""
    stats = _map(body)
    if not isinstance(stats.get("system"), dict):
        return None
    devices = tuple(_device(_map(entry)) for entry in _list(stats.get("devices")))
    return ServerInfo(_text(_map(stats.get("system")).get("comfyui_version")), devices)


def _device(entry: Mapping[str, Any]) -> Device:
    return Device(
        name=_text(entry.get("name")),
        type=_text(entry.get("type")),
        vram_total_bytes=int(_number(entry.get("vram_total")) or 0),
        vram_free_bytes=int(_number(entry.get("vram_free")) or 0),
    )


def read_features(body: object) -> Features:
    """Read `/features`; `max_upload_size` is a float when the flag was set (48)."""
    told = _map(body)
    limit = _number(told.get("max_upload_size"))
    return Features(
        max_upload_bytes=int(limit) if limit and limit > 0 else DEFAULT_UPLOAD_BYTES,
        preview_metadata=told.get("supports_preview_metadata") is True,
    )


def read_upload(body: object) -> str | None:
    """Read the answer to an upload as graphs want the name: `sub/name.png` (43, 44)."""
    answer = _map(body)
    name, subfolder = _text(answer.get("name")), _text(answer.get("subfolder")).strip("/")
    if not name:
        return None
    return f"{subfolder}/{name}" if subfolder else name


def read_accepted(body: object) -> Accepted:
    """Read the 200 to POST `/prompt` (1). It is no success while `node_errors` is not empty (4)."""
    answer = _map(body)
    return Accepted(_text(answer.get("prompt_id")), bool(answer.get("node_errors")))


def read_cancelled(body: object) -> bool | None:
    """Read the answer to a cancel by id; None when it is none."""
    cancelled = _map(body).get("cancelled")
    return cancelled if isinstance(cancelled, bool) else None


def read_names(body: object) -> tuple[str, ...]:
    """Read a list of file names, such as `/models/{folder}`."""
    return tuple(name for name in _list(body) if isinstance(name, str))


# Node definitions -------------------------------------------------------------------------


def combo(config: object) -> tuple[str, ...] | None:
    """Give the values an input's definition lists: V1, V3 or dynamic (49). None when it is none."""
    fields = _list(config)
    if fields and isinstance(fields[0], list):
        return _labels(fields[0])
    options = _map(fields[1]).get("options") if len(fields) > 1 else None
    if not fields or not isinstance(options, list):
        return None
    if fields[0] == "COMBO":
        return _labels(options)
    if fields[0] == "COMFY_DYNAMICCOMBO_V3":
        return _labels([option.get("key") for option in dynamic_options(config)])
    return None


def dynamic_options(config: object) -> list[Mapping[str, Any]]:
    """Give the options of a dynamic combo: each has a `key` and `inputs` of its own."""
    fields = _list(config)
    if len(fields) < 2 or fields[0] != "COMFY_DYNAMICCOMBO_V3":
        return []
    return [option for option in _list(_map(fields[1]).get("options")) if isinstance(option, dict)]


def _labels(values: list[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values if isinstance(value, str | int | float))


# Pieces -----------------------------------------------------------------------------------


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _id(value: object) -> str:
    """Read a node or prompt id; empty when there is none."""
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, str | int) else ""


def _number(value: object) -> float | None:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
