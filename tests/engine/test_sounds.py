"""Sound and video coming in: measured by decoding, made what every ComfyUI loads."""

from __future__ import annotations

import wave
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from studio.engine.media import InputFile, Media
from studio.errors import StudioError
from studio.texts import LANGUAGES, explain, has
from tests.engine.films import film, lay_on_its_side, sound


@pytest.fixture
def store(tmp_path: Path) -> Media:
    return Media(tmp_path / "store", max_bytes=20_000_000, max_pixels=1_000_000, max_seconds=40)


def decoded(store: Media, file: InputFile) -> tuple[int, int, float, float]:
    """Give rate, channels, seconds and the loudest sample of what is stored."""
    with av.open(str(store.path("ann", file.ref))) as container:
        stream = container.streams.audio[0]
        parts = [frame.to_ndarray() for frame in container.decode(stream)]
        samples = sum(part.shape[1] for part in parts) / (
            1 if stream.format.is_planar else stream.channels
        )
        loudest = max(float(np.abs(part.astype(float)).max()) for part in parts)
        return stream.rate, stream.channels, samples / stream.rate, loudest


def refused(store: Media, path: Path) -> StudioError:
    with pytest.raises(StudioError) as caught:
        store.take("ann", path, "voice.wav")
    for language in LANGUAGES:
        assert "{" not in "".join(explain(caught.value, language))
    return caught.value


@pytest.mark.parametrize(
    ("form", "codec", "options", "seconds"),
    [
        ("wav", "pcm_s16le", {}, 3.0),
        ("wav", "pcm_s16le", {}, 0.2),
        ("wav", "pcm_s24le", {"rate": 96_000, "layout": "stereo"}, 1.0),
        ("wav", "pcm_f32le", {"rate": 22_050}, 1.0),
        ("flac", "flac", {"layout": "stereo"}, 1.5),
        ("mp3", "libmp3lame", {}, 3.0),
    ],
    ids=["wav", "short", "96-khz", "float", "flac", "mp3"],
)
def test_what_every_comfyui_loads_is_kept_byte_by_byte(
    store: Media, tmp_path: Path, form: str, codec: str, options: dict[str, Any], seconds: float
) -> None:
    given = sound(tmp_path / "given", form, codec, seconds=seconds, **options)

    file = store.take("ann", given, "voice.anything")

    assert store.path("ann", file.ref).read_bytes() == given.read_bytes()
    assert file.ref.endswith(f".{form}")
    assert file.kind == "audio"
    assert file.seconds == pytest.approx(seconds, abs=0.06)
    assert file.notes == ()


@pytest.mark.parametrize(
    ("form", "codec", "options"),
    [
        ("mp4", "aac", {}),
        ("adts", "aac", {}),
        ("ogg", "libopus", {}),
        ("webm", "libopus", {"muxer": {"live": "1"}}),
        ("aiff", "pcm_s16be", {"layout": "stereo"}),
        ("wav", "pcm_s16be", {"layout": "stereo"}),
    ],
    ids=["m4a", "aac", "ogg", "microphone-of-a-browser", "aiff", "odd-wav"],
)
def test_other_sounds_become_flac_of_the_same_length(
    store: Media, tmp_path: Path, form: str, codec: str, options: dict[str, Any]
) -> None:
    if codec == "pcm_s16be" and form == "wav":
        codec = "adpcm_ima_wav"
    given = sound(tmp_path / "given", form, codec, seconds=2.0, **options)

    file = store.take("ann", given, "voice.wav")

    rate, channels, seconds, loudest = decoded(store, file)
    assert (file.mime, file.ref[-5:]) == ("audio/flac", ".flac")
    assert file.seconds == pytest.approx(2.0, abs=0.1)
    assert seconds == pytest.approx(file.seconds, abs=0.03)
    assert rate <= 48_000
    assert channels == (2 if options.get("layout") == "stereo" else 1)
    assert loudest > 8_000


def test_an_mp3_of_variable_rate_without_a_length_is_measured_to_its_end(
    store: Media, tmp_path: Path
) -> None:
    given = sound(
        tmp_path / "long.mp3",
        "mp3",
        "libmp3lame",
        seconds=30.0,
        options={"compression_level": "9"},
        muxer={"write_xing": "0"},
    )

    file = store.take("ann", given, "long.mp3")

    assert file.seconds == pytest.approx(30.0, abs=0.1)
    assert decoded(store, file)[2] == pytest.approx(30.0, abs=0.1)


def test_an_mp3_called_wav_is_an_mp3(store: Media, tmp_path: Path) -> None:
    given = sound(tmp_path / "voice.wav", "mp3", "libmp3lame")

    file = store.take("ann", given, "voice.wav")

    assert (file.mime, file.ref[-4:], file.original_name) == ("audio/mpeg", ".mp3", "voice.wav")


def test_a_silent_sound_is_taken_and_noted(store: Media, tmp_path: Path) -> None:
    given = sound(tmp_path / "quiet.wav", "wav", "pcm_s16le", loudness=0.0)

    file = store.take("ann", given, "quiet.wav")

    assert file.notes == ("note.sound_silent",)
    assert has(file.notes[0])


def test_more_than_two_channels_are_mixed_and_noted(store: Media, tmp_path: Path) -> None:
    given = sound(tmp_path / "cinema.wav", "wav", "pcm_s16le", layout="5.1")

    file = store.take("ann", given, "cinema.wav")

    assert file.notes == ("note.sound_stereo",)
    assert decoded(store, file)[1] == 2


def test_a_sound_without_a_sample_is_refused(store: Media, tmp_path: Path) -> None:
    given = tmp_path / "empty.wav"
    with wave.open(str(given), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)

    assert refused(store, given).code == "media_empty"


def test_a_sound_that_is_too_long_is_refused(store: Media, tmp_path: Path) -> None:
    given = sound(tmp_path / "long.wav", "wav", "pcm_s16le", seconds=41, rate=8000)

    error = refused(store, given)

    assert error.code == "media_too_long"
    assert not list((tmp_path / "store").glob("*/*"))


@pytest.mark.parametrize(("form", "codec"), [("mp4", "aac"), ("ogg", "libopus")])
def test_a_sound_cut_off_in_its_head_is_broken(
    store: Media, tmp_path: Path, form: str, codec: str
) -> None:
    given = sound(tmp_path / "cut", form, codec)
    given.write_bytes(given.read_bytes()[:60])

    assert refused(store, given).code in ("file_broken", "media_empty")


@pytest.mark.parametrize(
    ("form", "codec"), [("mp4", "libx264"), ("webm", "libvpx-vp9"), ("matroska", "mpeg4")]
)
def test_a_video_is_measured_packet_by_packet(
    store: Media, tmp_path: Path, form: str, codec: str
) -> None:
    given = film(tmp_path / "given", form, codec, frames=33, fps=16)

    file = store.take("ann", given, "clip")

    assert (file.kind, file.width_px, file.height_px) == ("video", 64, 48)
    assert file.seconds == pytest.approx(33 / 16, abs=1 / 32)


def test_of_a_video_given_for_a_sound_the_sound_is_taken_and_noted(
    store: Media, tmp_path: Path
) -> None:
    given = film(tmp_path / "clip.mp4", "mp4", "libx264", frames=32, with_sound="aac")

    file = store.take_sound("ann", given, "clip.mp4")

    assert (file.kind, file.mime, file.notes) == ("audio", "audio/flac", ("note.sound_only",))
    assert decoded(store, file)[2] == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_phones_video_is_turned_upright_and_the_mark_is_gone(
    store: Media, tmp_path: Path, degrees: int
) -> None:
    given = film(tmp_path / "given.mp4", "mp4", "libx264", frames=4, with_sound="aac")
    first = first_picture(given)
    wanted = np.rot90(first, k=-degrees // 90)

    file = store.take("ann", lay_on_its_side(given, degrees), "IMG_0042.MOV")

    with av.open(str(store.path("ann", file.ref))) as made:
        frame = next(made.decode(video=0))
        assert frame.rotation == 0
        assert made.streams.audio
    assert (file.mime, file.notes) == ("video/mp4", ("note.video_upright",))
    assert (file.height_px, file.width_px) == wanted.shape[:2]
    assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - wanted).mean() < 12


def first_picture(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)


def test_of_a_video_without_sound_no_sound_is_taken_and_it_is_said_so(
    store: Media, tmp_path: Path
) -> None:
    mute = film(tmp_path / "mute.mp4", "mp4", "libx264", frames=4)

    with pytest.raises(StudioError) as caught:
        store.take_sound("ann", mute, "mute.mp4")

    assert (caught.value.code, caught.value.params["name"]) == ("sound_missing", "mute.mp4")


def test_noise_behind_a_right_head_never_escapes_as_a_foreign_error(
    store: Media, tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    whole = sound(tmp_path / "good.mp4", "mp4", "aac").read_bytes()
    for number in range(30):
        damaged = bytearray(whole)
        for at in rng.integers(30, len(damaged), 20):
            damaged[at] = rng.integers(256)
        path = tmp_path / f"bad{number}"
        path.write_bytes(damaged)
        with suppress(StudioError):
            store.take("ann", path, "bad.m4a")
