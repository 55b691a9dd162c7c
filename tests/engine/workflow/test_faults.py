"""Every fault of what a host brings is said in both languages, and none is written in one alone."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio import texts
from studio.engine.workflow import formula
from studio.engine.workflow.binding import bind
from studio.engine.workflow.catalog import load
from studio.engine.workflow.draft import Draft, draft
from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.graph import MAX_NODES, Graph
from studio.errors import StudioError
from studio.importing import MAX_BYTES, _prove, bring_in
from studio.texts import Sentence

SOURCES = Path(__file__).parents[3] / "studio"
GRAPH = {
    "load": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "s": {
        "class_type": "KSampler",
        "inputs": {"image": ["load", 0], "seed": 0, "steps": 4, "name": "a.ckpt"},
    },
    "save": {"class_type": "SaveImage", "inputs": {"images": ["s", 0], "filename_prefix": "x"}},
}
MANIFEST = """\
name: demo
tab: demo
title: {en: Demo}
category: image
graph: demo.json
parameters:
  - {name: photo, type: image, label: {en: Photo}, bind: [load.image], required: true}
  - {name: steps, type: integer, label: {en: S}, bind: [s.steps], min: 1, max: 9, default: 4}
outputs: [{node: save, kind: image}]
"""
STEPS = "type: integer, label: {en: S}, bind: [s.steps], min: 1, max: 9, default: 4"
MORE = "outputs:"


def of_manifest(*changes: tuple[str, str], **more: str) -> Sentence:
    """Load a folder of one workflow, changed, and give the fault the doctor would tell."""
    text = MANIFEST
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return of_folder(**{"demo.yaml": text, "demo.json": json.dumps(GRAPH)} | more)


def of_folder(**files: str | bytes) -> Sentence:
    place = PLACES[-1]
    for path in place.iterdir():
        path.unlink()
    for name, content in files.items():
        body = content if isinstance(content, bytes) else content.encode()
        (place / name).write_bytes(body)
    broken = load(place).broken
    return broken[0].said if broken else Sentence("fault.none_at_all")


def of_graph(graph: Any) -> Sentence:
    return raised(lambda: Graph.parse(graph if isinstance(graph, str) else json.dumps(graph)))


def of_draft(graph: Any) -> Sentence:
    return raised(lambda: draft(json.dumps(graph), "mine", "Mine"))


def of_import(name: str, content: bytes, chosen: str | None = None) -> Sentence:
    file = PLACES[-1] / name
    file.write_bytes(content)
    return raised(lambda: bring_in(file, PLACES[-1], chosen))


def raised(act: Callable[[], object]) -> Sentence:
    try:
        act()
    except FaultError as fault:
        return fault.said
    except StudioError as error:
        return raised(partial(_again, error.__cause__))
    raise AssertionError("nothing was at fault")


def _again(error: BaseException | None) -> None:
    if error is not None:
        raise error


def a_field(words: str) -> Sentence:
    return of_manifest((STEPS, f"label: {{en: S}}, {words}"))


def of_before(runs: str) -> Sentence:
    """Load a workflow that hears a sound and could save one in a run before."""
    sounds = {
        "hear": {"class_type": "LoadAudio", "inputs": {"audio": "a.wav"}},
        "own": {
            "class_type": "SaveAudio",
            "inputs": {"audio": ["hear", 0], "filename_prefix": "x"},
        },
    }
    sound = "  - {name: a, type: audio, label: {en: A}, bind: [hear.audio], required: true}\n"
    more = f"{sound}before: [{runs}]\n{MORE}"
    return of_manifest((MORE, more), **{"demo.json": json.dumps(GRAPH | sounds)})


def unmeasured() -> None:
    """Bind what reads a picture's width without having measured it."""
    of_manifest((MORE, DERIVED % "photo.width"))
    workflow = load(PLACES[-1]).workflow("demo")
    bind(workflow, {"photo": "a.png", "steps": 4}, files={"a.png": "a.png"})


def picture() -> bytes:
    """Make a picture that holds no graph."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8)).save(data, "PNG")
    return data.getvalue()


def one(class_type: str = "SaveImage", **inputs: Any) -> dict[str, Any]:
    return {"1": {"class_type": class_type, "inputs": inputs}}


PLACES: list[Path] = []
LINKED = one(images=["2", 0])
CIRCLE = {"1": LINKED["1"], "2": {"class_type": "A", "inputs": {"x": ["1", 0]}}}
DERIVED = "derived: [{name: n, value: %s, of: steps}]\noutputs:"
BIG = {str(n): {"class_type": "A", "inputs": {}} for n in range(MAX_NODES + 1)}
SECOND = MANIFEST.replace("name: demo", "name: second")
PICKS = ", picks: true, label: {en: Photo}"

FAULTS: dict[str, Callable[[], Sentence]] = {
    "fault.at": lambda: of_manifest(("tab: demo", "tap: demo")),
    "fault.not_yaml": lambda: of_manifest(("category: image", "category: [image")),
    "fault.full_width": lambda: of_manifest(("tab: demo", "tab：demo")),
    "fault.no_mapping": lambda: of_folder(**{"demo.yaml": "- a"}),
    "fault.twice": lambda: of_manifest(("tab: demo", "tab: demo\ntab: other")),
    "fault.not_utf8": lambda: of_folder(**{"demo.yaml": "name: 示範".encode("cp950")}),
    "fault.other_name": lambda: of_manifest(("name: demo", "name: other")),
    "fault.no_graph_file": lambda: of_folder(**{"demo.yaml": MANIFEST}),
    "fault.lonely": lambda: of_folder(**{"demo.json": json.dumps(GRAPH)}),
    "fault.shared_tab": lambda: of_manifest(**{"second.yaml": SECOND}),
    "fault.other_kind": lambda: of_manifest(
        (", label: {en: Photo}", PICKS),
        **{
            "second.yaml": SECOND.replace(", label: {en: Photo}", PICKS).replace(
                "type: integer", "type: number"
            )
        },
    ),
    "fault.with": lambda: of_manifest((", required: true", "")),
    "fault.sample": lambda: of_manifest((", required: true", "")),
    "fault.schema.missing": lambda: of_manifest(("category: image\n", "")),
    "fault.schema.unknown": lambda: of_manifest(("tab: demo", "tab: demo\nzzzzzzz: 1")),
    "fault.schema.unknown_near": lambda: of_manifest(("tab: demo", "tab: demo\nmodells: 1")),
    "fault.schema.text": lambda: of_manifest(("title: {en: Demo}", "title: {en: 1}")),
    "fault.schema.whole": lambda: of_manifest(("category: image", "category: image\norder: a")),
    "fault.schema.number": lambda: of_manifest(("category: image", "category: image\nvram_gb: a")),
    "fault.schema.switch": lambda: of_manifest(("required: true", "required: perhaps")),
    "fault.schema.mapping": lambda: of_manifest(("title: {en: Demo}", "title: Demo")),
    "fault.schema.list": lambda: of_manifest(("bind: [s.steps]", "bind: s.steps")),
    "fault.schema.empty": lambda: of_manifest(
        ("outputs: [{node: save, kind: image}]", "outputs: []")
    ),
    "fault.schema.above": lambda: of_manifest(("default: 4", "default: 4, step: 0")),
    "fault.schema.least": lambda: of_manifest(("default: 4", "default: 4, max_chars: 0")),
    "fault.schema.one_of": lambda: of_manifest(("category: image", "category: picture")),
    "fault.schema.name": lambda: of_manifest(("tab: demo", "tab: Demo Tab")),
    "fault.schema.json": lambda: of_manifest(("graph: demo.json", "graph: ../demo.json")),
    "fault.schema.version": lambda: of_manifest(
        ("category: image", "category: image\nminimum_comfyui: v1")
    ),
    "fault.schema.sha256": lambda: of_folder(
        **{"models.yaml": "a: {folder: a, file: b, url: c, licence: d, sha256: e}"}
    ),
    "fault.schema.quotes": lambda: a_field("type: choice, choices: {1:1: {s.steps: 4}}"),
    "fault.schema.quotes_switch": lambda: a_field("type: choice, choices: {off: {s.steps: 4}}"),
    "fault.schema.quotes_null": lambda: a_field("type: choice, choices: {null: {s.steps: 4}}"),
    "fault.schema.other": lambda: of_manifest(
        ("category: image", f"category: image\norder: '{'9' * 5000}'")
    ),
    "fault.schema.value": lambda: of_manifest(
        (MORE, "rules: [{when: {steps: {lt: 2}}, set: {s.steps: [a, 1, 2]}}]\noutputs:")
    ),
    "fault.condition": lambda: of_manifest(
        (MORE, "rules: [{when: {steps: {lt: 1, empty: true}}, remove: [s]}]\noutputs:")
    ),
    "fault.kind.choices": lambda: a_field("type: text, choices: [a]"),
    "fault.kind.no_choices": lambda: a_field("type: choice"),
    "fault.kind.folder": lambda: a_field("type: text, folder: loras"),
    "fault.kind.no_folder": lambda: a_field("type: model"),
    "fault.kind.no_limits": lambda: a_field("type: integer, min: 1"),
    "fault.kind.limits": lambda: a_field("type: text, min: 1"),
    "fault.kind.min_above": lambda: a_field("type: integer, min: 9, max: 1"),
    "fault.kind.both": lambda: a_field("type: choice, bind: [s.seed], choices: {a: {s.steps: 1}}"),
    "fault.kind.min_count": lambda: a_field("type: images, bind: [s.steps], min_count: 2"),
    "fault.kind.file_bind": lambda: a_field("type: image"),
    "fault.kind.file_default": lambda: a_field("type: image, bind: [s.steps], default: a.png"),
    "fault.kind.max_seconds": lambda: a_field("type: seed, max_seconds: 3"),
    "fault.kind.same_size_as": lambda: a_field("type: text, same_size_as: photo"),
    "fault.kind.examples": lambda: a_field("type: seed, examples: [{en: A}]"),
    "fault.kind.draw": lambda: a_field("type: text, draw: true"),
    "fault.kind.inside_first": lambda: a_field("type: text, inside_first: {photo: empty}"),
    "fault.kind.variant": lambda: a_field(
        "type: choice, choices: [a], variants: [{when: {photo: empty}, choices: [b]}]"
    ),
    "fault.kind.labels": lambda: a_field("type: choice, choices: [a], labels: {b: {en: B}}"),
    "fault.kind.default": lambda: a_field("type: choice, choices: [a], default: b"),
    "fault.formula.none": lambda: of_manifest((MORE, DERIVED % "'1 +'")),
    "fault.formula.parts": lambda: of_manifest((MORE, DERIVED % "open(1)")),
    "fault.formula.fails": lambda: raised(lambda: formula.value("1 / a", {"a": 0})),
    "fault.formula.reads": lambda: of_manifest((MORE, DERIVED % "photo")),
    "fault.unmeasured": lambda: raised(unmeasured),
    "fault.no_place": lambda: of_manifest(("s.steps", "gone.steps")),
    "fault.no_input": lambda: of_manifest(("s.steps", "s.stepz")),
    "fault.no_node": lambda: of_manifest(("node: save", "node: gone")),
    "fault.saves": lambda: of_manifest(
        **{"demo.json": json.dumps(GRAPH | {"b": {**GRAPH["save"]}})}
    ),
    "fault.loads": lambda: of_manifest(
        **{"demo.json": json.dumps(GRAPH | {"b": {**GRAPH["load"]}})}
    ),
    "fault.name_used": lambda: of_manifest((MORE, (DERIVED % "steps").replace("n,", "photo,"))),
    "fault.second": lambda: of_manifest(("name: steps", "name: photo")),
    "fault.no_parameter": lambda: of_manifest(
        (MORE, "rules: [{when: {gone: empty}, remove: [s]}]\noutputs:")
    ),
    "fault.is_link": lambda: of_manifest(("s.steps", "s.image")),
    "fault.set_twice": lambda: of_manifest(("s.steps", "load.image")),
    "fault.no_model": lambda: of_manifest((MORE, "models: [{model: a, bind: s.name}]\noutputs:")),
    "fault.bypass": lambda: of_manifest(
        (MORE, "rules: [{when: {steps: empty}, bypass: {s: {0: gone}}}]\noutputs:")
    ),
    "fault.set_lost": lambda: of_manifest(
        (MORE, "rules: [{when: {steps: empty}, set: {s.image: [gone, 0]}}]\noutputs:")
    ),
    "fault.before_save": lambda: of_before("{when: {photo: {empty: false}}, save: save, gives: a}"),
    "fault.before_gives": lambda: of_before(
        "{when: {photo: {empty: false}}, save: own, gives: photo}"
    ),
    "fault.before_twice": lambda: of_before(
        "{when: {photo: {empty: false}}, save: own, gives: a}, "
        "{when: {photo: {empty: false}}, save: own, gives: a}"
    ),
    "fault.before_when": lambda: of_before("{when: {steps: {lt: 2}}, save: own, gives: a}"),
    "fault.before_always": lambda: of_before("{when: {photo: empty}, save: own, gives: a}"),
    "fault.not_json": lambda: of_graph("{"),
    "fault.too_deep": lambda: of_graph("[" * 100_000),
    "fault.nan": lambda: of_graph('{"1": {"class_type": "A", "inputs": {"x": NaN}}}'),
    "fault.circle": lambda: of_graph(CIRCLE),
    "fault.no_object": lambda: of_graph("[]"),
    "fault.page_format": lambda: of_graph({"nodes": [], "links": []}),
    "fault.no_nodes": lambda: of_graph({}),
    "fault.too_many_nodes": lambda: of_graph(BIG),
    "fault.no_class": lambda: of_graph({"1": {"inputs": {}}}),
    "fault.no_inputs": lambda: of_graph({"1": {"class_type": "A"}}),
    "fault.page_only": lambda: of_graph(one("Reroute")),
    "fault.wrapped": lambda: of_graph(one(x={"__value__": ["a", 1]})),
    "fault.link_id": lambda: of_graph(one(x=[2, 0])),
    "fault.link_lost": lambda: of_graph(LINKED),
    "fault.link_slot": lambda: of_graph(one(x=["1", -1])),
    "fault.no_field": lambda: of_draft(one(filename_prefix="x")),
    "fault.no_save": lambda: of_draft(one("EmptyImage", width=8)),
    "fault.name": lambda: of_import("a.json", b"{}", "A b"),
    "fault.taken": lambda: of_import("a.json", b"{}", "taken"),
    "fault.too_large": lambda: of_import("a.json", b" " * (MAX_BYTES + 1)),
    "fault.unread": lambda: raised(lambda: bring_in(Path("no/such.json"), PLACES[-1])),
    "fault.neither": lambda: of_import("a.json", b"\xff\x00\xff"),
    "fault.damaged": lambda: of_import("a.png", b"\x89PNG\r\n"),
    "fault.no_graph": lambda: of_import("a.png", picture()),
    "fault.draft": lambda: raised(lambda: _prove(PLACES[-1], "mine", Draft("name: [", "{}", ()))),
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[None]:
    """Give each fault a folder, where a workflow `taken` stands only as a graph."""
    (tmp_path / "taken.json").write_text("{}", "utf-8")
    PLACES.append(tmp_path)
    yield
    PLACES.pop()


def keys(said: Sentence) -> Iterator[str]:
    """Name the sentences that one is made of."""
    yield said.key
    for value in said.params.values():
        if isinstance(value, Sentence):
            yield from keys(value)


@pytest.mark.parametrize("key", FAULTS)
def test_each_fault_is_met_and_said_in_both_languages(key: str) -> None:
    said = FAULTS[key]()

    english, chinese = (said.said(language) for language in texts.LANGUAGES)
    assert key in set(keys(said)), english
    assert re.search("[\u4e00-\u9fff]", chinese)
    assert not re.search(r"\{[a-z_]+\}", english + chinese)


def test_no_fault_is_without_a_way_to_meet_it() -> None:
    written = {key for key in texts.words("en") if key.startswith("fault.")}

    assert written == set(FAULTS)


def test_a_reason_in_an_error_keeps_its_languages_when_it_is_stored() -> None:
    said = FAULTS["fault.kind.draw"]()
    error = StudioError("manifest_invalid", file="demo.yaml", line=8, reason=said)
    stored = json.loads(json.dumps(error.params))

    for language in texts.LANGUAGES:
        sentence, _ = texts.explain_code("manifest_invalid", stored, language)
        assert said.said(language) in sentence
    assert "fault." not in str(error)


def calls(path: Path) -> Iterator[ast.Call]:
    return (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call))


def test_no_fault_is_written_in_one_language_alone() -> None:
    """A fault is made of a key; a bare text would be English to everybody."""
    bare = [
        f"{path.relative_to(SOURCES)}:{call.lineno}"
        for path in SOURCES.rglob("*.py")
        for call in calls(path)
        if isinstance(call.func, ast.Name)
        and call.func.id in ("FaultError", "MisfitError", "Sentence")
        and any(
            isinstance(part, (ast.JoinedStr, ast.Constant)) and not is_key(part)
            for part in call.args[:1]
        )
    ]

    assert bare == []


def is_key(part: ast.expr) -> bool:
    head = part.values[0] if isinstance(part, ast.JoinedStr) else part
    return isinstance(head, ast.Constant) and bool(re.match(r"[a-z_]+\.", str(head.value)))
