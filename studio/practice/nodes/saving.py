"""Nodes that write pictures or show results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from studio.practice.files import Naming, OutsideError, naming
from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import bytes_of
from studio.practice.nodes.values import Context, Latent, Mask, NodeError, Picture, Result

_WEBP_METHODS = {"default": 4, "fastest": 0, "slowest": 6}


def named(ctx: Context, prefix: str, *, kind: str = "output", picture: Any = None) -> Naming:
    """Work out file names, or fail as the real node does."""
    height, width = (0, 0) if picture is None else picture.shape[1:3]
    try:
        return naming(ctx.folders.of(kind), prefix, width=width, height=height)
    except OutsideError as problem:
        raise NodeError("Exception", str(problem)) from problem


def item(names: Naming, filename: str, kind: str = "output") -> dict[str, str]:
    """Give an output item as `/view` wants it named."""
    return {"filename": filename, "subfolder": names.subfolder, "type": kind}


def texts(ctx: Context) -> Iterator[tuple[str, str]]:
    """Yield what a file carries about its making: the prompt, and the page's extras."""
    yield "prompt", json.dumps(ctx.graph)
    for key, value in (ctx.extra_data.get("extra_pnginfo") or {}).items():
        yield key, json.dumps(value)


def temp_prefix(ctx: Context) -> str:
    """Give the prefix of preview files, with a random word per server start."""
    return f"ComfyUI_temp_{ctx.folders.temp_word}"


@node("SaveImage")
def save_image(ctx: Context, images: Picture, filename_prefix: str = "ComfyUI") -> Result:
    """Write PNGs into the output folder, the prompt inside."""
    return Result(ui={"images": _pngs(ctx, images, filename_prefix, "output", level=4)})


@node("PreviewImage")
def preview_image(ctx: Context, images: Picture) -> Result:
    """Write PNGs into the temp folder."""
    return Result(ui={"images": _pngs(ctx, images, temp_prefix(ctx), "temp", level=1)})


@node("MaskPreview")
def mask_preview(ctx: Context, mask: Mask) -> Result:
    """Show a mask as a picture in the temp folder."""
    grey = np.repeat(mask[..., None], 3, axis=3)
    images = _pngs(ctx, grey, temp_prefix(ctx), "temp", level=1)
    return Result(ui={"images": images, "animated": [False]})


def _pngs(
    ctx: Context, images: Picture, prefix: str, kind: str, *, level: int
) -> list[dict[str, str]]:
    names = named(ctx, prefix, kind=kind, picture=images)
    about = PngInfo()
    for key, value in texts(ctx):
        about.add_text(key, value)
    made = []
    for place, one in enumerate(images):
        filename = names.name(place, "png")
        picture = Image.fromarray(bytes_of(one))
        _written(picture, names.folder / filename, pnginfo=about, compress_level=level)
        made.append(item(names, filename, kind))
    return made


def _written(picture: Image.Image, path: Path, **options: Any) -> None:
    with path.open("wb") as file:
        picture.save(file, "PNG", **options)


@node("SaveAnimatedWEBP")
def save_animated_webp(
    ctx: Context,
    images: Picture,
    filename_prefix: str,
    fps: float,
    lossless: bool,
    quality: int,
    method: str,
) -> Result:
    """Write one moving WEBP."""
    names = named(ctx, filename_prefix, picture=images)
    filename = names.name(0, "webp")
    first, *others = [Image.fromarray(one) for one in bytes_of(images)]
    exif = first.getexif()
    # EXIF has no free text keys: Model and Make carry "key:value", as the real node does.
    for place, (key, value) in enumerate(texts(ctx)):
        exif[0x0110 if place == 0 else 0x010F - place + 1] = f"{key}:{value}"
    first.save(
        names.folder / filename,
        save_all=True,
        duration=int(1000 / fps),
        append_images=others,
        exif=exif,
        lossless=lossless,
        quality=quality,
        method=_WEBP_METHODS[method],
    )
    return Result(ui={"images": [item(names, filename)], "animated": [True]})


@node("SaveAnimatedPNG")
def save_animated_png(
    ctx: Context, images: Picture, filename_prefix: str, fps: float, compress_level: int
) -> Result:
    """Write one moving PNG."""
    names = named(ctx, filename_prefix, picture=images)
    filename = names.name(0, "png")
    first, *others = [Image.fromarray(one) for one in bytes_of(images)]
    about = PngInfo()
    for key, value in texts(ctx):
        about.add(b"comf", f"{key}\0{value}".encode("latin-1", "backslashreplace"), after_idat=True)
    first.save(
        names.folder / filename,
        pnginfo=about,
        compress_level=compress_level,
        save_all=True,
        duration=int(1000.0 / fps),
        append_images=others,
    )
    return Result(ui={"images": [item(names, filename)], "animated": [True]})


@node("SaveLatent")
def save_latent(ctx: Context, samples: Latent, filename_prefix: str) -> Result:
    """Write a file in the form of safetensors: a header and the (here empty) values."""
    names = named(ctx, filename_prefix)
    filename = f"{names.stem}_{names.first:05}_.latent"
    shape = [samples.batch, 4, samples.height // 8, samples.width // 8]
    size = 4 * int(np.prod(shape))
    about = {
        "__metadata__": dict(texts(ctx)),
        "latent_tensor": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]},
    }
    header = json.dumps(about).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(size)
    (names.folder / filename).write_bytes(data)
    return Result(ui={"latents": [item(names, filename)]})


@node("PreviewAny")
def preview_any(source: Any = None) -> Result:
    """Show any value as text."""
    if isinstance(source, np.ndarray):
        shown = f"tensor({np.array2string(source.astype(np.float32), precision=4)})"
    elif isinstance(source, (str, int, float, bool)):
        shown = str(source)
    else:
        try:
            shown = json.dumps(source)
        except (TypeError, ValueError):
            shown = str(source)
    return Result(ui={"text": [shown]})


@node("PrimitiveInt")
def primitive_int(value: int) -> int:
    """Give the number."""
    return value


@node("PrimitiveString")
def primitive_string(value: str) -> str:
    """Give the text."""
    return value
