"""The result card, from values to HTML. Pure: no Gradio, no clock, no ledger.

Gradio morphs new HTML into the old element by element, so the same shape at every moment means
that nothing flickers: the bar moves, the picture changes, the rest stays. Whatever a person or a
server said is escaped here.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from PIL import Image

from studio import texts
from studio.engine.jobs import DRAWN, Failure, Job, News, Output, State
from studio.engine.shares import shareable
from studio.web.names import download_name

_PROMPT_SHOWN_CHARS: Final = 60
_DEFAULT_RATIO: Final = 1.0
_NO_NOTES: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to try: what its button says and its number."""

    number: int
    title: str


def attribute(value: object) -> str:
    """Escape a value for use in double quotes."""
    return html.escape(str(value), quote=True)


def say(key: str, language: str, **params: object) -> str:
    """Give one of our texts, filled and escaped."""
    return html.escape(texts.text(key, language, **params))


def output_url(job: Job, output: Output, *, download: bool = False) -> str:
    """Give a kept file's address relative to the page."""
    return f"outputs/{quote(job.job_id)}/{quote(output.name)}" + ("?download=1" if download else "")


def play_url(job: Job, output: Output) -> str:
    """Give the address of what a browser plays of a video or sound, relative to the page."""
    return f"play/{quote(job.job_id)}/{quote(output.name)}"


def drawn_url(job: Job, output: Output) -> str:
    """Give the address of what a browser draws of a picture: itself, else its small picture."""
    return output_url(job, output) if output.mime in DRAWN else thumbnail_url(job, output)


def thumbnail_url(job: Job, output: Output) -> str:
    """Give the small picture's address relative to the page."""
    return f"thumbnails/{quote(job.job_id)}/{quote(output.name)}"


# --- what one should know before ---


def hints(lacks: Sequence[str], notes: Sequence[str], language: str) -> str:
    """Draw over a form what will not work now, and below it the lines people must know.

    Several lacks are folded: the host opens them, who only makes pictures need not read them.
    """
    warn = "".join(f"<p>{html.escape(one)}</p>" for one in lacks)
    if len(lacks) > 1:
        words = say("page.lacks", language, n=len(lacks))
        warn = f'<details class="studio-warn"><summary>{words}</summary>{warn}</details>'
    elif lacks:
        warn = f'<div class="studio-warn">{warn}</div>'
    quiet = "".join(f'<p class="studio-quiet">{html.escape(one)}</p>' for one in notes)
    role = ' role="status"' if lacks else ""
    return (
        f'<div class="studio-hints"{role}{"" if warn or quiet else " hidden"}>{warn}{quiet}</div>'
    )


# --- what happens now ---


def status(news: News | None, others: Sequence[Job], language: str) -> str:
    """Draw status line, bar, and the other jobs of this tab that wait their turn."""
    state = news.state if news is not None else "idle"
    percent = round(news.fraction * 100, 1) if news is not None else 0
    left, right = _line(news, language)
    label = attribute(texts.text("page.progress", language))
    return (
        f'<div class="studio-now" data-state="{state}">'
        f'<div class="studio-line"><strong>{left}</strong><span>{right}</span></div>'
        f'<span class="studio-heard" role="status">{_heard(news, language)}</span>'
        f'<div class="studio-bar" role="progressbar" aria-label="{label}" aria-valuemin="0"'
        f' aria-valuemax="100" aria-valuenow="{percent}"><i style="width:{percent}%"></i></div>'
        f"{_waiting(others, language)}</div>"
    )


def _heard(news: News | None, language: str) -> str:
    """Say what a screen reader tells by itself: the state, which changes seldom."""
    return say("page.ready" if news is None else f"state.{news.state}", language)


def _line(news: News | None, language: str) -> tuple[str, str]:
    if news is None:
        return say("page.ready", language), ""
    if news.state.ended:
        return say(f"state.{news.state}", language), ""
    right = [eta(news.eta_s, language)] if news.eta_s is not None else []
    if news.state is State.PROCESSING and news.fraction > 0:
        right.insert(0, f"{news.fraction:.0%}")
    return html.escape(doing(news, language)), html.escape(" · ".join(right))


def doing(news: News, language: str) -> str:
    """Say what happens now: the phase, then the place in the queue or the node and its step."""
    phase = news.phase if texts.has(news.phase) else f"state.{news.state}"
    words = [texts.text(phase, language)]
    if news.position > 0:
        words.append(texts.text("page.position", language, n=news.position))
    if news.state is State.PROCESSING and news.node_title:
        step = f" {news.step}/{news.steps}" if news.steps else ""
        words.append(f"{news.node_title}{step}")
    return " · ".join(words)


def eta(seconds: float, language: str) -> str:
    """Say how long it will still take, as a person would."""
    if seconds < 90:
        return texts.text("page.left_s", language, n=max(1, round(seconds)))
    return texts.text("page.left_min", language, n=round(seconds / 60))


def took(seconds: float, language: str) -> str:
    """Say how long it took."""
    if seconds < 100:
        return texts.text("page.took_s", language, n=f"{seconds:.1f}")
    minutes, rest = divmod(round(seconds), 60)
    return texts.text("page.took_min", language, m=minutes, s=rest)


def _waiting(others: Sequence[Job], language: str) -> str:
    rows = "".join(_row(job, language) for job in others)
    return f'<ul class="studio-queue">{rows}</ul>' if rows else ""


def _row(job: Job, language: str) -> str:
    cancel = attribute(texts.text("page.cancel", language))
    state = say(f"state.{job.state}", language)
    return (
        f'<li data-job="{attribute(job.job_id)}"><span class="studio-chip">{state}</span>'
        f"<span>{html.escape(summary(job))}</span>"
        f'<button type="button" data-act="cancel" data-job="{attribute(job.job_id)}"'
        f' title="{cancel}" aria-label="{cancel}">✕</button></li>'
    )


def summary(job: Job) -> str:
    """Tell jobs apart by their prompt, else by their first plain values."""
    prompt = job.values.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        plain = [str(v) for v in job.values.values() if isinstance(v, (str, int, float))]
        prompt = " · ".join(value for value in plain[:3] if len(value) < _PROMPT_SHOWN_CHARS)
    prompt = " ".join(prompt.split()) or job.tab
    if len(prompt) <= _PROMPT_SHOWN_CHARS:
        return prompt
    return prompt[: _PROMPT_SHOWN_CHARS - 1] + "…"


# --- the picture ---


def running(job: Job, news: News, language: str) -> str:
    """Draw the place where the picture will be: the newest preview, or a quiet shimmer."""
    alt = attribute(texts.text("page.preview", language))
    if news.preview is None:
        return _stage("running", _canvas(ratio_of(job), '<div class="studio-shimmer"></div>'))
    data = base64.b64encode(news.preview).decode()
    picture = (
        f'<img class="studio-preview" alt="{alt}" src="data:{news.preview_mime};base64,{data}">'
    )
    return _stage("running", _canvas(_ratio_of_picture(news.preview) or ratio_of(job), picture))


def ratio_of(job: Job) -> float:
    """Guess the shape to come (width / height) from the job's own values; else square."""
    for value in job.values.values():
        if isinstance(value, str) and value.count(":") == 1:
            wide, _, high = value.partition(":")
            if wide.isdigit() and high.isdigit() and int(wide) and int(high):
                return int(wide) / int(high)
    return _DEFAULT_RATIO


def _ratio_of_picture(data: bytes) -> float | None:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.width / picture.height
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # a preview we cannot read is a preview the browser may still show


def _canvas(ratio: float, inside: str) -> str:
    return f'<figure class="studio-canvas" style="--ratio:{ratio:.4f}">{inside}</figure>'


def _stage(state: str, canvas: str, below: str = "", *, job: str = "") -> str:
    return (
        f'<div class="studio-stage" data-state="{state}" data-job="{attribute(job)}">'
        f"{canvas}{below}</div>"
    )


def ended(job: Job, language: str, notes: Mapping[str, str] = _NO_NOTES) -> str:
    """Draw a job that has ended: its pictures, or why there are none.

    `notes` are text keys about its files, by `Output.name`.
    """
    if job.state is State.COMPLETED and job.outputs:
        return _completed(job, language, notes)
    if job.state is State.FAILED:
        return _failed(job, job.failure or Failure("internal"), language)
    return _cancelled(job, language)


def _completed(job: Job, language: str, notes: Mapping[str, str]) -> str:
    first, *more = job.outputs
    ratio = (
        first.width_px / first.height_px if first.width_px and first.height_px else ratio_of(job)
    )
    tiles = "".join(_tile(job, output, language) for output in more)
    shape = f"--columns:{min(len(more), 4)};--ratio:{ratio:.4f}"
    grid = f'<div class="studio-more" style="{shape}">{tiles}</div>' if tiles else ""
    canvas = _canvas(ratio, shown(job, first, language, small=False))
    below = grid + _meta(job, language) + notes_of(job, notes, language)
    return _stage("completed", canvas, below, job=job.job_id)


def notes_of(job: Job, notes: Mapping[str, str], language: str) -> str:
    """Say what was changed of the given files, and what is to be known of the made ones."""
    told = [(one.name, key) for one in job.given for key in one.notes]
    told += [(download_name(job, o), notes[o.name]) for o in job.outputs if o.name in notes]
    rows = "".join(
        f"<li><b>{html.escape(name)}</b> {say(key, language)}</li>"
        for name, key in dict.fromkeys(told)
        if texts.has(key)
    )
    return f'<ul class="studio-notes">{rows}</ul>' if rows else ""


def shown(job: Job, output: Output, language: str, *, small: bool) -> str:
    """Show one file by its kind; a picture opens large, a video or sound plays."""
    url = attribute(output_url(job, output))
    alt = attribute(texts.text("page.result_alt", language, what=summary(job)))
    name = attribute(download_name(job, output))
    match output.kind:
        case "image":
            full = attribute(drawn_url(job, output))
            src = attribute(thumbnail_url(job, output)) if small else full
            size = (
                f' width="{output.width_px}" height="{output.height_px}"' if output.width_px else ""
            )
            return (
                f'<img class="studio-picture" role="button" tabindex="0" src="{src}"{size}'
                f' data-full="{full}" data-keep="{url}" data-name="{name}"'
                f' data-of="{attribute(output.name)}" alt="{alt}" decoding="async">'
            )
        case "video":
            poster = attribute(thumbnail_url(job, output))
            return (
                f'<video src="{attribute(play_url(job, output))}" poster="{poster}" controls loop'
                ' playsinline preload="metadata"></video>'
            )
        case "audio":
            wave = attribute(thumbnail_url(job, output))
            return (
                f'<div class="studio-sound"><img src="{wave}" alt="" decoding="async">'
                f'<audio src="{attribute(play_url(job, output))}" controls preload="metadata">'
                "</audio></div>"
            )
        case _:
            return f'<a href="{url}" download="{name}">{name}</a>'


def _tile(job: Job, output: Output, language: str) -> str:
    return f'<div class="studio-tile">{shown(job, output, language, small=True)}</div>'


def _meta(job: Job, language: str) -> str:
    facts = []
    if job.seed is not None:
        seed = f'<code class="studio-seed">{attribute(job.seed)}</code>'
        facts.append(f"<span>{say('page.seed', language)} {seed}</span>")
    if job.seconds is not None:
        facts.append(f"<span>{html.escape(took(job.seconds, language))}</span>")
    if len(job.outputs) > 1:
        facts.append(f"<span>{say('page.files', language, n=len(job.outputs))}</span>")
    actions = _act("again", job, "page.use_again", language)
    actions += share_button(job, language) + _downloads(job, language)
    return (
        f'<div class="studio-meta"><div class="studio-facts">{"".join(facts)}</div>'
        f'<div class="studio-actions">{actions}</div></div>'
    )


def _downloads(job: Job, language: str) -> str:
    """Draw Download; with several files it takes them one after another (see page.js)."""
    key = "page.download" if len(job.outputs) == 1 else "page.download_all"
    words = say(key, language)
    links = "".join(
        f'<a href="{attribute(output_url(job, output, download=True))}"'
        f' download="{attribute(download_name(job, output))}"'
        + (' class="studio-act studio-strong">' + words if i == 0 else " hidden>")
        + "</a>"
        for i, output in enumerate(job.outputs)
    )
    return f'<span class="studio-downloads">{links}</span>'


def _act(act: str, job: Job, key: str, language: str) -> str:
    return (
        f'<button type="button" class="studio-act" data-act="{act}"'
        f' data-job="{attribute(job.job_id)}">{say(key, language)}</button>'
    )


def share_button(job: Job, language: str) -> str:
    """Draw what opens the dialog of links to a job's files (share.js); nothing if none can be."""
    files = [[one.name, thumbnail_url(job, one)] for one in job.outputs if shareable(one)]
    if not files:
        return ""
    return (
        f'<button type="button" class="studio-act" data-act="share"'
        f' data-job="{attribute(job.job_id)}" data-files="{attribute(json.dumps(files))}">'
        f"{say('page.share', language)}</button>"
    )


def _failed(job: Job, failure: Failure, language: str) -> str:
    sentence, hint = failure_words(failure, language)
    details = ""
    if failure.details:
        summary_line = f"<summary>{say('page.details', language)}</summary>"
        details = f"<details>{summary_line}<pre>{html.escape(failure.details)}</pre></details>"
    body = (
        f'<div class="studio-card-note studio-bad"><strong>{html.escape(sentence)}</strong>'
        f"<p>{html.escape(hint)}</p>"
        f'<div class="studio-actions">{_act("retry", job, "page.retry", language)}'
        f"{_act('again', job, 'page.use_again', language)}</div>{details}</div>"
    )
    return _stage("failed", _canvas(ratio_of(job), body), job=job.job_id)


def failure_words(failure: Failure, language: str) -> tuple[str, str]:
    """Give sentence and hint of a stored failure."""
    return texts.explain_code(failure.code, failure.params, language)


def _cancelled(job: Job, language: str) -> str:
    body = (
        '<div class="studio-card-note">'
        f"<strong>{say('state.cancelled', language)}</strong>"
        f"<p>{say('page.cancelled_hint', language)}</p>"
        f'<div class="studio-actions">{_act("retry", job, "page.retry", language)}'
        f"{_act('again', job, 'page.use_again', language)}</div></div>"
    )
    return _stage(str(job.state), _canvas(ratio_of(job), body), job=job.job_id)


def empty(examples: Sequence[Example], language: str) -> str:
    """Draw the card before anything was made: one sentence and things to try."""
    key = "page.empty" if examples else "page.empty_plain"
    chips = "".join(
        f'<button type="button" class="studio-example" data-act="example"'
        f' data-number="{example.number}">{html.escape(example.title)}</button>'
        for example in examples
    )
    body = (
        f'<div class="studio-card-note studio-empty"><p>{say(key, language)}</p>'
        f'<div class="studio-examples">{chips}</div></div>'
    )
    return _stage("empty", _canvas(4 / 3, body))


# --- what was made before ---


def recent(jobs: Sequence[Job], shown: str, language: str) -> str:
    """Draw the last jobs as small pictures; a click shows that job."""
    if not jobs:
        return '<div class="studio-recent" data-empty="1"></div>'
    tiles = "".join(_recent_tile(job, job.job_id == shown, language) for job in jobs)
    title = say("page.recent", language)
    return (
        f'<div class="studio-recent"><h3>{title}</h3><div class="studio-strip">{tiles}</div></div>'
    )


GLYPHS: Final[Mapping[str, str]] = {
    "failed": "!",
    "cancelled": "✕",
    "pending": "…",
    "processing": "…",
    "text": "≡",
    "file": "▤",
}
"""What stands for a job that has no picture to show."""

_OVER: Final[Mapping[str, str]] = {
    "video": '<i class="studio-kind">▶</i>',
    "audio": '<i class="studio-kind">♪</i>',
}


def small(job: Job) -> str:
    """Draw a job small: the first result's picture, poster or waveform, else a glyph."""
    first = job.outputs[0] if job.outputs else None
    if first is None or not first.looks:
        return f"<b>{GLYPHS.get(first.kind if first else str(job.state), '·')}</b>"
    source = attribute(thumbnail_url(job, first))
    image = f'<img src="{source}" alt="" decoding="async" loading="lazy">'
    return image + _OVER.get(first.kind, "")


def _recent_tile(job: Job, shown: bool, language: str) -> str:
    state = texts.text(f"state.{job.state}", language)
    label = attribute(f"{state}: {summary(job)}")
    count = f"<em>{len(job.outputs)}</em>" if len(job.outputs) > 1 else ""
    return (
        f'<button type="button" class="studio-thumb" data-act="show" data-state="{job.state}"'
        f' data-job="{attribute(job.job_id)}" aria-pressed="{str(shown).lower()}"'
        f' title="{label}" aria-label="{label}">{small(job)}{count}</button>'
    )
