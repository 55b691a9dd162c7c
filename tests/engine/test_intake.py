"""Files handed over in every way that forms and programs know."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from studio.engine.intake import Intake, Taken
from studio.engine.media import Media
from studio.engine.workflow.manifest import Manifest
from studio.errors import StudioError
from tests.elsewhere import Elsewhere, serving_files
from tests.engine.films import film, sound

LABEL = {"en": "x"}


def parameter(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "label": LABEL, "bind": [f"n.{name}"], **more}


MANIFEST = Manifest.model_validate(
    {
        "name": "try",
        "tab": "try",
        "title": LABEL,
        "category": "image",
        "graph": "try.json",
        "minimum_comfyui": "0.4.0",
        "parameters": [
            parameter("mask", "mask", same_size_as="picture"),
            parameter("picture", "image"),
            parameter("pictures", "images", bind=["n.image_1", "n.image_2"]),
            parameter("voice", "audio"),
            parameter("clip", "video"),
            parameter("prompt", "text"),
        ],
        "outputs": [{"node": "n", "kind": "image"}],
    }
)


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path / "store", max_bytes=20_000_000, max_pixels=1_000_000)


@pytest.fixture
def intake(media: Media, tmp_path: Path) -> Intake:
    def made(person: str, job_id: str, name: str) -> Path:
        if (person, job_id) != ("ann", "job-1"):
            raise StudioError("job_unknown", job_id=job_id)
        return tmp_path / name

    return Intake(media, made)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (80, 40), "blue").save(tmp_path / "given.png")
    return tmp_path / "given.png"


def take(intake: Intake, **values: Any) -> Taken:
    return intake.take("ann", MANIFEST, values)


def refused(intake: Intake, **values: Any) -> StudioError:
    with pytest.raises(StudioError) as caught:
        take(intake, **values)
    return caught.value


def stroke(tmp_path: Path, size: tuple[int, int] = (80, 40), *, painted: bool = True) -> str:
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    if painted:
        layer.paste((255, 0, 0, 255), (0, 0, size[0] // 2, size[1]))
    path = tmp_path / f"layer{len(list(tmp_path.iterdir()))}.png"
    layer.save(path)
    return str(path)


def test_uploads_earlier_inputs_and_own_results_are_one_picture(
    intake: Intake, picture: Path
) -> None:
    upload = take(intake, picture={"path": str(picture), "orig_name": "貓.png"})
    [given] = upload.given

    again = take(intake, picture={"ref": given.ref, "name": "貓.png"})
    result = take(intake, pictures=[picture, {"job_id": "job-1", "name": "given.png"}])

    assert (given.field, given.name, given.kind) == ("picture", "貓.png", "image")
    assert (given.width_px, given.height_px) == (80, 40)
    assert again.given == upload.given
    assert result.values["pictures"] == [given.ref, given.ref]
    assert upload.values["picture"] == given.ref


def test_what_is_no_file_passes_through(intake: Intake) -> None:
    values = {"prompt": "a cat", "picture": None, "pictures": [], "unknown": 3}

    assert take(intake, **values).values == values


def test_what_was_changed_of_a_file_is_told(intake: Intake, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])

    [given] = take(intake, picture=tmp_path / "a.gif").given

    assert given.notes == ("note.first_frame",)


@pytest.mark.parametrize("bad", [3, {}, {"path": 3}, {"orig_name": "a"}, "", {"path": ""}, True])
def test_what_is_no_file_is_refused_with_its_field(intake: Intake, bad: Any) -> None:
    error = refused(intake, pictures=[bad])

    assert (error.code, error.field) == ("field_wrong_type", "pictures")


def test_anothers_result_and_another_references_are_unknown(intake: Intake, picture: Path) -> None:
    error = refused(intake, picture={"job_id": "job-2", "name": "given.png"})
    assert (error.code, error.field) == ("job_unknown", "picture")

    ref = take(intake, picture=picture).given[0].ref
    with pytest.raises(StudioError) as caught:
        intake.take("ben", MANIFEST, {"picture": {"ref": ref}})
    assert caught.value.code == "file_unknown"


def test_a_file_of_another_kind_is_refused_with_its_field(
    intake: Intake, picture: Path, tmp_path: Path
) -> None:
    voice = sound(tmp_path / "a.wav", "wav", "pcm_s16le")

    for name, path in (("picture", voice), ("voice", picture), ("clip", voice)):
        error = refused(intake, **{name: path})
        assert (error.code, error.field) == ("file_kind", name)


@pytest.mark.parametrize(
    ("name", "fits", "not_"),
    [("picture", "HEIC", "MP3"), ("voice", "MP3", "PNG"), ("clip", "MOV", "MP3")],
)
def test_a_file_of_no_known_type_is_told_what_its_field_takes(
    intake: Intake, tmp_path: Path, name: str, fits: str, not_: str
) -> None:
    (tmp_path / "paper.pdf").write_bytes(b"%PDF-1.7")

    error = refused(intake, **{name: tmp_path / "paper.pdf"})

    assert error.code == "file_type_unsupported"
    assert fits in error.params["allowed"]
    assert not_ not in error.params["allowed"]


def test_a_field_for_sound_takes_the_sound_of_a_video(intake: Intake, tmp_path: Path) -> None:
    clip = film(tmp_path / "a.mp4", "mp4", "libx264", with_sound="aac", frames=32)

    spoken, shown = take(intake, voice=clip, clip=clip).given

    assert (spoken.kind, spoken.notes) == ("audio", ("note.sound_only",))
    assert (shown.kind, shown.width_px) == ("video", 64)
    assert spoken.seconds == pytest.approx(2.0, abs=0.1)


def test_a_painted_mask_has_its_pictures_size_though_it_is_named_first(
    intake: Intake, media: Media, picture: Path, tmp_path: Path
) -> None:
    editor = {
        "layers": [{"path": stroke(tmp_path, (40, 20))}],
        "background": None,
        "composite": None,
    }

    taken = take(intake, mask=editor, picture=picture)

    mask = next(given for given in taken.given if given.field == "mask")
    assert (mask.width_px, mask.height_px) == (80, 40)
    with Image.open(media.path("ann", mask.ref)) as stored:
        white = np.asarray(stored)
    assert (white[:, :38] == 255).all()
    assert (white[:, 42:] == 0).all()


def test_a_mask_may_be_turned_round_and_softened(
    intake: Intake, media: Media, picture: Path, tmp_path: Path
) -> None:
    editor = {"layers": [stroke(tmp_path)], "invert": True, "feather_px": 6}

    taken = take(intake, picture=picture, mask=editor)

    with Image.open(media.path("ann", taken.values["mask"])) as stored:
        row = np.asarray(stored)[20].astype(int)
    assert (row[0], row[79]) == (0, 255)
    assert len(set(row)) > 4


@pytest.mark.parametrize("feather", [-1, "much", True, 5000])
def test_a_feather_that_is_no_number_of_pixels_is_refused(
    intake: Intake, picture: Path, tmp_path: Path, feather: Any
) -> None:
    error = refused(
        intake, picture=picture, mask={"layers": [stroke(tmp_path)], "feather_px": feather}
    )

    assert (error.code, error.field) == ("field_wrong_type", "mask")


def test_an_unpainted_mask_is_told_at_its_field(
    intake: Intake, picture: Path, tmp_path: Path
) -> None:
    for layers in ([], [stroke(tmp_path, painted=False)]):
        error = refused(intake, picture=picture, mask={"layers": layers})

        assert (error.code, error.field) == ("nothing_painted", "mask")


def test_a_mask_of_another_shape_is_told_at_its_field(
    intake: Intake, picture: Path, tmp_path: Path
) -> None:
    error = refused(intake, picture=picture, mask=stroke(tmp_path, (50, 50)))

    assert (error.code, error.field) == ("mask_other_size", "mask")


def test_of_a_canvas_the_whole_drawing_is_the_picture(intake: Intake, tmp_path: Path) -> None:
    drawn = stroke(tmp_path)
    canvas = {"background": None, "layers": [drawn], "composite": {"path": drawn}}

    [given] = take(intake, picture=canvas).given

    assert given.notes == ("note.transparency_white",)
    empty = {"background": None, "layers": [], "composite": None}
    assert refused(intake, picture=empty).code == "nothing_painted"


# --- files elsewhere ----------------------------------------------------------------------------


@pytest.fixture
def elsewhere(picture: Path) -> Iterator[Elsewhere]:
    """A place outside with a picture, a text that is called one, and a bomb of a picture."""
    with serving_files(
        {
            "/cat.png": picture.read_bytes(),
            "/text.png": b"<html>inner words</html>",
            "/bomb.png": png_of(30_000, 30_000),
            "/big.png": b"x" * 20_000_001,
        }
    ) as there:
        yield there


def test_a_file_is_fetched_from_an_address_and_called_as_there(
    media: Media, elsewhere: Elsewhere
) -> None:
    intake = Intake(media, no_result, elsewhere.outside)

    [given] = take(intake, picture={"url": elsewhere.url("/cat.png")}).given
    [named] = take(intake, picture={"url": elsewhere.url("/cat.png"), "name": "Tom"}).given

    assert (given.name, given.width_px, given.height_px) == ("cat.png", 80, 40)
    assert (named.name, named.ref) == ("Tom", given.ref)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/text.png", "file_type_unsupported"),
        ("/bomb.png", "picture_too_large"),
        ("/big.png", "file_too_large"),
        ("/gone.png", "url_refused"),
    ],
)
def test_what_is_no_usable_picture_elsewhere_is_refused_and_not_echoed(
    media: Media, elsewhere: Elsewhere, path: str, code: str
) -> None:
    error = refused(
        Intake(media, no_result, elsewhere.outside), picture={"url": elsewhere.url(path)}
    )

    assert (error.code, error.field) == (code, "picture")
    assert "inner words" not in str(error)


def test_addresses_are_refused_where_the_host_does_not_want_them(intake: Intake) -> None:
    error = refused(intake, picture={"url": "http://93.184.215.14/"})

    assert (error.code, error.field) == ("urls_off", "picture")


def test_nothing_fetched_is_left_in_the_temporary_folder(
    media: Media, elsewhere: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    intake = Intake(media, no_result, elsewhere.outside)

    take(intake, picture={"url": elsewhere.url("/cat.png")})
    refused(intake, pictures=[{"url": elsewhere.url(path)} for path in ("/cat.png", "/text.png")])

    assert list(scratch.iterdir()) == []
    assert elsewhere.asked == ["/cat.png", "/cat.png", "/text.png"]


def no_result(person: str, job_id: str, name: str) -> Path:
    raise StudioError("job_unknown", job_id=job_id)


def png_of(width: int, height: int) -> bytes:
    """The head of a picture of any size: enough to say how large it would be."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
