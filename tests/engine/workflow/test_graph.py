"""Graphs in API format: what is read, what is refused, and where the fault is said to be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.graph import Graph, Target, needed, order, titles


def node(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "Any", "inputs": inputs}


def fault(text: str) -> FaultError:
    with pytest.raises(FaultError) as caught:
        Graph.parse(text)
    return caught.value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({}, "no nodes"),
        ([], "object of nodes"),
        ({"nodes": [], "links": []}, "Export (API)"),
        ({"a": 1}, "Export (API)"),
        ({"a": {"class_type": "X"}}, "no inputs"),
        ({"a": {"inputs": {}}}, "class_type"),
        ({"a": node(x={"__value__": ["x", 1]})}, "__value__"),
        ({"a": node(x=["b", 0])}, "'b', which is not in the graph"),
        ({"a": node(), "b": node(x=["a", -1])}, "slot -1"),
        ({"a": node(), "b": node(x=["a", 0.5])}, "slot 0.5"),
        ({"a": node(), "b": node(x=["a", True])}, "slot True"),
        ({"1": node(), "b": node(x=[1, 0])}, "is text, in quotes"),
        ({"a": node(x=["b", 0]), "b": node(x=["a", 0])}, "circle"),
        ({"a": {"class_type": "Note", "inputs": {}}}, "only ComfyUI's page knows"),
        ({str(n): node() for n in range(2001)}, "at most 2000"),
    ],
)
def test_a_graph_that_would_fail_or_harm_a_server_is_refused(data: Any, reason: str) -> None:
    assert reason in fault(json.dumps(data)).reason


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": NaN}', "[" * 100_000, '{"a": Infinity}', "\x89PNG"]
)
def test_text_that_is_no_json_is_a_fault_and_no_crash(text: str) -> None:
    assert fault(text).reason


def test_a_fault_names_the_line_of_its_node() -> None:
    text = json.dumps({"first": node(), "second": node(x=["gone", 0])}, indent=2)

    line = fault(text).line

    assert text.splitlines()[line - 1].strip() == '"second": {'


def test_broken_json_names_its_line() -> None:
    assert fault('{\n "a": 1,\n oops\n}').line == 3


@pytest.mark.parametrize(
    "wrap", [lambda text: "\ufeff" + text, lambda text: f'{{"prompt": {text}}}']
)
def test_a_byte_order_mark_and_a_wrapper_are_no_fault(wrap: Any) -> None:
    graph = Graph.parse(wrap(json.dumps({"a": node()})))

    assert set(graph.nodes) == {"a"}


def test_a_node_called_prompt_is_no_wrapper() -> None:
    assert set(Graph.parse(json.dumps({"prompt": node(), "b": node()})).nodes) == {"prompt", "b"}


def test_ids_of_every_kind_can_be_addressed() -> None:
    graph = Graph(
        {"123:111": node(x=1), "圖 一": node(x=1), "a.b": node(**{"images.image0": 1, "x": 2})}
    )

    assert graph.target("123:111.x") == Target("123:111", "x")
    assert graph.target("圖 一.x") == Target("圖 一", "x")
    assert graph.target("a.b.images.image0") == Target("a.b", "images.image0")


@pytest.mark.parametrize("place", ["gone.x", "a.gone", "a", "", ".x", "a."])
def test_a_place_that_is_not_there_is_a_fault(place: str) -> None:
    with pytest.raises(FaultError):
        Graph({"a": node(x=1)}).target(place)


def test_titles_fall_back_to_the_class() -> None:
    titled = {"class_type": "Any", "inputs": {}, "_meta": {"title": "Mine"}}

    assert titles({"a": titled, "b": node()}) == {"a": "Mine", "b": "Any"}


def test_order_puts_each_node_after_what_it_reads() -> None:
    prompt = {"c": node(x=["b", 0]), "b": node(x=["a", 0]), "a": node(), "d": node()}

    ordered = order(prompt)

    assert ordered.index("a") < ordered.index("b") < ordered.index("c")
    assert len(ordered) == 4


def test_needed_names_what_leads_to_an_end() -> None:
    prompt = {"a": node(), "b": node(x=["a", 0]), "c": node()}

    assert needed(prompt, ["b", "gone"]) == {"a", "b"}


def test_a_copy_can_be_written_without_the_template_noticing() -> None:
    graph = Graph.parse(json.dumps({"a": node(x=[1, 2, 3])}))
    copy = graph.copy()
    copy["a"]["inputs"]["x"].append(4)
    copy["a"]["inputs"]["y"] = 1

    assert graph.nodes["a"]["inputs"] == {"x": [1, 2, 3]}
