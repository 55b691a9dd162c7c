"""The pages about one's account: who sees which, where they lead, and what they never hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import quote, urljoin

import httpx
import pytest
from gradio_client import Client

from studio import texts
from studio.engine.people import Role
from studio.practice import PracticeServer
from studio.web.pages import own_way
from tests.tabs.site import CHECKPOINT, MODELS, Site, served
from tests.web.conftest import UNLIMITED

WORD = "correct horse battery"


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.01, models=MODELS) as server:
        yield server


@pytest.fixture(scope="module")
def site(practice: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio of guests, as it is when nothing is set."""
    with served(tmp_path_factory.mktemp("guests"), practice, **UNLIMITED) as site:
        site.studio.people.add("mei@example.com", WORD, name="<i>Mei</i>", role=Role.ADMIN)
        yield site


@pytest.fixture(scope="module")
def closed(practice: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio where one logs in first, below a path, by invitation."""
    ways = {"studio_accounts": "required", "studio_registration": "invitation"}
    folder = tmp_path_factory.mktemp("required")
    with served(folder, practice, studio_root_path="/team/studio", **UNLIMITED, **ways) as site:
        site.studio.people.add("mei@example.com", WORD, role=Role.MEMBER)
        yield site


@pytest.fixture(scope="module")
def space(practice: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio in a Space, where the host alone makes accounts."""
    ways = {"studio_registration": "closed", "studio_host": "127.0.0.1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACE_ID", "somebody/studio")
        with served(tmp_path_factory.mktemp("space"), practice, **UNLIMITED, **ways) as site:
            yield site


@contextmanager
def browser(site: Site, *, language: str = "en", follow: bool = False) -> Iterator[httpx.Client]:
    headers = {
        "accept": "text/html",
        "accept-language": language,
        "sec-fetch-dest": "document",
        "sec-fetch-site": "same-origin",
    }
    with httpx.Client(
        base_url=site.url, headers=headers, timeout=20, trust_env=False, follow_redirects=follow
    ) as client:
        yield client


def log_in(client: httpx.Client) -> None:
    said = {"email": "mei@example.com", "password": WORD}
    assert client.post("/api/login", json=said).status_code == 200


# Where one goes on to -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        ("/", ""),
        ("/account", "account"),
        ("/outputs/abc/001.png?download=1", "outputs/abc/001.png?download=1"),
        ("/?lang=zh-TW#gallery", "?lang=zh-TW#gallery"),
        ("/作品", "作品"),
        ("/a?to=https://example.com", "a?to=https://example.com"),
    ],
)
def test_a_path_of_ours_is_gone_on_to(asked: str, way: str) -> None:
    assert own_way(asked) == way


ELSEWHERE = [
    "https://evil.example/",
    "http:evil.example",
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "evil.example",
    " /account",
    "\t//evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\x00/evil.example",
    "/%09/evil.example",
    "/%2f/evil.example",
    "/%5cevil.example",
    "/%2Fevil.example",
    "/../elsewhere",
    "/a/%2e%2e/%2e%2e/elsewhere",
    "/a/./../x",
    "/\u2028/evil.example",
    "/\xa0evil.example",
    "/" + "a" * 3000,
    "?next=/x",
    "#x",
    "",
]


@pytest.mark.parametrize("asked", ELSEWHERE)
def test_no_other_address_is_gone_on_to(site: Site, asked: str) -> None:
    with browser(site) as client:
        page = client.get("/account/login", params={"next": asked})

    assert own_way(asked) == ""
    assert 'data-next=""' in page.text


@pytest.mark.parametrize("asked", ["/account", "//evil.example", "/\\evil.example", "/%2fevil"])
def test_who_is_logged_in_already_stays_in_the_studio(site: Site, asked: str) -> None:
    with browser(site) as client:
        log_in(client)
        answer = client.get("/account/login", params={"next": asked})

    assert answer.status_code == 303
    target = urljoin(str(answer.url), answer.headers["location"])
    assert target in (f"{site.url}/", f"{site.url}/account")


def test_the_closed_door_leads_back_to_what_was_asked_for(closed: Site) -> None:
    asked = "/outputs/abc/001.png?download=1"
    with browser(closed) as client:
        answer = client.get(asked)
        front = client.get("/")
        page = client.get(urljoin(asked, answer.headers["location"]))

    assert answer.headers["location"] == f"../../account/login?next={quote(asked)}"
    assert front.headers["location"] == "account/login"
    assert f'data-next="{asked[1:]}"' in unescape(page.text)


# Who sees which page ------------------------------------------------------------------------------


def test_a_guest_sees_what_a_guest_is_and_how_to_keep_the_works(site: Site) -> None:
    with browser(site) as client:
        client.get("/")
        page = client.get("/account").text

    assert texts.text("account.guest_title") in page
    assert 'href="./account/register"' in page
    assert 'data-act="leave"' in page
    assert 'data-act="password"' not in page


def test_a_member_sees_their_own_account_and_no_markup_in_a_name(site: Site) -> None:
    with browser(site) as client:
        log_in(client)
        page = client.get("/account").text

    assert 'value="mei@example.com"' in page
    assert 'value="&lt;i&gt;Mei&lt;/i&gt;"' in page
    assert "<i>Mei" not in page
    for act in ("profile", "password", "token", "leave", "logout"):
        assert f'data-act="{act}"' in page


def test_nobody_is_led_to_the_login(site: Site, closed: Site) -> None:
    for one in (site, closed):
        with browser(one) as client:
            answer = client.get("/account")
        assert answer.status_code == 303
        assert answer.headers["location"].endswith("account/login?next=/account")


def test_a_studio_without_accounts_has_no_such_page(
    practice: PracticeServer, tmp_path: Path
) -> None:
    with (
        served(tmp_path, practice, studio_accounts="off", **UNLIMITED) as site,
        browser(site, follow=True) as client,
    ):
        pages = ("/account", "/account/login", "/account/register")
        landed = {str(client.get(path).url) for path in pages}

    assert landed == {f"{site.url}/"}


def test_an_invitation_is_asked_for_and_filled_in_from_its_link(closed: Site) -> None:
    with browser(closed) as client:
        page = client.get("/account/register", params={"invitation": 'a"b<c'}).text

    assert re.search(r'<input[^>]* name="invitation"[^>]* value="a&quot;b&lt;c"', page)


def test_an_open_studio_asks_for_no_invitation(site: Site) -> None:
    with browser(site) as client:
        page = client.get("/account/register?invitation=abc").text

    assert 'name="invitation"' not in page


def test_where_registering_is_closed_there_is_no_form(space: Site) -> None:
    with browser(space) as client:
        page = client.get("/account/register")
        login = client.get("/account/login").text

    assert page.status_code == 403
    assert texts.text("account.register_closed") in page.text
    assert "<form" not in page.text
    assert "account/register" not in login


# What the pages are made of -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/account/login", "/account/register", "/account"])
@pytest.mark.parametrize("language", texts.LANGUAGES)
def test_a_page_speaks_the_readers_language(site: Site, path: str, language: str) -> None:
    with browser(site, language=language) as client:
        client.get("/")
        page = client.get(path)

    assert page.headers["content-language"] == language
    assert f'<html lang="{language}">' in page.text
    assert "Cookie" in page.headers["vary"]
    assert ("密碼" in page.text or "訪客" in page.text) == (language == "zh-TW")


def test_a_chosen_language_wins_over_the_browsers(site: Site) -> None:
    with browser(site, language="en") as client:
        client.cookies.set("studio_lang", "zh-TW")
        page = client.get("/account/login").text

    assert "<h1>登入</h1>" in page


@pytest.mark.parametrize("path", ["/account/login", "/account/register", "/account"])
def test_a_page_runs_our_own_files_only(site: Site, path: str) -> None:
    with browser(site) as client:
        client.get("/")
        page = client.get(path)
        policy = page.headers["content-security-policy"]
        sources = re.findall(r'<script [^>]*src="([^"]+)"', page.text)
        found = [client.get(urljoin(f"{site.url}{path}", unescape(one))) for one in sources]

    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'self'" in policy
    assert len(sources) == 2
    assert all(one.headers["content-type"].startswith("text/javascript") for one in found)
    assert page.text.count("<script") == 3  # and the words, which are no program
    assert '<script type="application/json" id="words">' in page.text
    assert not re.search(r"\son[a-z]+=|\sstyle=|<style|javascript:", page.text)
    assert page.headers["cache-control"] == "no-store"


def test_a_page_may_stand_in_the_frame_of_a_space(space: Site) -> None:
    with browser(space) as client:
        policy = client.get("/account/login").headers["content-security-policy"]

    assert "frame-ancestors 'self' https://huggingface.co" in policy


def test_every_address_of_a_page_is_relative(site: Site, closed: Site) -> None:
    for one in (site, closed):
        with browser(one) as client:
            log_in(client)
            page = client.get("/account").text
            client.cookies.delete("studio_session")
            page += client.get("/account/login?next=/x").text

        addresses = re.findall(r'(?:href|src|data-base)="([^"]*)"', page)
        assert addresses
        assert [a for a in addresses if not a.startswith(("./", "../"))] == []


def test_no_form_puts_what_is_typed_into_an_address(site: Site) -> None:
    with browser(site) as client:
        pages = [client.get("/account/login").text, client.get("/account/register").text]
        log_in(client)
        pages.append(client.get("/account").text)

    forms = [form for page in pages for form in re.findall(r"<form[^>]*>", page)]
    assert len(forms) == 6
    assert [form for form in forms if 'method="post"' not in form] == []


def test_password_managers_know_every_field(site: Site) -> None:
    with browser(site) as client:
        login = client.get("/account/login").text
        register = client.get("/account/register").text
        log_in(client)
        account = client.get("/account").text

    def kinds(page: str) -> list[str]:
        inputs = re.findall(r"<input[^>]*>", page)
        found = [re.search(r'autocomplete="([^"]*)"', one) for one in inputs]
        wanted = ("username", "current-password", "new-password")
        return [one[1] for one in found if one and one[1] in wanted]

    assert kinds(login) == ["username", "current-password"]
    assert kinds(register) == ["username", "new-password"]
    assert kinds(account).count("current-password") == 3
    assert kinds(account).count("new-password") == 1


def test_no_secret_stands_in_a_page(site: Site) -> None:
    people = site.studio.people
    mei = people.find("mei@example.com")
    _, token = people.make_token(mei.person, "in no page", writes=True)
    with browser(site) as client:
        log_in(client)
        session = client.cookies["studio_session"]
        pages = [client.get(path).text for path in ("/account", "/")]
    people.revoke(mei.person, people.tokens(mei.person)[0].token_id)

    for page in pages:
        assert token not in page
        assert session not in page
        assert "argon2" not in page
        assert site.studio.settings.studio_secret.get_secret_value() not in page


# When a login ends while a page is open -----------------------------------------------------------


def test_a_page_whose_login_ended_orders_nothing_as_a_guest_nobody_knows(site: Site) -> None:
    with browser(site) as client:
        log_in(client)
        session = client.cookies["studio_session"]
        client.post("/api/logout")
        client.cookies.set("studio_session", session)
        call = client.post("/gradio_api/call/v2/text_to_image", json={"prompt": "a lighthouse"})
        page = client.get("/")
        again = client.post("/gradio_api/call/history", json={"data": []})

    assert (call.status_code, call.headers["x-error-code"]) == (401, "login_ended")
    assert page.status_code == 200  # a guest from here on
    assert again.status_code == 200


def test_a_revoked_token_is_no_guest_of_gradio(site: Site) -> None:
    people = site.studio.people
    mei = people.find("mei@example.com")
    made, token = people.make_token(mei.person, "gone", writes=True)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=site.url, headers=headers, trust_env=False) as program:
        before = program.post("/gradio_api/call/history", json={"data": []})
        people.revoke(mei.person, made.token_id)
        after = program.post("/gradio_api/call/history", json={"data": []})

    assert before.status_code == 200
    assert (after.status_code, after.json()["error"]["code"]) == (401, "login_ended")


def test_gradio_client_is_the_person_whose_token_it_sends(site: Site) -> None:
    mei = site.studio.people.find("mei@example.com")
    _, token = site.studio.people.make_token(mei.person, "client", writes=True)
    values = {"prompt": "a lighthouse", "model": CHECKPOINT, "steps": 1}
    job = site.studio.desk.submit(mei.person, "text_to_image", values)
    client = Client(site.url, headers={"Authorization": f"Bearer {token}"}, verbose=False)
    try:
        seen = client.predict(api_name="/history")
    finally:
        client.close()

    assert job.job_id in str(seen)
