"""The values that travel through a job's life. Pure: no database, no clock, no ComfyUI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class State(StrEnum):
    """The five states, spelt the same in rows, routes, API and screen keys."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Tell whether no move leads out of this state."""
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


MOVES: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.PROCESSING, State.CANCELLED, State.FAILED}),
    State.PROCESSING: frozenset({State.PENDING, State.COMPLETED, State.FAILED, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""Every legal move. `processing -> pending` is a new attempt."""

OPEN: Final = tuple(state for state in State if not state.ended)
ENDED: Final = tuple(state for state in State if state.ended)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job failed: a code of `studio.errors`, its parameters, and details for the host."""

    code: str
    params: Mapping[str, str] = field(default_factory=dict)
    details: str = ""


DRAWN: Final = (
    "image/png", "image/jpeg", "image/webp", "image/gif", "image/avif", "image/bmp",
)  # fmt: skip
"""Pictures that every browser draws. None of them can hold a script."""


@dataclass(frozen=True, slots=True)
class Output:
    """One kept file of a job.

    `name` is the safe name on disk inside the job's folder (`001.png`); `path` is relative to the
    outputs folder with `/`; `kind` is image, video, audio, text or file (of another kind, to be
    downloaded); `node` and `index` give the order of save nodes and of the batch. Sizes in px and
    `seconds` (of video and sound) are 0 where they have no meaning or cannot be read.
    """

    index: int
    node: str
    kind: str
    name: str
    path: str
    mime: str
    size_bytes: int
    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0

    @property
    def looks(self) -> bool:
        """Tell whether there is something small to see of it: a picture, poster or waveform."""
        return self.kind in ("image", "video", "audio")


@dataclass(frozen=True, slots=True)
class Given:
    """One file a person gave: `field` names the parameter, `ref` the stored bytes.

    `name` is as the person calls it; `notes` are text keys of what was changed, to be shown. px are
    0 for sound, `seconds` for pictures.
    """

    field: str
    ref: str
    kind: str
    mime: str
    name: str
    size_bytes: int
    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hook:
    """Where to tell that a job has ended.

    `base` is the studio's address as who orders knows it, or empty; `language` is theirs.
    """

    url: str
    base: str = ""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a person asked for, checked and complete: the seed drawn, the files stored.

    A higher `priority` starts first; 0 is everybody's.
    `values` hold only JSON: seeds as text, files as input references of `engine.media`. `given`
    tells of those files; `words` are what a search finds the job by.
    """

    job_id: str
    person: str
    tab: str
    workflow: str
    values: Mapping[str, Any]
    seed: str | None = None
    inputs: tuple[str, ...] = ()
    priority: int = 0
    given: tuple[Given, ...] = ()
    words: str = ""
    hook: Hook | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the ledger, as a value. Times are UTC epoch microseconds; 0 = not yet.

    `made` are the files that runs before the main one made, each by the field it stands in there.
    """

    job_id: str
    person: str
    tab: str
    workflow: str
    values: Mapping[str, Any]
    state: State
    seed: str | None = None
    inputs: tuple[str, ...] = ()
    attempt: int = 0
    fence: int = 0
    lease_us: int = 0
    worker: str = ""
    server: str = ""
    prompt_id: str = ""
    client_id: str = ""
    cancel_wanted: bool = False
    priority: int = 0
    failure: Failure | None = None
    outputs: tuple[Output, ...] = ()
    created_us: int = 0
    started_us: int = 0
    ended_us: int = 0
    given: tuple[Given, ...] = ()
    made: tuple[Given, ...] = ()
    favourite: bool = False
    deleted_us: int = 0

    @property
    def seconds(self) -> float | None:
        """Seconds from the start of the last attempt to the end; None before the end.

        A run that went before counts, from its own start.
        """
        if not self.ended_us or not self.started_us:
            return None
        return (self.ended_us - self.started_us) / 1e6


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one job: every later write must carry this fence."""

    job: Job
    fence: int


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat learned: is the job still ours, and does its person want it stopped?"""

    ours: bool
    cancel_wanted: bool


@dataclass(frozen=True, slots=True)
class News:
    """What followers of a job see, newest only. A later `seq` is later news of the same attempt.

    `fraction` runs from 0 to 1 over the whole graph and never falls; `phase` is a text key such as
    `phase.sampling`; `node_title` is as in the graph; `step`/`steps` are 0 where a node has none;
    `eta_s` is seconds left or None; `at_us` is when it was told (epoch microseconds, 0 = unknown);
    `preview` is a JPEG or PNG, at most a few per second.
    """

    job_id: str
    person: str
    seq: int
    state: State
    fraction: float = 0.0
    phase: str = ""
    node_title: str = ""
    step: int = 0
    steps: int = 0
    eta_s: float | None = None
    position: int = 0
    server: str = ""
    at_us: int = 0
    preview: bytes | None = field(default=None, repr=False)
    preview_mime: str = "image/jpeg"
