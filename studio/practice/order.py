"""In which order nodes run: ready ones first, those near an output before others.

Learned from the order of `executing` frames in the recordings. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from studio.practice.cache import inputs_of, is_link


class Order:
    """The nodes still to run. `cached` nodes are not waited for and not gone through."""

    def __init__(
        self,
        graph: Mapping[str, Any],
        outputs: Iterable[str],
        is_output: Callable[[str], bool],
        cached: Callable[[str], bool],
    ) -> None:
        self._graph = graph
        self._is_output = is_output
        self._waits_for: dict[str, set[str]] = {}
        self._readers: dict[str, list[str]] = {}
        for output in outputs:
            self._add(output, cached)

    def _add(self, output: str, cached: Callable[[str], bool]) -> None:
        stack = [output]
        while stack:
            node = stack.pop()
            if node in self._waits_for:
                continue
            self._waits_for[node] = set()
            for source in sources(self._graph, node):
                if cached(source):
                    continue
                self._waits_for[node].add(source)
                self._readers.setdefault(source, []).append(node)
                stack.append(source)

    def __bool__(self) -> bool:
        return bool(self._waits_for)

    def take(self) -> str:
        """Take the next node: an output, else one read by an output, else one step further."""
        ready = [node for node, wanted in self._waits_for.items() if not wanted]
        chosen = next(
            (node for rule in (0, 1, 2) for node in ready if self._leads(node, rule)), ready[0]
        )
        del self._waits_for[chosen]
        return chosen

    def done(self, node: str) -> None:
        """Let the readers of a node go on."""
        for wanted in self._waits_for.values():
            wanted.discard(node)

    def _leads(self, node: str, steps: int) -> bool:
        if steps == 0:
            return self._is_output(node)
        return any(self._leads(reader, steps - 1) for reader in self._readers.get(node, ()))


def sources(graph: Mapping[str, Any], node: str) -> list[str]:
    """List the nodes a node reads, in the order of its inputs."""
    return [value[0] for value in inputs_of(graph[node]).values() if is_link(value, graph)]
