"""Numbers that follow from values and files; fields that count only sometimes; limits of files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.engine.workflow.binding import FilmLength, Workflow, bind, check, length
from studio.engine.workflow.catalog import Catalog, load
from studio.engine.workflow.measures import Measure, spoken_s
from studio.errors import StudioError
from studio.settings import PROJECT
from studio.texts import LANGUAGES, explain

GRAPH = {
    "load": {"class_type": "LoadAudio", "inputs": {"audio": ""}},
    "first": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
    "second": {"class_type": "LoadImage", "inputs": {"image": "b.png"}},
    "mask": {"class_type": "LoadImageMask", "inputs": {"image": "m.png"}},
    "make": {
        "class_type": "Make",
        "inputs": {
            "audio": ["load", 0],
            "first": ["first", 0],
            "second": ["second", 0],
            "mask": ["mask", 0],
            "width": 64,
            "length": 0,
            "fps": 16,
            "text": "",
        },
    },
    "more": {"class_type": "More", "inputs": {"images": ["make", 0], "length": 0}},
    "save": {"class_type": "SaveVideo", "inputs": {"video": ["more", 0], "filename_prefix": "x"}},
}
MANIFEST = """\
name: demo
tab: demo
title: {en: Demo}
category: video
graph: demo.json
parameters:
  - {name: audio, type: audio, required: true, bind: [load.audio], max_seconds: 10, label: {en: A}}
  - name: pictures
    type: images
    required: true
    bind: [first.image, second.image]
    inside_first: {fit: {equals: whole}}
    label: {en: P}
  - {name: face, type: mask, bind: [mask.image], same_size_as: shape_of, label: {en: M}}
  - {name: shape_of, type: text, label: {en: S}}
  - {name: fit, type: choice, choices: [whole, fill], default: whole, label: {en: F}}
  - name: shape
    type: choice
    default: square
    choices: {square: {make.width: 512}, custom: {}}
    label: {en: Shape}
  - name: width
    type: integer
    when: {shape: {equals: custom}}
    bind: [make.width]
    default: 256
    min: 64
    max: 1024
    label: {en: W}
  - {name: fps, type: integer, bind: [make.fps], min: 1, max: 60, default: 16, label: {en: Fps}}
  - {name: words, type: text, required: true, when: {fit: {equals: fill}}, bind: [make.text],
     label: {en: Words}}
derived:
  - {name: frames, value: ceil(audio.seconds * fps), of: audio, bind: [make.length], max: 200}
  - {name: chunks, value: "max(1, ceil(frames / 80))", of: audio}
length: {frames: frames, fps: fps}
rules:
  - {when: {chunks: {lt: 2}}, bypass: {more: {0: images}}}
  - {when: {pictures: {lt: 2}}, remove: [second]}
  - {when: {face: empty}, remove: [mask]}
outputs: [{node: save, kind: video}]
"""

SOUND = Measure(seconds=2.2)
BIG = Measure(width_px=640, height_px=480)


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Catalog]:
    """Write the workflow, changed as told, and load it."""

    def write(*changes: tuple[str, str]) -> Catalog:
        text = MANIFEST
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "demo.yaml").write_text(text, "utf-8")
        (tmp_path / "demo.json").write_text(json.dumps(GRAPH), "utf-8")
        return load(tmp_path)

    return write


@pytest.fixture
def demo(put: Callable[..., Catalog]) -> Workflow:
    """Give the workflow as it is."""
    catalog = put()
    assert catalog.broken == ()
    return catalog.workflow("demo")


def checked(workflow: Workflow, measures: Any = None, **values: Any) -> dict[str, Any]:
    """Check values for one sound and one picture."""
    given = {"audio": "s", "pictures": ["p"]} | values
    known = {"s": SOUND, "p": BIG} | (measures or {})
    return check(workflow, given, rng=random.Random(1), measures=known)  # noqa: S311 - no secret


def bound(workflow: Workflow, values: dict[str, Any]) -> dict[str, Any]:
    refs = ["s", "p", "q", "m"]
    return bind(workflow, values, files={ref: ref for ref in refs})


def test_what_follows_from_a_sound_is_kept_with_the_values_and_bound(demo: Workflow) -> None:
    values = checked(demo)

    assert values["audio.seconds"] == 2.2
    assert bound(demo, values)["make"]["inputs"]["length"] == 36
    assert "more" not in bound(demo, values)
    assert "more" in bound(demo, checked(demo, {"s": Measure(seconds=9)}))


def test_values_of_a_job_can_be_checked_again_without_its_files(demo: Workflow) -> None:
    values = checked(demo)

    again = check(demo, values, rng=random.Random(2))  # noqa: S311 - no secret

    assert again == values


def test_nobody_may_send_measures_of_their_own(demo: Workflow) -> None:
    for name in ("audio.seconds", "frames"):
        with pytest.raises(StudioError, match="field_unknown"):
            checked(demo, **{name: 1.0})


def test_a_graph_is_never_bound_without_the_length_of_its_sound(demo: Workflow) -> None:
    values = checked(demo)
    del values["audio.seconds"]

    with pytest.raises(StudioError, match="not known"):
        bound(demo, values)


@pytest.mark.parametrize(
    ("values", "measures", "code", "field"),
    [
        ({}, {"s": Measure(seconds=10.01)}, "file_too_long", "audio"),
        ({}, {"s": Measure()}, "file_unmeasured", "audio"),
        ({"fps": 60}, {"s": Measure(seconds=4)}, "derived_out_of_range", "audio"),
        ({"width": 128}, {}, "field_idle", "width"),
        ({"fit": "fill"}, {}, "field_required", "words"),
        ({"pictures": ["p", "q"]}, {"q": Measure(2000, 2)}, "picture_too_thin", "pictures"),
        ({"pictures": ["p", "q"]}, {"q": Measure(1, 481)}, "picture_too_thin", "pictures"),
    ],
)
def test_a_field_that_cannot_be_kept_is_named(
    demo: Workflow, values: dict[str, Any], measures: Any, code: str, field: str
) -> None:
    with pytest.raises(StudioError, match=code) as caught:
        checked(demo, measures, **values)

    assert caught.value.field == field
    for language in LANGUAGES:
        sentence, hint = explain(caught.value, language)
        assert "{" not in sentence + hint


@pytest.mark.parametrize(
    ("fit", "later"),
    [("fill", Measure(2000, 2)), ("whole", Measure(1, 480)), ("whole", Measure(1, 1))],
)
def test_a_picture_that_keeps_a_pixel_is_taken(demo: Workflow, fit: str, later: Measure) -> None:
    values = {"pictures": ["p", "q"], "fit": fit} | ({"words": "x"} if fit == "fill" else {})

    assert checked(demo, {"q": later}, **values)["fit"] == fit


def test_a_mask_must_have_the_size_of_its_picture(put: Callable[..., Catalog]) -> None:
    demo = put(("same_size_as: shape_of", "same_size_as: shape_of")).workflow("demo")
    with pytest.raises(StudioError, match="mask_other_size") as caught:
        checked(demo, {"m": Measure(640, 481)}, face="m", shape_of="p")

    assert caught.value.params["mask"] == "640 x 481"
    assert checked(demo, {"m": BIG}, face="m", shape_of="p")["face"] == "m"


def test_a_field_that_does_not_count_is_neither_kept_nor_bound(demo: Workflow) -> None:
    idle = checked(demo, width=256)
    counts = checked(demo, width=128, shape="custom")

    assert "width" not in idle
    assert bound(demo, idle)["make"]["inputs"]["width"] == 512
    assert bound(demo, counts)["make"]["inputs"]["width"] == 128
    assert bound(demo, checked(demo, shape="custom"))["make"]["inputs"]["width"] == 256
    assert bound(demo, idle | {"width": 999})["make"]["inputs"]["width"] == 512


def test_the_length_of_a_film_is_told_before_it_runs(demo: Workflow) -> None:
    assert length(demo, {"audio.seconds": 2.2}) == FilmLength(36, 16.0)
    assert length(demo, {"audio.seconds": 2.2, "fps": 10, "fit": ""}) == FilmLength(22, 10.0)
    assert length(demo, {"audio.seconds": 3.0}).seconds == 3.0
    assert length(demo, {}) is None
    assert length(demo, {"audio.seconds": 5.0, "fps": 60}) is None


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"max(1, ceil(frames / 80))"', "frames ** 2", "a formula has"),
        ('"max(1, ceil(frames / 80))"', "gone + 1", "reads 'gone'"),
        ('"max(1, ceil(frames / 80))"', "audio.loudness", "reads 'audio.loudness'"),
        ('"max(1, ceil(frames / 80))"', "fit + 1", "reads 'fit'"),
        ("name: frames, value", "name: fps, value", "'fps' is a name already"),
        ("of: audio}", "of: sound}", "no parameter is named 'sound'"),
        ("bind: [make.length], max", "bind: [make.gone], max", "no input 'gone'"),
        ("length: {frames: frames, fps: fps}", "length: {frames: f, fps: fps}", "reads 'f'"),
        ("when: {shape: {equals: custom}}", "when: {form: empty}", "no parameter is named 'form'"),
        ("when: {shape: {equals: custom}}\n    ", "", "is set by 'shape' already"),
        ("inside_first: {fit: {equals: whole}}", "inside_first: {fat: true}", "named 'fat'"),
        ("same_size_as: shape_of", "same_size_as: gone", "no parameter is named 'gone'"),
        ("max_seconds: 10, ", "same_size_as: fit, ", "same_size_as belongs to a mask"),
        ("type: mask,", "type: mask, max_seconds: 3,", "max_seconds belongs to audio"),
        ("type: mask,", "type: mask, inside_first: {fit: empty},", "belongs to images"),
    ],
)
def test_a_wrong_number_in_a_manifest_is_told(
    put: Callable[..., Catalog], old: str, new: str, reason: str
) -> None:
    broken = put((old, new)).broken[0]

    assert broken.file == "demo.yaml"
    assert broken.line > 1
    assert reason in broken.reason


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("  \n ", 0, 0),
        ("Good morning, everybody.", 1.3, 2.6),
        ("大家好，歡迎來到我們的小店，今天有新的咖啡豆。", 4, 7),
        ("2026", 1, 2),
    ],
)
def test_a_text_takes_about_as_long_to_say_as_people_need(
    text: str, low: float, high: float
) -> None:
    assert low <= spoken_s(text) <= high


@pytest.mark.parametrize("name", ["virtual_human", "virtual_human_infinitetalk"])
def test_a_text_that_may_just_fit_is_not_refused_for_an_estimate(name: str) -> None:
    workflow = load(PROJECT / "workflows").workflow(name)
    sound = workflow.manifest.parameter("audio")
    assert sound is not None
    assert sound.max_seconds is not None
    letters = round(sound.max_seconds * 1.2 / 0.065)
    said = {"portrait": "p", "audio": "a", "text": "a" * letters, "speech_language": "english"}
    found = {"p": Measure(640, 480), "a": Measure(seconds=7.0)}

    values = check(workflow, said, rng=random.Random(1), measures=found)  # noqa: S311  no secret

    assert values["text.seconds"] > sound.max_seconds
