"""The monitor's screen: table on top, log below, in both languages, and it leaves nothing open."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from studio.engine.comfy.fleet import ServerStatus
from studio.engine.jobs import Job, State
from studio.engine.roster import ServerTold, Worker
from studio.monitor import Monitor, Row, View, picture, tail, watch
from studio.practice import PracticeServer
from studio.settings import PROJECT, load

JOB = Job("j-12345678", "g-ann", "t", "long_video", {}, State.PROCESSING, server="gpu:8188")


def drawn(view: View, language: str) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    console.print(picture(view, language, now_us=5_000_000))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


@pytest.mark.parametrize(("language", "online"), [("en", "online"), ("zh-TW", "線上")])
def test_everything_is_on_the_picture(language: str, online: str) -> None:
    view = View(
        servers=(ServerStatus("gpu:8188", "http://gpu:8188", True, False, "0.8.0", 4, 1, ""),),
        workers=(
            Worker("w-1", "host", 1, 0, 0, 2, 1, (ServerTold("gpu:8188", True),), online=False),
        ),
        waiting=17,
        running=(
            Row(JOB, 0.42, "phase.sampling", "Sampler", 3, 8),
            Row(JOB, None, "", "", 0, 0),
        ),
        log=(),
    )

    text = drawn(view, language)

    for part in (online, "w-1", "1/2", "17", "42%", "Sampler", "3/8", "long_video", "5 s"):
        assert part in text


def test_the_tail_holds_both_logs_in_order_and_keeps_tracebacks_together(tmp_path: Path) -> None:
    (tmp_path / "studio.log").write_text("2026-01-01 10:00:00 A\n  trace\n2026-01-01 10:00:02 C\n")
    (tmp_path / "worker.log").write_text("2026-01-01 10:00:01 B\n")

    lines = tail(tmp_path, 10)

    assert [line.split()[-1] for line in lines] == ["A", "trace", "B", "C"]
    assert list(tail(tmp_path, 1)) == ["2026-01-01 10:00:02 C"]
    assert list(tail(tmp_path / "nowhere", 5)) == []


@pytest.mark.usefixtures("no_threads_left")
def test_the_screen_is_drawn_again_until_it_is_stopped(
    tmp_path: Path, wait_for: Callable[[Callable[[], bool]], None]
) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "studio.log").write_text("2026-01-01 10:00:00 the last line\n", "utf-8")
    screen, stop = io.StringIO(), threading.Event()
    console = Console(file=screen, force_terminal=True, width=120, height=40)
    with PracticeServer() as practice:
        monitor = Monitor(
            load(
                env_file=None,
                data_dir=tmp_path / "data",
                outputs_dir=tmp_path / "outputs",
                log_dir=tmp_path / "logs",
                workflows_dir=PROJECT / "workflows",
                comfy_urls=(practice.url,),
            )
        )
        monitor.start()
        shown = threading.Thread(
            target=watch, args=(monitor, console, "en"), kwargs={"every_s": 0.05, "stop": stop}
        )
        shown.start()
        wait_for(lambda: "online" in screen.getvalue() and "the last line" in screen.getvalue())
        stop.set()
        shown.join(10)
        monitor.stop()

    assert not shown.is_alive()
    assert screen.getvalue().index("0.8.0") < screen.getvalue().rindex("the last line")


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    def wait(there: Callable[[], bool]) -> None:
        pause = threading.Event()
        for _ in range(400):
            if there():
                return
            pause.wait(0.05)
        raise AssertionError("it was never shown")

    return wait
