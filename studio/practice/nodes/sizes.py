"""Nodes that change the size of a picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import Floats, floats, scale
from studio.practice.nodes.values import Picture


@node("ImageScale")
def image_scale(image: Picture, upscale_method: str, width: int, height: int, crop: str) -> Picture:
    """Scale; one size 0 keeps the shape, both 0 keep the picture."""
    if width == 0 and height == 0:
        return image
    old_height, old_width = image.shape[1:3]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return scale(image, width, height, upscale_method, crop)


@node("ImageScaleBy")
def image_scale_by(image: Picture, upscale_method: str, scale_by: float) -> Picture:
    """Scale both sides by a factor."""
    height, width = image.shape[1:3]
    return scale(image, round(width * scale_by), round(height * scale_by), upscale_method)


@node("ImageScaleToTotalPixels")
def image_scale_to_total_pixels(
    image: Picture, upscale_method: str, megapixels: float, resolution_steps: int = 1
) -> Picture:
    """Scale to a number of megapixels (1024x1024 is one), sides in whole steps."""
    height, width = image.shape[1:3]
    factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
    new = [round(side * factor / resolution_steps) * resolution_steps for side in (width, height)]
    return scale(image, new[0], new[1], upscale_method)


@node("ResizeAndPadImage")
def resize_and_pad_image(
    image: Picture, target_width: int, target_height: int, padding_color: str, interpolation: str
) -> Picture:
    """Scale to fit inside the target and fill the rest with white or black."""
    source = floats(image)
    batch, height, width, channels = source.shape
    factor = min(target_width / width, target_height / height)
    new_width, new_height = int(width * factor), int(height * factor)
    fill = 0.0 if padding_color == "black" else 1.0
    made = np.full((batch, target_height, target_width, channels), fill, np.float32)
    left, top = (target_width - new_width) // 2, (target_height - new_height) // 2
    made[:, top : top + new_height, left : left + new_width] = scale(
        source, new_width, new_height, interpolation
    )
    return made


@node("ResizeImageMaskNode")
def resize_image_mask(
    input: Picture,  # noqa: A002 - the node's own input name
    resize_type: str,
    scale_method: str,
    **sub: Any,
) -> Picture:
    """Resize a picture or a mask by one of the rules of its dynamic combo."""
    flat = input.ndim == 3
    source = floats(input[..., None] if flat else input)
    given = {name.removeprefix("resize_type__"): value for name, value in sub.items()}
    width, height = _new_size(source, resize_type, given)
    made = scale(source, width, height, scale_method, given.get("crop", "disabled"))
    return made[..., 0] if flat else made


def _new_size(source: Floats, rule: str, given: dict[str, Any]) -> tuple[int, int]:
    height, width = source.shape[1:3]
    if rule == "scale by multiplier":
        return max(1, round(width * given["multiplier"])), max(
            1, round(height * given["multiplier"])
        )
    if rule == "match size":
        return int(given["match"].shape[2]), int(given["match"].shape[1])
    if rule == "scale dimensions":
        new_width, new_height = given["width"], given["height"]
        return (
            new_width or max(1, round(width * new_height / height)),
            new_height or max(1, round(height * new_width / width)),
        )
    factor = _side_factor(rule, given, width, height)
    return max(1, round(width * factor)), max(1, round(height * factor))


def _side_factor(rule: str, given: dict[str, Any], width: int, height: int) -> float:
    match rule:
        case "scale longer dimension":
            return float(given["longer_size"]) / max(width, height)
        case "scale shorter dimension":
            return float(given["shorter_size"]) / min(width, height)
        case "scale width":
            return float(given["width"]) / width
        case "scale height":
            return float(given["height"]) / height
        case _:
            return math.sqrt(given["megapixels"] * 1024 * 1024 / (width * height))


_KONTEXT_SIZES = (
    (672, 1568),
    (688, 1504),
    (720, 1456),
    (752, 1392),
    (800, 1328),
    (832, 1248),
    (880, 1184),
    (944, 1104),
    (1024, 1024),
    (1104, 944),
    (1184, 880),
    (1248, 832),
    (1328, 800),
    (1392, 752),
    (1456, 720),
    (1504, 688),
    (1568, 672),
)


@node("FluxKontextImageScale")
def flux_kontext_image_scale(image: Picture) -> Picture:
    """Scale and crop to the nearest shape this model was trained on."""
    shape = image.shape[2] / image.shape[1]
    width, height = min(_KONTEXT_SIZES, key=lambda size: abs(shape - size[0] / size[1]))
    return scale(image, width, height, "lanczos", "center")
