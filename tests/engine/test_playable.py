"""Videos and sounds for the page: what plays, copies of what does not, posters, waveforms."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from studio.engine import playable
from studio.engine.darkroom import Darkroom
from studio.engine.jobs import Output
from studio.engine.store import Store
from studio.errors import StudioError
from studio.texts import has
from tests.engine.films import film, lay_on_its_side, sound

Keep = Callable[[Path, str, str], Output]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "outputs")


@pytest.fixture
def keep(tmp_path: Path) -> Keep:
    """Give a file as the store keeps it."""

    def keeper(source: Path, kind: str, mime: str) -> Output:
        path = f"2026/11/25/job/1/{source.name}"
        kept = tmp_path / "outputs" / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        source.rename(kept)
        size = kept.stat().st_size
        return Output(0, "9", kind, source.name, path, mime, size)

    return keeper


@pytest.fixture
def darkroom(store: Store) -> Any:
    room = Darkroom(store)
    yield room
    room.stop()


def streams(path: Path) -> tuple[str, str, tuple[int, int], int, list[str]]:
    """Give picture codec, pixel format, size, number of pictures, and sound codecs."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        sounds = [one.codec_context.name for one in container.streams.audio]
        count = sum(1 for _ in container.decode(stream))
        return (
            stream.codec_context.name,
            str(stream.pix_fmt),
            (stream.width, stream.height),
            count,
            sounds,
        )


def starts_at_once(path: Path) -> bool:
    data = path.read_bytes()
    return data.index(b"moov") < data.index(b"mdat")


UNPLAYABLE = [
    ("mp4", "libx265", "yuv420p10le", "video/mp4"),
    ("mp4", "libx264", "yuv444p", "video/mp4"),
    ("mp4", "mpeg4", "yuv420p", "video/mp4"),
    ("matroska", "ffv1", "yuv420p", "video/x-matroska"),
]
QUIET = {"x265-params": "log-level=none"}


@pytest.mark.parametrize(
    ("form", "codec", "pix_fmt", "mime"), UNPLAYABLE, ids=lambda value: str(value)
)
def test_what_no_browser_plays_gets_a_copy_and_stays_as_it_is(
    darkroom: Darkroom, keep: Keep, tmp_path: Path, form: str, codec: str, pix_fmt: str, mime: str
) -> None:
    options = QUIET if codec == "libx265" else {}
    given = film(
        tmp_path / "001.mp4", form, codec, pix_fmt, frames=20, with_sound="aac", options=options
    )
    before = given.read_bytes()
    output = keep(given, "video", mime)

    shown = darkroom.play(output)

    assert (shown.original, shown.mime, shown.note) == (False, "video/mp4", "note.copy_shown")
    assert streams(shown.path) == ("h264", "yuv420p", (64, 48), 20, ["aac"])
    assert starts_at_once(shown.path)
    assert playable.plays(shown.path, "video/mp4")
    assert (tmp_path / "outputs" / output.path).read_bytes() == before


@pytest.mark.parametrize(
    ("form", "codec", "mime"),
    [("mp4", "libx264", "video/mp4"), ("webm", "libvpx-vp9", "video/webm")],
)
def test_what_plays_is_shown_as_it_is(
    darkroom: Darkroom, keep: Keep, tmp_path: Path, form: str, codec: str, mime: str
) -> None:
    output = keep(film(tmp_path / "001", form, codec), "video", mime)

    shown = darkroom.play(output)

    assert (shown.original, shown.mime) == (True, mime)
    assert shown.path == tmp_path / "outputs" / output.path


def test_a_good_film_in_an_odd_container_is_copied_picture_by_picture(
    darkroom: Darkroom, keep: Keep, tmp_path: Path
) -> None:
    given = film(tmp_path / "001.mkv", "matroska", "libx264", frames=24, with_sound="aac")
    with av.open(str(given)) as container:
        packets = [bytes(p) for p in container.demux(video=0) if p.size]
    output = keep(given, "video", "video/x-matroska")

    shown = darkroom.play(output)

    with av.open(str(shown.path)) as container:
        assert [bytes(p) for p in container.demux(video=0) if p.size] == packets
    assert starts_at_once(shown.path)


def test_odd_sides_lose_a_pixel(tmp_path: Path) -> None:
    given = film(tmp_path / "odd.mp4", "mp4", "libx264", "yuv444p", size=(65, 49))

    playable.copy(given, tmp_path / "copy.mp4")

    assert streams(tmp_path / "copy.mp4")[2] == (64, 48)


def test_a_copy_lasts_as_long_as_its_original(tmp_path: Path) -> None:
    given = film(tmp_path / "a.mp4", "mp4", "mpeg4", frames=33, fps=16, with_sound="aac")

    playable.copy(given, tmp_path / "copy.mp4")

    assert playable.measure(tmp_path / "copy.mp4")[2] == pytest.approx(33 / 16, abs=0.07)


def test_an_encoder_that_fails_leaves_the_original_and_a_note(
    darkroom: Darkroom, keep: Keep, tmp_path: Path
) -> None:
    broken = tmp_path / "001.mp4"
    broken.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(500))
    output = keep(broken, "video", "video/mp4")

    for _ in range(2):
        shown = darkroom.play(output)

        assert shown.original
        assert shown.path == tmp_path / "outputs" / output.path
        assert has(shown.note)
    assert darkroom.note(output) == shown.note
    assert not list(shown.path.parent.glob(".play/*.part"))


def test_an_encoder_that_dies_is_tried_once_and_takes_nothing_with_it(
    store: Store, keep: Keep, tmp_path: Path
) -> None:
    tried = []

    def dies(source: Path, into: Path) -> str:
        tried.append((source, into))
        return "ended with -11"

    room = Darkroom(store, encode=dies)
    output = keep(film(tmp_path / "001.mp4", "mp4", "mpeg4"), "video", "video/mp4")

    assert [room.play(output).original for _ in range(3)] == [True, True, True]
    assert len(tried) == 1


def test_no_ffmpeg_on_the_path_is_no_matter(
    darkroom: Darkroom, keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    output = keep(film(tmp_path / "001.mp4", "mp4", "mpeg4"), "video", "video/mp4")

    assert not darkroom.play(output).original


def test_an_encoder_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    given = film(tmp_path / "a.mp4", "mp4", "mpeg4")

    assert playable.copy_apart(given, tmp_path / "b.mp4", at_most_s=0.001)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_of_many_askers_one_makes_the_copy(store: Store, keep: Keep, tmp_path: Path) -> None:
    made = []

    def encode(source: Path, into: Path) -> str:
        made.append(source)
        into.parent.mkdir(parents=True, exist_ok=True)
        playable.copy(source, into)
        return ""

    room = Darkroom(store, encode=encode)
    output = keep(film(tmp_path / "001.mp4", "mp4", "mpeg4"), "video", "video/mp4")
    askers = [threading.Thread(target=room.play, args=(output,)) for _ in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(timeout=20)

    assert len(made) == 1


def test_a_completed_job_is_made_fit_to_show_without_being_asked(
    store: Store, keep: Keep, tmp_path: Path
) -> None:
    done = threading.Event()

    def encode(source: Path, into: Path) -> str:
        into.parent.mkdir(parents=True, exist_ok=True)
        into.write_bytes(source.read_bytes())
        done.set()
        return ""

    room = Darkroom(store, encode=encode)
    output = keep(film(tmp_path / "001.mp4", "mp4", "mpeg4"), "video", "video/mp4")

    room.develop([output])

    assert done.wait(10)
    room.stop()
    assert (tmp_path / "outputs/2026/11/25/job/1/.thumbs/001.mp4.webp").is_file()


def test_a_poster_shows_the_film_and_not_its_dark_start(
    darkroom: Darkroom, keep: Keep, tmp_path: Path
) -> None:
    given = film(tmp_path / "001.mp4", "mp4", "libx264", frames=20, dark=8, size=(800, 400))
    output = keep(given, "video", "video/mp4")

    small = darkroom.small(output)

    with Image.open(small) as poster:
        assert poster.format == "WEBP"
        assert poster.size == (512, 256)
        assert np.asarray(poster.convert("RGB")).mean() > 40


def test_a_dark_film_has_a_poster_too(darkroom: Darkroom, keep: Keep, tmp_path: Path) -> None:
    given = film(tmp_path / "001.mp4", "mp4", "libx264", frames=6, dark=6)

    assert darkroom.small(keep(given, "video", "video/mp4")).is_file()


def test_a_waveform_shows_where_it_is_loud(darkroom: Darkroom, keep: Keep, tmp_path: Path) -> None:
    given = sound(tmp_path / "001.flac", "flac", "flac", seconds=2.0, loudness=0.8)
    output = keep(given, "audio", "audio/flac")

    with Image.open(darkroom.small(output)) as wave:
        assert (wave.format, wave.size) == ("WEBP", playable.WAVE_PX)
        drawn = np.asarray(wave.convert("RGBA"))[:, :, 3] > 0
    assert drawn.mean() > 0.3
    assert playable.peaks(tmp_path / "outputs" / output.path, 10) == pytest.approx(
        [0.8] * 10, abs=0.1
    )


def test_a_broken_file_has_nothing_small(darkroom: Darkroom, keep: Keep, tmp_path: Path) -> None:
    for kind, mime in (("video", "video/mp4"), ("audio", "audio/wav"), ("image", "image/png")):
        broken = tmp_path / f"{kind}.bin"
        broken.write_bytes(b"nothing of the kind")
        output = keep(broken, kind, mime)

        with pytest.raises(StudioError) as caught:
            darkroom.small(output)
        assert caught.value.code == "file_broken"


@pytest.mark.parametrize(
    ("make", "measures"),
    [
        (lambda p: film(p, "mp4", "libx264", frames=32, fps=16), (64, 48, 2.0)),
        (lambda p: film(p, "webm", "libvpx-vp9", frames=32, fps=16), (64, 48, 2.0)),
        (lambda p: sound(p, "flac", "flac", seconds=1.5), (0, 0, 1.5)),
        (lambda p: sound(p, "mp3", "libmp3lame", seconds=1.5), (0, 0, 1.5)),
    ],
    ids=["mp4", "webm", "flac", "mp3"],
)
def test_kept_films_and_sounds_have_size_and_length(
    store: Store, tmp_path: Path, make: Callable[[Path], Path], measures: tuple[int, int, float]
) -> None:
    given = make(tmp_path / "given")
    with store.draft("job", 1, datetime.date(2026, 11, 25)) as draft:
        with draft.add("9", "any.bin") as into:
            into.write(given.read_bytes())
        [output] = draft.keep()

    assert (output.width_px, output.height_px) == measures[:2]
    assert output.seconds == pytest.approx(measures[2], abs=0.06)


def test_a_broken_film_is_kept_without_measures(store: Store) -> None:
    with store.draft("job", 1, datetime.date(2026, 11, 25)) as draft:
        with draft.add("9", "a.mp4") as into:
            into.write(b"\x00\x00\x00\x18ftypisom" + bytes(500))
        [output] = draft.keep()

    assert (output.kind, output.width_px, output.seconds) == ("video", 0, 0.0)


def test_what_lies_on_its_side_is_copied_and_shown_upright(tmp_path: Path) -> None:
    given = film(tmp_path / "given.mp4", "mp4", "libx264", frames=4)
    lay_on_its_side(given, 90)

    playable.copy(given, tmp_path / "copy.mp4")
    playable.poster(given, tmp_path / "poster.webp")

    assert playable.measure(given)[:2] == (48, 64)
    assert streams(tmp_path / "copy.mp4")[2] == (48, 64)
    with Image.open(tmp_path / "poster.webp") as poster:
        assert poster.size == (48, 64)
