"""Modules that are loaded when they are first used, and not when they are named.

PyAV's libraries take 16 MB and a twentieth of a second, and many a process never sees a film.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Later:
    """Stands where `import name` would, in a branch that type checkers do not read.

    The standard library's own lazy loader lets a second thread see a module half loaded
    (mended in Python 3.12); `import_module` waits for it. Raises ImportError at the first use.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)
