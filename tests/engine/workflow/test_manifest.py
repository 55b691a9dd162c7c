"""The schema of manifests: conditions, kinds, and places in a YAML text."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.manifest import Condition, Kind, Parameter, holds
from studio.engine.workflow.source import Source, read


@pytest.mark.parametrize(
    ("asked", "value", "answer"),
    [
        ({"empty": True}, None, True),
        ({"empty": True}, "", True),
        ({"empty": True}, [], True),
        ({"empty": True}, 0, False),
        ({"empty": True}, False, False),
        ({"empty": False}, "a", True),
        ({"lt": 3}, 2, True),
        ({"lt": 3}, 3, False),
        ({"lt": 3}, ["a", "b"], True),
        ({"lt": 3}, ["a", "b", "c"], False),
        ({"lt": 3}, None, False),
        ({"lt": 3}, "2", False),
        ({"equals": "fill"}, "fill", True),
        ({"equals": ["fill", "stretch"]}, "stretch", True),
        ({"equals": ["fill", "stretch"]}, "whole", False),
        ({"equals": False}, False, True),
        ({"equals": False}, 0, False),
        ({"equals": False}, None, False),
        ({"equals": 1}, True, False),
        ({"contains": "xl"}, "folder/Some_XL_v1.safetensors", True),
        ({"contains": ["xl", "pony"]}, "PonyDiffusion", True),
        ({"contains": "xl"}, "sd15", False),
        ({"contains": "xl"}, None, False),
    ],
)
def test_a_condition_answers(asked: dict[str, Any], value: Any, answer: bool) -> None:
    assert Condition.model_validate(asked).holds(value) is answer


@pytest.mark.parametrize("asked", [{}, {"lt": 1, "equals": 1}, {"greater": 1}])
def test_a_condition_asks_one_thing(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Condition.model_validate(asked)


def test_all_conditions_must_hold() -> None:
    when = {"a": Condition(equals=("x",)), "b": Condition(lt=3)}

    assert holds(when, {"a": "x", "b": 1})
    assert not holds(when, {"a": "x", "b": 4})
    assert not holds(when, {"b": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "choice"},
        {"type": "text", "choices": ["a"]},
        {"type": "model"},
        {"type": "text", "folder": "loras"},
        {"type": "integer", "min": 1},
        {"type": "text", "min": 1},
        {"type": "text", "max": 1},
        {"type": "integer", "min": 1, "max": 3, "step": 0},
        {"type": "choice", "choices": {"a": {"n.x": 1}}, "bind": ["n.x"]},
        {"type": "choice", "choices": ["a"], "labels": {"b": {"en": "B"}}},
        {"type": "choice", "choices": ["a"], "default": "b"},
        {
            "type": "choice",
            "choices": ["a"],
            "variants": [{"when": {"m": "empty"}, "choices": ["b"]}],
        },
        {"type": "images", "bind": ["n.x"], "min_count": 2},
        {"type": "image"},
        {"type": "image", "bind": ["n.x"], "default": "example.png"},
        {"type": "seed", "default": -2},
        {"type": "seed", "default": 2**64},
        {"type": "switch", "default": "yes"},
        {"type": "text", "default": 1},
        {"type": "number", "min": 0, "max": 1, "default": "0.5"},
        {"type": "integer", "min": 0, "max": 9, "default": 1.5},
        {"type": "text", "label": {}},
        {"type": "text", "name": "class-name"},
        {"type": "text", "hlep": {"en": "a slip of the pen"}},
    ],
    ids=str,
)
def test_a_parameter_that_does_not_fit_its_kind_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Parameter.model_validate({"name": "p", "label": {"en": "P"}} | wrong)


def test_a_list_of_choices_sets_nothing_of_its_own() -> None:
    p = Parameter(name="p", type=Kind.CHOICE, label={"en": "P"}, choices=["a", "b"], bind=["n.x"])

    assert p.choices == {"a": {}, "b": {}}
    assert list(p.targets()) == ["n.x"]


def test_a_variant_gives_the_same_choice_other_settings() -> None:
    p = Parameter.model_validate(
        {
            "name": "size",
            "type": "choice",
            "label": {"en": "Size"},
            "choices": {"big": {"n.x": 1}},
            "variants": [{"when": {"m": {"contains": "xl"}}, "choices": {"big": {"n.x": 2}}}],
        }
    )

    assert p.settings({"size": "big", "m": "sd15"}) == {"n.x": 1}
    assert p.settings({"size": "big", "m": "SDXL"}) == {"n.x": 2}
    assert p.settings({}) == {}


def test_a_source_knows_the_line_of_each_place() -> None:
    source = Source("a: 1\nb:\n  - x\n  - {y: 2,\n     z: 3}\n")

    assert source.line(["a"]) == 1
    assert source.line(["b", 0]) == 3
    assert source.line(["b", 1, "z"]) == 5
    assert source.line(["b", 1, "gone", "deeper"]) == 4
    assert source.line([]) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3", 3),
        ("a:\n  x: 1\n  x: 2", 3),
        ("- a", 1),
        ("", 1),
        ("a: [", 1),
        ("!!x a", 1),
    ],
)
def test_a_text_that_is_no_mapping_names_its_line(text: str, line: int) -> None:
    with pytest.raises(FaultError) as caught:
        Source(text)
    assert caught.value.line == line


def test_yaml_builds_no_objects() -> None:
    with pytest.raises(FaultError):
        Source("a: !!python/object/apply:os.system ['true']")


def test_reading_names_the_place_that_is_wrong() -> None:
    with pytest.raises(FaultError) as caught:
        read(Source("name: demo\ntab: demo\ntitle: {en: x}\ncategory: image\ngraph: d.json\n"))
    assert caught.value.reason.startswith("parameters: this is missing")
