"""What a ComfyUI lacks for a workflow: nodes, model files, version. Pure: it never asks a server.

A graph is the largest form of its workflow. What every form uses is *needed*: without it nothing
runs. What only some forms use is told, and holds up only the jobs that use it. An old version is
told and holds up nothing: nodes and models decide whether a graph runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, Final

from studio import texts
from studio.engine.workflow.binding import Workflow, match_model
from studio.engine.workflow.graph import Prompt, needed, titles
from studio.engine.workflow.manifest import Kind, ModelFile, ModelNeed, Parameter, ends_of
from studio.engine.workflow.parts import parts_of
from studio.engine.workflow.trial import always_used
from studio.errors import StudioError

_INSTEAD: Final = 5
_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Stock:
    """What one server has: version (may be empty), node classes, model names by folder kind."""

    version: str
    nodes: AbstractSet[str]
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def listed(self, folder: str) -> Sequence[str]:
        """Give the model names of one folder kind."""
        return self.models.get(folder, ())


@dataclass(frozen=True, slots=True)
class MissingNode:
    """A node class the server does not have, and what its nodes are called in the graph.

    `parameter` names the field that is for this node alone, where there is one.
    """

    class_type: str
    titles: tuple[str, ...]
    needed: bool = True
    parameter: str | None = None

    def sentence(self, language: str = texts.DEFAULT) -> str:
        """Say it to people."""
        named = ", ".join(self.titles)
        return texts.text("lack.node", language, class_type=self.class_type, titles=named)

    def error(self) -> StudioError:
        """Give the same as an error with a code."""
        if self.parameter is not None:
            return StudioError("field_off", field=self.parameter, class_type=self.class_type)
        return StudioError("missing_node", class_type=self.class_type, node=", ".join(self.titles))


@dataclass(frozen=True, slots=True)
class MissingModel:
    """A model file the server does not have.

    `source` says where the file comes from, None for one that `models.yaml` does not know.
    `instead` are files the server has and that would do. `parameter` names the field that chose
    the file, where a person did.
    """

    file: str
    folder: str
    source: ModelFile | None = None
    instead: tuple[str, ...] = ()
    needed: bool = True
    parameter: str | None = None

    def sentence(self, language: str = texts.DEFAULT) -> str:
        """Say it to people: file, folder, size, licence and link where known, what would do."""
        said = [texts.text("lack.model", language, file=self.file, folder=self.folder)]
        if self.source is not None:
            said.append(
                texts.text(
                    "lack.model.from",
                    language,
                    size=size_text(self.source, language),
                    licence=self.source.licence,
                    url=self.source.url,
                )
            )
        if self.instead:
            some = ", ".join(self.instead)
            said.append(texts.text("lack.model.instead", language, names=some))
        return " ".join(said)

    def error(self) -> StudioError:
        """Give the same as an error with a code."""
        return StudioError(
            "missing_model",
            field=self.parameter,
            model=self.file,
            folder=self.folder,
            choices=", ".join(self.instead),
        )


@dataclass(frozen=True, slots=True)
class OldVersion:
    """The server is older than what the workflow was made for."""

    version: str
    wanted: str
    needed: bool = False

    def sentence(self, language: str = texts.DEFAULT) -> str:
        """Say it to people."""
        return texts.text("lack.version", language, version=self.version, wanted=self.wanted)


Lack = MissingNode | MissingModel
"""What can hold up a job."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one server lacks for one workflow; nothing at all when all three are empty."""

    nodes: tuple[MissingNode, ...] = ()
    models: tuple[MissingModel, ...] = ()
    version: OldVersion | None = None

    @property
    def lacks(self) -> tuple[MissingNode | MissingModel | OldVersion, ...]:
        """List everything, what is needed first."""
        version = (self.version,) if self.version else ()
        found: tuple[MissingNode | MissingModel | OldVersion, ...]
        found = (*self.nodes, *self.models, *version)
        return tuple(sorted(found, key=lambda lack: not lack.needed))

    @property
    def fit(self) -> bool:
        """Tell whether the workflow can run there in at least one form."""
        return not any(lack.needed for lack in self.lacks)

    def sentences(self, language: str = texts.DEFAULT) -> tuple[str, ...]:
        """Say to people what is lacking, one sentence each."""
        return tuple(lack.sentence(language) for lack in self.lacks)


class Preflight:
    """One workflow, ready to be held against servers: which nodes its forms use is learned once."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self._always = always_used(workflow) if workflow.always is None else workflow.always

    @property
    def folders(self) -> set[str]:
        """Name the folder kinds whose listing matters."""
        manifest, models = self.workflow.manifest, self.workflow.models
        fixed = {models[need.model].folder for need in manifest.models}
        return fixed | {p.folder for p in manifest.parameters if p.folder}

    def report(self, stock: Stock) -> Report:
        """Say what a server lacks for the workflow as a whole."""
        graph = self.workflow.graph.nodes
        used = needed(graph, ends_of(self.workflow.manifest))
        return Report(
            nodes=self._nodes(stock, used),
            models=(*self._files(stock), *self._choices(stock)),
            version=_old_version(stock.version, self.workflow.manifest.minimum_comfyui),
        )

    def job(self, values: Mapping[str, Any], stock: Stock) -> tuple[Lack, ...]:
        """Say what a server lacks for these very values, checked before; () when it can run them.

        A graph that cannot be bound is no lack: the attempt will say what is wrong with it.
        """
        files = {ref: ref for value in values.values() for ref in _references(value)}
        prompt: Prompt = {}
        try:
            for part in parts_of(self.workflow, values):
                prompt |= part.prompt(files)
        except StudioError:
            return ()
        nodes = (self._owned(lack, values) for lack in _missing_nodes(prompt, stock))
        fixed = (m for m in self._files(stock) if not m.instead and self._loads(prompt, m.file))
        chosen = (self._chosen(p, values, prompt, stock) for p in self._fields())
        return (*nodes, *fixed, *(lack for lack in chosen if lack is not None))

    def chosen(self, values: Mapping[str, Any], stock: Stock) -> bool:
        """Tell whether the server lists every model file that a person chose."""
        return all(
            match_model(str(name), stock.listed(p.folder or "")) is not None
            for p in self._fields()
            if (name := values.get(p.name))
        )

    def idle(self, stock: Stock) -> dict[str, str]:
        """Name the fields that set only nodes this server lacks, each with such a node class.

        What every form of the workflow needs is not about a field: that is told of the workflow.
        """
        graph = self.workflow.graph.nodes
        there = stock.nodes | {graph[node]["class_type"] for node in self._always}
        return {
            p.name: classes[0]
            for p in self.workflow.manifest.parameters
            if (classes := self._classes(p)) and not set(classes) & there
        }

    def _classes(self, p: Parameter) -> list[str]:
        """List the node classes that a field sets."""
        places = (self.workflow.graph.target(place) for place in p.targets())
        return [self.workflow.graph.nodes[place.node]["class_type"] for place in places]

    def _owned(self, lack: MissingNode, values: Mapping[str, Any]) -> MissingNode:
        """Name the first field that was filled in and is for the missing node alone.

        Of a node that every form uses no field is to blame.
        """
        graph = self.workflow.graph.nodes
        if lack.class_type in {graph[node]["class_type"] for node in self._always}:
            return lack
        for p in self.workflow.manifest.parameters:
            if values.get(p.name) and set(self._classes(p)) == {lack.class_type}:
                return replace(lack, parameter=p.name)
        return lack

    def _nodes(self, stock: Stock, used: set[str]) -> tuple[MissingNode, ...]:
        graph = self.workflow.graph.nodes
        must = _missing_nodes({n: graph[n] for n in graph if n in self._always}, stock)
        named = {lack.class_type for lack in must}
        may = _missing_nodes({n: graph[n] for n in graph if n in used - self._always}, stock)
        return (
            *must,
            *(
                MissingNode(lack.class_type, lack.titles, needed=False)
                for lack in may
                if lack.class_type not in named
            ),
        )

    def _files(self, stock: Stock) -> Iterator[MissingModel]:
        """Hold the fixed model files against the server's lists."""
        for need in self.workflow.manifest.models:
            if self._field_of(need) is not None:
                continue
            first, *others = [self.workflow.models[m] for m in (need.model, *need.alternatives)]
            listed = stock.listed(first.folder)
            if match_model(first.file, listed) is not None:
                continue
            found = (match_model(other.file, listed) for other in others)
            instead = tuple(name for name in found if name is not None)
            always = self.workflow.graph.target(need.bind).node in self._always
            must = need.required and always and not instead
            yield MissingModel(first.file, first.folder, first, instead, must)

    def _choices(self, stock: Stock) -> Iterator[MissingModel]:
        """Hold the fields in which a person chooses a file against the server's lists."""
        known = [self.workflow.models[n.model] for n in self.workflow.manifest.models]
        for p in self._fields():
            listed = tuple(stock.listed(p.folder or ""))
            if listed and p.default and match_model(str(p.default), listed) is None:
                own = next((m for m in known if m.file == p.default), None)
                few = listed[:_INSTEAD]
                yield MissingModel(str(p.default), p.folder or "", own, few, False, p.name)
            if listed or not (p.required or p.default):
                continue
            source = next((m for m in known if m.folder == p.folder), None)
            name = str(p.default) if p.default else source.file if source else "*"
            yield MissingModel(name, p.folder or "", source, (), p.required, p.name)

    def _chosen(
        self, p: Parameter, values: Mapping[str, Any], prompt: Prompt, stock: Stock
    ) -> MissingModel | None:
        name, listed = values.get(p.name), tuple(stock.listed(p.folder or ""))
        if not isinstance(name, str) or not name or match_model(name, listed) is not None:
            return None
        places = [self.workflow.graph.target(place) for place in p.bind]
        if not any(place.node in prompt for place in places):
            return None
        file = next((m for m in self.workflow.models.values() if m.file == name), None)
        return MissingModel(
            name, p.folder or "", file, listed[:_INSTEAD], needed=True, parameter=p.name
        )

    def _loads(self, prompt: Prompt, file: str) -> bool:
        for need in self.workflow.manifest.models:
            target = self.workflow.graph.target(need.bind)
            if self.workflow.models[need.model].file == file and target.node in prompt:
                return True
        return False

    def _fields(self) -> list[Parameter]:
        return [p for p in self.workflow.manifest.parameters if p.type is Kind.MODEL]

    def _field_of(self, need: ModelNeed) -> Parameter | None:
        return next((p for p in self._fields() if need.bind in p.bind), None)


def size_text(model: ModelFile, language: str = texts.DEFAULT) -> str:
    """Write a file's size in GB as its source states it, or that none does."""
    if model.bytes is not None:
        return f"{model.bytes / _GB:.2f} GB"
    if model.gigabytes is not None:
        return f"{model.gigabytes:g} GB"
    return texts.text("lack.model.size_unknown", language)


def _missing_nodes(nodes: Mapping[str, Any], stock: Stock) -> tuple[MissingNode, ...]:
    names = titles(nodes)
    found: dict[str, list[str]] = {}
    for node, body in nodes.items():
        if body["class_type"] not in stock.nodes:
            found.setdefault(body["class_type"], []).append(names[node])
    return tuple(
        MissingNode(class_type, tuple(dict.fromkeys(called)))
        for class_type, called in found.items()
    )


def _old_version(version: str, wanted: str) -> OldVersion | None:
    """Compare versions by their numbers; one that says nothing readable is not called old."""
    has, least = _numbers(version), _numbers(wanted)
    return OldVersion(version, wanted) if has and has < least else None


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+(?:\.\d+)*)", version.strip())
    if not found:
        return ()
    parts = [int(part) for part in found[1].split(".")]
    return (*parts, *[0] * (4 - len(parts)))  # 0.5 is 0.5.0


def _references(value: object) -> Iterator[str]:
    if isinstance(value, (list, tuple)):
        yield from (item for item in value if isinstance(item, str))
    elif isinstance(value, str):
        yield value
