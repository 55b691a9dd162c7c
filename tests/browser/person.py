"""What a person does on the page, in the words of the tests."""

from __future__ import annotations

import itertools
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect

from studio.engine.jobs import Job
from tests.tabs.site import Site

TEXT = "text_to_image"
BLEND = "image_blend"
_SEEDS = itertools.count(5_000_000)

# A reload drops the old page's open requests; Gradio logs that.
_HARMLESS = ("AbortError", "Connection errored out", "net::ERR_ABORTED", "Failed to fetch")


class Person:
    """A person with an open page of one site."""

    def __init__(self, site: Site, page: Page) -> None:
        self.site = site
        self.page = page
        self.complaints: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._see)
        self.arrive()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(word in message.text for word in _HARMLESS):
            self.complaints.append(message.text)

    def _see(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme.startswith("http") and address.hostname != "127.0.0.1":
            self.strangers.append(request.url)

    def arrive(self) -> None:
        """Open the page and wait until its card says something."""
        self.page.goto(f"{self.site.url}/")
        expect(self.part("now").locator(".studio-line strong")).not_to_be_empty()

    def reload(self) -> None:
        """Reload the page."""
        self.page.reload()
        expect(self.part("now").locator(".studio-line strong")).not_to_be_empty()

    @property
    def who(self) -> str:
        """Tell this browser's person."""
        cookies = {cookie["name"]: cookie["value"] for cookie in self.page.context.cookies()}
        person = self.site.studio.guests.read(cookies["studio_person"])
        assert person is not None
        return person

    def part(self, name: str, tab: str = TEXT) -> Locator:
        """Find `now`, `stage` or `recent` of a tab's card."""
        return self.page.locator(f"#studio-{tab}-{name}")

    def field(self, name: str, tab: str = TEXT) -> Locator:
        """Find a field of a tab's form."""
        return self.page.locator(f"#studio-{tab}-{name}")

    def write(self, name: str, text: str, tab: str = TEXT) -> None:
        """Write into a text field."""
        self.field(name, tab).locator("textarea, input").first.fill(text)

    def choose(self, name: str, label: str, tab: str = TEXT) -> None:
        """Choose from a list."""
        self.field(name, tab).locator("input").click()
        self.page.get_by_role("option", name=label, exact=True).click()

    def open_tab(self, title: str) -> None:
        """Open a tab."""
        self.page.get_by_role("tab", name=title, exact=True).click()

    def order(self, prompt: str = "a lighthouse", *, seed: str = "") -> str:
        """Fill in prompt and seed, and press Generate. Gives the seed."""
        seed = seed or str(next(_SEEDS))
        self.write("prompt", prompt)
        self.write("seed", seed)
        self.press("generate")
        return seed

    def press(self, name: str, tab: str = TEXT) -> None:
        """Press Generate or Cancel."""
        self.page.locator(f"#studio-{tab}-{name}").click()

    def sees(self, state: str, tab: str = TEXT) -> None:
        """Wait until the status line is in a state."""
        expect(self.part("now", tab).locator(".studio-now")).to_have_attribute("data-state", state)

    def sees_result(self, tab: str = TEXT, *, state: str = "completed") -> Locator:
        """Wait for the picture, or for what stands in its place."""
        stage = self.part("stage", tab).locator(f".studio-stage[data-state={state}]")
        expect(stage).to_be_visible()
        return stage

    def jobs(self, tab: str = TEXT) -> list[Job]:
        """List this person's ended jobs, newest first, as the house knows them."""
        return list(self.site.studio.desk.recent(self.who, tab).jobs)
