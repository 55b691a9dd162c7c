"""Proof that a manifest fits its graph, before anybody presses a button.

Each place a manifest names is looked up in the graph, and the graph is bound in its smallest and
largest forms and with every value that a rule asks about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from studio.engine.workflow import formula
from studio.engine.workflow.binding import Workflow, file_targets
from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.graph import Target, is_link, some
from studio.engine.workflow.manifest import (
    Kind,
    Manifest,
    ModelNeed,
    Parameter,
    Rule,
    When,
    ends_of,
    holds,
)
from studio.engine.workflow.measures import facts_read
from studio.engine.workflow.parts import part_of, parts_of
from studio.engine.workflow.source import Source
from studio.errors import StudioError
from studio.texts import Sentence

Place = tuple[object, ...]
"""Where in the manifest: keys and positions from the top."""

_MADE: Final = ("made.flac", 1.0)


def prove(workflow: Workflow, source: Source) -> frozenset[str]:
    """Check a workflow as a whole, and give the nodes that every form of its graph uses.

    Raises `FaultError` with the line of the first misfit.
    """
    for place, said in _misfits(workflow):
        raise FaultError(said, source.line(place))
    used = []
    for values in forms(workflow):
        try:
            used.append(_used(workflow, values))
        except StudioError as error:
            line = source.line(("rules",))
            raise FaultError.of("fault.with", line, values=values, reason=_said(error)) from error
    return used[0].intersection(*used)


def _said(error: StudioError) -> Sentence:
    """Give the reason alone where the error comes from a fault, else the whole sentence."""
    fault = error.__cause__
    return (
        fault.said
        if isinstance(fault, FaultError)
        else Sentence(f"error.{error.code}", error.params)
    )


def always_used(workflow: Workflow) -> frozenset[str]:
    """Name the nodes that are in the prompt whatever a person says."""
    used = [_used(workflow, values) for values in forms(workflow)]
    return used[0].intersection(*used)


def _used(workflow: Workflow, values: dict[str, Any]) -> frozenset[str]:
    """Bind every run of a job with these values, and name the nodes of all of them."""
    parts = list(parts_of(workflow, values))
    made = {one.before.gives: _MADE for one in parts if one.before is not None}
    parts.append(part_of(workflow, values, made))
    return frozenset(node for part in parts for node in part.prompt())


def forms(workflow: Workflow) -> Iterator[dict[str, Any]]:
    """Give values for the smallest and the largest form, and each with every value asked about."""
    parameters = workflow.manifest.parameters
    smallest = {p.name: candidates(p)[0] for p in parameters if p.required}
    largest = {p.name: candidates(p)[-1] for p in parameters}
    # Each number alone may be at its largest, and what follows from all of them out of its limits.
    read = {name for one in workflow.manifest.derived for name in formula.names(one.value)}
    largest |= {p.name: p.default for p in parameters if p.name in read and p.default is not None}
    asked = {name for rule in workflow.manifest.rules for name in rule.when}
    asked |= {name for p in parameters for name in p.when}
    named = {
        (name, word)
        for rule in workflow.manifest.rules
        for name, condition in rule.when.items()
        for word in condition.contains
    }
    spans = {name: _span(workflow.manifest, name) for name in facts_read(workflow.manifest)}
    for base, at in ((smallest, 0), (largest, -1)):
        full = base | {name: span[at] for name, span in spans.items()}
        yield full
        for p in parameters:
            if p.name in asked:
                yield from (full | {p.name: value} for value in candidates(p))
        for name, word in named:
            yield full | {name: word}
    # Once is enough: what a length takes away or adds does not depend on the rest.
    yield from (full | {name: value} for name, span in spans.items() for value in span)


def _span(manifest: Manifest, fact: str) -> list[float]:
    """Give lengths of a file from the shortest to the longest it may have; sizes stand for one."""
    file, _, measure = fact.partition(".")
    p = manifest.parameter(file)
    longest = p.max_seconds if p and p.max_seconds else 10.0
    return [longest * part / 20 for part in range(1, 21)] if measure == "seconds" else [512.0]


def candidates(p: Parameter) -> list[Any]:
    """Give values that stand for all of a parameter's, the fullest last."""
    given: list[Any]
    match p.type:
        case Kind.SWITCH:
            given = [False, True]
        case Kind.CHOICE:
            given = list(p.choices)
        case Kind.INTEGER | Kind.NUMBER:
            given = _numbers(p)
        case Kind.SEED:
            given = ["0"]
        case Kind.IMAGES:
            refs = [f"picture-{n}.png" for n in range(1, p.max_count + 1)]
            given = [refs[:n] for n in range(p.min_count, p.max_count + 1)]
        case _:
            given = [f"a {p.type}"]
    return given if p.required else [None, *given]


def _numbers(p: Parameter) -> list[int | float]:
    low, high = p.min or 0, p.max or 0
    if p.type is Kind.INTEGER and high - low <= 20:
        return list(range(int(low), int(high) + 1))
    return [low, high]


def _misfits(workflow: Workflow) -> Iterator[tuple[Place, Sentence]]:
    yield from _wrong_parameters(workflow)
    manifest, graph = workflow.manifest, workflow.graph
    for index, rule in enumerate(manifest.rules):
        for reason in _wrong_rule(workflow, rule):
            yield ("rules", index), reason
    for index, output in enumerate(manifest.outputs):
        if output.node not in graph.nodes:
            yield ("outputs", index, "node"), _no_node(workflow, output.node)
    yield from _wrong_before(workflow)
    named = ends_of(manifest)
    for node, body in graph.nodes.items():
        if "filename_prefix" in body["inputs"] and node not in named:
            yield ("outputs",), Sentence("fault.saves", {"node": node})
    yield from _wrong_numbers(workflow)
    for index, need in enumerate(manifest.models):
        for reason in _wrong_need(workflow, need):
            yield ("models", index), reason


def _wrong_before(workflow: Workflow) -> Iterator[tuple[Place, Sentence]]:
    """Check the runs that go before: what they save, and the field their sound stands in."""
    manifest, nodes = workflow.manifest, workflow.graph.nodes
    outputs = {output.node for output in manifest.outputs}
    for index, before in enumerate(manifest.before):
        place = ("before", index)
        if before.save not in nodes:
            yield (*place, "save"), _no_node(workflow, before.save)
        elif "filename_prefix" not in nodes[before.save]["inputs"] or before.save in outputs:
            yield (*place, "save"), Sentence("fault.before_save", {"node": before.save})
        field = manifest.parameter(before.gives)
        if field is None or field.type is not Kind.AUDIO:
            yield (*place, "gives"), Sentence("fault.before_gives", {"name": before.gives})
        if before.gives in {one.gives for one in manifest.before[:index]}:
            yield (*place, "gives"), Sentence("fault.before_twice", {"name": before.gives})
        for name in before.when:
            asked = manifest.parameter(name)
            if asked is None or asked.default is not None or name == before.gives:
                yield (*place, "when", name), Sentence("fault.before_when", {"name": name})
        if holds(before.when, {}):
            yield (*place, "when"), Sentence("fault.before_always", {})


def _wrong_parameters(workflow: Workflow) -> Iterator[tuple[Place, Sentence]]:
    nodes = workflow.graph.nodes
    owners: dict[Target, str] = {}
    yield from _wrong_names(workflow.manifest)
    for index, p in enumerate(workflow.manifest.parameters):
        for reason in _wrong_targets(workflow, p, owners):
            yield ("parameters", index, "bind"), reason
    for target in file_targets(workflow):
        if target not in owners and not is_link(nodes[target.node]["inputs"][target.input]):
            yield ("parameters",), Sentence("fault.loads", {"node": target.node})


def _wrong_numbers(workflow: Workflow) -> Iterator[tuple[Place, Sentence]]:
    """Check what is derived: formulas, the names they read, and where the numbers go."""
    manifest = workflow.manifest
    known = {p.name for p in manifest.parameters}
    for index, one in enumerate(manifest.derived):
        place = ("derived", index)
        yield from (((*place, "value"), reason) for reason in _wrong_formula(one.value, manifest))
        yield from (((*place, "bind"), reason) for reason in _wrong_places(workflow, [*one.bind]))
        # The same number may follow from other things, depending on what was given.
        twins = [twin for twin in manifest.derived[:index] if twin.name == one.name]
        apart = one.when and twins and all(twin.when for twin in twins)
        if one.name in known and not apart:
            yield (*place, "name"), Sentence("fault.name_used", {"name": one.name})
        if manifest.parameter(one.of) is None:
            yield (*place, "of"), _no_parameter(manifest, one.of)
        known.add(one.name)
    length = manifest.length
    for text in (length.frames, length.fps) if length else ():
        yield from ((("length",), reason) for reason in _wrong_formula(text, manifest))


def _wrong_formula(text: str, manifest: Manifest) -> Iterator[Sentence]:
    numbers = {p.name for p in manifest.parameters if p.type in (Kind.INTEGER, Kind.NUMBER)}
    numbers |= {one.name for one in manifest.derived}
    files = {p.name for p in manifest.parameters if p.type.file}
    texts = {p.name for p in manifest.parameters if p.type is Kind.TEXT}
    try:
        read = formula.names(text)
    except FaultError as fault:
        yield fault.said
        return
    for name in sorted(read):
        file, _, measure = name.partition(".")
        measured = file in files and measure in ("seconds", "width", "height")
        measured = measured or (file in texts and measure == "seconds")
        if name not in numbers and not measured:
            yield Sentence("fault.formula.reads", {"formula": text, "name": name})


def _wrong_names(manifest: Manifest) -> Iterator[tuple[Place, Sentence]]:
    names: set[str] = set()
    for index, p in enumerate(manifest.parameters):
        if p.name in names:
            yield ("parameters", index, "name"), Sentence("fault.second", {"name": p.name})
        names.add(p.name)
    names |= {one.name for one in manifest.derived}
    asked: list[tuple[Place, When]] = [
        (("rules", index, "when"), rule.when) for index, rule in enumerate(manifest.rules)
    ]
    asked += [(("derived", at, "when"), one.when) for at, one in enumerate(manifest.derived)]
    for index, p in enumerate(manifest.parameters):
        asked += [
            (("parameters", index, "when"), p.when),
            (("parameters", index, "inside_first"), p.inside_first),
        ]
        if p.same_size_as is not None and p.same_size_as not in names:
            yield ("parameters", index, "same_size_as"), _no_parameter(manifest, p.same_size_as)
        asked += [
            (("parameters", index, "variants", at, "when"), variant.when)
            for at, variant in enumerate(p.variants)
        ]
    for place, when in asked:
        for name in when.keys() - names:
            yield (*place, name), _no_parameter(manifest, name)


def _wrong_targets(
    workflow: Workflow, p: Parameter, owners: dict[Target, str]
) -> Iterator[Sentence]:
    yield from _wrong_places(workflow, p.targets())
    for place in p.targets():
        try:
            target = workflow.graph.target(place)
        except FaultError:
            continue
        if is_link(workflow.graph.nodes[target.node]["inputs"][target.input]):
            yield Sentence("fault.is_link", {"place": place})
        # A field that counts only for some values of another may set what that one leaves open.
        if owners.setdefault(target, p.name) != p.name and owners[target] not in p.when:
            yield Sentence("fault.set_twice", {"place": place, "by": owners[target]})


def _wrong_need(workflow: Workflow, need: ModelNeed) -> Iterator[Sentence]:
    yield from _wrong_places(workflow, [need.bind])
    for model in (need.model, *need.alternatives):
        if model not in workflow.models:
            yield Sentence("fault.no_model", {"model": model})


def _no_node(workflow: Workflow, node: str) -> Sentence:
    return Sentence("fault.no_node", {"node": node, "known": some(workflow.graph.nodes)})


def _no_parameter(manifest: Manifest, name: str) -> Sentence:
    known = [p.name for p in manifest.parameters] + [one.name for one in manifest.derived]
    return Sentence("fault.no_parameter", {"name": name, "known": some(dict.fromkeys(known))})


def _wrong_places(workflow: Workflow, places: Iterator[str] | list[str]) -> Iterator[Sentence]:
    for place in places:
        try:
            workflow.graph.target(place)
        except FaultError as fault:
            yield fault.said


def _wrong_rule(workflow: Workflow, rule: Rule) -> Iterator[Sentence]:
    nodes = workflow.graph.nodes
    for node in (*rule.bypass, *rule.remove):
        if node not in nodes:
            yield _no_node(workflow, node)
    for node, outputs in rule.bypass.items():
        for name in outputs.values():
            if node in nodes and name not in nodes[node]["inputs"]:
                yield Sentence("fault.bypass", {"node": node, "input": name})
    for place, value in rule.set.items():
        try:
            workflow.graph.settable(place)
        except FaultError as fault:
            yield fault.said
        if isinstance(value, tuple) and (value[0] not in nodes or value[1] < 0):
            yield Sentence("fault.set_lost", {"place": place, "value": list(value)})
