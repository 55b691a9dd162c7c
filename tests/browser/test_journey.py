"""From Generate to the picture, through the real chain, as a person sees it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from studio.engine.jobs import State
from studio.practice import PracticeServer
from tests.browser.conftest import OpenBrowser
from tests.browser.person import BLEND, TEXT, Person
from tests.tabs.site import CHECKPOINT, Site


@pytest.fixture
def practice(site: Site) -> PracticeServer:
    assert site.practice is not None
    return site.practice


def test_generate_shows_a_preview_then_the_picture(ann: Person, practice: PracticeServer) -> None:
    practice.faults.hold("sampler", step=4)
    seed = ann.order("a lighthouse")
    preview = ann.part("stage").locator("img.studio-preview")
    expect(preview).to_have_attribute("src", re_data())
    line = ann.part("now").locator(".studio-line strong")
    expect(line).to_contain_text("4/8")

    practice.faults.release()
    stage = ann.sees_result()

    expect(stage.locator(".studio-seed")).to_have_text(seed)
    assert (
        stage.locator("img.studio-picture").first.evaluate(
            "image => image.decode().then(() => image.naturalWidth)"
        )
        == 1024
    )
    expect(ann.part("now").locator(".studio-bar")).to_have_attribute("aria-valuenow", "100.0")
    assert ann.strangers == []


def re_data() -> object:
    import re

    return re.compile("^data:image/")


def test_a_reload_in_mid_job_finds_it_again_with_its_progress(
    ann: Person, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler", step=4)
    seed = ann.order()
    expect(ann.part("now").locator(".studio-line strong")).to_contain_text("4/8")

    ann.reload()

    expect(ann.part("now").locator(".studio-line strong")).to_contain_text("4/8")
    expect(ann.page.locator(f"#studio-{TEXT}-cancel")).to_be_enabled()
    practice.faults.release()
    expect(ann.sees_result().locator(".studio-seed")).to_have_text(seed)
    assert len(ann.jobs()) == 1


def test_another_tab_of_the_same_browser_follows_too(ann: Person, practice: PracticeServer) -> None:
    other = Person(ann.site, ann.page.context.new_page())
    practice.faults.hold("sampler", step=4)

    seed = ann.order()

    expect(other.part("now").locator(".studio-line strong")).to_contain_text("4/8")
    practice.faults.release()
    expect(other.sees_result().locator(".studio-seed")).to_have_text(seed)
    expect(ann.sees_result().locator(".studio-seed")).to_have_text(seed)


def test_closing_the_page_changes_nothing(ann: Person, practice: PracticeServer) -> None:
    practice.faults.hold("sampler", step=4)
    seed = ann.order()
    practice.wait_for("progress:4")
    context = ann.page.context
    ann.page.close()

    practice.faults.release()
    later = Person(ann.site, context.new_page())

    expect(later.sees_result().locator(".studio-seed")).to_have_text(seed)


def test_cancel_stops_the_real_job(ann: Person, practice: PracticeServer) -> None:
    practice.faults.hold("sampler", step=4)
    ann.order()
    expect(ann.part("now").locator(".studio-line strong")).to_contain_text("4/8")

    ann.press("cancel")

    expect(ann.part("now").locator(".studio-now")).to_have_attribute(
        "data-state", "cancelled", timeout=3000
    )
    ann.sees_result(state="cancelled")
    assert [job.state for job in ann.jobs()] == [State.CANCELLED]
    expect(ann.page.locator(f"#studio-{TEXT}-cancel")).to_be_disabled()


def test_two_presses_make_two_jobs_and_each_can_be_cancelled(
    ann: Person, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler", step=4)
    ann.order("the first")
    expect(ann.part("now").locator(".studio-line strong")).to_contain_text("4/8")
    ann.order("the second")
    row = ann.part("now").locator(".studio-queue li", has_text="the second")

    row.get_by_role("button", name="Cancel").click()

    expect(row).to_have_count(0)
    practice.faults.release()
    ann.sees("completed")
    assert {job.values["prompt"]: job.state for job in ann.jobs()} == {
        "the first": State.COMPLETED,
        "the second": State.CANCELLED,
    }


def test_both_of_two_jobs_are_shown_one_after_the_other(ann: Person) -> None:
    ann.order("the first")
    ann.order("the second")

    expect(ann.part("recent").locator(".studio-thumb")).to_have_count(2)

    assert [job.state for job in ann.jobs()] == [State.COMPLETED] * 2


def test_a_failed_job_says_why_and_can_be_tried_again(
    ann: Person, practice: PracticeServer
) -> None:
    practice.faults.fail("sampler", message="the <b>card</b> is tired")
    ann.order()

    stage = ann.sees_result(state="failed")

    expect(stage.locator("strong")).to_contain_text("the <b>card</b> is tired")
    expect(stage.locator("p")).not_to_be_empty()
    stage.get_by_role("button", name="Retry").click()
    ann.sees_result()


def test_what_is_missing_reads_as_a_sentence(ann: Person) -> None:
    ann.press("generate")

    toast = ann.page.get_by_test_id("toast-body")
    expect(toast).to_contain_text("Prompt")
    assert ann.jobs() == []


def test_use_again_fills_the_form_exactly(ann: Person) -> None:
    seed = "18446744073709551615"
    ann.choose("model", CHECKPOINT)
    ann.write("negative_prompt", "fog")
    ann.field("aspect_ratio").get_by_text("16:9").click()
    ann.order("a cat, 貓", seed=seed)
    stage = ann.sees_result()
    ann.write("prompt", "something else")
    ann.write("seed", "-1")
    ann.field("aspect_ratio").get_by_text("1:1").click()
    ann.choose("model", "Z-Image Turbo")

    stage.get_by_role("button", name="Use again").click()

    expect(ann.field("prompt").locator("textarea")).to_have_value("a cat, 貓")
    expect(ann.field("seed").locator("input, textarea")).to_have_value(seed)
    expect(ann.field("negative_prompt").locator("textarea")).to_have_value("fog")
    expect(ann.field("model").locator("input")).to_have_value(CHECKPOINT)
    expect(ann.field("aspect_ratio").get_by_role("radio", name="16:9")).to_be_checked()


def test_the_form_follows_the_model(ann: Person) -> None:
    expect(ann.field("negative_prompt")).to_be_hidden()

    ann.choose("model", CHECKPOINT)

    expect(ann.field("negative_prompt")).to_be_visible()
    ann.page.get_by_text("Advanced").click()
    expect(ann.field("steps").get_by_test_id("number-input")).to_have_value("25")
    ann.choose("model", "Z-Image Turbo")
    expect(ann.field("negative_prompt")).to_be_hidden()
    expect(ann.field("steps").get_by_test_id("number-input")).to_have_value("8")


def test_all_pictures_of_a_batch_can_be_seen_large_and_taken_home(ann: Person) -> None:
    ann.field("batch_size").get_by_test_id("number-input").fill("3")
    seed = ann.order()
    stage = ann.sees_result()
    expect(stage.locator("[data-full]")).to_have_count(3)

    stage.locator("[data-full]").nth(1).click()
    view = ann.page.locator("dialog.studio-view")
    expect(view).to_contain_text("2 / 3")
    ann.page.keyboard.press("ArrowRight")
    expect(view).to_contain_text("3 / 3")
    with ann.page.expect_download() as download:
        view.get_by_role("link", name="Download").click()
    ann.page.keyboard.press("Escape")

    assert download.value.suggested_filename.endswith(f"_seed{seed}_3.png")
    expect(view).to_have_count(0)


def test_an_earlier_result_is_a_click_away(ann: Person) -> None:
    first = ann.order("the first")
    ann.sees_result()
    second = ann.order("the second")
    expect(ann.part("stage").locator(".studio-seed")).to_have_text(second)

    ann.part("recent").locator(".studio-thumb").nth(1).click()

    expect(ann.part("stage").locator(".studio-seed")).to_have_text(first)


def test_an_earlier_result_stays_in_sight_while_a_job_runs(
    ann: Person, practice: PracticeServer
) -> None:
    first = ann.order("the first")
    ann.sees_result()
    practice.faults.hold("sampler", step=4)
    ann.order("the second")
    expect(ann.part("now").locator(".studio-line strong")).to_contain_text("4/8")

    ann.part("recent").locator(".studio-thumb").first.click()
    expect(ann.part("stage").locator(".studio-seed")).to_have_text(first)
    practice.faults.release()
    ann.sees("completed")

    expect(ann.part("recent").locator(".studio-thumb")).to_have_count(2)
    expect(ann.part("stage").locator(".studio-seed")).to_have_text(first)


def test_an_example_fills_the_form(ann: Person) -> None:
    example = ann.part("stage").locator(".studio-example").first
    words = example.inner_text()

    example.click()

    expect(ann.field("prompt").locator("textarea")).to_have_value(words)


def test_a_prompt_is_shown_as_text_and_never_run(ann: Person) -> None:
    ann.order('<img src=x onerror="window.broken=1"> ${window.broken=2} `x`')
    ann.sees_result()
    ann.reload()
    ann.sees_result()

    assert ann.page.evaluate("window.broken") is None


def test_pictures_are_blended_in_the_order_shown(ann: Person, tmp_path: Path) -> None:
    files = []
    for colour, size in (("red", (60, 40)), ("green", (40, 60)), ("blue", (80, 80))):
        Image.new("RGB", size, colour).save(tmp_path / f"{colour}.png")
        files.append(tmp_path / f"{colour}.png")
    ann.open_tab("Image blend")
    images = ann.field("images", BLEND)
    images.locator("input[type=file]").set_input_files(files)
    expect(images.locator(".studio-upload img")).to_have_count(3)
    images.get_by_role("button", name="Remove 2").click()
    images.get_by_role("button", name="Move earlier 2").click()
    expect(images.locator(".studio-upload img").first).to_have_attribute("alt", "blue.png")

    ann.press("generate", BLEND)
    ann.sees_result(BLEND)

    job = ann.jobs(BLEND)[0]
    assert len(job.values["images"]) == 2
    assert (job.outputs[0].width_px, job.outputs[0].height_px) == (80, 80)


def test_use_again_brings_the_pictures_back(ann: Person) -> None:
    ann.open_tab("Image blend")
    ann.part("stage", BLEND).locator(".studio-example").first.click()
    images = ann.field("images", BLEND)
    expect(images.locator(".studio-upload img")).to_have_count(2)
    ann.press("generate", BLEND)
    ann.sees_result(BLEND)
    ann.reload()
    ann.open_tab("Image blend")
    images.get_by_role("button", name="Remove 1").click()

    ann.part("stage", BLEND).get_by_role("button", name="Use again").click()

    expect(images.locator(".studio-upload img")).to_have_count(2)
    ann.press("generate", BLEND)
    expect(ann.part("recent", BLEND).locator(".studio-thumb")).to_have_count(2)
    first, second = ann.jobs(BLEND)
    assert first.values == second.values


def test_each_tab_keeps_its_own_fields_and_result(ann: Person) -> None:
    seed = ann.order("a lighthouse")
    ann.sees_result()

    ann.open_tab("Image blend")
    expect(ann.part("stage", BLEND).locator(".studio-example").first).to_be_visible()
    ann.open_tab("Text to image")

    expect(ann.field("prompt").locator("textarea")).to_have_value("a lighthouse")
    expect(ann.part("stage").locator(".studio-seed")).to_have_text(seed)


def test_another_person_sees_none_of_it(ann: Person, page: Page, open_browser: OpenBrowser) -> None:
    ann.order()
    picture = ann.sees_result().locator("img.studio-picture").get_attribute("src")

    ben = Person(ann.site, open_browser().new_page())

    expect(ben.part("stage").locator(".studio-example").first).to_be_visible()
    expect(ben.part("recent").locator(".studio-thumb")).to_have_count(0)
    answer = ben.page.request.get(f"{ann.site.url}/{picture}")
    assert answer.status == 404
    assert page.request.get(f"{ann.site.url}/{picture}").status == 200
    assert httpx.get(f"{ann.site.url}/{picture}", trust_env=False).status_code == 404
