"""The shipped workflows, read and proven once in a process: each reading takes about a second."""

from __future__ import annotations

from typing import Final

from studio.engine.workflow import catalog
from studio.settings import PROJECT

CATALOG: Final = catalog.load(PROJECT / "workflows")
