"""A page that is served for real, for the tests of routes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from studio.practice import PracticeServer
from tests.tabs.filters import forgive
from tests.tabs.site import MODELS, Site, served


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive(items, "tests/web/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page on a practice ComfyUI, one for all tests of a file."""
    practice = PracticeServer(pace_s=0.01, models=MODELS)
    with practice, served(tmp_path_factory.mktemp("site"), practice) as site:
        yield site
