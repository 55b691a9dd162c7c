"""The manifest of a workflow: the schema of `workflows/NAME.yaml`, and the lines of its faults.

Form fields, REST checks and the binding all come from here. Knows no graph and no disk.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from studio.texts import DEFAULT, Sentence

Words = dict[str, str]
"""A text by language: `{en: ..., zh-TW: ...}`."""

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A name that is also a keyword argument, a route part and a file stem."""

Scalar = str | bool | int | float
Link = tuple[str, int]
SEED_MAX: Final = 2**64 - 1


class Kind(StrEnum):
    """What a parameter holds."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    CHOICE = "choice"
    SWITCH = "switch"
    SEED = "seed"
    IMAGE = "image"
    IMAGES = "images"
    MASK = "mask"
    AUDIO = "audio"
    VIDEO = "video"
    MODEL = "model"

    @property
    def file(self) -> bool:
        """Tell whether values are input references of `engine.media`."""
        return self in FILE_KINDS


FILE_KINDS: Final = frozenset({Kind.IMAGE, Kind.IMAGES, Kind.MASK, Kind.AUDIO, Kind.VIDEO})


class FaultError(Exception):
    """A fault in a file of `workflows/`: its reason, and its line counted from 1 (0 = unknown).

    The reason is a `Sentence`, so that it speaks each language.
    """

    def __init__(self, said: Sentence, line: int = 0) -> None:
        super().__init__(said)
        self.said = said
        self.line = line

    @classmethod
    def of(cls, key: str, line: int = 0, **params: object) -> FaultError:
        """Make a fault of a text and its parameters."""
        return cls(Sentence(key, params), line)

    @property
    def reason(self) -> str:
        """Say the reason in English, as the log does."""
        return self.said.said()

    def at(self, line: int) -> FaultError:
        """Give the same fault at a line."""
        return FaultError(self.said, line)

    def sentence(self, language: str = DEFAULT) -> str:
        """Say the reason in a language."""
        return self.said.said(language)


class MisfitError(ValueError):
    """What Pydantic's types cannot tell of a value; its chain becomes a `FaultError`."""

    def __init__(self, key: str, **params: object) -> None:
        self.said = Sentence(key, params)
        super().__init__(self.said)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _condition(given: object) -> object:
    if given == "empty":
        return {"empty": True}
    return {"equals": given} if isinstance(given, bool) else given


def _tuple(given: object) -> object:
    return (given,) if isinstance(given, (str, bool, int, float)) else given


class Condition(_Part):
    """A question about one value: `empty`, `true`, `false`, or `{lt|equals|contains: ...}`.

    For a list, `lt` speaks of its length. `equals` takes one value or several, as does
    `contains`, which ignores case.
    """

    empty: bool | None = None
    lt: float | None = None
    equals: Annotated[tuple[Scalar, ...], BeforeValidator(_tuple)] = ()
    contains: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = ()

    @model_validator(mode="after")
    def _one(self) -> Condition:
        if len(self.model_fields_set) != 1:
            raise MisfitError("fault.condition")
        return self

    def holds(self, value: object) -> bool:
        """Answer for a value; None, an empty text and an empty list are empty."""
        if self.empty is not None:
            return absent(value) is self.empty
        if self.lt is not None:
            size = len(value) if isinstance(value, (list, tuple)) else value
            return isinstance(size, (int, float)) and size < self.lt
        if self.contains:
            return isinstance(value, str) and any(
                part.lower() in value.lower() for part in self.contains
            )
        # In Python True == 1; here a switch is not a number.
        return any(type(value) is type(one) and value == one for one in self.equals)


When = dict[str, Annotated[Condition, BeforeValidator(_condition)]]
"""Conditions by parameter name; all of them must hold."""

Settings = dict[str, Scalar]
"""Values by `node.input`."""


def _choices(given: object) -> object:
    """Read a list of choices as a mapping without settings, so that there is one form inside."""
    if isinstance(given, list):
        return {item: {} for item in given if isinstance(item, Hashable)}
    return given


Choices = Annotated[dict[str, Settings], BeforeValidator(_choices)]


class Variant(_Part):
    """Other settings of the same choices, for when other values call for it (sizes of an SDXL)."""

    when: When
    choices: Choices


class Parameter(_Part):
    """One thing a person may say: its kind, its limits, its words, and the inputs it sets.

    `bind` names `node.input`s; an `images` list is bound to them in order. A `choice` may instead
    set several inputs by its `choices`. `min`/`max`/`step` are in the unit of the node's input; a
    whole number off its `step` is refused, since ComfyUI would round it unasked. `picks` marks a
    field that chooses among the workflows of a tab. The field counts, and is shown, only while
    `when` holds (a width while the shape is `custom`).

    `max_seconds` bounds a sound, a video, or how long a text takes to say. For files:
    `same_size_as` names the picture whose size a mask must have, and while `inside_first` holds
    each later picture must still have a pixel when it is scaled to lie inside the first. `draw`:
    the picture may also be drawn on the page. `examples` are texts to try, one a click.
    """

    name: Name
    type: Kind
    label: Words = Field(min_length=1)
    bind: tuple[str, ...] = ()
    help: Words = {}
    placeholder: Words = {}
    examples: tuple[Words, ...] = ()
    order: int | None = None
    required: bool = False
    advanced: bool = False
    multiline: bool = False
    picks: bool = False
    default: Scalar | None = None
    min: int | float | None = None
    max: int | float | None = None
    step: int | float | None = Field(default=None, gt=0)
    max_chars: int | None = Field(default=None, ge=1)
    min_count: int = Field(default=1, ge=1)
    choices: Choices = {}
    labels: dict[str, Words] = {}
    variants: tuple[Variant, ...] = ()
    folder: str | None = None
    when: When = {}
    max_seconds: float | None = Field(default=None, gt=0)
    same_size_as: Name | None = None
    inside_first: When = {}
    draw: bool = False

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Parameter:
        for wrong, key in _misfits(self):
            if wrong:
                raise MisfitError(key, name=self.name, type=self.type, default=self.default)
        return self

    @property
    def max_count(self) -> int:
        """Give how many files an `images` list takes: one for each input it is bound to."""
        return len(self.bind)

    def settings(self, values: Mapping[str, Any]) -> Settings:
        """Give what the chosen value sets, by `node.input`, in view of all values."""
        choices = self.choices
        for variant in self.variants:
            if holds(variant.when, values):
                choices = variant.choices
        return choices.get(values.get(self.name, ""), {})

    def targets(self) -> Iterator[str]:
        """Name every `node.input` that this parameter can set, each once."""
        seen = dict.fromkeys(self.bind)
        for choices in (self.choices, *(variant.choices for variant in self.variants)):
            for settings in choices.values():
                seen.update(dict.fromkeys(settings))
        return iter(seen)


def _misfits(p: Parameter) -> Iterator[tuple[bool, str]]:
    number = p.type in (Kind.INTEGER, Kind.NUMBER)
    sets = any(p.choices.values())
    choice, model = p.type is Kind.CHOICE, p.type is Kind.MODEL
    yield bool(p.choices) and not choice, "fault.kind.choices"
    yield choice and not p.choices, "fault.kind.no_choices"
    yield bool(p.folder) and not model, "fault.kind.folder"
    yield model and not p.folder, "fault.kind.no_folder"
    yield number and (p.min is None or p.max is None), "fault.kind.no_limits"
    yield not number and p.min is not p.max, "fault.kind.limits"
    yield (
        number and p.min is not None and p.max is not None and p.min > p.max,
        "fault.kind.min_above",
    )
    yield sets and bool(p.bind), "fault.kind.both"
    yield (
        p.type is Kind.IMAGES and len(p.bind) < p.min_count,
        "fault.kind.min_count",
    )
    yield (
        p.type in (Kind.IMAGE, Kind.MASK, Kind.AUDIO, Kind.VIDEO) and not p.bind,
        "fault.kind.file_bind",
    )
    yield p.type.file and p.default is not None, "fault.kind.file_default"
    yield (
        p.max_seconds is not None and p.type not in (Kind.AUDIO, Kind.VIDEO, Kind.TEXT),
        "fault.kind.max_seconds",
    )
    yield p.same_size_as is not None and p.type is not Kind.MASK, "fault.kind.same_size_as"
    yield bool(p.examples) and p.type is not Kind.TEXT, "fault.kind.examples"
    yield p.draw and p.type is not Kind.IMAGE, "fault.kind.draw"
    yield bool(p.inside_first) and p.type is not Kind.IMAGES, "fault.kind.inside_first"
    yield any(set(v.choices) != set(p.choices) for v in p.variants), "fault.kind.variant"
    yield not set(p.labels) <= set(p.choices), "fault.kind.labels"
    yield not _default_fits(p), "fault.kind.default"


def _default_fits(p: Parameter) -> bool:
    if p.default is None:
        return True
    match p.type:
        case Kind.SWITCH:
            return isinstance(p.default, bool)
        case Kind.INTEGER | Kind.NUMBER:
            if isinstance(p.default, (bool, str)):
                return False
            whole = p.type is Kind.NUMBER or isinstance(p.default, int)
            return whole and (p.min or 0) <= p.default <= (p.max or 0)
        case Kind.CHOICE:
            return p.default in p.choices
        case Kind.SEED:
            return isinstance(p.default, int) and -1 <= p.default <= SEED_MAX
        case _:
            return isinstance(p.default, str)


class Rule(_Part):
    """A change of the graph that depends on values: `bypass`, then `remove`, then `set`.

    `bypass: {node: {slot: input}}`: who reads slot `slot` of the node reads what the node itself
    had at `input`, and the node goes. `remove`: the nodes go, with every input that pointed at
    them. `set`: a value, or a link `[node, slot]`, for a `node.input`.
    """

    when: When = Field(min_length=1)
    bypass: dict[str, dict[int, str]] = {}
    remove: tuple[str, ...] = ()
    set: dict[str, Scalar | Link] = {}


class Derived(_Part):
    """A number worked out from others by a formula (see `formula`), for inputs nobody fills in.

    It counts only while `when` holds; of several with one name, each with a `when`, the one that
    counts gives the number. Where it leaves `min` to `max`, the field `of` is what the
    person has to change.
    """

    name: Name
    value: str
    of: Name
    when: When = {}
    bind: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None


class Length(_Part):
    """Formulas for how long a result will be: frames in all, and frames a second."""

    frames: str
    fps: str


class Before(_Part):
    """A run that goes before the main one while `when` holds, and what becomes of its file.

    Only what the node `save` needs is run. The sound it saves is measured and, in the main run,
    stands in the field `gives`; what `when` asks about then counts as not said.
    """

    when: When = Field(min_length=1)
    save: str
    gives: Name


class OutputSpec(_Part):
    """A node whose files are the result."""

    node: str
    kind: Annotated[str, StringConstraints(pattern="^(image|video|audio|text|file)$")]


class ModelNeed(_Part):
    """A model file the graph names: an id of `models.yaml`, and what may stand in for it."""

    model: str
    bind: str
    required: bool = True
    alternatives: tuple[str, ...] = ()


class ModelFile(_Part):
    """One entry of `models.yaml`: where a file belongs and where it comes from.

    `folder` is below ComfyUI's `models`; `bytes` is None where no source states the exact size,
    and `gigabytes` is then what the source printed.
    """

    folder: str
    file: str
    url: str
    page: str = ""
    bytes: int | None = None
    gigabytes: float | None = None
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] | None = None
    licence: str
    note: str = ""


class Manifest(_Part):
    """One workflow. `tab` is the page's tab it belongs to; several workflows may share one.

    `api` names the endpoint for programs, where it is not the tab's; several may share that too.
    `note` is one quiet line that people must know, shown with the form.
    """

    name: Name
    tab: Name
    api: Name | None = None
    title: Words = Field(min_length=1)
    tab_title: Words = {}
    help: Words = {}
    note: Words = {}
    order: int = 100
    category: Annotated[str, StringConstraints(pattern="^(image|video|avatar|tool)$")]
    graph: Annotated[str, StringConstraints(pattern=r"^[^/\\]+\.json$")]
    minimum_comfyui: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)*$")] = "0.3.0"
    vram_gb: float = 0
    parameters: tuple[Parameter, ...] = Field(min_length=1)
    derived: tuple[Derived, ...] = ()
    length: Length | None = None
    rules: tuple[Rule, ...] = ()
    before: tuple[Before, ...] = ()
    outputs: tuple[OutputSpec, ...] = Field(min_length=1)
    models: tuple[ModelNeed, ...] = ()

    def parameter(self, name: str) -> Parameter | None:
        """Find a parameter by name."""
        return next((p for p in self.parameters if p.name == name), None)

    @property
    def endpoint(self) -> str:
        """Give the name programs call it by."""
        return self.api or self.tab

    @property
    def picker(self) -> Parameter | None:
        """Find the field that chooses first among the workflows of the tab."""
        return next((p for p in self.parameters if p.picks), None)


def ends_of(manifest: Manifest) -> list[str]:
    """Name every node whose files are fetched: of the main run and of those before it."""
    return [*(one.node for one in manifest.outputs), *(one.save for one in manifest.before)]


def absent(value: object) -> bool:
    """Tell whether a value says nothing."""
    return value is None or value == "" or value == [] or value == ()


def holds(when: When, values: Mapping[str, Any]) -> bool:
    """Tell whether all conditions hold for these values."""
    return all(condition.holds(values.get(name)) for name, condition in when.items())


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
    known = {name for part in _Part.__subclasses__() for name in part.model_fields}
    near = difflib.get_close_matches(key.lower(), sorted(known), 1)
    if near:
        return Sentence("fault.schema.unknown_near", {"near": near[0]})
    return Sentence("fault.schema.unknown")


def _mismatch(pattern: str) -> Sentence:
    choice = re.fullmatch(r"\^\(([^()]+)\)\$", pattern)
    if choice:
        return Sentence("fault.schema.one_of", {"allowed": ", ".join(choice[1].split("|"))})
    return Sentence(_PATTERNS[pattern])
