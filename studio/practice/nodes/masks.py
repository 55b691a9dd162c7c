"""Nodes that make and change masks, and alpha."""

from __future__ import annotations

from typing import Any

import numpy as np

from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import floats, repeated, scale_mask
from studio.practice.nodes.values import Mask, Picture, Result


@node("MaskToImage")
def mask_to_image(mask: Mask) -> Picture:
    """Show a mask as grey."""
    return np.repeat(mask[..., None], 3, axis=3)


@node("ImageToMask")
def image_to_mask(image: Picture, channel: str) -> Mask:
    """Take one channel as a mask, as it is."""
    return floats(image)[..., ("red", "green", "blue", "alpha").index(channel)]


@node("SolidMask")
def solid_mask(value: float, width: int, height: int) -> Mask:
    """Make an even mask."""
    return np.full((1, height, width), value, np.float32)


@node("InvertMask")
def invert_mask(mask: Mask) -> Mask:
    """Turn a mask round."""
    return 1 - mask


@node("MaskComposite")
def mask_composite(destination: Mask, source: Mask, x: int, y: int, operation: str) -> Mask:
    """Combine two masks where they overlap."""
    made = destination.copy()
    height = min(source.shape[1], made.shape[1] - y)
    width = min(source.shape[2], made.shape[2] - x)
    if height <= 0 or width <= 0:
        return made
    below = made[:, y : y + height, x : x + width]
    above = source[:, :height, :width]
    made[:, y : y + height, x : x + width] = _combined(below, above, operation)
    return np.clip(made, 0, 1)


def _combined(below: Mask, above: Mask, operation: str) -> Mask:
    match operation:
        case "multiply":
            return below * above
        case "add":
            return below + above
        case "subtract":
            return below - above
        case _:
            rule = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[operation]
            # Rounding first is what makes 0.5 count as black here.
            return rule(np.round(below), np.round(above)).astype(np.float32)


@node("GrowMask")
def grow_mask(mask: Mask, expand: int, tapered_corners: bool) -> Mask:
    """Let white grow (or shrink, below 0) by pixels; tapered corners grow as a diamond."""
    made = mask
    for _ in range(abs(expand)):
        made = _grown(made, tapered=tapered_corners, shrink=expand < 0)
    return made


def _grown(mask: Mask, *, tapered: bool, shrink: bool) -> Mask:
    pick = np.minimum if shrink else np.maximum
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    height, width = mask.shape[1:]
    made = mask
    for down in range(3):
        for right in range(3):
            if tapered and abs(down - 1) + abs(right - 1) == 2:
                continue
            made = pick(made, padded[:, down : down + height, right : right + width])
    return made


@node("FeatherMask")
def feather_mask(mask: Mask, left: int, top: int, right: int, bottom: int) -> Mask:
    """Fade a mask out towards its edges."""
    made = mask.copy()
    height, width = mask.shape[1:]
    for count, axis, last in (
        (min(left, width), 2, False),
        (min(right, width), 2, True),
        (min(top, height), 1, False),
        (min(bottom, height), 1, True),
    ):
        for place in range(count):
            index = mask.shape[axis] - 1 - place if last else place
            line: list[Any] = [slice(None)] * 3
            line[axis] = index
            made[tuple(line)] *= (place + 1) / count
    return made


@node("JoinImageWithAlpha")
def join_image_with_alpha(image: Picture, alpha: Mask) -> Picture:
    """Add a mask as alpha, turned round: white in the mask is transparent."""
    source = floats(image)
    batch = max(source.shape[0], alpha.shape[0])
    height, width = source.shape[1:3]
    shown = 1 - scale_mask(alpha, width, height)
    colours = repeated(source, batch)[..., :3]
    return np.concatenate([colours, repeated(shown, batch)[..., None]], axis=3)


@node("SplitImageWithAlpha")
def split_image_with_alpha(image: Picture) -> Result:
    """Part colours and 1 - alpha; without alpha the mask is black."""
    source = floats(image)
    if source.shape[3] > 3:
        return Result((source[..., :3], 1 - source[..., 3]))
    return Result((source, np.zeros(source.shape[:3], np.float32)))
