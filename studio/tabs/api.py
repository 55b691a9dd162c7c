"""Endpoints for programs: one a tab, made from its fields, beside `/status`, `/cancel`, `/history`.

They stand apart from the page's events, and share validation, ledger and following with them. A
program is who its cookie says, else the guest of its session.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread
import gradio as gr
from gradio.events import api

from studio import texts
from studio.engine.desk import Desk
from studio.engine.jobs import Job, News, State
from studio.engine.limits import Rate
from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind, Parameter
from studio.errors import StudioError
from studio.tabs.asking import Asker, asker_of, told_program
from studio.tabs.follow import news_of
from studio.tabs.parts import Parts
from studio.tabs.pictures import Uploads
from studio.tabs.tab import tell
from studio.web.names import download_name
from studio.web.rest import FETCHING_AT_ONCE
from studio.web.sending import names_address

_PROGRESS: Final = gr.Progress()
_HISTORY_AT_MOST: Final = 100
_ADDRESS: Final = re.compile(r"https?://", re.IGNORECASE)
_TYPES: Final[Mapping[Kind, Any]] = {
    Kind.INTEGER: int,
    Kind.NUMBER: float,
    Kind.SWITCH: bool,
    Kind.IMAGES: list[gr.FileData],
    Kind.IMAGE: gr.FileData,
    Kind.MASK: gr.FileData,
    Kind.AUDIO: gr.FileData,
    Kind.VIDEO: gr.FileData,
}

Files = list[dict[str, Any]]
"""`gr.FileData` as JSON: `gr.api` sends on what a function gives, as it is."""

Info = dict[str, Any]


class Programs:
    """The endpoints of one studio. `folder` is where Gradio keeps uploads and gives files away.

    `handed` collects the files put there for programs, for Gradio's own sweeping.
    """

    def __init__(self, parts: Parts, folder: Path, handed: set[str]) -> None:
        self._desk: Desk = parts.desk
        self._parts = parts
        self._folder = folder
        self._uploads = Uploads(folder, _no_input)
        self._handed = handed
        self._fetching = anyio.CapacityLimiter(FETCHING_AT_ONCE)
        self.closing = False

    def draw(self) -> None:
        """Add every endpoint to the open Blocks."""
        for tab in self._parts.catalog.endpoints:
            api(self._generating(tab), api_name=tab.name, concurrency_limit=None)
        api(self.status, api_name="status", concurrency_limit=None)
        api(self.cancel, api_name="cancel", concurrency_limit=None)
        api(self.history, api_name="history", concurrency_limit=None)

    # Generating ---------------------------------------------------------------------------

    def _generating(self, tab: Tab) -> Callable[..., AsyncIterator[tuple[Files, Info]]]:
        """Make a tab's function: Gradio reads names, types and defaults off its signature."""
        parameters = sorted(tab.parameters, key=lambda p: not _needed(tab, p))
        names = [p.name for p in parameters]

        async def generate(*given: Any) -> AsyncIterator[tuple[Files, Info]]:
            *raw, request, progress = given
            values = dict(zip(names, raw, strict=True))
            async with aclosing(self._generate(tab, values, request, progress)) as answers:
                async for answer in answers:
                    yield answer

        generate.__name__ = generate.__qualname__ = tab.name
        generate.__doc__ = describe(tab, parameters)
        generate.__signature__ = signature(tab, parameters)  # type: ignore[attr-defined]
        generate.__annotations__ = {
            p.name: p.annotation for p in signature(tab, parameters).parameters.values()
        }
        return generate

    async def _generate(
        self, tab: Tab, given: Mapping[str, Any], request: gr.Request, progress: gr.Progress
    ) -> Any:
        asker = self._asker(request)
        try:
            submit = partial(self._submit, asker, tab, given)
            if names_address(given):
                job = await anyio.to_thread.run_sync(submit, limiter=self._fetching)
            else:
                job = await asyncio.to_thread(submit)
            async with aclosing(self._followed(asker, job, progress)) as answers:
                async for answer in answers:
                    yield answer
        except StudioError as error:
            raise told_program(error, asker.language, tab) from error

    def _submit(self, asker: Asker, tab: Tab, given: Mapping[str, Any]) -> Job:
        self._parts.limits.take(Rate.PAGE, asker.counted)
        said = {name: value for name, value in given.items() if value is not None}
        workflow = tab.pick(said)
        values = {}
        for name, value in said.items():
            parameter = tab.parameter(name)
            unused = not tab.used(name, workflow)
            if parameter is None or (unused and value == _default(tab, parameter)):
                continue  # a default of another workflow of the tab, which nobody said
            values[name] = self._sent(parameter, value)
        return self._desk.submit(asker.person, tab.name, values)

    def _sent(self, p: Parameter, value: Any) -> Any:
        """Take the files the client uploaded; no other path of this machine can be named."""
        if not p.type.file:
            return value
        if p.type is Kind.IMAGES and isinstance(value, list):
            return [self._file(p, one) for one in value]
        if p.type is Kind.IMAGES:
            return self._uploads.pictures(value, p.name)
        return self._file(p, value)

    def _file(self, p: Parameter, value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping) and "path" not in value and isinstance(value.get("url"), str):
            return dict(value)  # an address: see `unmarked`
        return self._uploads.file(value, p.name)

    async def _followed(self, asker: Asker, job: Job, progress: gr.Progress) -> Any:
        """Yield at least once a second; the last is the result. Raises what a person would read."""
        try:
            async with aclosing(news_of(self._desk, asker.person, job.job_id)) as heard:
                async for news in heard:
                    tell(progress, news, asker.language)
                    if not news.state.ended:
                        yield [], info(job, news.state)
        except asyncio.CancelledError:
            # `job.cancel()` arrives as this, and so does the end of the server, which is no wish.
            if not self.closing:
                await asyncio.to_thread(self._desk.cancel, asker.person, job.job_id)
            raise
        done = await asyncio.to_thread(self._desk.job, asker.person, job.job_id)
        if done.state is State.FAILED:
            raise _failure(done)
        yield await asyncio.to_thread(self._hand_out, done), info(done)

    def _hand_out(self, job: Job) -> Files:
        """Copy a job's files where the client can fetch them, under a folder nobody can guess."""
        folder = self._folder / secrets.token_hex(20)
        folder.mkdir(parents=True)
        files = []
        for output in job.outputs:
            path = folder / download_name(job, output)
            shutil.copyfile(self._desk.output_file(job.person, job.job_id, output.name), path)
            self._handed.add(str(path))
            files.append(
                gr.FileData(
                    path=str(path),
                    orig_name=path.name,
                    size=output.size_bytes,
                    mime_type=output.mime,
                ).model_dump()
            )
        return files

    # Asking and stopping ------------------------------------------------------------------

    async def status(self, job_id: str, request: gr.Request) -> Info:
        """Tell how one of the caller's jobs stands.

        Parameters:
            job_id: the job's id, as the generating endpoints return it.
        """
        asker = self._asker(request)
        try:
            return await self._stand(asker, job_id)
        except StudioError as error:
            raise told_program(error, asker.language) from error

    async def _stand(self, asker: Asker, job_id: str) -> Info:
        job = await asyncio.to_thread(self._desk.job, asker.person, job_id)
        stand = info(job)
        if job.state.ended:
            return stand
        async with aclosing(news_of(self._desk, asker.person, job_id)) as heard:
            news = await anext(heard)
        return stand | standing(news)

    async def cancel(self, job_id: str, request: gr.Request) -> Info:
        """Stop one of the caller's jobs, in the queue or while it runs.

        Parameters:
            job_id: the job's id.
        """
        asker = self._asker(request)
        try:
            return info(await asyncio.to_thread(self._desk.cancel, asker.person, job_id))
        except StudioError as error:
            raise told_program(error, asker.language) from error

    async def history(self, limit: int = 20, after: str = "", request: gr.Request = None) -> Info:  # type: ignore[assignment]
        """List the caller's ended jobs, newest first, and the key of the next page.

        Parameters:
            limit: how many, 1 to 100.
            after: the `next` of the page before; empty for the first page.
        """
        asker = self._asker(request)
        try:
            page = await asyncio.to_thread(
                lambda: self._desk.recent(
                    asker.person,
                    after=after or None,
                    limit=min(max(int(limit), 1), _HISTORY_AT_MOST),
                )
            )
        except StudioError as error:
            raise told_program(error, asker.language) from error
        return {"jobs": [info(job) for job in page.jobs], "next": page.next or ""}

    def _asker(self, request: gr.Request) -> Asker:
        return asker_of(request, self._parts.guests, self._parts.settings.studio_language)


def unmarked(value: Any) -> Any:
    """Write a file elsewhere as the desk takes it: whatever has its address for a path.

    What is marked as a file Gradio fetches by itself, before any handler is asked.
    """
    if isinstance(value, list):
        return [unmarked(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    path, name = value.get("path"), value.get("orig_name")
    if isinstance(path, str) and _ADDRESS.match(path):
        return {"url": path} | ({"name": name} if isinstance(name, str) else {})
    return {key: unmarked(one) for key, one in value.items()}


def _no_input(ref: str) -> Path:
    raise StudioError("file_unknown", file=ref)


def signature(tab: Tab, parameters: Sequence[Parameter]) -> inspect.Signature:
    """Write a tab's parameters as keyword parameters of a function, those without default first."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    said = [
        inspect.Parameter(p.name, kind, default=_default(tab, p), annotation=_type(tab, p))
        for p in parameters
    ]
    special = [
        inspect.Parameter("request", kind, default=None, annotation=gr.Request),
        # `gr.api` takes every parameter for an input unless its type is special, and Progress is
        # known by its default alone: under the name of another special type it is both.
        inspect.Parameter("progress", kind, default=_PROGRESS, annotation=gr.Request),
    ]
    return inspect.Signature([*said, *special], return_annotation=tuple[list[gr.FileData], Info])


def _needed(tab: Tab, p: Parameter) -> bool:
    # A field that counts only sometimes is not wanted always.
    settled = p.default is not None or bool(p.when)
    return p.required and not settled and all(tab.used(p.name, w) for w in tab.workflows)


def _default(tab: Tab, p: Parameter) -> Any:
    if _needed(tab, p):
        return inspect.Parameter.empty
    if p.type is Kind.SEED:
        return str(p.default) if p.default is not None else "-1"
    return p.default


def _type(tab: Tab, p: Parameter) -> Any:
    plain = _TYPES.get(p.type, str)
    return plain if _needed(tab, p) or _default(tab, p) is not None else plain | None


def describe(tab: Tab, parameters: Sequence[Parameter]) -> str:
    """Write the endpoint's documentation from the manifest's own words."""
    lines = [
        f"{texts.local(tab.title, 'en')}. Returns the output files and what is known of the job.",
        "",
    ]
    lines.append("Parameters:")
    for p in parameters:
        words = [texts.local(p.label, "en"), texts.local(p.help, "en")]
        if p.choices:
            words.append("One of: " + ", ".join(p.choices))
        lines.append(f"    {p.name}: {'. '.join(w.rstrip('.') for w in words if w)}.")
    return "\n".join(lines)


def info(job: Job, state: State | None = None) -> Info:
    """Say what a program gets to know of a job: plain JSON, the seed as exact text."""
    error = None
    if job.failure is not None:
        message, hint = texts.explain_code(job.failure.code, job.failure.params)
        error = {"code": job.failure.code, "message": message, "hint": hint}
    return {
        "job_id": job.job_id,
        "status": str(state or job.state),
        "seed": job.seed,
        "seconds": job.seconds,
        "workflow": job.workflow,
    } | ({"error": error} if error else {})


def standing(news: News) -> Info:
    """Say how a running job stands."""
    return {
        "status": str(news.state),
        "progress": round(news.fraction, 4),
        "position": news.position,
        "eta_s": news.eta_s,
        "node": news.node_title,
    }


def _failure(job: Job) -> StudioError:
    failure = job.failure
    if failure is None:
        return StudioError("internal")
    params: dict[str, Any] = dict(failure.params)
    return StudioError(failure.code, field=params.pop("field", None), **params)
