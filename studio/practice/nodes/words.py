"""Nodes that work on text."""

from __future__ import annotations

from studio.practice.nodes.registry import node


@node("StringConcatenate")
def string_concatenate(string_a: str, string_b: str, delimiter: str) -> str:
    """Join two texts with something between them, also where one of them is empty."""
    return delimiter.join((string_a, string_b))
