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
    practice = PracticeServer(pace_s=0.02, models=MODELS)
    with practice, served(tmp_path_factory.mktemp("site"), practice) as site:
        yield site


@pytest.fixture(autouse=True)
def as_the_site_wants_it(
    request: pytest.FixtureRequest, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Keep the folder Gradio was told of, and forget what a test ordered of the practice server."""
    if "site" not in request.fixturenames:
        yield
        return
    site: Site = request.getfixturevalue("site")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(site.demo.folder))
    yield
    if site.practice is not None:
        site.practice.faults.clear()
