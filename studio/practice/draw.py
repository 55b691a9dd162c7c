"""Placeholder pictures: landscapes drawn from seed and text, marked so that nobody is fooled."""

from __future__ import annotations

import colorsys
import io
import math
import random
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Pixels = npt.NDArray[np.uint8]

MARK: Final = "PRACTICE"
MARK_CJK: Final = "練習"
PREVIEW_SIDE: Final = 512
_SKIES: Final = (0.52, 0.56, 0.6, 0.66, 0.74, 0.82, 0.92, 0.98, 0.04, 0.08)
"""Hues a sky may have."""
_DRIFT_PX: Final = 4
"""How far a film's view moves between two frames."""
_FONTS: Final = (
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/noto-cjk/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc",
    "/usr/share/fonts/truetype/arphic/uming.ttc",
    "/System/Library/Fonts/PingFang.ttc",
    "/System/Library/Fonts/STHeiti Medium.ttc",
    "C:/Windows/Fonts/msjhbd.ttc",
    "C:/Windows/Fonts/msjh.ttc",
    "C:/Windows/Fonts/msyh.ttc",
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def pictures(
    width: int,
    height: int,
    count: int,
    *,
    seed: int,
    text: str,
    film: bool = False,
    mark: bool = True,
) -> Pixels:
    """Draw `count` pictures as count×H×W×3: different views, or the frames of one moving view."""
    if film:
        return _film(width, height, count, seed=seed, text=text, mark=mark)
    made = [landscape(width, height, seed=seed + one, text=text) for one in range(count)]
    return np.stack([stamped(one, text, mark=mark) for one in made])


def _film(width: int, height: int, count: int, *, seed: int, text: str, mark: bool) -> Pixels:
    # One wide view, of which each frame shows a piece, costs far less than a view per frame.
    drift = max(1, _DRIFT_PX * width // PREVIEW_SIDE)
    wide = landscape(width + drift * (count - 1), height, seed=seed, text=text)
    made = np.empty((count, height, width, 3), np.uint8)
    cover = _cover(width, height, text) if mark else None
    for one in range(count):
        piece = wide[:, one * drift : one * drift + width]
        made[one] = piece if cover is None else _covered(piece, cover)
    return made


def landscape(width: int, height: int, *, seed: int, text: str) -> Pixels:
    """Draw a view of sky, sun and hills; seed and text decide all of it."""
    dice = random.Random(f"{seed}|{text}")  # noqa: S311 - a picture, not a secret
    hue = dice.choice(_SKIES)
    view = _sky(width, height, hue)
    _sun(view, dice, hue)
    layers = dice.randint(3, 5)
    for layer in range(layers):
        _hills(view, dice, hue, depth=(layer + 1) / layers)
    return view


def _sky(width: int, height: int, hue: float) -> Pixels:
    top, bottom = _colour(hue, 0.45, 0.62), _colour(hue + 0.08, 0.25, 0.97)
    part = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    column = (top * (1 - part) + bottom * part).astype(np.uint8)
    return np.repeat(column[:, None, :], width, axis=1)


def _sun(view: Pixels, dice: random.Random, hue: float) -> None:
    height, width = view.shape[:2]
    radius = max(2, int(min(width, height) * dice.uniform(0.07, 0.13)))
    x, y = int(width * dice.uniform(0.15, 0.85)), int(height * dice.uniform(0.15, 0.4))
    top, left = max(0, y - radius), max(0, x - radius)
    part = view[top : y + radius, left : x + radius]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    disc = (rows + top - y) ** 2 + (columns + left - x) ** 2 <= radius * radius
    part[disc] = _colour(hue + 0.5, 0.15, 1.0).astype(np.uint8)


def _hills(view: Pixels, dice: random.Random, hue: float, *, depth: float) -> None:
    """Paint one range of hills; nearer ones stand lower and darker."""
    height, width = view.shape[:2]
    across = np.arange(width, dtype=np.float32) / max(1, min(width, height))
    ridge = np.full(width, 0.42 + 0.42 * depth, np.float32)
    for waves in (1.1, 2.7, 6.3):
        swing = dice.uniform(0.2, 1.0) * 0.07 / waves
        ridge -= swing * np.sin(across * waves * math.tau / 2 + dice.uniform(0, math.tau))
    edge = np.clip(ridge * height, 0, height)
    below = np.arange(height)[:, None] >= edge[None, :]
    colour = _colour(hue + 0.3 * depth, 0.3 + 0.3 * depth, 0.8 - 0.5 * depth)
    view[below] = colour.astype(np.uint8)


def _colour(hue: float, saturation: float, value: float) -> npt.NDArray[np.float32]:
    rgb = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return np.array(rgb, np.float32) * 255


def stamped(view: Pixels, text: str, *, mark: bool = True) -> Pixels:
    """Lay the mark over a picture, in colours that show on anything."""
    if not mark:
        return view
    height, width = view.shape[:2]
    return _covered(view, _cover(width, height, text))


def _covered(view: Pixels, cover: npt.NDArray[np.uint16]) -> Pixels:
    rows = np.flatnonzero(cover[..., 3].any(axis=1))
    alpha = cover[rows, :, 3:]
    made = view.copy()
    made[rows] = (view[rows] * (255 - alpha) + cover[rows, :, :3] * alpha) // 255
    return made


def _cover(width: int, height: int, text: str) -> npt.NDArray[np.uint16]:
    """Draw the mark and the caption once, transparent elsewhere: H×W×4."""
    sheet = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    _ribbon(pen, width, height)
    _caption(pen, width, height, text)
    return np.asarray(sheet, np.uint16)


def _ribbon(pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
    words = f"{MARK} {MARK_CJK}" if _cjk_file() else MARK
    font = _fitting(words, width * 0.86, height * 0.16)
    left, top, right, bottom = pen.textbbox((0, 0), words, font=font)
    middle, half = height // 2, int(bottom - top) * 0.9
    pen.rectangle([0, middle - half, width, middle + half], fill=(20, 20, 24, 175))
    place = ((width - (right - left)) / 2 - left, middle - (bottom - top) / 2 - top)
    pen.text(place, words, font=font, fill=(255, 214, 64, 255))


def _caption(pen: ImageDraw.ImageDraw, width: int, height: int, text: str) -> None:
    """Write the first words of the prompt at the foot, where there is room for it."""
    size = height // 32
    words = " ".join(text.split())
    # Without a font for it, Chinese would be a row of empty boxes.
    if size < 9 or not words or not (words.isascii() or _cjk_file()):
        return
    font = _font(size)
    while words and pen.textlength(words, font=font) > width * 0.92:
        words = words[: int(len(words) * 0.9)].rstrip(" …") + "…" if len(words) > 4 else ""
    foot = int(size * 2)
    pen.rectangle([0, height - foot, width, height], fill=(20, 20, 24, 150))
    pen.text(
        (width * 0.04, height - foot + size * 0.4), words, font=font, fill=(255, 255, 255, 230)
    )


def _fitting(words: str, width: float, height: float) -> Font:
    size = max(6, int(height))
    while size > 6 and _font(size).getbbox(words)[2] > width:
        size = int(size * 0.9)
    return _font(size)


@cache
def _cjk_file() -> str | None:
    return next((name for name in _FONTS if Path(name).is_file()), None)


@cache
def _font(size: int) -> Font:
    file = _cjk_file()
    return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)


def preview(view: Pixels, done: float, *, seed: int) -> bytes:
    """Give a JPEG of a picture on its way, scaled up to 512 as latent previews are.

    `done` runs from 0 (noise) to 1 (the picture).
    """
    small = Image.fromarray(view)
    small.thumbnail((PREVIEW_SIDE // 4, PREVIEW_SIDE // 4))
    levels = np.asarray(small, np.float32)
    noise = np.random.default_rng(seed % 2**32).normal(128, 60, levels.shape)
    mixed = levels * done + noise * (1 - done)
    rough = Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8))
    grown = PREVIEW_SIDE / max(rough.size)
    size = (max(1, round(rough.width * grown)), max(1, round(rough.height * grown)))
    buffer = io.BytesIO()
    rough.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def toward(views: Pixels, guides: Pixels, share: float) -> Pixels:
    """Mix drawn views with given pictures (H×W×3 uint8) of the same size; `share` is the views'."""
    made = [
        (view * share + guides[place % len(guides)] * (1 - share)).astype(np.uint8)
        for place, view in enumerate(views)
    ]
    return np.stack(made)
