"""A page that is served for real, for the tests of tabs and endpoints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.practice import PracticeServer
from tests.tabs.filters import forgive
from tests.tabs.site import MODELS, Site, served


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive(items, "tests/tabs/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page on a practice ComfyUI, one for all tests of a file."""
    with PracticeServer(pace_s=0.02, models=MODELS) as practice:
        with served(tmp_path_factory.mktemp("site"), practice) as site:
            yield site


@pytest.fixture(autouse=True)
def no_fault_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Forget what a test ordered of the practice server."""
    yield
    if "site" in request.fixturenames:
        request.getfixturevalue("site").practice.faults.clear()
