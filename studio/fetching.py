"""Fetching model files for a host: resumable, checked, and never half under its final name."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar
from rich.table import Table

from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.catalog import load
from studio.engine.workflow.manifest import ModelFile
from studio.engine.workflow.preflight import size_text
from studio.errors import StudioError
from studio.texts import Sentence, text

if sys.platform != "win32":
    import fcntl

CHUNK_BYTES: Final = 1 << 20
SPARE_BYTES: Final = 500_000_000
"""What is left free on the disk beside the file itself."""

TRIES: Final = 5
"""How often a broken connection is taken up again without a byte of progress in between."""

_TIMEOUT_S: Final = (10.0, 30.0)

Progress = Callable[[int, int | None], None]
"""Called with the bytes there are, and the bytes there will be (None = unknown)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model file and the place it goes to."""

    model: ModelFile
    path: Path

    @property
    def there(self) -> bool:
        """Tell whether the file is there already."""
        return self.path.exists()


def wanted(workflow: Workflow, models_dir: Path, *, optional: bool = True) -> list[Wanted]:
    """List the files of a workflow, first choices only, each once, below ComfyUI's `models`."""
    found = {
        need.model: workflow.models[need.model]
        for need in workflow.manifest.models
        if optional or need.required
    }
    return [Wanted(model, models_dir / place_of(model)) for model in found.values()]


def place_of(model: ModelFile) -> Path:
    """Give a file's place below `models`. Raises `manifest_invalid` for one that would leave it."""
    parts = [*Path(model.folder).parts, *re.split(r"[/\\]", model.file)]
    if any(part in ("", ".", "..") or ":" in part or part.startswith("/") for part in parts):
        raise StudioError(
            "manifest_invalid",
            file="models.yaml",
            line=0,
            reason=Sentence("fetch.reason.no_file_name", {"file": model.file}),
        )
    return Path(*parts)


def listing(workflows_dir: Path, name: str | None, language: str) -> Table:
    """Draw a table of the model files of all workflows, or of one. Raises `workflow_unknown`."""
    catalog = load(workflows_dir)
    workflows = [catalog.workflow(name)] if name else list(catalog.workflows.values())
    table = Table(expand=True)
    for column in ("workflow", "file", "size", "licence", "needed"):
        table.add_column(text(f"models.{column}", language), overflow="fold")
    for workflow in workflows:
        for need in workflow.manifest.models:
            model = workflow.models[need.model]
            must = text("models.yes" if need.required else "models.no", language)
            place = f"{model.folder}/{model.file}"
            table.add_row(workflow.name, place, size_text(model, language), model.licence, must)
    return table


def fetch_all(
    workflows_dir: Path, name: str, into: Path, language: str, *, optional: bool = True
) -> None:
    """Fetch what a workflow lacks below `into`, with a progress bar; what is there is left alone.

    Raises `workflow_unknown`, and what `fetch` raises; `fetch_failed` before the first byte when
    not all of it would fit on the disk.
    """
    console = Console(highlight=False)
    items = wanted(load(workflows_dir).workflow(name), into, optional=optional)
    if not items:
        console.print(text("models.none", language, workflow=name))
    for item in items:
        if item.there:
            console.print(text("models.there", language, file=item.path), soft_wrap=True)
    left = [item for item in items if not item.there]
    _room_for_all(left, into)
    for item in left:
        said = {"licence": item.model.licence, "page": item.model.page or item.model.url}
        console.print(text("models.terms", language, **said), soft_wrap=True)
        _shown(console, item)
        console.print(text("models.done", language, file=item.path), soft_wrap=True)


def _shown(console: Console, item: Wanted) -> None:
    """Fetch one file under a progress bar."""
    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        task = bar.add_task(item.path.name, total=item.model.bytes)
        fetch(item, progress=lambda have, all_: bar.update(task, completed=have, total=all_))


def _room_for_all(items: Sequence[Wanted], into: Path) -> None:
    """Refuse to begin what would not fit, as far as sizes are stated."""
    sizes = [item.model.bytes or (item.model.gigabytes or 0) * 1e9 for item in items]
    if not items:
        return
    into.mkdir(parents=True, exist_ok=True)
    missing = sum(sizes) - sum(
        _size(item.path.with_name(item.path.name + ".part")) for item in items
    )
    _room(items[0], int(missing), into)


def _room(item: Wanted, missing: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if missing + SPARE_BYTES > free:
        said = {"needed": f"{(missing + SPARE_BYTES) / 1e9:.1f}", "free": f"{free / 1e9:.1f}"}
        raise _failed(item, "room", **said)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def fetch(
    item: Wanted,
    *,
    progress: Progress,
    tries: int = TRIES,
    pause_s: float = 1.0,
    timeout_s: tuple[float, float] = _TIMEOUT_S,
) -> None:
    """Bring one file to its place: into `NAME.part`, from where an earlier try left off.

    Raises `fetch_failed` with the reason; before a byte is written where it would not fit. What is
    there is never overwritten.
    """
    if item.there:
        raise _failed(item, "there")
    item.path.parent.mkdir(parents=True, exist_ok=True)
    part = item.path.with_name(item.path.name + ".part")
    with part.open("ab") as into, requests.Session() as session:
        _hold(item, into)
        _carry(_Transfer(item, session, into, progress, timeout_s), tries, pause_s)
    _check(item, part)
    if item.there:
        raise _failed(item, "there")
    part.rename(item.path)


def _carry(transfer: _Transfer, tries: int, pause_s: float) -> None:
    """Try until all is there; only tries that brought nothing count."""
    idle, trouble = 0, ""
    while idle < tries:
        before = transfer.have
        try:
            if transfer.attempt():
                return
            trouble = ""
        except requests.RequestException as exc:
            trouble = type(exc).__name__
        idle = 0 if transfer.have > before else idle + 1
        Event().wait(pause_s * min(idle + 1, 10))
    if trouble:
        raise _failed(transfer.item, "broken", detail=trouble)
    raise _failed(transfer.item, "early")


class _Transfer:
    """One file on its way; `have` is how many bytes of it are on the disk."""

    def __init__(
        self,
        item: Wanted,
        session: requests.Session,
        into: BinaryIO,
        progress: Progress,
        timeout_s: tuple[float, float],
    ) -> None:
        self.item = item
        self._session = session
        self._into = into
        self._progress = progress
        self._timeout_s = timeout_s
        self._etag = ""
        self.have = into.seek(0, 2)

    def attempt(self) -> bool:
        """Ask for what is missing and write it; tell whether all is there."""
        headers = {"Accept-Encoding": "identity"}
        if self.have:
            headers["Range"] = f"bytes={self.have}-"
            if self._etag:
                headers["If-Range"] = self._etag
        with self._session.get(
            self.item.model.url, headers=headers, stream=True, timeout=self._timeout_s
        ) as answer:
            total = self._begin(answer)
            if total is None and answer.status_code >= 400:
                return False
            if total is not None and self.have == total:
                return True
            self._make_room(total)
            self._write(answer, total)
            return total is None or self.have == total

    def _begin(self, answer: requests.Response) -> int | None:
        """Read the answer's head: where its bytes belong, and how many there will be in all."""
        whole = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
        if answer.status_code == 416 and whole and int(whole[1]) == self.have:
            return self.have
        if answer.status_code == 416:
            self._restart()  # what we have is longer than the file, so it is of another one
            return None
        if answer.status_code == 429 or answer.status_code >= 500:
            return None
        if answer.status_code >= 400:
            raise _failed(self.item, "http", status=answer.status_code, host=_host(answer.url))
        etag = answer.headers.get("ETag", "")
        self._etag = "" if etag.startswith("W/") else etag
        if answer.status_code != 206:
            self._restart()
            length = answer.headers.get("Content-Length", "")
            return int(length) if length.isdigit() else None
        if f"bytes {self.have}-" not in answer.headers.get("Content-Range", ""):
            raise _failed(self.item, "other_part")
        return int(whole[1]) if whole else None

    def _write(self, answer: requests.Response, total: int | None) -> None:
        self._progress(self.have, total)
        for piece in answer.iter_content(CHUNK_BYTES):
            try:
                self.have += self._into.write(piece)
                self._into.flush()
            except OSError as exc:
                if exc.errno == errno.ENOSPC:
                    raise _failed(self.item, "disk_full") from exc
                raise _failed(self.item, "disk", detail=exc.strerror) from exc
            self._progress(self.have, total)

    def _restart(self) -> None:
        self._into.truncate(0)
        self.have = 0

    def _make_room(self, total: int | None) -> None:
        """Refuse before the first byte what would fill the disk."""
        missing = (total or self.item.model.bytes or 0) - self.have
        _room(self.item, missing, self.item.path.parent)


def _hold(item: Wanted, into: BinaryIO) -> None:
    """Let no second fetch write into the same file."""
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(into, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise _failed(item, "busy") from exc


def _check(item: Wanted, part: Path) -> None:
    """Compare size and checksum where they are known; what is wrong is taken away."""
    model, size = item.model, part.stat().st_size
    if model.bytes is not None and size != model.bytes:
        part.unlink()
        raise _failed(item, "size", size=size, wanted=model.bytes)
    if model.sha256 is None:
        return
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.sha256:
        part.unlink()
        raise _failed(item, "checksum")


def _failed(item: Wanted, reason: str, **params: object) -> StudioError:
    said = Sentence(f"fetch.reason.{reason}", params)
    return StudioError("fetch_failed", file=item.path.name, reason=said)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "?"
