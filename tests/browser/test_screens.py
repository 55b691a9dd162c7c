"""Pictures of the page in both languages, light and dark, on a desk and on a phone.

They go to `tests/artefacts/` for people to look at. With STUDIO_SAVE_SCREENSHOT=1 all eight sets
are taken, and the README's one picture is renewed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from studio import build as building
from studio.texts import local, text
from tests.browser.conftest import ARTEFACTS, OpenBrowser
from tests.browser.person import BLEND, TEXT, Person
from tests.tabs.site import PROJECT, Site, free_port, served

SAVE = os.environ.get("STUDIO_SAVE_SCREENSHOT") == "1"
PAIRS = [
    (1280, False, "en"),
    (1280, True, "zh-TW"),
    (390, False, "zh-TW"),
    (390, True, "en"),
]
"""Every width with every language, every light with both, in half the time of all eight."""

SHOWN = list(itertools.product([1280, 390], [False, True], ["en", "zh-TW"])) if SAVE else PAIRS
README_PICTURE = PROJECT / "docs" / "screenshot.png"
SAMPLES = sorted((PROJECT / "studio" / "tabs" / "assets" / "samples").glob("*.webp"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio in practice mode, quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "DEFAULT_COMFY", f"http://127.0.0.1:{free_port()}")
        with served(tmp_path_factory.mktemp("site"), practice_pace=0.05) as site:
            assert site.studio.practice is not None
            site.practice = site.studio.practice
            yield site


@pytest.mark.parametrize(("width", "dark", "language"), SHOWN)
def test_the_page_fits_at_every_moment(
    site: Site, open_browser: OpenBrowser, width: int, dark: bool, language: str
) -> None:
    context = open_browser(
        language=language, dark=dark, width=width, height=900 if width > 500 else 844
    )
    person = Person(site, context.new_page())
    camera = _Camera(person, f"{width}-{language}-{'dark' if dark else 'light'}", width)
    camera.take("1-empty")

    assert site.practice is not None
    site.practice.faults.hold("sampler", step=6)
    person.part("stage").locator(".studio-example").first.click()
    expect(person.field("prompt").locator("textarea")).not_to_be_empty()
    person.field("batch_size").get_by_test_id("number-input").fill("4")
    person.press("generate")
    expect(person.part("now").locator(".studio-line strong")).to_contain_text("6/8")
    person.field("batch_size").get_by_test_id("number-input").fill("1")
    person.press("generate")
    expect(person.part("now").locator(".studio-queue li")).to_have_count(1)
    camera.take("2-running")

    site.practice.faults.release()
    person.sees("completed")
    expect(person.part("recent").locator(".studio-thumb")).to_have_count(2)
    person.part("recent").locator(".studio-thumb").nth(1).click()
    expect(person.part("stage").locator("[data-full]")).to_have_count(4)
    camera.take("3-done")

    site.practice.faults.fail("sampler", message="practice failure")
    person.write("seed", "5")
    person.press("generate")
    person.sees_result(state="failed")
    camera.take("4-failed")

    person.open_tab(local(site.studio.catalog.tab(BLEND).title, language))
    person.field("images", BLEND).locator("input[type=file]").set_input_files(SAMPLES)
    expect(person.field("images", BLEND).locator(".studio-upload img")).to_have_count(3)
    person.press("generate", BLEND)
    person.sees_result(BLEND)
    banner = person.page.locator("#studio-banner summary")
    banner.click()
    camera.take("5-blend")

    person.open_tab(text("gallery.title", language))
    pieces = person.page.locator(".studio-piece")
    expect(pieces).to_have_count(4)
    banner.click()
    # What Chromium does for a picture of the whole page would move the strip of tabs.
    camera.take("6-gallery", whole=False)
    pieces.nth(3).get_by_role("button").click()
    expect(person.page.locator(".studio-large dl")).to_be_visible()
    camera.take("7-large", whole=False)


class _Camera:
    """Takes whole-page pictures, and asks each time that nothing sticks out."""

    def __init__(self, person: Person, name: str, width: int) -> None:
        self._page = person.page
        self._name = name
        self._width = width
        ARTEFACTS.mkdir(exist_ok=True)

    def take(self, moment: str, *, whole: bool = True) -> None:
        self._page.evaluate(
            "Promise.all([...document.images].map(image => image.decode().catch(() => 0)))"
        )
        self._page.screenshot(path=ARTEFACTS / f"{self._name}-{moment}.png", full_page=whole)
        assert self._page.evaluate("document.documentElement.scrollWidth") == self._width


@pytest.mark.skipif(not SAVE, reason="STUDIO_SAVE_SCREENSHOT=1 renews it")
def test_the_picture_of_the_readme(site: Site, open_browser: OpenBrowser) -> None:
    person = Person(site, open_browser(height=1000).new_page())
    person.field("aspect_ratio").get_by_text("3:2").click()
    person.field("batch_size").get_by_test_id("number-input").fill("4")
    person.order("A lighthouse on a cliff at dusk, warm window light, rolling sea", seed="42")
    expect(person.sees_result().locator("[data-full]")).to_have_count(4)

    README_PICTURE.parent.mkdir(exist_ok=True)
    person.page.locator(f"#studio-{TEXT}-now").hover()
    person.page.screenshot(path=README_PICTURE)

    assert Path(README_PICTURE).stat().st_size > 20_000
