"""Nodes that only move pixels: really executed, with the real nodes' results."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import (
    Floats,
    floats,
    levels,
    repeated,
    scale,
    scale_mask,
    with_channels,
)
from studio.practice.nodes.values import Context, Mask, NodeError, Picture, Result

_NO_MASK = (1, 64, 64)
"""A picture without alpha gives a mask of this size, whatever its own."""


@node("EmptyImage")
def empty_image(width: int, height: int, batch_size: int, color: int) -> Floats:
    """Fill pictures with one colour, 0xRRGGBB."""
    rgb = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
    return np.broadcast_to(np.array(rgb, np.float32), (batch_size, height, width, 3)).copy()


@node("LoadImage", "LoadImageOutput")
def load_image(ctx: Context, image: str) -> Result:
    """Read a picture upright: colours without alpha, and 1 - alpha as the mask."""
    pictures: list[Floats] = []
    masks: list[Mask] = []
    with _opened(ctx, image) as file:
        for raw in ImageSequence.Iterator(file):
            frame = _upright(raw)
            rgb = frame.convert("RGB")
            if pictures and (rgb.height, rgb.width) != pictures[0].shape[1:3]:
                continue
            pictures.append(levels(rgb)[None])
            masks.append(_alpha_mask(frame))
    return Result((np.concatenate(pictures), np.concatenate(masks)))


def _alpha_mask(frame: Image.Image) -> Mask:
    if frame.mode == "P" and "transparency" in frame.info:
        frame = frame.convert("RGBA")
    if "A" not in frame.getbands():
        return np.zeros(_NO_MASK, np.float32)
    return 1 - levels(frame.getchannel("A"))[None]


@node("LoadImageMask")
def load_image_mask(ctx: Context, image: str, channel: str) -> Mask:
    """Read one channel as a mask; alpha is turned round, colours are not."""
    with _opened(ctx, image) as file:
        frame = _upright(file)
        if frame.getbands() != ("R", "G", "B", "A"):
            frame = frame.convert("RGBA")
        band = levels(frame.getchannel(channel[0].upper()))[None]
    return 1 - band if channel == "alpha" else band


def _opened(ctx: Context, name: str) -> Image.Image:
    path = ctx.folders.annotated(name)
    if path is None:
        raise NodeError("FileNotFoundError", f"Invalid file path: {name}")
    return Image.open(path)


def _upright(raw: Image.Image) -> Image.Image:
    frame = ImageOps.exif_transpose(raw)
    return frame.point(lambda level: level * (1 / 255)) if frame.mode == "I" else frame


@node("ImageInvert")
def image_invert(image: Picture) -> Picture:
    """Turn every level round."""
    return 1 - floats(image)


@node("ImageBlur")
def image_blur(image: Picture, blur_radius: int, sigma: float) -> Picture:
    """Blur with a bell curve; `sigma` is in parts of the radius, and edges are mirrored."""
    source = floats(image)
    height, width = source.shape[1:3]
    if blur_radius >= min(height, width):
        raise NodeError(
            "RuntimeError",
            "Argument #4: Padding size should be less than the corresponding input dimension, "
            f"but got: padding ({blur_radius}, {blur_radius}) at dimension 3 of input",
        )
    weights = np.exp(-(np.linspace(-1, 1, 2 * blur_radius + 1) ** 2) / (2 * sigma * sigma))
    weights /= weights.sum()
    for axis, side in ((1, height), (2, width)):
        room = [(0, 0)] * 4
        room[axis] = (blur_radius, blur_radius)
        padded = np.pad(source, room, mode="reflect")
        parts = (
            weight * np.take(padded, range(at, at + side), axis=axis)
            for at, weight in enumerate(weights)
        )
        source = sum(parts, start=np.zeros_like(source)).astype(np.float32)
    return source


@node("ImageBatch")
def image_batch(image1: Picture, image2: Picture) -> Picture:
    """Put two batches behind each other; the second takes the first one's size."""
    return _batched([image1, image2])


@node("BatchImagesNode")
def batch_images(**inputs: Picture) -> Picture:
    """Put any number of batches behind each other."""
    named = [value for name, value in inputs.items() if name.startswith("images__")]
    if not named:
        raise NodeError(
            "TypeError",
            "BatchImagesNode.execute() missing 1 required positional argument: 'images'",
        )
    return _batched(named)


def _batched(pictures: list[Picture]) -> Picture:
    first = pictures[0]
    if all(one.shape[1:] == first.shape[1:] and one.dtype == first.dtype for one in pictures):
        return np.concatenate(pictures)
    height, width = first.shape[1:3]
    channels = max(one.shape[3] for one in pictures)
    fitted = [scale(one, width, height, "bilinear", "center") for one in pictures]
    return np.concatenate([with_channels(one, channels) for one in fitted])


@node("RepeatImageBatch")
def repeat_image_batch(image: Picture, amount: int) -> Picture:
    """Repeat the whole batch."""
    return np.concatenate([image] * amount)


@node("ImageFromBatch")
def image_from_batch(image: Picture, batch_index: int, length: int) -> Picture:
    """Cut pictures out of a batch; an index past the end means the last one."""
    start = min(image.shape[0] - 1, batch_index)
    return image[start : start + min(image.shape[0] - start, length)].copy()


@node("ImageBlend")
def image_blend(image1: Picture, image2: Picture, blend_factor: float, blend_mode: str) -> Picture:
    """Blend the second picture into the first, fitted by a centre crop."""
    base, top = floats(image1), floats(image2)
    channels = max(base.shape[3], top.shape[3])
    base, top = with_channels(base, channels), with_channels(top, channels)
    if base.shape != top.shape:
        top = scale(top, base.shape[2], base.shape[1], "bicubic", "center")
    mixed = base * (1 - blend_factor) + _blended(base, top, blend_mode) * blend_factor
    return np.clip(mixed, 0, 1)


def _blended(a: Floats, b: Floats, mode: str) -> Floats:
    match mode:
        case "normal":
            return b
        case "multiply":
            return a * b
        case "screen":
            return 1 - (1 - a) * (1 - b)
        case "overlay":
            return np.where(a <= 0.5, 2 * a * b, 1 - 2 * (1 - a) * (1 - b))
        case "soft_light":
            return np.where(
                b <= 0.5, a - (1 - 2 * b) * a * (1 - a), a + (2 * b - 1) * (_soft(a) - a)
            )
        case "difference":
            return a - b
        case _:
            raise NodeError("ValueError", f"Unsupported blend mode: {mode}")


def _soft(x: Floats) -> Floats:
    return np.where(x <= 0.25, ((16 * x - 12) * x + 4) * x, np.sqrt(x))


@node("ImageCompositeMasked")
def image_composite_masked(
    destination: Picture,
    source: Picture,
    x: int,
    y: int,
    resize_source: bool,
    mask: Mask | None = None,
) -> Picture:
    """Paste the source over the destination where the mask is white."""
    below, above = floats(destination).copy(), floats(source)
    channels = max(below.shape[3], above.shape[3])
    below, above = with_channels(below, channels), with_channels(above, channels)
    if resize_source:
        above = scale(above, below.shape[2], below.shape[1], "bilinear")
    batch = below.shape[0]
    above = repeated(above, batch)
    height, width = above.shape[1:3]
    shown = np.ones((1, height, width), np.float32) if mask is None else mask
    shown = repeated(scale_mask(shown, width, height), batch)[..., None]
    x, y = min(x, below.shape[2]), min(y, below.shape[1])
    height, width = min(height, below.shape[1] - y), min(width, below.shape[2] - x)
    part, shown = above[:, :height, :width], shown[:, :height, :width]
    place = below[:, y : y + height, x : x + width]
    below[:, y : y + height, x : x + width] = shown * part + (1 - shown) * place
    return below


@node("GetImageSize")
def get_image_size(ctx: Context, image: Picture) -> Result:
    """Give width, height and count, and show them on the node."""
    batch, height, width = image.shape[:3]
    ctx.show_text(f"width: {width}, height: {height}\n batch size: {batch}")
    return Result((width, height, batch))
