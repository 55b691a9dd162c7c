"""Nodes that lay pictures out: cut, pad, side by side."""

from __future__ import annotations

import numpy as np

from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import Floats, floats, repeated, scale, with_channels
from studio.practice.nodes.values import Picture, Result


@node("ImageCrop")
def image_crop(image: Picture, width: int, height: int, x: int, y: int) -> Picture:
    """Cut a rectangle out, moved inside the picture if need be."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width].copy()


@node("ImagePadForOutpaint")
def image_pad_for_outpaint(
    image: Picture, left: int, top: int, right: int, bottom: int, feathering: int
) -> Result:
    """Put grey around a picture and mask what is to be painted, softly at the seam."""
    source = floats(image)
    batch, height, width, channels = source.shape
    made = np.full((batch, height + top + bottom, width + left + right, channels), 0.5, np.float32)
    made[:, top : top + height, left : left + width] = source
    mask = np.ones(made.shape[1:3], np.float32)
    inner = np.zeros((height, width), np.float32)
    if feathering > 0 and feathering * 2 < height and feathering * 2 < width:
        inner = _seam(height, width, (left, top, right, bottom), feathering)
    mask[top : top + height, left : left + width] = inner
    return Result((made, mask[None]))


def _seam(height: int, width: int, padding: tuple[int, int, int, int], feathering: int) -> Floats:
    left, top, right, bottom = padding
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    far = max(height, width)
    distance = np.full((height, width), far, np.float32)
    for padded, away in (
        (top, rows),
        (bottom, height - rows),
        (left, columns),
        (right, width - columns),
    ):
        if padded:
            distance = np.minimum(distance, np.broadcast_to(away, distance.shape))
    soft = np.clip((feathering - distance) / feathering, 0, 1)
    return (soft * soft).astype(np.float32)


@node("ImageStitch")
def image_stitch(
    image1: Picture,
    direction: str,
    match_image_size: bool,
    spacing_width: int,
    spacing_color: str,
    image2: Picture | None = None,
) -> Picture:
    """Set two pictures side by side, with a coloured gap if wanted."""
    if image2 is None:
        return image1
    first, second = floats(image1), floats(image2)
    batch = max(first.shape[0], second.shape[0])
    first, second = repeated(first, batch), repeated(second, batch)
    across = direction in ("left", "right")
    if match_image_size:
        second = _same_side(first, second, across=across)
    channels = max(first.shape[3], second.shape[3])
    parts = [with_channels(one, channels) for one in _level(first, second, across=across)]
    if direction in ("left", "up"):
        parts.reverse()
    if spacing_width:
        parts.insert(1, _gap(parts[0], spacing_width + spacing_width % 2, spacing_color, across))
    return np.concatenate(parts, axis=2 if across else 1)


def _same_side(first: Floats, second: Floats, *, across: bool) -> Floats:
    height, width = second.shape[1:3]
    if across:
        return scale(second, int(first.shape[1] * width / height), first.shape[1], "lanczos")
    return scale(second, first.shape[2], int(first.shape[2] * height / width), "lanczos")


def _level(first: Floats, second: Floats, *, across: bool) -> list[Floats]:
    """Pad the smaller one with black, centred, so that the touching sides are equal."""
    axis = 1 if across else 2
    size = max(first.shape[axis], second.shape[axis])
    made = []
    for one in (first, second):
        lacking = size - one.shape[axis]
        padding = [(0, 0)] * 4
        padding[axis] = (lacking // 2, lacking - lacking // 2)
        made.append(np.pad(one, padding))
    return made


def _gap(beside: Floats, width: int, colour: str, across: bool) -> Floats:
    levels = {
        "white": (1, 1, 1),
        "black": (0, 0, 0),
        "red": (1, 0, 0),
        "green": (0, 1, 0),
        "blue": (0, 0, 1),
    }
    shape = list(beside.shape)
    shape[2 if across else 1] = width
    made = np.ones(shape, np.float32)
    made[..., :3] = levels.get(colour, (1, 1, 1))
    return made
