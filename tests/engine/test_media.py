"""Files coming in: what people's cameras, editors and mistakes send."""

from __future__ import annotations

import hashlib
import os
import struct
import wave
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from studio.engine import media as media_module
from studio.engine.media import ALLOWED, InputFile, Media, shown_name, sniff, thumbnail
from studio.errors import StudioError
from studio.texts import LANGUAGES, explain, has
from tests.odd_files import LAID

Make = Callable[..., Path]
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def store(tmp_path: Path) -> Media:
    return Media(tmp_path / "store", max_bytes=2_000_000, max_pixels=1_000_000)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write bytes, or a picture in a format, to a file; give its path."""

    def write(content: bytes | Image.Image, form: str = "PNG", **options: object) -> Path:
        path = tmp_path / f"given-{len(list(tmp_path.iterdir()))}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif form == "HEIF":
            # Not by Pillow, which may read and write it only when `media` has taught it to.
            pillow_heif.from_pillow(content).save(path, **options)
        else:
            content.save(path, form, **options)
        return path

    return write


def pixels(store: Media, file: InputFile, person: str = "ann") -> np.ndarray:
    with Image.open(store.path(person, file.ref)) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture).astype(int)


def refused(store: Media, path: Path, name: str = "a.png") -> StudioError:
    with pytest.raises(StudioError) as caught:
        store.take("ann", path, name)
    for language in LANGUAGES:
        sentence, hint = explain(caught.value, language)
        assert "{" not in sentence + hint
    return caught.value


def half_red(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """Make a blue picture whose left quarter is red."""
    picture = Image.new("RGB", size, BLUE)
    picture.paste(RED, (0, 0, size[0] // 4, size[1]))
    return picture


def raw_png(width: int, height: int, *, bits: int, rows: bytes) -> bytes:
    """Write an RGB PNG chunk by chunk, for what Pillow does not write."""
    header = struct.pack(">2I5B", width, height, bits, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


# --- types ---


@pytest.mark.parametrize(
    ("form", "exact"),
    [
        ("PNG", True),
        ("BMP", True),
        ("GIF", True),
        ("TIFF", True),
        ("JPEG", False),
        ("WEBP", False),
        ("AVIF", False),
        ("HEIF", False),
        ("MPO", False),
    ],
)
def test_each_picture_type_becomes_plain_and_a_jpeg_stays_one(
    store: Media, make: Make, form: str, exact: bool
) -> None:
    file = store.take("ann", make(half_red(), form), "wrong-name.txt")

    mime = "image/jpeg" if form in ("JPEG", "MPO") else "image/png"
    assert (file.kind, file.mime, file.width_px, file.height_px) == ("image", mime, 40, 20)
    assert file.notes == ()
    difference = np.abs(pixels(store, file) - np.asarray(half_red()).astype(int))
    assert difference[:, [0, 39]].max() <= (0 if exact else 12)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg"),
        (b"<!doctype html><script>alert(1)</script>", "a.png"),
        (b"just a text that says it is a picture", "c.png"),
        (b"BM is how this text begins, and it is no bitmap", "d.bmp"),
        ("text".encode("utf-16"), "e.jpg"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/secret\n", "f.mp4"),
        (b"%PDF-1.7\n%", "g.pdf"),
        (b"MZ\x90\x00", "h.jpg"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_media_is_refused_by_content(
    store: Media, make: Make, content: bytes, name: str
) -> None:
    error = refused(store, make(content), name)

    assert error.code == "file_type_unsupported"
    assert error.params == {"name": name, "allowed": ALLOWED}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_truncated_picture_is_broken(store: Media, make: Make, form: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (90, 90, 3), dtype=np.uint8)
    whole = make(Image.fromarray(noise), form).read_bytes()

    error = refused(store, make(whole[: int(len(whole) * kept)]))

    assert error.code == "file_broken"


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b""])
def test_a_file_that_only_begins_is_broken(store: Media, make: Make, head: bytes) -> None:
    assert refused(store, make(head)).code == "file_broken"


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of what it then refuses
def test_noise_after_a_right_head_never_escapes_as_a_foreign_error(
    store: Media, make: Make
) -> None:
    rng = np.random.default_rng(2)
    heads = [start for start, _ in media_module._STARTS]
    heads += [b"RIFF\x00\x01\x00\x00WEBPVP8 ", b"\x00\x00\x00\x18ftypheic", b"RIFF....WAVEfmt "]
    for head in heads:
        for _ in range(5):
            noise = rng.integers(0, 255, 600, dtype=np.uint8).tobytes()

            assert refused(store, make(head + noise)).code in ("file_broken", "picture_too_large")


# --- the one rule ---


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_photo_is_upright_and_the_tag_is_gone(
    store: Media, make: Make, turn: int, form: str
) -> None:
    upright = half_red()
    lying = upright.transpose(LAID[turn]) if turn in LAID else upright
    exif = Image.Exif()
    exif[0x0112] = turn
    source = make(lying, form, exif=exif.tobytes())

    file = store.take("ann", source, "photo.jpg")
    thumbnail(source, thumb := source.with_suffix(".webp"))

    assert (file.width_px, file.height_px) == (40, 20)
    for path in (store.path("ann", file.ref), thumb):
        with Image.open(path) as picture:
            assert picture.size == (40, 20)
            assert not picture.getexif()
            left, right = (np.asarray(picture.convert("RGB"))[10, x].astype(int) for x in (3, 35))
        assert np.abs(left - RED).max() < 60
        assert np.abs(right - BLUE).max() < 60


def test_a_phones_heic_is_upright(store: Media, make: Make) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = half_red().transpose(Image.Transpose.ROTATE_90)

    file = store.take("ann", make(lying, "HEIF", exif=exif.tobytes()), "IMG_0001.HEIC")

    assert (file.width_px, file.height_px) == (40, 20)
    assert pixels(store, file)[10, 3, 0] > 200


def test_transparent_parts_become_white_without_a_fringe(store: Media, make: Make) -> None:
    cut_out = Image.new("RGBA", (64, 64), (*RED, 0))
    cut_out.paste((*BLUE, 255), (32, 0, 64, 64))
    cut_out.paste((*BLUE, 128), (32, 0, 33, 64))

    file = store.take("ann", make(cut_out), "cut.png")

    shown = pixels(store, file)
    assert file.notes == ("note.transparency_white",)
    assert tuple(shown[5, 5]) == WHITE
    assert tuple(shown[5, 32]) == (127, 127, 255)
    assert tuple(shown[5, 40]) == BLUE


def test_an_opaque_alpha_channel_is_not_worth_a_note(store: Media, make: Make) -> None:
    file = store.take("ann", make(Image.new("RGBA", (8, 8), (*RED, 255))), "a.png")

    assert file.notes == ()
    assert tuple(pixels(store, file)[0, 0]) == RED


def test_a_palette_with_a_see_through_colour_becomes_white(store: Media, make: Make) -> None:
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([*RED, *BLUE])
    palette.putpixel((4, 4), 1)

    file = store.take("ann", make(palette, "PNG", transparency=0), "a.png")

    assert tuple(pixels(store, file)[0, 0]) == WHITE
    assert tuple(pixels(store, file)[4, 4]) == BLUE


def test_16_bit_grey_keeps_its_tones(store: Media, make: Make) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16)[None, :].repeat(4, 0)
    for form in ("PNG", "TIFF"):
        file = store.take("ann", make(Image.fromarray(ramp), form), "a")

        assert (pixels(store, file)[0, :, 0] == np.arange(256)).all()


def test_16_bit_colour_keeps_its_tones(store: Media, make: Make) -> None:
    row = b"".join(struct.pack(">3H", 257 * v, 0, 65535) for v in range(256))
    deep = raw_png(256, 1, bits=16, rows=b"\x00" + row)

    file = store.take("ann", make(deep), "deep.png")

    assert (pixels(store, file)[0, :, 0] == np.arange(256)).all()
    assert (pixels(store, file)[0, :, 2] == 255).all()


def test_a_float_tiff_is_read_as_0_to_1(store: Media, make: Make) -> None:
    values = np.array([[0.0, 0.5, 1.0, 7.0, np.nan]], dtype=np.float32)

    file = store.take("ann", make(Image.fromarray(values), "TIFF"), "a.tif")

    assert pixels(store, file)[0, :, 0].tolist() == [0, 128, 255, 255, 0]


@pytest.mark.parametrize(
    ("mode", "form"),
    [("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF")],
)
def test_other_modes_become_the_colours_they_stand_for(
    store: Media, make: Make, mode: str, form: str
) -> None:
    picture = Image.new("RGB", (16, 16), WHITE)
    picture.paste((0, 0, 0), (0, 0, 8, 16))

    file = store.take("ann", make(picture.convert(mode), form), "a")

    shown = pixels(store, file)
    assert shown[8, 2].max() < 12
    assert shown[8, 13].min() > 243


def swapped_profile() -> bytes:
    """Make a profile like sRGB whose red and blue are each other's, under another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for plain in (b"sRGB", "sRGB".encode("utf-16-be")):
        profile = profile.replace(plain, plain.replace(b"s", b"x"))
    tags = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * profile[131], 12)}
    red, blue = tags[b"rXYZ"], tags[b"bXYZ"]
    profile[red : red + 8], profile[blue : blue + 8] = (
        profile[blue : blue + 8],
        profile[red : red + 8],
    )
    return bytes(profile)


def test_colours_are_turned_from_their_profile_into_srgb(store: Media, make: Make) -> None:
    red = Image.new("RGB", (8, 8), RED)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sources = [make(red, "PNG", icc_profile=p) for p in (swapped_profile(), srgb, b"nonsense")]

    files = [store.take("ann", source, "a.png") for source in sources]

    colours = [pixels(store, file)[0, 0] for file in files]
    assert np.abs(colours[0] - BLUE).max() <= 2
    assert tuple(colours[1]) == tuple(colours[2]) == RED
    with Image.open(store.path("ann", files[0].ref)) as stored:
        assert "icc_profile" not in stored.info


def test_the_second_view_of_a_phones_photo_is_no_animation(store: Media, make: Make) -> None:
    views = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]

    file = store.take("ann", make(views[0], "MPO", save_all=True, append_images=views[1:]), "a")

    assert file.notes == ()
    assert np.abs(pixels(store, file)[8, 8] - RED).max() < 12


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_noted(
    store: Media, make: Make, form: str
) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]

    file = store.take("ann", make(frames[0], form, save_all=True, append_images=frames[1:]), "a")

    assert file.notes == ("note.first_frame",)
    assert np.abs(pixels(store, file)[8, 8] - RED).max() < 12


def test_nothing_personal_stays_in_the_stored_file(store: Media, make: Make) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("prompt", "a secret graph")
    source = make(half_red(), "PNG", exif=exif.tobytes(), pnginfo=texts, dpi=(72, 72))

    file = store.take("ann", source, "a.png")

    stored = store.path("ann", file.ref).read_bytes()
    assert b"secret" not in stored
    assert b"camera" not in stored
    assert len(stored) == file.size_bytes


def test_notes_have_words() -> None:
    notes = (media_module.NOTE_FIRST_FRAME, media_module.NOTE_WHITE, media_module.NOTE_JPEG)

    assert all(has(note) for note in notes)


# --- limits ---


def test_too_many_pixels_are_refused_before_they_are_decoded(store: Media, make: Make) -> None:
    bomb = raw_png(30_000, 30_000, bits=8, rows=bytes(1000))

    error = refused(store, make(bomb), "bomb.png")

    assert error.code == "picture_too_large"
    assert error.params == {"name": "bomb.png", "megapixels": "900", "max_megapixels": "1"}


def test_a_picture_just_over_the_limit_is_refused_and_one_at_it_is_taken(
    store: Media, make: Make
) -> None:
    assert store.take("ann", make(Image.new("L", (1000, 1000))), "a").width_px == 1000
    assert refused(store, make(Image.new("L", (1001, 1000)))).code == "picture_too_large"


def test_a_file_over_the_limit_is_refused(store: Media, make: Make) -> None:
    error = refused(store, make(b"\x89PNG\r\n\x1a\n" + bytes(2_000_000)))

    assert error.code == "file_too_large"
    assert error.status == 413


def test_a_picture_whose_png_is_too_large_is_kept_as_jpeg(tmp_path: Path, make: Make) -> None:
    store = Media(tmp_path / "store", max_bytes=60_000, max_pixels=1_000_000)
    noise = np.random.default_rng(3).normal(128, 12, (200, 200, 3)).clip(0, 255).astype(np.uint8)

    file = store.take("ann", make(Image.fromarray(noise), "WEBP", quality=80), "big.webp")

    assert (file.mime, file.notes) == ("image/jpeg", ("note.saved_as_jpeg",))
    assert file.size_bytes <= 100_000
    assert [path.name for path in (tmp_path / "store").glob("*/*.???")] == [file.ref]


def test_a_file_that_is_not_there_is_unknown(store: Media, tmp_path: Path) -> None:
    assert refused(store, tmp_path / "gone.png").code == "file_unknown"
    assert refused(store, tmp_path).code == "file_unknown"


def test_a_large_photo_that_must_be_turned_stays_a_photo(tmp_path: Path, make: Make) -> None:
    store = Media(tmp_path / "store", max_bytes=50_000_000, max_pixels=20_000_000)
    exif = Image.Exif()
    exif[0x0112] = 6

    file = store.take("ann", make(half_red((3000, 2000)), "JPEG", exif=exif), "photo.jpg")

    assert (file.mime, file.width_px, file.height_px) == ("image/jpeg", 2000, 3000)
    shown = pixels(store, file)
    assert np.abs(shown[100, 1000] - RED).max() <= 6
    assert np.abs(shown[2900, 1000] - BLUE).max() <= 6


def test_a_plain_photo_keeps_its_own_pixels_and_loses_what_lies_behind_it(
    store: Media, make: Make
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A maker of phones"
    photo = BytesIO()
    noisy = np.random.default_rng(5).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(photo, "JPEG", quality=70, progressive=True, exif=exif)

    file = store.take("ann", make(photo.getvalue() + b"a film of the moment"), "photo.jpg")

    kept = store.path("ann", file.ref).read_bytes()
    assert b"maker" not in kept
    assert b"film" not in kept
    assert len(kept) < len(photo.getvalue())
    with Image.open(photo) as given:
        assert (pixels(store, file) == np.asarray(given)).all()


# --- the store ---


def test_the_same_content_is_stored_once_under_its_hash(
    store: Media, make: Make, tmp_path: Path
) -> None:
    about = PngImagePlugin.PngInfo()
    about.add_text("Author", "somebody")
    one = store.take("ann", make(half_red(), "PNG"), "one.png")
    two = store.take("ann", make(half_red(), "PNG", pnginfo=about), "two.png")

    path = store.path("ann", one.ref)
    assert one.ref == two.ref == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.png"
    assert len(list((tmp_path / "store").glob("*/*"))) == 1
    assert (one.original_name, two.original_name) == ("one.png", "two.png")


def test_taking_a_stored_file_gives_the_same_file(store: Media, make: Make) -> None:
    for picture in (make(half_red(), "JPEG"), make(half_red(), "GIF")):
        one = store.take("ann", picture, "one")

        assert store.take("ann", store.path("ann", one.ref), "again").ref == one.ref


def test_two_people_with_one_file_name_each_have_their_own(store: Media, make: Make) -> None:
    ann = store.take("ann", make(Image.new("RGB", (8, 8), RED)), "image.png")
    bob = store.take("bob", make(Image.new("RGB", (8, 8), BLUE)), "image.png")

    assert tuple(pixels(store, ann, "ann")[0, 0]) == RED
    assert tuple(pixels(store, bob, "bob")[0, 0]) == BLUE


@pytest.mark.parametrize("person", ["bob", "", "../ann", "a/b"])
def test_nobody_finds_anothers_file(store: Media, make: Make, person: str) -> None:
    file = store.take("ann", make(half_red()), "a.png")

    with pytest.raises(StudioError, match="file_unknown"):
        store.path(person, file.ref)


@pytest.mark.parametrize("ref", ["", "..", "../../etc/passwd", "a.png", "0" * 64 + ".png"])
def test_a_reference_that_is_none_finds_nothing(store: Media, ref: str) -> None:
    with pytest.raises(StudioError, match="file_unknown"):
        store.open("ann", ref)


def test_a_stored_file_can_be_read(store: Media, make: Make) -> None:
    file = store.take("ann", make(half_red()), "a.png")

    with store.open("ann", file.ref) as stored:
        assert stored.read(4) == b"\x89PNG"


def test_a_refused_file_leaves_nothing(store: Media, make: Make, tmp_path: Path) -> None:
    refused(store, make(make(half_red()).read_bytes()[:60]))

    assert list((tmp_path / "store").glob("*/*")) == []


def test_a_full_disk_is_told_and_leaves_nothing(store: Media, tmp_path: Path) -> None:
    def fail(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StudioError) as caught:
        store._keep("ann", "png", fail)

    assert caught.value.code == "disk_full"
    assert list((tmp_path / "store").glob("*/*")) == []


def test_the_sweep_takes_what_is_old_and_not_kept(store: Media, make: Make, tmp_path: Path) -> None:
    files = [
        store.take("ann", make(Image.new("RGB", (8, 8), colour)), "a.png")
        for colour in (RED, BLUE, WHITE)
    ]
    paths = [store.path("ann", file.ref) for file in files]
    part = paths[0].with_name("left-by-a-crash.part")
    part.write_bytes(b"half")
    for path in (paths[0], paths[1], part):
        os.utime(path, (1000, 1000))
    os.utime(paths[2], (1990, 1990))

    removed = store.sweep({files[0].ref}, older_than_s=100, now=2000)

    assert removed == 2
    assert [path.exists() for path in (*paths, part)] == [True, False, True, False]


def test_what_was_changed_is_told_again_of_a_file_named_by_its_reference(
    store: Media, make: Make, tmp_path: Path
) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    moving = make(frames[0], "GIF", save_all=True, append_images=frames[1:])
    first = store.take("ann", moving, "moves.gif")
    stored = store.path("ann", first.ref)

    again = store.take("ann", stored, "moves.gif")
    store.sweep({first.ref}, older_than_s=0, now=stored.stat().st_mtime + 10)
    kept = store.take("ann", stored, "moves.gif")
    store.sweep(set(), older_than_s=0, now=stored.stat().st_mtime + 10)

    assert first.notes == again.notes == kept.notes == ("note.first_frame",)
    assert list((tmp_path / "store").glob("*/*")) == []


def test_taking_a_file_again_makes_it_young_for_the_sweep(store: Media, make: Make) -> None:
    file = store.take("ann", make(half_red()), "a.png")
    path = store.path("ann", file.ref)
    os.utime(path, (1000, 1000))

    store.take("ann", make(half_red()), "a.png")

    assert store.sweep(set(), older_than_s=3600, now=path.stat().st_mtime + 10) == 0


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("C:\\Users\\me\\貓.png", "貓.png"),
        ("../../etc/passwd", "passwd"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("\x00\n", "file"),
        ("", "file"),
        ("x" * 300 + ".png", "x" * 116 + ".png"),
    ],
)
def test_a_given_name_is_made_fit_to_show(given: str, shown: str) -> None:
    assert shown_name(given) == shown


# --- sound and video ---


def tone(path: Path, seconds: float = 1.5) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(seconds * 8000) * 2))
    return path


def clip(path: Path, form: str, codec: str) -> Path:
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for shade in range(10):
            picture = np.full((48, 64, 3), shade * 20, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def test_sound_is_kept_as_it_is_with_its_length(store: Media, tmp_path: Path) -> None:
    source = tone(tmp_path / "voice.mp3")

    file = store.take("ann", source, "voice.mp3")

    assert (file.kind, file.mime, file.seconds) == ("audio", "audio/wav", 1.5)
    assert store.path("ann", file.ref).read_bytes() == source.read_bytes()
    assert file.ref.endswith(".wav")


@pytest.mark.parametrize(
    ("form", "codec", "mime"),
    [
        ("mp4", "mpeg4", "video/mp4"),
        ("matroska", "mpeg4", "video/x-matroska"),
        ("webm", "libvpx", "video/webm"),
    ],
)
def test_a_video_is_probed(store: Media, tmp_path: Path, form: str, codec: str, mime: str) -> None:
    file = store.take("ann", clip(tmp_path / "clip", form, codec), "clip.avi")

    assert (file.kind, file.mime, file.width_px, file.height_px) == ("video", mime, 64, 48)
    assert file.seconds == pytest.approx(1.0, abs=0.15)


def test_a_broken_video_is_refused(store: Media, make: Make) -> None:
    assert refused(store, make(b"\x00\x00\x00\x18ftypmp42" + bytes(300))).code == "file_broken"


def test_a_video_of_no_known_codec_is_refused(store: Media, make: Make, tmp_path: Path) -> None:
    strange = (
        clip(tmp_path / "clip", "matroska", "mpeg4").read_bytes().replace(b"V_MPEG4", b"V_ZZZZ4")
    )

    assert refused(store, make(strange), "clip.mkv").code == "file_broken"


# --- thumbnails ---


def test_a_thumbnail_is_a_small_webp_of_the_same_shape(make: Make, tmp_path: Path) -> None:
    source = make(half_red((1600, 400)))

    thumbnail(source, tmp_path / "deep" / "t.webp", side_px=200)

    with Image.open(tmp_path / "deep" / "t.webp") as picture:
        assert (picture.format, picture.size) == ("WEBP", (200, 50))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["t.webp"]


def test_a_thumbnail_keeps_transparency_and_deep_tones(make: Make, tmp_path: Path) -> None:
    see_through = make(Image.new("RGBA", (64, 64), (*RED, 0)))
    deep = make(Image.fromarray(np.full((64, 64), 32768, dtype=np.uint16)))

    thumbnail(see_through, tmp_path / "a.webp")
    thumbnail(deep, tmp_path / "b.webp")

    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.convert("RGBA").getpixel((5, 5))[3] == 0
    with Image.open(tmp_path / "b.webp") as picture:
        assert abs(picture.convert("L").getpixel((5, 5)) - 128) < 4


def test_a_thumbnail_of_a_broken_file_is_refused_and_leaves_nothing(
    make: Make, tmp_path: Path
) -> None:
    source = make(make(half_red()).read_bytes()[:60])

    with pytest.raises(StudioError, match="file_broken"):
        thumbnail(source, tmp_path / "t.webp")
    assert not (tmp_path / "t.webp").exists()


def test_sniffing_an_empty_head_finds_nothing() -> None:
    assert sniff(b"") is None
    assert sniff(BytesIO(b"\xff").read()) is None
