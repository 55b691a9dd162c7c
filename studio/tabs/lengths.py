"""What a tab says before it runs: how long a given sound is, and how long the film will be."""

from __future__ import annotations

import html
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Final

from studio import texts
from studio.engine.desk import Desk
from studio.engine.jobs import Given
from studio.engine.workflow.binding import FilmLength, length
from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind
from studio.engine.workflow.measures import Measure, facts_read, measured

_TIMED: Final = (Kind.AUDIO, Kind.VIDEO)
_SILENT_KINDS: Final = (Kind.TEXT, Kind.SEED)
_KEPT: Final = 256


class Lengths:
    """Measures the sounds and films of one tab's form; remembers the last few."""

    def __init__(self, desk: Desk, tab: Tab) -> None:
        self._desk = desk
        self._tab = tab
        self._known: OrderedDict[tuple[str, str, str], Given] = OrderedDict()
        self._lock = Lock()

    @property
    def asked(self) -> bool:
        """Tell whether the tab has a length to speak of."""
        makes_film = any(w.manifest.length is not None for w in self._tab.workflows)
        return makes_film or any(p.type in _TIMED for p in self._tab.parameters)

    @property
    def fields(self) -> tuple[str, ...]:
        """Name the fields on which a length may depend."""
        said = {
            name.partition(".")[0] for w in self._tab.workflows for name in facts_read(w.manifest)
        }
        return tuple(
            p.name for p in self._tab.parameters if p.type not in _SILENT_KINDS or p.name in said
        )

    def line(self, person: str, values: Mapping[str, Any], language: str) -> str:
        """Say the lengths for what a form says. Blocks; raises `StudioError` for a wrong file."""
        workflow = self._tab.pick(values)
        manifest = workflow.manifest
        timed = [p.name for p in manifest.parameters if p.type in _TIMED and values.get(p.name)]
        given = [self._measure(person, name, values[name]) for name in timed]
        files = {p.name for p in manifest.parameters if p.type.file}
        plain = {name: value for name, value in values.items() if name not in files}
        plain |= {one.field: one.ref for one in given}
        found = {one.ref: Measure(one.width_px, one.height_px, one.seconds) for one in given}
        facts = measured(manifest, plain, found)
        film = length(workflow, plain | facts)
        spoken = [p.name for p in manifest.parameters if p.type is Kind.TEXT]
        about = any(facts.get(f"{name}.seconds") for name in spoken)
        return drawn(self._tab, given, film, language, about=about)

    def _measure(self, person: str, field: str, value: Any) -> Given:
        key = (person, field, json.dumps(value, sort_keys=True, default=str))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        given = self._desk.measure(person, self._tab.name, field, value)
        with self._lock:
            self._known[key] = given
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return given


def drawn(
    tab: Tab, given: Sequence[Given], film: FilmLength | None, language: str, *, about: bool = False
) -> str:
    """Draw the lengths as one quiet line, and below it what is changed of the files.

    `about`: the film will be as long as a text takes to say, which nobody knows before.
    """
    said = [_of(tab, one, language) for one in given if one.seconds]
    if film is not None:
        if about:
            guess = max(1, round(film.seconds))
            said.append(texts.text("length.film.about", language, n=guess))
        else:
            facts = {"n": f"{film.seconds:.1f}", "frames": film.frames, "fps": f"{film.fps:g}"}
            said.append(texts.text("length.film", language, **facts))
    notes = [texts.text(key, language) for one in given for key in one.notes if texts.has(key)]
    return line(([" · ".join(said)] if said else []) + notes)


def _of(tab: Tab, one: Given, language: str) -> str:
    field = tab.parameter(one.field)
    label = texts.local(field.label, language) if field else one.field
    return texts.text("length.given", language, name=label, n=f"{one.seconds:.1f}")


def line(words: Sequence[str], *, warn: bool = False) -> str:
    """Draw lines under a form; none when there is nothing to say."""
    look = "studio-warn" if warn else "studio-quiet"
    rows = "".join(f'<p class="{look}">{html.escape(one)}</p>' for one in words)
    return f'<div class="studio-hints" role="status"{"" if rows else " hidden"}>{rows}</div>'
