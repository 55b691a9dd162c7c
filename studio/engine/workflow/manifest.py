"""The manifest of a workflow: the schema of `workflows/NAME.yaml`.

Form fields, REST checks and the binding all come from here. Knows no graph and no disk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from studio.engine.workflow.faults import MisfitError

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


class Part(BaseModel):
    """A mapping of the schema: what it has no name for is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _condition(given: object) -> object:
    if given == "empty":
        return {"empty": True}
    return {"equals": given} if isinstance(given, bool) else given


def _tuple(given: object) -> object:
    return (given,) if isinstance(given, (str, bool, int, float)) else given


class Condition(Part):
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


class Variant(Part):
    """Other settings of the same choices, for when other values call for it (sizes of an SDXL)."""

    when: When
    choices: Choices


class Parameter(Part):
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


class Rule(Part):
    """A change of the graph that depends on values: `bypass`, then `remove`, then `set`.

    `bypass: {node: {slot: input}}`: who reads slot `slot` of the node reads what the node itself
    had at `input`, and the node goes. `remove`: the nodes go, with every input that pointed at
    them. `set`: a value, or a link `[node, slot]`, for a `node.input`.
    """

    when: When = Field(min_length=1)
    bypass: dict[str, dict[int, str]] = {}
    remove: tuple[str, ...] = ()
    set: dict[str, Scalar | Link] = {}


class Derived(Part):
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


class Length(Part):
    """Formulas for how long a result will be: frames in all, and frames a second."""

    frames: str
    fps: str


class Before(Part):
    """A run that goes before the main one while `when` holds, and what becomes of its file.

    Only what the node `save` needs is run. The sound it saves is measured and, in the main run,
    stands in the field `gives`; what `when` asks about then counts as not said.
    """

    when: When = Field(min_length=1)
    save: str
    gives: Name


class OutputSpec(Part):
    """A node whose files are the result."""

    node: str
    kind: Annotated[str, StringConstraints(pattern="^(image|video|audio|text|file)$")]


class ModelNeed(Part):
    """A model file the graph names: an id of `models.yaml`, and what may stand in for it."""

    model: str
    bind: str
    required: bool = True
    alternatives: tuple[str, ...] = ()


class ModelFile(Part):
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


class Manifest(Part):
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
