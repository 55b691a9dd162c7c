"""The product's own graphs on a real ComfyUI, and the pixel one held against practice mode.

Tolerance: one step of 255, for the reason told in `test_real_pixel_nodes.py`; a chain of three
blends may be off by two. (Seen: 0 in 88 of 88 random blends of 1x1 to 1500x1200 px.)
"""

from __future__ import annotations

import io
import random
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from studio.engine.workflow.binding import bind, check
from studio.engine.workflow.catalog import Catalog, load
from studio.engine.workflow.manifest import Kind
from studio.engine.workflow.parts import parts_of
from studio.engine.workflow.trial import forms

RNG = random.Random(1)  # noqa: S311  seeds of pictures, no secret
Both = Callable[..., tuple[Any, Any]]
FITS = ("whole", "fill", "stretch")
MODES = ("normal", "multiply", "screen", "overlay", "soft_light", "difference")
BASE = (96, 64)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load(Path(__file__).parents[3] / "workflows")


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Draw noise over a slope."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, 3))
    pixels = (slope + rng.integers(0, 256, (height, width, 3))) / 2
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(shown: Image.Image) -> bytes:
    stream = io.BytesIO()
    shown.save(stream, "PNG")
    return stream.getvalue()


SIZES = {"base": BASE, "tall": (50, 80), "wide": (121, 40), "same": BASE, "dot": (1, 1)}


def blend(catalog: Catalog, names: list[str], **values: Any) -> tuple[dict[str, Any], Any]:
    """Bind the product's graph; give the prompt and the files it names."""
    workflow = catalog.tab("image_blend").pick({})
    refs = [f"{name}.png" for name in names]
    full = check(workflow, {"images": refs, **values}, rng=RNG)
    prompt = bind(workflow, full, files={ref: ref for ref in refs}, prefix="hold/blend")
    files = {
        f"{name}.png": encoded(picture(*SIZES[name], seed))
        for seed, name in enumerate(SIZES)
        if name in names
    }
    return prompt, files


def off_by(run: tuple[Any, Any]) -> int:
    """Give the largest difference between the real and the practice picture."""
    real, practice = run
    assert real.status == practice.status == "success"
    (theirs,), (ours,) = real.pictures("save"), practice.pictures("save")
    assert theirs.shape == ours.shape == (BASE[1], BASE[0], 4)
    return int(np.abs(theirs.astype(int) - ours.astype(int)).max())


@pytest.mark.parametrize("names", [["tall"], ["tall", "wide"], ["wide", "same", "tall"]], ids=len)
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("mode", MODES)
def test_every_blend_gives_the_same_picture(
    both: Both, catalog: Catalog, mode: str, fit: str, names: list[str]
) -> None:
    prompt, files = blend(catalog, ["base", *names], blend_mode=mode, fit=fit, opacity=0.6)

    assert off_by(both(prompt, files)) <= (1 if len(names) < 3 else 2)


@pytest.mark.parametrize("opacity", [0.0, 1.0])
@pytest.mark.parametrize("fit", FITS)
def test_no_opacity_gives_the_base_and_full_opacity_the_later_picture(
    both: Both, catalog: Catalog, fit: str, opacity: float
) -> None:
    prompt, files = blend(catalog, ["base", "same"], fit=fit, opacity=opacity)

    real, practice = both(prompt, files)

    wanted = picture(*BASE, list(SIZES).index("same" if opacity else "base"))
    for run in (real, practice):
        (got,) = run.pictures("save")
        off = np.abs(got[..., :3].astype(int) - np.asarray(wanted).astype(int))
        assert off.max() <= 1


def test_a_whole_picture_leaves_the_base_around_it_alone(both: Both, catalog: Catalog) -> None:
    prompt, files = blend(catalog, ["base", "tall"], fit="whole", opacity=1.0)

    base = np.asarray(picture(*BASE, 0)).astype(int)
    for run in both(prompt, files):
        (got,) = run.pictures("save")
        changed = np.abs(got[..., :3].astype(int) - base).max(axis=2) > 1
        columns = np.flatnonzero(changed.any(axis=0))
        # 50x80 fits 96x64 as 40x64, in the middle: columns 28 to 67.
        assert (columns.min(), columns.max()) == (28, 67)


@pytest.mark.parametrize("fit", FITS)
def test_a_single_pixel_can_be_blended(both: Both, catalog: Catalog, fit: str) -> None:
    prompt, files = blend(catalog, ["base", "dot"], fit=fit)

    assert off_by(both(prompt, files)) <= 1


def test_text_to_image_runs_with_a_checkpoint(
    both: Both, catalog: Catalog, checkpoint: str
) -> None:
    tab = catalog.tab("text_to_image")
    values = {"prompt": "a lighthouse", "negative_prompt": "blurry", "model": checkpoint}
    workflow = tab.pick(values)
    seed = str(uuid.uuid4().int % 2**64)
    full = check(workflow, values | {"seed": seed, "steps": 2, "batch_size": 2}, rng=RNG)
    prompt = bind(workflow, full, files={}, prefix=f"hold/{seed}", listed=lambda _: [checkpoint])
    prompt["latent"]["inputs"] |= {"width": 64, "height": 64}

    for run in both(prompt):
        assert run.status == "success"
        assert [shown.shape for shown in run.pictures("save")] == [(64, 64, 4)] * 2
        assert run.history["prompt"][2]["sampler"]["inputs"]["seed"] == int(seed)


NEWER = {
    "WanInfiniteTalkToVideo",
    "RemoveBackground",
    "LoadBackgroundRemovalModel",
    "FL_ChatterboxMultilingualTTS",  # no core node: a host installs it
}
"""Nodes that a ComfyUI may lack; whoever lacks one must say just that."""


@pytest.mark.parametrize("name", sorted(load(Path(__file__).parents[3] / "workflows").workflows))
def test_every_form_is_accepted_up_to_the_files_this_server_lacks(
    real_url: str, catalog: Catalog, name: str
) -> None:
    workflow = catalog.workflow(name)
    seen = 0
    for values in forms(workflow):
        drawn = {p.name: "5" for p in workflow.manifest.parameters if p.type is Kind.SEED}
        for part in parts_of(workflow, values | drawn):
            prompt = part.prompt(dict.fromkeys(part.inputs, "absent.png"))
            seen += _refused_for_its_files(real_url, prompt)
    assert seen or name in ("virtual_human_infinitetalk", "remove_background")


def _refused_for_its_files(real_url: str, prompt: dict[str, Any]) -> bool:
    """Post a prompt that names a file that is not there; False when the server lacks a node."""
    answer = requests.post(
        f"{real_url}/prompt",
        json={"prompt": prompt, "prompt_id": str(uuid.uuid4())},
        timeout=20,
    ).json()

    lacking = {body["class_type"] for body in prompt.values()} & NEWER
    if lacking and not answer.get("node_errors"):
        assert answer["error"]["type"] in ("invalid_prompt", "missing_node_type"), answer
        assert any(one in str(answer["error"]) for one in lacking)
        return False
    complaints = [
        complaint
        for node in answer["node_errors"].values()
        for complaint in node["errors"]
        if complaint["type"] not in ("value_not_in_list", "custom_validation_failed")
    ]
    assert complaints == []
    # Nothing may run: each form names a file, or a model, that is not there.
    assert "error" in answer
    return True
