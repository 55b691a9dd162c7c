"""What a ComfyUI answers when asked: one frozen value each. Pure; learned from the recordings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from studio.engine.comfy.events import Failed, NodeOutput

DEFAULT_UPLOAD_BYTES: Final = 100 * 1024 * 1024
"""The limit of a server that does not tell its own (`--max-upload-size` unset)."""


@dataclass(frozen=True, slots=True)
class Device:
    """One computing device of a server. VRAM in bytes; a CPU tells its RAM there."""

    name: str
    type: str
    vram_total_bytes: int
    vram_free_bytes: int


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Who the server is (`/system_stats`). `version` is empty where it does not say."""

    version: str
    devices: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True)
class Features:
    """What the server can do (`/features`, and what was learned by asking).

    `max_upload_bytes` bounds every request body, prompts too. `cancel_by_id` is learned on the
    first cancel: False until then.
    """

    max_upload_bytes: int = DEFAULT_UPLOAD_BYTES
    preview_metadata: bool = False
    cancel_by_id: bool = False


@dataclass(frozen=True, slots=True)
class QueueState:
    """The prompts of the whole server, of everybody. `pending` is in the order they will run."""

    running: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server took a prompt under this id. `has_errors`: not all of it."""

    prompt_id: str
    has_errors: bool


@dataclass(frozen=True, slots=True)
class RunRecord:
    """How a prompt ended, by the server's own history.

    `outcome` is `success`, `error` or `interrupted`. `outputs` come in a stable order of nodes
    (links first, then node ids), each with its files in batch order, temporary ones left out; a
    failed run keeps what it had saved. `failed` is there when the outcome is `error`.
    """

    outcome: str
    outputs: tuple[NodeOutput, ...] = ()
    failed: Failed | None = None


class StandingKind(Enum):
    """Where a prompt is on its server."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a prompt stands. `position` counts the prompts that run before it, running one included.

    `record` is there when it is finished.
    """

    kind: StandingKind
    position: int = 0
    record: RunRecord | None = None
