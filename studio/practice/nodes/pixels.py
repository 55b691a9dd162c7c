"""Nodes that only move pixels: really executed, with the real nodes' results."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from studio.practice.nodes.registry import node
from studio.practice.nodes.scale import Floats, floats, levels, scale, scale_mask
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


@node("ImageInvert")
def image_invert(image: Picture) -> Picture:
    """Turn every level round."""
    return 1 - floats(image)


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
    return np.concatenate([_with_channels(one, channels) for one in fitted])


def _with_channels(picture: Floats, channels: int) -> Floats:
    lacking = channels - picture.shape[3]
    if lacking <= 0:
        return picture
    return np.concatenate([picture, np.ones((*picture.shape[:3], lacking), np.float32)], axis=3)


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
    base, top = _with_channels(base, channels), _with_channels(top, channels)
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
    below, above = _with_channels(below, channels), _with_channels(above, channels)
    if resize_source:
        above = scale(above, below.shape[2], below.shape[1], "bilinear")
    batch = below.shape[0]
    above = _repeated(above, batch)
    height, width = above.shape[1:3]
    shown = np.ones((1, height, width), np.float32) if mask is None else mask
    shown = _repeated(scale_mask(shown, width, height), batch)[..., None]
    x, y = min(x, below.shape[2]), min(y, below.shape[1])
    height, width = min(height, below.shape[1] - y), min(width, below.shape[2] - x)
    part, shown = above[:, :height, :width], shown[:, :height, :width]
    place = below[:, y : y + height, x : x + width]
    below[:, y : y + height, x : x + width] = shown * part + (1 - shown) * place
    return below


def _repeated(values: Floats, batch: int) -> Floats:
    """Bring a batch to a length by repeating it from the start."""
    times = -(-batch // values.shape[0])
    return np.concatenate([values] * times)[:batch]


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
    first, second = _repeated(first, batch), _repeated(second, batch)
    across = direction in ("left", "right")
    if match_image_size:
        second = _same_side(first, second, across=across)
    channels = max(first.shape[3], second.shape[3])
    parts = [_with_channels(one, channels) for one in _level(first, second, across=across)]
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


@node("GetImageSize")
def get_image_size(ctx: Context, image: Picture) -> Result:
    """Give width, height and count, and show them on the node."""
    batch, height, width = image.shape[:3]
    ctx.show_text(f"width: {width}, height: {height}\n batch size: {batch}")
    return Result((width, height, batch))


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
    colours = _repeated(source, batch)[..., :3]
    return np.concatenate([colours, _repeated(shown, batch)[..., None]], axis=3)


@node("SplitImageWithAlpha")
def split_image_with_alpha(image: Picture) -> Result:
    """Part colours and 1 - alpha; without alpha the mask is black."""
    source = floats(image)
    if source.shape[3] > 3:
        return Result((source[..., :3], 1 - source[..., 3]))
    return Result((source, np.zeros(source.shape[:3], np.float32)))
