"""Values made right and written into a graph, on a graph that has a case of every rule."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.engine.workflow.binding import SEED_DRAWN_BELOW, Workflow, bind, check, match_model
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.graph import Graph
from studio.engine.workflow.manifest import ModelFile
from studio.engine.workflow.source import Source, read
from studio.engine.workflow.trial import prove
from studio.errors import StudioError
from studio.texts import LANGUAGES, explain

Bound = Callable[..., dict[str, Any]]

GRAPH = {
    "unet": {"class_type": "UNETLoader", "inputs": {"unet_name": "a.safetensors"}},
    "lora_fast": {"class_type": "Lora", "inputs": {"model": ["unet", 0], "name": "fast"}},
    "load_a": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "load_b": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "load_mask": {"class_type": "LoadImageMask", "inputs": {"image": "example.png"}},
    "last": {"class_type": "ImageFromBatch", "inputs": {"image": ["load_a", 0]}},
    "text": {"class_type": "CLIPTextEncode", "inputs": {"text": "a sample", "negative": "bad"}},
    "sampler": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["lora_fast", 0],
            "text": ["text", 0],
            "start": ["load_b", 0],
            "mask": ["load_mask", 0],
            "seed": 0,
            "steps": 4,
            "cfg": 1.0,
            "width": 512,
            "height": 512,
            "tiled": False,
        },
    },
    "extra": {"class_type": "Extra", "inputs": {"image": ["sampler", 0]}},
    "save": {"class_type": "SaveImage", "inputs": {"images": ["extra", 0], "filename_prefix": "p"}},
}
MANIFEST = """\
name: demo
tab: demo
title: {en: Demo}
category: image
graph: demo.json
parameters:
  - {name: words, type: text, label: {en: Words}, bind: [text.text], required: true}
  - {name: negative, type: text, label: {en: N}, bind: [text.negative], max_chars: 5}
  - {name: a, type: image, label: {en: A}, bind: [load_a.image], required: true}
  - {name: b, type: image, label: {en: B}, bind: [load_b.image]}
  - {name: area, type: mask, label: {en: M}, bind: [load_mask.image]}
  - {name: fast, type: switch, label: {en: Fast}, default: true}
  - {name: tiled, type: switch, label: {en: T}, bind: [sampler.tiled]}
  - {name: steps, type: integer, label: {en: S}, bind: [sampler.steps], min: 2, max: 60, step: 2,
     default: 4}
  - {name: cfg, type: number, label: {en: C}, bind: [sampler.cfg], min: 1, max: 8, default: 1.0}
  - {name: seed, type: seed, label: {en: Seed}, bind: [sampler.seed], default: -1}
  - {name: rounds, type: integer, label: {en: R}, min: 1, max: 3, default: 1}
  - name: shape
    type: choice
    label: {en: Shape}
    default: square
    choices:
      square: {sampler.width: 512, sampler.height: 512}
      wide: {sampler.width: 768, sampler.height: 512}
  - {name: model, type: model, folder: loras, label: {en: L}, bind: [lora_fast.name]}
rules:
  - when: {fast: false}
    bypass: {lora_fast: {0: model}}
    set: {sampler.steps: 20, sampler.cfg: 4.0}
  - {when: {b: empty}, remove: [load_b], set: {sampler.start: [last, 0]}}
  - {when: {area: empty}, remove: [load_mask]}
  - {when: {rounds: {lt: 2}}, bypass: {extra: {0: image}}}
  - {when: {tiled: true}, set: {extra.strength: 0.5}}
  - {when: {rounds: {equals: 3}}, set: {text.negative: [last, 0]}}
outputs: [{node: save, kind: image}]
models:
  - {model: base, bind: unet.unet_name, alternatives: [small]}
"""


@pytest.fixture(scope="module")
def demo() -> Workflow:
    models = {
        name: ModelFile(folder="unet", file=f"{file}.safetensors", url="u", licence="MIT")
        for name, file in (("base", "a"), ("small", "a_small"))
    }
    source = Source(MANIFEST)
    workflow = Workflow(read(source), Graph(GRAPH), models)
    prove(workflow, source)
    return workflow


def checked(workflow: Workflow, **values: Any) -> dict[str, Any]:
    least = {"words": "a cat", "a": "ref-a"}
    return check(workflow, least | values, rng=random.Random(1))  # noqa: S311 - no secret


def made(workflow: Workflow, **values: Any) -> dict[str, Any]:
    files = {f"ref-{name}": f"studio/{name}.png" for name in "abm"}
    return bind(workflow, checked(workflow, **values), files=files)


def refused(workflow: Workflow, **values: Any) -> StudioError:
    with pytest.raises(StudioError) as caught:
        checked(workflow, **values)
    for language in LANGUAGES:
        sentence, hint = explain(caught.value, language)
        assert "{" not in sentence + hint
    return caught.value


# --- check ---


def test_what_was_not_said_gets_its_default(demo: Workflow) -> None:
    values = checked(demo)

    assert values == {
        "words": "a cat",
        "a": "ref-a",
        "fast": True,
        "steps": 4,
        "cfg": 1.0,
        "seed": values["seed"],
        "rounds": 1,
        "shape": "square",
    }


@pytest.mark.parametrize(
    ("given", "exact"),
    [
        ("0", "0"),
        (0, "0"),
        (" 42 ", "42"),
        ("007", "7"),
        (42.0, "42"),
        ("9007199254740993", "9007199254740993"),
        (9007199254740993, "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
        (2**64 - 1, "18446744073709551615"),
    ],
)
def test_a_seed_stays_exact(demo: Workflow, given: Any, exact: str) -> None:
    assert checked(demo, seed=given)["seed"] == exact
    assert made(demo, seed=given)["sampler"]["inputs"]["seed"] == int(exact)


@pytest.mark.parametrize("given", ["-1", -1, " -1", "", None])
def test_a_random_seed_is_drawn_where_every_page_shows_it_exactly(
    demo: Workflow, given: Any
) -> None:
    seed = checked(demo, seed=given)["seed"]

    assert isinstance(seed, str)
    assert 0 <= int(seed) < SEED_DRAWN_BELOW
    assert int(float(seed)) == int(seed)


WORDS_NO_SEED = [
    "abc",
    "1.5",
    str(2**64),
    "-2",
    "1_000",
    "１２",
    "0x10",
    "1e5",
    "--1",
    "+1",
    "9" * 5000,
]
VALUES_NO_SEED = [2**64, -2, True, 1.5, 2.0**60, float("nan"), float("inf"), [1], 10**5000]


@pytest.mark.parametrize("given", [*WORDS_NO_SEED, *VALUES_NO_SEED], ids=map(str, range(20)))
def test_a_seed_that_is_none_is_refused_by_name_with_the_range(demo: Workflow, given: Any) -> None:
    error = refused(demo, seed=given)

    assert (error.code, error.field) == ("seed_invalid", "seed")
    assert error.params["max"] == "18446744073709551615"


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("words", None, "field_required"),
        ("words", "", "field_required"),
        ("words", "  \n", "field_required"),
        ("words", 3, "field_wrong_type"),
        ("words", "a\x00b", "field_wrong_type"),
        ("words", "\ud800", "field_wrong_type"),
        ("words", "x" * 1001, "field_too_long"),
        ("negative", "123456", "field_too_long"),
        ("a", None, "field_required"),
        ("a", ["ref-a"], "field_wrong_type"),
        ("b", 7, "field_wrong_type"),
        ("fast", 1, "field_wrong_type"),
        ("fast", "true", "field_wrong_type"),
        ("steps", True, "field_wrong_type"),
        ("steps", "4", "field_wrong_type"),
        ("steps", 4.5, "field_wrong_type"),
        ("steps", float("nan"), "field_wrong_type"),
        ("steps", float("inf"), "field_wrong_type"),
        ("steps", 0, "field_out_of_range"),
        ("steps", 62, "field_out_of_range"),
        ("steps", 5, "field_out_of_range"),
        ("cfg", False, "field_wrong_type"),
        ("cfg", float("nan"), "field_wrong_type"),
        ("cfg", float("-inf"), "field_wrong_type"),
        ("cfg", 0.99, "field_out_of_range"),
        ("cfg", 10**400, "field_out_of_range"),
        pytest.param("steps", -(10**5000), "field_out_of_range", id="very long"),
        ("shape", "round", "field_not_a_choice"),
        ("shape", 3, "field_wrong_type"),
        ("model", 3, "field_wrong_type"),
        ("wrods", "a cat", "field_unknown"),
        ("seeds", 0, "field_unknown"),
        ("tile", False, "field_unknown"),
    ],
)
def test_a_wrong_value_is_refused_by_name(demo: Workflow, name: str, given: Any, code: str) -> None:
    error = refused(demo, **{name: given})

    assert (error.code, error.field, error.status) == (code, name, 422)


def test_a_text_at_the_limit_is_taken_and_counted_in_characters(demo: Workflow) -> None:
    assert checked(demo, words="貓" * 1000)["words"] == "貓" * 1000
    assert refused(demo, words="貓" * 1001).params["length"] == "1001"


def test_the_limit_of_a_prompt_comes_from_the_host(demo: Workflow) -> None:
    with pytest.raises(StudioError, match="field_too_long"):
        check(
            demo,
            {"words": "four", "a": "ref-a"},
            rng=random.Random(1),  # noqa: S311 - no secret
            prompt_max_chars=3,
        )


def test_an_unknown_name_under_which_nothing_was_said_is_no_fault(demo: Workflow) -> None:
    assert "gone" not in checked(demo, gone=None, gone_too="")


def test_numbers_of_a_page_become_what_comfyui_wants(demo: Workflow) -> None:
    values = checked(demo, steps=8.0, cfg=2)

    assert (values["steps"], values["cfg"]) == (8, 2.0)
    assert isinstance(values["steps"], int)
    assert isinstance(values["cfg"], float)


@pytest.mark.parametrize("given", [["a"], ["a"] * 5, ["a", "", "b"], ["a", None], "a", [1, 2], 3])
def test_pictures_of_a_wrong_number_or_kind_are_refused(catalog: Catalog, given: Any) -> None:
    with pytest.raises(StudioError) as caught:
        check(
            catalog.workflow("image_blend_pixel"),
            {"images": given},
            rng=random.Random(1),  # noqa: S311 - no secret
        )
    assert caught.value.code in ("field_count", "field_wrong_type")
    assert caught.value.field == "images"


def test_checking_twice_changes_nothing(demo: Workflow) -> None:
    once = checked(demo, fast=False, b="ref-b")

    assert check(demo, once, rng=random.Random(2)) == once  # noqa: S311 - no secret


# --- rules ---


def test_a_bypassed_node_is_read_past(demo: Workflow) -> None:
    prompt = made(demo, fast=False)

    assert "lora_fast" not in prompt
    assert prompt["sampler"]["inputs"]["model"] == ["unet", 0]


def test_a_rule_presets_what_was_not_said(demo: Workflow) -> None:
    inputs = made(demo, fast=False)["sampler"]["inputs"]

    assert (inputs["steps"], inputs["cfg"]) == (20, 4.0)
    assert checked(demo, fast=False)["steps"] == 20


@pytest.mark.parametrize("steps", [24, 4])
def test_a_value_that_was_said_wins_over_a_rule_even_when_it_is_the_default(
    demo: Workflow, steps: int
) -> None:
    inputs = made(demo, fast=False, steps=steps)["sampler"]["inputs"]

    assert (inputs["steps"], inputs["cfg"]) == (steps, 4.0)


def test_a_removed_node_takes_the_inputs_that_pointed_at_it(demo: Workflow) -> None:
    prompt = made(demo)

    assert "load_mask" not in prompt
    assert "mask" not in prompt["sampler"]["inputs"]


def test_a_rule_can_link_another_node_instead(demo: Workflow) -> None:
    without, with_b = made(demo), made(demo, b="ref-b")

    assert without["sampler"]["inputs"]["start"] == ["last", 0]
    assert with_b["sampler"]["inputs"]["start"] == ["load_b", 0]
    assert with_b["load_b"]["inputs"]["image"] == "studio/b.png"


def test_what_leads_to_no_output_is_dropped(demo: Workflow) -> None:
    prompt = made(demo, b="ref-b")

    assert "last" not in prompt
    assert "load_a" not in prompt


@pytest.mark.parametrize(("rounds", "read"), [(1, "sampler"), (2, "extra"), (3, "extra")])
def test_less_than_asks_for_the_number(demo: Workflow, rounds: int, read: str) -> None:
    assert made(demo, rounds=rounds)["save"]["inputs"]["images"] == [read, 0]


def test_an_input_that_a_rule_linked_stays_linked(demo: Workflow) -> None:
    assert made(demo, rounds=3, negative="bad")["text"]["inputs"]["negative"] == ["last", 0]


def test_a_rule_sets_a_node_only_where_it_still_is(demo: Workflow) -> None:
    assert made(demo, tiled=True, rounds=2)["extra"]["inputs"]["strength"] == 0.5
    assert "extra" not in made(demo, tiled=True, rounds=1)


def test_one_choice_sets_several_inputs(demo: Workflow) -> None:
    inputs = made(demo, shape="wide")["sampler"]["inputs"]

    assert (inputs["width"], inputs["height"]) == (768, 512)


def test_an_empty_text_replaces_the_sample_of_the_graph(demo: Workflow) -> None:
    assert made(demo, negative="")["text"]["inputs"]["negative"] == ""


def test_a_switch_writes_true_and_false(demo: Workflow) -> None:
    assert made(demo, tiled=True)["sampler"]["inputs"]["tiled"] is True
    assert made(demo, tiled=False)["sampler"]["inputs"]["tiled"] is False


@given(
    st.fixed_dictionaries(
        {"words": st.text(st.characters(categories=["L", "N", "P", "Z"]), min_size=1, max_size=50)},
        optional={
            "fast": st.booleans(),
            "b": st.just("ref-b"),
            "area": st.just("ref-m"),
            "steps": st.integers(1, 30).map(lambda n: n * 2),
            "rounds": st.integers(1, 3),
            "seed": st.integers(-1, 2**64 - 1).map(str),
            "shape": st.sampled_from(["square", "wide"]),
        },
    ).filter(lambda values: values["words"].strip())
)
def test_every_combination_binds_to_a_sound_prompt_and_spares_the_template(
    demo: Workflow, values: dict[str, Any]
) -> None:
    before = repr(demo.graph.nodes)
    prompt = made(demo, **values)

    assert repr(demo.graph.nodes) == before
    assert prompt["text"]["inputs"]["text"] == values["words"]
    assert "example.png" not in repr({n: b for n, b in prompt.items() if n != "text"})


# --- files, models, names ---


def test_a_file_that_was_not_uploaded_is_refused(demo: Workflow) -> None:
    with pytest.raises(StudioError) as caught:
        bind(demo, checked(demo), files={})
    assert (caught.value.code, caught.value.field) == ("file_unknown", "a")


def test_a_sample_file_never_stands_in_for_one_that_was_not_given(demo: Workflow) -> None:
    with pytest.raises(StudioError) as caught:
        bind(demo, {"words": "a", "seed": "1"}, files={})
    assert caught.value.code == "graph_invalid"
    assert "sample file" in caught.value.params["reason"]


@pytest.mark.parametrize(
    ("name", "listed", "found"),
    [
        ("a.st", ["a.st", "x/a.st"], "a.st"),
        ("x\\a.st", ["x/a.st", "y/a.st"], "x/a.st"),
        ("x/a.st", ["x\\a.st"], "x\\a.st"),
        ("Qwen\\a.st", ["a.st"], "a.st"),
        ("a.st", ["deep/er/a.st"], "deep/er/a.st"),
        ("a.st", ["x/a.st", "y/a.st"], None),
        ("a.st", ["A.st", "ba.st"], None),
        ("a.st", [], None),
    ],
)
def test_a_model_is_matched_exactly_then_by_slashes_then_by_its_only_name(
    name: str, listed: list[str], found: str | None
) -> None:
    assert match_model(name, listed) == found


def test_a_fixed_model_is_spelt_as_the_server_lists_it_or_replaced(demo: Workflow) -> None:
    def unet(listed: list[str]) -> str:
        files = {"ref-a": "a.png"}
        prompt = bind(demo, checked(demo), files=files, listed=lambda _: listed)
        return str(prompt["unet"]["inputs"]["unet_name"])

    assert unet(["sub/a.safetensors"]) == "sub/a.safetensors"
    assert unet(["a_small.safetensors"]) == "a_small.safetensors"
    assert unet(["a_small.safetensors", "a.safetensors"]) == "a.safetensors"


def test_a_model_the_server_lacks_is_named_with_its_folder_and_the_choices(demo: Workflow) -> None:
    with pytest.raises(StudioError) as fixed:
        bind(demo, checked(demo), files={"ref-a": "a.png"}, listed=lambda _: ["b.safetensors"])
    with pytest.raises(StudioError) as chosen:
        bind(
            demo,
            checked(demo, model="mine.safetensors"),
            files={"ref-a": "a.png"},
            listed=lambda folder: ["a.safetensors"] if folder == "unet" else ["x.safetensors"],
        )

    assert fixed.value.code == chosen.value.code == "missing_model"
    assert fixed.value.params["model"] == "a.safetensors"
    assert fixed.value.params["choices"] == "b.safetensors"
    assert (chosen.value.field, chosen.value.params["folder"]) == ("model", "loras")


def test_a_prefix_names_the_files_of_every_save_node(demo: Workflow) -> None:
    files = {"ref-a": "a.png"}
    own = bind(demo, checked(demo), files=files, prefix="studio/job-1")
    plain = bind(demo, checked(demo), files=files)

    assert own["save"]["inputs"]["filename_prefix"] == "studio/job-1"
    assert plain["save"]["inputs"]["filename_prefix"] == "p"
