"""Painting a mask, drawing a sketch, giving a sound: fields that Gradio has no component for."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from studio.practice import PracticeServer
from tests.browser.person import Person
from tests.shipped import CATALOG
from tests.tabs.site import Site, served

EDIT, SKETCH = "image_edit", "sketch_to_image"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page on a practice ComfyUI that has every model file."""
    models: dict[str, list[str]] = {}
    for one in CATALOG.models.values():
        models.setdefault(one.folder, []).append(one.file)
    practice = PracticeServer(pace_s=0.01, models=models)
    with practice, served(tmp_path_factory.mktemp("site"), practice) as site:
        yield site


def drag(ann: Person, canvas: Locator, *places: tuple[float, float]) -> None:
    """Draw along places given as parts of width and height."""
    box = canvas.bounding_box()
    assert box is not None
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    ann.page.mouse.move(*points[0])
    ann.page.mouse.down()
    for point in points[1:]:
        ann.page.mouse.move(*point, steps=6)
    ann.page.mouse.up()


def test_a_mask_is_painted_over_the_picture(ann: Person, tmp_path: Path) -> None:
    Image.new("RGB", (600, 400), "teal").save(tmp_path / "lake.png")
    ann.open_tab("Image edit")
    mask = ann.field("mask", EDIT)
    mask.get_by_role("button", name="Paint the mask").click()
    expect(mask.get_by_role("alert")).to_contain_text("Add the picture first")
    ann.field("image", EDIT).locator("input[type=file]").set_input_files(tmp_path / "lake.png")
    expect(ann.field("image", EDIT).locator(".studio-upload img")).to_be_visible()
    expect(ann.field("mask_invert", EDIT)).to_be_hidden()

    mask.get_by_role("button", name="Paint the mask").click()
    paint = ann.page.locator("dialog.studio-paint")
    paint.get_by_role("button", name="Done").click()
    expect(paint.get_by_role("alert")).to_have_text("Nothing is painted yet.")
    drag(ann, paint.locator(".studio-ink"), (0.1, 0.25), (0.4, 0.25))
    paint.get_by_role("button", name="Done").click()

    expect(mask.locator(".studio-upload[data-painted]")).to_be_visible()
    expect(ann.field("mask_invert", EDIT)).to_be_visible()
    ann.write("prompt", "a boat on the lake", EDIT)
    ann.press("generate", EDIT)
    ann.sees_result(EDIT)
    job = ann.jobs(EDIT)[0]
    painted = Image.open(ann.site.studio.desk.input_file(ann.who, job.values["mask"]))
    assert painted.size == (600, 400)
    assert painted.convert("L").getpixel((150, 100)) == 255
    assert painted.convert("L").getpixel((500, 300)) == 0

    ann.field("image", EDIT).get_by_role("button", name="Remove 1").click()
    expect(mask.locator(".studio-upload")).to_have_count(0)


def test_a_phones_heic_is_shown_and_can_be_painted_upon(ann: Person, tmp_path: Path) -> None:
    """Chromium itself shows no HEIC."""
    pillow_heif.from_pillow(Image.new("RGB", (600, 400), "teal")).save(tmp_path / "IMG_0042.heic")
    ann.open_tab("Image edit")
    image = ann.field("image", EDIT)
    image.locator("input[type=file]").set_input_files(tmp_path / "IMG_0042.heic")
    shown = image.locator(".studio-upload img")
    expect(shown).to_be_visible()
    expect(shown).to_have_js_property("naturalWidth", 600)

    ann.field("mask", EDIT).get_by_role("button", name="Paint the mask").click()
    paint = ann.page.locator("dialog.studio-paint")
    drag(ann, paint.locator(".studio-ink"), (0.1, 0.25), (0.4, 0.25))
    paint.get_by_role("button", name="Done").click()
    expect(ann.field("mask", EDIT).locator(".studio-upload[data-painted]")).to_be_visible()
    ann.write("prompt", "a boat on the lake", EDIT)
    ann.press("generate", EDIT)
    ann.sees_result(EDIT)

    job = ann.jobs(EDIT)[0]
    assert [one.name for one in job.given if one.field == "image"] == ["IMG_0042.heic"]
    with Image.open(ann.site.studio.desk.input_file(ann.who, job.values["mask"])) as painted:
        assert painted.size == (600, 400)


def test_what_is_no_picture_is_told_as_soon_as_it_is_added(ann: Person, tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    ann.open_tab("Image edit")
    image = ann.field("image", EDIT)

    image.locator("input[type=file]").set_input_files(tmp_path / "logo.png")

    expect(image.get_by_role("alert")).to_contain_text("“logo.png” is not a file that can be used")
    expect(image.locator(".studio-upload")).to_have_count(0)
    ann.complaints.clear()  # Chromium logs every 422 as an error


def test_a_sketch_is_drawn_on_paper(ann: Person) -> None:
    ann.open_tab("Sketch to image")
    sketch = ann.field("sketch", SKETCH)
    sketch.get_by_role("button", name="Draw").click()
    paint = ann.page.locator("dialog.studio-paint")
    paint.get_by_label("Shape").select_option("3:2")
    drag(ann, paint.locator("canvas").last, (0.2, 0.5), (0.8, 0.5))
    drag(ann, paint.locator("canvas").last, (0.5, 0.2), (0.5, 0.9))
    paint.get_by_role("button", name="Undo").click()
    paint.get_by_role("button", name="Done").click()
    expect(sketch.locator(".studio-upload img")).to_be_visible()

    ann.write("prompt", "a horizon", SKETCH)
    ann.press("generate", SKETCH)
    ann.sees_result(SKETCH)

    job = ann.jobs(SKETCH)[0]
    drawn = Image.open(ann.site.studio.desk.input_file(ann.who, job.values["sketch"])).convert("L")
    assert drawn.size == (1216, 832)
    assert int(drawn.getpixel((608, 416)) or 0) < 40
    assert drawn.getpixel((608, 700)) == 255


def test_a_sound_says_its_length_before_it_runs(ann: Person, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\x10\x20" * 8000 * 3)
    ann.open_tab("Virtual human")
    audio = ann.field("audio", "virtual_human")
    audio.locator("input[type=file]").set_input_files(tmp_path / "voice.wav")

    expect(audio.locator("audio")).to_be_visible()
    length = ann.part("length", "virtual_human")
    expect(length).to_contain_text("The video will be 3.0 s long (48 frames at 16 a second)")
    audio.get_by_role("button", name="Remove").click()
    expect(length.locator(".studio-hints")).to_be_hidden()
