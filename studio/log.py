"""Logging: readable lines on the console and in a file, the same as JSON lines beside it.

Rooms use `logging.getLogger(__name__)` as ever. A line carries its job and person when they are
given, either as `extra={"job": ..., "person": ...}` or by `with about(job=..., person=...)`.
Secrets are taken out of every line, tracebacks included.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open cannot be put aside by another process
    _LOCKS = False
else:
    _LOCKS = True

FILE_BYTES: Final = 5_000_000
"""Size at which a log file is put aside, in bytes."""

OLD_FILES: Final = 3
"""How many log files that were put aside are kept, of each kind."""

PERSON_CHARS: Final = 8
"""Characters of a person's id that a line shows: enough to follow, too few to act as them."""

HIDDEN: Final = "********"
_SECRET_MIN_CHARS: Final = 6  # shorter ones would black out ordinary words
_LOOKS_SECRET: Final = (
    re.compile(r"(?<=//)[^/\s@]+:[^\s@]*(?=@)"),
    re.compile(r"(?i)(?<=bearer )[^\s'\"]+"),
    re.compile(
        r"(?i)((?:password|passwd|token|secret|api[_-]?key)['\"]?\s*[=:]\s*['\"]?)[^\s'\",&}]+"
    ),
)

_about: ContextVar[tuple[str, str]] = ContextVar("about", default=("", ""))


@contextmanager
def about(*, job: str = "", person: str = "") -> Iterator[None]:
    """Mark every line logged inside, in this thread or task, as about a job and a person."""
    was_job, was_person = _about.get()
    token = _about.set((job or was_job, person or was_person))
    try:
        yield
    finally:
        _about.reset(token)


def start(
    folder: Path,
    *,
    name: str = "studio",
    level: str = "info",
    hide: Iterable[str] = (),
    console: TextIO | None = None,
    file_bytes: int = FILE_BYTES,
) -> Callable[[], None]:
    """Send the process's log to the console and into `folder`; give back the function that ends it.

    The files are `<name>.log` and `<name>.jsonl`; several processes may write to the same ones.
    `level` is for our own lines; libraries are heard from warnings on. `hide` are secrets to take
    out of every line, beside whatever looks like one. Raises OSError when `folder` is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clean = _Cleaner(hide)
    handlers: list[logging.Handler] = [
        _dressed(logging.StreamHandler(console or sys.stderr), _Lines(clean)),
        _dressed(_file(folder / f"{name}.log", file_bytes), _Lines(clean)),
        _dressed(_file(folder / f"{name}.jsonl", file_bytes), _Json(clean)),
    ]
    root, ours = logging.getLogger(), logging.getLogger("studio")
    before = ours.level
    ours.setLevel(level.upper())
    for handler in handlers:
        root.addHandler(handler)

    def stop() -> None:
        ours.setLevel(before)
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()

    return stop


def _file(path: Path, size: int) -> RotatingFileHandler:
    return _Shared(path, maxBytes=size, backupCount=OLD_FILES, encoding="utf-8")


class _Shared(RotatingFileHandler):
    """A rotating file that several processes may write: one puts it aside, the others follow."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802  the library's name
        """Tell whether the file is full, after looking whether it still is the file."""
        self._follow()
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802  the library's name
        """Put the file aside, unless another process did it while we waited for the lock."""
        with self._alone():
            if not self._follow():
                super().doRollover()

    def _follow(self) -> bool:
        """Open the file anew when another process has put the old one aside."""
        if self.stream is None or not _LOCKS:
            return False
        ours = os.fstat(self.stream.fileno())
        try:
            there = Path(self.baseFilename).stat()
        except FileNotFoundError:
            moved = True
        else:
            moved = (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino)
        if moved:
            self.stream.close()
            self.stream = self._open()
        return moved

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not _LOCKS:
            yield
            return
        folder = os.open(Path(self.baseFilename).parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _dressed(handler: logging.Handler, formatter: logging.Formatter) -> logging.Handler:
    handler.setFormatter(formatter)
    handler.addFilter(_mark)
    return handler


def _mark(record: logging.LogRecord) -> bool:
    """Put job and person on the record; what its `extra` says wins over `about`."""
    job, person = _about.get()
    record.job = str(getattr(record, "job", "") or job)
    record.person = str(getattr(record, "person", "") or person)[:PERSON_CHARS]
    return True


class _Cleaner:
    """Takes secrets out of a text: those it was told, and those that look like one."""

    def __init__(self, hide: Iterable[str]) -> None:
        known = sorted({s for s in hide if len(s) >= _SECRET_MIN_CHARS}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for pattern in _LOOKS_SECRET:
            kept = r"\1" if pattern.groups else ""
            text = pattern.sub(kept + HIDDEN, text)
        return text


class _Lines(logging.Formatter):
    """A line a record, then its traceback: `2026-01-31 12:00:00 INFO studio.x [job person] ...`."""

    def __init__(self, clean: _Cleaner) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        """Write the record for people. Line breaks in a message are shown, not made."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        tags = " ".join(filter(None, (vars(record)["job"], vars(record)["person"])))
        about_it = f" [{tags}]" if tags else ""
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        line = f"{time} {record.levelname:<7} {record.name}{about_it} {message}"
        trace = _traceback(self, record)
        return self._clean(f"{line}\n{trace}" if trace else line)


class _Json(logging.Formatter):
    """A JSON object a line: time (UTC, ISO 8601), level, logger, message, job, person, trace."""

    def __init__(self, clean: _Cleaner) -> None:
        super().__init__()
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        """Write the record for programs. Keys without a value are left out."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._clean(record.getMessage()),
            "job": vars(record)["job"],
            "person": vars(record)["person"],
            "trace": self._clean(_traceback(self, record)),
        }
        return json.dumps({key: value for key, value in entry.items() if value}, ensure_ascii=False)


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return formatter.formatException(record.exc_info) if record.exc_info else ""
