"""The gallery's tiles, large view and filters: what they say, and that nothing said is markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studio import texts
from studio.engine.desk import Details
from studio.engine.history import Filters
from studio.engine.jobs import Failure, Given, State
from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.manifest import Kind, Parameter, holds
from studio.errors import StudioError
from studio.tabs import form, gallery, showing
from studio.tabs.pictures import Uploads
from tests.shipped import CATALOG
from tests.tabs.make import job, output
from tests.tabs.site import CHECKPOINT
from tests.tabs.test_form import draw
from tests.tabs.test_result import EVIL, read

TEXT = CATALOG.workflow("text_to_image")
WAYS = {"image": [showing.Way("image_edit", "image", "Image edit · Picture")]}


def view(language: str = "en", *, missing: frozenset[str] = frozenset(), **facts: Any) -> str:
    details = Details(job(facts.pop("state", State.COMPLETED), **facts), missing, {})
    return showing.view(details, TEXT, WAYS, language, open_tabs=["text_to_image"])


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_every_state_has_a_tile_that_says_it(state: State, language: str) -> None:
    page = read(showing.tile(job(state, values={"prompt": EVIL}), "Z-Image", language))

    piece = dict(page.tags[0][1])
    button = next(attrs for tag, attrs in page.tags if tag == "button")
    assert piece["data-state"] == str(state)
    assert str(button["aria-label"]).startswith(texts.text(f"state.{state}", language))
    assert EVIL in page.words
    assert "script" not in [tag for tag, _ in page.tags]


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_a_tile_shows_the_small_picture_of_its_first_file(kind: str) -> None:
    tags = read(showing.tile(job(outputs=(output(1, kind), output(2))), "x", "en")).tags

    sources = [attrs["src"] for tag, attrs in tags if tag == "img"]
    assert sources == [f"thumbnails/job-1/{output(1, kind).name}"]
    assert not any(str(source).startswith("/") for source in sources)  # works below a path too


def test_a_job_without_a_prompt_is_called_by_its_files() -> None:
    given = (Given("images", "r", "image", "image/png", "貓.png", 1),)

    assert showing.called(job(values={"mode": "normal"}, given=given), "Blend") == "貓.png"
    assert showing.called(job(values={"mode": "normal"}), "Blend") == "Blend"


@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_the_large_view_says_every_setting_as_the_form_calls_it(language: str) -> None:
    values = {"prompt": EVIL, "seed": "18446744073709551615", "steps": 8, "cfg": 1.0, "gone": "x"}

    words = read(view(language, values=values, server="pc-1")).words

    for name in ("prompt", "seed", "steps", "cfg"):
        parameter = TEXT.manifest.parameter(name)
        assert parameter is not None
        assert texts.local(parameter.label, language) in words
    for value in (EVIL, "18446744073709551615", "8", "gone", "pc-1", "1280 × 720"):
        assert value in words


def test_the_large_view_shows_what_a_job_was_made_of_and_what_is_no_longer_kept() -> None:
    given = tuple(
        Given("images", f"{n}.png", "image", "image/png", f"{n}-<b>.png", 1) for n in "ab"
    )

    page = read(view(given=given, missing=frozenset({"b.png"})))

    sources = [attrs.get("src") for tag, attrs in page.tags if tag == "img"]
    assert "inputs/a.png" in sources
    assert "inputs/b.png" not in sources
    assert "b-<b>.png" in page.words
    assert texts.text("gallery.input_gone") in page.words


def test_only_an_ended_job_can_be_deleted() -> None:
    def acts(state: State) -> list[str | None]:
        tags = read(view(state=state, outputs=())).tags
        return [attrs["data-act"] for tag, attrs in tags if tag == "button"]

    assert "remove" in acts(State.FAILED)
    assert "remove" not in acts(State.PROCESSING)


def test_the_speech_that_was_made_of_a_text_is_offered_and_measures_are_no_settings() -> None:
    made = (Given("audio", "made.flac", "audio", "audio/flac", "save_speech", 1, seconds=2.65),)
    given = (Given("audio", "s.wav", "audio", "audio/wav", "me.wav", 1, seconds=7.0),)
    values = {"text": "Hello", "audio": "s.wav", "audio.seconds": 7.0, "text.seconds": 3.1}

    page = read(view(given=given, made=made, values=values))
    gone = read(view(given=given, made=made, missing=frozenset({"made.flac"})))

    assert "The text, spoken" in page.words
    assert "inputs/made.flac" in str(page.tags)
    assert ".seconds" not in page.words
    assert "inputs/made.flac" not in str(gone.tags)


def test_a_failed_job_says_why_in_the_large_view() -> None:
    page = read(view(state=State.FAILED, failure=Failure("out_of_memory"), outputs=()))

    assert texts.text("error.out_of_memory.hint") in page.words


def test_a_result_names_the_fields_that_take_it() -> None:
    tags = read(view()).tags

    send = next(attrs for tag, attrs in tags if attrs.get("data-act") == "send")
    assert (send["data-tab"], send["data-field"]) == ("image_edit", "image")


# --- what a page asks ---


def test_filters_of_a_page_become_the_desks() -> None:
    asked = {
        "text": "燈塔",
        "tab": "video",
        "workflow": "text_to_video",
        "state": "failed",
        "favourite": True,
        "since_ms": 1_000,
        "until_ms": 2_000.0,
    }

    assert gallery.read_filters(asked) == Filters(
        tab="video",
        workflow="text_to_video",
        states=(State.FAILED,),
        favourite=True,
        since_us=1_000_000,
        until_us=2_000_000,
        text="燈塔",
    )


@pytest.mark.parametrize(
    "asked",
    [
        None,
        "x",
        [],
        {},
        {"state": "gone", "favourite": "yes", "since_ms": "soon", "until_ms": 1e99, "tab": None},
        {"since_ms": True, "until_ms": float("nan")},
    ],
)
def test_what_is_no_filter_of_ours_does_not_count(asked: object) -> None:
    assert gallery.read_filters(asked) == Filters()


def test_a_result_that_is_not_there_cannot_be_sent() -> None:
    with pytest.raises(StudioError):
        gallery.sendable(job(), "009.png")


# --- Use again, for every workflow and kind of field ---


def said(p: Parameter) -> Any:
    """Say something in a field that it does not say by itself, where that can be."""
    match p.type:
        case Kind.SEED:
            return "18446744073709551615"
        case Kind.INTEGER | Kind.NUMBER:
            return p.max
        case Kind.CHOICE:
            return p.default if p.picks else list(p.choices)[-1]
        case Kind.SWITCH:
            return not p.default
        case Kind.IMAGES:
            return [f"{p.name}-{n}.png" for n in range(p.max_count)]
        case Kind.MODEL:
            return p.default or CHECKPOINT
        case kind:
            return f"{p.name}.file" if kind.file else f"貓 {p.name}"


@pytest.mark.parametrize("workflow", CATALOG.workflows.values(), ids=lambda one: one.name)
def test_use_again_orders_the_same_job_once_more(workflow: Workflow, tmp_path: Path) -> None:
    """What a job of this workflow was made of, through the form and back, file by file."""
    everything = {p.name: said(p) for p in workflow.manifest.parameters}
    counting = [p for p in workflow.manifest.parameters if holds(p.when, everything)]
    values = {p.name: everything[p.name] for p in counting}
    files = [ref for p in counting if p.type.file for ref in listed(everything[p.name])]
    drawn = draw(CATALOG.tab(workflow.manifest.tab))

    changes = form.filled(drawn, values, {ref: f"my {ref}" for ref in files})
    held = [change.get("value") for change in changes]
    again = drawn.values(held, Uploads(tmp_path, lambda ref: Path("inputs") / ref))

    assert drawn.tab.pick(again) is workflow
    for p in counting:
        if p.type.file:
            given = [
                {"path": f"inputs/{ref}", "orig_name": f"my {ref}"}
                for ref in listed(values[p.name])
            ]
            assert listed(again[p.name]) == given, p.name
        else:
            assert again[p.name] == values[p.name], p.name
    assert {name for name, value in again.items() if value not in ("", None)} <= set(values)


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
