"""What an admin sees that nobody else does, and how it looks on a desk and on a phone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from studio.engine.jobs import Job, State
from studio.engine.people import Role
from tests.browser.conftest import ARTEFACTS, OpenBrowser
from tests.browser.person import TEXT, Person
from tests.tabs.site import Site

WORD = "correct horse battery"
PROMPT = "a lighthouse nobody else may read of, 海邊的燈塔"
_NUMBERS = itertools.count(1)


def admin_in(site: Site, browser: BrowserContext) -> Person:
    """Log an admin in, and open the page."""
    email = f"admin{next(_NUMBERS)}@example.com"
    site.studio.people.add(email, WORD, role=Role.ADMIN)
    said = {"email": email, "password": WORD}
    assert browser.request.post(f"{site.url}/api/login", data=said).status == 200
    return Person(site, browser.new_page())


def part(person: Person, name: str) -> None:
    person.page.locator(".studio-admin-nav").get_by_role("button", name=name).click()


def rows(person: Person) -> Locator:
    return person.page.locator(".studio-admin-body tbody tr")


@pytest.fixture
def waiting(site: Site) -> Iterator[Job]:
    """Somebody's job that waits, behind others that run."""
    assert site.practice is not None
    site.practice.faults.hold("sampler")
    jobs = [site.studio.desk.submit("g-ann", TEXT, {"prompt": PROMPT}) for _ in range(4)]
    yield jobs[-1]
    for job in jobs:
        if not site.studio.desk.job("g-ann", job.job_id).state.ended:
            site.studio.desk.cancel("g-ann", job.job_id)
    site.practice.faults.release()


def test_nobody_but_an_admin_sees_the_tab(ann: Person) -> None:
    titles = ann.page.get_by_role("tab").all_inner_texts()

    assert titles[-1] == "Gallery"
    strip = ann.page.locator("#studio-tabs .tab-container").first
    expect(strip.locator("> button:visible")).to_have_count(len(titles))


def test_an_admin_opens_a_job_knowingly_and_stops_it(
    site: Site, open_browser: OpenBrowser, waiting: Job
) -> None:
    admin = admin_in(site, open_browser())
    page = admin.page
    admin.open_tab("Admin")
    expect(rows(admin).first).to_contain_text("admin")
    part(admin, "Jobs")
    row = rows(admin).filter(has_text=waiting.job_id[:8])
    expect(row).to_contain_text("Waiting")
    assert PROMPT not in page.content()

    row.get_by_role("button", name="Open").click()
    expect(page.get_by_role("dialog")).to_contain_text("is written down")
    assert site.studio.people.deeds() == []
    page.get_by_role("button", name="Open and write it down").click()
    expect(page.get_by_role("dialog")).to_contain_text(PROMPT)
    page.keyboard.press("Escape")

    row.get_by_role("button", name="First in line").click()
    expect(row).to_contain_text("Priority 1")
    row.get_by_role("button", name="Cancel").click()
    row.get_by_role("button", name="Sure?").click()
    expect(row).to_contain_text("Cancelled")
    assert site.studio.desk.job("g-ann", waiting.job_id).state is State.CANCELLED
    part(admin, "What admins did")
    expect(rows(admin)).to_have_count(3)
    expect(rows(admin).last).to_contain_text("opened a job")
    assert admin.complaints == []


def test_an_admin_blocks_invites_and_looks_at_the_house(
    site: Site, open_browser: OpenBrowser
) -> None:
    account = site.studio.people.add("ben@example.com", WORD, role=Role.MEMBER)
    admin = admin_in(site, open_browser())
    page = admin.page
    admin.open_tab("Admin")
    page.get_by_role("searchbox").last.fill("ben@")
    expect(rows(admin)).to_have_count(1)

    rows(admin).get_by_role("button", name="Block").click()
    rows(admin).get_by_role("button", name="Sure?").click()
    expect(rows(admin)).to_contain_text("Blocked")
    blocked = site.studio.people.account(account.person)
    assert blocked is not None
    assert blocked.blocked
    page.get_by_role("button", name="Make invitation link").click()
    link = page.locator(".studio-invited input")
    expect(link).not_to_have_value("")
    assert link.input_value().startswith(f"{site.url}/account/register?invitation=")
    part(admin, "Servers and workers")
    assert site.practice is not None
    expect(page.locator(".studio-admin-body")).to_contain_text(site.practice.url)
    part(admin, "Limits")
    expect(rows(admin).filter(has_text="PROMPT_MAX_CHARS")).to_contain_text("1,000")
    assert admin.complaints == []


def test_every_part_of_the_tab_fits_a_phone(site: Site, open_browser: OpenBrowser) -> None:
    admin = admin_in(site, open_browser(width=390, height=844, language="zh-TW"))
    page = admin.page
    site.studio.desk.cancel("g-ann", site.studio.desk.submit("g-ann", TEXT, {"prompt": "x"}).job_id)
    admin.open_tab("儀表板")
    ARTEFACTS.mkdir(exist_ok=True)

    for n, button in enumerate(page.locator(".studio-admin-nav button").all()):
        button.click()
        expect(rows(admin).first).to_be_visible()
        page.screenshot(path=ARTEFACTS / f"admin-390-zh-TW-{n}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert admin.complaints == []
