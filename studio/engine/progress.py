"""Events of one run + its graph -> a fraction that never falls, what happens now, the time left.

Pure: times come in as seconds of one monotonic clock. Knows nothing of where events come from or
where the view goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, assert_never

from studio.engine.comfy.events import (
    Back,
    Cached,
    Ended,
    Failed,
    Interrupted,
    Lost,
    NodeFinished,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    Preview,
    Queued,
    RunEvent,
    Silent,
    Started,
    Succeeded,
    Unknown,
)
from studio.engine.workflow.graph import needed

QUEUED: Final = "phase.queued"
WORKING: Final = "phase.working"

# One sampler step weighs 1. The first part found in a node's class name decides.
_KINDS: Final = (
    ("Sampler", "phase.sampling", 20.0),
    ("TTS", "phase.speaking", 8.0),
    ("Loader", "phase.loading", 4.0),
    ("VAEDecode", "phase.decoding", 3.0),
    ("VAEEncode", WORKING, 2.0),
    ("TextEncode", WORKING, 1.0),
    ("Upscale", WORKING, 5.0),
    ("Save", "phase.saving", 1.0),
    ("Preview", "phase.saving", 0.5),
)
_OTHER: Final = (WORKING, 0.3)
# Nodes named like a sampler that only choose one: they take no time.
_ONLY_CHOICES: Final = ("KSamplerSelect", "SamplerEulerAncestral", "ModelSampling")

_BEFORE_THE_END: Final = 0.99
_STEPS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How a run stands.

    `fraction` is 0 to 1 over the whole graph; `phase` is a text key; `step` of `steps` is inside
    the node, 0 where it has none; `eta_s` is seconds left, None while nobody can know.
    """

    fraction: float
    node: str
    node_title: str
    step: int
    steps: int
    eta_s: float | None
    phase: str


class Progress:
    """Follows one run. `typical_s` is how long past jobs of the same workflow took, if any did.

    `around` weighs the runs of the same job before and after it: the fraction is of them all.
    """

    def __init__(
        self,
        graph: Mapping[str, Mapping[str, Any]],
        titles: Mapping[str, str],
        typical_s: float | None,
        now: float,
        *,
        around: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._graph = graph
        self._titles = titles
        self._kinds = {node: _kind(body) for node, body in graph.items()}
        self._before, self._after = around
        self._total = self._before + weight_of(graph) + self._after or 1.0
        self._done: dict[str, float] = dict.fromkeys(self._kinds, 0.0)
        self._cached = 0.0
        self._typical_s = typical_s if typical_s and math.isfinite(typical_s) else None
        self._phase = QUEUED
        self._node = ""
        self._step = 0
        self._steps = 0
        self._ended = False
        self._started: float | None = None
        self._pace = _Pace()
        self._read_at = now

    def read(self, event: RunEvent, now: float) -> None:
        """Take in one event, in any order; what does not speak of this graph changes nothing."""
        self._read_at = max(self._read_at, now)
        match event:
            case Started():
                self._begin(now)
            case Cached(nodes=nodes):
                self._begin(now)
                self._skip(nodes)
            case NodeStarted(node=node):
                self._begin(now)
                self._enter(node)
            case NodeProgress(node=node, value=value, maximum=maximum):
                self._begin(now)
                self._advance(node, value, maximum, now)
            case NodeFinished(node=node) | NodeOutput(node=node):
                self._begin(now)
                self._finish(node)
            case Ended():
                self._ended = True
            case Succeeded():
                self._done = dict.fromkeys(self._kinds, 1.0)
            case (
                Queued()
                | Preview()
                | Failed()
                | Interrupted()
                | Lost()
                | Back()
                | Silent()
                | Unknown()
            ):
                pass
            case _:
                assert_never(event)

    def view(self, now: float) -> ProgressView:
        """Tell how the run stands at `now`; the time left counts down between events."""
        return ProgressView(
            fraction=self._fraction(),
            node=self._node,
            node_title=self._titles.get(self._node, ""),
            step=self._step,
            steps=self._steps,
            eta_s=self._eta(now),
            phase=self._phase,
        )

    def _begin(self, now: float) -> None:
        if self._started is None:
            self._started = now
            self._phase = WORKING

    def _skip(self, nodes: tuple[str, ...]) -> None:
        for node in nodes:
            if self._done.get(node, 1.0) < 1.0:
                self._cached += self._weight(node) * (1.0 - self._done[node])
                self._done[node] = 1.0

    def _enter(self, node: str) -> None:
        if node == self._node:
            return
        # ComfyUI runs one node at a time, after all it reads. Those whose events were missed, since
        # the run was adopted or the socket was away, are done as well.
        for done in (self._node, *(needed(self._graph, [node]) - {node})):
            self._finish(done)
        self._node = node
        self._step = self._steps = 0
        self._pace.node_changed()
        self._phase = self._kinds.get(node, _OTHER)[0]

    def _advance(self, node: str, value: float, maximum: float, now: float) -> None:
        if not (math.isfinite(value) and math.isfinite(maximum) and maximum > 0):
            return
        self._enter(node)
        value = min(max(value, 0.0), maximum)
        self._step, self._steps = int(value), int(maximum)
        if node in self._done:
            self._done[node] = max(self._done[node], value / maximum)
            self._pace.step(value, self._weight(node) / maximum, now)

    def _finish(self, node: str) -> None:
        if node in self._done:
            self._done[node] = 1.0

    def _weight(self, node: str) -> float:
        return self._kinds.get(node, _OTHER)[1]

    def _left(self) -> float:
        if self._ended:
            return self._after
        own = sum(self._weight(node) * (1.0 - share) for node, share in self._done.items())
        return own + self._after

    def _fraction(self) -> float:
        if self._ended and not self._after:
            return 1.0
        # No node's share ever falls, so this does not either.
        return min(_BEFORE_THE_END, max(0.0, 1.0 - self._left() / self._total))

    def _eta(self, now: float) -> float | None:
        if self._ended and not self._after:
            return 0.0
        if self._started is None:
            return None
        # The steps of a run that goes before say nothing of how quick the main one is.
        if self._pace.seconds_per_weight is not None and not self._after:
            left = self._left() * self._pace.seconds_per_weight
            return max(0.0, left - max(0.0, now - self._pace.at))
        if self._typical_s is None:
            return None
        # Past runs rarely had these nodes cached, so only the rest of the work is counted.
        whole = self._typical_s * (1.0 - (self._before + self._cached) / self._total)
        return max(0.0, whole - max(0.0, now - self._started))


class _Pace:
    """Seconds per weight, from the steps seen in the present node and in those before it.

    Measured from the first step seen, not from the node's start: a sampler first loads its model.
    """

    def __init__(self) -> None:
        self.seconds_per_weight: float | None = None
        self.at = 0.0
        self._first: tuple[float, float] | None = None

    def node_changed(self) -> None:
        self._first = None

    def step(self, value: float, weight_per_step: float, now: float) -> None:
        if self._first is None or value < self._first[0]:
            self._first = (value, now)
            return
        first_value, first_at = self._first
        steps, seconds = value - first_value, now - first_at
        if steps > 0 and seconds > 0:
            self.seconds_per_weight = seconds / (steps * weight_per_step)
            self.at = now


def weight_of(graph: Mapping[str, Mapping[str, Any]]) -> float:
    """Weigh a graph: about how much of the time of all runs of a job it takes."""
    return sum(weight for _, weight in map(_kind, graph.values()))


def _kind(body: Mapping[str, Any]) -> tuple[str, float]:
    """Give phase and weight of a node, by its class and its steps."""
    name = str(body.get("class_type", ""))
    if name.startswith(_ONLY_CHOICES):
        return _OTHER
    for part, phase, weight in _KINDS:
        if part in name:
            return phase, _steps(body) or weight
    return _OTHER


def _steps(body: Mapping[str, Any]) -> float | None:
    """Read a sampler's own number of steps, where the node says it."""
    steps = body.get("inputs", {}).get("steps")
    if isinstance(steps, bool) or not isinstance(steps, (int, float)) or steps < 1:
        return None
    return float(min(steps, _STEPS_MAX))
