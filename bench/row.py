"""One measured line, and how a studio is set up to be measured."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.build import Studio, build
from studio.settings import load


@dataclass(frozen=True)
class Row:
    """`figure` as text with its unit; `target` as the design has it; `met` None = no target."""

    what: str
    figure: str
    target: str = ""
    met: bool | None = None


@contextmanager
def studio(*, start: bool = True, **settings: Any) -> Iterator[Studio]:
    """Build a studio in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="studio-bench-") as name:
        folder = Path(name)
        made = build(
            load(
                env_file=None,
                data_dir=folder / "data",
                outputs_dir=folder / "outputs",
                log_dir=folder / "logs",
                **settings,
            )
        )
        if start:
            made.start()
        try:
            yield made
        finally:
            made.stop()


def percentile(values: Sequence[float], percent: float) -> float:
    """Give a percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[round(percent) - 1]


def ms(seconds: float) -> str:
    """Write seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms"
