"""Chromium and a served page: what a person sees, not what a component is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.person import Person
from tests.tabs.filters import forgive
from tests.tabs.site import Site, a_site, as_the_site_wants_it  # noqa: F401  fixtures

ARTEFACTS = Path(__file__).parents[1] / "artefacts"
expect.set_options(timeout=30_000)  # two cores may have much else to do
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive(items, "tests/browser/")
    for item in items:
        if "tests/browser/" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for a file. While it is open an event loop runs in this thread, so no longer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pace_s() -> float:
    """Slow enough for eyes that look at a page while a job runs."""
    return 0.03


OpenBrowser = Callable[..., BrowserContext]


@pytest.fixture
def open_browser(chromium: Browser) -> Iterator[OpenBrowser]:
    """Open a browser of its own: own cookies, own language. Nothing but loopback is let through."""
    opened: list[BrowserContext] = []

    def open_one(
        *, language: str = "en-US", dark: bool = False, width: int = 1280, height: int = 900
    ) -> BrowserContext:
        phone = width < 500
        context = chromium.new_context(
            locale=language,
            color_scheme="dark" if dark else "light",
            viewport={"width": width, "height": height},
            has_touch=phone,
            is_mobile=phone,
        )
        context.set_default_timeout(30_000)
        opened.append(context)
        return context

    yield open_one
    for context in opened:
        context.close()


@pytest.fixture(scope="module")
def desktop(chromium: Browser) -> Iterator[BrowserContext]:
    """One browser on a desk that keeps Gradio's own files from test to test."""
    context = chromium.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def ann(site: Site, desktop: BrowserContext) -> Iterator[Person]:
    """A new person who has just opened the page; at the end no error stands in the console."""
    for page in desktop.pages:  # an earlier test may not have come as far as closing its own
        page.close()
    desktop.clear_cookies()
    person = Person(site, desktop.new_page())
    yield person
    for page in desktop.pages:
        page.close()
    assert person.complaints == []


@pytest.fixture
def page(ann: Person) -> Page:
    """Give Ann's page."""
    return ann.page
