"""The workflows of a folder: read, checked against each other, and grouped into tabs.

A fault in one file never stops the others: it becomes a `Broken` with file, line and reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

from pydantic import ValidationError

from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.graph import Graph, some
from studio.engine.workflow.manifest import Kind, ModelFile, Parameter, Words, absent
from studio.engine.workflow.source import Source, first_fault, read
from studio.engine.workflow.trial import prove
from studio.errors import StudioError
from studio.texts import DEFAULT, Sentence, local

MODELS_FILE: Final = "models.yaml"


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that could not be used. `line` counts from 1; 0 when no line is at fault."""

    file: str
    line: int
    said: Sentence

    @property
    def reason(self) -> str:
        """Say why in English."""
        return self.said.said()

    def error(self) -> StudioError:
        """Give the same as an error with a code."""
        code = "graph_invalid" if self.file.endswith(".json") else "manifest_invalid"
        return StudioError(code, file=self.file, line=self.line, reason=self.said)


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab of the page: its workflows, and the union of their parameters in form order.

    Where workflows differ in a default, the union's default is None: an empty field means "as the
    chosen workflow has it", and `check` fills that in.
    """

    name: str
    title: Words
    workflows: tuple[Workflow, ...]
    parameters: tuple[Parameter, ...]

    @property
    def pickers(self) -> tuple[str, ...]:
        """Name the fields that pick the workflow, in the order they are asked."""
        return tuple(
            dict.fromkeys(p.name for w in self.workflows for p in w.manifest.parameters if p.picks)
        )

    def pick(self, values: Mapping[str, Any]) -> Workflow:
        """Choose the workflow for these values by the picking fields, such as `kind` and `model`.

        One field after the other, until one workflow is left. One whose fixed choices hold the
        value comes first, then one that takes any model file. Nothing said means the first default.
        """
        left = self.workflows
        for name in self.pickers:
            if len(left) > 1:
                left = _narrowed(left, name, values.get(name))
        return left[0]

    def used(self, parameter: str, workflow: Workflow) -> bool:
        """Tell whether a workflow has this parameter of the form."""
        return workflow.manifest.parameter(parameter) is not None

    def parameter(self, name: str) -> Parameter | None:
        """Find a field of the form by name."""
        return next((p for p in self.parameters if p.name == name), None)

    def model_choices(
        self,
        listed: Callable[[str], Sequence[str]],
        language: str = DEFAULT,
        *,
        name: str | None = None,
    ) -> tuple[tuple[str, str], ...]:
        """Give `(label, value)` pairs for a picking field: fixed choices, then listed files.

        Without `name`, of the field that picks first.
        """
        fixed: dict[str, str] = {}
        files: dict[str, str] = {}
        asked = name or next(iter(self.pickers), "")
        for picker in (w.manifest.parameter(asked) for w in self.workflows):
            if picker and picker.folder:
                files.update((name, name) for name in listed(picker.folder))
            elif picker:
                labels = picker.labels
                fixed |= {c: local(labels.get(c, {}), language) or c for c in picker.choices}
        # A file called like a fixed choice would be picked as that choice: it is not offered twice.
        shown = fixed | {name: label for name, label in files.items() if name not in fixed}
        return tuple((label, value) for value, label in shown.items())


@dataclass(frozen=True, slots=True)
class Catalog:
    """All that a folder of workflows offers, and what in it is broken.

    `endpoints` are for programs what `tabs` are for the page: a tab may hold several, since people
    choose a kind where programs call a name.
    """

    workflows: Mapping[str, Workflow]
    tabs: tuple[Tab, ...]
    broken: tuple[Broken, ...] = ()
    models: Mapping[str, ModelFile] = field(default_factory=dict)
    endpoints: tuple[Tab, ...] = ()

    def entry(self, name: str) -> Tab:
        """Find what an order names: a tab, an endpoint, or one workflow as a tab of its own."""
        for tab in (*self.tabs, *self.endpoints):
            if tab.name == name:
                return tab
        return _tab(name, [self.workflow(name)])

    def tab(self, name: str) -> Tab:
        """Find a tab, or raise `workflow_unknown`."""
        for tab in self.tabs:
            if tab.name == name:
                return tab
        raise StudioError("workflow_unknown", workflow=name)

    def workflow(self, name: str) -> Workflow:
        """Find a workflow, or raise `workflow_unknown`."""
        if name not in self.workflows:
            raise StudioError("workflow_unknown", workflow=name)
        return self.workflows[name]


class Proven(Protocol):
    """Remembers what was proven, by the texts that it is about."""

    def get(self, *texts: str) -> frozenset[str] | None:
        """Give the nodes that every form uses; None where nothing was proven."""

    def add(self, always: frozenset[str], *texts: str) -> None:
        """Note that these texts were proven."""


class _Nothing:
    def get(self, *_texts: str) -> frozenset[str] | None:
        return None

    def add(self, always: frozenset[str], *texts: str) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _Shelf:
    """What the workflows of a folder have in common."""

    models: Mapping[str, ModelFile]
    models_text: str
    proven: Proven


def load(folder: Path, proven: Proven | None = None) -> Catalog:
    """Read every workflow of a folder; what is broken is listed and left out.

    What `proven` remembers is not proven again.
    """
    broken: list[Broken] = []
    models_text = _models_text(folder / MODELS_FILE, broken)
    models = _load_models(models_text, broken)
    shelf = _Shelf(models, models_text, proven or _Nothing())
    found = [
        workflow
        for path in sorted(folder.glob("*.yaml"))
        if path.name != MODELS_FILE and (workflow := _load_one(path, shelf, broken))
    ]
    found.sort(key=lambda w: (w.manifest.order, w.name))
    broken += _lonely_graphs(folder, found, broken)
    tabs = []
    for name in dict.fromkeys(w.manifest.tab for w in found):
        members = _agreeing(folder, [w for w in found if w.manifest.tab == name], broken)
        tabs.append(_tab(name, members))
    workflows = {w.name: w for tab in tabs for w in tab.workflows}
    return Catalog(workflows, tuple(tabs), tuple(broken), models, _endpoints(tabs))


def _endpoints(tabs: Sequence[Tab]) -> tuple[Tab, ...]:
    """Group each tab's workflows by the name programs call."""
    made = []
    for tab in tabs:
        for name in dict.fromkeys(w.manifest.endpoint for w in tab.workflows):
            members = [w for w in tab.workflows if w.manifest.endpoint == name]
            whole = len(members) == len(tab.workflows) and name == tab.name
            made.append(tab if whole else _endpoint(name, members))
    return tuple(made)


def _endpoint(name: str, members: Sequence[Workflow]) -> Tab:
    """Make an endpoint of a part of a tab; a picking field with nothing to pick is left out."""
    whole = _tab(name, members)
    kept = tuple(p for p in whole.parameters if not p.picks or p.folder or len(p.choices) > 1)
    return replace(whole, title=members[0].manifest.title, parameters=kept)


def _narrowed(left: Sequence[Workflow], name: str, value: object) -> tuple[Workflow, ...]:
    """Keep the workflows that one picking field means; those without it have no say."""
    asked = [(w, p) for w in left if (p := w.manifest.parameter(name)) is not None]
    if absent(value):
        value = next((p.default for _, p in asked if p.default is not None), None)
    if value is None:
        return tuple(left)
    if not isinstance(value, str):
        raise StudioError("field_wrong_type", field=name, type=Kind.CHOICE)
    fixed = [w for w, p in asked if value in p.choices]
    found = fixed or [w for w, p in asked if p.type is Kind.MODEL]
    if not found:
        known = ", ".join(dict.fromkeys(choice for _, p in asked for choice in p.choices))
        raise StudioError("field_not_a_choice", field=name, value=value, choices=known)
    return tuple(found)


def _models_text(path: Path, broken: list[Broken]) -> str:
    try:
        return _text(path) if path.exists() else ""
    except FaultError as fault:
        broken.append(Broken(path.name, fault.line, fault.said))
        return ""


def _load_models(text: str, broken: list[Broken]) -> dict[str, ModelFile]:
    """Read `models.yaml`; a broken entry is left out, and breaks only those who name it."""
    models: dict[str, ModelFile] = {}
    if not text:
        return models
    try:
        source = Source(text)
    except FaultError as fault:
        broken.append(Broken(MODELS_FILE, fault.line, fault.said))
        return models
    for name, entry in source.data.items():
        try:
            models[str(name)] = ModelFile.model_validate(entry)
        except ValidationError as exc:
            first = first_fault(exc, source, str(name))
            broken.append(Broken(MODELS_FILE, first.line, first.said))
    return models


def _load_one(path: Path, shelf: _Shelf, broken: list[Broken]) -> Workflow | None:
    file = path.name
    try:
        text = _text(path)
        source = Source(text)
        manifest = read(source)
        if manifest.name != path.stem:
            line = source.line(["name"])
            raise FaultError.of("fault.other_name", line, name=manifest.name, stem=path.stem)
        if not (path.parent / manifest.graph).exists():
            line = source.line(["graph"])
            raise FaultError.of("fault.no_graph_file", line, graph=manifest.graph)
        file = manifest.graph
        graph_text = _text(path.parent / file)
        graph = Graph.parse(graph_text)
        file = path.name
        workflow = Workflow(manifest, graph, shelf.models)
        texts = (text, graph_text, shelf.models_text)
        always = shelf.proven.get(*texts)
        if always is None or not always <= graph.nodes.keys():
            always = prove(workflow, source)
            shelf.proven.add(always, *texts)
    except FaultError as fault:
        broken.append(Broken(file, fault.line, fault.said))
        return None
    return replace(workflow, always=always)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise FaultError.of("fault.not_utf8", exc.object.count(b"\n", 0, exc.start) + 1) from exc
    except OSError as exc:
        raise FaultError.of("fault.unread", detail=exc.strerror) from exc


def _lonely_graphs(
    folder: Path, found: Sequence[Workflow], broken: Sequence[Broken]
) -> list[Broken]:
    """Tell of graphs that no manifest uses: nobody would see why they do not appear."""
    used = {w.manifest.graph for w in found} | {Path(item.file).stem + ".json" for item in broken}
    return [
        Broken(path.name, 0, Sentence("fault.lonely", {"graph": path}))
        for path in sorted(folder.glob("*.json"))
        if path.name not in used
    ]


def _agreeing(folder: Path, members: Sequence[Workflow], broken: list[Broken]) -> list[Workflow]:
    """Keep those of a tab's workflows that one form can serve, the first being the measure."""
    first, *rest = members
    kept = [first]
    for workflow in rest:
        said = _disagreement(kept, workflow)
        if said:
            path = folder / f"{workflow.name}.yaml"
            broken.append(Broken(path.name, Source(_text(path)).line(["tab"]), said))
        else:
            kept.append(workflow)
    return kept


def _disagreement(kept: Sequence[Workflow], workflow: Workflow) -> Sentence | None:
    ours, theirs = kept[0].manifest.picker, workflow.manifest.picker
    tab = workflow.manifest.tab
    if ours is None or theirs is None or ours.name != theirs.name:
        return Sentence("fault.shared_tab", {"tab": tab, "others": some(w.name for w in kept)})
    for p in workflow.manifest.parameters:
        for other in kept:
            twin = other.manifest.parameter(p.name)
            if twin and not p.picks and _form_kind(twin) != _form_kind(p):
                said = {"name": p.name, "type": p.type, "twin": twin.type, "other": other.name}
                return Sentence("fault.other_kind", said)
    return None


def _form_kind(p: Parameter) -> tuple[Kind, str | None]:
    return p.type, p.folder


def _tab(name: str, members: Sequence[Workflow]) -> Tab:
    first = members[0].manifest
    by_name: dict[str, list[Parameter]] = {}
    places: dict[str, int] = {}
    for workflow in members:
        for index, p in enumerate(workflow.manifest.parameters):
            by_name.setdefault(p.name, []).append(p)
            places.setdefault(p.name, p.order if p.order is not None else 10 * (index + 1))
    ordered = sorted(by_name, key=lambda parameter: places[parameter])
    fields = tuple(_union(by_name[parameter], len(members)) for parameter in ordered)
    title = next((w.manifest.tab_title for w in members if w.manifest.tab_title), first.title)
    return Tab(name, title, tuple(members), fields)


def _union(twins: Sequence[Parameter], workflows: int) -> Parameter:
    """Make one field of the same parameter in several workflows: the widest limits."""
    first = twins[0]
    if len(twins) == 1 and workflows == 1:
        return first
    alike = len(twins) == workflows and len({repr(p.default) for p in twins}) == 1
    choices = {choice: settings for p in reversed(twins) for choice, settings in p.choices.items()}
    labels = {choice: words for p in twins for choice, words in p.labels.items()}
    ordered = {c: choices[c] for p in twins for c in p.choices}
    lows, highs = (
        [p.min for p in twins if p.min is not None],
        [p.max for p in twins if p.max is not None],
    )
    return first.model_copy(
        update={
            "bind": max((p.bind for p in twins), key=len),
            "min_count": min(p.min_count for p in twins),
            # A picking field that any workflow fills with files is filled by the servers.
            "folder": next((p.folder for p in twins if p.folder), None),
            "default": first.default if alike or first.picks else None,
            "required": all(p.required for p in twins) and len(twins) == workflows,
            "choices": ordered,
            "labels": labels,
            "min": min(lows, default=None),
            "max": max(highs, default=None),
        }
    )
