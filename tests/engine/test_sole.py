from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from studio.engine.sole import SoleUse

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="this system has no flock")

HOLDER = """
import sys
from pathlib import Path
from studio.engine.sole import SoleUse
print(SoleUse(Path(sys.argv[1])).take(), flush=True)
"""


def test_only_one_has_sole_use_of_a_folder(tmp_path: Path) -> None:
    first, second = SoleUse(tmp_path), SoleUse(tmp_path)

    assert first.take() is True
    assert first.take() is True
    assert second.take() is False

    first.free()
    assert second.take() is True
    second.free()


def test_a_dead_process_frees_its_use(tmp_path: Path) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    mine = SoleUse(tmp_path)

    assert dead.stdout == "True\n"
    assert mine.take() is True
    mine.free()
