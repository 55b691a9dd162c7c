"""What a person has made and may do with it, and what a tab says before one presses."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.person import Person


def test_a_tab_says_before_one_presses_what_no_server_can_run(ann: Person) -> None:
    expect(ann.part("hints").locator(".studio-warn")).to_have_count(0)

    ann.open_tab("Face swap")

    hints = ann.part("hints", "face_swap")
    expect(hints.locator(".studio-warn").first).to_contain_text("qwen")
    expect(hints.locator(".studio-quiet")).to_have_text(
        "Only with the consent of the people shown."
    )
