from __future__ import annotations

import subprocess
import sys

from studio.settings import PROJECT

LOOK = """
import gc
import sys
import studio.early
begun = gc.isenabled()
import gradio.component_meta
from studio.early import STUBS, _write_nothing
assert not begun and not gc.isenabled(), "garbage was looked for during the start"
assert gradio.component_meta.__name__ == STUBS[0]
assert getattr(gradio.component_meta, STUBS[1]) is _write_nothing, "stubs are written at each start"
assert gradio.component_meta.__file__, "the module lost its place"
import peewee
import studio.build
assert "pymysql" not in sys.modules, "a driver is loaded that SQLite does not need"
studio.early.settle()
assert gc.isenabled() and gc.get_freeze_count() > 100_000, "what stays is looked through for ever"
"""


def test_a_start_looks_for_no_garbage_and_loads_and_writes_nothing_unneeded() -> None:
    """A third of Gradio's import, and 7 MB; this tells when a library has changed its ways."""
    command = [sys.executable, "-c", LOOK]

    found = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60
    )

    assert found.returncode == 0, found.stderr
