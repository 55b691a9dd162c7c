"""What Gradio 6.31 itself warns of: not ours to mend, and as errors it would stop handlers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

OTHERS = ("ignore::pandas.errors.Pandas4Warning",)


def forgive(items: Sequence[pytest.Item], folder: str) -> None:
    """Let the tests of one folder pass over them."""
    for item in items:
        if folder in str(item.path):
            for line in OTHERS:
                item.add_marker(pytest.mark.filterwarnings(line))
