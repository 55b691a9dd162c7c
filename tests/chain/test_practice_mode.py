"""With nothing configured: practice at once, and the real thing as soon as it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from studio import build as building
from studio.engine.jobs import State
from studio.practice import PracticeServer
from tests.chain.house import House, opened, wait_until


@pytest.fixture
def default_port(monkeypatch: pytest.MonkeyPatch) -> int:
    """Put the default address onto a free port: 8188 may be somebody's."""
    port = building._free_port()
    monkeypatch.setattr(building, "DEFAULT_COMFY", f"http://127.0.0.1:{port}")
    return port


@pytest.fixture
def house(default_port: int, tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path, practice_pace=0.01) as house:
        yield house


def test_without_a_comfyui_the_practice_server_makes_pictures(house: House) -> None:
    job = house.ended(house.studio.desk.submit("g-ann", "text_to_image", {"prompt": "a cat"}))

    assert job.state is State.COMPLETED, job.failure
    assert [view.practice for view in house.studio.desk.servers() if view.online] == [True]


def test_a_comfyui_that_comes_up_takes_the_new_jobs(house: House, default_port: int) -> None:
    with PracticeServer(port=default_port, pace_s=0.01) as real:
        wait_until(
            lambda: any(v.online and not v.practice for v in house.studio.desk.servers()),
            timeout_s=10,
        )

        job = house.ended(house.order())

        assert job.state is State.COMPLETED
        assert len(real.posted) == 1
        assert not any(view.practice for view in house.studio.desk.servers())


def test_a_configured_comfyui_that_is_away_never_becomes_practice(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{building._free_port()}"
    with opened(tmp_path, comfy_urls=(address,)) as house:
        views = house.studio.desk.servers()

        assert house.studio.practice is None
        assert [(view.practice, view.online) for view in views] == [(False, False)]
