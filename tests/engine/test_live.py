"""What other processes of the machine may read of the jobs that run here."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from studio.engine.jobs import News, State
from studio.engine.live import STALE_S, Live, read

NEWS = News("j-1", "g-ann", 7, State.PROCESSING, 0.5, "phase.sampling", "Sampler", 3, 6)


def test_a_running_job_is_told_without_its_person_or_preview(tmp_path: Path) -> None:
    Live(tmp_path / "live", lambda: [NEWS]).write()

    [standing] = read(tmp_path / "live").values()

    assert (standing["fraction"], standing["step"], standing["steps"]) == (0.5, 3, 6)
    assert "g-ann" not in next((tmp_path / "live").iterdir()).read_text("utf-8")


def test_the_file_goes_when_nothing_runs_and_when_the_process_ends(tmp_path: Path) -> None:
    running = [NEWS]
    live = Live(tmp_path, lambda: running, every_s=0.01)
    live.write()
    running.clear()
    live.write()
    assert list(tmp_path.iterdir()) == []

    running.append(NEWS)
    live.write()
    live.stop()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_threads_left")
def test_it_writes_by_itself_and_ends(tmp_path: Path) -> None:
    live = Live(tmp_path, lambda: [NEWS], every_s=0.01)
    live.start()
    ends = time.monotonic() + 10
    while not read(tmp_path):
        assert time.monotonic() < ends
    live.stop()

    assert read(tmp_path) == {}


def test_files_of_dead_processes_and_broken_ones_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(json.dumps({"old": {}}), "utf-8")
    (tmp_path / "2.json").write_text("{", "utf-8")

    assert read(tmp_path, now=time.time() + STALE_S + 1) == {}
    assert read(tmp_path).keys() == {"old"}
    assert read(tmp_path / "nowhere") == {}
