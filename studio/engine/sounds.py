"""Sound and video as people bring them: measured by decoding, made what every ComfyUI can load.

The one rule for sound: ComfyUI's LoadAudio is given WAV (PCM), FLAC or MP3, mono or stereo, since
older versions load nothing else surely. WAV, FLAC and MP3 that are so already are kept byte by
byte; an MP3 whose header lies about its length, and everything else, becomes FLAC with the same
sound, at most 48 kHz. More than two channels are mixed to two, and noted.

A video that lies on its side, as phones store it, becomes an upright copy: not every ComfyUI heeds
the mark that says how to turn it. So does one with a sound that only its maker decodes, without it.

A length is never believed from a header: recordings of browsers have none, and that of an MP3 with
a variable rate is a guess. Of a sound every sample is counted; of a video every packet, and its
first picture is decoded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from studio.engine import playable
from studio.engine.later import Later
from studio.errors import StudioError

if TYPE_CHECKING:
    import av
    import av.audio.frame
    import av.audio.resampler
    import av.audio.stream
    import av.container
    import av.video.stream
else:
    av = Later("av")

NOTE_SILENT: Final = "note.sound_silent"
NOTE_STEREO: Final = "note.sound_stereo"
NOTE_SOUND_ONLY: Final = "note.sound_only"
NOTE_UPRIGHT: Final = "note.video_upright"

_PCM: Final = frozenset({"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8"})
_KEPT: Final = {"wav": _PCM, "flac": frozenset({"flac"}), "mp3": frozenset({"mp3", "mp3float"})}
_HIGHEST_HZ: Final = 48_000
_LOWEST_HZ: Final = 4_000
_HEARD: Final = 1e-4
"""Of full scale: what never leaves this is silence, dither and all."""
_AGREE_S: Final = 0.1
_JOINED: Final = ("mp3", "aac")
"""Streams of frames that each begin anew: two files laid end to end are one."""
_HEARD_PER_LOST: Final = 10
_MOST_SIDE_PX: Final = 16_384


class EmptyStreamError(ValueError):
    """The file is sound in form and holds no picture and no sample."""


class NoSoundError(ValueError):
    """The file is a video without any sound, and its sound was wanted."""


class TooLongError(ValueError):
    """The sound or video is longer than may be."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured. `keep` tells whether the bytes may be given to ComfyUI as they are."""

    kind: str
    seconds: float
    width_px: int = 0
    height_px: int = 0
    keep: bool = True
    notes: tuple[str, ...] = ()


def facts_of(source: Path, demuxer: str, *, max_seconds: float, sound_only: bool = False) -> Facts:
    """Measure a sound or video file; `sound_only` measures the sound of a video.

    The demuxer is named: left to guess, FFmpeg would also follow playlists to other places. Raises
    `TooLongError`, `EmptyStreamError`, `NoSoundError` and FFmpeg's errors.
    """
    with av.open(str(source), format=demuxer) as container:
        pictures = [s for s in container.streams.video if not _cover(s)]
        if pictures and sound_only:
            if not playable.voices(container):
                raise NoSoundError
            facts = _sound(container, demuxer, max_seconds)
            return replace(facts, keep=False, notes=(*facts.notes, NOTE_SOUND_ONLY))
        if pictures:
            return _video(container, pictures[0], max_seconds)
        if playable.voices(container):
            return _sound(container, demuxer, max_seconds)
    raise EmptyStreamError


def write_flac(source: Path, demuxer: str, into: BinaryIO) -> None:
    """Write the first sound of a file as FLAC, mono or stereo, at most 48 kHz."""
    with av.open(str(source), format=demuxer) as given:
        stream = playable.voices(given)[0]
        rate = min(max(stream.rate, _LOWEST_HZ), _HIGHEST_HZ)
        layout = "mono" if stream.channels == 1 else "stereo"
        deep = stream.format.bytes > 2 and stream.codec_context.name in ("flac", *_PCM)
        shape = "s32" if deep else "s16"
        with av.open(into, "w", format="flac") as made:
            out = made.add_stream("flac", rate=rate, layout=layout)
            out.format = shape
            frames = _decoded(given, stream, demuxer, [])
            for frame in _resampled(frames, shape, layout, rate):
                made.mux(out.encode(frame))
            made.mux(out.encode(None))


def _decoded(
    container: av.container.InputContainer,
    stream: av.audio.stream.AudioStream,
    demuxer: str,
    lost: list[Exception],
) -> Iterator[av.audio.frame.AudioFrame]:
    """Decode a sound; where two were joined, a few packets make no sense and are put into `lost`.

    Raises the first of these errors when it was more than a few.
    """
    heard = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError as error:
            if demuxer not in _JOINED:
                raise
            lost.append(error)
            continue
        heard += len(frames)
        yield from frames
    if len(lost) * _HEARD_PER_LOST > heard:
        raise lost[0]


def _resampled(
    frames: Iterator[av.audio.frame.AudioFrame], shape: str, layout: str, rate: int
) -> Iterator[av.audio.frame.AudioFrame]:
    """Bring all to one form; joined sounds change their rate and channels on the way."""
    at = 0
    for turn, given in _turning(frames, shape, layout, rate):
        for frame in turn.resample(given):
            # Counted anew: a gap or a step back in time would be an error to the encoder.
            frame.pts = at
            at += frame.samples
            yield frame


def _turning(
    frames: Iterator[av.audio.frame.AudioFrame], shape: str, layout: str, rate: int
) -> Iterator[tuple[av.audio.resampler.AudioResampler, av.audio.frame.AudioFrame | None]]:
    """Give each frame with its resampler, which takes one form alone; None empties it."""
    turn: av.audio.resampler.AudioResampler | None = None
    form: tuple[str, str, int] | None = None
    for frame in frames:
        now = (frame.format.name, frame.layout.name, frame.sample_rate)
        if turn is None or now != form:
            if turn is not None:
                yield turn, None
            turn, form = av.AudioResampler(format=shape, layout=layout, rate=rate), now
        yield turn, frame
    if turn is not None:
        yield turn, None


def _sound(container: av.container.InputContainer, demuxer: str, max_seconds: float) -> Facts:
    stream = playable.voices(container)[0]
    said_s = _said_s(container)
    samples: Counter[int] = Counter()
    lost: list[Exception] = []
    seconds = loudest = 0.0
    for frame in _decoded(container, stream, demuxer, lost):
        samples[frame.sample_rate] += frame.samples
        seconds = sum(count / rate for rate, count in samples.items())
        if seconds > max_seconds:
            raise TooLongError
        loudest = max(loudest, _loudest(frame))
    if not seconds:
        raise EmptyStreamError
    wide = stream.channels > 2
    usual = stream.codec_context.name in _KEPT.get(demuxer, ())
    true = demuxer != "mp3" or abs(said_s - seconds) <= _AGREE_S
    whole = not lost and len(samples) == 1
    notes = (NOTE_STEREO,) * wide + (NOTE_SILENT,) * (loudest < _HEARD)
    return Facts("audio", seconds, keep=usual and true and whole and not wide, notes=notes)


def _loudest(frame: av.audio.frame.AudioFrame) -> float:
    """Give the largest absolute sample of a frame, 1.0 = full scale."""
    samples = frame.to_ndarray()
    if samples.dtype.kind == "u":
        return float(np.abs(samples.astype(np.int16) - 128).max(initial=0)) / 128
    full = 1.0 if samples.dtype.kind == "f" else 2.0 ** (8 * samples.dtype.itemsize - 1)
    return max(float(samples.max(initial=0)), -float(samples.min(initial=0))) / full


def _video(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, max_seconds: float
) -> Facts:
    if not all(0 < side <= _MOST_SIDE_PX for side in (stream.width, stream.height)):
        raise EmptyStreamError
    if _said_s(container) > max_seconds:
        raise TooLongError
    first = next(iter(container.decode(stream)), None)
    if first is None:
        raise EmptyStreamError
    container.seek(0)
    seconds = length_s(container, stream)
    if seconds > max_seconds:
        raise TooLongError
    turn = playable.turn(first)
    width, height = playable.shown_size(stream, turn)
    # A ComfyUI of before July 2026 dies of a sound that it has no decoder for.
    known = len(playable.voices(container)) == len(container.streams.audio)
    keep = known and not turn
    return Facts("video", seconds, width, height, keep, (NOTE_UPRIGHT,) * bool(turn))


def length_s(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream | av.audio.stream.AudioStream,
) -> float:
    """Give the seconds from the first to the end of the last packet of a stream, 0 if untimed."""
    first: int | None = None
    end, count, last_step = 0, 0, 0
    for packet in container.demux(stream):
        if packet.pts is None or not packet.size:
            continue
        count += 1
        first = packet.pts if first is None else min(first, packet.pts)
        if packet.pts + (packet.duration or 0) > end:
            last_step = packet.duration or 0
            end = packet.pts + last_step
    if first is None or stream.time_base is None:
        return 0.0
    if not last_step and count > 1:
        end += (end - first) // (count - 1)  # no durations in it: the last one lasts as the others
    return float((end - first) * stream.time_base)


def _said_s(container: av.container.InputContainer) -> float:
    return container.duration / av.time_base if container.duration else 0.0


def _cover(stream: av.video.stream.VideoStream) -> bool:
    """Tell a cover picture inside a song, a video stream of one frame, from a video."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def refusal(error: Exception, name: str, max_seconds: float) -> StudioError:
    """Make what `facts_of` raised the error a person reads."""
    if isinstance(error, TooLongError):
        return StudioError("media_too_long", name=name, max_minutes=f"{max_seconds / 60:g}")
    if isinstance(error, NoSoundError):
        return StudioError("sound_missing", name=name)
    if isinstance(error, EmptyStreamError):
        return StudioError("media_empty", name=name)
    return StudioError("file_broken", name=name, details=repr(error))
