"""The files people really have, each made small in code: what it is, and what becomes of it.

One table for every door. A picture shows the same scene throughout, upright: its left quarter
red, the rest blue; where a file cannot hold that, its row says what it shows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from tests.engine.films import film, lay_on_its_side, sound, sound_frames, tone

Colour = tuple[int, int, int]
Field = Literal["picture", "sound", "film"]
RED, BLUE, WHITE, GREY = (255, 0, 0), (0, 0, 255), (255, 255, 255), (128, 128, 128)
SIZE: Final = (40, 24)
FIRST, ONTO_WHITE, SILENT = "note.first_frame", "note.transparency_white", "note.sound_silent"
SOUND_ONLY, STEREO, UPRIGHT = "note.sound_only", "note.sound_stereo", "note.video_upright"
BROKEN, UNKNOWN, KIND = "file_broken", "file_type_unsupported", "file_kind"


@dataclass(frozen=True)
class Odd:
    """One file: how it is made, for which field it is given, and what is right.

    `code` is that of the refusal, or empty. Of what is taken: `size` in px; `left` and `right` are
    the colours there, within `near`; `seconds` of a sound or film, within 0.1; `notes` are told.
    """

    called: str
    write: Callable[[Path], object]
    kind: Field = "picture"
    code: str = ""
    size: tuple[int, int] = SIZE
    left: Colour = RED
    right: Colour = BLUE
    near: int = 24
    seconds: float = 1.0
    notes: tuple[str, ...] = ()
    shown: str = ""

    @property
    def name(self) -> str:
        """Name the row: two fields may be given files that are called alike."""
        return f"{self.kind} {self.called}"


def scene(size: tuple[int, int] = SIZE, left: Colour = RED, right: Colour = BLUE) -> Image.Image:
    """Draw the scene."""
    picture = Image.new("RGB", size, right)
    picture.paste(left, (0, 0, size[0] // 4, size[1]))
    return picture


def saved(
    form: str, picture: Image.Image | None = None, **options: Any
) -> Callable[[Path], object]:
    """Have Pillow write a picture in a form, whatever the file is called."""
    return lambda path: (picture or scene()).save(path, form, **options)


def raw(data: bytes) -> Callable[[Path], object]:
    """Write these bytes."""
    return lambda path: path.write_bytes(data)


def bytes_of(form: str, picture: Image.Image | None = None, **options: Any) -> bytes:
    """Give a picture as the bytes of a file."""
    file = BytesIO()
    (picture or scene()).save(file, form, **options)
    return file.getvalue()


# --- pictures that Pillow does not write ---


LAID: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How an upright picture is laid down as an EXIF orientation says that it lies; 1: not at all."""


def turned(form: str, turn: int, suffix: str) -> Odd:
    """Give a photo that lies as the sensor lay, with the tag that says so."""
    lying = scene().transpose(LAID[turn]) if turn in LAID else scene()
    exif = Image.Exif()
    exif[0x0112] = turn
    data = exif.tobytes()
    if form == "HEIF":
        return Odd(f"turn-{turn}{suffix}", lambda path: heic(path, [lying], exif=data))
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    return Odd(f"turn-{turn}{suffix}", saved(form, lying, exif=data, **options))


def heic(path: Path, pictures: list[Image.Image], **options: Any) -> None:
    """Write a HEIC of one or several pictures; a turn becomes its `irot`, as phones write it."""
    file = pillow_heif.from_pillow(pictures[0])
    for one in pictures[1:]:
        file.add_from_pillow(one)
    with path.open("wb") as into:
        file.save(into, quality=90, **options)


def by_ffmpeg(form: str, codec: str, pix_fmt: str, picture: Image.Image | None = None) -> Any:
    """Have FFmpeg write one picture: deep ones, and AVIF of ten bits."""

    def write(path: Path) -> None:
        given = picture or scene()
        with av.open(str(path), "w", format=form) as made:
            stream: Any = made.add_stream(codec, rate=1)
            stream.width, stream.height = given.size
            stream.pix_fmt = pix_fmt
            frame = av.VideoFrame.from_image(given).reformat(format=pix_fmt)
            frame.pts, frame.time_base = 0, Fraction(1, 1)
            made.mux(stream.encode(frame))
            made.mux(stream.encode(None))

    return write


def chunk(kind: bytes, body: bytes) -> bytes:
    """Write a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes) -> bytes:
    """Put chunks behind the header of a PNG of the scene."""
    plain = bytes_of("PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]


def png_bomb(width: int, height: int) -> bytes:
    """Give a small PNG that says it is very large."""
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(2000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def ycck() -> bytes:
    """Give a JPEG as Photoshop writes CMYK: YCCK, all inverted, and marked by Adobe."""
    inks = np.asarray(scene().convert("CMYK"))
    coded = np.asarray(Image.fromarray(inks[..., :3], "RGB").convert("YCbCr"))
    stored = np.dstack([255 - coded, inks[..., 3:]])
    data = bytes_of("JPEG", Image.fromarray(stored, "CMYK"), quality=95, subsampling=0)
    at = data.index(b"Adobe") + 11
    assert data[at] == 0
    return data[:at] + b"\x02" + data[at + 1 :]


@cache
def wide_profile() -> bytes:
    """Give the profile of a phone's screen: sRGB's curve, and the primaries of Display P3."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for plain in (b"sRGB", "sRGB".encode("utf-16-be")):
        profile = profile.replace(plain, plain.replace(b"s", b"P"))
    tags = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * profile[131], 12)}
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for name, values in primaries.items():
        at = int.from_bytes(profile[tags[name] : tags[name] + 4], "big")
        profile[at + 8 : at + 20] = struct.pack(">3i", *(round(v * 65536) for v in values))
    return bytes(profile)


@cache
def grey_profile() -> bytes:
    """Give an ICC profile of greys whose numbers are light itself: 128 is a light grey."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 256) + bytes(2)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\x00" + bytes(79)
    parts = {b"desc": text, b"wtpt": white, b"kTRC": curve}
    at, table, body = 132 + 12 * len(parts), b"", b""
    for name, part in parts.items():
        padded = part + bytes(-len(part) % 4)
        table += name + struct.pack(">2I", at, len(part))
        body, at = body + padded, at + len(padded)
    head = struct.pack(">I4sI4s4s4s", at, bytes(4), 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\x00") + struct.pack(">I", len(parts)) + table + body


def cut_out() -> Image.Image:
    """Draw what has a hidden colour under its transparent left, and a soft edge."""
    picture = Image.new("RGBA", SIZE, (*RED, 0))
    picture.paste((*BLUE, 255), (10, 0, *SIZE))
    picture.paste((*BLUE, 128), (10, 0, 11, SIZE[1]))
    return picture


def palette() -> Image.Image:
    """Draw the scene with a palette whose first colour is red."""
    picture = Image.new("P", SIZE, 1)
    picture.putpalette([*RED, *BLUE])
    picture.paste(0, (0, 0, 10, SIZE[1]))
    return picture


def halves(mode: str) -> Image.Image:
    """Draw the scene in black and white."""
    return scene(left=(0, 0, 0), right=WHITE).convert(mode)


def animated(form: str, **options: Any) -> Callable[[Path], object]:
    """Write two pictures, the scene first."""
    return saved(form, save_all=True, append_images=[Image.new("RGB", SIZE, WHITE)], **options)


def icon(path: Path) -> None:
    """Write an icon of a web site."""
    scene((16, 16)).save(path, "ICO", sizes=[(16, 16)])


_LONG: Final = "長" * 60 + "x" * 240 + ".png"
_PNG: Final = bytes_of("PNG")
_NAMES: Final[Mapping[str, str]] = {
    # what it is called: what is shown
    "貓咪 照片.png": "貓咪 照片.png",
    "🐈‍⬛.png": "🐈‍⬛.png",
    _LONG: _LONG[-120:],
    "صورة.png": "صورة.png",
    "a\u202egnp.exe.png": "agnp.exe.png",
    'it\'s "here".png': 'it\'s "here".png',
    "two\nlines.png": "twolines.png",
    ".hidden": ".hidden",
    "../../up.png": "up.png",
    "C:\\Users\\me\\back.png": "back.png",
    "CON": "CON",
    "cafe\u0301.png": "caf\u00e9.png",
    "caf\u00e9.png": "caf\u00e9.png",
    "100% & <b>.png": "100% & <b>.png",
    " ": "file",
}


_XMP: Final = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-"
    b"syntax-ns#'><rdf:Description xmlns:tiff='http://ns.adobe.com/tiff/1.0/'"
    b' tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
"""Says that a picture lies on its side where no browser looks for it: it is seen as it lies."""


def _pictures() -> list[Odd]:
    wide = scene(left=(200, 100, 100), right=(90, 170, 90))
    deep_grey = Image.fromarray(
        np.where(np.asarray(halves("L")) > 0, 65535, 32896).astype(np.uint16)
    )
    floats = Image.fromarray(np.where(np.asarray(halves("L")) > 0, 1.0, 0.5).astype(np.float32))
    in_srgb = {"left": as_srgb((200, 100, 100)), "right": as_srgb((90, 170, 90))}
    black = {"left": (0, 0, 0), "right": WHITE}
    photo = bytes_of("JPEG", quality=95, subsampling=0)
    noise = np.random.default_rng(1).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    noisy = Image.fromarray(noise)
    found = [turned("JPEG", turn, ".jpg") for turn in range(1, 9)]
    found += [turned("HEIF", turn, ".heic") for turn in (1, 3, 6, 8)]
    found += [turned(form, 6, f".{form.lower()}") for form in ("PNG", "WEBP", "TIFF", "AVIF")]
    found += [
        Odd("deep-grey.png", saved("PNG", deep_grey), left=GREY, right=WHITE),
        Odd("deep-grey.tif", saved("TIFF", deep_grey), left=GREY, right=WHITE),
        Odd("deep.png", by_ffmpeg("image2", "png", "rgb48be")),
        Odd("deep.tif", by_ffmpeg("image2", "tiff", "rgb48le")),
        Odd("deep-clear.png", by_ffmpeg("image2", "png", "rgba64be")),
        Odd("ink.jpg", saved("JPEG", scene().convert("CMYK"), quality=95), near=60),
        Odd("ink-adobe.jpg", raw(ycck()), near=60),
        Odd("ink.tif", saved("TIFF", scene().convert("CMYK")), near=60),
        Odd("lab.tif", saved("TIFF", ImageCms.profileToProfile(
            scene(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"),
            outputMode="LAB"))),
        Odd("palette.png", saved("PNG", palette())),
        Odd("palette-clear.png", saved("PNG", palette(), transparency=0), left=WHITE,
            notes=(ONTO_WHITE,)),
        Odd("key-clear.png", saved("PNG", scene(), transparency=RED), left=WHITE,
            notes=(ONTO_WHITE,)),
        Odd("one-bit.png", saved("PNG", halves("1")), **black),
        Odd("fax.tif", saved("TIFF", halves("1"), compression="group4"), **black),
        Odd("grey.jpg", saved("JPEG", halves("L")), **black),
        Odd("grey-clear.png", saved("PNG", halves("LA")), **black),
        Odd("cut-out.png", saved("PNG", cut_out()), left=WHITE, notes=(ONTO_WHITE,)),
        Odd("cut-out.webp", saved("WEBP", cut_out(), lossless=True), left=WHITE,
            notes=(ONTO_WHITE,)),
        Odd("grey-profile.png", saved("PNG", Image.new("L", SIZE, 128), icc_profile=grey_profile()),
            left=(188, 188, 188), right=(188, 188, 188), near=3),
        Odd("grey-profile.jpg", saved("JPEG", Image.new("L", SIZE, 128),
            icc_profile=grey_profile()), left=(188, 188, 188), right=(188, 188, 188), near=3),
        Odd("grey-profile-clear.png", saved("PNG", Image.new("LA", SIZE, (128, 255)),
            icc_profile=grey_profile()), left=(188, 188, 188), right=(188, 188, 188), near=3),
        # What these numbers of Display P3 are in sRGB, by the matrices of both.
        Odd("phone-colours.jpg", saved("JPEG", wide, quality=100, subsampling=0,
            icc_profile=wide_profile()), **in_srgb, near=4),
        Odd("phone-colours.heic", lambda path: heic(path, [wide], icc_profile=wide_profile()),
            **in_srgb, near=10),
        Odd("phone-colours.png", saved("PNG", wide, icc_profile=wide_profile()),
            **in_srgb, near=2),
        Odd("float.tif", saved("TIFF", floats), left=GREY, right=WHITE),
        Odd("pages.tif", animated("TIFF"), notes=(FIRST,)),
        Odd("bitmap.bmp", saved("BMP")),
        Odd("favicon.ico", icon, code=UNKNOWN),
        Odd("moves.gif", animated("GIF"), notes=(FIRST,)),
        Odd("moves.webp", animated("WEBP", lossless=True), notes=(FIRST,)),
        Odd("moves.png", animated("PNG"), notes=(FIRST,)),
        Odd("moves.avif", animated("AVIF", quality=90), notes=(FIRST,)),
        Odd("burst.heic", lambda path: heic(path, [scene(), Image.new("RGB", SIZE, WHITE)]),
            notes=(FIRST,)),
        Odd("ten-bits.avif", by_ffmpeg("avif", "libsvtav1", "yuv420p10le",
            scene((128, 72))), size=(128, 72), near=40),
        Odd("two-views.jpg", animated("MPO", quality=95)),
        Odd("moment.jpg", raw(photo + b"\x00\x00\x00\x18ftypmp42" + bytes(3000)), near=40),
        Odd("turned-elsewhere.jpg", saved("JPEG", quality=95, subsampling=0, xmp=_XMP)),
        Odd("torn-exif.png", raw(png_with(chunk(b"eXIf", b"no tags at all")))),
        Odd("no-end.jpg", raw(photo[:-2]), near=40),
        Odd("cut.jpg", raw(bytes_of("JPEG", noisy)[:900]), code=BROKEN),
        Odd("cut.png", raw(bytes_of("PNG", noisy)[:5000]), code=BROKEN),
        Odd("only-a-head.png", raw(_PNG[:33]), code=BROKEN),
        Odd("bomb.png", raw(png_bomb(60_000, 60_000)), code="picture_too_large"),
        Odd("large-profile.png", raw(png_with(chunk(b"iCCP", b"x\x00\x00" + zlib.compress(
            bytes(3_000_000)))))),
        Odd("large-text.png", raw(png_with(chunk(b"zTXt", b"prompt\x00\x00" + zlib.compress(
            b"word " * 700_000))))),
        Odd("large-words.png", raw(png_with(chunk(b"iTXt", b"workflow\x00\x01\x00\x00\x00"
            + zlib.compress(b"word " * 700_000))))),
        Odd("torn-text.png", raw(png_with(chunk(b"zTXt", b"prompt\x00\x00no zlib at all")))),
        Odd("drawing.svg", raw(b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
            code=UNKNOWN),
        Odd("drawing.png", raw(b"<?xml version='1.0'?><svg><script>alert(1)</script></svg>"),
            code=UNKNOWN),
        Odd("paper.pdf", raw(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj"), code=UNKNOWN),
        Odd("layers.psd", raw(b"8BPS\x00\x01" + bytes(200)), code=UNKNOWN),
        Odd("new.jxl", raw(b"\xff\x0a" + bytes(100)), code=UNKNOWN),
        Odd("boxed.jxl", raw(b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(100)), code=UNKNOWN),
        Odd("wide.jp2", raw(b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100)), code=UNKNOWN),
        Odd("camera.cr3", raw(b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(200)),
            code=UNKNOWN),
        Odd("scene.exr", raw(b"\x76\x2f\x31\x01" + bytes(200)), code=UNKNOWN),
        Odd("letters.txt", raw("文字".encode()), code=UNKNOWN),
        Odd("packed.zip", raw(b"PK\x03\x04" + bytes(200)), code=UNKNOWN),
        Odd("a.jpeg", saved("WEBP", lossless=True)),
        Odd("b.webp", saved("PNG")),
        Odd("c", saved("PNG")),
        Odd("photo.HEIC", saved("JPEG", quality=95, subsampling=0), near=40),
        Odd("empty.png", raw(b""), code=BROKEN),
        Odd("dot.png", saved("PNG", Image.new("RGB", (1, 1), RED)), size=(1, 1), right=RED),
        Odd("thread.png", saved("PNG", Image.new("RGB", (1, 8000), RED)), size=(1, 8000),
            right=RED),
        Odd("song.png", lambda path: sound(path, "wav", "pcm_s16le", seconds=0.1), code=KIND),
        Odd("film.png", lambda path: film(path, "mp4", "libx264", frames=2), code=KIND),
    ]  # fmt: skip
    found += [Odd(name, raw(_PNG), shown=shown) for name, shown in _NAMES.items()]
    return found


def as_srgb(colour: Colour) -> Colour:
    """Tell what a colour of Display P3 is in sRGB, by the two matrices (CSS Color 4)."""
    light = np.array(colour) / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    turn = np.array(
        [
            [1.2249401, -0.2249404, 0],
            [-0.0420569, 1.0420571, 0],
            [-0.0196376, -0.0786361, 1.0982735],
        ]
    )
    there = np.clip(turn @ light, 0, 1)
    there = np.where(there <= 0.0031308, there * 12.92, 1.055 * there ** (1 / 2.4) - 0.055)
    red, green, blue = (round(float(v) * 255) for v in there)
    return red, green, blue


# --- sounds ---


def with_cover(path: Path) -> None:
    """Write an MP3 with the picture of its record in front, as shops sell them."""
    sound(path, "mp3", "libmp3lame")
    picture = b"\x00image/png\x00\x03\x00" + _PNG
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\x00\x00" + picture
    size = len(frame)
    head = b"ID3\x03\x00\x00" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(head + frame + path.read_bytes())


def flac_with_cover(path: Path) -> None:
    """Write a FLAC with the picture of its record."""
    sound(path, "flac", "flac")
    data = path.read_bytes()
    picture = (
        struct.pack(">2I", 3, 9) + b"image/png" + struct.pack(">6I", 0, *SIZE, 24, 0, len(_PNG))
    )
    block = b"\x06" + len(picture + _PNG).to_bytes(3, "big") + picture + _PNG
    path.write_bytes(data[:42] + block + data[42:])


def m4a_with_cover(path: Path) -> None:
    """Write an M4A with the picture of its record, the picture's stream first."""
    with av.open(str(path), "w", format="mp4") as made:
        cover: Any = made.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = *SIZE, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        voice: Any = made.add_stream("aac", rate=48_000, layout="mono")
        made.mux(cover.encode(av.VideoFrame.from_image(scene())))
        made.mux(cover.encode(None))
        for frame in sound_frames(tone(48_000, 1.0), 48_000, "mono"):
            made.mux(voice.encode(frame))
        made.mux(voice.encode(None))


def tagged_aac(path: Path) -> None:
    """Write bare AAC with an ID3 tag before it, as radio stations do."""
    sound(path, "adts", "aac")
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + path.read_bytes())


def tagged_flac(path: Path) -> None:
    """Write a FLAC with an ID3 tag before it, as some taggers do."""
    sound(path, "flac", "flac")
    path.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + path.read_bytes())


def joined(form: str, codec: str) -> Callable[[Path], object]:
    """Write two sounds end to end, of another rate and more channels, as speech is put together."""

    def write(path: Path) -> None:
        first, second = path.with_name("first"), path.with_name("second")
        sound(first, form, codec, rate=44_100)
        sound(second, form, codec, rate=48_000, layout="stereo")
        path.write_bytes(first.read_bytes() + second.read_bytes())

    return write


def cut_wav(path: Path) -> None:
    """Write a recording whose machine lost power: the header promises more than there is."""
    sound(path, "wav", "pcm_s16le", rate=8000, seconds=2.0)
    path.write_bytes(path.read_bytes()[: 44 + 16_000 + 34])


def said(form: str, codec: str, **options: Any) -> Callable[[Path], object]:
    """Write a sound."""
    return lambda path: sound(path, form, codec, **options)


def _sounds() -> list[Odd]:
    kind: Any = {"kind": "sound"}
    live = {"muxer": {"live": "1"}}
    loose = {"options": {"compression_level": "9"}, "muxer": {"write_xing": "0"}}
    return [
        Odd("eight.wav", said("wav", "pcm_u8", rate=8000), **kind),
        Odd("deep.wav", said("wav", "pcm_s24le"), **kind),
        Odd("float.wav", said("wav", "pcm_f32le"), **kind),
        Odd("double.wav", said("wav", "pcm_f64le"), **kind),
        Odd("telephone.wav", said("wav", "pcm_alaw", rate=8000), **kind),
        Odd("studio.wav", said("wav", "pcm_s24le", rate=96_000, layout="stereo"), **kind),
        Odd("cinema.wav", said("wav", "pcm_s16le", layout="5.1"), notes=(STEREO,), **kind),
        Odd("cinema.m4a", said("ipod", "aac", layout="5.1"), notes=(STEREO,), **kind),
        Odd("no-length.mp3", said("mp3", "libmp3lame", seconds=8.0, **loose), seconds=8.0, **kind),
        Odd("joined.mp3", joined("mp3", "libmp3lame"), seconds=2.0, **kind),
        Odd("joined.aac", joined("adts", "aac"), seconds=2.0, **kind),
        Odd("mp3.wav", said("mp3", "libmp3lame"), **kind),
        Odd("cover.mp3", with_cover, **kind),
        Odd("cover.flac", flac_with_cover, **kind),
        Odd("cover.m4a", m4a_with_cover, **kind),
        Odd("lossless.m4a", said("ipod", "alac"), **kind),
        Odd("voice.m4a", said("ipod", "aac"), **kind),
        Odd("voice.aac", said("adts", "aac"), **kind),
        Odd("radio.aac", tagged_aac, **kind),
        Odd("tagged.flac", tagged_flac, **kind),
        Odd("voice.opus", said("ogg", "libopus"), **kind),
        Odd("voice.ogg", said("ogg", "vorbis", layout="stereo", options={"strict": "-2"}), **kind),
        Odd("voice.flac", said("flac", "flac", layout="stereo"), **kind),
        Odd("microphone.webm", said("webm", "libopus", **live), **kind),
        Odd(
            "safari.mp4", said("mp4", "aac", muxer={"movflags": "frag_keyframe+empty_moov"}), **kind
        ),
        Odd("phone.3gp", said("3gp", "aac"), **kind),
        Odd("voice.mka", said("matroska", "libopus"), **kind),
        Odd("short.wav", said("wav", "pcm_s16le", seconds=0.2), seconds=0.2, **kind),
        Odd("silent.wav", said("wav", "pcm_s16le", loudness=0.0), notes=(SILENT,), **kind),
        Odd("cut.wav", cut_wav, seconds=1.0, **kind),
        Odd("cut.m4a", raw(b"\x00\x00\x00\x1cftypM4A " + bytes(300)), code=BROKEN, **kind),
        Odd("apple.aiff", said("aiff", "pcm_s16be", layout="stereo"), **kind),
        Odd("old-phone.amr", raw(b"#!AMR\n" + (b"\x3c" + bytes(31)) * 50), code=UNKNOWN, **kind),
        Odd("windows.wma", said("asf", "wmav2", options={"b": "64000"}), code=UNKNOWN, **kind),
        Odd("notes.mid", raw(b"MThd\x00\x00\x00\x06" + bytes(20)), code=UNKNOWN, **kind),
        Odd("list.m3u", raw(b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x\n"), code=UNKNOWN, **kind),
        Odd("empty.mp3", raw(b""), code=BROKEN, **kind),
        Odd("picture.wav", raw(_PNG), code=KIND, **kind),
        Odd("talk.mp4", shot("mp4", "libx264", with_sound="aac"), notes=(SOUND_ONLY,), **kind),
        Odd("spatial.mov", with_unknown_sound, notes=(SOUND_ONLY,), **kind),
        Odd(
            "spatial-first.mov",
            lambda path: with_unknown_sound(path, first=True),
            notes=(SOUND_ONLY,),
            **kind,
        ),
        Odd("mute.mp4", shot("mp4", "libx264"), code="sound_missing", **kind),
        Odd("聲音 📢.mp3", said("mp3", "libmp3lame"), shown="聲音 📢.mp3", **kind),
    ]


# --- films ---


def shot(
    form: str, codec: str, pix_fmt: str = "yuv420p", **options: Any
) -> Callable[[Path], object]:
    """Write a film of one second."""
    return lambda path: film(path, form, codec, pix_fmt, **options)


def sideways(path: Path) -> None:
    """Write what a phone held upright films."""
    lay_on_its_side(film(path, "mp4", "libx264"), 90)


def with_unknown_sound(path: Path, *, first: bool = False) -> None:
    """Write a film as new phones do: one sound as usual, and one that only its maker decodes."""
    with av.open(str(path), "w", format="mov") as made:
        picture: Any = made.add_stream("libx264", rate=16)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        voices: list[Any] = [made.add_stream("aac", rate=48_000, layout="mono") for _ in range(2)]
        for number in range(16):
            frame = av.VideoFrame.from_image(scene((64, 48)))
            frame.pts, frame.time_base = number, Fraction(1, 16)
            made.mux(picture.encode(frame))
        made.mux(picture.encode(None))
        for voice in voices:
            for samples in sound_frames(tone(48_000, 1.0), 48_000, "mono"):
                made.mux(voice.encode(samples))
            made.mux(voice.encode(None))
    data = path.read_bytes()
    known = data.index(b"mp4a", data.index(b"moov"))
    at = known if first else data.index(b"mp4a", data.index(b"trak", known))
    told = data.index(b"esds", at)
    path.write_bytes(data[:at] + b"apac" + data[at + 4 : told] + b"free" + data[told + 4 :])


def uneven(path: Path) -> None:
    """Write a film whose pictures do not come evenly, as phones and screen recorders make them."""
    with av.open(str(path), "w", format="mp4") as made:
        stream: Any = made.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for at in (0, 30, 70, 400, 430, 900, 960):
            picture = av.VideoFrame.from_image(scene((64, 48)))
            picture.pts, picture.time_base = at, Fraction(1, 1000)
            made.mux(stream.encode(picture))
        made.mux(stream.encode(None))


def _films() -> list[Odd]:
    kind: Any = {"kind": "film", "size": (64, 48)}
    quiet = {"options": {"x265-params": "log-level=none"}}
    return [
        Odd("new-phone.mov", shot("mov", "libx265", "yuv420p10le", **quiet), **kind),
        Odd("full-colour.mp4", shot("mp4", "libx264", "yuv444p"), **kind),
        Odd("old.mp4", shot("mp4", "mpeg4"), **kind),
        Odd("upright.mov", sideways, kind="film", size=(48, 64), notes=(UPRIGHT,)),
        Odd("screen.mp4", uneven, **kind),
        Odd("spatial.mov", with_unknown_sound, **kind),
        Odd("spatial-first.mov", lambda path: with_unknown_sound(path, first=True), **kind),
        Odd("mute.mp4", shot("mp4", "libx264"), **kind),
        Odd("clear.webm", shot("webm", "libvpx-vp9", "yuva420p"), **kind),
        Odd("edited.mov", shot("mov", "prores_ks", "yuv422p10le", with_sound="pcm_s16le"), **kind),
        Odd("saved.mkv", shot("matroska", "libx264", with_sound="libopus"), **kind),
        Odd("odd-sides.mp4", shot("mp4", "libx264", "yuv444p", size=(65, 49)), kind="film",
            size=(65, 49)),
        Odd("moves.gif", animated("GIF"), code=KIND, **kind),
        Odd("song.mp4", said("mp4", "aac"), code=KIND, **kind),
        Odd("windows.avi", shot("avi", "mpeg4"), code=UNKNOWN, **kind),
        Odd("windows.wmv", shot("asf", "wmv2"), code=UNKNOWN, **kind),
        Odd("cut.mp4", raw(b"\x00\x00\x00\x18ftypmp42" + bytes(400)), code=BROKEN, **kind),
        Odd("影片 🎬.mp4", shot("mp4", "libx264"), shown="影片 🎬.mp4", **kind),
    ]  # fmt: skip


ODD: Final = (*_pictures(), *_sounds(), *_films())
