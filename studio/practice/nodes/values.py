"""The values that travel along links, and what a node is told about its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from studio.practice.files import Folders

Picture = npt.NDArray[Any]
"""B×H×W×C, float32 in 0..1; frames drawn for videos stay uint8 to spare memory."""

Mask = npt.NDArray[np.float32]
"""B×H×W in 0..1."""


@dataclass(frozen=True, slots=True)
class Sound:
    """C×N float32 samples and their rate per second."""

    samples: npt.NDArray[np.float32]
    rate: int


@dataclass(frozen=True, slots=True)
class Film:
    """A video: frames made here, or a file not yet opened."""

    fps: Fraction
    frames: Picture | None = None
    sound: Sound | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Latent:
    """What a sampler works on, as far as a stand-in needs it. Sizes are in pixels.

    `time` is the number of latent frames of a video, 0 for pictures: `(length - 1) // 4 + 1`.
    """

    width: int
    height: int
    batch: int = 1
    time: int = 0
    pixels: Picture | None = None
    mask: Mask | None = None
    drawn: Drawn | None = None

    @property
    def count(self) -> int:
        """Number of pictures this decodes to."""
        return self.batch * (1 if not self.time else (self.time - 1) * 4 + 1)

    def sized(self, width: int, height: int) -> Latent:
        """Give the same content in another size."""
        return replace(self, width=width, height=height)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What to draw when a sampled latent is decoded; the same values give the same pictures."""

    seed: int
    text: str
    denoise: float = 1.0
    guide: Picture | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """Conditioning: the text, and pictures given along with it."""

    text: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Handle:
    """A model, sampler, noise and the like: a name is all there is. `facts` carry what steers."""

    kind: str
    name: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What a node gives: its outputs, and what it shows (`ui`), which makes it send `executed`."""

    outputs: tuple[Any, ...] = ()
    ui: dict[str, Any] | None = None


class NodeError(Exception):
    """A node failed; `kind` is the exception type the real server would name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Context(Protocol):
    """What a running node may use."""

    node: str
    graph: dict[str, Any]
    extra_data: dict[str, Any]
    folders: Folders
    pace_s: float
    mark: bool

    def tick(self, value: int, maximum: int, draw: Callable[[], bytes]) -> None:
        """Report a step; `draw` makes the preview and is asked only when somebody sees it."""

    def show_text(self, text: str) -> None:
        """Show a line on the node (binary type 3)."""

    def work(self, seconds: float) -> None:
        """Take time as a node without progress does: deaf to interrupts."""
