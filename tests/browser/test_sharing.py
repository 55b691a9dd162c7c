"""Sharing one result by a link: from the button to what a stranger sees, and its end."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import OpenBrowser
from tests.browser.person import TEXT, Person
from tests.browser.test_gallery import finish, large, pieces


def dialog(page: Page) -> Locator:
    return page.locator(".studio-share")


def test_a_result_is_shared_seen_by_a_stranger_and_shared_no_more(
    ann: Person, open_browser: OpenBrowser
) -> None:
    job = ann.site.studio.desk.submit(ann.who, TEXT, {"prompt": "a red barn", "seed": "5"})
    finish(ann, job.job_id)
    ann.page.reload()

    ann.part("stage").get_by_role("button", name="Share").click()

    link = dialog(ann.page).get_by_role("textbox")
    expect(link).to_have_value(re.compile(r"/shared/[\w.~-]+$"))
    expect(dialog(ann.page)).to_contain_text("The link works until")
    stranger = open_browser(language="zh-TW", width=390, height=844).new_page()
    stranger.goto(link.input_value())
    expect(stranger.get_by_role("heading")).to_have_text("與你分享的圖片")
    assert stranger.locator("img").evaluate("one => one.decode().then(() => one.naturalWidth)") > 0
    assert stranger.evaluate("document.documentElement.scrollWidth") == 390
    assert "a red barn" not in stranger.content()

    dialog(ann.page).get_by_role("button", name="Stop sharing").click()

    expect(dialog(ann.page)).to_contain_text("No longer shared")
    stranger.reload()
    expect(stranger.get_by_role("heading")).to_have_text("這個連結沒有內容。")
    ann.page.keyboard.press("Escape")
    expect(dialog(ann.page)).to_have_count(0)


def test_the_file_in_sight_of_the_large_view_is_shared(ann: Person) -> None:
    values = {"prompt": "two cats", "seed": "77", "batch_size": 2}
    job = ann.site.studio.desk.submit(ann.who, TEXT, values)
    finish(ann, job.job_id)
    ann.open_tab("Gallery")
    pieces(ann).first.get_by_role("button").first.click()
    large(ann).get_by_role("button", name="2", exact=True).click()

    large(ann).get_by_role("button", name="Share").click()

    expect(dialog(ann.page).get_by_role("textbox")).to_have_value(re.compile("/shared/"))
    (share,) = ann.site.studio.shares.listing(ann.who)
    assert share.name == "002.png"
    ann.page.keyboard.press("ArrowLeft")
    expect(dialog(ann.page)).to_be_visible()
