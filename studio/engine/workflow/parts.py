"""The runs of one job: those that go before, whose file takes a field's place, and the main one.

Pure: says what is to be sent next, by what was made so far. Knows no row and no server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from studio.engine.workflow.binding import Listed, Values, Workflow, bind
from studio.engine.workflow.graph import Prompt
from studio.engine.workflow.manifest import Before, Parameter, absent, holds

Made = Mapping[str, tuple[str, float]]
"""What runs before made, by the field they give: its input reference and its seconds."""

NOTHING: Final[Made] = {}


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a job: `values` are what is said in it, `before` is None in the main one.

    `earlier` are the runs that went before it.
    """

    workflow: Workflow
    values: Values
    before: Before | None = None
    earlier: tuple[Part, ...] = ()

    @property
    def main(self) -> Part:
        """Give the main run as it would be if nothing were made before it: about as large."""
        return self if self.before is None else Part(self.workflow, self.values)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Give the references of the files it loads, each once."""
        given = [(p, ref) for p in self._files for ref in _listed(self.values[p.name])]
        if self.before is not None:
            nodes, target = self.prompt(), self.workflow.graph.target
            given = [(p, ref) for p, ref in given if any(target(at).node in nodes for at in p.bind)]
        return tuple(dict.fromkeys(ref for _, ref in given))

    def prompt(
        self,
        files: Mapping[str, str] | None = None,
        *,
        listed: Listed | None = None,
        prefix: str | None = None,
    ) -> Prompt:
        """Bind it. `files` need to name only its `inputs`; none of them, to see its nodes alone."""
        names = {ref: ref for p in self._files for ref in _listed(self.values[p.name])}
        return bind(
            self.workflow,
            self.values,
            files=names | dict(files or {}),
            listed=listed,
            prefix=prefix,
            ends=self._ends,
        )

    @property
    def _files(self) -> list[Parameter]:
        """List the parameters in which files were given."""
        found = self.workflow.manifest.parameters
        return [p for p in found if p.type.file and not absent(self.values.get(p.name))]

    @property
    def _ends(self) -> list[str]:
        if self.before is not None:
            return [self.before.save]
        return [output.node for output in self.workflow.manifest.outputs]


def part_of(workflow: Workflow, values: Values, made: Made = NOTHING) -> Part:
    """Give the run that is to be sent when so much was made."""
    earlier: tuple[Part, ...] = ()
    for before in workflow.manifest.before:
        if not holds(before.when, values):
            continue
        part = Part(workflow, values, before, earlier)
        if before.gives not in made:
            return part
        earlier = (*earlier, part)
        values = _after(before, values, *made[before.gives])
    return Part(workflow, values, None, earlier)


def parts_of(workflow: Workflow, values: Values) -> Iterator[Part]:
    """Give all runs of which nothing was made yet, the main one as far as it can be told."""
    for before in workflow.manifest.before:
        if holds(before.when, values):
            yield Part(workflow, values, before)
    yield Part(workflow, values)


def _after(before: Before, values: Values, ref: str, seconds: float) -> dict[str, Any]:
    """Put what a run made into its field; what asked for that run is not said any more."""
    said = {n: value for n, value in values.items() if n.partition(".")[0] not in before.when}
    return said | {before.gives: ref, f"{before.gives}.seconds": seconds}


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
