"""What a program sends becomes the desk's values, whatever a workflow calls its fields."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from studio.errors import StudioError
from studio.web.sending import names_address, values_of
from tests.shipped import CATALOG

WAV = b"RIFF and so on"


def sent(folder: Path, workflow: str, **body: Any) -> dict[str, Any]:
    return values_of(body | {"workflow": workflow}, CATALOG.entry(workflow), folder)


def content(value: Any) -> bytes:
    return Path(value["path"]).read_bytes()


def test_images_fill_the_fields_for_pictures_in_order(tmp_path: Path) -> None:
    one, two = (base64.b64encode(data).decode() for data in (b"one", b"two"))

    values = sent(tmp_path, "face_swap", images=[one, two], prompt="")

    assert content(values["face"]) == b"one"
    assert content(values["body"]) == b"two"
    assert "images" not in values


def test_a_data_uri_of_sound_fills_the_field_for_sound(tmp_path: Path) -> None:
    coded = f"data:audio/wav;codecs=1;base64,{base64.b64encode(WAV).decode().rstrip('=')}"

    values = sent(tmp_path, "virtual_human", audio=coded, images=["a" * 8])

    assert content(values["audio"]) == WAV
    assert content(values["portrait"]) == base64.b64decode("a" * 8)


def test_prompts_fill_the_shots_of_a_long_video(tmp_path: Path) -> None:
    values = sent(tmp_path, "long_video", prompts=["one", "two"])

    assert (values["prompt_1"], values["prompt_2"], values["shots"]) == ("one", "two", 2)


def test_an_upload_and_a_result_are_named_and_not_copied(tmp_path: Path) -> None:
    ref = f"{'a' * 64}.png"
    mine = {"job_id": "j", "name": "001.png", "path": "/etc/passwd"}

    values = sent(tmp_path, "face_swap", face={"upload": ref, "name": "me.png"}, body=mine)

    assert values["face"] == {"ref": ref, "name": "me.png"}
    assert values["body"] == {"job_id": "j", "name": "001.png"}
    assert list(tmp_path.iterdir()) == []


def test_base64_is_read_over_several_pieces_and_lines(tmp_path: Path) -> None:
    large = bytes(range(256)) * 20_000
    lines = base64.encodebytes(large).decode()

    assert content(sent(tmp_path, "face_swap", face=lines)["face"]) == large


@pytest.mark.parametrize("text", ["not base64!", "data:image/png,plain", "a", "====", "é" * 8])
def test_what_is_no_base64_is_told_as_a_broken_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(StudioError) as refused:
        sent(tmp_path, "face_swap", face=text)

    assert (refused.value.code, refused.value.field) == ("file_broken", "face")


def test_more_pictures_than_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="field_count"):
        sent(tmp_path, "face_swap", images=["aaaa"] * 9)


def test_pictures_for_a_workflow_that_takes_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="field_unknown"):
        sent(tmp_path, "text_to_image", images=["aaaa"])


@pytest.mark.parametrize(
    "file",
    [
        "https://example.com/a.png",
        {"url": "https://example.com/a.png"},
        "HTTPS://example.com/a.png",
    ],
)
def test_an_address_is_named_and_not_fetched_here(tmp_path: Path, file: Any) -> None:
    values = sent(tmp_path, "face_swap", face=file)

    assert values["face"]["url"].lower() == "https://example.com/a.png"
    assert list(tmp_path.iterdir()) == []


def test_data_under_url_is_data(tmp_path: Path) -> None:
    values = sent(
        tmp_path, "face_swap", face={"url": "data:image/png;base64,b25l", "name": "a.png"}
    )

    assert content(values["face"]) == b"one"
    assert values["face"]["orig_name"] == "a.png"


@pytest.mark.parametrize(
    ("body", "so"),
    [
        ({"prompt": "a cat"}, False),
        ({"image": "aGk="}, False),
        ({"image": "https://example.com/"}, True),
        ({"values": {"images": [{"upload": "x"}, {"url": "http://example.com/"}]}}, True),
    ],
)
def test_an_order_that_names_an_address_is_told_from_others(body: Any, so: bool) -> None:
    assert names_address(body) is so
