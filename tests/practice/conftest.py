"""One practice server of the recorded version, and somebody to talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.practice import PracticeServer
from tests.contract.talk import Talker


@pytest.fixture
def practice(no_threads_left: None) -> Iterator[PracticeServer]:
    """Takes no time for its steps."""
    with PracticeServer(pace_s=0.0) as server:
        yield server


@pytest.fixture
def talker(practice: PracticeServer) -> Iterator[Talker]:
    """Speaks to the server."""
    made = Talker(practice.url)
    yield made
    made.close()
