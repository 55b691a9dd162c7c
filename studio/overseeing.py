"""The host's side of everybody's jobs: list them, let one go first, stop one.

Tells nothing of what was asked or made. Works beside running processes, through the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from studio import texts
from studio.engine.jobs import State
from studio.engine.oversight import JobLine
from studio.enrolling import as_host
from studio.settings import Settings

AT_MOST: Final = 200
"""How many jobs of a state are listed."""


def jobs(settings: Settings, *, ended: bool = False) -> list[JobLine]:
    """List what runs, then what waits, the newest first; with `ended` what has ended too."""
    states: list[State | None] = [None] if ended else [State.PROCESSING, State.PENDING]
    with as_host(settings) as host:
        return [line for state in states for line in host.jobs(state=state, limit=AT_MOST)[0]]


def let_first(settings: Settings, job_id: str, priority: int | None) -> JobLine:
    """Let a waiting job start before all of a lower priority; None: before all that wait now.

    Raises `job_unknown`, `job_ended`.
    """
    with as_host(settings) as host:
        return host.set_priority(job_id, priority)


def cancel(settings: Settings, job_id: str) -> JobLine:
    """Stop anybody's job. Raises `job_unknown`, `job_ended`."""
    with as_host(settings) as host:
        return host.cancel(job_id)


def table(lines: Sequence[JobLine], language: str) -> Table:
    """Lay jobs out for a terminal."""
    shown = Table(box=None, pad_edge=False)
    for column in ("job", "state", "priority", "workflow", "person", "server", "since"):
        shown.add_column(texts.text(f"jobs.{column}", language))
    for one in lines:
        state = texts.text(f"jobs.{one.state.value}", language)
        person = one.email or one.person
        cells = (one.job_id, state, str(one.priority), one.workflow, person, one.server)
        shown.add_row(*(Text(cell) for cell in (*cells, _time(one.created_us))))
    return shown


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
