"""The gallery's tiles and large view, from values to HTML. Pure; escapes all that others said."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from studio import texts
from studio.engine.desk import Details
from studio.engine.jobs import Given, Job, Output
from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.manifest import Kind, Parameter
from studio.tabs.result import (
    GLYPHS,
    attribute,
    drawn_url,
    failure_words,
    notes_of,
    output_url,
    play_url,
    say,
    share_button,
    small,
    summary,
    thumbnail_url,
    took,
)
from studio.web.names import download_name


@dataclass(frozen=True, slots=True)
class Way:
    """A field that takes a result: of which tab, and what people call it."""

    tab: str
    field: str
    title: str


def tile(job: Job, title: str, language: str) -> str:
    """Draw one job small: its first file, what it is, and a box to select it."""
    state = texts.text(f"state.{job.state}", language)
    label = attribute(f"{state}: {summary(job)}")
    marks = f"<em>{len(job.outputs)}</em>" if len(job.outputs) > 1 else ""
    if job.favourite:
        marks += f'<i class="studio-heart" title="{say("gallery.favourite", language)}">♥</i>'
    select = attribute(texts.text("gallery.select_this", language, what=summary(job)))
    return (
        f'<figure class="studio-piece" data-job="{attribute(job.job_id)}"'
        f' data-state="{job.state}" data-tab="{attribute(job.tab)}" data-files="{len(job.outputs)}"'
        f' data-favourite="{int(job.favourite)}">'
        f'<button type="button" class="studio-thumb" data-act="open" title="{label}"'
        f' data-state="{job.state}" aria-label="{label}">{small(job)}{marks}</button>'
        f'<label class="studio-check"><input type="checkbox" aria-label="{select}"></label>'
        f"<figcaption><b>{html.escape(called(job, title))}</b><span>{html.escape(title)}</span>"
        "</figcaption></figure>"
    )


def called(job: Job, title: str) -> str:
    """Call a job by its prompt, else by its files, else by its workflow."""
    prompt = job.values.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        return summary(job)
    return ", ".join(one.name for one in job.given[:3]) or title


# --- the large view ---


def view(
    details: Details,
    workflow: Workflow | None,
    sends: Mapping[str, Sequence[Way]],
    language: str,
    *,
    open_tabs: Collection[str],
) -> str:
    """Draw one job large: its files, what may be done with it, and all that is known of it.

    `sends` are the fields that take a result, by kind of file; `open_tabs` are those on the page.
    """
    job = details.job
    title = texts.local(workflow.manifest.title, language) if workflow else job.workflow
    facts = _facts(job, title, language) + _settings(job, workflow, language)
    return (
        f'<div class="studio-large" data-job="{attribute(job.job_id)}">'
        f'<div class="studio-large-files">{_files(job, language)}</div>'
        f'<div class="studio-large-side"><h3>{html.escape(called(job, title))}</h3>'
        f"{_actions(job, sends, language, again=job.tab in open_tabs)}"
        f"{_failure(job, language)}{notes_of(job, details.notes, language)}"
        f"{_inputs(job, details.missing, language)}<dl>{facts}</dl></div></div>"
    )


def _files(job: Job, language: str) -> str:
    if not job.outputs:
        glyph = GLYPHS.get(str(job.state), "·")
        return f'<div class="studio-none" data-state="{job.state}"><b>{glyph}</b></div>'
    shown = "".join(_file(job, output, i > 0, language) for i, output in enumerate(job.outputs))
    if len(job.outputs) == 1:
        return shown
    picks = "".join(
        f'<button type="button" data-act="file" data-number="{i}" aria-pressed="{_yes(i == 0)}"'
        f' aria-label="{i + 1}">{_pick(job, output)}</button>'
        for i, output in enumerate(job.outputs)
    )
    return f'{shown}<div class="studio-picks">{picks}</div>'


def _yes(flag: bool) -> str:
    return "true" if flag else "false"


def _pick(job: Job, output: Output) -> str:
    if not output.looks:
        return f"<b>{GLYPHS.get(output.kind, '·')}</b>"
    return f'<img src="{attribute(thumbnail_url(job, output))}" alt="" decoding="async">'


def _file(job: Job, output: Output, hidden: bool, language: str) -> str:
    size = f' width="{output.width_px}" height="{output.height_px}"' if output.width_px else ""
    small = attribute(thumbnail_url(job, output))
    alt = attribute(texts.text("page.result_alt", language, what=summary(job)))
    match output.kind:
        case "image":
            source = attribute(drawn_url(job, output))
            inside = f'<img src="{source}"{size} alt="{alt}" decoding="async">'
        case "video":
            inside = (
                f'<video src="{attribute(play_url(job, output))}" poster="{small}"{size} controls'
                ' loop playsinline preload="metadata"></video>'
            )
        case "audio":
            inside = (
                f'<div class="studio-sound"><img src="{small}" alt="" decoding="async">'
                f'<audio src="{attribute(play_url(job, output))}" controls preload="metadata">'
                "</audio></div>"
            )
        case _:
            inside = f"<p>{html.escape(download_name(job, output))}</p>"
    return (
        f'<div class="studio-file" data-name="{attribute(output.name)}" data-kind="{output.kind}"'
        f"{' hidden' if hidden else ''}>{inside}</div>"
    )


def _actions(job: Job, sends: Mapping[str, Sequence[Way]], language: str, *, again: bool) -> str:
    heart = "unfavour" if job.favourite else "favour"
    parts = [_button("favourite", f"gallery.{heart}", language, on=str(int(not job.favourite)))]
    if again:
        parts.append(_button("again", "page.use_again", language, tab=job.tab))
    parts += [
        _download(job, output, language, hidden=i > 0) for i, output in enumerate(job.outputs)
    ]
    parts.append(share_button(job, language))
    if len(job.outputs) > 1:
        words = say("page.download_all", language)
        link = f"outputs/zip?of={quote(job.job_id)}"
        parts.append(f'<a class="studio-act" href="{link}" download>{words}</a>')
    parts += [_menu(kind, ways, language) for kind, ways in sends.items() if ways]
    if job.state.ended:
        parts.append(_button("remove", "gallery.delete", language))
    return f'<div class="studio-actions">{"".join(parts)}</div>'


def _button(act: str, key: str, language: str, **data: str) -> str:
    facts = "".join(f' data-{name}="{attribute(value)}"' for name, value in data.items())
    return (
        f'<button type="button" class="studio-act" data-act="{act}"{facts}>'
        f"{say(key, language)}</button>"
    )


def _download(job: Job, output: Output, language: str, *, hidden: bool) -> str:
    return (
        f'<a class="studio-act studio-strong" data-of="{attribute(output.name)}"'
        f' href="{attribute(output_url(job, output, download=True))}"'
        f' download="{attribute(download_name(job, output))}"{" hidden" if hidden else ""}>'
        f"{say('page.download', language)}</a>"
    )


def _menu(kind: str, ways: Sequence[Way], language: str) -> str:
    """Draw Send to: the fields that take the file in sight."""
    items = "".join(
        f'<button type="button" data-act="send" data-tab="{attribute(way.tab)}"'
        f' data-field="{attribute(way.field)}">{html.escape(way.title)}</button>'
        for way in ways
    )
    words = say("gallery.send_to", language)
    return (
        f'<details class="studio-menu" data-kind="{kind}"><summary class="studio-act">{words}'
        f"</summary><div>{items}</div></details>"
    )


def _failure(job: Job, language: str) -> str:
    if job.failure is None:
        return ""
    sentence, hint = failure_words(job.failure, language)
    return f'<p class="studio-warn"><b>{html.escape(sentence)}</b> {html.escape(hint)}</p>'


def _inputs(job: Job, missing: Collection[str], language: str) -> str:
    """Show the files a job was made of, and the speech that was made of its text.

    One that is no longer kept is named only.
    """
    if not job.given:
        return ""
    spoken = texts.text("gallery.spoken", language)
    files = (*job.given, *(replace(one, name=spoken) for one in job.made))
    rows = "".join(_input(one, one.ref in missing, language) for one in files)
    return f'<ul class="studio-inputs">{rows}</ul>'


def _input(one: Given, gone: bool, language: str) -> str:
    name = f'<span title="{attribute(one.name)}">{html.escape(one.name)}</span>'
    if gone:
        return f"<li>{name}<small>{say('gallery.input_gone', language)}</small></li>"
    address = attribute(f"inputs/{quote(one.ref)}")
    if one.kind == "image":
        image = f'<img src="{address}" alt="" decoding="async" loading="lazy">'
        return f'<li><a href="{address}" target="_blank">{image}</a>{name}</li>'
    length = texts.text("gallery.seconds", language, n=f"{one.seconds:.1f}")
    return f'<li><a href="{address}" target="_blank">{name}</a><small>{length}</small></li>'


def _facts(job: Job, title: str, language: str) -> str:
    rows = [
        _row(texts.text("gallery.workflow", language), html.escape(title)),
        _row(texts.text("gallery.state", language), say(f"state.{job.state}", language)),
        _row(texts.text("gallery.when", language), _time(job.created_us)),
    ]
    if job.seconds is not None:
        words = html.escape(took(job.seconds, language))
        rows.append(_row(texts.text("gallery.took", language), words))
    if job.server:
        rows.append(_row(texts.text("gallery.server", language), html.escape(job.server)))
    first = job.outputs[0] if job.outputs else None
    if first is not None and first.width_px:
        size = f"{first.width_px} × {first.height_px}"
        rows.append(_row(texts.text("gallery.size", language), size))
    return "".join(rows)


def _time(moment_us: int) -> str:
    """Write a moment for the browser to show in its own place and language."""
    return f'<time data-ms="{moment_us // 1000}"></time>'


def _row(label: str, value: str) -> str:
    return f"<div><dt>{html.escape(label)}</dt><dd>{value}</dd></div>"


def _settings(job: Job, workflow: Workflow | None, language: str) -> str:
    """Write every value of a job as its form calls it; what was measured of files is no such."""
    rows = []
    for name, value in job.values.items():
        if "." in name:
            continue
        parameter = workflow.manifest.parameter(name) if workflow else None
        if value is None or value == "" or (parameter is not None and parameter.type.file):
            continue
        label = texts.local(parameter.label, language) if parameter else name
        rows.append(_row(label, _value(parameter, value, language)))
    return "".join(rows)


def _value(p: Parameter | None, value: Any, language: str) -> str:
    if p is not None and p.type is Kind.SWITCH:
        return say("gallery.on" if value else "gallery.off", language)
    if p is not None and p.type is Kind.SEED:
        return f'<code class="studio-seed">{html.escape(str(value))}</code>'
    if isinstance(value, float):
        return f"{value:g}"
    labels = p.labels.get(str(value), {}) if p is not None else {}
    return html.escape(texts.local(labels, language) or str(value))
