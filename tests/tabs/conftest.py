"""A page that is served for real, for the tests of tabs and endpoints."""

from __future__ import annotations

import pytest

from tests.tabs.filters import forgive
from tests.tabs.site import a_site, as_the_site_wants_it, usual_pace  # noqa: F401  fixtures


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive(items, "tests/tabs/")
