"""A practice server of each profile, and somebody to talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.practice import PracticeServer
from tests.contract.talk import Talker


@pytest.fixture(params=["0.8.0", "newer"])
def practice(request: pytest.FixtureRequest, no_threads_left: None) -> Iterator[PracticeServer]:
    """Both profiles: what does not differ must hold in both."""
    with PracticeServer(profile=request.param, pace_s=0.0) as server:
        yield server


@pytest.fixture
def old(no_threads_left: None) -> Iterator[PracticeServer]:
    """The recorded version alone, where later ones differ."""
    with PracticeServer(profile="0.8.0", pace_s=0.0) as server:
        yield server


@pytest.fixture
def newer(no_threads_left: None) -> Iterator[PracticeServer]:
    """Later versions alone."""
    with PracticeServer(profile="newer", pace_s=0.0) as server:
        yield server


@pytest.fixture
def talker(request: pytest.FixtureRequest) -> Iterator[Talker]:
    """Speaks to whichever server the test asked for."""
    name = next(name for name in ("practice", "old", "newer") if name in request.fixturenames)
    server: PracticeServer = request.getfixturevalue(name)
    made = Talker(server.url)
    yield made
    made.close()
