"""The runs that go before a job's main one: which run is next, and what one of them made.

Knows the catalog and the files people gave; knows no server and no row. What was made is an input
of its person like those they gave: measured by decoding, kept as long as its job needs it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from studio.engine.comfy.client import RunRecord
from studio.engine.comfy.events import OutputFile
from studio.engine.intake import known
from studio.engine.jobs import Given, Job
from studio.engine.media import InputFile, Media
from studio.engine.progress import Progress, weight_of
from studio.engine.sounds import NOTE_SILENT
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.graph import titles
from studio.engine.workflow.manifest import Before
from studio.engine.workflow.parts import Part, part_of
from studio.errors import StudioError

_UNUSABLE: Final = frozenset(
    {"file_unknown", "file_type_unsupported", "file_broken", "media_empty", "media_too_long"}
)


class Stages:
    """Tells what is to be sent for a job, and takes in what went before. Holds nothing itself."""

    def __init__(self, catalog: Catalog, media: Media) -> None:
        self._catalog = catalog
        self._media = media

    def next(self, job: Job) -> Part:
        """Give the run that is to be sent, or was sent last and has not ended."""
        made = {one.field: (one.ref, one.seconds) for one in job.made}
        return part_of(self._catalog.workflow(job.workflow), job.values, made)

    def progress(
        self, part: Part, prompt: Mapping[str, Any], typical_s: float | None, now: float
    ) -> Progress:
        """Follow one run as a part of all runs of its job, weighed by their nodes."""
        before = sum(weight_of(one.prompt()) for one in part.earlier)
        after = 0.0 if part.before is None else weight_of(part.main.prompt())
        return Progress(prompt, titles(prompt), typical_s, now, around=(before, after))

    def left(self, job: Job) -> Job:
        """Give a job as if its form had said just what is left to do; for choosing a server."""
        return replace(job, values=self.next(job).values) if job.made else job

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a place to bring a file to, which is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="studio-") as folder:
            yield Path(folder) / "made"

    def take(self, job: Job, part: Part, source: Path) -> tuple[Given, ...]:
        """Store what a run made, and give all that was made for the job so far.

        Raises `speech_too_long` where the main run cannot hold it, and `speech_unusable`.
        """
        before = part.before
        assert before is not None, "only a run that goes before makes something"  # noqa: S101
        try:
            file = self._media.take_sound(job.person, source, before.save)
        except StudioError as error:
            if error.code not in _UNUSABLE:
                raise
            raise StudioError("speech_unusable", details=str(error)) from error
        self._refuse(file, part, before)
        return (*job.made, known(before.gives, file))

    def _refuse(self, file: InputFile, part: Part, before: Before) -> None:
        if file.kind != "audio" or NOTE_SILENT in file.notes:
            raise StudioError("speech_unusable", details=f"{file.kind} {', '.join(file.notes)}")
        field = part.workflow.manifest.parameter(before.gives)
        most = field.max_seconds if field is not None else None
        if most is not None and file.seconds > most:
            raise StudioError("speech_too_long", seconds=f"{file.seconds:.1f}", max=f"{most:g}")


def saved(record: RunRecord, part: Part) -> OutputFile:
    """Find the file that a run before the main one saved. Raises `speech_unusable`."""
    before = part.before
    for output in record.outputs:
        for file in output.files:
            if before is not None and output.node == before.save and file.type == "output":
                return file
    raise StudioError("speech_unusable", details="the run saved no file")
