"""A manifest's text as it is read: the line of each of its places, and its faults in our words.

Knows the schema; knows no graph and no disk.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from studio.engine.workflow.faults import FaultError, MisfitError
from studio.engine.workflow.manifest import Kind, Manifest, Part
from studio.texts import Sentence

_QUICK: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Reads twenty manifests ten times as quick; not every PyYAML has it."""

_FULL_WIDTH: Final = re.compile(r"^[ \t]*(?:- *)?\{? *(?P<key>[A-Za-z_]+)：", re.MULTILINE)


def _composed(text: str, kind: Any = _QUICK) -> Any:
    """Read a YAML text as nodes and as data."""
    try:
        loader = kind(text)
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    except yaml.YAMLError:
        if kind is yaml.SafeLoader:
            raise
        return _composed(text, yaml.SafeLoader)  # it names the places of faults better


def _unread(text: str, exc: yaml.YAMLError) -> FaultError:
    """Say where a text is no YAML; what PyYAML found there stays as it said it."""
    mark, problem = getattr(exc, "problem_mark", None), getattr(exc, "problem", None)
    fault = FaultError.of("fault.not_yaml", mark.line + 1 if mark else 0, detail=problem or exc)
    return _full_width(text) or fault


def _full_width(text: str) -> FaultError | None:
    """Find a key with a full-width colon, as a Chinese keyboard writes it: to YAML that is none."""
    found = _FULL_WIDTH.search(text)
    if found is None:
        return None
    line = text.count("\n", 0, found.start("key")) + 1
    return FaultError.of("fault.full_width", line, name=found["key"])


class Source:
    """A YAML text that knows the line of each of its places."""

    def __init__(self, text: str) -> None:
        """Read the text; raises `FaultError` when it is no YAML mapping or says a key twice."""
        try:
            root, self.data = _composed(text)
        except yaml.YAMLError as exc:
            raise _unread(text, exc) from exc
        if not isinstance(self.data, dict) or root is None:
            raise _full_width(text) or FaultError.of("fault.no_mapping", 1)
        self._lines: dict[tuple[str, ...], int] = {}
        self._walk(root, ())

    def line(self, place: Sequence[object]) -> int:
        """Give the line of the deepest part of `place` that is in the text."""
        path = tuple(str(step) for step in place)
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def holds(self, place: Sequence[object]) -> bool:
        """Tell whether the text has this place."""
        return tuple(str(step) for step in place) in self._lines

    def called(self, place: Sequence[object]) -> str:
        """Write a place with dots, what has a name in a list by that: `parameters.steps.min`."""
        at, steps = self.data, []
        for step in place:
            known = isinstance(at, dict) or (isinstance(step, int) and isinstance(at, list))
            try:
                at = at[step] if known else None
            except (KeyError, IndexError):
                at = None
            name = at.get("name") if isinstance(step, int) and isinstance(at, dict) else None
            steps.append(name if isinstance(name, str) and name else str(step))
        return ".".join(steps)

    def _walk(self, node: yaml.Node, path: tuple[str, ...]) -> None:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._walk(item, (*path, str(index)))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*path, str(key.value))
                if below in self._lines:
                    line = key.start_mark.line + 1
                    raise FaultError.of("fault.twice", line, name=key.value)
                self._lines[below] = key.start_mark.line + 1
                self._walk(value, below)


def read(source: Source) -> Manifest:
    """Check a manifest against the schema. Raises `FaultError` with the line of the first fault."""
    try:
        return Manifest.model_validate(source.data)
    except ValidationError as exc:
        raise first_fault(exc, source) from exc


def first_fault(exc: ValidationError, source: Source, *within: str) -> FaultError:
    """Make the first complaint of Pydantic a `FaultError` that names the place and the line."""
    first = exc.errors(include_url=False)[0]
    place = [*within, *first["loc"]]
    said = _complaint(first, place)
    if place and place[-1] == "[key]":
        place.pop()
    elif first["type"] != "missing" and place and not source.holds(place):
        place.pop()  # the member of a union that Pydantic tried
        said = Sentence("fault.schema.value")
    where, line = source.called(place), source.line(place)
    return FaultError.of("fault.at", line, place=where, reason=said) if where else FaultError(said)


_TYPES: Final[Mapping[str, str]] = {
    "missing": "fault.schema.missing",
    "string_type": "fault.schema.text",
    "int_type": "fault.schema.whole",
    "int_parsing": "fault.schema.whole",
    "int_from_float": "fault.schema.whole",
    "float_type": "fault.schema.number",
    "float_parsing": "fault.schema.number",
    "bool_type": "fault.schema.switch",
    "bool_parsing": "fault.schema.switch",
    "dict_type": "fault.schema.mapping",
    "model_type": "fault.schema.mapping",
    "tuple_type": "fault.schema.list",
    "list_type": "fault.schema.list",
    "too_short": "fault.schema.empty",
}
"""Types of Pydantic's errors -> our sentences; the rest is said in its own words."""

_PATTERNS: Final[Mapping[str, str]] = {
    r"^[a-z][a-z0-9_]{0,63}$": "fault.schema.name",
    r"^[^/\\]+\.json$": "fault.schema.json",
    r"^\d+(\.\d+)*$": "fault.schema.version",
    "^[0-9a-f]{64}$": "fault.schema.sha256",
}


def _complaint(error: ErrorDetails, place: Sequence[object]) -> Sentence:
    """Say one error of Pydantic in words of ours."""
    kind, given = error["type"], error.get("ctx", {})
    own = given.get("error")
    if isinstance(own, MisfitError):
        return own.said
    if place and place[-1] == "[key]" and kind == "string_type":
        return _unquoted(error["input"])
    match kind:
        case "extra_forbidden":
            return _unknown(str(place[-1]))
        case "enum":
            return Sentence("fault.schema.one_of", {"allowed": ", ".join(Kind)})
        case "string_pattern_mismatch":
            return _mismatch(str(given["pattern"]))
        case "greater_than" | "greater_than_equal":
            limit = given.get("gt", given.get("ge"))
            return Sentence(
                f"fault.schema.{'above' if 'gt' in given else 'least'}", {"limit": limit}
            )
        case _ if kind in _TYPES:
            return Sentence(_TYPES[kind])
        case _:
            return Sentence("fault.schema.other", {"detail": error["msg"]})


def _unquoted(key: object) -> Sentence:
    """Say what YAML made of a word without quotes, such as 16:9 or off."""
    if key is None or isinstance(key, bool):
        return Sentence(f"fault.schema.quotes_{'null' if key is None else 'switch'}")
    return Sentence("fault.schema.quotes", {"key": key})


def _unknown(key: str) -> Sentence:
    known = {name for part in Part.__subclasses__() for name in part.model_fields}
    near = difflib.get_close_matches(key.lower(), sorted(known), 1)
    if near:
        return Sentence("fault.schema.unknown_near", {"near": near[0]})
    return Sentence("fault.schema.unknown")


def _mismatch(pattern: str) -> Sentence:
    choice = re.fullmatch(r"\^\(([^()]+)\)\$", pattern)
    if choice:
        return Sentence("fault.schema.one_of", {"allowed": ", ".join(choice[1].split("|"))})
    return Sentence(_PATTERNS[pattern])
