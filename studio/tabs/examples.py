"""Three things to try in each tab: the manifest's own texts, else ours, with sample pictures.

A tab whose fields differ in nothing that a glance would tell gets one example: pictures to start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from studio import texts
from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind, Parameter
from studio.tabs.result import Example

COUNT: Final = 3
_SAMPLES: Final = ("1.webp", "2.webp", "3.webp")


def titles(tab: Tab, language: str) -> list[Example]:
    """Name the examples of a tab: none where one cannot start without a file we do not have."""
    if any(p.required and p.type in (Kind.AUDIO, Kind.VIDEO) for p in _fields(tab)):
        return []
    written = _written(tab)
    count = len(_texts(written)) if written else COUNT if _chosen(tab) else 1
    return [Example(number, _title(tab, number, language)) for number in range(1, count + 1)]


def _title(tab: Tab, number: int, language: str) -> str:
    written = _written(tab)
    if written is not None:
        return _words(written, number, language)
    chosen = _chosen(tab)
    if chosen is None:
        return texts.text("page.example.pictures", language)
    choice = list(chosen.choices)[number % len(chosen.choices)]
    words = texts.local(chosen.labels.get(choice, {}), language) or choice
    label = texts.local(chosen.label, language)
    return texts.text("page.example.choice", language, label=label, choice=words)


def values(tab: Tab, number: int, language: str) -> Mapping[str, Any]:
    """Give the values of one example: words, our own sample pictures, and one choice."""
    given: dict[str, Any] = {}
    written, chosen = _written(tab), _chosen(tab)
    if written is not None:
        given[written.name] = _words(written, number, language)
    elif chosen is not None:
        given[chosen.name] = list(chosen.choices)[number % len(chosen.choices)]
    pictures = number
    for parameter in _fields(tab):
        if parameter.type in (Kind.IMAGE, Kind.IMAGES) and parameter.required:
            several = parameter.type is Kind.IMAGES
            count = parameter.min_count if several else 1
            samples = [_sample(pictures + i) for i in range(count)]
            given[parameter.name] = samples if several else samples[:1]
            pictures += count
    return given


def _fields(tab: Tab) -> tuple[Parameter, ...]:
    """Give the fields of the workflow a tab starts with: that is the one an example fills."""
    return tuple(tab.pick({}).manifest.parameters)


def _written(tab: Tab) -> Parameter | None:
    return next((p for p in _fields(tab) if p.type is Kind.TEXT and p.required), None)


def _texts(written: Parameter) -> Sequence[Mapping[str, str]]:
    """Give the texts to try of a field, by language."""
    if written.examples:
        return written.examples
    keys = [f"page.example.prompt{number}" for number in range(1, COUNT + 1)]
    return [{one: texts.text(key, one) for one in texts.LANGUAGES} for key in keys]


def _words(written: Parameter, number: int, language: str) -> str:
    return texts.local(_texts(written)[number - 1], language)


def _chosen(tab: Tab) -> Parameter | None:
    """Find the choice that examples differ in: the first with enough to choose from."""
    plain = (p for p in _fields(tab) if p.type is Kind.CHOICE and not p.picks and not p.advanced)
    return next((p for p in plain if len(p.choices) > COUNT), None)


def _sample(number: int) -> dict[str, str]:
    name = _SAMPLES[number % len(_SAMPLES)]
    return {"sample": name, "url": f"studio-assets/{name}"}
