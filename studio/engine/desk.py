"""The front desk: what one person may ask of the studio.

The only door for tabs, routes and API endpoints, so that page and programs share validation,
ledger and follow. Every question names the person; another's job is `job_unknown`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.engine.jobs import Job, News


@dataclass(frozen=True, slots=True)
class ServerView:
    """One ComfyUI as people see it. `reason` says why it takes no jobs, empty when it does."""

    name: str
    online: bool
    practice: bool
    version: str
    queue_length: int
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs newest first and the key of the next page (None = no more)."""

    jobs: tuple[Job, ...]
    next: str | None


class Desk:
    """Takes orders and tells how they stand. Methods block on the database: call them in a thread.

    `follow` alone is async and holds no thread.
    """

    def submit(self, person: str, tab: str, values: Mapping[str, Any]) -> Job:
        """Check the values, store the files, write the job and ring the doorbell.

        `values` are by manifest parameter name; files are `Path`s (of uploads) or
        `{"path": ..., "orig_name": ...}`; a list for `images`. Raises `StudioError` with `field`.
        """
        raise NotImplementedError

    def retry(self, person: str, job_id: str, *, new_seed: bool = False) -> Job:
        """Order an ended job again, with the same or a newly drawn seed."""
        raise NotImplementedError

    def cancel(self, person: str, job_id: str) -> Job:
        """Stop the real job: at once when pending, through its runner when processing."""
        raise NotImplementedError

    def job(self, person: str, job_id: str) -> Job:
        """Give one job of this person, or raise `job_unknown`."""
        raise NotImplementedError

    def running(self, person: str, tab: str | None = None) -> Sequence[Job]:
        """List this person's pending and processing jobs, oldest first."""
        raise NotImplementedError

    def recent(
        self, person: str, tab: str | None = None, *, after: str | None = None, limit: int = 12
    ) -> Page:
        """List this person's ended jobs, newest first."""
        raise NotImplementedError

    def follow(self, person: str, job_id: str) -> AsyncIterator[News]:
        """Yield news until the job has ended, the present state first, and at least each second.

        Ends after the news whose state is an end state; the full result is then `job()`.
        """
        raise NotImplementedError

    def choices(self, tab: str, parameter: str) -> Sequence[tuple[str, str]]:
        """Give `(label, value)` pairs for a model field, from what the servers really list."""
        raise NotImplementedError

    def servers(self) -> Sequence[ServerView]:
        """Tell how the ComfyUI servers are."""
        raise NotImplementedError

    def output_file(self, person: str, job_id: str, name: str, *, thumbnail: bool = False) -> Path:
        """Find a kept file of this person's job by its `Output.name`, or raise `file_unknown`."""
        raise NotImplementedError
