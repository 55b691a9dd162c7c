"""The whole chain on real parts, without the page: desk, ledger, Huey, client, practice, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from studio.practice import PracticeServer
from tests.chain.house import House, opened


@pytest.fixture(params=["0.8.0", "newer"])
def practice(request: pytest.FixtureRequest) -> Iterator[PracticeServer]:
    """A practice ComfyUI of each profile, quick."""
    with PracticeServer(profile=request.param, pace_s=0.02) as server:
        yield server


@pytest.fixture
def house(practice: PracticeServer, tmp_path: Path) -> Iterator[House]:
    """A studio on the practice server, as if it were a configured ComfyUI."""
    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        yield house


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Make a one-coloured PNG."""

    def make(colour: str, size: tuple[int, int] = (64, 48), name: str = "") -> Path:
        path = tmp_path / "pictures" / (name or f"{colour}.png")
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return make
