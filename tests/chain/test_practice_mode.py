"""With nothing configured: practice at once, and the real thing as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio import build as building
from studio.engine.jobs import State
from studio.importing import bring_in
from studio.practice import PracticeServer
from tests.chain.house import House, opened, wait_until

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub\\own.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a dog"}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "12:4": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["2", 0],
            "latent_image": ["3", 0],
            "seed": 1,
            "steps": 2,
            "cfg": 1.0,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
        },
    },
    "5": {"class_type": "VAEDecode", "inputs": {"samples": ["12:4", 0], "vae": ["1", 2]}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "x"}},
}
"""As somebody exports it, with a model that is in no `models.yaml`."""


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


def test_an_imported_workflow_can_be_tried_before_its_models_are_anywhere(
    default_port: int, tmp_path: Path
) -> None:
    """The form offers the model of the export, and Generate makes a practice picture with it."""
    exported = tmp_path / "我的流程_api.json"
    exported.write_text(json.dumps(GRAPH), "utf-8")
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    bring_in(exported, workflows, "mine")

    with opened(tmp_path, practice_pace=0.01, workflows_dir=workflows) as house:
        job = house.ended(house.studio.desk.submit("g-ann", "mine", {"prompt": "a cat"}))

        assert job.state is State.COMPLETED, job.failure
