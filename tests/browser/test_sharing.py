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
    dialog(ann.page).get_by_text("30 days").click()
    dialog(ann.page).get_by_role("button", name="Make the link").click()

    link = dialog(ann.page).get_by_role("textbox")
    expect(link).to_have_value(re.compile(r"/shared/[\w.~-]+$"))
    expect(dialog(ann.page)).to_contain_text("The link works until")
    (share,) = ann.site.studio.shares.listing(ann.who)
    assert round((share.expires_us - share.created_us) / 86_400e6) == 30
    dialog(ann.page).get_by_role("button", name="Copy").click()
    expect(dialog(ann.page).get_by_role("status")).to_have_text("Copied")
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


def test_of_a_batch_one_shares_the_file_in_sight_and_those_one_picks(ann: Person) -> None:
    values = {"prompt": "two cats", "seed": "77", "batch_size": 3}
    job = ann.site.studio.desk.submit(ann.who, TEXT, values)
    finish(ann, job.job_id)
    ann.open_tab("Gallery")
    pieces(ann).first.get_by_role("button").first.click()
    large(ann).get_by_role("button", name="2", exact=True).click()
    shared = lambda: [one.name for one in ann.site.studio.shares.listing(ann.who)]  # noqa: E731

    large(ann).get_by_role("button", name="Share").click()
    dialog(ann.page).get_by_role("button", name="Make the link").click()

    expect(dialog(ann.page).get_by_role("textbox")).to_have_value(re.compile("/shared/"))
    assert shared() == ["002.png"]
    dialog(ann.page).get_by_role("button", name="File 3").click()
    dialog(ann.page).get_by_role("button", name="Make 2 links").click()
    expect(dialog(ann.page).get_by_role("textbox")).to_have_count(2)
    assert sorted(shared()) == ["002.png", "003.png"]
    ann.page.keyboard.press("ArrowLeft")
    expect(dialog(ann.page)).to_be_visible()


def test_a_fault_of_a_queued_event_is_read_and_closed_over_an_open_view(ann: Person) -> None:
    job = ann.site.studio.desk.submit(ann.who, TEXT, {"prompt": "a red barn", "seed": "6"})
    finish(ann, job.job_id)
    ann.reload()
    ann.part("stage").locator("[data-full]").click()
    view = ann.page.locator("dialog.studio-view")
    expect(view).to_be_visible()

    ann.page.locator(f"#studio-{TEXT}-generate").dispatch_event("click")

    expect(view.get_by_test_id("toast-body")).to_contain_text("Prompt")
    view.get_by_test_id("toast-close").click()
    expect(ann.page.get_by_test_id("toast-body")).to_have_count(0)
    ann.page.keyboard.press("Escape")
    ann.press("generate")
    expect(ann.page.get_by_test_id("toast-body")).to_contain_text("Prompt")
