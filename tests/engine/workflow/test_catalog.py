"""Reading a folder of workflows: faults with file, line and reason; tabs and what they pick."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.engine.workflow.catalog import Broken, Catalog, load
from studio.errors import StudioError
from studio.texts import LANGUAGES, explain

GRAPH = {
    "load": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "unet": {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors"}},
    "lora": {"class_type": "Lora", "inputs": {"model": ["unet", 0], "name": ""}},
    "sampler": {
        "class_type": "KSampler",
        "inputs": {"model": ["lora", 0], "image": ["load", 0], "seed": 0, "steps": 4, "cfg": 1.0},
    },
    "save": {
        "class_type": "SaveImage",
        "inputs": {"images": ["sampler", 0], "filename_prefix": "x"},
    },
}
MANIFEST = """\
name: demo
tab: demo
title: {en: Demo, zh-TW: 示範}
category: image
graph: demo.json
parameters:
  - {name: photo, type: image, label: {en: Photo}, bind: [load.image], required: true}
  - {name: seed, type: seed, label: {en: Seed}, bind: [sampler.seed], default: -1}
  - {name: steps, type: integer, label: {en: S}, bind: [sampler.steps], min: 1, max: 9, default: 4}
  - {name: lora, type: model, folder: loras, label: {en: LoRA}, bind: [lora.name]}
rules:
  - {when: {lora: empty}, bypass: {lora: {0: model}}}
outputs: [{node: save, kind: image}]
models:
  - {model: base, bind: unet.unet_name}
"""
MODELS = """\
base:
  folder: diffusion_models
  file: a.safetensors
  url: https://example.org/a.safetensors
  licence: MIT
"""

Put = Callable[..., Catalog]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a folder of one workflow, changed as told, and load it."""

    def write(
        *changes: tuple[str, str],
        graph: Any = GRAPH,
        models: str = MODELS,
        more: dict[str, str] | None = None,
    ) -> Catalog:
        text = MANIFEST
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / "demo.yaml").write_text(text, "utf-8")
        body = graph if isinstance(graph, str) else json.dumps(graph, indent=1)
        (tmp_path / "demo.json").write_text(body, "utf-8")
        (tmp_path / "models.yaml").write_text(models, "utf-8")
        for name, content in (more or {}).items():
            (tmp_path / name).write_text(content, "utf-8")
        return load(tmp_path)

    return write


def only(catalog: Catalog) -> Broken:
    assert len(catalog.broken) == 1, catalog.broken
    return catalog.broken[0]


def test_a_right_folder_has_nothing_broken(put: Put) -> None:
    catalog = put()

    assert catalog.broken == ()
    assert catalog.workflow("demo").manifest.title["zh-TW"] == "示範"


@pytest.mark.parametrize(
    ("old", "new", "line", "reason"),
    [
        ("tab: demo", "tab: demo\nTab: x", 3, "Tab: there is no such key here; is 'tab' meant?"),
        ("tab: demo", "tab: demo\ntab: other", 3, "'tab' is said twice"),
        ("name: demo", "name: other", 1, "write name: demo"),
        ("category: image", "category: picture", 4, "category"),
        ("category: image", "category: [image", 5, "not YAML"),
        (
            "type: integer",
            "type: whole",
            9,
            "parameters.steps.type: this must be one of text, integer",
        ),
        ("min: 1, max: 9", "max: 9", 9, "a number needs min and max"),
        ("min: 1, max: 9", "min: 10, max: 9", 9, "min is above max"),
        ("default: 4", "default: 40", 9, "the default 40"),
        ("default: 4", "default: true", 9, "the default True"),
        ("bind: [sampler.steps]", "bind: [sampler.stepz]", 9, "no input 'stepz'"),
        ("bind: [sampler.steps]", "bind: [gone.steps]", 9, "no such node"),
        ("bind: [sampler.steps]", "bind: [sampler.model]", 9, "is a link in the graph"),
        ("bind: [sampler.steps]", "bind: [sampler.seed]", 9, "is set by 'seed' already"),
        ("name: steps", "name: seed", 9, "a second parameter is named 'seed'"),
        ("name: steps", "name: 2steps", 9, "parameters.2steps.name: a name has small letters"),
        ("folder: loras, ", "", 10, "a model needs folder"),
        ("when: {lora: empty}", "when: {lara: empty}", 12, "no parameter is named 'lara'"),
        ("when: {lora: empty}", "when: {lora: none}", 12, "rules.0.when.lora"),
        ("when: {lora: empty}", "when: {lora: {lt: 1, empty: true}}", 12, "exactly one of"),
        ("bypass: {lora: {0: model}}", "bypass: {gone: {0: model}}", 12, "no node 'gone'"),
        ("bypass: {lora: {0: model}}", "bypass: {lora: {0: gone}}", 12, "no input 'gone'"),
        ("bypass: {lora: {0: model}}", "set: {gone.x: 1}", 12, "no such node"),
        ("bypass: {lora: {0: model}}", "set: {sampler.model: [gone, 0]}", 12, "does not have"),
        ("node: save", "node: gone", 13, "no node 'gone'"),
        ("model: base", "model: other", 15, "models.yaml has no 'other'"),
        ("bind: unet.unet_name", "bind: unet.name", 15, "no input 'name'"),
        ("bind: [load.image], required: true", "bind: [load.image]", 11, "sample file"),
        ("graph: demo.json", "graph: ../demo.json", 5, "graph"),
    ],
)
def test_a_fault_in_a_manifest_names_file_line_and_reason(
    put: Put, old: str, new: str, line: int, reason: str
) -> None:
    broken = only(put((old, new)))

    assert (broken.file, broken.line) == ("demo.yaml", line)
    assert reason in broken.reason


def test_a_shape_without_quotes_is_explained(put: Put) -> None:
    shape = "type: choice, choices: {1:1: {sampler.steps: 4}}"
    fault = only(
        put(
            ("type: integer", shape),
            (", bind: [sampler.steps], min: 1, max: 9, default: 4", ""),
        )
    )

    assert fault.line == 9
    assert "YAML reads it as the number 61" in fault.reason


def test_a_file_that_no_parameter_gives_is_found(put: Put) -> None:
    graph = GRAPH | {
        "mask": {"class_type": "LoadImageMask", "inputs": {"image": "example.png"}},
        "sampler": {
            "class_type": "KSampler",
            "inputs": GRAPH["sampler"]["inputs"] | {"mask": ["mask", 0]},
        },
    }

    assert "'mask' loads a file that no parameter gives" in only(put(graph=graph)).reason


def test_a_save_node_that_outputs_does_not_name_is_found(put: Put) -> None:
    second = {
        "class_type": "SaveImage",
        "inputs": {"images": ["sampler", 0], "filename_prefix": ""},
    }

    assert "'second' saves files" in only(put(graph=GRAPH | {"second": second})).reason


def test_a_fault_in_a_graph_names_the_graph(put: Put) -> None:
    broken = only(put(graph=GRAPH | {"bad": {"class_type": "X", "inputs": {"a": ["gone", 0]}}}))

    assert broken.file == "demo.json"
    assert broken.line > 20
    assert "'gone'" in broken.reason


def test_a_missing_graph_is_told(put: Put, tmp_path: Path) -> None:
    put()
    (tmp_path / "demo.json").unlink()

    broken = only(load(tmp_path))

    assert (broken.file, broken.line) == ("demo.yaml", 5)
    assert "demo.json is not in this folder" in broken.reason


def test_a_graph_without_a_manifest_is_told(put: Put) -> None:
    broken = only(put(more={"lonely.json": "{}"}))

    assert (broken.file, broken.reason.split(";")[0]) == (
        "lonely.json",
        "no manifest uses this graph",
    )


def test_a_broken_workflow_does_not_stop_the_others(put: Put) -> None:
    catalog = put(more={"bad.yaml": "name: [", "worse.yaml": "\x00", "odd.yaml": "- a list"})

    assert [broken.file for broken in catalog.broken] == ["bad.yaml", "odd.yaml", "worse.yaml"]
    assert list(catalog.workflows) == ["demo"]


def test_a_file_that_is_no_text_does_not_stop_the_others(put: Put, tmp_path: Path) -> None:
    put()
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")

    catalog = load(tmp_path)

    assert only(catalog).file == "bad.yaml"
    assert list(catalog.workflows) == ["demo"]


def test_a_broken_model_entry_breaks_only_who_names_it(put: Put) -> None:
    other = "\nother:\n  folder: vae\n  file: b\n  url: c\n"

    broken = only(put(models=MODELS + other))

    assert (broken.file, broken.line) == ("models.yaml", 7)
    assert "other.licence" in broken.reason


def test_an_unreadable_models_file_is_told_with_its_line(put: Put) -> None:
    catalog = put(models="a: b: c")

    assert catalog.broken[0].file == "models.yaml"
    assert catalog.broken[0].line == 1


def test_a_broken_file_has_words(put: Put) -> None:
    for broken in (
        only(put(("name: demo", "name: other"))),
        only(put(graph="{")),
    ):
        for language in LANGUAGES:
            sentence, hint = explain(broken.error(), language)
            assert broken.file in sentence
            assert "{" not in hint


SECOND = MANIFEST.replace("name: demo", "name: second", 1).replace(
    "{name: lora, type: model, folder: loras,",
    "{name: base, type: model, folder: checkpoints, picks: true, bind: [unet.unet_name], "
    "label: {en: Base}}\n  - {name: lora, type: model, folder: loras,",
)
FIRST_PICKS = (
    "{name: lora, type: model",
    "{name: base, type: choice, picks: true, default: ours, label: {en: Base}, "
    "choices: {ours: {unet.unet_name: a.safetensors}}, labels: {ours: {en: Ours, zh-TW: 我們的}}}\n"
    "  - {name: lora, type: model",
)


def test_workflows_of_a_tab_without_a_picking_field_disagree(put: Put) -> None:
    broken = only(put(more={"second.yaml": SECOND}))

    assert (broken.file, broken.line) == ("second.yaml", 2)
    assert "picks: true" in broken.reason


def test_one_name_with_two_kinds_in_a_tab_disagrees(put: Put) -> None:
    second = SECOND.replace("name: steps, type: integer", "name: steps, type: number")

    assert "'steps' is number here" in only(put(FIRST_PICKS, more={"second.yaml": second})).reason


def test_a_tab_picks_by_its_field(put: Put) -> None:
    tab = put(FIRST_PICKS, more={"second.yaml": SECOND}).tab("demo")

    assert tab.pick({}).name == "demo"
    assert tab.pick({"base": ""}).name == "demo"
    assert tab.pick({"base": "ours"}).name == "demo"
    assert tab.pick({"base": "x.safetensors"}).name == "second"
    with pytest.raises(StudioError, match="field_wrong_type"):
        tab.pick({"base": 3})


def test_a_tab_offers_its_own_model_first_and_then_what_servers_list(put: Put) -> None:
    tab = put(FIRST_PICKS, more={"second.yaml": SECOND}).tab("demo")
    asked = []

    def listed(folder: str) -> list[str]:
        asked.append(folder)
        return ["b/x.safetensors", "ours"]

    assert tab.model_choices(listed, "zh-TW") == (
        ("我們的", "ours"),
        ("b/x.safetensors", "b/x.safetensors"),
    )
    assert asked == ["checkpoints"]


def test_the_form_leaves_open_what_its_workflows_default_differently(put: Put) -> None:
    second = SECOND.replace("max: 9, default: 4", "max: 50, default: 25")
    tab = put(FIRST_PICKS, more={"second.yaml": second}).tab("demo")

    steps = tab.parameter("steps")

    assert (steps.default, steps.min, steps.max) == (None, 1, 50)
    assert tab.parameter("seed").default == -1
    assert tab.parameter("base").default == "ours"
    assert tab.parameter("gone") is None


def test_the_tab_knows_which_workflow_uses_a_field(catalog: Catalog) -> None:
    tab = catalog.tab("text_to_image")

    assert not tab.used("negative_prompt", catalog.workflow("text_to_image"))
    assert tab.used("negative_prompt", catalog.workflow("text_to_image_checkpoint"))
    assert tab.parameter("prompt").required


def test_an_unknown_tab_or_workflow_is_told(catalog: Catalog) -> None:
    for ask in (catalog.tab, catalog.workflow):
        with pytest.raises(StudioError, match="workflow_unknown"):
            ask("gone")


def test_an_empty_folder_is_an_empty_catalog(tmp_path: Path) -> None:
    catalog = load(tmp_path)

    assert (catalog.tabs, catalog.broken, dict(catalog.workflows)) == ((), (), {})
