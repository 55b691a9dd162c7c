"""Fixtures of the whole suite: a clean environment, and nothing left running."""

from __future__ import annotations

import gc
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.servers import MariaDB, RedisServer, start_mariadb, start_redis

# How long one example takes is the machine's affair: speed is measured in `bench/`.
hypothesis.settings.register_profile("studio", deadline=None, database=None)
hypothesis.settings.load_profile("studio")

OURS = ("COMFY_", "STUDIO_", "DB_", "DATABASE_", "REDIS_", "LOG_DIR", "GRADIO_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that drive Chromium first, each beside one that does not.

    They take the longest: begun last, one worker would be at them while the others are idle; and
    all at once, they would keep one another waiting.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    pages = [path for path in files if path.parent.name == "browser"]
    others = [path for path in files if path.parent.name != "browser"]
    beside = itertools.chain.from_iterable(zip(pages, others, strict=False))
    items[:] = itertools.chain.from_iterable(
        files[path] for path in dict.fromkeys([*beside, *pages, *others])
    )


def pytest_collection_finish() -> None:
    """All modules are loaded and stay: a million things not to be looked through for garbage."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the host's own settings from every test."""
    for name in os.environ:
        if name.startswith(OURS) and name not in ("STUDIO_REAL_COMFY", "STUDIO_SAVE_SCREENSHOT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    """Fail a test that leaves a thread of ours behind."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(timeout=5)
    still = [thread.name for thread in left if thread.is_alive()]
    assert not still, f"threads left behind: {still}"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One MariaDB for all tests that do not kill it."""
    server = start_mariadb()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for all tests that do not kill it."""
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The address of a Redis that holds nothing."""
    redis_server.empty()
    return redis_server.url
