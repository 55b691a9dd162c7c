"""What every test of this room shares: no thread, and so no client, is left behind."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def nothing_left(no_threads_left: None) -> None:
    """Fail a test that leaves a client open."""
