"""Lengths told before anything runs."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.tabs import lengths
from tests.shipped import CATALOG
from tests.tabs.site import Site

HUMAN = CATALOG.tab("virtual_human")


def voice(folder: Path, seconds: float) -> dict[str, str]:
    path = folder / f"{seconds}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x10\x20" * round(8000 * seconds))
    return {"path": str(path), "orig_name": path.name}


@pytest.fixture
def human(site: Site) -> lengths.Lengths:
    return lengths.Lengths(site.studio.desk, HUMAN)


@pytest.mark.parametrize(
    ("language", "sound", "film"),
    [
        ("en", "Audio: 2.5 s", "2.5 s long (40 frames at 16 a second)"),
        ("zh-TW", "2.5 秒", "40 影格"),
    ],
)
def test_a_sound_says_its_length_and_that_of_the_film(
    human: lengths.Lengths, tmp_path: Path, language: str, sound: str, film: str
) -> None:
    said = human.line("g-ann", {"audio": voice(tmp_path, 2.5)}, language)

    assert sound in said
    assert film in said


def test_a_sound_that_is_too_long_is_told_at_once(human: lengths.Lengths, tmp_path: Path) -> None:
    with pytest.raises(StudioError) as told:
        human.line("g-ann", {"audio": voice(tmp_path, 41)}, "en")

    assert told.value.code == "file_too_long"


@pytest.mark.parametrize(
    ("language", "film"),
    [("en", "as long as the text takes to say: about 4 s"), ("zh-TW", "約 4 秒")],
)
def test_of_a_text_the_length_is_said_to_be_a_guess(
    human: lengths.Lengths, tmp_path: Path, language: str, film: str
) -> None:
    text = "Hello, how are you today? Welcome to our little shop."

    said = human.line("g-ann", {"audio": voice(tmp_path, 2.5), "text": text}, language)

    assert film in said
    assert "2.5" in said


def test_without_a_sound_nothing_is_said(human: lengths.Lengths) -> None:
    assert "hidden" in human.line("g-ann", {}, "en")


def test_a_film_from_words_says_its_length_too(site: Site) -> None:
    said = lengths.Lengths(site.studio.desk, CATALOG.tab("video")).line(
        "g-ann", {"kind": "text_to_video", "prompt": "waves"}, "en"
    )

    assert "The video will be 5.0 s long" in said


def test_a_tab_without_films_has_no_lengths(site: Site) -> None:
    assert not lengths.Lengths(site.studio.desk, CATALOG.tab("text_to_image")).asked
