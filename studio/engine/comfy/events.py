"""What a run on a ComfyUI can say: one frozen class each.

Every event that belongs to a prompt carries its `prompt_id`. `Lost` and `Back` speak of the
socket, so that recovery is a branch of the reader's loop and not another program.
Learned from the recordings in `tests/data/comfyui`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Queued:
    """The whole server's queue length changed (`status`): running plus pending, of everybody."""

    remaining: int


@dataclass(frozen=True, slots=True)
class Started:
    """The prompt left the queue and began to run (`execution_start`)."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Cached:
    """These nodes will not run: their results are already held (`execution_cached`)."""

    prompt_id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeStarted:
    """A node began to execute. `prompt_id` is None in the frame replayed on reconnect."""

    prompt_id: str | None
    node: str


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """Steps inside one node: `value` of `maximum` (`progress`, or one of `progress_state`)."""

    prompt_id: str
    node: str
    value: float
    maximum: float


@dataclass(frozen=True, slots=True)
class NodeFinished:
    """A node is done (`progress_state` with state `finished`)."""

    prompt_id: str
    node: str


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of the work so far. Old servers name no prompt and no node: then both are None."""

    prompt_id: str | None
    node: str | None
    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file a node produced, named as `/view` wants it; `type` is output, temp or input."""

    filename: str
    subfolder: str
    type: str


@dataclass(frozen=True, slots=True)
class NodeOutput:
    """A node handed out results (`executed`): files in batch order, and texts."""

    prompt_id: str
    node: str
    files: tuple[OutputFile, ...]
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Succeeded:
    """`execution_success`. History is not surely there yet: wait for `Ended`."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed in a node (`execution_error`).

    `traceback` is for the log only; `current_inputs` is dropped at the wire: it may hold secrets.
    """

    prompt_id: str
    node: str
    class_type: str
    exception_type: str
    message: str
    traceback: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Somebody interrupted the run (`execution_interrupted`)."""

    prompt_id: str
    node: str | None


@dataclass(frozen=True, slots=True)
class Ended:
    """`executing` with node null: the run is over and its history is written."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The socket is gone; the client is reconnecting. Frames sent meanwhile will never come."""

    reason: str


@dataclass(frozen=True, slots=True)
class Back:
    """The socket is open again: ask `/queue` and `/history` what was missed."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing was heard about this prompt for `seconds`: ask the server's own records."""

    prompt_id: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame this version does not know. Never an error: servers and plug-ins add their own."""

    kind: str


RunEvent = (
    Queued
    | Started
    | Cached
    | NodeStarted
    | NodeProgress
    | NodeFinished
    | Preview
    | NodeOutput
    | Succeeded
    | Failed
    | Interrupted
    | Ended
    | Lost
    | Back
    | Silent
    | Unknown
)
