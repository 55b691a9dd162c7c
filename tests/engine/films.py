"""Sounds and videos for tests, made by PyAV alone: small, and of the kinds people bring."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def tone(rate: int, seconds: float, channels: int = 1, loudness: float = 0.5) -> np.ndarray:
    """Give samples of a tone, `channels`×n float32."""
    at = np.arange(round(rate * seconds)) / rate
    line = (loudness * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    return np.tile(line, (channels, 1))


def sound(
    path: Path,
    form: str,
    codec: str,
    *,
    seconds: float = 1.0,
    rate: int = 48_000,
    layout: str = "mono",
    loudness: float = 0.5,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
) -> Path:
    """Write a sound file."""
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(path), "w", format=form, options=muxer or {}) as made:
        stream: Any = made.add_stream(codec, rate=rate, layout=layout, options=options or {})
        for frame in sound_frames(tone(rate, seconds, channels, loudness), rate, layout):
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return path


def sound_frames(samples: np.ndarray, rate: int, layout: str) -> Iterator[Any]:
    """Cut samples into frames for an encoder."""
    for at in range(0, samples.shape[1], 1024):
        part = np.ascontiguousarray(samples[:, at : at + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        yield frame


def film(
    path: Path,
    form: str,
    codec: str,
    pix_fmt: str = "yuv420p",
    *,
    frames: int = 16,
    fps: int = 16,
    size: tuple[int, int] = (64, 48),
    dark: int = 0,
    with_sound: str = "",
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video of a moving bar, the first `dark` frames black; `with_sound` names a codec."""
    with av.open(str(path), "w", format=form) as made:
        stream: Any = made.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        voice: Any = made.add_stream(with_sound, rate=48_000) if with_sound else None
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(_bar(number, size, dark), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, fps)
            made.mux(stream.encode(picture))
        made.mux(stream.encode(None))
        if voice is not None:
            for frame in sound_frames(tone(48_000, frames / fps), 48_000, "mono"):
                made.mux(voice.encode(frame))
            made.mux(voice.encode(None))
    return path


def _bar(number: int, size: tuple[int, int], dark: int) -> np.ndarray:
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    if number >= dark:
        picture[:] = (30, 90, 160)
        at = number * 3 % width
        picture[:, at : at + 8] = (240, 200, 40)
    return picture


# The matrix of a track header (ISO 14496-12, 8.3.2), for a picture `width` by `height`: its first
# two rows, and where the turned picture's corner lies.
_TURNED = {
    90: ((0, 1, -1, 0), lambda _width, height: (height, 0)),
    180: ((-1, 0, 0, -1), lambda width, height: (width, height)),
    270: ((0, -1, 1, 0), lambda width, _height: (0, width)),
}


def lay_on_its_side(path: Path, degrees: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Mark an MP4 as a phone does: show it turned by `degrees` clockwise."""
    data = bytearray(path.read_bytes())
    (a, b, c, d), corner = _TURNED[degrees]
    x, y = corner(*size)
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, x << 16, y << 16, 1 << 30)
    at = data.index(b"tkhd") + 44
    data[at : at + len(matrix)] = matrix
    path.write_bytes(data)
    return path
