"""Accounts as people meet them: from guest to account, in and out, and what happens meanwhile.

Pictures of every page go to `tests/artefacts/`, in both languages, on a desk and on a phone.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from studio.engine.people import Role
from studio.practice import PracticeServer
from tests.browser.conftest import ARTEFACTS, OpenBrowser
from tests.browser.person import TEXT, Person
from tests.tabs.site import CHECKPOINT, MODELS, Site, served

WORD = "correct horse battery"
RATES = {"rate_login": 0, "rate_register": 0, "rate_status": 0}
LOOKS = [(1280, "en", False), (390, "zh-TW", False), (1280, "zh-TW", True), (390, "en", True)]


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.02, models=MODELS) as server:
        yield server


@pytest.fixture(scope="module")
def site(practice: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio of guests, as it is when nothing is set."""
    with served(tmp_path_factory.mktemp("site"), practice, **RATES) as site:
        yield site


@pytest.fixture
def page(desktop: BrowserContext) -> Iterator[Page]:
    """A page of a browser that nobody has used."""
    desktop.clear_cookies()
    page = desktop.new_page()
    yield page
    page.close()


def fill(page: Page, form: str, **values: str) -> None:
    """Fill in a form of an account page, and send it by the keyboard."""
    for name, value in values.items():
        page.locator(f"#{form}-{name}").fill(value)
    page.keyboard.press("Enter")


def log_in(page: Page, email: str, password: str = WORD) -> None:
    fill(page, "login", email=email, password=password)


def in_studio(page: Page) -> None:
    """Wait until the studio's page is there and says something."""
    expect(page.locator(f"#studio-{TEXT}-now .studio-line strong")).not_to_be_empty()


def test_a_guest_registers_and_finds_the_result_in_the_gallery(ann: Person, site: Site) -> None:
    page = ann.page
    ann.order("a lighthouse for later", seed="4711")
    ann.sees_result()

    page.locator("a.studio-person").click()
    page.get_by_role("link", name="Make an account and keep your works").click()
    fill(page, "register", email="ann@example.com", name="Ann", password=WORD)

    in_studio(page)
    expect(page.locator(".studio-person")).to_have_text("Ann")
    expect(page.get_by_role("link", name="Log in")).to_have_count(0)
    ann.open_tab("Gallery")
    expect(page.locator(".studio-piece")).to_have_count(1)

    page.locator("a.studio-person").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("status")).to_contain_text("You are logged out.")
    page.get_by_role("link", name="Go on as a guest").click()
    in_studio(page)
    expect(page.locator(".studio-person")).to_contain_text("Guest")
    ann.open_tab("Gallery")
    expect(page.get_by_text("Nothing made yet.")).to_be_visible()

    page.get_by_role("link", name="Log in").click()
    log_in(page, "ann@example.com")
    in_studio(page)
    ann.open_tab("Gallery")
    expect(page.locator(".studio-piece")).to_have_count(1)


def test_a_fault_is_told_at_its_field_and_nothing_typed_is_lost(site: Site, page: Page) -> None:
    site.studio.people.add("known@example.com", WORD, role=Role.MEMBER)
    page.goto(f"{site.url}/account/register")

    fill(page, "register", email="new@example.com", password="aaaaaaaaa")

    fault = page.locator("#register-password-fault")
    expect(fault).to_contain_text("too easy to guess")
    expect(page.locator("#register-password")).to_be_focused()
    expect(page.locator("#register-password")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#register-email")).to_have_value("new@example.com")
    expect(page.get_by_role("button", name="Register")).to_be_enabled()
    # An address that has an account is not told, and its password stays what it is.
    fill(page, "register", email="known@example.com", password="another long one")
    expect(page.locator("[data-fault]")).to_contain_text("If it has an account already")
    expect(fault).to_be_empty()


def enter(site: Site, page: Page, email: str) -> Person:
    """Log in without a form, and open the studio."""
    said = {"email": email, "password": WORD}
    assert page.context.request.post(f"{site.url}/api/login", data=said).ok
    person = Person(site, page)
    expect(page.locator(".studio-person")).to_have_text(email.partition("@")[0])
    return person


def test_a_changed_password_ends_the_other_browser_and_keeps_what_is_typed_there(
    site: Site, page: Page, open_browser: OpenBrowser
) -> None:
    site.studio.people.add("two@example.com", WORD, role=Role.MEMBER)
    there = enter(site, page, "two@example.com")
    there.write("prompt", "typed before the end")
    here = open_browser().new_page()
    here.goto(f"{site.url}/account/login?next=/account")
    log_in(here, "two@example.com")

    fill(here, "change", old_password=WORD, new_password="another long one")
    expect(here.locator("form[data-act=password] [data-done]")).to_contain_text("Changed")

    notice = page.get_by_role("dialog")
    expect(notice).to_contain_text("You are logged out here")
    expect(page.get_by_test_id("toast-body")).not_to_be_visible()
    notice.get_by_role("link", name="Log in again").click()
    log_in(page, "two@example.com", "another long one")
    in_studio(page)
    expect(there.field("prompt").locator("textarea")).to_have_value("typed before the end")


def test_who_comes_back_in_another_tab_goes_on_in_the_first(site: Site, page: Page) -> None:
    site.studio.people.add("tabs@example.com", WORD, role=Role.MEMBER)
    enter(site, page, "tabs@example.com")
    other = page.context.new_page()
    other.goto(f"{site.url}/account")
    other.get_by_role("button", name="Log out").click()
    expect(other.get_by_role("status")).to_contain_text("logged out")
    notice = page.locator("dialog.studio-notice")
    expect(notice).to_be_visible()

    other.goto(f"{site.url}/account/login?next=/account")
    log_in(other, "tabs@example.com")
    expect(other.get_by_role("heading", name="Your account")).to_be_visible()
    other.close()

    expect(notice).to_have_count(0)


def test_a_token_is_shown_once_and_opens_rest_and_gradio_until_it_is_revoked(
    site: Site, page: Page
) -> None:
    site.studio.people.add("token@example.com", WORD, role=Role.MEMBER)
    page.goto(f"{site.url}/account/login?next=/account")
    log_in(page, "token@example.com")
    fill(page, "token", name="my script")

    expect(page.locator("#token-secret")).to_have_value(re.compile("^sp_"))
    secret = page.locator("#token-secret").input_value()
    expect(page.locator("[data-list=tokens]")).to_contain_text("my script")
    with httpx.Client(
        base_url=site.url, headers={"Authorization": f"Bearer {secret}"}, trust_env=False
    ) as program:
        assert program.get("/api/me").json()["email"] == "token@example.com"
        body = {"workflow": TEXT, "prompt": "by a program", "model": CHECKPOINT, "steps": 1}
        assert program.post("/api/generate", json=body).status_code == 202
        page.reload()
        row = page.locator("[data-list=tokens] li")
        expect(row).to_contain_text("last used")
        assert secret not in page.content()
        row.get_by_role("button", name="Revoke").click()
        expect(row).to_contain_text("None yet")
        assert program.get("/api/me").status_code == 401


def test_delete_me_takes_a_word_and_the_password_and_then_all(site: Site, page: Page) -> None:
    people = site.studio.people
    person = people.add("leave@example.com", WORD, role=Role.MEMBER).person
    desk = site.studio.desk
    job = desk.submit(person, TEXT, {"prompt": "soon gone", "model": CHECKPOINT, "steps": 1})
    _finish(site, person, job.job_id)
    page.goto(f"{site.url}/account/login?next=/account")
    log_in(page, "leave@example.com")
    page.get_by_text("Delete me").click()

    fill(page, "leave", sure="leave", password=WORD)
    expect(page.locator("#leave-sure-fault")).to_contain_text("leave@example.com")
    fill(page, "leave", sure="leave@example.com", password="wrong horse")
    expect(page.locator("#leave-password-fault")).to_contain_text("not right")
    assert people.account(person) is not None
    fill(page, "leave", password=WORD)

    expect(page.get_by_role("status")).to_contain_text("All of it is deleted.")
    assert people.account(person) is None
    assert list(desk.recent(person, TEXT).jobs) == []
    assert not list(site.studio.settings.outputs_dir.rglob(f"*{job.job_id}*"))


def _finish(site: Site, person: str, job_id: str) -> None:
    async def ended() -> None:
        async for _ in site.studio.desk.follow(person, job_id):
            pass

    with ThreadPoolExecutor(1) as pool:  # Playwright's own loop runs in this thread
        pool.submit(asyncio.run, asyncio.wait_for(ended(), 60)).result()


def test_a_closed_studio_opens_to_who_logs_in_and_closes_again(
    practice: PracticeServer,
    open_browser: OpenBrowser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    ways = {"studio_accounts": "required", "studio_registration": "invitation"}
    with served(tmp_path_factory.mktemp("closed"), practice, **RATES, **ways) as site:
        admin = site.studio.people.add("host@example.com", WORD, role=Role.ADMIN)
        code = site.studio.people.invite(admin.person)
        page = open_browser().new_page()
        page.goto(f"{site.url}/")
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()
        expect(page.get_by_role("link", name="Go on as a guest")).to_have_count(0)
        page.goto(f"{site.url}/account/register?invitation={code}")
        fill(page, "register", email="in@example.com", password=WORD)
        in_studio(page)

        page.locator(f"#studio-{TEXT}-prompt textarea").fill("a lighthouse, at last")
        page.locator(f"#studio-{TEXT}-generate").click()
        stage = page.locator(f"#studio-{TEXT}-stage .studio-stage[data-state=completed]")
        expect(stage).to_be_visible()

        page.context.request.post(f"{site.url}/api/logout")
        notice = page.get_by_role("dialog")
        expect(notice).to_contain_text("You are logged out here")
        expect(notice.get_by_role("button", name="Go on as a guest")).to_have_count(0)
        page.reload()
        expect(page.get_by_role("heading", name="Log in")).to_be_visible()


@pytest.mark.parametrize(("width", "language", "dark"), LOOKS)
def test_the_pages_fit(
    site: Site, open_browser: OpenBrowser, width: int, language: str, dark: bool
) -> None:
    email = f"{width}-{language}@example.com".casefold()
    site.studio.people.add(email, WORD, name="小美 Mei", role=Role.ADMIN)
    context = open_browser(language=language, dark=dark, width=width)
    page = context.new_page()
    shot = _Camera(page, f"{width}-{language}-{'dark' if dark else 'light'}-account", width)
    context.request.get(f"{site.url}/")  # a guest from here on

    page.goto(f"{site.url}/account")
    page.locator("details").evaluate("part => { part.open = true; }")
    expect(page.locator("[data-links]")).to_be_visible()
    shot.take("1-guest")
    page.goto(f"{site.url}/account/register")
    fill(page, "register", email="mei", password="short")
    expect(page.locator("#register-email-fault")).not_to_be_empty()
    shot.take("2-register")
    page.goto(f"{site.url}/account/login?next=/account")
    log_in(page, email, "wrong horse")
    expect(page.locator("[data-fault]")).not_to_be_empty()
    shot.take("3-login")
    log_in(page, email)
    fill(page, "token", name="my script")
    expect(page.locator("[data-list=tokens] b")).to_have_text("my script")
    page.locator("#profile-email").fill("other@example.com")
    page.locator("details").evaluate("part => { part.open = true; }")
    shot.take("4-account")


class _Camera:
    """Takes whole-page pictures, and asks each time that nothing sticks out."""

    def __init__(self, page: Page, name: str, width: int) -> None:
        self._page = page
        self._name = name
        self._width = width
        ARTEFACTS.mkdir(exist_ok=True)

    def take(self, moment: str) -> None:
        self._page.screenshot(path=ARTEFACTS / f"{self._name}-{moment}.png", full_page=True)
        assert self._page.evaluate("document.documentElement.scrollWidth") == self._width
