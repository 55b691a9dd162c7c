"""One tab of the page, whatever its workflows: form and result card, and what its buttons do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import gradio as gr

from studio import texts
from studio.engine.desk import Desk
from studio.engine.jobs import Job, News
from studio.engine.limits import Rate
from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind
from studio.errors import StudioError
from studio.tabs import examples, form, lengths, result
from studio.tabs.asking import Asker, Speaks, asker_of, in_their_words, spoken, told
from studio.tabs.follow import Frame, Watches, focus, follow
from studio.tabs.lengths import Lengths
from studio.tabs.parts import Parts
from studio.tabs.pictures import Uploads
from studio.tabs.quiet import QUIET
from studio.tabs.words import Words

RECENT: Final = 12
"""Results shown below the card."""

_PROGRESS: Final = gr.Progress()
_ACTS: Final = """element.addEventListener('click', (event) => {
  const acts = ['again', 'retry', 'show', 'example', 'cancel'];
  const button = event.target.closest('[data-act]');
  if (button && acts.includes(button.dataset.act)) {
    trigger(button.dataset.act, { ...button.dataset });
  }
});
watch('value', () => {
  const now = element.querySelector('.studio-now');
  if (now && ['completed', 'failed', 'cancelled'].includes(now.dataset.state)) window.studio.tick();
});"""


class TabPage(Speaks):
    """Draws one tab, and holds its handlers. `quiet` events show no spinner over the card."""

    def __init__(
        self, parts: Parts, tab: Tab, words: Words, *, watches: Watches, folder: Path
    ) -> None:
        self.tab: Tab = tab
        self._desk: Desk = parts.desk
        self._guests = parts.guests
        self._limits = parts.limits
        self._default = parts.settings.studio_language
        self._words = words
        self._watches = watches
        self._folder = folder
        self._lengths = Lengths(parts.desk, tab)

    # Drawing ------------------------------------------------------------------------------

    def draw(self) -> None:
        """Draw form and card into the open `gr.Tab`, in the order they are seen."""
        name = self.tab.name
        with gr.Row(elem_classes="studio-work"):
            with gr.Column(elem_classes=["studio-card", "studio-form"]):
                self.hints = self._panel("hints")
                with gr.Column(elem_classes="studio-fields"):
                    self.form = form.draw(self.tab, self._words, self._choices)
                self.length = self._panel("length") if self._lengths.asked else None
                with gr.Row(elem_classes="studio-buttons"):
                    self.generate_button = gr.Button(
                        self._words.page("page.generate"),
                        variant="primary",
                        elem_id=f"studio-{name}-generate",
                        elem_classes="studio-generate",
                    )
                    self.cancel_button = gr.Button(
                        self._words.page("page.cancel"),
                        interactive=False,
                        elem_id=f"studio-{name}-cancel",
                        elem_classes="studio-cancel",
                    )
            with gr.Column(elem_classes=["studio-card", "studio-result"]):
                self.now = self._panel("now")
                self.stage = self._panel("stage")
                self.recent = self._panel("recent")

    def _panel(self, name: str) -> gr.HTML:
        return gr.HTML(
            elem_id=f"studio-{self.tab.name}-{name}",
            elem_classes=f"studio-panel-{name}",
            js_on_load=_ACTS,
            apply_default_css=False,
        )

    def draw_hidden(self) -> None:
        """Draw what carries state between events: outside the tabs, where it is always mounted."""
        name = self.tab.name
        self.pulse = gr.Textbox(visible="hidden", elem_id=f"studio-{name}-pulse")
        self.focused = gr.Textbox(visible="hidden", elem_id=f"studio-{name}-focused")

    @property
    def card(self) -> list[Any]:
        """List what a follower updates."""
        return [self.now, self.stage, self.recent, self.cancel_button, self.focused]

    def wire(self) -> None:
        """Join events and handlers."""
        quiet = QUIET | {"concurrency_limit": None}
        ordered = [self.now, self.stage, self.cancel_button, self.focused, self.pulse]
        fields = self.form.components
        self.generate_button.click(
            self.generate, fields, ordered, trigger_mode="multiple", preprocess=False, **quiet
        )
        self.pulse.change(self.follow, self.pulse, self.card, trigger_mode="multiple", **quiet)
        self.cancel_button.click(self.cancel_focused, self.focused, self.now, **quiet)
        self.now.cancel(self.cancel, None, self.now, **quiet)
        self.stage.retry(self.retry, None, ordered, trigger_mode="multiple", **quiet)
        self.stage.again(self.again, None, fields, **quiet)
        self.stage.example(self.example, None, fields, **quiet)
        self.recent.show(self.show, None, [self.stage, self.recent], **quiet)
        if self.length is not None:
            timing: list[Any] = [
                f.component for f in self.form.fields if f.name in self._lengths.fields
            ]
            gr.on(
                [component.change for component in timing],
                self.measure,
                fields,
                self.length,
                preprocess=False,
                trigger_mode="always_last",
                queue=False,
                **QUIET,
            )
        at_once = quiet | {"queue": False}
        for picker in self.form.pickers:
            picked: Any = picker.component
            picked.input(self.adjust, fields, fields, preprocess=False, **at_once)
        for one in self.form.asked:
            asked: Any = one.component
            # What is pasted, or put together by an input method as Chinese is, is no `input`.
            heard = asked.change if one.parameter.type is Kind.TEXT else asked.input
            heard(
                self.unfold,
                fields,
                fields,
                preprocess=False,
                trigger_mode="always_last",  # of what is typed, the last letter counts
                **at_once,
            )

    # Handlers -----------------------------------------------------------------------------

    def asker(self, request: gr.Request) -> Asker:
        """Read who asks."""
        return asker_of(request, self._guests, self._default)

    @spoken
    async def generate(self, request: gr.Request, *raw: Any) -> list[Any]:
        """Order a job from what the form says."""
        asker = self.asker(request)
        job = await asyncio.to_thread(self._submit, asker, raw)
        return await self._ordered(asker, job)

    def _submit(self, asker: Asker, raw: Sequence[Any]) -> Job:
        self._limits.take(Rate.PAGE, asker.counted)
        values = self.form.values(raw, self._uploads(asker.person))
        return self._desk.submit(asker.person, self.tab.name, values)

    def _uploads(self, person: str) -> Uploads:
        return Uploads(self._folder, lambda ref: self._desk.input_file(person, ref))

    async def measure(self, request: gr.Request, *raw: Any) -> str:
        """Say how long the given sound is and the film will be, or what is wrong with the file."""
        asker = self.asker(request)
        try:
            return await asyncio.to_thread(self._measured, asker, raw)
        except StudioError as error:
            sentence, hint = in_their_words(error, asker.language, self.tab)
            return lengths.line([f"{sentence} {hint}"], warn=True)

    def _measured(self, asker: Asker, raw: Sequence[Any]) -> str:
        values = self.form.values(raw, self._uploads(asker.person))
        return self._lengths.line(asker.person, values, asker.language)

    @spoken
    async def retry(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Order an ended job again."""
        asker = self.asker(request)
        await asyncio.to_thread(self._limits.take, Rate.PAGE, asker.counted)
        job = await asyncio.to_thread(self._desk.retry, asker.person, event.job)
        return await self._ordered(asker, job)

    async def _ordered(self, asker: Asker, new: Job) -> list[Any]:
        """Show at once that the order is taken; the pulse then wakes a follower."""
        jobs = await asyncio.to_thread(self._desk.running, asker.person, self.tab.name)
        watch = self._watches.find(asker.session, self.tab.name)
        if watch is not None:
            watch.poked, watch.pinned = True, False
            return [gr.skip()] * 4 + [_pulse(jobs)]
        job = focus(jobs) or new
        news = News(job.job_id, asker.person, 0, job.state, phase="phase.waiting")
        others = [other for other in jobs if other.job_id != job.job_id]
        return [
            result.status(news, others, asker.language),
            result.running(job, news, asker.language),
            gr.update(interactive=True),
            job.job_id,
            _pulse(jobs) or new.job_id,
        ]

    @spoken
    async def cancel_focused(self, request: gr.Request, job_id: str) -> Any:
        """Stop the job the person sees; a press that came too late does nothing."""
        return await self._cancel(self.asker(request), job_id)

    @spoken
    async def cancel(self, request: gr.Request, event: gr.EventData) -> Any:
        """Stop one of the waiting jobs."""
        return await self._cancel(self.asker(request), event.job)

    async def _cancel(self, asker: Asker, job_id: str) -> Any:
        if job_id:
            try:
                await asyncio.to_thread(self._desk.cancel, asker.person, job_id)
            except StudioError as error:
                if error.code != "job_ended":
                    raise
            watch = self._watches.find(asker.session, self.tab.name)
            if watch is not None:
                watch.poked = True
        return gr.skip()

    @spoken
    async def show(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Show an earlier job; a running one goes on, its previews wait until the next order."""
        asker = self.asker(request)
        job = await asyncio.to_thread(self._desk.job, asker.person, event.job)
        watch = self._watches.find(asker.session, self.tab.name)
        if watch is not None:
            watch.pinned = True
        return [await self._ended(asker, job), await self._recent(asker, job.job_id)]

    @spoken
    async def again(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Fill the form with all that made a job."""
        asker = self.asker(request)
        job = await asyncio.to_thread(self._desk.job, asker.person, event.job)
        return form.filled(self.form, job.values, at=self.moment(asker))

    @spoken
    async def example(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        """Fill the form with one of the examples; what it does not speak of stays."""
        language = self.asker(request).language
        given = examples.values(self.tab, int(event.number), language)
        return [given.get(field.name, gr.skip()) for field in self.form.fields]

    @spoken
    async def adjust(self, request: gr.Request, *raw: Any) -> list[Any]:
        """Let the form follow the picked model."""
        return form.adjusted(self.form, raw, self.moment(self.asker(request)))

    @spoken
    async def unfold(self, request: gr.Request, *raw: Any) -> list[Any]:
        """Show the fields that count now, and hide those that do not."""
        return form.settled(self.form, raw, self.moment(self.asker(request)))

    def moment(self, asker: Asker) -> form.Moment:
        """Give what the fields must know now: the language, and which of them no server heeds."""
        return form.Moment(asker.language, self._desk.idle(self.tab.name))

    async def follow(
        self, request: gr.Request, pulse: str, progress: gr.Progress = _PROGRESS
    ) -> AsyncIterator[list[Any]]:
        """Show this person's running jobs of the tab until all have ended."""
        asker = self.asker(request)
        watch = self._watches.find(asker.session, self.tab.name)
        if watch is not None:
            watch.poked = True
        if watch is not None or not pulse:
            yield [gr.skip()] * len(self.card)
            return
        seen = False
        with self._watches.watching(asker.session, self.tab.name) as watch:
            try:
                async with aclosing(
                    follow(self._desk, asker.person, self.tab.name, watch)
                ) as frames:
                    async for frame in frames:
                        tell(progress, frame.news, asker.language)
                        yield await self._shown(frame, asker, pinned=watch.pinned, later=seen)
                        seen = seen or frame.done
                if not seen:  # what the pulse spoke of ended before we looked
                    yield [*(await self._last(asker, pulse)), gr.update(interactive=False), ""]
            except StudioError as error:
                raise told(error, asker.language, self.tab) from error

    async def _shown(self, frame: Frame, asker: Asker, *, pinned: bool, later: bool) -> list[Any]:
        """Turn a frame into updates of the card.

        `later`: a result stands there already; it stays until the next job has a preview.
        """
        language = asker.language
        now = result.status(frame.news, frame.others, language)
        if not frame.done:
            show = frame.fresh or (frame.first and not later)
            stage = (
                result.running(frame.job, frame.news, language)
                if show and not pinned
                else gr.skip()
            )
            busy = gr.update(interactive=True) if frame.first else gr.skip()
            return [now, stage, gr.skip(), busy, frame.job.job_id]
        stage = gr.skip() if pinned else await self._ended(asker, frame.job)
        recent = await self._recent(asker, "" if pinned else frame.job.job_id)
        return [now, stage, recent, gr.update(interactive=bool(frame.others)), ""]

    # On arrival ---------------------------------------------------------------------------

    async def _ended(self, asker: Asker, job: Job) -> str:
        """Draw an ended job with what is to be known of its files."""
        details = await asyncio.to_thread(self._desk.details, asker.person, job.job_id)
        return result.ended(job, asker.language, details.notes)

    def hinted(self, language: str) -> str:
        """Say what no server can run now, and what people must know of these workflows."""
        told = [texts.local(w.manifest.note, language) for w in self.tab.workflows]
        notes = [note for note in dict.fromkeys(told) if note]
        return result.hints(self._desk.lack_sentences(self.tab.name, language), notes, language)

    async def arrived(self, asker: Asker) -> list[Any]:
        """Give what the tab shows when the page is opened: what runs, else the last result."""
        jobs = await asyncio.to_thread(self._desk.running, asker.person, self.tab.name)
        hints = await asyncio.to_thread(self.hinted, asker.language)
        if not jobs:
            return [*(await self._last(asker)), "", hints]
        recent = await self._recent(asker, "")
        return [gr.skip(), gr.skip(), recent, _pulse(jobs), hints]

    async def _last(self, asker: Asker, pulse: str = "") -> list[str]:
        """Give the card at rest: the last result, or what one may try.

        The status line says how it ended when the page has just ordered it.
        """
        page = await asyncio.to_thread(self._page, asker.person)
        last = next(iter(page), None)
        if last is not None:
            stage = await self._ended(asker, last)
        else:
            stage = result.empty(examples.titles(self.tab, asker.language), asker.language)
        shown = last.job_id if last is not None else ""
        news = None
        if last is not None and last.job_id in pulse:
            news = News(last.job_id, asker.person, 0, last.state, fraction=1.0)
        now = result.status(news, (), asker.language)
        return [now, stage, result.recent(page, shown, asker.language)]

    async def renewed(self, asker: Asker, shown: str) -> list[Any]:
        """Give stage and strip anew when results were deleted or brought back elsewhere.

        `shown` is the job that stands large; when it is gone it gives way to the last one.
        """
        if await asyncio.to_thread(self._stays, asker.person, shown):
            return [gr.skip(), await self._recent(asker, shown)]
        _, stage, recent = await self._last(asker)
        return [stage, recent]

    def _stays(self, person: str, shown: str) -> bool:
        """Tell whether the stage is taken: by a running job, or by one that is still there."""
        if self._desk.running(person, self.tab.name):
            return True
        try:
            return bool(shown and self._desk.job(person, shown))
        except StudioError as error:
            if error.code != "job_unknown":
                raise
            return False

    def pulse_of(self, jobs: Sequence[Job]) -> str:
        """Write which of these jobs are this tab's, so that a change is noticed."""
        return _pulse([job for job in jobs if job.tab == self.tab.name])

    def settle(self, asker: Asker, raw: Sequence[Any]) -> list[Any]:
        """Let the form fit the fields a browser kept over a reload, and what the servers have."""
        return form.settled(self.form, raw, self.moment(asker))

    @property
    def arrival(self) -> list[Any]:
        """List what `arrived` updates."""
        return [self.now, self.stage, self.recent, self.pulse, self.hints]

    async def listed(self, held: Sequence[Any]) -> list[Any]:
        """Give each model field the choices the servers have now; `held` is what they say."""
        updates = []
        for field, now in zip(self.form.listed, held, strict=True):
            choices = await asyncio.to_thread(self._choices, field.name)
            updates.append(form.refreshed(field, choices, now))
        return updates

    def _choices(self, parameter: str) -> Sequence[tuple[str, str]]:
        return self._desk.choices(self.tab.name, parameter)

    async def _recent(self, asker: Asker, shown: str) -> str:
        page = await asyncio.to_thread(self._page, asker.person)
        return result.recent(page, shown, asker.language)

    def _page(self, person: str) -> tuple[Job, ...]:
        return self._desk.recent(person, self.tab.name, limit=RECENT).jobs


def _pulse(jobs: Sequence[Job]) -> str:
    return " ".join(job.job_id for job in jobs)


def tell(progress: gr.Progress, news: News, language: str) -> None:
    """Feed Gradio's own progress: the fraction of the whole graph, and what happens in words."""
    words = [result.doing(news, language)]
    if news.eta_s is not None:
        words.append(result.eta(news.eta_s, language))
    progress(news.fraction, desc=" · ".join(words))
