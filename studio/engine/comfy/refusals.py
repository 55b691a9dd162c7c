"""What a ComfyUI refused, or failed at, in our words. Pure.

Three kinds of failure stay apart: the server refuses the graph (here `refusal`), the run failed
(`failure`), the server is away (`calls.py`). Learned from `prompt_post_and_validation.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from studio.engine.comfy import wire
from studio.engine.comfy.events import Failed
from studio.errors import StudioError

_MODEL_FILES: Final = (
    ".safetensors",
    ".sft",
    ".ckpt",
    ".pt",
    ".pt2",
    ".pth",
    ".bin",
    ".gguf",
    ".onnx",
    ".pkl",
)
_NO_MEMORY: Final = re.compile(
    r"out of memory|outofmemory|not enough memory|allocation on device|can't allocate memory",
    re.IGNORECASE,
)
_PATH: Final = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\s\\/:*?\"'<>|,;()\[\]]+){2,}")
_REASON_CHARS: Final = 300
_DETAILS_CHARS: Final = 8000
_CHOICES: Final = 12


def refusal(answer: object, prompt: Mapping[str, Any]) -> StudioError:
    """Explain the answer to POST `/prompt` that is no plain success (4 to 7).

    Gives `missing_node` (node, class_type), `missing_model` (node, model, choices) or
    `prompt_refused` (reason; node, class_type, input where known).
    """
    body = answer if isinstance(answer, dict) else {}
    error, node_errors = _map(body.get("error")), _map(body.get("node_errors"))
    details = json.dumps(answer, ensure_ascii=False, default=str)[:_DETAILS_CHARS]
    missing = _missing_node(error, prompt)
    if missing is not None:
        node, class_type = missing
        return StudioError(
            "missing_node", details=details, node=title(prompt, node), class_type=class_type
        )
    for node in sorted(node_errors, key=_place_in(prompt)):
        for fault in _list(_map(node_errors[node]).get("errors")):
            return _of_input(node, _map(fault), prompt, details)
    return StudioError("prompt_refused", details=details, reason=_as_a_whole(answer, error))


def _as_a_whole(answer: object, error: Mapping[str, Any]) -> str:
    """Say what is wrong with the graph as such; some answers hold a mere text (9, 37)."""
    message, told = _clean(_text(error.get("message"))), _clean(_text(error.get("details")))
    text = _map(answer).get("error", answer)
    if not message and not told and isinstance(text, str):
        return _clean(text) or "?"
    return " ".join(dict.fromkeys(part for part in (message, told) if part)) or "?"


def failure(failed: Failed, prompt: Mapping[str, Any] | None = None) -> StudioError:
    """Explain a run that failed: `out_of_memory` or `run_failed` (node, class_type, reason).

    The whole message and the traceback go to `details`, for the log.
    """
    code = "out_of_memory" if is_out_of_memory(failed) else "run_failed"
    return StudioError(
        code,
        details="\n".join(
            (f"{failed.exception_type}: {failed.message}", "".join(failed.traceback))
        ).strip()[:_DETAILS_CHARS],
        node=title(prompt or {}, failed.node) or failed.class_type or failed.node,
        class_type=failed.class_type,
        reason=_clean(failed.message) or failed.exception_type or "?",
    )


def is_out_of_memory(failed: Failed) -> bool:
    """Tell whether the device's memory was too small (torch, CUDA, ROCm, MPS and CPU wordings)."""
    return bool(_NO_MEMORY.search(failed.exception_type) or _NO_MEMORY.search(failed.message))


def title(prompt: Mapping[str, Any], node: str) -> str:
    """Name a node as its author did, else by its class; empty when it is not in the graph."""
    entry = _map(prompt.get(node))
    return _text(_map(entry.get("_meta")).get("title")) or _text(entry.get("class_type"))


def _missing_node(error: Mapping[str, Any], prompt: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the node whose class the server lacks: 0.8.0 says so in words, newer ones by type."""
    info = _map(error.get("extra_info"))
    said = re.search(r"node (\S+) does not exist", _text(error.get("message")))
    at = re.search(r"#([^']+)'", _text(error.get("details")))
    node = str(info.get("node_id") or (at.group(1) if at else ""))
    if error.get("type") == "missing_node_type":
        return node, _text(info.get("class_type")) or title(prompt, node)
    if error.get("type") == "invalid_prompt" and said:
        return node, said.group(1)
    return None


def _of_input(
    node: str, fault: Mapping[str, Any], prompt: Mapping[str, Any], details: str
) -> StudioError:
    """Explain the first fault of one node's inputs."""
    info = _map(fault.get("extra_info"))
    value = info.get("received_value")
    entry = _map(prompt.get(node))
    named: dict[str, Any] = {
        "node": title(prompt, node) or node,
        "class_type": _text(entry.get("class_type")),
        "input": _text(info.get("input_name")),
    }
    if fault.get("type") == "value_not_in_list" and _is_model(value):
        choices = _choices(info.get("input_config"))
        return StudioError(
            "missing_model", details=details, model=value, choices=", ".join(choices), **named
        )
    return StudioError(
        "prompt_refused", details=details, reason=f"{named['node']}: {_said(fault)}", **named
    )


def _said(fault: Mapping[str, Any]) -> str:
    """Join what a fault says: `details` are a sentence, or only the input's name, or empty."""
    message, told = _clean(_text(fault.get("message"))), _clean(_text(fault.get("details")))
    if told and " " not in told:
        return f"{told}: {message}" if message else told
    return told or message or "?"


def _is_model(value: object) -> bool:
    return isinstance(value, str) and value.lower().endswith(_MODEL_FILES)


def _choices(config: object) -> list[str]:
    """Read the values allowed, V1 or V3; none where the server left out a long list (7)."""
    from_wire = wire.combo(config)
    return list(from_wire or ())[:_CHOICES]


def _place_in(prompt: Mapping[str, Any]) -> Any:
    places = {node: at for at, node in enumerate(wire.node_order(prompt))}
    return lambda node: (places.get(node, len(places)), node)


def _clean(message: str) -> str:
    """Give one line that people may see: no trailing newline, no folder of the server (25)."""
    line = " ".join(message.split())
    shown = _PATH.sub(lambda found: re.split(r"[\\/]", found.group())[-1], line)
    return shown if len(shown) <= _REASON_CHARS else shown[: _REASON_CHARS - 1] + "…"


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
