"""What a server lacks for a workflow, told before anybody presses a button."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from studio.engine.workflow.binding import Workflow, check
from studio.engine.workflow.catalog import Catalog, load
from studio.engine.workflow.preflight import MissingModel, MissingNode, Preflight, Stock

MANIFEST = """\
name: demo
tab: demo
title: {en: Demo, zh-TW: 示範}
category: image
graph: demo.json
minimum_comfyui: "0.5.0"
parameters:
  - {name: words, type: text, required: true, bind: [text.text], label: {en: Words}}
  - {name: sharpen, type: switch, default: false, label: {en: Sharpen}}
  - {name: lora, type: model, folder: loras, bind: [lora.lora_name], label: {en: LoRA}}
rules:
  - {when: {sharpen: false}, bypass: {sharp: {0: image}}}
  - {when: {lora: empty}, bypass: {lora: {0: model}}}
outputs: [{node: save, kind: image}]
models:
  - {model: base, bind: unet.unet_name, alternatives: [small]}
"""
GRAPH = """\
{"unet": {"class_type": "UNETLoader", "inputs": {"unet_name": "sub\\\\a.safetensors"}},
 "lora": {"class_type": "LoraLoaderModelOnly",
          "inputs": {"model": ["unet", 0], "lora_name": "", "strength_model": 1.0}},
 "text": {"class_type": "Draw", "inputs": {"model": ["lora", 0], "text": ""},
          "_meta": {"title": "The drawing"}},
 "sharp": {"class_type": "ImageSharpen", "inputs": {"image": ["text", 0]}},
 "save": {"class_type": "SaveImage", "inputs": {"images": ["sharp", 0], "filename_prefix": "x"}}}
"""
MODELS = """\
base: {folder: diffusion_models, file: "sub\\\\a.safetensors", url: "https://example.org/a",
       bytes: 12000000000, licence: Apache-2.0}
small: {folder: diffusion_models, file: a_small.safetensors, url: "https://example.org/s",
        gigabytes: 3, licence: MIT}
"""
ALL = frozenset({"UNETLoader", "LoraLoaderModelOnly", "Draw", "ImageSharpen", "SaveImage"})


@pytest.fixture
def demo(tmp_path: Path) -> Workflow:
    """A workflow with an optional node, an optional LoRA and one fixed model file."""
    for name, text in (("demo.yaml", MANIFEST), ("demo.json", GRAPH), ("models.yaml", MODELS)):
        (tmp_path / name).write_text(text, "utf-8")
    catalog = load(tmp_path)
    assert catalog.broken == ()
    return catalog.workflow("demo")


@pytest.fixture
def preflight(demo: Workflow) -> Preflight:
    return Preflight(demo)


def stock(*, nodes: frozenset[str] = ALL, version: str = "0.8.0", **models: Sequence[str]) -> Stock:
    return Stock(version, nodes, {"diffusion_models": ["sub/a.safetensors"]} | models)


@pytest.fixture
def values(demo: Workflow) -> Callable[..., Mapping[str, Any]]:
    def make(**given: Any) -> Mapping[str, Any]:
        return check(demo, {"words": "a"} | given, rng=random.Random(1))  # noqa: S311 - no secret

    return make


def test_a_server_that_has_all_lacks_nothing_whatever_slash_it_writes(preflight: Preflight) -> None:
    report = preflight.report(stock())

    assert report.lacks == ()
    assert report.fit


def test_a_missing_node_is_named_by_class_and_title(preflight: Preflight) -> None:
    report = preflight.report(stock(nodes=ALL - {"Draw"}))

    assert report.nodes == (MissingNode("Draw", ("The drawing",)),)
    assert not report.fit
    assert "Draw" in report.sentences("en")[0]
    assert "The drawing" in report.sentences("zh-TW")[0]


def test_a_node_that_only_some_forms_use_holds_up_only_those(
    preflight: Preflight, values: Callable[..., Mapping[str, Any]]
) -> None:
    poor = stock(nodes=ALL - {"ImageSharpen"})

    assert preflight.report(poor).fit
    assert [lack.needed for lack in preflight.report(poor).lacks] == [False]
    assert preflight.job(values(), poor) == ()
    assert preflight.job(values(sharpen=True), poor) == (
        MissingNode("ImageSharpen", ("ImageSharpen",)),
    )


def test_a_missing_model_is_told_with_folder_size_link_and_licence(preflight: Preflight) -> None:
    report = preflight.report(stock(diffusion_models=[]))

    [lack] = report.models
    assert not report.fit
    for part in ("a.safetensors", "models/diffusion_models", "12.00 GB", "Apache-2.0", "example"):
        assert part in lack.sentence("en")
        assert part in lack.sentence("zh-TW")


def test_an_alternative_that_is_there_will_do(
    preflight: Preflight, values: Callable[..., Mapping[str, Any]]
) -> None:
    other = stock(diffusion_models=["deep/a_small.safetensors"])

    report = preflight.report(other)

    assert report.fit
    assert report.models[0].instead == ("deep/a_small.safetensors",)
    assert preflight.job(values(), other) == ()


def test_a_chosen_file_that_is_not_there_is_told_with_its_field_and_what_is(
    preflight: Preflight, values: Callable[..., Mapping[str, Any]]
) -> None:
    job = values(lora="gone.safetensors")

    [lack] = preflight.job(job, stock(loras=["a.safetensors"]))

    assert isinstance(lack, MissingModel)
    assert (lack.parameter, lack.instead) == ("lora", ("a.safetensors",))
    assert lack.error().code == "missing_model"
    assert (
        preflight.job(values(lora="x\\gone.safetensors"), stock(loras=["x/gone.safetensors"])) == ()
    )


@pytest.mark.parametrize(
    ("version", "told"),
    [("0.4.9", True), ("0.5", False), ("0.5.0", False), ("v0.10.1", False), ("", False)],
)
def test_an_old_version_is_told_and_holds_up_nothing(
    preflight: Preflight, version: str, told: bool
) -> None:
    report = preflight.report(stock(version=version))

    assert bool(report.version) is told
    assert report.fit


def test_every_shipped_workflow_names_its_folders(catalog: Catalog) -> None:
    bare = Stock("99.0", frozenset(), {})
    for workflow in catalog.workflows.values():
        preflight = Preflight(workflow)
        report = preflight.report(bare)

        assert not report.fit
        assert {lack.folder for lack in report.models if lack.needed} <= preflight.folders
        assert all(report.sentences(language) for language in ("en", "zh-TW"))


def test_a_field_whose_only_node_is_lacking_is_named_with_it(preflight: Preflight) -> None:
    without = stock(nodes=ALL - {"LoraLoaderModelOnly"})

    assert preflight.idle(stock()) == {}
    assert preflight.idle(without) == {"lora": "LoraLoaderModelOnly"}


def test_what_every_form_needs_is_no_fault_of_a_field(preflight: Preflight) -> None:
    neither = stock(nodes=ALL - {"LoraLoaderModelOnly", "Draw"})

    assert preflight.idle(neither) == {"lora": "LoraLoaderModelOnly"}


def test_a_field_that_begins_with_a_file_nobody_has_is_told_with_what_there_is(
    tmp_path: Path,
) -> None:
    """As drafts do: their fields begin with the export's own models."""
    begins = "folder: loras, default: 'own\\mine.safetensors', "
    text = MANIFEST.replace("folder: loras, ", begins)
    for name, body in (("demo.yaml", text), ("demo.json", GRAPH), ("models.yaml", MODELS)):
        (tmp_path / name).write_text(body, "utf-8")
    preflight = Preflight(load(tmp_path).workflow("demo"))

    [lack] = preflight.report(stock(loras=["theirs.safetensors"])).models

    assert (lack.file, lack.instead, lack.needed) == (
        "own\\mine.safetensors",
        ("theirs.safetensors",),
        False,
    )
    assert preflight.report(stock(loras=["other/mine.safetensors"])).models == ()
