"""The image blend on a ComfyUI that really executes it: every pixel held against own arithmetic.

Runs on the practice server always, and on a real ComfyUI named by STUDIO_REAL_COMFY.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from io import BytesIO
from threading import Event
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from studio.engine.workflow.catalog import Catalog

Bound = Callable[..., dict[str, Any]]

# Base first. Wider, taller, smaller, larger and of odd sizes; 49 and 103 make floats miss a pixel.
SIZES = [(96, 64), (200, 50), (31, 77), (49, 103)]


def picture(size: tuple[int, int], salt: int) -> np.ndarray:
    """Make a smooth H×W×3 picture, 0 to 255, so that scaling rules differ little."""
    across, down = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    waves = [np.sin(3 * across * (c + 1) + salt) * np.cos(2 * down + c * salt) for c in range(3)]
    return np.rint(127.5 + 110 * np.stack(waves, -1)).clip(0, 255).astype(np.uint8)


def mixed(base: np.ndarray, top: np.ndarray, mode: str, opacity: float) -> np.ndarray:
    """Blend two pictures of 0 to 1 by the textbook formulas."""
    match mode:
        case "normal":
            result = top
        case "multiply":
            result = base * top
        case "screen":
            result = 1 - (1 - base) * (1 - top)
        case "overlay":
            result = np.where(base <= 0.5, 2 * base * top, 1 - 2 * (1 - base) * (1 - top))
        case "soft_light":
            bright = np.where(base <= 0.25, ((16 * base - 12) * base + 4) * base, np.sqrt(base))
            dark = base - (1 - 2 * top) * base * (1 - base)
            result = np.where(top <= 0.5, dark, base + (2 * top - 1) * (bright - base))
        case _:
            result = base - top
    return (base * (1 - opacity) + result * opacity).clip(0, 1)


def scaled(source: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(source).resize(size, Image.Resampling.LANCZOS)) / 255


def covering(source: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Cut a picture's middle to the shape of `size`."""
    height, width = source.shape[:2]
    if width * size[1] > height * size[0]:
        cut = round((width - height * size[0] / size[1]) / 2)
        return source[:, cut : width - cut]
    cut = round((height - width * size[1] / size[0]) / 2)
    return source[cut : height - cut]


def expected(sources: list[np.ndarray], fit: str, mode: str, opacity: float) -> np.ndarray:
    """Work out the blend: H×W×3, 0 to 255."""
    result = sources[0] / 255
    height, width = sources[0].shape[:2]
    for source in sources[1:]:
        if fit != "whole":
            cut = covering(source, (width, height)) if fit == "fill" else source
            result = mixed(result, scaled(cut, (width, height)), mode, opacity)
            continue
        scale = min(width / source.shape[1], height / source.shape[0])
        inner = int(source.shape[1] * scale), int(source.shape[0] * scale)
        x, y = (width - inner[0]) // 2, (height - inner[1]) // 2
        area = (slice(y, y + inner[1]), slice(x, x + inner[0]))
        result = result.copy()
        result[area] = mixed(result[area], scaled(source, inner), mode, opacity)
    return result * 255


@pytest.fixture(scope="module", params=["practice", pytest.param("real", marks=pytest.mark.real)])
def comfy_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "real":
        url = os.environ.get("STUDIO_REAL_COMFY")
        if not url:
            pytest.skip("STUDIO_REAL_COMFY names no ComfyUI")
        yield url
        return
    from studio.practice import PracticeServer

    with PracticeServer(pace_s=0.0, mark=False) as server:
        yield server.url


def upload(url: str, source: np.ndarray) -> str:
    data = BytesIO()
    Image.fromarray(source).save(data, "PNG")
    name = f"{uuid.uuid4().hex}.png"
    answer = requests.post(
        f"{url}/upload/image",
        files={"image": (name, data.getvalue(), "image/png")},
        data={"subfolder": "studio"},
        timeout=20,
    ).json()
    return f"{answer['subfolder']}/{answer['name']}"


def run(url: str, prompt: dict[str, object]) -> np.ndarray:
    """Post a prompt and give the one picture it makes."""
    prompt_id = str(uuid.uuid4())
    body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": uuid.uuid4().hex}
    posted = requests.post(f"{url}/prompt", json=body, timeout=20)
    assert (posted.status_code, posted.json().get("node_errors")) == (200, {}), posted.text
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        record = requests.get(f"{url}/history/{prompt_id}", timeout=20).json().get(prompt_id)
        if record:
            assert record["status"]["status_str"] == "success", record["status"]
            file = record["outputs"]["save"]["images"][0]
            data = requests.get(f"{url}/view", params=file, timeout=20).content
            return np.asarray(Image.open(BytesIO(data))).astype(float)
        Event().wait(0.03)
    raise AssertionError("the run did not end")


@pytest.mark.parametrize("fit", ["whole", "fill", "stretch"])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_each_fit_gives_the_pixels_it_promises(
    catalog: Catalog, bound: Bound, comfy_url: str, fit: str, count: int
) -> None:
    sources = [picture(size, salt) for salt, size in enumerate(SIZES[:count])]
    names = [upload(comfy_url, source) for source in sources]
    values = {"images": names, "fit": fit, "opacity": 0.6}

    shown = run(comfy_url, bound(catalog.workflow("image_blend_pixel"), values))

    difference = np.abs(shown - expected(sources, fit, "normal", 0.6))
    assert shown.shape == (64, 96, 3)
    assert difference.max() <= 3.0


@pytest.mark.parametrize(
    "mode", ["normal", "multiply", "screen", "overlay", "soft_light", "difference"]
)
def test_each_blend_mode_gives_the_pixels_it_promises(
    catalog: Catalog, bound: Bound, comfy_url: str, mode: str
) -> None:
    sources = [picture(size, salt) for salt, size in enumerate(SIZES[:2])]
    names = [upload(comfy_url, source) for source in sources]
    values = {"images": names, "blend_mode": mode, "opacity": 0.8}

    shown = run(comfy_url, bound(catalog.workflow("image_blend_pixel"), values))

    assert np.abs(shown - expected(sources, "whole", mode, 0.8)).max() <= 4.0


def test_around_a_whole_picture_the_base_is_untouched(
    catalog: Catalog, bound: Bound, comfy_url: str
) -> None:
    base, tall = picture((96, 64), 1), picture((10, 64), 2)
    names = [upload(comfy_url, base), upload(comfy_url, tall)]
    values = {"images": names, "blend_mode": "multiply", "opacity": 1.0}

    shown = run(comfy_url, bound(catalog.workflow("image_blend_pixel"), values))

    assert (shown[:, :43] == base[:, :43]).all()
    assert (shown[:, 53:] == base[:, 53:]).all()
    assert np.abs(shown[:, 43:53] - base[:, 43:53]).max() > 20
