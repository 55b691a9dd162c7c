"""A person's values -> a ComfyUI prompt, for every workflow, by its manifest alone.

`check` makes values complete and right; `bind` writes them into a copy of the graph. Both are
pure: randomness and what a server lists come in as arguments.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from studio.engine.workflow import formula
from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.graph import (
    FILE_INPUTS,
    Graph,
    Prompt,
    Target,
    is_link,
    needed,
    validate,
)
from studio.engine.workflow.manifest import (
    SEED_MAX,
    Kind,
    Manifest,
    ModelFile,
    Parameter,
    Rule,
    absent,
    holds,
)
from studio.engine.workflow.measures import Measure, derived, facts_read, measured
from studio.errors import StudioError

Values = Mapping[str, Any]
Listed = Callable[[str], Sequence[str]]
"""Folder kind (`checkpoints`) -> model names as a server lists them."""

SEED_DRAWN_BELOW: Final = 2**53
"""Random seeds stay where every browser's number shows them exactly."""

_NAMED_AT_MOST: Final = 10

# Control marks other than tab and line ends, and halves of surrogate pairs: no text, and no JSON.
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class FilmLength:
    """How long a result will be."""

    frames: int
    fps: float

    @property
    def seconds(self) -> float:
        """Give the length in seconds."""
        return self.frames / self.fps


@dataclass(frozen=True, slots=True)
class Workflow:
    """A manifest, its graph, and the model files it needs, by id.

    `always` names the nodes that every form of the graph uses; None where nobody looked yet.
    """

    manifest: Manifest
    graph: Graph
    models: Mapping[str, ModelFile]
    always: frozenset[str] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Give the workflow's name."""
        return self.manifest.name


def check(
    workflow: Workflow,
    values: Values,
    *,
    rng: random.Random,
    prompt_max_chars: int = 1000,
    measures: Mapping[str, Measure] | None = None,
) -> dict[str, Any]:
    """Make values complete: types right, defaults filled, the seed drawn and written as text.

    None, and for anything but a text also `""` and `[]`, count as not said. What is absent and has
    no default stays out, as does a field that does not count (`Parameter.when`). Raises
    `StudioError` with `field`; a name that no parameter has is refused, unless nothing was said
    under it.

    `measures` are of the given files, by reference. What formulas need of them stays in the values
    (`audio.seconds`). None: the values were checked before, and hold their measures.
    """
    manifest = workflow.manifest
    facts = (
        {} if measures is not None else {n: values[n] for n in facts_read(manifest) & set(values)}
    )
    for name, value in values.items():
        if manifest.parameter(name) is None and name not in facts and not absent(value):
            raise StudioError("field_unknown", field=name, workflow=workflow.name)
    said = {
        p.name: _checked(p, values[p.name], prompt_max_chars)
        for p in manifest.parameters
        if _said(p, values.get(p.name))
    }
    full = _with_defaults(manifest, said)
    for p in manifest.parameters:
        _refuse_idle(p, said, full)
        if p.required and absent(full.get(p.name)) and holds(p.when, full):
            raise StudioError("field_required", field=p.name)
        if p.type is Kind.SEED and full.get(p.name, "-1") == "-1":
            full[p.name] = str(rng.randrange(SEED_DRAWN_BELOW))
    if measures is not None:
        facts = measured(manifest, full, measures)
    full |= facts
    derived(manifest, full)
    return full


def length(workflow: Workflow, values: Values) -> FilmLength | None:
    """Say how long the result will be for values as a form holds them, measures included.

    None for a workflow that makes no film, and while something it depends on is not there or
    wrong; what is wrong is `check`'s to tell.
    """
    manifest = workflow.manifest
    if manifest.length is None:
        return None
    known = _with_defaults(manifest, {n: v for n, v in values.items() if not absent(v)})
    known |= {name: values[name] for name in facts_read(manifest) & set(values)}
    try:
        known |= derived(manifest, known)
        frames = formula.value(manifest.length.frames, known)
        fps = formula.value(manifest.length.fps, known)
    except (StudioError, FaultError, KeyError):
        return None
    return FilmLength(int(frames), float(fps)) if frames > 0 and fps > 0 else None


def bind(
    workflow: Workflow,
    values: Values,
    *,
    files: Mapping[str, str],
    listed: Listed | None = None,
    prefix: str | None = None,
    ends: Collection[str] = (),
) -> Prompt:
    """Give the prompt to POST for checked values. The template stays as it was.

    Values hold the measures that `check` put there. `files` maps input references to the names
    ComfyUI gave them. With `listed`, model names are
    spelt as the server lists them (exact, else slashes alike, else the only file of that name), or
    `missing_model` is raised. `prefix` becomes each save node's `filename_prefix`, so that a run
    ComfyUI would answer from its cache still makes a file of its own. `ends` are the nodes whose
    files are wanted: the outputs of the manifest, unless others are named.
    """
    ends = ends or [output.node for output in workflow.manifest.outputs]
    try:
        return _Binding(workflow, values, files, listed).prompt(prefix, ends)
    except FaultError as fault:
        raise StudioError(
            "graph_invalid", file=workflow.manifest.graph, reason=fault.said
        ) from fault


def wanted_files(workflow: Workflow, values: Values) -> frozenset[str]:
    """Name the model files, without folders, that checked values may load: what is well to hold.

    Said before anything is bound, so also files of parts that a rule will take away.
    """
    models = [p for p in workflow.manifest.parameters if p.type is Kind.MODEL]
    asked = [str(values[p.name]) for p in models if not absent(values.get(p.name))]
    chosen = {place for p in models if not absent(values.get(p.name)) for place in p.bind}
    needs = [need for need in workflow.manifest.models if need.bind not in chosen]
    ids = [model for need in needs for model in (need.model, *need.alternatives)]
    return frozenset(_base(name) for name in asked + [workflow.models[one].file for one in ids])


def match_model(name: str, listed: Sequence[str]) -> str | None:
    """Find a model among listed names: exact, else slashes alike, else the only file so named."""
    if name in listed:
        return name
    unified = name.replace("\\", "/")
    for same in (
        [entry for entry in listed if entry.replace("\\", "/") == unified],
        [entry for entry in listed if _base(entry) == _base(name)],
    ):
        if len(same) == 1:
            return same[0]
    return None


def _some(names: Sequence[str]) -> str:
    """Write out names for a sentence; a server may list hundreds."""
    return ", ".join(names[:_NAMED_AT_MOST]) + (", …" if len(names) > _NAMED_AT_MOST else "")


def span(low: int, high: int) -> str:
    """Write how many there may be, in figures alone: a sentence in any language can hold them."""
    return str(low) if low == high else f"{low}–{high}"


def _base(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


# --- values ---


def _said(p: Parameter, value: object) -> bool:
    if p.type is Kind.TEXT:
        return value is not None
    return not absent(value)


def _with_defaults(manifest: Manifest, said: dict[str, Any]) -> dict[str, Any]:
    """Fill what was not said: with what a rule sets, where one does, else with the default."""
    plain = {p.name: _default(p) for p in manifest.parameters if p.default is not None} | said
    ruled: dict[str, Any] = {}
    for rule in manifest.rules:
        if holds(rule.when, plain):
            ruled |= rule.set
    full: dict[str, Any] = {}
    for p in manifest.parameters:
        touched = p.name not in said and any(place in ruled for place in p.targets())
        # A rule's preset for a choice that sets several inputs has no name: it stays unsaid.
        value = ruled.get(next(iter(p.bind), "")) if touched else plain.get(p.name)
        if value is not None and not isinstance(value, tuple):
            full[p.name] = value
    return {
        p.name: full[p.name] for p in manifest.parameters if p.name in full and _counts(p, full)
    }


def _counts(p: Parameter, values: Values) -> bool:
    return holds(p.when, values)


def _refuse_idle(p: Parameter, said: Values, full: Values) -> None:
    """Refuse what was said in a field that does not count; its default does no harm."""
    if p.name in said and not _counts(p, full) and said[p.name] != _default(p):
        raise StudioError("field_idle", field=p.name, on=", ".join(p.when))


def _default(p: Parameter) -> Any:
    return str(p.default) if p.type is Kind.SEED else p.default


def _checked(p: Parameter, value: object, prompt_max_chars: int) -> Any:
    match p.type:
        case Kind.TEXT:
            return _text(p, value, p.max_chars or prompt_max_chars)
        case Kind.INTEGER | Kind.NUMBER:
            return _number(p, value)
        case Kind.SEED:
            return _seed(p, value)
        case Kind.SWITCH:
            return _typed(p, value, bool)
        case Kind.CHOICE:
            return _choice(p, value)
        case Kind.IMAGES:
            return _references(p, value)
        case _:
            return _typed(p, value, str)


def _typed(p: Parameter, value: object, wanted: type) -> Any:
    if not isinstance(value, wanted):
        raise StudioError("field_wrong_type", field=p.name, type=p.type)
    return value


def _text(p: Parameter, value: object, max_chars: int) -> str:
    text = str(_typed(p, value, str)).replace("\r\n", "\n").replace("\r", "\n")
    if _NO_TEXT.search(text):
        raise StudioError("field_wrong_type", field=p.name, type=p.type)
    if len(text) > max_chars:
        raise StudioError("field_too_long", field=p.name, length=len(text), max=max_chars)
    if p.required and not text.strip():
        raise StudioError("field_required", field=p.name)
    return text


def _number(p: Parameter, value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise StudioError("field_wrong_type", field=p.name, type=p.type)
    whole = p.type is Kind.INTEGER
    if isinstance(value, float) and not (value.is_integer() if whole else math.isfinite(value)):
        raise StudioError("field_wrong_type", field=p.name, type=p.type)
    low, high, step = p.min or 0, p.max or 0, p.step or 1
    if not low <= value <= high or (whole and (value - low) % step != 0):
        raise StudioError(
            "field_out_of_range", field=p.name, value=_shown(value), min=low, max=high, step=step
        )
    return int(value) if whole else float(value)


def _choice(p: Parameter, value: object) -> str:
    choice = str(_typed(p, value, str))
    if choice not in p.choices:
        raise StudioError(
            "field_not_a_choice", field=p.name, value=_shown(choice), choices=", ".join(p.choices)
        )
    return choice


def _references(p: Parameter, value: object) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
        raise StudioError("field_wrong_type", field=p.name, type=p.type)
    # An empty place between two pictures would move the later ones up unasked.
    if not all(value) or not p.min_count <= len(value) <= p.max_count:
        count = sum(1 for item in value if item)
        possible = span(p.min_count, p.max_count)
        raise StudioError("field_count", field=p.name, count=count, possible=possible)
    return list(value)


def _seed(p: Parameter, value: object) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < SEED_DRAWN_BELOW:
        value = int(value)  # a page's number field; above 2^53 it is no longer what was typed
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise StudioError("seed_invalid", field=p.name, value=_shown(value), max=SEED_MAX)
    text = _shown(value).strip()
    # isascii: int() would also take digits of other scripts and underscores.
    if not (text.isascii() and re.fullmatch(r"-1|\d{1,20}", text)) or int(text) > SEED_MAX:
        raise StudioError("seed_invalid", field=p.name, value=text, max=SEED_MAX)
    return str(int(text))


def _shown(value: object) -> str:
    """Make a wrong value short enough for a sentence."""
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of many digits"  # Python itself refuses to write out very long ones
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


# --- binding ---


class _Binding:
    """One run of `bind`: the copy being written, and what was written to it."""

    def __init__(
        self, workflow: Workflow, values: Values, files: Mapping[str, str], listed: Listed | None
    ) -> None:
        self.workflow = workflow
        self.graph = workflow.graph
        said = {name: value for name, value in values.items() if value is not None}
        complete = _with_defaults(workflow.manifest, said)
        facts = {name: said[name] for name in facts_read(workflow.manifest) & set(said)}
        self.values = facts | complete
        self.derived = derived(workflow.manifest, self.values)
        self.values |= self.derived
        self.files = files
        self.listed = listed
        self.out = workflow.graph.copy()
        self.filled: set[Target] = set()

    def prompt(self, prefix: str | None, ends: Collection[str]) -> Prompt:
        manifest = self.workflow.manifest
        self._refuse_unmeasured()
        self._write_all()
        for rule in manifest.rules:
            if holds(rule.when, self.values):
                self._apply(rule)
        self._write_all()  # once more: what was said wins over what a rule set
        self._prune(ends)
        self._match_needs()
        self._name_files(prefix)
        validate(self.out)
        self._refuse_samples()
        return self.out

    def _refuse_unmeasured(self) -> None:
        """Stop where a formula would be left out: the graph's own number is never the right one."""
        for name in facts_read(self.workflow.manifest) - self.values.keys():
            file, _, measure = name.partition(".")
            if file in self.values:
                raise FaultError.of("fault.unmeasured", measure=measure, file=file)

    def _write_all(self) -> None:
        for p in self._parameters():
            for place, value in self._inputs(p):
                self._write(place, value)
        for one in self.workflow.manifest.derived:
            for place in one.bind if one.name in self.derived else ():
                self._write(place, self.derived[one.name])

    def _write(self, place: str, value: Any) -> None:
        target = self.graph.target(place)
        inputs = self.out.get(target.node, {}).get("inputs", {})
        if target.input in inputs and not is_link(inputs[target.input]):
            inputs[target.input] = value
            self.filled.add(target)

    def _inputs(self, p: Parameter) -> Iterator[tuple[str, Any]]:
        """Give each `node.input` this parameter sets, and the value ComfyUI wants there."""
        value = self.values.get(p.name)
        if value is None or (p.type is not Kind.TEXT and absent(value)):
            return
        if p.type is Kind.IMAGES:
            pairs = zip(p.bind, value, strict=False)
            yield from ((place, self._file(p, ref)) for place, ref in pairs)
            return
        if p.type is Kind.CHOICE and not p.bind:
            yield from p.settings(self.values).items()
            return
        ready = self._ready(p, value)
        yield from ((place, ready) for place in p.bind)

    def _ready(self, p: Parameter, value: Any) -> Any:
        match p.type:
            case Kind.SEED:
                return int(value)
            case Kind.IMAGE | Kind.MASK | Kind.AUDIO | Kind.VIDEO:
                return self._file(p, value)
            case Kind.MODEL:
                return self._model(p, str(value))
            case _:
                return value

    def _file(self, p: Parameter, reference: str) -> str:
        if reference not in self.files:
            raise StudioError("file_unknown", field=p.name, file=reference)
        return self.files[reference]

    def _model(self, p: Parameter, name: str) -> str:
        if self.listed is None or p.folder is None:
            return name
        return self._listed_as(p.folder, (name,), field=p.name)

    def _listed_as(self, folder: str, names: Sequence[str], *, field: str | None = None) -> str:
        choices = tuple(self.listed(folder)) if self.listed else ()
        for name in names:
            found = match_model(name, choices)
            if found is not None:
                return found
        raise StudioError(
            "missing_model",
            field=field,
            model=names[0],
            folder=folder,
            choices=_some(choices),
        )

    def _apply(self, rule: Rule) -> None:
        for node, outputs in rule.bypass.items():
            self._bypass(node, outputs)
        self._remove(rule.remove)
        for place, value in rule.set.items():
            target = self.graph.settable(place)
            if target.node in self.out:
                written = list(value) if isinstance(value, tuple) else value
                self.out[target.node]["inputs"][target.input] = written

    def _bypass(self, node: str, outputs: Mapping[int, str]) -> None:
        if node not in self.out:
            return  # an earlier rule took it away
        held = self.out[node]["inputs"]
        for body in self.out.values():
            for name, value in body["inputs"].items():
                if is_link(value) and value[0] == node and value[1] in outputs:
                    source = held[outputs[value[1]]]
                    body["inputs"][name] = list(source) if is_link(source) else source
        self._remove((node,))

    def _remove(self, nodes: Sequence[str]) -> None:
        gone = {node for node in nodes if self.out.pop(node, None) is not None}
        for body in self.out.values() if gone else ():
            inputs = body["inputs"]
            for name in [n for n, v in inputs.items() if is_link(v) and v[0] in gone]:
                del inputs[name]

    def _prune(self, ends: Collection[str]) -> None:
        """Drop what leads to no end: the loaders and helpers of parts taken away."""
        keep = needed(self.out, ends)
        self.out = {node: body for node, body in self.out.items() if node in keep}

    def _match_needs(self) -> None:
        """Spell the fixed model files as the server does, or take an alternative it has."""
        for need in self.workflow.manifest.models:
            target = self.graph.target(need.bind)
            chosen = any(p.type is Kind.MODEL and need.bind in p.bind for p in self._parameters())
            if self.listed is None or target.node not in self.out or chosen:
                continue
            files = [self.workflow.models[model] for model in (need.model, *need.alternatives)]
            name = self._listed_as(files[0].folder, [file.file for file in files])
            self.out[target.node]["inputs"][target.input] = name

    def _parameters(self) -> Sequence[Parameter]:
        return self.workflow.manifest.parameters

    def _name_files(self, prefix: str | None) -> None:
        for body in self.out.values():
            if prefix is not None and "filename_prefix" in body["inputs"]:
                body["inputs"]["filename_prefix"] = prefix

    def _refuse_samples(self) -> None:
        """Stop before a sample file of the graph stands in for one the person did not give."""
        for target in file_targets(self.workflow):
            held = self.out.get(target.node, {}).get("inputs", {}).get(target.input)
            if held is not None and not is_link(held) and target not in self.filled:
                raise FaultError.of("fault.sample", node=target.node)


def file_targets(workflow: Workflow) -> Iterator[Target]:
    """Name each input that loads a file: by its node's class, or because a file is bound to it."""
    for node, body in workflow.graph.nodes.items():
        name = FILE_INPUTS.get(body["class_type"])
        if name in body["inputs"]:
            yield Target(node, str(name))
    for p in workflow.manifest.parameters:
        if p.type.file:
            yield from (workflow.graph.target(place) for place in p.bind)
