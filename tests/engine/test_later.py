from __future__ import annotations

import subprocess
import sys

import pytest

from studio.engine.later import Later
from studio.settings import PROJECT


def test_a_module_named_for_later_is_that_module_when_used() -> None:
    assert Later("json").loads("[1]") == [1]


def test_a_module_that_is_not_there_is_missed_when_used() -> None:
    absent = Later("studio_has_no_such_module")

    with pytest.raises(ImportError):
        _ = absent.anything


def test_a_studio_that_has_seen_no_film_holds_no_ffmpeg() -> None:
    """Its libraries are 16 MB of the memory that an idle studio may take."""
    look = "import sys, studio.build, studio.tabs; sys.exit('av' in sys.modules)"

    found = subprocess.run([sys.executable, "-c", look], cwd=PROJECT, check=False, timeout=60)

    assert found.returncode == 0
