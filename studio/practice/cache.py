"""Results kept from the prompt before: by content, not by node id, and only one prompt deep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from studio.practice.files import Folders, digest
from studio.practice.nodes.values import Result

_FILE_INPUTS: Final[Mapping[str, str]] = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadImageOutput": "image",
    "LoadAudio": "audio",
    "LoadVideo": "file",
}


@dataclass(slots=True)
class Cache:
    """Signature -> result (`cache_interrupt_and_no_client_extras.json`)."""

    _held: dict[str, Result]

    def keep_only(self, signatures: Iterable[str]) -> None:
        """Drop what the coming prompt does not use: A, B, A runs A anew."""
        wanted = set(signatures)
        self._held = {key: result for key, result in self._held.items() if key in wanted}

    def get(self, signature: str) -> Result | None:
        """Give a held result."""
        return self._held.get(signature)

    def put(self, signature: str, result: Result) -> None:
        """Hold a result."""
        self._held[signature] = result

    def clear(self) -> None:
        """Drop everything, as `/free` with `free_memory` does."""
        self._held.clear()


def signatures(graph: Mapping[str, Any], folders: Folders) -> dict[str, str]:
    """Give each node's signature: its class, its values, its sources, and the bytes of its file."""
    made: dict[str, str] = {}

    def of(node: str) -> str:
        if node not in made:
            # Set first: a cycle (in a part that does not run) must not send us round for ever.
            made[node] = node
            made[node] = _hash(graph[node], of, graph, folders)
        return made[node]

    for node in graph:
        of(node)
    return made


def _hash(item: Mapping[str, Any], of: Any, graph: Mapping[str, Any], folders: Folders) -> str:
    inputs = inputs_of(item)
    parts = [item["class_type"], _file_digest(item["class_type"], inputs, folders)]
    for name in sorted(inputs):
        value = inputs[name]
        parts.append([name, ["link", of(value[0]), value[1]] if is_link(value, graph) else value])
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def inputs_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Give a node's inputs; a node outside of what runs may be written anyhow."""
    inputs = item.get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def is_link(value: Any, graph: Mapping[str, Any]) -> bool:
    """Tell whether an input value is a link to a node of this graph."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and value[0] in graph
    )


def _file_digest(class_type: str, inputs: Mapping[str, Any], folders: Folders) -> str:
    name = inputs.get(_FILE_INPUTS.get(class_type, ""))
    path = folders.annotated(name) if isinstance(name, str) else None
    return digest(path) if path is not None and path.is_file() else ""
