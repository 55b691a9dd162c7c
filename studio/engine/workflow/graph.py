"""A ComfyUI graph in API format: reading it, refusing what would harm a server, walking it.

Knows no parameters and no network. What is refused and why was learned on a real ComfyUI 0.8.0.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from studio.engine.workflow.faults import FaultError

Prompt = dict[str, dict[str, Any]]
"""A graph as ComfyUI takes it: node id -> `{class_type, inputs, _meta?}`."""

MAX_NODES: Final = 2000
# A browser resolves these before an export; a server refuses the whole prompt for one of them.
PAGE_ONLY: Final = frozenset({"Note", "MarkdownNote", "PrimitiveNode", "Reroute"})
# Nodes that read a file of the server's input folder, and the input that names it.
FILE_INPUTS: Final[Mapping[str, str]] = {
    "LoadImage": "image",
    "LoadImageMask": "image",
    "LoadAudio": "audio",
    "LoadVideo": "file",
}

_SOME: Final = 12
_MODEL_SUFFIXES: Final = (".safetensors", ".sft", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True, slots=True)
class Target:
    """One input of one node."""

    node: str
    input: str


@dataclass(frozen=True, slots=True)
class Graph:
    """A checked template. `nodes` is never handed out to be written to: `copy()` is."""

    nodes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def parse(cls, text: str) -> Graph:
        """Read and check a graph; raises `FaultError` with line and reason."""
        try:
            data = json.loads(text.removeprefix("\ufeff"), parse_constant=_refuse_constant)
        except json.JSONDecodeError as exc:
            raise FaultError.of("fault.not_json", exc.lineno, detail=exc.msg) from exc
        except RecursionError as exc:
            raise FaultError.of("fault.too_deep") from exc
        data = _unwrapped(data)
        try:
            validate(data)
        except FaultError as fault:
            raise fault.at(_line_of(text, fault)) from fault
        return cls(data)

    def copy(self) -> Prompt:
        """Give an own deep copy to write to."""
        return {node: _copied(body) for node, body in self.nodes.items()}

    def target(self, place: str) -> Target:
        """Resolve `node.input`; raises `FaultError` when the graph has no such node or input.

        Node ids and input names may both hold dots, so each split is tried.
        """
        found = self.settable(place)
        if found.input not in self.nodes[found.node]["inputs"]:
            raise FaultError.of(
                "fault.no_input",
                place=place,
                node=found.node,
                class_type=self.nodes[found.node]["class_type"],
                input=found.input,
                known=some(self.nodes[found.node]["inputs"]),
            )
        return found

    def settable(self, place: str) -> Target:
        """Resolve `node.input` of a node that may lack the input so far."""
        splits = [(place[:at], place[at + 1 :]) for at, char in enumerate(place) if char == "."]
        known = [Target(node, name) for node, name in splits if node in self.nodes and name]
        for target in known:
            if target.input in self.nodes[target.node]["inputs"]:
                return target
        if not known:
            raise FaultError.of("fault.no_place", place=place, known=some(self.nodes))
        return known[0]


def _copied(body: Mapping[str, Any]) -> dict[str, Any]:
    """Copy one node; most of its inputs are plain values and links, which are copied at once."""
    inputs = {
        name: list(value)
        if is_link(value)
        else copy.deepcopy(value)
        if isinstance(value, (dict, list))
        else value
        for name, value in body["inputs"].items()
    }
    rest = {key: copy.copy(part) for key, part in body.items() if key != "inputs"}
    return {**rest, "inputs": inputs}


def some(names: Iterable[str]) -> str:
    """Write out names for a sentence; a graph may have hundreds."""
    every = list(names)
    more = ", …" if len(every) > _SOME else ""
    return ", ".join(every[:_SOME]) + more


def is_link(value: object) -> bool:
    """Tell whether an input value points at another node's output, as ComfyUI decides it."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and isinstance(value[0], str)


def sources(node: Mapping[str, Any]) -> Iterator[str]:
    """Name the nodes that one node reads."""
    return (value[0] for value in node["inputs"].values() if is_link(value))


def titles(prompt: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Give what to call each node: its own title, else its class."""
    return {
        node: str((body.get("_meta") or {}).get("title") or body["class_type"])
        for node, body in prompt.items()
    }


def model_files(prompt: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Give the names of the model files a prompt loads, without folders: what a server holds."""
    return frozenset(
        value.replace("\\", "/").rpartition("/")[2]
        for node in prompt.values()
        for value in node["inputs"].values()
        if isinstance(value, str) and value.lower().endswith(_MODEL_SUFFIXES)
    )


def order(prompt: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List the nodes so that each stands after all it reads. Raises `FaultError` on a circle."""
    waiting = {node: set(sources(body)) & set(prompt) for node, body in prompt.items()}
    ready: list[str] = []
    while waiting:
        free = [node for node, reads in waiting.items() if not reads]
        if not free:
            raise FaultError.of("fault.circle", nodes=", ".join(sorted(waiting)))
        for node in free:
            del waiting[node]
        for reads in waiting.values():
            reads.difference_update(free)
        ready += free
    return ready


def needed(prompt: Mapping[str, Mapping[str, Any]], ends: Iterable[str]) -> set[str]:
    """Name the nodes that lead to one of `ends`, these included."""
    found: set[str] = set()
    open_ends = [end for end in ends if end in prompt]
    while open_ends:
        node = open_ends.pop()
        if node not in found:
            found.add(node)
            open_ends += [source for source in sources(prompt[node]) if source in prompt]
    return found


def validate(data: object) -> None:
    """Refuse what is no API-format graph, or would harm the server. Raises `FaultError`."""
    if not isinstance(data, dict):
        raise FaultError.of("fault.no_object")
    validate_nodes(data)
    for node, body in data.items():
        for name, value in body["inputs"].items():
            _validate_input(data, node, name, value)
    order(data)


def validate_nodes(data: Mapping[str, Any]) -> None:
    """Refuse what is no graph at all, whatever its links. Raises `FaultError`."""
    if isinstance(data.get("nodes"), list):
        raise FaultError.of("fault.page_format")
    if not data:
        raise FaultError.of("fault.no_nodes")
    if len(data) > MAX_NODES:
        raise FaultError.of("fault.too_many_nodes", count=len(data), max=MAX_NODES)
    for node, body in data.items():
        _validate_node(node, body)


def _validate_node(node: str, body: object) -> None:
    if not isinstance(body, dict) or not isinstance(body.get("class_type"), str):
        raise FaultError.of("fault.no_class", node=node)
    if not isinstance(body.get("inputs"), dict):
        raise FaultError.of("fault.no_inputs", node=node, class_type=body["class_type"])
    if body["class_type"] in PAGE_ONLY:
        raise FaultError.of("fault.page_only", node=node, class_type=body["class_type"])


def _validate_input(data: Mapping[str, Any], node: str, name: str, value: object) -> None:
    if isinstance(value, dict) and "__value__" in value:
        # It passes ComfyUI's validation and then kills its worker thread for good.
        raise FaultError.of("fault.wrapped", node=node, input=name)
    if not isinstance(value, list) or len(value) != 2:
        return
    source, slot = value
    if not isinstance(source, str):
        # ComfyUI takes every pair for a link, and fails on an id that is no text.
        raise FaultError.of("fault.link_id", node=node, input=name, source=source)
    if source not in data:
        raise FaultError.of("fault.link_lost", node=node, input=name, source=source)
    if isinstance(slot, bool) or not isinstance(slot, int) or slot < 0:
        raise FaultError.of("fault.link_slot", node=node, input=name, slot=repr(slot))


def _unwrapped(data: Any) -> Any:
    """Take the graph out of a `{"prompt": {...}}` wrapper, unless that is a node called prompt."""
    inner = data.get("prompt") if isinstance(data, dict) else None
    return inner if isinstance(inner, dict) and "class_type" not in inner else data


def _refuse_constant(name: str) -> NoReturn:
    raise FaultError.of("fault.nan", value=name)


def _line_of(text: str, fault: FaultError) -> int:
    """Find the line where the node that a fault names is written."""
    named = fault.said.params.get("node")
    if named is None:
        return fault.line or 1
    written = re.search(re.escape(json.dumps(named)) + r"\s*:", text)
    return text.count("\n", 0, written.start()) + 1 if written else 1
