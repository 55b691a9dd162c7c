"""Masks: white where a picture is to be changed, black where it is kept; exactly its size.

Pure functions on 8-bit grey pictures (mode "L"). The one rule for how a mask is read:

- painted layers (of an editor, transparent where nothing was painted): what is painted is white,
  as far as it is opaque, whatever its colour; an erased stroke is none;
- a picture with transparency in it counts as a painted layer;
- any other picture is read by its brightness: white = change, black = keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageChops, ImageFilter, ImageOps

Size = tuple[int, int]

_SHOWS: Final = 8
"""Of 255: what is fainter than this was not painted by anybody."""
FEATHER_MAX_PX: Final = 256


def of_layers(layers: Sequence[Image.Image], size: Size) -> Image.Image:
    """Join painted layers into one mask of `size`."""
    mask = Image.new("L", size, 0)
    for layer in layers:
        mask = ImageChops.lighter(mask, fitted(_painted(layer), size))
    return mask


def of_picture(picture: Image.Image, size: Size) -> Image.Image:
    """Read a given picture as a mask of `size`."""
    if picture.has_transparency_data:
        alpha = _painted(picture)
        if alpha.getextrema()[0] != 255:
            return fitted(alpha, size)
    return fitted(_grey(picture), size)


def same_shape(one: Size, other: Size) -> bool:
    """Tell whether two sizes are of one shape, a pixel of rounding on each side allowed."""
    return abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other)


def fitted(mask: Image.Image, size: Size) -> Image.Image:
    """Bring a mask to `size`. An editor may work on a smaller copy of a large picture."""
    return mask if mask.size == size else mask.resize(size, Image.Resampling.BILINEAR)


def is_empty(mask: Image.Image) -> bool:
    """Tell whether nothing is white enough to be changed."""
    return int(mask.getextrema()[1]) < _SHOWS  # type: ignore[arg-type]  # of one band: numbers


def inverted(mask: Image.Image) -> Image.Image:
    """Swap what is changed and what is kept."""
    return ImageOps.invert(mask)


def feathered(mask: Image.Image, radius_px: float) -> Image.Image:
    """Soften the edge over about `radius_px` on either side; 0 leaves it hard.

    The border of the picture counts as going on, so that a mask that reaches it stays white there.
    """
    if radius_px <= 0:
        return mask
    radius = min(radius_px, FEATHER_MAX_PX)
    return mask.filter(ImageFilter.GaussianBlur(radius / 2))


def _painted(layer: Image.Image) -> Image.Image:
    return layer.convert("RGBA").getchannel("A")


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB").convert("L") if picture.mode == "P" else picture.convert("L")
