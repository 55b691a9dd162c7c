"""What makes a start quick, imported before all that is heavy. Knows Python's machinery only.

A start makes a million things that stay. Python would look through all of them for garbage again
and again, a sixth of the start; and Gradio reads and parses the source of each of its components
at every import, to write stubs for editors that are there since its first. And Peewee loads the
driver of MySQL, with a cryptography library, wherever it is installed: 7 MB that SQLite never
needs. `engine.database` gives Peewee the driver when a database of that kind is opened.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, Final

DRIVER: Final = "pymysql"
STUBS: Final = ("gradio.component_meta", "create_or_modify_pyi")
"""The module that writes stubs, and its function that does."""
FIRST_TRIM_S: Final = 3.0
"""How long after a start the memory it needed is handed back; by then the page was asked for."""
TRIM_EVERY_S: Final = 600.0


class _Stubless(SourceFileLoader):
    """Loads the module, and has its function that writes stubs do nothing."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        # An editor's matter, and by that time found beside the sources: nothing else reads it.
        if hasattr(module, STUBS[1]):
            setattr(module, STUBS[1], _write_nothing)


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != STUBS[0]:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Stubless(name, spec.loader.path)
        return spec


def _write_nothing(*_arguments: Any) -> None:
    pass


def _load_peewee_alone() -> None:
    """Load Peewee as where its driver of MySQL is not installed."""
    if "peewee" in sys.modules or DRIVER in sys.modules:
        return
    sys.modules[DRIVER] = None  # type: ignore[assignment]  # how Python says: not to be had
    try:
        importlib.import_module("peewee")
    finally:
        del sys.modules[DRIVER]


def begin() -> None:
    """Begin a start: until `settle`, nothing is looked through."""
    gc.disable()
    _load_peewee_alone()
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def settle() -> None:
    """End a start: what is left after one look stays, and is not looked through again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    threading.Thread(target=_give_back, name="studio-memory", daemon=True).start()


def _give_back() -> None:
    """Hand free memory back to the system: glibc keeps what a start or a film once needed."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return  # another system, another allocator
    rest, pause_s = threading.Event(), FIRST_TRIM_S
    while not rest.wait(pause_s):
        trim(0)
        pause_s = TRIM_EVERY_S


begin()
