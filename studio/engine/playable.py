"""Videos that a browser plays: what it can play, copies of what it cannot, posters, waveforms.

All with PyAV's own FFmpeg: no binary is needed. Knows files only. Run as a program
(`python -m studio.engine.playable SOURCE INTO`) it makes one copy, so that an encoder that dies
takes nothing with it and a busy one leaves the studio's threads alone.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw

from studio.engine.later import Later
from studio.errors import StudioError

if TYPE_CHECKING:
    import av
else:
    av = Later("av")

log = logging.getLogger("studio.playable")

HOUSE: Final = Path(__file__).resolve().parents[2]
ENCODE_AT_MOST_S: Final = 1800.0
_PLAIN: Final = frozenset({"yuv420p", "yuvj420p"})
# By container: which pictures and sounds Chromium plays in it. HEVC it plays on few machines.
_PLAYS: Final[Mapping[str, tuple[frozenset[str], frozenset[str]]]] = {
    "mp4": (frozenset({"h264", "vp9", "av1"}), frozenset({"aac", "mp3", "opus", "flac"})),
    "webm": (frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"})),
}
_MIMES: Final = {"video/mp4": "mp4", "video/webm": "webm"}
_COPIED: Final = (frozenset({"h264"}), frozenset({"aac", "mp3"}))
_BROKEN: Final = (OSError, ValueError, AttributeError, IndexError, MemoryError)
_DARK: Final = 12.0
_LOOKED_AT: Final = 48
WAVE_PX: Final = (640, 160)
_WAVE_COLOUR: Final = (120, 130, 150, 255)


def measure(path: Path) -> tuple[int, int, float]:
    """Give width, height and seconds of a kept video or sound by its header; 0 where unknown.

    Never raises for a broken file: it is kept as it came.
    """
    try:
        with av.open(str(path)) as container:
            seconds = container.duration / av.time_base if container.duration else 0.0
            pictures = _pictures(container)
            if pictures is None:
                return 0, 0, seconds
            width, height = shown_size(pictures, turn_of(container, pictures))
            return width, height, seconds
    except (av.FFmpegError, *_BROKEN) as error:
        log.warning("a kept file cannot be measured: %s: %r", path.name, error)
        return 0, 0, 0.0


def turn_of(container: Any, stream: Any) -> int:
    """Give by how many quarters, against the clock, a video must be turned to be upright: 0 to 3.

    A phone writes that beside the pictures, which lie as the sensor lay. Reads the first picture,
    and goes back to the start.
    """
    first = next(iter(container.decode(stream)), None)
    container.seek(0)
    return 0 if first is None else turn(first)


def voices(container: Any) -> list[Any]:
    """List the sounds of a file that can be decoded.

    New phones add one that only their maker decodes: PyAV gives it no decoder, and a process that
    decodes it all the same dies.
    """
    return [stream for stream in container.streams.audio if stream.codec_context is not None]


def turn(frame: Any) -> int:
    """Give by how many quarters, against the clock, a decoded picture must be turned: 0 to 3."""
    return int(round(frame.rotation / 90) % 4)


def shown_size(stream: Any, quarters: int) -> tuple[int, int]:
    """Give width and height of an upright picture of a stream, in pixels; 0 where unknown."""
    size = (stream.width or 0, stream.height or 0)
    return (size[1], size[0]) if quarters % 2 else size


def plays(path: Path, mime: str) -> bool:
    """Tell whether Chromium plays a kept video as it is."""
    picture_kinds, sound_kinds = _PLAYS.get(_MIMES.get(mime, ""), (frozenset(), frozenset()))
    return _made_of(path, picture_kinds, sound_kinds)


def copy(source: Path, into: Path) -> None:
    """Write an H.264 MP4 of 4:2:0 that starts at once; streams that are so already are copied.

    Odd sides lose a pixel, since 4:2:0 has none. What lies on its side is turned upright: not every
    reader heeds the mark that says so. Raises PyAV's errors.
    """
    as_they_are = _made_of(source, *_COPIED) and not _turned(source)
    faststart = {"movflags": "faststart"}
    with (
        av.open(str(source)) as given,
        av.open(str(into), "w", format="mp4", options=faststart) as made,
    ):
        picture, sound = _pictures(given), next(iter(voices(given)), None)
        if picture is None:
            raise ValueError("no picture in it")
        lines = [_line(made, stream, as_they_are) for stream in (picture, sound) if stream]
        turns = {stream.index: turn for stream, turn, _ in lines}
        for packet in given.demux([stream for stream, _, _ in lines]):
            turns[packet.stream.index](packet)
        for _, _, end in lines:
            end()


def _turned(path: Path) -> bool:
    with av.open(str(path)) as container:
        stream = _pictures(container)
        return stream is not None and turn_of(container, stream) != 0


def copy_apart(source: Path, into: Path, *, at_most_s: float = ENCODE_AT_MOST_S) -> str:
    """Run `copy` in a process of its own; give why it failed, or an empty text."""
    try:
        with _whole(into) as part:
            subprocess.run(  # noqa: S603  our own program and paths of our own
                [sys.executable, "-m", "studio.engine.playable", str(source), str(part)],
                cwd=HOUSE,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=at_most_s,
                check=True,
            )
    except subprocess.CalledProcessError as error:
        return f"{error}: {error.stderr.decode(errors='replace')[-500:]}"
    except (subprocess.TimeoutExpired, OSError) as error:
        return repr(error)
    return ""


def poster(source: Path, into: Path, side_px: int = 512) -> None:
    """Write an early picture of a video that is not dark, as WebP; raises `file_broken`."""
    try:
        with av.open(str(source)) as container:
            shown = _first_bright(container)
        shown.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
        with _whole(into) as part:
            shown.save(part, "WEBP", quality=82, method=4)
    except (av.FFmpegError, *_BROKEN) as error:
        raise StudioError("file_broken", name=source.name, details=repr(error)) from error


def wave(source: Path, into: Path, size: tuple[int, int] = WAVE_PX) -> None:
    """Write the loudness of a sound over time as a WebP of `size`; raises `file_broken`."""
    try:
        heights = peaks(source, size[0] // 4)
        with _whole(into) as part:
            _drawn(heights, size).save(part, "WEBP", lossless=True, method=2)
    except (av.FFmpegError, *_BROKEN) as error:
        raise StudioError("file_broken", name=source.name, details=repr(error)) from error


def peaks(source: Path, count: int) -> list[float]:
    """Give the loudest sample of each of `count` equal parts of a sound, 0 to 1."""
    loudest: list[float] = []
    with av.open(str(source)) as container:
        turn = av.AudioResampler(format="flt", layout="mono", rate=8000)
        for frame in container.decode(audio=0):
            for small in turn.resample(frame):
                loudest += _loudest_of(small.to_ndarray()[0], 80)
    if not loudest:
        raise ValueError("no sound in it")
    places = np.linspace(0, len(loudest), count + 1)
    return [
        min(1.0, max(loudest[int(a) : max(int(b), int(a) + 1)], default=0.0))
        for a, b in pairwise(places)
    ]


def _loudest_of(samples: Any, step: int) -> list[float]:
    return [float(np.abs(samples[at : at + step]).max()) for at in range(0, len(samples), step)]


def _drawn(heights: list[float], size: tuple[int, int]) -> Image.Image:
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    pen, middle = ImageDraw.Draw(picture), size[1] / 2
    for number, height in enumerate(heights):
        half = max(1.0, height * (middle - 2))
        pen.rounded_rectangle(
            (number * 4, middle - half, number * 4 + 2, middle + half), 1, fill=_WAVE_COLOUR
        )
    return picture


def _pictures(container: Any) -> Any:
    """Give the first stream of moving pictures, leaving out covers of songs."""
    cover = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & cover), None)


def _made_of(path: Path, picture_kinds: frozenset[str], sound_kinds: frozenset[str]) -> bool:
    try:
        with av.open(str(path)) as container:
            picture = _pictures(container)
            sounds = {s.codec_context.name for s in voices(container)}
            return (
                picture is not None
                and _codec(picture) in picture_kinds
                and picture.pix_fmt in _PLAIN
                and {name.removesuffix("float") for name in sounds} <= sound_kinds
            )
    except (av.FFmpegError, *_BROKEN):
        return False


def _codec(stream: Any) -> str:
    """Name what a stream is coded as, whichever decoder reads it (`libdav1d` reads AV1)."""
    return str(stream.codec_context.codec.canonical_name)


_Line = tuple[Any, Callable[[Any], None], Callable[[], None]]


def _line(made: Any, stream: Any, as_it_is: bool) -> _Line:
    """Give a stream, what is to be done with its packets, and with the end of them."""
    if as_it_is:
        out = made.add_stream_from_template(stream)
        untimed: list[Any] = []

        def pass_on(packet: Any) -> None:
            untimed.append(packet)
            if packet.dts is not None:
                for timed in _timed(untimed):
                    timed.stream = out
                    made.mux(timed)
                untimed.clear()

        return stream, pass_on, lambda: None
    if stream.type == "video":
        quarters = turn_of(stream.container, stream)
        out = _film(made, stream, shown_size(stream, quarters))
    else:
        out, quarters = made.add_stream("aac"), 0
        out.codec_context.sample_rate = min(stream.rate, 48_000)
        out.codec_context.layout = "mono" if stream.channels == 1 else "stereo"

    def code(packet: Any) -> None:
        for frame in packet.decode():
            made.mux(out.encode(_fitted(frame, out, quarters)))

    return stream, code, lambda: made.mux(out.encode(None))


def _timed(packets: list[Any]) -> list[Any]:
    """Give the packets before the first with a decoding time one too, a step apart.

    Matroska keeps none; FFmpeg works them out, but for the first. An empty one ends a stream.
    """
    last = packets[-1]
    for before, packet in enumerate(reversed(packets[:-1]), start=1):
        packet.dts = last.dts - before * (last.duration or 1)
    return [packet for packet in packets if packet.size]


def _film(made: Any, stream: Any, size: tuple[int, int]) -> Any:
    out = made.add_stream("libx264", rate=stream.average_rate or 25)
    out.width, out.height = size[0] // 2 * 2, size[1] // 2 * 2
    out.pix_fmt = "yuv420p"
    out.codec_context.time_base = stream.time_base
    out.options = {"preset": "veryfast", "crf": "18", "threads": "2"}
    return out


def _fitted(frame: Any, out: Any, quarters: int) -> Any:
    if out.type == "audio":
        return frame
    upright = _upright(frame, quarters) if quarters else frame
    fitted = upright.reformat(width=out.width, height=out.height, format="yuv420p")
    fitted.pts, fitted.time_base = frame.pts, frame.time_base
    fitted.pict_type = 0  # the encoder's own choice, not what the source had
    return fitted


def _upright(frame: Any, quarters: int) -> Any:
    """Turn a picture by so many quarters against the clock."""
    pixels = np.rot90(frame.to_ndarray(format="rgb24"), k=quarters)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def _first_bright(container: Any) -> Image.Image:
    stream = _pictures(container)
    if stream is None:
        raise ValueError("no picture in it")
    first = None
    for number, frame in enumerate(container.decode(stream)):
        quarters = turn(frame)
        picture: Image.Image = (_upright(frame, quarters) if quarters else frame).to_image()
        first = first or picture
        if np.asarray(picture.convert("L").resize((16, 16))).mean() > _DARK:
            return picture
        if number >= _LOOKED_AT:
            break
    if first is None:
        raise ValueError("no picture in it")
    return first


@contextmanager
def _whole(into: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `into` when all went well."""
    into.parent.mkdir(parents=True, exist_ok=True)
    part = into.with_name(f"{uuid.uuid4().hex}.part")
    try:
        yield part
        part.replace(into)
    finally:
        part.unlink(missing_ok=True)


def main(source: str, into: str) -> int:
    """Make one copy, at low priority; 0 when it is there."""
    if hasattr(os, "nice"):
        os.nice(10)
    try:
        copy(Path(source), Path(into))
    except (av.FFmpegError, *_BROKEN) as error:
        sys.stderr.write(f"{error!r}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
