"""Fields from manifests: for every kind, with no Python written for a tab."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind, Parameter
from studio.errors import StudioError
from studio.tabs import examples, form
from studio.tabs.pictures import SAMPLES, Uploads, uploaded
from studio.tabs.words import Words
from tests.shipped import CATALOG
from tests.tabs.site import CHECKPOINT

CHECKPOINT_WORKFLOW = "text_to_image_checkpoint"
TEXT = CATALOG.tab("text_to_image")
BLEND = CATALOG.tab("image_blend")
LISTED = {"model": [("Z-Image Turbo", "z_image_turbo"), (CHECKPOINT, CHECKPOINT)], "lora": []}


def draw(tab: Tab) -> form.Form:
    return asyncio.run(_drawn(tab))


async def _drawn(tab: Tab) -> form.Form:
    """Draw inside a running loop: else Gradio makes loops of its own, never closed."""
    with gr.Blocks(analytics_enabled=False):
        return form.draw(tab, Words(), lambda name: LISTED.get(name, []))


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return Uploads(folder, _no_input)


def _no_input(ref: str) -> Path:
    raise StudioError("file_unknown", file=ref)


def raw(drawn: form.Form, **values: Any) -> list[Any]:
    return [values.get(field.name, field.component.value) for field in drawn.fields]


def by_name(drawn: form.Form, updates: list[Any]) -> dict[str, Any]:
    return dict(zip((field.name for field in drawn.fields), updates, strict=True))


def component(drawn: form.Form, name: str) -> Any:
    return next(field.component for field in drawn.fields if field.name == name)


@pytest.mark.parametrize("tab", CATALOG.tabs, ids=lambda tab: tab.name)
def test_every_parameter_of_every_tab_has_a_field(tab: Tab) -> None:
    drawn = draw(tab)

    assert {field.name for field in drawn.fields} == {p.name for p in tab.parameters}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prompt", gr.Textbox),
        ("model", gr.Dropdown),
        ("aspect_ratio", gr.Radio),
        ("batch_size", gr.Slider),
        ("seed", gr.Textbox),
        ("sampler_name", gr.Dropdown),
        ("lora", gr.Dropdown),
    ],
)
def test_the_kind_of_parameter_is_the_kind_of_field(name: str, kind: type) -> None:
    assert type(component(draw(TEXT), name)) is kind


_KINDS: list[tuple[Kind, dict[str, Any], str]] = [
    (Kind.SWITCH, {"default": True}, "checkbox"),
    (Kind.IMAGE, {"bind": ("a.b",)}, "html"),
    (Kind.MASK, {"bind": ("a.b",)}, "html"),
    (Kind.AUDIO, {"bind": ("a.b",)}, "html"),
    (Kind.VIDEO, {"bind": ("a.b",)}, "html"),
    (Kind.NUMBER, {"min": 0, "max": 1}, "slider"),
]


@pytest.mark.parametrize(("kind", "facts", "block"), _KINDS, ids=[kind for kind, *_ in _KINDS])
def test_kinds_no_tab_has_yet_can_be_drawn(kind: Kind, facts: dict[str, Any], block: str) -> None:
    p = Parameter(name="thing", type=kind, label={"en": "Thing", "zh-TW": "東西"}, **facts)
    workflow = TEXT.workflows[0]
    manifest = workflow.manifest.model_copy(update={"parameters": (p,)})
    tab = Tab("t", {"en": "T"}, (type(workflow)(manifest, workflow.graph, {}),), (p,))

    assert component(draw(tab), "thing").get_block_name() == block


@pytest.mark.parametrize(
    ("choices", "chips"),
    [
        (["a long name"] * 1, True),
        ([f"a long name {n}" for n in range(6)], True),
        ([f"a long name {n}" for n in range(7)], False),
        ([f"{n}:1" for n in range(8)], True),
        ([f"{n}:1" for n in range(9)], False),
    ],
)
def test_few_choices_are_chips_and_many_a_list(choices: list[str], chips: bool) -> None:
    p = Parameter(name="c", type=Kind.CHOICE, label={"en": "C"}, choices=choices)

    assert form.chips(p) is chips


def test_a_narrow_field_without_a_neighbour_takes_the_whole_line() -> None:
    def narrow(name: str) -> Parameter:
        return Parameter(name=name, type=Kind.SEED, label={"en": name})

    wide = Parameter(name="w", type=Kind.TEXT, label={"en": "w"}, multiline=True)

    assert form.shapes([narrow("a"), wide, narrow("b"), narrow("c"), narrow("d")]) == {
        "a": "wide",
        "w": "wide",
        "b": "half",
        "c": "half",
        "d": "wide",
    }


def test_only_what_the_picked_workflow_has_is_sent(uploads: Uploads) -> None:
    drawn = draw(TEXT)

    plain = drawn.values(raw(drawn, prompt="a", negative_prompt="fog"), uploads)
    picked = drawn.values(raw(drawn, prompt="a", negative_prompt="fog", model=CHECKPOINT), uploads)

    assert "negative_prompt" not in plain
    assert picked["negative_prompt"] == "fog"


def test_a_seed_goes_through_as_the_text_it_is(uploads: Uploads) -> None:
    drawn = draw(TEXT)

    values = drawn.values(raw(drawn, prompt="a", seed="18446744073709551615"), uploads)

    assert values["seed"] == "18446744073709551615"


def test_untouched_fields_take_the_defaults_of_the_picked_model() -> None:
    drawn = draw(TEXT)

    changes = by_name(drawn, form.adjusted(drawn, raw(drawn, model=CHECKPOINT, cfg=3.0)))

    assert changes["negative_prompt"]["visible"] is True
    assert changes["steps"]["value"] == 25
    assert changes["steps"]["maximum"] == 100
    assert "value" not in changes["cfg"]


def test_fields_kept_over_a_reload_change_nothing_they_say() -> None:
    drawn = draw(TEXT)

    changes = by_name(drawn, form.settled(drawn, raw(drawn, model=CHECKPOINT, steps=8)))

    assert changes["negative_prompt"]["visible"] is True
    assert "value" not in changes["steps"]


def test_use_again_says_exactly_what_the_job_said() -> None:
    drawn = draw(TEXT)
    job = {"prompt": "貓", "model": CHECKPOINT, "seed": "9007199254740993", "steps": 8}

    changes = by_name(drawn, form.filled(drawn, job))

    assert changes["seed"]["value"] == "9007199254740993"
    assert changes["steps"]["value"] == 8
    assert changes["model"]["value"] == CHECKPOINT
    assert changes["lora"]["value"] == ""


def test_use_again_shows_the_pictures_by_their_own_route() -> None:
    drawn = draw(BLEND)

    values = {"images": ["a.png", "b.png"]}
    changes = by_name(drawn, form.filled(drawn, values, {"b.png": "貓.png"}))

    assert changes["images"]["value"] == [
        {"ref": "a.png", "url": "inputs/a.png"},
        {"ref": "b.png", "url": "inputs/b.png", "name": "貓.png"},
    ]


HUMAN = CATALOG.tab("virtual_human")


@pytest.mark.parametrize(
    ("language", "why"),
    [("en", "Off: no ComfyUI here has the node Voice."), ("zh-TW", "節點 Voice")],
)
def test_a_field_that_no_server_can_heed_is_off_says_why_and_holds_nothing(
    language: str, why: str
) -> None:
    drawn = draw(HUMAN)
    at = form.Moment(language, {"virtual_human": {"text": "Voice"}})

    for changes in (
        form.settled(drawn, raw(drawn, text="Hello"), at),
        form.adjusted(drawn, raw(drawn, text="Hello"), at),
        form.filled(drawn, {"text": "Hello", "audio": "a.wav"}, at=at),
    ):
        change = by_name(drawn, changes)["text"]
        assert (change["interactive"], change["value"]) == (False, "")
        assert why in change["info"]
        assert by_name(drawn, changes)["prompt"]["interactive"] is True


def test_the_language_is_asked_for_only_with_a_text() -> None:
    drawn = draw(HUMAN)

    with_text = by_name(drawn, form.settled(drawn, raw(drawn, text="Hello")))
    without = by_name(drawn, form.settled(drawn, raw(drawn, text="")))

    assert with_text["speech_language"]["visible"] is True
    assert without["speech_language"]["visible"] is False
    assert with_text["text"]["interactive"] is True


@pytest.mark.parametrize("language", ["en", "zh-TW"])
def test_help_follows_the_picked_model(language: str) -> None:
    drawn, at = draw(TEXT), form.Moment(language)

    for workflow, model in (("text_to_image", "z_image_turbo"), (CHECKPOINT_WORKFLOW, CHECKPOINT)):
        steps = CATALOG.workflow(workflow).manifest.parameter("steps")
        assert steps is not None
        changes = by_name(drawn, form.adjusted(drawn, raw(drawn, model=model), at))
        assert changes["steps"]["info"] == (steps.help.get(language) or None)


@pytest.mark.parametrize("tab", CATALOG.tabs, ids=lambda tab: tab.name)
def test_help_of_a_file_is_the_same_for_all_workflows_of_a_tab(tab: Tab) -> None:
    """It is drawn once; only plain fields can change theirs."""
    for p in tab.parameters:
        if p.type.file:
            owns = (workflow.manifest.parameter(p.name) for workflow in tab.workflows)
            assert len({repr(own.help) for own in owns if own is not None}) == 1, p.name


def test_use_again_brings_a_sound_back() -> None:
    drawn = draw(CATALOG.tab("virtual_human"))

    changes = by_name(drawn, form.filled(drawn, {"audio": "a.wav"}, {"a.wav": "voice.wav"}))

    assert changes["audio"]["value"] == [
        {"ref": "a.wav", "url": "inputs/a.wav", "name": "voice.wav"}
    ]
    assert changes["portrait"]["value"] == []


def test_a_result_joins_the_pictures_of_a_field_as_far_as_there_is_room() -> None:
    images = BLEND.parameter("images")
    portrait = CATALOG.tab("virtual_human").parameter("portrait")
    assert images is not None
    assert portrait is not None
    sent = {"job_id": "j", "name": "001.png"}

    assert form.joined(images, [{"ref": "a"}], sent) == [{"ref": "a"}, sent]
    full = [{"ref": str(n)} for n in range(images.max_count)]
    assert form.joined(images, full, sent) == [*full[:-1], sent]
    assert form.joined(portrait, [{"ref": "a"}], sent) == [sent]
    assert form.joined(images, None, sent) == [sent]


@pytest.mark.parametrize("kind", ["image", "video", "audio"])
def test_every_field_that_takes_a_result_shows_it_once_sent_there(kind: str) -> None:
    takes = {"image": (Kind.IMAGE, Kind.IMAGES), "video": (Kind.VIDEO,), "audio": (Kind.AUDIO,)}
    sent = {"job_id": "j", "name": "001.png"}
    for tab in CATALOG.tabs:
        drawn = draw(tab)
        for p in (p for p in tab.parameters if p.type in takes[kind]):
            changes = by_name(drawn, form.sent_to(drawn, raw(drawn), p.name, sent))

            assert changes[p.name]["value"] == [sent], (tab.name, p.name)
            assert changes[p.name]["visible"] is True, (tab.name, p.name)


def test_a_result_goes_to_the_desk_by_its_job(uploads: Uploads) -> None:
    sent = {"job_id": "j", "name": "001.png", "url": "thumbnails/j/001.png"}

    assert uploads.file(sent, "images") == {"job_id": "j", "name": "001.png"}


def test_a_model_field_keeps_what_it_says_while_that_is_offered() -> None:
    field = next(f for f in draw(TEXT).fields if f.name == "model")

    assert form.refreshed(field, LISTED["model"], CHECKPOINT)["value"] == CHECKPOINT
    assert form.refreshed(field, LISTED["model"], "gone.safetensors")["value"] == "z_image_turbo"


# --- files named by a browser ---


@pytest.mark.parametrize(
    "name",
    ["/etc/hostname", "../secret", "missing.png", "", "a\x00b", "link"],
    ids=["absolute", "upwards", "missing", "empty", "null-byte", "link-outwards"],
)
def test_only_uploads_can_be_named(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    path = name if name.startswith("/") or "\x00" in name or not name else str(folder / name)

    with pytest.raises(StudioError) as told:
        uploaded(path, folder, "images")

    assert told.value.code == "file_unknown"


@pytest.mark.parametrize(
    "value",
    [None, "text", [["nested"]], [{"path": 7}], [{"sample": "../theme.py"}], [{"ref": "x"}]],
)
def test_odd_values_of_a_pictures_field_are_refused(uploads: Uploads, value: Any) -> None:
    with pytest.raises(StudioError):
        uploads.pictures(value, "images")


def test_an_upload_keeps_the_name_a_person_gave_it(uploads: Uploads) -> None:
    (uploads.folder / "1.png").write_bytes(b"x")

    found = uploads.pictures([{"path": str(uploads.folder / "1.png"), "name": "貓.png"}], "images")

    assert found == [{"path": str(uploads.folder / "1.png"), "orig_name": "貓.png"}]


def test_painted_layers_must_be_uploads_too(uploads: Uploads, tmp_path: Path) -> None:
    (uploads.folder / "mask.png").write_bytes(b"x")
    (tmp_path / "secret").write_text("secret")
    mine, other = str(uploads.folder / "mask.png"), str(tmp_path / "secret")

    found = uploads.file({"layers": [{"path": mine}], "path": mine}, "mask")

    assert found == {"layers": [{"path": mine, "orig_name": "mask.png"}]}
    with pytest.raises(StudioError):
        uploads.file({"layers": [{"path": mine}, {"path": other}]}, "mask")


# --- examples ---


def test_an_example_of_the_blend_brings_our_own_pictures(uploads: Uploads) -> None:
    given = examples.values(BLEND, 1, "en")

    found = uploads.pictures(given["images"], "images")

    assert [Path(item["path"]).parent for item in found] == [SAMPLES, SAMPLES]


def test_an_example_fills_only_what_it_speaks_of() -> None:
    assert set(examples.values(TEXT, 2, "zh-TW")) == {"prompt"}
