"""The page around the job: languages, practice mode, servers away, phone, dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Request, expect

from studio import build as building
from tests.browser.conftest import OpenBrowser
from tests.browser.person import BLEND, TEXT, Person
from tests.tabs.site import Site, free_port, served


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio in practice mode, as a newcomer starts it."""
    with pytest.MonkeyPatch.context() as patch:
        # The default address may be somebody's real ComfyUI on this machine.
        patch.setattr(building, "DEFAULT_COMFY", f"http://127.0.0.1:{free_port()}")
        with served(tmp_path_factory.mktemp("site"), practice_pace=0.02) as site:
            yield site


@pytest.fixture
def phone(site: Site, open_browser: OpenBrowser) -> Person:
    return Person(site, open_browser(width=390, height=844, language="zh-TW").new_page())


@pytest.mark.parametrize(
    ("browser", "language", "generate"),
    [
        ("zh-TW", "zh-TW", "生成"),
        ("zh-HK", "zh-TW", "生成"),
        ("en-GB", "en", "Generate"),
        ("fr-FR", "en", "Generate"),
    ],
)
def test_the_browser_chooses_the_language(
    site: Site, open_browser: OpenBrowser, browser: str, language: str, generate: str
) -> None:
    person = Person(site, open_browser(language=browser).new_page())

    expect(person.page.locator(f"#studio-{TEXT}-generate")).to_have_text(generate)
    assert person.page.evaluate("document.documentElement.lang") == language
    expect(person.part("now")).to_contain_text("就緒" if language == "zh-TW" else "Ready")


def test_the_language_can_be_switched_and_is_remembered(ann: Person) -> None:
    ann.write("prompt", "a lighthouse")

    ann.page.get_by_title("繁體中文").click()

    expect(ann.page.locator(f"#studio-{TEXT}-generate")).to_have_text("生成")
    expect(ann.field("prompt").locator("textarea")).to_have_value("a lighthouse")
    ann.write("prompt", "")
    ann.press("generate")
    expect(ann.page.get_by_test_id("toast-body")).to_contain_text("提示詞")
    ann.reload()
    expect(ann.page.get_by_role("tab", name="圖片融合")).to_be_visible()
    ann.page.get_by_title("English").click()
    expect(ann.page.locator(f"#studio-{TEXT}-generate")).to_have_text("Generate")


def test_practice_mode_cannot_be_overlooked(ann: Person) -> None:
    banner = ann.page.locator("#studio-banner")
    expect(banner).to_contain_text(
        "Practice mode: no ComfyUI connected. Pictures are drawn placeholders."
    )
    expect(banner.locator("ol")).to_be_hidden()

    banner.get_by_text("How to connect one").click()

    expect(banner.locator("ol")).to_contain_text("http://127.0.0.1:8188")


def test_a_picture_is_made_in_practice_mode(ann: Person) -> None:
    ann.order()

    ann.sees_result()


def test_the_head_speaks_of_the_house(ann: Person) -> None:
    head = ann.page.locator("#studio-head")

    expect(head.locator(".studio-pill[data-state=practice]")).to_be_visible()
    expect(head).to_contain_text("Queue")
    expect(head).to_contain_text("Guest")


def test_the_head_is_renewed_each_five_seconds_and_not_while_the_page_is_hidden(
    site: Site, open_browser: OpenBrowser
) -> None:
    """The page's clock is moved on by hand; each renewal is one request."""
    page = open_browser().new_page()
    page.clock.install()
    Person(site, page)
    expect(page.locator(".studio-workers b")).to_have_text("1")
    head = page.evaluate(
        "window.gradio_config.components.find(one => one.props.elem_id === 'studio-head').id"
    )
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request) if renews(request, head) else None)

    with page.expect_request(lambda request: renews(request, head)):
        page.clock.run_for(5_000)
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, value: true})")
    before = len(asked)
    page.clock.run_for(60_000)
    assert len(asked) == before
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, value: false})")
    with page.expect_request(lambda request: renews(request, head)):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def renews(request: Request, head: int) -> bool:
    """Tell the head's own question from what the page asks while it opens."""
    return request.url.endswith("/run/predict") and request.post_data_json["trigger_id"] == head


def test_nothing_is_fetched_from_elsewhere(ann: Person) -> None:
    ann.order()
    ann.sees_result()

    assert ann.strangers == []


def test_a_phone_scrolls_down_only(phone: Person) -> None:
    for tab in ("圖片融合", "文字生圖"):
        phone.open_tab(tab)

        assert phone.page.evaluate("document.documentElement.scrollWidth") == 390


COVERS = """button => {
  const covers = new Set();
  for (let y = 0; y < 600; y += 12) {
    scrollTo(0, y);
    const { left, top, width, height } = button.getBoundingClientRect();
    for (const across of [0.02, 0.1, 0.3, 0.5, 0.9]) for (const down of [0.1, 0.5, 0.9]) {
      const found = document.elementFromPoint(left + across * width, top + down * height);
      if (!button.contains(found)) covers.add(found.outerHTML.slice(0, 120));
    }
  }
  return [...covers];
}"""
"""What lies over a button while the page scrolls behind it."""


def test_on_a_phone_generate_stays_in_sight(phone: Person) -> None:
    button = phone.page.locator(f"#studio-{TEXT}-generate")

    expect(button).to_be_in_viewport(ratio=1)
    phone.page.mouse.wheel(0, 150)
    expect(button).to_be_in_viewport(ratio=1)
    phone.open_tab("影片")
    assert phone.page.locator("#studio-video-generate").evaluate(COVERS) == []


def test_on_a_phone_every_tab_is_in_a_strip(phone: Person) -> None:
    tabs = phone.page.locator("#studio-tabs .tab-container > button")

    assert tabs.count() == len(phone.site.studio.catalog.tabs) + 1  # and the gallery
    assert phone.page.locator("#studio-tabs .overflow-menu").count() == 0
    assert len({box["y"] for box in (tab.bounding_box() for tab in tabs.all()) if box}) == 1


def test_on_a_phone_the_head_is_one_line(phone: Person) -> None:
    box = phone.page.locator(".studio-head").bounding_box()

    assert box is not None
    assert box["height"] <= 56
    boxes = [pill.bounding_box() for pill in phone.page.locator(".studio-pill:visible").all()]
    assert all(box is not None and box["x"] + box["width"] <= 390 for box in boxes)
    name = phone.page.locator(".studio-brand h1")
    assert name.evaluate("e => e.scrollWidth <= e.clientWidth"), "the name is cut"
    end = name.bounding_box()
    assert end is not None
    assert boxes[0] is not None
    assert end["x"] + end["width"] <= boxes[0]["x"]


def test_generate_on_a_phone_shows_what_happens(phone: Person) -> None:
    phone.order("燈塔")

    expect(phone.part("now").locator(".studio-line")).to_be_in_viewport()
    phone.sees_result()


def test_who_wants_calm_sees_nothing_move(site: Site, open_browser: OpenBrowser) -> None:
    context = open_browser()
    page = context.new_page()
    page.emulate_media(reduced_motion="reduce")
    person = Person(site, page)

    moving = (
        person.part("now")
        .locator(".studio-bar > i")
        .evaluate("bar => getComputedStyle(bar).transitionDuration")
    )
    assert moving == "0s"


def test_the_page_follows_a_dark_system(site: Site, open_browser: OpenBrowser) -> None:
    person = Person(site, open_browser(dark=True).new_page())

    colour = person.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert colour == "rgb(11, 14, 26)"


def test_a_configured_comfyui_that_is_away_is_named(
    open_browser: OpenBrowser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with served(tmp_path_factory.mktemp("away"), comfy_urls=(address,)) as site:
        person = Person(site, open_browser().new_page())

        banner = person.page.locator("#studio-banner")
        expect(banner).to_contain_text(f"127.0.0.1:{port}")
        expect(banner).not_to_contain_text("Practice")
        person.order()
        person.sees("pending")


def test_by_keys_lists_close_behind_one_and_choices_go_on_by_arrows(ann: Person) -> None:
    ratio = ann.field("aspect_ratio")
    chosen = ratio.locator("input:checked")
    ann.field("prompt").locator("textarea").focus()
    ann.page.keyboard.press("Tab")
    expect(ann.page.get_by_role("listbox")).to_be_visible()
    ann.page.keyboard.press("Tab")
    expect(chosen).to_be_focused()
    expect(ann.page.get_by_role("listbox")).to_have_count(0)

    ann.page.keyboard.press("ArrowRight")

    expect(chosen).to_have_value("3:2")
    expect(chosen).to_be_focused()
    ann.page.keyboard.press("Tab")
    expect(ratio.locator("input:focus")).to_have_count(0)
    ann.order()
    ann.sees_result()
    assert ann.jobs()[0].values["aspect_ratio"] == "3:2"


def test_a_blend_refuses_one_picture_with_a_sentence(ann: Person) -> None:
    ann.open_tab("Image blend")

    ann.press("generate", BLEND)

    expect(ann.page.get_by_test_id("toast-body")).to_contain_text("Pictures")
