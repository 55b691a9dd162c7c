"""What a person has made and may do with it, and what a tab says before one presses."""

from __future__ import annotations

import asyncio
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Locator, expect

from studio import texts
from tests.browser.conftest import OpenBrowser
from tests.browser.person import BLEND, TEXT, Person
from tests.tabs.site import Site


def test_a_tab_says_before_one_presses_what_no_server_can_run(ann: Person) -> None:
    expect(ann.part("hints").locator(".studio-warn")).to_have_count(0)

    ann.open_tab("Face swap")

    hints = ann.part("hints", "face_swap")
    expect(hints.locator(".studio-warn").first).to_contain_text("qwen")
    expect(hints.locator(".studio-quiet")).to_have_text(
        "Only with the consent of the people shown."
    )


@pytest.fixture
def gallery(ann: Person) -> Person:
    """Ann with three cancelled jobs and a later one of three pictures, in her open gallery."""
    return opened(ann, 3)


def opened(ann: Person, cancelled: int, *, seen: int | None = None) -> Person:
    desk, who = ann.site.studio.desk, ann.who
    for n in range(1, cancelled + 1):
        values = {"prompt": f"a lighthouse {n}, 海邊的燈塔", "seed": str(n)}
        desk.cancel(who, desk.submit(who, TEXT, values).job_id)
    values = {"prompt": "three cats", "seed": "77", "batch_size": 3}
    made = desk.submit(who, TEXT, values).job_id
    finish(ann, made)
    ann.open_tab("Gallery")
    expect(pieces(ann)).to_have_count(cancelled + 1 if seen is None else seen)
    return ann


def finish(ann: Person, job_id: str) -> None:
    """Wait until a job has ended."""
    who = ann.who

    async def ended() -> None:
        async for _ in ann.site.studio.desk.follow(who, job_id):
            pass

    with ThreadPoolExecutor(1) as pool:  # Playwright's own loop runs in this thread
        pool.submit(asyncio.run, asyncio.wait_for(ended(), 60)).result()


def pieces(ann: Person) -> Locator:
    return ann.page.locator(".studio-piece")


def large(ann: Person) -> Locator:
    return ann.page.locator(".studio-large")


def test_results_come_newest_first_and_more_of_them_as_one_scrolls_down(ann: Person) -> None:
    page = ann.page
    page.set_viewport_size({"width": 390, "height": 844})
    gallery = opened(ann, 31, seen=24)
    expect(pieces(gallery).first).to_contain_text("three cats")
    expect(page.locator(".studio-gallery-line")).to_contain_text("32 results")

    page.get_by_role("button", name="Show more").scroll_into_view_if_needed()

    expect(pieces(gallery)).to_have_count(32)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    pieces(gallery).last.scroll_into_view_if_needed()
    expect(pieces(gallery).last).to_contain_text("a lighthouse 1,")
    expect(pieces(gallery).first.locator("img")).to_have_count(0)  # far away it is a shell
    page.evaluate("scrollTo(0, 0)")
    expect(pieces(gallery).first.locator("img")).to_have_count(1)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_filters_find_by_words_state_and_favourites(gallery: Person) -> None:
    page = gallery.page
    page.get_by_role("searchbox").fill("燈塔 lighthouse 2")
    expect(pieces(gallery)).to_have_count(1)
    expect(page.locator(".studio-gallery-line")).to_contain_text("1 result")
    page.get_by_role("button", name="Clear filters").click()
    expect(pieces(gallery)).to_have_count(4)

    workflow = page.get_by_label("Workflow")
    workflow.select_option(label="All of Text to image")
    expect(pieces(gallery)).to_have_count(4)
    workflow.select_option("text_to_image_checkpoint")
    expect(pieces(gallery)).to_have_count(0)
    workflow.select_option(label="Upscale")
    expect(page.get_by_text("Nothing fits these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(pieces(gallery)).to_have_count(4)
    page.get_by_label("State").select_option("completed")
    expect(pieces(gallery)).to_have_count(1)
    page.get_by_role("button", name="Favourites").click()
    expect(pieces(gallery)).to_have_count(0)
    expect(page.get_by_text("Nothing fits these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(pieces(gallery)).to_have_count(4)
    page.get_by_role("textbox", name="To").fill("2020-01-01")
    expect(pieces(gallery)).to_have_count(0)


def test_the_large_view_goes_on_by_keys_and_knows_favourites(gallery: Person) -> None:
    page = gallery.page
    pieces(gallery).first.get_by_role("button").click()
    expect(large(gallery)).to_contain_text("77")
    large(gallery).get_by_role("button", name="Favourite").click()
    expect(large(gallery).get_by_role("button", name="♥ Favourite")).to_be_visible()
    large(gallery).get_by_role("button", name="2", exact=True).click()
    with page.expect_download() as download:
        large(gallery).get_by_role("link", name="Download", exact=True).click()
    assert download.value.suggested_filename.endswith("_seed77_2.png")

    page.keyboard.press("ArrowRight")

    expect(large(gallery)).to_contain_text("a lighthouse 3")
    page.get_by_role("button", name="Previous").click()
    expect(large(gallery)).to_contain_text("three cats")
    page.keyboard.press("Escape")
    expect(pieces(gallery).first.locator(".studio-heart")).to_be_visible()


def test_what_is_deleted_can_be_brought_back(gallery: Person) -> None:
    pieces(gallery).first.get_by_role("button").click()
    large(gallery).get_by_role("button", name="Delete").click()
    expect(pieces(gallery).first).to_contain_text("a lighthouse 3")

    gallery.page.get_by_role("button", name="Undo").click()

    expect(pieces(gallery).first).to_contain_text("three cats")


def test_several_are_selected_and_taken_home_as_one_zip(gallery: Person) -> None:
    page = gallery.page
    page.get_by_role("button", name="Select", exact=True).click()
    pieces(gallery).nth(1).get_by_role("button").click()
    expect(page.get_by_role("button", name="Download as ZIP")).to_be_disabled()
    page.get_by_role("button", name="Select all").click()
    expect(page.locator(".studio-selected")).to_contain_text("4 selected")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download as ZIP").click()

    with zipfile.ZipFile(download.value.path()) as packed:
        assert len(packed.namelist()) == 3


def test_use_again_and_send_to_fill_the_right_tab(gallery: Person) -> None:
    page = gallery.page
    pieces(gallery).first.get_by_role("button").click()
    large(gallery).get_by_role("button", name="Use again").click()
    expect(gallery.field("prompt").locator("textarea")).to_have_value("three cats")
    expect(gallery.field("seed").locator("textarea, input").first).to_have_value("77")

    gallery.open_tab("Gallery")
    pieces(gallery).first.get_by_role("button").click()
    for _ in range(2):
        large(gallery).get_by_text("Send to").click()
        large(gallery).get_by_role("button", name="Image blend · Pictures").click()
        expect(gallery.field("images", BLEND)).to_be_visible()
        gallery.open_tab("Gallery")
        pieces(gallery).first.get_by_role("button").click()
    page.keyboard.press("Escape")
    gallery.open_tab("Image blend")
    expect(gallery.field("images", BLEND).locator(".studio-upload img")).to_have_count(2)
    gallery.press("generate", BLEND)
    gallery.sees_result(BLEND)
    assert [one.kind for one in gallery.jobs(BLEND)[0].given] == ["image", "image"]


def test_the_gallery_on_a_phone_scrolls_down_only(site: Site, open_browser: OpenBrowser) -> None:
    phone = Person(site, open_browser(width=390, height=844, language="zh-TW").new_page())
    job = site.studio.desk.submit(phone.who, TEXT, {"prompt": "很長的提示詞" * 40})
    finish(phone, job.job_id)
    phone.open_tab("作品集")

    expect(pieces(phone)).to_have_count(1)
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    pieces(phone).first.get_by_role("button").click()
    expect(large(phone)).to_contain_text("文字生圖")
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390
    assert large(phone).evaluate("view => view.scrollWidth") <= 390


def test_keys_walk_to_both_ends_and_on_to_the_next_page(ann: Person) -> None:
    gallery = opened(ann, 26)
    page, title = ann.page, large(ann).locator("h3")
    pieces(gallery).nth(23).get_by_role("button").click()
    expect(title).to_contain_text("a lighthouse 4,")

    for n in (3, 2, 1):
        page.keyboard.press("ArrowRight")
        expect(title).to_contain_text(f"a lighthouse {n},")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")

    expect(title).to_contain_text("a lighthouse 2,")
    page.keyboard.press("Escape")
    expect(large(ann)).to_have_count(0)
    expect(pieces(gallery)).to_have_count(27)


def test_a_finger_walks_through_the_large_view(site: Site, open_browser: OpenBrowser) -> None:
    phone = Person(site, open_browser(width=390, height=844).new_page())
    opened(phone, 2)
    finger = Finger(phone)
    pieces(phone).first.get_by_role("button").tap()
    title = large(phone).locator("h3")
    expect(title).to_contain_text("three cats")

    finger.draws(from_x=330, to_x=90)
    expect(title).to_contain_text("a lighthouse 2")
    finger.draws(from_x=330, to_x=90)  # where nothing was made there is no picture to touch
    expect(title).to_contain_text("a lighthouse 1")
    finger.draws(from_x=90, to_x=330)
    expect(title).to_contain_text("a lighthouse 2")
    finger.draws(from_x=200, to_x=170)  # too short a way
    finger.draws(from_x=260, to_x=190, down=300)  # this one scrolls
    finger.draws(from_x=90, to_x=330)

    expect(title).to_contain_text("three cats")
    assert phone.complaints == []


class Finger:
    """A finger on the glass, as Chromium itself hears of it."""

    def __init__(self, person: Person) -> None:
        self._glass = person.page.context.new_cdp_session(person.page)

    def draws(self, *, from_x: int, to_x: int, down: int = 0) -> None:
        self._touch("touchStart", from_x, 150)
        for part in (0.25, 0.5, 0.75, 1.0):
            self._touch("touchMove", from_x + (to_x - from_x) * part, 150 + down * part)
        self._touch("touchEnd")

    def _touch(self, kind: str, *at: float) -> None:
        points = [{"x": at[0], "y": at[1]}] if at else []
        self._glass.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_what_goes_wrong_is_told_over_the_large_view(gallery: Person) -> None:
    page, desk = gallery.page, gallery.site.studio.desk
    pieces(gallery).first.get_by_role("button").click()
    favour = large(gallery).get_by_role("button", name="Favourite")
    expect(favour).to_be_visible()
    seen = pieces(gallery).first.get_attribute("data-job")
    assert desk.delete(gallery.who, [str(seen)]) == (seen,)

    favour.click()

    said = page.get_by_role("alert")
    expect(said).to_have_text(words_of("job_unknown"))
    said.click(trial=True)  # nothing lies over it
    page.keyboard.press("Escape")
    expect(pieces(gallery).first).to_contain_text("a lighthouse 3")
    expect(said).to_be_visible()
    gallery.complaints.remove(REFUSED)


def words_of(code: str) -> str:
    return " ".join(texts.explain_code(code, {}, "en"))


REFUSED = (
    "Failed to load resource: the server responded with a status of 500 (Internal Server Error)"
)
"""Chromium's own words in the console."""


def test_the_tabs_hear_of_what_is_deleted_and_brought_back(gallery: Person) -> None:
    strip = gallery.part("recent").locator(".studio-thumb")
    gallery.reload()
    expect(strip).to_have_count(4)
    gallery.open_tab("Gallery")
    pieces(gallery).first.get_by_role("button").click()

    large(gallery).get_by_role("button", name="Delete").click()
    expect(strip).to_have_count(3)
    expect(gallery.part("stage").locator("[data-state=completed]")).to_have_count(0)
    gallery.page.get_by_role("button", name="Undo").click()

    expect(strip).to_have_count(4)
