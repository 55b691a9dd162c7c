"""Speech by microphone: Chromium's own false device, through to a finished film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from studio.practice import PracticeServer
from tests.browser.conftest import ARGUMENTS
from tests.browser.person import Person
from tests.shipped import CATALOG
from tests.tabs.site import Site, served

HUMAN = "virtual_human"
FALSE_DEVICE = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium whose microphone beeps, and which lets every page hear it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*ARGUMENTS, *FALSE_DEVICE]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page on a practice ComfyUI that has every model file."""
    models: dict[str, list[str]] = {}
    for one in CATALOG.models.values():
        models.setdefault(one.folder, []).append(one.file)
    practice = PracticeServer(pace_s=0, models=models)
    with practice, served(tmp_path_factory.mktemp("site"), practice) as site:
        yield site


def test_what_is_said_into_the_microphone_becomes_a_film_of_its_length(
    ann: Person, tmp_path: Path
) -> None:
    Image.new("RGB", (96, 64), "tan").save(tmp_path / "face.png")
    ann.open_tab("Virtual human")
    audio = ann.field("audio", HUMAN)
    audio.get_by_role("button", name="Record").click()
    expect(audio).to_contain_text("1 s")
    audio.get_by_role("button", name="Stop").click()
    expect(audio.locator("audio")).to_be_visible()
    length = ann.part("length", HUMAN)
    expect(length).to_contain_text("The video will be")

    ann.field("portrait", HUMAN).locator("input[type=file]").set_input_files(tmp_path / "face.png")
    expect(ann.field("portrait", HUMAN).locator(".studio-upload img")).to_be_visible()
    ann.press("generate", HUMAN)
    ann.sees_result(HUMAN)

    job = ann.jobs(HUMAN)[0]
    sound = next(one for one in job.given if one.field == "audio")
    assert sound.name.startswith("recording.")
    assert 0.3 < sound.seconds < 30
    assert abs(job.outputs[0].seconds - sound.seconds) < 0.2
