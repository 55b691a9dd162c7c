"""A live table of servers, workers, queue and running jobs, above the log that scrolls below it.

Only looks: it reads records, news and ComfyUI's own answers, runs no job and holds no lease, so it
may run beside any number of studio processes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live as LiveDisplay
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from studio import texts
from studio.engine import live
from studio.engine.bus_redis import RedisBus
from studio.engine.census import Census
from studio.engine.comfy.client import ComfyClient
from studio.engine.comfy.fleet import Fleet, ServerStatus
from studio.engine.database import Database, migrate, open_database
from studio.engine.jobs import Job, State
from studio.engine.roster import Roster, Worker
from studio.engine.servers import told_by
from studio.settings import DEFAULT_COMFY, Settings

EVERY_S: Final = 1.0
_JOBS: Final = 20
_TAIL_BYTES: Final = 64_000
_LOGS: Final = ("studio.log", "worker.log")


@dataclass(frozen=True, slots=True)
class Row:
    """One running job as the table shows it. `fraction` is None while nobody tells."""

    job: Job
    fraction: float | None
    phase: str
    node_title: str
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class View:
    """Everything one picture of the monitor shows."""

    servers: tuple[ServerStatus, ...]
    workers: tuple[Worker, ...]
    waiting: int
    running: tuple[Row, ...]
    log: tuple[str, ...]


class Monitor:
    """Looks at a studio by its settings. `start` before, `stop` at the end.

    Servers are shown as the workers see them; while no worker is there, as this process does.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database: Database = open_database(settings.database_url, patience_s=5.0)
        migrate(self._database)
        self._census = Census(self._database)
        self._roster = Roster(
            self._database, "monitor", places=0, running=lambda: 0, servers=lambda: ()
        )
        self._bus = RedisBus(settings.redis_url) if settings.redis_url else None
        urls = settings.comfy_urls or (DEFAULT_COMFY,)
        self._fleet = Fleet(
            [ComfyClient(url, headers=settings.headers_for(url)) for url in urls],
            configured=bool(settings.comfy_urls),
        )
        self._asked = Event()

    def start(self) -> None:
        """Begin to ask the servers."""
        self._fleet.on_change(self._asked.set)
        self._fleet.start()
        if self._bus is not None:
            self._bus.start()

    def settle(self, timeout_s: float = 5.0) -> None:
        """Wait until every server was asked once."""
        self._asked.wait(timeout_s)

    def stop(self) -> None:
        """Close everything that was opened."""
        self._fleet.stop()
        if self._bus is not None:
            self._bus.stop()
        self._database.close()

    def look(self, lines: int = 10) -> View:
        """Take one picture, with the last `lines` of the logs."""
        standing = live.read(self._settings.data_dir / "live")
        jobs = self._census.processing(_JOBS)
        workers = self._roster.workers()
        return View(
            servers=told_by(workers) or self._fleet.views(),
            workers=tuple(workers),
            waiting=self._census.waiting(),
            running=tuple(self._row(job, standing) for job in jobs),
            log=tuple(tail(self._settings.log_dir, lines)),
        )

    def _row(self, job: Job, standing: Mapping[str, live.Standing]) -> Row:
        """Put a job and the last that was heard of it together."""
        news = self._bus.latest(job.job_id) if self._bus is not None else None
        if news is not None and news.state is State.PROCESSING:
            return Row(job, news.fraction, news.phase, news.node_title, news.step, news.steps)
        told = standing.get(job.job_id)
        if told is None:
            return Row(job, None, "", "", 0, 0)
        fraction, step, steps = (told.get(name) for name in ("fraction", "step", "steps"))
        return Row(
            job,
            float(fraction) if isinstance(fraction, (int, float)) else None,
            str(told.get("phase", "")),
            str(told.get("node_title", "")),
            step if isinstance(step, int) else 0,
            steps if isinstance(steps, int) else 0,
        )


def watch(
    monitor: Monitor,
    console: Console,
    language: str,
    *,
    every_s: float = EVERY_S,
    stop: Event | None = None,
) -> None:
    """Show pictures until interrupted: the table on top, the log in what is left of the screen."""
    stopped = stop or Event()
    with LiveDisplay(console=console, screen=True, auto_refresh=False) as display:
        while not stopped.is_set():
            view = monitor.look(lines=console.height)
            display.update(_screen(view, console, language), refresh=True)
            stopped.wait(every_s)


def picture(view: View, language: str, *, now_us: int | None = None) -> RenderableType:
    """Draw the table of one view."""
    at_us = time.time_ns() // 1000 if now_us is None else now_us
    return Group(
        _servers(view.servers, language),
        _workers(view.workers, language),
        Text(_say("monitor.waiting", language, waiting=view.waiting), style="bold"),
        _jobs(view.running, language, at_us),
    )


def tail(folder: Path, lines: int) -> Sequence[str]:
    """Give the last lines of the logs, in the order of their times."""
    found: list[str] = []
    for name in _LOGS:
        path = folder / name
        try:
            with path.open("rb") as file:
                file.seek(max(path.stat().st_size - _TAIL_BYTES, 0))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            continue
        found += deque(text.splitlines(), maxlen=lines)
    # Lines begin with their time; those of a traceback stay behind the line they belong to.
    return list(_by_time(found))[-lines:] if lines else []


def _by_time(lines: Sequence[str]) -> Sequence[str]:
    keyed: list[tuple[str, int, str]] = []
    at = ""
    for index, line in enumerate(lines):
        at = line[:19] if line[:2] == "20" else at
        keyed.append((at, index, line))
    return [line for _, _, line in sorted(keyed)]


def _screen(view: View, console: Console, language: str) -> RenderableType:
    top = picture(view, language)
    height = len(console.render_lines(top, pad=False))
    layout = Layout()
    layout.split_column(
        Layout(top, size=min(height, console.height - 3), name="table"),
        Layout(_log(view.log, console.height - height), name="log"),
    )
    return layout


def _log(lines: Sequence[str], height: int) -> RenderableType:
    text = Text("\n".join(lines[-max(height, 1) :]), style="dim", no_wrap=True)
    text.overflow = "ellipsis"
    return text


def _say(key: str, language: str, **params: object) -> str:
    return texts.text(key, language, **params)


def _table(language: str, title: str, *columns: str) -> Table:
    table = Table(title=_say(title, language), title_justify="left", expand=True)
    for column in columns:
        table.add_column(_say(column, language), overflow="fold")
    return table


def _servers(servers: Sequence[ServerStatus], language: str) -> Table:
    table = _table(
        language,
        "monitor.servers",
        "monitor.name",
        "monitor.state",
        "monitor.version",
        "monitor.queue",
    )
    for one in servers:
        state = "monitor.online" if one.online else "monitor.offline"
        style = "green" if one.online else "red"
        table.add_row(
            one.name, Text(_say(state, language), style), one.version, str(one.queue_remaining)
        )
    return table


def _workers(workers: Sequence[Worker], language: str) -> Table:
    table = _table(
        language,
        "monitor.workers",
        "monitor.name",
        "monitor.state",
        "monitor.busy",
        "monitor.server",
    )
    for one in workers:
        state = "monitor.online" if one.online else "monitor.offline"
        style = "green" if one.online else "red"
        table.add_row(
            one.name,
            Text(_say(state, language), style),
            f"{one.running}/{one.places}",
            ", ".join(server.name for server in one.servers if server.online),
        )
    return table


def _jobs(rows: Sequence[Row], language: str, now_us: int) -> Table:
    table = _table(
        language,
        "monitor.running",
        "monitor.job",
        "monitor.workflow",
        "monitor.server",
        "monitor.progress",
        "monitor.now",
        "monitor.since",
    )
    for row in rows:
        started = row.job.started_us or row.job.created_us
        table.add_row(
            row.job.job_id[:8],
            row.job.workflow,
            row.job.server,
            _bar(row.fraction),
            _now(row, language),
            f"{max(now_us - started, 0) / 1e6:.0f} s",
        )
    return table


def _bar(fraction: float | None) -> RenderableType:
    if fraction is None:
        return Text("…")
    bar = Table.grid(padding=(0, 1))
    bar.add_row(Text(f"{fraction:4.0%}"), ProgressBar(total=1.0, completed=fraction, width=16))
    return bar


def _now(row: Row, language: str) -> str:
    phase = _say(row.phase, language) if row.phase and texts.has(row.phase) else ""
    steps = f"{row.step}/{row.steps}" if row.steps else ""
    return " ".join(part for part in (phase, row.node_title, steps) if part)
