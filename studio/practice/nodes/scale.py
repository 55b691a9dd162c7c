"""Change sizes as ComfyUI does: its five methods, and its centre crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from studio.practice.nodes.values import Mask, NodeError, Picture

Floats = npt.NDArray[np.float32]


def floats(picture: Picture) -> Floats:
    """Give B×H×W×C float32 in 0..1, from either form a picture has."""
    if picture.dtype == np.uint8:
        return picture.astype(np.float32) / np.float32(255)
    return picture.astype(np.float32, copy=False)


def levels(picture: Image.Image) -> Floats:
    """Give a Pillow picture or band as float32 in 0..1."""
    return np.asarray(picture, np.float32) / np.float32(255)


def bytes_of(picture: Picture) -> npt.NDArray[np.uint8]:
    """Give B×H×W×C uint8; floats are cut, not rounded, as the save nodes do."""
    if picture.dtype == np.uint8:
        return picture
    return np.clip(picture * np.float32(255), 0, 255).astype(np.uint8)


def scale(picture: Picture, width: int, height: int, method: str, crop: str = "disabled") -> Floats:
    """Scale B×H×W×C; `crop="center"` first cuts the middle to the new shape."""
    source = floats(picture)
    if crop == "center":
        source = _centre(source, width, height)
    if source.shape[2] == width and source.shape[1] == height:
        return source
    if method == "lanczos":
        return _lanczos(source, width, height)
    if width < 1 or height < 1:
        raise NodeError("RuntimeError", _no_size(source, width, height))
    for axis, size in ((1, height), (2, width)):
        source = _along(source, axis, size, method)
    return source


def _no_size(source: Floats, width: int, height: int) -> str:
    there = f"(H: {source.shape[1]}, W: {source.shape[2]})"
    return (
        "Input and output sizes should be greater than 0, "
        f"but got input {there} output (H: {height}, W: {width})\n"
    )


def scale_mask(mask: Mask, width: int, height: int) -> Mask:
    """Scale B×H×W bilinearly, as nodes do that mix masks and pictures."""
    made: Mask = scale(mask[..., None], width, height, "bilinear")[..., 0]
    return made


def with_channels(picture: Floats, channels: int) -> Floats:
    """Add full alpha where a channel is lacking."""
    lacking = channels - picture.shape[3]
    if lacking <= 0:
        return picture
    return np.concatenate([picture, np.ones((*picture.shape[:3], lacking), np.float32)], axis=3)


def repeated(values: Floats, batch: int) -> Floats:
    """Bring a batch to a length by repeating it from the start."""
    times = -(-batch // values.shape[0])
    return np.concatenate([values] * times)[:batch]


def _centre(source: Floats, width: int, height: int) -> Floats:
    old_height, old_width = source.shape[1:3]
    old, new = old_width / old_height, width / height
    left = round((old_width - old_width * (new / old)) / 2) if old > new else 0
    top = round((old_height - old_height * (old / new)) / 2) if old < new else 0
    return source[:, top : old_height - top, left : old_width - left]


def _lanczos(source: Floats, width: int, height: int) -> Floats:
    made = [
        levels(_pil(one).resize((width, height), Image.Resampling.LANCZOS))
        for one in bytes_of(source)
    ]
    stacked: Floats = np.stack(made)
    return stacked if stacked.ndim == 4 else stacked[..., None]


def _pil(one: npt.NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(one[..., 0] if one.shape[-1] == 1 else one)


def _along(source: Floats, axis: int, size: int, method: str) -> Floats:
    """Scale one axis by weighted sums of source lines."""
    old = source.shape[axis]
    if old == size:
        return source
    if method == "nearest-exact":
        # In 32 bits, as there: a place that falls on a whole number may round either way.
        step = np.float32(old) / np.float32(size)
        places = np.floor((np.arange(size, dtype=np.float32) + np.float32(0.5)) * step)
        places = np.minimum(places, old - 1)
        taken: Floats = np.take(source, places.astype(np.intp), axis=axis)
        return taken
    if method == "area":
        return _area(source, axis, size)
    return _taps(source, axis, size, cubic=method == "bicubic")


def _area(source: Floats, axis: int, size: int) -> Floats:
    """Average over the source lines each target line covers, whole lines only."""
    old = source.shape[axis]
    starts = np.arange(size) * old // size
    ends = -(-(np.arange(1, size + 1) * old) // size)
    sums = np.cumsum(source, axis=axis, dtype=np.float64)
    sums = np.concatenate([np.zeros_like(np.take(sums, [0], axis=axis)), sums], axis=axis)
    total = np.take(sums, ends, axis=axis) - np.take(sums, starts, axis=axis)
    shape = [1] * source.ndim
    shape[axis] = size
    made: Floats = (total / (ends - starts).reshape(shape)).astype(np.float32)
    return made


def _taps(source: Floats, axis: int, size: int, *, cubic: bool) -> Floats:
    """Interpolate between pixel centres, edges repeated, without smoothing when shrinking."""
    old = source.shape[axis]
    centre = (np.arange(size) + 0.5) * (old / size) - 0.5
    if not cubic:
        centre = np.maximum(centre, 0)
    base = np.floor(centre)
    part = centre - base
    weights = _cubic(part) if cubic else {0: 1 - part, 1: part}
    shape = [1] * source.ndim
    shape[axis] = size
    made: Floats = np.zeros([*source.shape[:axis], size, *source.shape[axis + 1 :]], np.float32)
    for offset, weight in weights.items():
        places = np.clip(base + offset, 0, old - 1).astype(np.intp)
        made += np.take(source, places, axis=axis) * weight.reshape(shape).astype(np.float32)
    return made


def _cubic(part: npt.NDArray[Any]) -> dict[int, npt.NDArray[Any]]:
    """Give the four weights of cubic convolution with a = -0.75."""
    a = -0.75

    def near(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        weight: npt.NDArray[Any] = ((a + 2) * x - (a + 3)) * x * x + 1
        return weight

    def far(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        weight: npt.NDArray[Any] = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return weight

    return {-1: far(part + 1), 0: near(part), 1: near(1 - part), 2: far(2 - part)}
