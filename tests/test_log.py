"""The log: what a host reads, what a program reads, and what neither may ever read."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL

import pytest

from studio import log

SECRET = "correct-horse-battery"


class Log:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.console = io.StringIO()

    @property
    def lines(self) -> list[str]:
        return (self.folder / "studio.log").read_text("utf-8").splitlines()

    @property
    def entries(self) -> list[dict[str, str]]:
        text = (self.folder / "studio.jsonl").read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Log]:
    kept = Log(tmp_path / "logs")
    stop = log.start(kept.folder, hide=[SECRET, "x"], console=kept.console)
    yield kept
    stop()


logger = logging.getLogger("studio.somewhere")


def test_a_line_is_on_the_console_in_the_file_and_in_the_json_beside_it(started: Log) -> None:
    logger.info("made %d pictures", 4)

    assert started.console.getvalue().splitlines() == started.lines
    assert started.lines[0].endswith("INFO    studio.somewhere made 4 pictures")
    assert started.entries[0]["message"] == "made 4 pictures"
    assert started.entries[0]["level"] == "info"
    assert started.entries[0]["time"].endswith("+00:00")


def test_a_line_carries_the_job_and_a_short_tag_of_the_person(started: Log) -> None:
    with log.about(job="job-1", person="0123456789abcdef"):
        logger.info("inside")
        with log.about(job="job-2"):
            logger.info("deeper")
    logger.info("by hand", extra={"job": "job-3", "person": "fedcba9876543210"})
    logger.info("outside")

    told = [(entry.get("job"), entry.get("person")) for entry in started.entries]
    assert told == [
        ("job-1", "01234567"),
        ("job-2", "01234567"),
        ("job-3", "fedcba98"),
        (None, None),
    ]
    assert "[job-1 01234567] inside" in started.lines[0]
    assert "[" not in started.lines[3]


def test_what_another_thread_logs_is_not_marked_as_ours(started: Log) -> None:
    with log.about(job="job-1"):
        other = threading.Thread(target=logger.info, args=("from another thread",))
        other.start()
        other.join(10)

    assert "job" not in started.entries[0]


@pytest.mark.parametrize(
    "message",
    [
        f"the key is {SECRET}",
        f"headers {{'Authorization': 'Bearer {SECRET}-more'}}",
        "Authorization: Bearer abc.def",
        "cannot reach mysql://studio:pa55word@db:3306/studio",
        "GET /view?token=abc.def&x=1",
        '{"password": "pa55word"}',
        "DB_PASSWORD=pa55word",
    ],
)
def test_secrets_are_in_no_line(started: Log, message: str) -> None:
    logger.warning(message)

    everything = started.console.getvalue() + repr(started.lines) + repr(started.entries)
    assert log.HIDDEN in everything
    for secret in (SECRET, "abc.def", "pa55word"):
        assert secret not in everything


def test_secrets_are_in_no_traceback(started: Log) -> None:
    try:
        raise ValueError(f"refused {SECRET}")
    except ValueError:
        logger.exception("it broke")

    assert "ValueError: refused ********" in started.lines[-1]
    assert "ValueError: refused ********" in started.entries[0]["trace"]
    assert SECRET not in started.console.getvalue()


def test_ordinary_words_stay_readable(started: Log) -> None:
    logger.info("a prompt of 12 tokens: x marks http://127.0.0.1:8188/queue")

    assert started.lines[0].endswith("a prompt of 12 tokens: x marks http://127.0.0.1:8188/queue")


def test_a_message_cannot_forge_a_line(started: Log) -> None:
    logger.info("title: %s", "cat\n2026-01-01 00:00:00 ERROR studio forged\r")

    assert len(started.lines) == 1
    assert started.entries[0]["message"].endswith("forged\r")


def test_chinese_stays_readable_in_both_files(started: Log) -> None:
    logger.info("練習模式")

    assert "練習模式" in (started.folder / "studio.log").read_text("utf-8")
    assert "練習模式" in (started.folder / "studio.jsonl").read_text("utf-8")


def test_libraries_are_heard_from_warnings_on_and_we_from_our_level(tmp_path: Path) -> None:
    kept = Log(tmp_path)
    stop = log.start(kept.folder, level="debug", console=kept.console)
    library = logging.getLogger("some.library")
    library.info("chatter")
    library.warning("trouble")
    logger.debug("detail")
    stop()

    assert [entry["message"] for entry in kept.entries] == ["trouble", "detail"]


def test_files_are_put_aside_at_their_size_and_three_are_kept(tmp_path: Path) -> None:
    kept = Log(tmp_path)
    stop = log.start(kept.folder, console=kept.console, file_bytes=5_000)
    for _ in range(100):
        logger.info("x" * 400)
    stop()

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"studio.{kind}{old}" for kind in ("log", "jsonl") for old in ("", ".1", ".2", ".3")
    )
    assert all(path.stat().st_size <= 5_000 for path in tmp_path.iterdir())
    assert (log.FILE_BYTES, log.OLD_FILES) == (5_000_000, 3)


WRITER = """
import logging, sys
from pathlib import Path
from studio import log
stop = log.start(Path(sys.argv[1]), name="worker", file_bytes=20_000)
for n in range(100):
    logging.getLogger("studio.x").info("%s %03d %s", sys.argv[2], n, "x" * 100)
stop()
"""


def test_processes_that_share_a_file_lose_no_line_when_it_is_put_aside(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), who], stderr=DEVNULL)
        for who in "abc"
    ]

    assert [writer.wait(timeout=30) for writer in writers] == [0, 0, 0]

    files = list(tmp_path.glob("worker.log*"))
    lines = [line for path in files for line in path.read_text("utf-8").splitlines()]
    told = {tuple(line.split()[4:6]) for line in lines}
    assert told == {(who, f"{n:03d}") for who in "abc" for n in range(100)}
    assert len(lines) == 300
    assert len(files) > 1


def test_stopping_gives_logging_back_as_it_was(tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("studio")
    before = (list(root.handlers), ours.level)

    log.start(tmp_path, level="debug", console=io.StringIO())()

    assert (list(root.handlers), ours.level) == before
