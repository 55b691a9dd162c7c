"""What the studio measured of given files, and the numbers that follow from values and measures.

Pure: who takes the files in measures them, and hands the measures over by file reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from studio.engine.workflow import formula
from studio.engine.workflow.manifest import Derived, Kind, Manifest, Parameter, holds
from studio.errors import StudioError

Values = Mapping[str, Any]


# Unhurried speech: Chinese, Japanese and Korean by the sign, others by the letter, and pauses.
_SIGN_S: Final = 0.23
_LETTER_S: Final = 0.065
_DIGIT_S: Final = 0.3
_PAUSE_S: Final = 0.25
_SIGNS: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_DIGITS: Final = re.compile(r"\d")
_PAUSES: Final = re.compile(r"[,.;:!?，。；：！？、…\n]+")


def spoken_s(text: str) -> float:
    """Estimate how many seconds a text takes to say, rather more than less; 0 for a blank one."""
    said = text.strip()
    if not said:
        return 0.0
    signs, digits = len(_SIGNS.findall(said)), len(_DIGITS.findall(said))
    letters = len(said) - signs - digits
    pauses = len(_PAUSES.findall(said)) + 1
    return signs * _SIGN_S + digits * _DIGIT_S + letters * _LETTER_S + pauses * _PAUSE_S


@dataclass(frozen=True, slots=True)
class Measure:
    """What the studio measured of a given file; 0 where it has none."""

    width_px: int = 0
    height_px: int = 0
    seconds: float = 0.0

    def facts(self, name: str) -> dict[str, float]:
        """Give the measures as formulas name them, such as `audio.seconds`."""
        return {
            f"{name}.width": self.width_px,
            f"{name}.height": self.height_px,
            f"{name}.seconds": self.seconds,
        }


def derived(manifest: Manifest, values: Values) -> dict[str, int | float]:
    """Work out what follows from complete values; what needs an absent value stays out.

    Raises `StudioError` naming the field to change where a result leaves its limits.
    """
    known = dict(values)
    found: dict[str, int | float] = {}
    for one in manifest.derived:
        if formula.names(one.value) <= known.keys() and holds(one.when, known):
            known[one.name] = found[one.name] = _within(one, formula.value(one.value, known))
    return found


def facts_read(manifest: Manifest) -> set[str]:
    """Name the measures of files and texts that formulas read."""
    formulas = [one.value for one in manifest.derived]
    if manifest.length is not None:
        formulas += [manifest.length.frames, manifest.length.fps]
    return {name for text in formulas for name in formula.names(text) if "." in name}


def measured(
    manifest: Manifest, values: Values, measures: Mapping[str, Measure]
) -> dict[str, float]:
    """Hold given files and texts to their limits, and give the measures that formulas read."""
    facts: dict[str, float] = {}
    spoken = _spoken(manifest, values)
    for p in manifest.parameters:
        given = values.get(p.name) if p.type.file else None
        if given is None:
            continue
        refs = given if isinstance(given, list) else [given]
        found = [measures.get(ref, Measure()) for ref in refs]
        _refuse_size(p, values, found, measures)
        _refuse_length(p, found[0])
        facts |= found[0].facts(p.name)
    for name in facts_read(manifest) & facts.keys():
        if not facts[name]:
            raise StudioError("file_unmeasured", field=name.partition(".")[0])
    facts |= spoken
    return {name: facts[name] for name in facts_read(manifest) & facts.keys()}


def _spoken(manifest: Manifest, values: Values) -> dict[str, float]:
    """Give how long each text takes to say, 0 for an absent one; refuse what takes too long."""
    found: dict[str, float] = {}
    for p in manifest.parameters:
        if p.type is Kind.TEXT:
            found[f"{p.name}.seconds"] = seconds = spoken_s(str(values.get(p.name) or ""))
            if p.max_seconds is not None and seconds > p.max_seconds:
                raise StudioError(
                    "text_too_long_to_say",
                    field=p.name,
                    seconds=f"{seconds:.0f}",
                    max=f"{p.max_seconds:g}",
                )
    return found


def _refuse_length(p: Parameter, found: Measure) -> None:
    if p.max_seconds is not None and found.seconds > p.max_seconds:
        raise StudioError(
            "file_too_long", field=p.name, seconds=f"{found.seconds:.1f}", max=f"{p.max_seconds:g}"
        )


def _refuse_size(
    p: Parameter, values: Values, found: Sequence[Measure], measures: Mapping[str, Measure]
) -> None:
    if p.same_size_as is not None:
        picture = measures.get(values.get(p.same_size_as, ""), found[0])
        if _size(picture) != _size(found[0]):
            raise StudioError(
                "mask_other_size", field=p.name, mask=_size(found[0]), picture=_size(picture)
            )
    if p.inside_first and holds(p.inside_first, values):
        for number, later in enumerate(found[1:], start=2):
            if _vanishes(later, found[0]):
                raise StudioError(
                    "picture_too_thin", field=p.name, number=number, size=_size(later)
                )


def _size(measure: Measure) -> str:
    return f"{measure.width_px} x {measure.height_px}"


def _vanishes(later: Measure, first: Measure) -> bool:
    """Tell whether a side is left without a pixel, as ComfyUI's ResizeAndPadImage cuts it down."""
    if not (later.width_px and later.height_px):
        return False
    factor = min(first.width_px / later.width_px, first.height_px / later.height_px)
    return int(later.width_px * factor) < 1 or int(later.height_px * factor) < 1


def _within(one: Derived, value: int | float) -> int | float:
    low, high = one.min, one.max
    if (low is not None and value < low) or (high is not None and value > high):
        raise StudioError(
            "derived_out_of_range",
            field=one.of,
            name=one.name,
            value=f"{value:g}",
            min=f"{low:g}" if low is not None else "-",
            max=f"{high:g}" if high is not None else "-",
        )
    return value
