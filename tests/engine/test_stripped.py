"""Copies without metadata: what is seen and heard stays, what is written beside it goes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from studio.engine import stripped
from studio.errors import StudioError
from tests.engine.films import film, sound

MARK = "SECRET-PROMPT"
Make = Callable[[Path], Path]


def _picture() -> Image.Image:
    pixels = np.arange(40 * 30 * 3, dtype=np.uint32).reshape(30, 40, 3) * 7 % 251
    return Image.fromarray(pixels.astype(np.uint8))


def _exif(turn: int = 0) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{MARK}"
    if turn:
        exif[0x0112] = turn
    return exif


def png(path: Path) -> Path:
    info = PngInfo()
    info.add_text("prompt", MARK)
    info.add_text("workflow", MARK * 50, zip=True)
    info.add_itxt("XML:com.adobe.xmp", MARK)
    info.add(b"coMF", MARK.encode(), after_idat=True)
    _picture().save(path, "PNG", pnginfo=info, exif=_exif())
    path.write_bytes(path.read_bytes() + MARK.encode())
    return path


def moving_png(path: Path) -> Path:
    first, second = _picture(), ImageOps.invert(_picture())
    info = PngInfo()
    info.add_text("prompt", MARK)
    first.save(path, "PNG", save_all=True, append_images=[second], duration=100, pnginfo=info)
    return path


def jpeg(path: Path) -> Path:
    _picture().save(path, "JPEG", quality=90, exif=_exif(), comment=MARK, progressive=True)
    path.write_bytes(path.read_bytes() + MARK.encode())
    return path


def webp(path: Path) -> Path:
    _picture().save(path, "WEBP", lossless=True, exif=_exif(), xmp=MARK.encode())
    return path


def moving_webp(path: Path) -> Path:
    more = [ImageOps.invert(_picture())]
    _picture().save(path, "WEBP", save_all=True, append_images=more, exif=_exif(), duration=100)
    return path


def gif(path: Path) -> Path:
    more = [ImageOps.invert(_picture())]
    _picture().save(path, "GIF", save_all=True, append_images=more, comment=MARK.encode(), loop=0)
    return path


def tagged(write: Make, form: str, options: dict[str, str] | None = None) -> Make:
    """Make a file, and lay its streams into a container that carries a prompt."""

    def make(path: Path) -> Path:
        plain = write(path.with_name(f"plain-{path.name}"))
        with (
            av.open(str(plain)) as given,
            av.open(str(path), "w", format=form, options=options or {}) as made,
        ):
            made.metadata["prompt"] = MARK
            made.metadata["title"] = MARK
            made.metadata["comment"] = MARK
            streams: dict[int, Any] = {}
            for one in given.streams:
                streams[one.index] = made.add_stream_from_template(one)
                streams[one.index].metadata["title"] = MARK
            for packet in given.demux():
                if packet.dts is not None:
                    packet.stream = streams[packet.stream.index]
                    made.mux(packet)
        return path

    return make


def wav(path: Path) -> Path:
    tagged(lambda p: sound(p, "wav", "pcm_s16le"), "wav")(path)
    data = path.read_bytes() + b"id3 " + struct.pack("<I", len(MARK) + 1) + MARK.encode() + b"\0"
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    return path


def mp3(path: Path) -> Path:
    return tagged(lambda p: sound(p, "mp3", "mp3"), "mp3", {"write_id3v1": "1"})(path)


_TRY = {"strict": "experimental"}
CASES: dict[str, tuple[str, Make]] = {
    "png": ("image/png", png),
    "apng": ("image/png", moving_png),
    "jpeg": ("image/jpeg", jpeg),
    "webp": ("image/webp", webp),
    "awebp": ("image/webp", moving_webp),
    "gif": ("image/gif", gif),
    "wav": ("audio/wav", wav),
    "flac": ("audio/flac", tagged(lambda p: sound(p, "flac", "flac"), "flac")),
    "mp3": ("audio/mpeg", mp3),
    "opus": ("audio/ogg", tagged(lambda p: sound(p, "ogg", "libopus"), "ogg")),
    "vorbis": (
        "audio/ogg",
        tagged(lambda p: sound(p, "ogg", "vorbis", layout="stereo", options=_TRY), "ogg"),
    ),
    "m4a": ("audio/mp4", tagged(lambda p: sound(p, "ipod", "aac"), "ipod")),
    "mp4": (
        "video/mp4",
        tagged(
            lambda p: film(p, "mp4", "libx264", with_sound="aac"),
            "mp4",
            {"movflags": "use_metadata_tags"},
        ),
    ),
    "mp4-front": (
        "video/mp4",
        tagged(lambda p: film(p, "mp4", "libx264"), "mp4", {"movflags": "faststart"}),
    ),
    "mp4-pieces": (
        "video/mp4",
        tagged(lambda p: film(p, "mp4", "libx264"), "mp4", {"movflags": "frag_keyframe"}),
    ),
    "mov": (
        "video/quicktime",
        tagged(lambda p: film(p, "mov", "libx264", with_sound="pcm_s16le"), "mov"),
    ),
    "webm": (
        "video/webm",
        tagged(lambda p: film(p, "webm", "libvpx-vp9", with_sound="libopus"), "webm"),
    ),
    "mkv": (
        "video/x-matroska",
        tagged(lambda p: film(p, "matroska", "libx264", with_sound="flac"), "matroska"),
    ),
}


def seen(path: Path, mime: str) -> str:
    """Digest what is seen and heard, with its times."""
    found = hashlib.sha256()
    if mime.startswith("image/"):
        with Image.open(path) as picture:
            for number in range(getattr(picture, "n_frames", 1)):
                picture.seek(number)
                found.update(picture.convert("RGBA").tobytes())
                found.update(repr(picture.info.get("duration")).encode())
        return found.hexdigest()
    with av.open(str(path)) as container:
        for frame in container.decode():
            found.update(repr((frame.pts, frame.time_base)).encode())
            found.update(np.ascontiguousarray(frame.to_ndarray()).tobytes())  # type: ignore[union-attr]
        for stream in container.streams:
            found.update(repr((stream.type, stream.codec_context.name)).encode())
    return found.hexdigest()


@pytest.mark.parametrize("name", CASES)
def test_metadata_goes_and_what_is_seen_and_heard_stays(name: str, tmp_path: Path) -> None:
    mime, make = CASES[name]
    source = make(tmp_path / f"with.{name}")
    assert MARK.encode() in source.read_bytes()
    before = source.read_bytes()

    stripped.copy(source, tmp_path / "out" / name, mime)

    out = tmp_path / "out" / name
    assert MARK.encode() not in out.read_bytes()
    assert seen(out, mime) == seen(source, mime)
    assert source.read_bytes() == before
    assert [one.name for one in out.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", ["mp4", "webm", "opus", "flac", "mp3", "mkv", "m4a", "wav"])
def test_no_tag_of_the_maker_is_left(name: str, tmp_path: Path) -> None:
    mime, make = CASES[name]
    stripped.copy(make(tmp_path / f"with.{name}"), tmp_path / name, mime)

    with av.open(str(tmp_path / name)) as container:
        tags = dict(container.metadata)
        for stream in container.streams:
            tags |= stream.metadata
    kept = {"major_brand", "minor_version", "compatible_brands", "encoder", "handler_name"}
    assert set(map(str.lower, tags)) <= kept | {"vendor_id", "language", "duration"}


@pytest.mark.parametrize(
    ("kind", "mime"), [("JPEG", "image/jpeg"), ("WEBP", "image/webp"), ("PNG", "image/png")]
)
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_picture_stays_turned_and_says_nothing_else(
    kind: str, mime: str, turn: int, tmp_path: Path
) -> None:
    _picture().save(tmp_path / "a", kind, exif=_exif(turn))

    stripped.copy(tmp_path / "a", tmp_path / "b", mime)

    with Image.open(tmp_path / "a") as given, Image.open(tmp_path / "b") as made:
        assert set(made.getexif()) == ({0x0112} if turn > 1 else set())
        wanted = ImageOps.exif_transpose(given).tobytes()
        assert ImageOps.exif_transpose(made).tobytes() == wanted
    assert MARK.encode() not in (tmp_path / "b").read_bytes()


def test_tags_of_other_programs_behind_a_sound_go_too(tmp_path: Path) -> None:
    data = mp3(tmp_path / "a").read_bytes()
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + len(MARK), 1, 0) + bytes(8)
    (tmp_path / "b").write_bytes(data[:-128] + MARK.encode() + ape + data[-128:])

    for name in ("a", "b"):
        stripped.copy(tmp_path / name, tmp_path / f"{name}.mp3", "audio/mpeg")

    assert (tmp_path / "a.mp3").read_bytes() == (tmp_path / "b.mp3").read_bytes()
    assert data[-128:-125] == b"TAG"


def test_a_colour_profile_stays(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind, mime in (("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")):
        _picture().save(tmp_path / "a", kind, icc_profile=profile, exif=_exif())
        stripped.copy(tmp_path / "a", tmp_path / "b", mime)
        with Image.open(tmp_path / "b") as made:
            assert made.info["icc_profile"] == profile


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_damaged_file_is_refused_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    mime, make = CASES[name]
    whole = make(tmp_path / "whole").read_bytes()
    left = tmp_path / "out"
    for data in (b"", b"<html>", whole[:40], whole[::-1]):
        (tmp_path / "broken").write_bytes(data)
        with pytest.raises(StudioError) as refused:
            stripped.copy(tmp_path / "broken", left / "made", mime)
        assert refused.value.code == "share_unsupported"
        assert list(left.iterdir()) == []


@pytest.mark.parametrize(
    "mime",
    ["image/svg+xml", "image/tiff", "image/avif", "text/plain; charset=utf-8", "video/x-msvideo"],
)
def test_what_is_not_known_well_enough_is_refused(mime: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"anything")

    with pytest.raises(StudioError) as refused:
        stripped.copy(tmp_path / "a", tmp_path / "b", mime)

    assert refused.value.code == "share_unsupported"
    assert not (tmp_path / "b").exists()
