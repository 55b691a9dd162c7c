"""Sound and film nodes, through PyAV. It is imported only when one of them runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from studio.practice.nodes.registry import node
from studio.practice.nodes.saving import item, named, temp_prefix, texts
from studio.practice.nodes.scale import bytes_of
from studio.practice.nodes.values import Context, Film, NodeError, Picture, Result, Sound

_MP3 = {"V0": {"q": "1"}, "128k": {"b": "128000"}, "320k": {"b": "320000"}}
_SPEECH_RATE = 24_000
_SIGNS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SECONDS_A_SIGN = 0.31
_SECONDS_A_LETTER = 0.05
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@node("LoadAudio")
def load_audio(ctx: Context, audio: str) -> Sound:
    """Decode a sound file, or the sound of a film."""
    path = ctx.folders.annotated(audio)
    if path is None:
        raise NodeError("FileNotFoundError", f"Invalid file path: {audio}")
    sound = _sound_of(path)
    if sound is None:
        raise NodeError("ValueError", "No audio stream found in the file.")
    return sound


def _sound_of(path: Path) -> Sound | None:
    import av

    try:
        with av.open(str(path)) as file:
            if not file.streams.audio:
                return None
            stream = file.streams.audio[0]
            parts = list(_decoded(file, stream))
            rate = stream.codec_context.sample_rate
    except av.FFmpegError as problem:
        raise NodeError(f"av.error.{type(problem).__name__}", str(problem)) from problem
    if not parts:
        return None
    return Sound(np.concatenate(parts, axis=1), rate)


def _decoded(file: Any, stream: Any) -> Iterator[Any]:
    import av

    plain = av.AudioResampler(format="fltp")
    for frame in file.decode(stream):
        for part in plain.resample(frame):
            yield part.to_ndarray().astype(np.float32)


@node("FL_ChatterboxMultilingualTTS")
def speak(ctx: Context, text: str, audio_prompt: Sound | None = None) -> Result:
    """Hum higher and higher through the text, at the rate of the sample.

    Signs are said slowly and letters quickly, as some voices do: nobody can know before how long a
    text will take. Of marks alone nothing is heard. A real node says nothing of its steps either.
    """
    ctx.work(2 * ctx.pace_s)
    rate = audio_prompt.rate if audio_prompt is not None else _SPEECH_RATE
    signs = len(_SIGNS.findall(text))
    seconds = signs * _SECONDS_A_SIGN + (len(text) - signs) * _SECONDS_A_LETTER
    at = np.arange(round(seconds * rate)) / rate
    pitch = 180 + 200 * at / max(seconds, 1e-3)
    loud = 0.3 if any(char.isalnum() for char in text) else 0.0
    hum = (loud * np.sin(2 * np.pi * np.cumsum(pitch) / rate)).astype(np.float32)
    return Result((Sound(hum[None], rate), "practice speech"))


@node("EmptyAudio")
def empty_audio(duration: float, sample_rate: int, channels: int) -> Sound:
    """Make silence."""
    return Sound(np.zeros((channels, round(duration * sample_rate)), np.float32), sample_rate)


@node("TrimAudioDuration")
def trim_audio_duration(audio: Sound, start_index: float, duration: float) -> Sound:
    """Cut a piece; a start below 0 counts from the end."""
    length = audio.samples.shape[1]
    start = round(start_index * audio.rate)
    start = max(0, min(length + start if start_index < 0 else start, length - 1))
    end = max(0, min(start + round(duration * audio.rate), length))
    if start >= end:
        raise NodeError(
            "ValueError",
            "AudioTrim: Start time must be less than end time and be within the audio length.",
        )
    return Sound(audio.samples[:, start:end], audio.rate)


@node("SaveAudio")
def save_audio(ctx: Context, audio: Sound, filename_prefix: str) -> Result:
    """Write FLAC."""
    return _saved(ctx, audio, filename_prefix, "flac", {})


@node("SaveAudioMP3")
def save_audio_mp3(ctx: Context, audio: Sound, filename_prefix: str, quality: str) -> Result:
    """Write MP3."""
    return _saved(ctx, audio, filename_prefix, "mp3", _MP3[quality])


@node("SaveAudioOpus")
def save_audio_opus(ctx: Context, audio: Sound, filename_prefix: str, quality: str) -> Result:
    """Write Opus, at a rate it knows."""
    rate = quality.removesuffix("k") + "000"
    return _saved(ctx, audio, filename_prefix, "opus", {"b": rate})


@node("PreviewAudio")
def preview_audio(ctx: Context, audio: Sound) -> Result:
    """Write FLAC into the temp folder."""
    return _saved(ctx, audio, temp_prefix(ctx), "flac", {}, kind="temp")


def _saved(
    ctx: Context,
    audio: Sound,
    prefix: str,
    ending: str,
    options: dict[str, str],
    kind: str = "output",
) -> Result:
    import av

    names = named(ctx, prefix, kind=kind)
    filename = names.name(0, ending)
    codec = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}[ending]
    rate = audio.rate
    if ending == "opus":
        rate = next((one for one in _OPUS_RATES if one >= rate), _OPUS_RATES[-1])
    with av.open(str(names.folder / filename), "w") as file:
        for key, value in texts(ctx):
            file.metadata[key] = value
        stream: Any = file.add_stream(codec, rate=rate, options=options)
        stream.layout = _layout(audio)
        _encode_sound(file, stream, audio)
    return Result(ui={"audio": [item(names, filename, kind)]})


def _layout(audio: Sound) -> str:
    return "mono" if audio.samples.shape[0] == 1 else "stereo"


def _encode_sound(file: Any, stream: Any, audio: Sound) -> None:
    """Send samples through the encoder in pieces it takes, in its own format and rate."""
    import av

    # Interleaved floats go into one plane, which every layout shares.
    packed = np.ascontiguousarray(audio.samples.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=_layout(audio))
    frame.sample_rate = audio.rate
    frame.pts = 0
    context = stream.codec_context
    fitting = av.AudioResampler(
        format=context.format, layout=_layout(audio), rate=context.sample_rate
    )
    fifo = av.AudioFifo()
    for part in [*fitting.resample(frame), *fitting.resample(None)]:
        fifo.write(part)
    size = context.frame_size or 4096
    while (piece := fifo.read(size)) is not None or (piece := fifo.read(0, True)) is not None:
        file.mux(stream.encode(piece))
    file.mux(stream.encode(None))


@node("CreateVideo")
def create_video(images: Picture, fps: float, audio: Sound | None = None) -> Film:
    """Join frames and sound."""
    return Film(Fraction(fps).limit_denominator(1000), images, audio)


@node("LoadVideo")
def load_video(ctx: Context, file: str) -> Film:
    """Name a film; it is opened when somebody needs its frames."""
    path = ctx.folders.annotated(file)
    if path is None:
        raise NodeError("FileNotFoundError", f"Invalid file path: {file}")
    return Film(Fraction(0), path=path)


@node("GetVideoComponents")
def get_video_components(video: Film) -> Result:
    """Part a film into frames, sound and rate."""
    frames, fps = video.frames, video.fps
    sound = video.sound
    if frames is None:
        frames, fps = _frames_of(video.path)
        sound = _sound_of(video.path) if video.path is not None else None
    return Result((frames, sound, float(fps)))


def _frames_of(path: Path | None) -> tuple[Picture, Fraction]:
    import av

    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
            fps = stream.average_rate or Fraction(1)
    except (av.FFmpegError, IndexError) as problem:
        raise NodeError("ValueError", f"No video stream found in file '{path}'") from problem
    return np.stack(frames), Fraction(fps)


@node("SaveVideo")
def save_video(ctx: Context, video: Film, filename_prefix: str) -> Result:
    """Write MP4 with h264 and AAC, all there is to choose; a loaded MP4 is passed on as it is."""
    picture = video.frames
    if picture is None:
        picture = _frames_of(video.path)[0]
    names = named(ctx, filename_prefix, picture=picture)
    filename = names.name(0, "mp4")
    if video.path is not None and video.path.suffix.lower() == ".mp4":
        shutil.copyfile(video.path, names.folder / filename)
    else:
        film = video if video.path is None else _opened(video)
        _write_film(names.folder / filename, film, dict(texts(ctx)))
    return Result(ui={"images": [item(names, filename)], "animated": [True]})


def _opened(video: Film) -> Film:
    assert video.path is not None, "only a loaded film has to be opened"  # noqa: S101
    frames, fps = _frames_of(video.path)
    return Film(fps, frames, _sound_of(video.path))


def _write_film(path: Path, film: Film, about: dict[str, str]) -> None:
    import av

    assert film.frames is not None, "a film to write has frames"  # noqa: S101
    try:
        with av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as file:
            for key, value in about.items():
                file.metadata[key] = json.dumps(json.loads(value))
            picture = _film_stream(file, film, "libx264", "yuv420p", {})
            sound = _sound_stream(file, film.sound)
            _encode_frames(file, picture, film.frames)
            if film.sound is not None:
                # Sound ends with the pictures; it is not looped or padded.
                keep = int(len(film.frames) / film.fps * film.sound.rate)
                cut = Sound(film.sound.samples[:, :keep], film.sound.rate)
                _encode_sound(file, sound, cut)
    except av.FFmpegError as problem:
        raise NodeError(f"av.error.{type(problem).__name__}", str(problem)) from problem


def _film_stream(file: Any, film: Film, codec: str, pix_fmt: str, options: dict[str, str]) -> Any:
    assert film.frames is not None, "a film to write has frames"  # noqa: S101
    stream = file.add_stream(codec, rate=film.fps, options=options)
    stream.height, stream.width = film.frames.shape[1:3]
    stream.pix_fmt = pix_fmt
    return stream


def _sound_stream(file: Any, sound: Sound | None) -> Any:
    if sound is None:
        return None
    stream = file.add_stream("aac", rate=sound.rate)
    stream.layout = _layout(sound)
    return stream


def _encode_frames(file: Any, stream: Any, frames: Picture) -> None:
    import av

    for one in frames:
        frame = av.VideoFrame.from_ndarray(bytes_of(one)[..., :3].copy(), format="rgb24")
        file.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
    file.mux(stream.encode(None))


@node("SaveWEBM")
def save_webm(
    ctx: Context, images: Picture, filename_prefix: str, codec: str, fps: float, crf: float
) -> Result:
    """Write WEBM with VP9 or AV1."""
    import av

    names = named(ctx, filename_prefix, picture=images)
    filename = names.name(0, "webm")
    encoder = {"vp9": "libvpx-vp9", "av1": "libsvtav1"}[codec]
    film = Film(Fraction(round(fps * 1000), 1000), images)
    try:
        with av.open(str(names.folder / filename), "w") as file:
            for key, value in texts(ctx):
                file.metadata[key] = value
            options = {"crf": str(int(crf)), "b": "0"}
            _encode_frames(file, _film_stream(file, film, encoder, "yuv420p", options), images)
    except av.FFmpegError as problem:
        raise NodeError(f"av.error.{type(problem).__name__}", str(problem)) from problem
    return Result(ui={"images": [item(names, filename)], "animated": [True]})
