from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from studio.engine.sole import SoleUse

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this system has no flock")

HOLDER = """
import sys
from pathlib import Path
from studio.engine.sole import SoleUse
print(SoleUse(Path(sys.argv[1])).join(lambda: None), flush=True)
sys.stdin.read()
"""


def nothing() -> None:
    """Have nothing to do when alone."""


def test_only_the_first_is_alone(tmp_path: Path) -> None:
    first, second = SoleUse(tmp_path), SoleUse(tmp_path)
    told: list[str] = []

    assert first.join(lambda: told.append("first")) is True
    assert second.join(lambda: told.append("second")) is False
    assert told == ["first"]

    first.leave()
    second.leave()


def test_who_begins_again_beside_one_that_stayed_is_not_alone(tmp_path: Path) -> None:
    first, second = SoleUse(tmp_path), SoleUse(tmp_path)
    first.join(nothing)
    second.join(nothing)
    first.leave()

    assert first.join(nothing) is False

    second.leave()
    first.leave()
    assert second.join(nothing) is True
    second.leave()


def test_others_wait_while_the_one_that_is_alone_tidies(tmp_path: Path) -> None:
    first, second = SoleUse(tmp_path), SoleUse(tmp_path)
    tidying, tidied = threading.Event(), threading.Event()

    def tidy() -> None:
        tidying.set()
        assert not joined.wait(0.2)
        tidied.set()

    joined = threading.Event()

    def join() -> None:
        tidying.wait(5)
        second.join(nothing)
        assert tidied.is_set()
        joined.set()

    other = threading.Thread(target=join)
    other.start()
    first.join(tidy)

    assert joined.wait(5)
    other.join(5)
    first.leave()
    second.leave()


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    mine = SoleUse(tmp_path)
    assert mine.join(nothing) is False
    mine.leave()

    process.kill()
    process.communicate(timeout=10)

    assert mine.join(nothing) is True
    mine.leave()
