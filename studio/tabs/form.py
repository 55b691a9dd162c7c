"""Form fields from manifests: a kind of parameter is a kind of field, for every tab alike.

Checks nothing: what a field holds goes to the desk as the browser sent it (events that read the
fields say `preprocess=False`). The desk checks it against the manifest and answers in the person's
language; Gradio's own checks speak English, and know yesterday's choices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import gradio as gr
from gradio.components import Component
from gradio.i18n import I18nData

from studio import texts
from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind, Parameter, holds
from studio.errors import StudioError
from studio.tabs.pictures import Uploads, clip, pictures
from studio.tabs.words import Words

CHIPS_AT_MOST: Final = 6
"""Up to so many choices are all shown as chips; more go into a list, unless they are tiny."""

_TINY_CHARS: Final = 6
_TINY_AT_MOST: Final = 8

_PICTURE_KINDS: Final = (Kind.IMAGE, Kind.IMAGES, Kind.MASK)
_NO_NAMES: Final[Mapping[str, str]] = {}
Choices = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter and the component that holds it."""

    parameter: Parameter
    component: Component

    @property
    def name(self) -> str:
        """Give the parameter's name."""
        return self.parameter.name


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of one tab, in the order they are drawn."""

    tab: Tab
    fields: tuple[Field, ...]

    @property
    def components(self) -> list[Component]:
        """Give all components, in order: the inputs and outputs of the tab's events."""
        return [field.component for field in self.fields]

    @property
    def listed(self) -> tuple[Field, ...]:
        """Give the fields whose choices come from the servers."""
        return tuple(f for f in self.fields if from_servers(f.parameter))

    @property
    def pickers(self) -> tuple[Field, ...]:
        """Give the fields that pick the workflow."""
        return tuple(f for f in self.fields if f.name in self.tab.pickers)

    @property
    def asked(self) -> tuple[Field, ...]:
        """Give the fields on which it depends whether others count."""
        whens = [p.when for w in self.tab.workflows for p in w.manifest.parameters]
        names = {name for when in whens for name in when}
        return tuple(f for f in self.fields if f.name in names and f not in self.pickers)

    def values(self, raw: Sequence[Any], uploads: Uploads) -> dict[str, Any]:
        """Turn what the components hold into the desk's values.

        A field that the picked workflow does not have, or that does not count now, is hidden, and
        what it holds is not sent.
        """
        given = {field.name: value for field, value in zip(self.fields, raw, strict=True)}
        workflow = self.tab.pick(given)
        return {
            field.name: _sent(field.parameter, given[field.name], uploads)
            for field in self.fields
            if _counts(workflow.manifest.parameter(field.name), given)
            and given[field.name] is not None
        }


def _counts(p: Parameter | None, given: Mapping[str, Any]) -> bool:
    """Tell whether the picked workflow has a field, and the other fields let it count."""
    return p is not None and holds(p.when, given)


def draw(tab: Tab, words: Words, choices: Callable[[str], Choices]) -> Form:
    """Draw the fields into the open Gradio block: plain ones, then Advanced, closed."""
    start = tab.pick({})
    plain = [p for p in tab.parameters if not p.advanced]
    more = [p for p in tab.parameters if p.advanced]
    rooms = shapes(plain) | shapes(more)
    fields = [_drawn(tab, start, p, words, choices, rooms[p.name]) for p in plain]
    if more:
        with gr.Accordion(words.page("page.advanced"), open=False, elem_classes="studio-advanced"):
            fields += [_drawn(tab, start, p, words, choices, rooms[p.name]) for p in more]
    return Form(tab, tuple(fields))


def shapes(parameters: Sequence[Parameter]) -> dict[str, str]:
    """Say which fields take a whole line: the wide ones, and a narrow one without a neighbour."""
    rooms = {p.name: _shape(p) for p in parameters}
    open_half: str | None = None
    for p in parameters:
        if rooms[p.name] == "half":
            open_half = None if open_half else p.name
        elif open_half:
            rooms[open_half], open_half = "wide", None
    if open_half:
        rooms[open_half] = "wide"
    return rooms


def _drawn(
    tab: Tab,
    start: Workflow,
    shared: Parameter,
    words: Words,
    choices: Callable[[str], Choices],
    room: str,
) -> Field:
    own = start.manifest.parameter(shared.name)
    key = f"{tab.name}.{shared.name}"
    common: dict[str, Any] = {
        "label": words.of(f"{key}.label", shared.label),
        "elem_id": f"studio-{tab.name}-{shared.name}",
        "elem_classes": [f"studio-field-{room}"],
        "visible": _counts(own, {p.name: p.default for p in start.manifest.parameters}),
    }
    make = _listed if from_servers(shared) else _MAKERS[shared.type]
    # The field that picks among workflows offers all of them; any other starts as the first has it.
    shown = shared if shared.picks or own is None else own
    return Field(shared, make(_Draft(shown, key, words, choices, common)))


def chips(p: Parameter) -> bool:
    """Tell whether all choices fit in sight: a few, or some more that are as short as `16:9`."""
    shown = (p.labels.get(choice, {}).values() or (choice,) for choice in p.choices)
    tiny = all(len(words) <= _TINY_CHARS for each in shown for words in each)
    return len(p.choices) <= (_TINY_AT_MOST if tiny else CHIPS_AT_MOST)


def _shape(p: Parameter) -> str:
    """Say how much room a field needs: a whole line, or half of one."""
    if p.type in _PICTURE_KINDS or (p.type is Kind.TEXT and p.multiline):
        return "wide"
    shown = p.type is Kind.CHOICE and chips(p) and not from_servers(p)
    return "wide" if p.type in (Kind.AUDIO, Kind.VIDEO) or shown else "half"


def from_servers(p: Parameter) -> bool:
    """Tell whether a field's choices are what the servers list, at least in part."""
    return p.folder is not None


@dataclass(frozen=True, slots=True)
class _Draft:
    """What a maker needs: the parameter as the first workflow has it, words, and common options."""

    parameter: Parameter
    key: str
    words: Words
    choices: Callable[[str], Choices]
    common: Mapping[str, Any]

    @property
    def info(self) -> I18nData | None:
        """Give the help text, if there is one."""
        p = self.parameter
        return self.words.of(f"{self.key}.help", p.help) if p.help else None


def _text(draft: _Draft) -> Component:
    p = draft.parameter
    placeholder = draft.words.of(f"{draft.key}.placeholder", p.placeholder)
    return gr.Textbox(
        value=str(p.default) if p.default is not None else "",
        info=draft.info,
        placeholder=placeholder if p.placeholder else None,
        lines=4 if p.multiline else 1,
        max_lines=10 if p.multiline else 1,
        **draft.common,
    )


def _seed(draft: _Draft) -> Component:
    """A seed is text: a number field rounds above 2^53."""
    p = draft.parameter
    info = draft.info or draft.words.page("page.seed_hint")
    value = str(p.default) if p.default is not None else "-1"
    return gr.Textbox(value=value, info=info, max_lines=1, **draft.common)


def _number(draft: _Draft) -> Component:
    p = draft.parameter
    low, high = p.min or 0, p.max or 0
    return gr.Slider(
        minimum=low,
        maximum=high,
        step=step_of(p),
        value=p.default if isinstance(p.default, (int, float)) else low,
        info=draft.info,
        buttons=[],
        **draft.common,
    )


def step_of(p: Parameter) -> float:
    """Give the step of a number's field."""
    return p.step or (1 if p.type is Kind.INTEGER else 0.05)


def _switch(draft: _Draft) -> Component:
    return gr.Checkbox(value=bool(draft.parameter.default), info=draft.info, **draft.common)


def _choice(draft: _Draft) -> Component:
    p = draft.parameter
    pairs = [
        (draft.words.of(f"{draft.key}.choice.{c}", p.labels[c]) if c in p.labels else c, c)
        for c in p.choices
    ]
    kind: Any = gr.Radio if chips(p) else gr.Dropdown
    made: Component = kind(choices=pairs, value=p.default, info=draft.info, **draft.common)
    return made


def _listed(draft: _Draft) -> Component:
    """A field whose choices are what the servers list, at this moment and later."""
    p = draft.parameter
    found = draft.choices(p.name)
    return gr.Dropdown(
        choices=with_none(p, found),
        value=first_choice(p, found),
        info=draft.info,
        filterable=True,
        **draft.common,
    )


def with_none(p: Parameter, choices: Choices) -> list[tuple[str, str]]:
    """Offer "none" where a model may be left out."""
    return list(choices) if p.required or p.picks else [("–", ""), *choices]


def first_choice(p: Parameter, choices: Choices) -> str:
    """Choose what a model field says before anybody chose."""
    values = [value for _, value in choices]
    if isinstance(p.default, str) and (p.default in values or not values):
        return p.default
    return values[0] if values and (p.required or p.picks) else ""


def _pictures(draft: _Draft) -> Component:
    p = draft.parameter
    room = p.max_count if p.type is Kind.IMAGES else 1
    return pictures(room, p.help, draws="page.paint.draw" if p.draw else "", **draft.common)


def _mask(draft: _Draft) -> Component:
    """A mask is painted over the picture it must fit, or uploaded."""
    p = draft.parameter
    over = f"studio-{draft.key.partition('.')[0]}-{p.same_size_as}" if p.same_size_as else ""
    draws = "page.paint.mask" if over else ""
    return pictures(1, p.help, draws=draws, over=over, **draft.common)


def _clip(draft: _Draft) -> Component:
    p = draft.parameter
    return clip(p.type, p.help, **draft.common)


_MAKERS: Final[Mapping[Kind, Callable[[_Draft], Component]]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _number,
    Kind.NUMBER: _number,
    Kind.CHOICE: _choice,
    Kind.SWITCH: _switch,
    Kind.SEED: _seed,
    Kind.IMAGE: _pictures,
    Kind.IMAGES: _pictures,
    Kind.MASK: _mask,
    Kind.AUDIO: _clip,
    Kind.VIDEO: _clip,
    Kind.MODEL: _listed,
}


def _sent(p: Parameter, value: Any, uploads: Uploads) -> Any:
    if not p.type.file:
        return value
    given = uploads.pictures(value, p.name)
    return given if p.type is Kind.IMAGES else next(iter(given), None)


# --- what the server says to the fields ---


@dataclass(frozen=True, slots=True)
class Moment:
    """What the fields must know of the moment they are changed in.

    `off` names, by workflow, the fields that no server can heed, and the node class that is
    lacking.
    """

    language: str = texts.DEFAULT
    off: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


ANY_MOMENT: Final = Moment()


def refreshed(field: Field, choices: Choices, now: Any) -> dict[str, Any]:
    """Give a model field its new choices; it keeps what it says while that is still offered."""
    values = [value for _, value in choices]
    kept = now if now in values or not values else first_choice(field.parameter, choices)
    change: dict[str, Any] = gr.update(choices=with_none(field.parameter, choices), value=kept)
    return change


def adjusted(form: Form, raw: Sequence[Any], at: Moment = ANY_MOMENT) -> list[dict[str, Any]]:
    """Show what the picked workflow has, with its bounds; untouched fields take its defaults."""
    given = {field.name: value for field, value in zip(form.fields, raw, strict=True)}
    workflow = form.tab.pick(given)
    return [_adjust(form, field, workflow, given, at) for field in form.fields]


def settled(form: Form, raw: Sequence[Any], at: Moment = ANY_MOMENT) -> list[dict[str, Any]]:
    """Show what the picked workflow has, with its bounds; no field changes what it says.

    But for one that is off: what it held goes, since nobody could take it out.
    """
    given = {field.name: value for field, value in zip(form.fields, raw, strict=True)}
    workflow = form.tab.pick(given)
    return [_fit(field, workflow, given, at) for field in form.fields]


def _fit(field: Field, workflow: Workflow, given: Mapping[str, Any], at: Moment) -> dict[str, Any]:
    own = workflow.manifest.parameter(field.name)
    change: dict[str, Any] = gr.update(visible=_counts(own, given))
    if own is None or isinstance(field.component, gr.HTML):
        return change
    if isinstance(field.component, gr.Slider):
        change |= {"minimum": own.min, "maximum": own.max, "step": step_of(own)}
    lacking = at.off.get(workflow.name, {}).get(field.name, "")
    change |= {"info": _said(own, lacking, at.language), "interactive": not lacking}
    if lacking and given.get(field.name):
        change["value"] = _empty(own)
    return change


def _said(p: Parameter, lacking: str, language: str) -> str | None:
    """Give what stands below a field's name: its help, or why it is off."""
    if lacking:
        return texts.text("field.off", language, class_type=lacking)
    if p.help:
        return texts.local(p.help, language)
    return texts.text("page.seed_hint", language) if p.type is Kind.SEED else None


def _adjust(
    form: Form, field: Field, workflow: Workflow, given: Mapping[str, Any], at: Moment
) -> dict[str, Any]:
    own, now = workflow.manifest.parameter(field.name), given[field.name]
    change = _fit(field, workflow, given, at)
    if own is None or field in form.pickers or "value" in change:
        return change
    if own.default is not None and own.default != now and _untouched(form.tab, field.name, now):
        change["value"] = str(own.default) if own.type is Kind.SEED else own.default
    return change


def _untouched(tab: Tab, name: str, now: Any) -> bool:
    """Tell whether a field still says what some workflow of the tab starts with."""
    if now in (None, ""):
        return True
    owns = (workflow.manifest.parameter(name) for workflow in tab.workflows)
    return any(own is not None and own.default == now for own in owns)


def filled(
    form: Form,
    values: Mapping[str, Any],
    names: Mapping[str, str] = _NO_NAMES,
    *,
    at: Moment = ANY_MOMENT,
) -> list[Any]:
    """Give each component what a job's values say, for "Use again". Seeds stay exact text.

    `names` are what the person called the files, by reference.
    """
    workflow = form.tab.pick(values)
    return [_filled(field, workflow, values, names, at) for field in form.fields]


def sent_to(
    form: Form,
    raw: Sequence[Any],
    name: str,
    item: Mapping[str, str],
    *,
    at: Moment = ANY_MOMENT,
) -> list[Any]:
    """Put a result into a field; where the picked workflow has no such field, pick one that has."""
    given = {field.name: value for field, value in zip(form.fields, raw, strict=True)}
    parameter = form.tab.parameter(name)
    if parameter is None or not parameter.type.file:
        raise StudioError("field_unknown", field=name, workflow=form.tab.name)
    new = _picking(form.tab, given, name) | {name: joined(parameter, given[name], item)}
    workflow = form.tab.pick(given | new)
    new |= _counting(workflow.manifest.parameter(name), given | new)
    changes = [_adjust(form, field, workflow, given | new, at) for field in form.fields]
    return [
        change | ({"value": new[field.name]} if field.name in new else {})
        for field, change in zip(form.fields, changes, strict=True)
    ]


def _counting(p: Parameter | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Say what other fields must say so that a field counts, such as the number of shots."""
    asked = p.when.items() if p is not None else ()
    return {
        name: condition.equals[0]
        for name, condition in asked
        if condition.equals and not condition.holds(given.get(name))
    }


def _picking(tab: Tab, given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Say what the picking fields must say for a workflow that has a field; nothing if they do."""
    if tab.used(name, tab.pick(given)):
        return {}
    workflow = next(one for one in tab.workflows if tab.used(name, one))
    pickers = (workflow.manifest.parameter(picker) for picker in tab.pickers)
    return {p.name: p.default for p in pickers if p is not None and p.default is not None}


def joined(p: Parameter, now: object, item: Mapping[str, str]) -> list[Any]:
    """Give what a field of files says once `item` is sent there; what has no room is left out."""
    if p.type is not Kind.IMAGES:
        return [dict(item)]
    held = [one for one in now if one] if isinstance(now, list) else []
    return [*held[: p.max_count - 1], dict(item)]


def _filled(
    field: Field,
    workflow: Workflow,
    values: Mapping[str, Any],
    names: Mapping[str, str],
    at: Moment,
) -> Any:
    own, value = workflow.manifest.parameter(field.name), values.get(field.name)
    if own is None:
        return gr.update(visible=False)
    if own.type.file:
        refs = value if isinstance(value, list) else [value] if value else []
        return gr.update(value=[_input(ref, names) for ref in refs], visible=_counts(own, values))
    change = _fit(field, workflow, values, at)
    if value is None and not _counts(own, values):
        value = own.default
    change.setdefault("value", _empty(own) if value is None else value)
    return change


def _input(ref: str, names: Mapping[str, str]) -> dict[str, str]:
    item = {"ref": ref, "url": f"inputs/{ref}"}
    return item | ({"name": names[ref]} if ref in names else {})


def _empty(p: Parameter) -> Any:
    return (p.min or 0) if p.type in (Kind.INTEGER, Kind.NUMBER) else ""
