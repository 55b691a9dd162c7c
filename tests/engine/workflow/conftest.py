"""The shipped catalog, and short ways to check and bind."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from studio.engine.workflow.binding import Workflow, bind, check
from studio.engine.workflow.catalog import Catalog
from tests.shipped import CATALOG

Bound = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """Load the workflows that are shipped."""
    return CATALOG


@pytest.fixture
def bound() -> Bound:
    """Check values and bind them, files under the names of their references."""

    def run(workflow: Workflow, values: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        checked = check(workflow, values, rng=random.Random(1))  # noqa: S311 - no secret
        files = {ref: ref for ref in checked.get("images", ())} | options.pop("files", {})
        return bind(workflow, checked, files=files, **options)

    return run
