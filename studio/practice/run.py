"""One prompt from `execution_start` to its end: frames in the recorded order, and its history."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from studio.practice.cache import Cache, is_link, signatures
from studio.practice.definitions import Definitions
from studio.practice.faults import Faults
from studio.practice.files import Folders
from studio.practice.frames import NodeText, Preview, Text, node_state
from studio.practice.nodes.models import by_kind
from studio.practice.nodes.registry import call, find
from studio.practice.nodes.values import NodeError, Result
from studio.practice.order import Order
from studio.practice.queue import Ticket
from studio.practice.sockets import Step

SUCCESS = "execution_success"
ERROR = "execution_error"
INTERRUPTED = "execution_interrupted"


class InterruptedRunError(Exception):
    """Somebody interrupted the run."""


class DeadError(Exception):
    """The process this run belonged to is gone: say nothing more, write nothing."""


class House(Protocol):
    """What a run needs around it: the process it runs in."""

    folders: Folders
    definitions: Definitions
    cache: Cache
    faults: Faults
    pace_s: float
    mark: bool

    def send(self, frame: Text | NodeText | Step) -> None:
        """Put a frame on the wire. Raises `DeadError`."""

    def hears(self, client_id: str | None) -> bool:
        """Tell whether anybody would hear a frame for this client."""

    def reach(self, what: str, prompt_id: str) -> None:
        """Mark a point tests wait for."""

    def at(self, client_id: str | None, node: str | None) -> None:
        """Keep which node runs, for sockets that connect now."""

    def pause(self, seconds: float, *, interruptible: bool) -> None:
        """Wait. Raises `DeadError`, and `InterruptedRunError` where that is asked for."""

    def hold(self, gate: Any, *, interruptible: bool) -> None:
        """Wait for a gate to open, as `pause` does."""

    def check_interrupt(self) -> None:
        """Raise `InterruptedRunError` if somebody interrupted this run."""

    def wedge(self) -> None:
        """Never come back while the process lives."""


@dataclass(slots=True)
class Run:
    """One run. `go` gives the history entry."""

    house: House
    ticket: Ticket
    _messages: list[list[Any]] = field(default_factory=list)
    _states: dict[str, Any] = field(default_factory=dict)
    _outputs: dict[str, Any] = field(default_factory=dict)
    _meta: dict[str, Any] = field(default_factory=dict)
    _executed: list[str] = field(default_factory=list)
    _signatures: dict[str, str] = field(default_factory=dict)

    def go(self) -> dict[str, Any]:
        """Run all nodes. Raises only `DeadError`."""
        self._message("execution_start", {})
        self.house.reach("started", self.ticket.prompt_id)
        self._signatures = signatures(self.ticket.graph, self.house.folders)
        self.house.cache.keep_only(self._signatures.values())
        cached = [node for node in self.ticket.graph if self._held(node)]
        self._message("execution_cached", {"nodes": cached})
        ended = self._nodes()
        return {
            "outputs": self._outputs,
            "status": {
                "status_str": "success" if ended == SUCCESS else "error",
                "completed": ended == SUCCESS,
                "messages": self._messages,
            },
            "meta": self._meta,
        }

    def _nodes(self) -> str:
        order = Order(
            self.ticket.graph, self.ticket.outputs, self._is_output, lambda n: bool(self._held(n))
        )
        while order:
            node = order.take()
            ended = self._node(node)
            if ended is not None:
                return ended
            order.done(node)
        self._message(SUCCESS, {})
        return SUCCESS

    def _node(self, node: str) -> str | None:
        """Run one node; gives how the whole run ended, if it did."""
        held = self._held(node)
        if held is not None:
            self._show(node, held, cached=True)
            self._progress(node, 1, 1, "finished")
            return None
        inputs: dict[str, Any] = {}
        try:
            self._begin(node)
            inputs = self._inputs(node)
            result = self._run(node, inputs)
        except InterruptedRunError:
            return self._interrupted(node)
        except DeadError:
            raise
        except Exception as problem:  # noqa: BLE001 - whatever a node raises ends the run
            return self._failed(node, inputs, problem)
        self.house.cache.put(self._signatures[node], result)
        self._executed.append(node)
        self._show(node, result, cached=False)
        state = self._states[node]
        self._progress(node, state["max"], state["max"], "finished")
        return None

    def _begin(self, node: str) -> None:
        self._progress(node, 0, 1, "running")
        self.house.at(self.ticket.client_id, node)
        self._tell("executing", {"node": node, "display_node": node})
        self.house.reach(f"node:{node}", self.ticket.prompt_id)
        self.house.reach(f"node:{self._class(node)}", self.ticket.prompt_id)
        self.house.check_interrupt()

    def _run(self, node: str, inputs: Mapping[str, Any]) -> Result:
        class_type = self._class(node)
        ctx = _Context(self, node)
        ctx.gate(0)
        failure = self.house.faults.take_failure(node, class_type)
        if failure is not None:
            raise failure
        run = find(class_type)
        if run is None:
            return by_kind(ctx, self.house.definitions.get(class_type), inputs)
        return call(run, ctx, class_type, inputs)

    def _inputs(self, node: str) -> dict[str, Any]:
        """Put the results of linked nodes in place of the links."""
        made: dict[str, Any] = {}
        for name, value in self.ticket.graph[node]["inputs"].items():
            if is_link(value, self.ticket.graph):
                source = self._held(value[0])
                made[name] = None if source is None else source.outputs[value[1]]
            elif isinstance(value, list) and len(value) == 2:
                # A list that came wrapped passes validation and kills the real worker: it answers
                # on, accepts prompts, and never runs one again.
                self.house.wedge()
            else:
                made[name] = value
        return made

    def _show(self, node: str, result: Result, *, cached: bool) -> None:
        """Send `executed` and keep the outputs; a cached node does so only for a known client."""
        if result.ui is None or (cached and self.ticket.client_id is None):
            return
        self._outputs[node] = result.ui
        self._meta[node] = {
            "node_id": node,
            "display_node": node,
            "parent_node": None,
            "real_node_id": node,
        }
        self._tell("executed", {"node": node, "display_node": node, "output": result.ui})

    def _failed(self, node: str, inputs: Mapping[str, Any], problem: Exception) -> str:
        kind = problem.kind if isinstance(problem, NodeError) else _full_name(problem)
        self._message(
            ERROR,
            {
                "node_id": node,
                "node_type": self._class(node),
                "executed": list(self._executed),
                "exception_message": f"{problem}\n",
                "exception_type": kind,
                "traceback": traceback.format_tb(problem.__traceback__),
                "current_inputs": {name: [_plain(value)] for name, value in inputs.items()},
                "current_outputs": list(self.ticket.graph),
            },
        )
        return ERROR

    def _interrupted(self, node: str) -> str:
        data = {
            "node_id": node,
            "node_type": self._class(node),
            "executed": list(self._executed),
        }
        self._message(INTERRUPTED, data, broadcast=True)
        return INTERRUPTED

    def ended(self) -> None:
        """Send the last frame, `executing` with node null, if the client is known."""
        self.house.at(None, None)
        self._tell("executing", {"node": None})

    def step(self, node: str, value: int, maximum: int, draw: Callable[[], bytes]) -> None:
        """Report one step of a node, with a preview if somebody sees it."""
        client = self.ticket.client_id
        self._progress(node, value, maximum, "running")
        data = {"value": value, "max": maximum, "prompt_id": self.ticket.prompt_id, "node": node}
        preview = None
        if self.ticket.extra_data.get("preview_method") != "none" and self.house.hears(client):
            preview = Preview(node, self.ticket.prompt_id, draw(), client)
        self.house.send(Step(Text("progress", data, client), preview))
        self.house.reach(f"progress:{value}", self.ticket.prompt_id)

    def show_text(self, node: str, text: str) -> None:
        """Show a line on a node."""
        if self.ticket.client_id is not None:
            self.house.send(NodeText(node, text, self.ticket.client_id))

    def _progress(self, node: str, value: float, maximum: float, state: str) -> None:
        prompt_id = self.ticket.prompt_id
        made = node_state(node, prompt_id, value=float(value), maximum=float(maximum), state=state)
        self._states[node] = made
        data = {"prompt_id": prompt_id, "nodes": dict(self._states)}
        # Broadcast when the prompt has no client: a frame for None goes to everybody.
        self.house.send(Text("progress_state", data, self.ticket.client_id))

    def _message(self, event: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        """Send an `execution_*` frame and keep it for history."""
        data = {**data, "prompt_id": self.ticket.prompt_id}
        data["timestamp"] = int(time.time() * 1000)
        self._messages.append([event, data])
        self._tell(event, data, broadcast=broadcast)

    def _tell(self, event: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        data = {"prompt_id": self.ticket.prompt_id, **data}
        if self.ticket.client_id is not None or broadcast:
            self.house.send(Text(event, data, self.ticket.client_id))

    def _held(self, node: str) -> Result | None:
        return self.house.cache.get(self._signatures[node])

    def _class(self, node: str) -> str:
        return str(self.ticket.graph[node]["class_type"])

    def _is_output(self, node: str) -> bool:
        return bool(self.house.definitions.get(self._class(node))["output_node"])


class _Context:
    """What a node sees of its run."""

    def __init__(self, run: Run, node: str) -> None:
        self._run = run
        self._house = run.house
        self._class = str(run.ticket.graph[node]["class_type"])
        self.node = node
        self.graph = run.ticket.graph
        self.extra_data = run.ticket.extra_data
        self.folders = run.house.folders
        self.pace_s = run.house.pace_s
        self.mark = run.house.mark

    def tick(self, value: int, maximum: int, draw: Callable[[], bytes]) -> None:
        self._house.pause(self.pace_s, interruptible=True)
        self._run.step(self.node, value, maximum, draw)
        self.gate(value)

    def gate(self, step: int) -> None:
        """Wait here if a test holds this node at this step."""
        gate = self._house.faults.gate(self.node, self._class, step)
        if gate is not None:
            self._house.reach(f"held:{self.node}", self._run.ticket.prompt_id)
            self._house.hold(gate, interruptible="Sampler" in self._class)

    def show_text(self, text: str) -> None:
        self._run.show_text(self.node, text)

    def work(self, seconds: float) -> None:
        self._house.pause(seconds, interruptible=False)


def _plain(value: Any) -> Any:
    """Give a value as it may stand in JSON."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.ndarray):
        return f"tensor of shape {list(value.shape)}"
    return str(value)


def _full_name(problem: Exception) -> str:
    kind = type(problem)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
