"""Every pixel node of the practice server gives the pictures that a real ComfyUI gives.

Tolerance: one step of 255. Both compute in 32-bit floats and cut (not round) to bytes when they
save, so a value that falls on a whole step may land on either side of it by the order of the sums.
More than that, on any pixel, is another picture. `lanczos` is Pillow's on both sides: give the real
server the project's Pillow (13 sums in another order than 12: up to 5 steps apart).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

STEP = 1
Prompt = dict[str, Any]
Both = Callable[..., tuple[Any, Any]]

METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
MODES = ("normal", "multiply", "screen", "overlay", "soft_light", "difference")


def noise(width: int, height: int, channels: int = 3, *, seed: int = 1) -> Image.Image:
    """Draw noise over a slope: the hardest picture for a resampler."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 255, width)[None, :, None] * np.ones((height, 1, channels))
    pixels = (slope + rng.integers(0, 256, (height, width, channels))) / 2
    return Image.fromarray(pixels.astype(np.uint8).squeeze())


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def saved(prompt: Prompt, source: str, slot: int = 0) -> str:
    """Put a save node behind a node and give its id."""
    name = f"save_{source}"
    prompt[name] = node("SaveImage", images=[source, slot], filename_prefix=f"hold/{source}")
    return name


def hold_together(real: Any, practice: Any) -> None:
    """Compare every picture of both runs; name each save node that differs, with the numbers."""
    assert real.status == practice.status
    assert sorted(real.history["outputs"]) == sorted(practice.history["outputs"])
    faults = []
    for name in sorted(real.history["outputs"]):
        theirs, ours = real.pictures(name), practice.pictures(name)
        shapes = [picture.shape for picture in theirs], [picture.shape for picture in ours]
        if shapes[0] != shapes[1]:
            faults.append(f"{name}: shapes {shapes[0]} real, {shapes[1]} practice")
            continue
        for index, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            off = np.abs(a.astype(int) - b.astype(int))
            share = (off > STEP).mean()
            if share:
                faults.append(f"{name}[{index}]: off by up to {off.max()}, {share:.1%} of values")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("crop", ["disabled", "center"])
@pytest.mark.parametrize("method", METHODS)
def test_image_scale_gives_the_same_pixels(both: Both, method: str, crop: str) -> None:
    files = {"wide.png": encoded(noise(60, 40)), "tall.png": encoded(noise(37, 53, seed=2))}
    prompt: Prompt = {}
    for picture in ("wide", "tall"):
        prompt[picture] = node("LoadImage", image=f"{picture}.png")
        for width, height in ((24, 24), (91, 77), (64, 9), (60, 40), (0, 25), (33, 0), (0, 0)):
            name = f"{picture}_{width}x{height}"
            prompt[name] = node(
                "ImageScale",
                image=[picture, 0],
                upscale_method=method,
                width=width,
                height=height,
                crop=crop,
            )
            saved(prompt, name)

    hold_together(*both(prompt, files))


@pytest.mark.parametrize("mode", MODES)
def test_image_blend_gives_the_same_pixels(both: Both, mode: str) -> None:
    files = {
        "base.png": encoded(noise(60, 40)),
        "same.png": encoded(noise(60, 40, seed=2)),
        "tall.png": encoded(noise(37, 53, seed=3)),
    }
    prompt: Prompt = {name[:-4]: node("LoadImage", image=name) for name in files}
    for second in ("same", "tall"):
        for factor in (0.0, 0.25, 0.5, 0.83, 1.0):
            name = f"{second}_{int(factor * 100)}"
            prompt[name] = node(
                "ImageBlend",
                image1=["base", 0],
                image2=[second, 0],
                blend_factor=factor,
                blend_mode=mode,
            )
            saved(prompt, name)

    hold_together(*both(prompt, files))


def picture_files() -> dict[str, bytes]:
    """One picture of each kind that people send."""
    sideways = Image.Exif()
    sideways[0x0112] = 6
    rgba = noise(20, 12, 4)
    frames = [noise(20, 12, seed=seed).quantize(16) for seed in (1, 2, 3)]
    clear = noise(20, 12).quantize(16)
    return {
        "rgb.png": encoded(noise(20, 12)),
        "rgba.png": encoded(rgba),
        "grey.png": encoded(noise(20, 12, 1)),
        "grey_alpha.png": encoded(rgba.convert("LA")),
        "one_bit.png": encoded(noise(20, 12, 1).convert("1")),
        "palette.png": encoded(clear),
        "palette_clear.png": encoded(clear, transparency=3),
        "sixteen_bit.png": encoded(
            Image.fromarray(np.arange(240, dtype=np.uint16).reshape(12, 20) * 257)
        ),
        "sideways.jpg": encoded(noise(20, 12), "JPEG", exif=sideways, quality=95),
        "cmyk.jpg": encoded(noise(20, 12).convert("CMYK"), "JPEG", quality=95),
        "lossy.webp": encoded(noise(20, 12), "WEBP", quality=80),
        "moving.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
    }


@pytest.mark.parametrize("name", sorted(picture_files()))
def test_load_image_reads_picture_and_mask_alike(both: Both, name: str) -> None:
    prompt: Prompt = {
        "load": node("LoadImage", image=name),
        "mask": node("MaskToImage", mask=["load", 1]),
    }
    saved(prompt, "load")
    saved(prompt, "mask")

    hold_together(*both(prompt, {name: picture_files()[name]}))


@pytest.mark.parametrize("channel", ["alpha", "red", "green", "blue"])
@pytest.mark.parametrize("name", ["rgb.png", "rgba.png", "grey.png", "palette_clear.png"])
def test_load_image_mask_reads_each_channel_alike(both: Both, name: str, channel: str) -> None:
    prompt: Prompt = {
        "load": node("LoadImageMask", image=name, channel=channel),
        "picture": node("MaskToImage", mask=["load", 0]),
    }
    saved(prompt, "picture")

    hold_together(*both(prompt, {name: picture_files()[name]}))


def test_empty_invert_and_batch_give_the_same_pixels(both: Both) -> None:
    files = {
        "base.png": encoded(noise(60, 40)),
        "tall.png": encoded(noise(37, 53, seed=3)),
        "rgba.png": encoded(noise(20, 12, 4)),
    }
    prompt: Prompt = {name[:-4]: node("LoadImage", image=name) for name in files}
    prompt |= {
        "empty": node("EmptyImage", width=17, height=9, batch_size=3, color=0x12_80_FF),
        "inverted": node("ImageInvert", image=["base", 0]),
        "batch": node("ImageBatch", image1=["base", 0], image2=["tall", 0]),
        "batch_more": node("ImageBatch", image1=["batch", 0], image2=["empty", 0]),
        "batch_alpha": node("ImageBatch", image1=["base", 0], image2=["rgba", 0]),
        "blend_batch": node(
            "ImageBlend",
            image1=["empty", 0],
            image2=["base", 0],
            blend_factor=0.5,
            blend_mode="screen",
        ),
    }
    for name in ("empty", "inverted", "batch", "batch_more", "batch_alpha", "blend_batch"):
        saved(prompt, name)

    hold_together(*both(prompt, files))


@pytest.mark.parametrize("resize", [False, True], ids=["placed", "stretched"])
def test_composite_gives_the_same_pixels(both: Both, resize: bool) -> None:
    files = {
        "base.png": encoded(noise(60, 40)),
        "tall.png": encoded(noise(37, 53, seed=3)),
        "rgba.png": encoded(noise(20, 12, 4)),
    }
    prompt: Prompt = {name[:-4]: node("LoadImage", image=name) for name in files}
    prompt["hole"] = node("LoadImageMask", image="rgba.png", channel="alpha")
    for source in ("tall", "rgba"):
        for x, y in ((0, 0), (7, 5), (50, 35), (60, 40), (200, 3)):
            for masked in (False, True):
                name = f"{source}_{x}_{y}_{masked}"
                prompt[name] = node(
                    "ImageCompositeMasked",
                    destination=["base", 0],
                    source=[source, 0],
                    x=x,
                    y=y,
                    resize_source=resize,
                    **({"mask": ["hole", 0]} if masked else {}),
                )
                saved(prompt, name)

    hold_together(*both(prompt, files))


def test_preview_image_lies_in_temp_with_the_same_pixels(both: Both) -> None:
    prompt: Prompt = {
        "load": node("LoadImage", image="base.png"),
        "show": node("PreviewImage", images=["load", 0]),
    }

    real, practice = both(prompt, {"base.png": encoded(noise(60, 40))})

    hold_together(real, practice)
    for run in (real, practice):
        assert [item["type"] for item in run.history["outputs"]["show"]["images"]] == ["temp"]


def test_text_chunks_of_a_saved_png_are_the_same(both: Both) -> None:
    prompt: Prompt = {"empty": node("EmptyImage", width=8, height=8, batch_size=1, color=255)}
    name = saved(prompt, "empty")
    extra = {"extra_data": {"extra_pnginfo": {"workflow": {"id": "w", "nodes": []}}}}

    texts = [
        Image.open(io.BytesIO(run.file(run.history["outputs"][name]["images"][0]))).info
        for run in both(prompt, **extra)
    ]

    assert texts[0] == texts[1]
    assert set(texts[0]) >= {"prompt", "workflow"}


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0])
def test_image_blur_gives_the_same_pixels(both: Both, sigma: float) -> None:
    prompt: Prompt = {"load": node("LoadImage", image="noise.png")}
    for radius in (1, 4, 31):
        prompt[f"r{radius}"] = node("ImageBlur", image=["load", 0], blur_radius=radius, sigma=sigma)
        saved(prompt, f"r{radius}")

    hold_together(*both(prompt, {"noise.png": encoded(noise(70, 45))}))
