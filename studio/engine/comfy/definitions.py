"""`/object_info`, wrapped: which nodes a server has and what their inputs allow. Pure.

Knows both shapes of a combo, V1 `[["a", "b"], {...}]` and V3 `["COMBO", {"options": [...]}]`,
and ignores every key it does not know (49).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from studio.engine.comfy import wire


class Definitions:
    """The node definitions of one server."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        self._nodes = object_info

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def has(self, class_type: str) -> bool:
        """Tell whether the server has this node. One that lacks a package is simply absent."""
        return isinstance(self._nodes.get(class_type), dict)

    def inputs(self, class_type: str) -> tuple[str, ...]:
        """Name the inputs of a node, required ones first; empty for an unknown node."""
        return tuple(name for name, _ in self._inputs(class_type))

    def choices(self, class_type: str, name: str) -> tuple[str, ...] | None:
        """Give the values that an input's list allows; None when it is no list or unknown.

        `name` may be that of a dynamic combo's own input: `resize_type.crop`.
        """
        for known, config in self._inputs(class_type):
            if known == name:
                return wire.combo(config)
            if name.startswith(known + "."):
                return _inner(config, name[len(known) + 1 :])
        return None

    def is_output(self, class_type: str) -> bool:
        """Tell whether the node is one that a run is made for."""
        node = self._nodes.get(class_type)
        return isinstance(node, dict) and node.get("output_node") is True

    def _inputs(self, class_type: str) -> Iterator[tuple[str, Any]]:
        node = self._nodes.get(class_type)
        groups = node.get("input") if isinstance(node, dict) else None
        for group in ("required", "optional"):
            entries = groups.get(group) if isinstance(groups, dict) else None
            yield from (entries.items() if isinstance(entries, dict) else ())


def _inner(config: object, name: str) -> tuple[str, ...] | None:
    """Find an input inside the options of a dynamic combo (`COMFY_DYNAMICCOMBO_V3`)."""
    for option in wire.dynamic_options(config):
        for group in ("required", "optional"):
            inputs = option.get("inputs")
            entries = inputs.get(group) if isinstance(inputs, dict) else None
            if isinstance(entries, dict) and name in entries:
                return wire.combo(entries[name])
    return None
