"""Accounts over HTTP, in each of the three ways a studio may be open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.engine.people import Role
from studio.practice import PracticeServer
from tests.tabs.site import CHECKPOINT, MODELS, Site, served
from tests.web.conftest import UNLIMITED, events

WORD = "correct horse battery"
Open = Callable[..., AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.01, models=MODELS) as server:
        yield server


@pytest.fixture(scope="module")
def site(practice: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio of guests, as it is when nothing is set."""
    with served(tmp_path_factory.mktemp("guests"), practice, **UNLIMITED) as site:
        yield site


@pytest.fixture(scope="module")
def closed(practice: PracticeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio where one logs in first; registering asks for an invitation."""
    ways = {"studio_accounts": "required", "studio_registration": "invitation"}
    folder = tmp_path_factory.mktemp("required")
    with served(folder, practice, **UNLIMITED, **ways) as site:
        site.studio.people.add("admin@example.com", WORD, role=Role.ADMIN)
        yield site


@contextmanager
def browser(site: Site, *, opens: bool = True) -> Iterator[httpx.Client]:
    """A browser; it has opened the page already, unless told otherwise."""
    with httpx.Client(base_url=site.url, timeout=20, trust_env=False) as client:
        if opens:
            client.get("/").raise_for_status()
        yield client


def join(client: httpx.Client, email: str) -> dict[str, Any]:
    said = {"email": email, "password": WORD}
    assert client.post("/api/register", json=said).status_code == 201
    answer = client.post("/api/login", json=said)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def order(client: httpx.Client) -> str:
    body = {"workflow": "text_to_image", "prompt": "a lighthouse", "model": CHECKPOINT, "steps": 1}
    answer = client.post("/api/generate", json=body)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    events(client, job_id)
    return job_id


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_a_guest_becomes_an_account_with_all_works(site: Site) -> None:
    with browser(site) as client:
        job_id = order(client)
        guest = client.cookies["studio_person"]

        me = join(client, "works@example.com")

        assert (me["kind"], me["email"]) == ("member", "works@example.com")
        jobs = client.get("/api/history").json()["jobs"]
        assert [job["job_id"] for job in jobs] == [job_id]
    cookies = {"studio_person": guest}
    with httpx.Client(base_url=site.url, cookies=cookies, trust_env=False) as thief:
        assert thief.get(f"/api/status/{job_id}").status_code == 401


def test_an_account_is_the_same_in_every_browser_and_apart_from_others(site: Site) -> None:
    with browser(site) as laptop, browser(site) as phone, browser(site) as stranger:
        join(laptop, "same@example.com")
        job_id = order(laptop)
        phone.post("/api/login", json={"email": "same@example.com", "password": WORD})
        join(stranger, "apart@example.com")

        assert phone.get(f"/api/status/{job_id}").status_code == 200
        assert stranger.get(f"/api/status/{job_id}").status_code == 404


def test_logging_out_ends_the_session_on_the_server_too(site: Site) -> None:
    with browser(site) as client:
        join(client, "out@example.com")
        session = client.cookies["studio_session"]

        client.post("/api/logout")

        assert "studio_session" not in client.cookies
        with httpx.Client(base_url=site.url, trust_env=False) as later:
            later.cookies.set("studio_session", session)
            assert later.get("/api/me").status_code == 401


def test_the_session_cookie_is_for_the_browser_alone(site: Site) -> None:
    with browser(site) as client:
        client.post("/api/register", json={"email": "c@example.com", "password": WORD})
        line = client.post("/api/login", json={"email": "c@example.com", "password": WORD}).headers[
            "set-cookie"
        ]

    assert "HttpOnly" in line
    assert "SameSite=Lax" in line
    assert "Max-Age=2592000" in line


def test_registering_answers_the_same_for_a_known_address(site: Site) -> None:
    with browser(site) as one, browser(site) as other:
        said = {"email": "known@example.com", "password": WORD}
        first = one.post("/api/register", json=said)
        second = other.post("/api/register", json=said | {"password": "another long one"})

    assert (first.status_code, first.json()) == (second.status_code, second.json())


def test_a_failed_login_says_the_same_for_an_unknown_address(site: Site) -> None:
    with browser(site) as client:
        join(client, "told@example.com")
        answers = [
            client.post("/api/login", json={"email": email, "password": "wrong horse"})
            for email in ("told@example.com", "untold@example.com")
        ]

    assert answers[0].json() == answers[1].json()
    assert code(answers[0]) == (401, "login_failed")


def test_a_changed_password_ends_the_other_logins_and_keeps_this_one(site: Site) -> None:
    with browser(site) as here, browser(site) as there:
        join(here, "change@example.com")
        there.post("/api/login", json={"email": "change@example.com", "password": WORD})

        said = {"old_password": WORD, "new_password": "another long one"}
        assert here.put("/api/user/password", json=said).status_code == 200

        assert here.get("/api/me").json()["email"] == "change@example.com"
        assert there.get("/api/me").json().get("email") is None


def test_the_profile_is_changed_by_its_owner(site: Site) -> None:
    with browser(site) as client:
        join(client, "profile@example.com")

        client.put("/api/user/profile", json={"name": "小明"})
        refused = client.put("/api/user/profile", json={"email": "new@example.com"})
        changed = client.put(
            "/api/user/profile", json={"email": "new@example.com", "password": WORD}
        )

    assert code(refused) == (401, "login_failed")
    assert (changed.json()["name"], changed.json()["email"]) == ("小明", "new@example.com")


def test_who_leaves_takes_works_and_files_along(site: Site) -> None:
    with browser(site) as client:
        join(client, "leave@example.com")
        job_id = order(client)
        job = client.get(f"/api/status/{job_id}").json()
        files = list(site.studio.settings.outputs_dir.rglob(f"*{job_id}*"))
        address = job["outputs"][0]["url"]

        refused = client.request("DELETE", "/api/user/delete", json={"password": "wrong horse"})
        left = client.request("DELETE", "/api/user/delete", json={"password": WORD})

        assert files
        assert code(refused) == (401, "login_failed")
        assert left.status_code == 200
        assert "studio_session" not in client.cookies
        assert not [path for path in files if path.exists()]
        assert client.get(address).status_code == 404
        again = client.post("/api/login", json={"email": "leave@example.com", "password": WORD})
        assert code(again) == (401, "login_failed")


def test_a_guest_may_leave_too(site: Site) -> None:
    with browser(site) as client:
        job_id = order(client)
        cookie = client.cookies["studio_person"]

        assert client.request("DELETE", "/api/user/delete", json={}).status_code == 200

        client.cookies.set("studio_person", cookie)
        assert client.get(f"/api/status/{job_id}").status_code == 401


def test_a_personal_token_does_what_its_scopes_say(site: Site) -> None:
    with browser(site) as client:
        join(client, "token@example.com")
        job_id = order(client)
        read = client.post("/api/tokens", json={"name": "reader", "scopes": ["read"]}).json()
        both = client.post("/api/tokens", json={"name": "writer"}).json()
        listed = client.get("/api/tokens").json()["tokens"]

        with program(site, read["token"]) as reader:
            assert reader.get(f"/api/status/{job_id}").status_code == 200
            assert code(reader.post(f"/api/retry/{job_id}")) == (403, "token_read_only")
            joined = reader.post("/gradio_api/call/history", json={"data": []})
            assert code(joined) == (403, "token_read_only")
        with program(site, both["token"]) as writer:
            assert writer.post(f"/api/retry/{job_id}").status_code == 202
            for act in (
                lambda: writer.post("/api/tokens", json={"name": "more"}),
                lambda: writer.put("/api/user/password", json={}),
                lambda: writer.request("DELETE", "/api/user/delete", json={"password": WORD}),
            ):
                assert code(act()) == (403, "session_needed")
            client.delete(f"/api/tokens/{both['id']}")
            assert writer.get("/api/me").status_code == 401

    assert {one["name"]: one["scopes"] for one in listed} == {
        "reader": ["read"],
        "writer": ["read", "write"],
    }
    assert "token" not in listed[0]


@contextmanager
def program(site: Site, token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=20, trust_env=False) as client:
        yield client


def test_a_signed_guest_cookie_of_an_account_opens_nothing(site: Site) -> None:
    with browser(site) as client:
        person = join(client, "forged@example.com")["person"]
    found = site.studio.guests.cookie(person)

    with httpx.Client(base_url=site.url, trust_env=False) as thief:
        thief.cookies.set("studio_person", found)
        assert thief.get("/api/me").status_code == 401


def test_logins_are_throttled_by_address_and_by_account(
    practice: PracticeServer, tmp_path: Path
) -> None:
    with served(tmp_path, practice, rate_login=3, rate_register=2) as site, browser(site) as client:
        said = {"email": "a@example.com", "password": "wrong horse"}
        tries = [client.post("/api/login", json=said) for _ in range(4)]
        joins = [client.post("/api/register", json=said) for _ in range(3)]

    assert [one.status_code for one in tries] == [401, 401, 401, 429]
    assert int(tries[3].headers["retry-after"]) > 0
    assert [one.status_code for one in joins] == [201, 201, 429]


# Where a login is required ------------------------------------------------------------------------


def test_a_closed_studio_shows_a_browser_the_way_in(closed: Site) -> None:
    with browser(closed, opens=False) as client:
        shown = client.get("/", headers={"accept": "text/html"})
        told = client.get("/api/history")

    assert (shown.status_code, shown.headers["location"]) == (303, "account/login")
    assert code(told) == (401, "login_needed")


def test_a_guests_cookie_or_token_is_nothing_in_a_closed_studio(closed: Site) -> None:
    guests = closed.studio.guests
    with browser(closed, opens=False) as client, program(closed, guests.token("g-1")) as other:
        client.cookies.set("studio_person", guests.cookie("g-1"))

        assert code(client.get("/api/me")) == (401, "login_needed")
        assert code(other.get("/api/me")) == (401, "login_needed")


def test_who_was_invited_registers_and_works_in_a_closed_studio(closed: Site) -> None:
    invitation = closed.studio.people.invite("u-admin")
    with browser(closed, opens=False) as client:
        said = {"email": "in@example.com", "password": WORD}
        assert code(client.post("/api/register", json=said)) == (422, "invitation_invalid")
        client.post("/api/register", json=said | {"invitation": invitation})
        client.post("/api/login", json=said)

        assert client.get("/").status_code == 200
        assert order(client)


# Where there are no accounts ----------------------------------------------------------------------


def test_a_studio_without_accounts_has_one_person(practice: PracticeServer, tmp_path: Path) -> None:
    with (
        served(tmp_path, practice, studio_accounts="off", **UNLIMITED) as site,
        browser(site) as one,
        browser(site, opens=False) as other,
    ):
        job_id = order(one)

        assert other.get(f"/api/status/{job_id}").status_code == 200
        assert one.get("/api/me").json()["kind"] == "local"
        assert not one.cookies
        rebound = other.get("/api/history", headers={"host": "evil.example"})
        assert code(rebound) == (403, "host_unknown")
        said = {"email": "a@example.com", "password": WORD}
        assert code(other.post("/api/register", json=said)) == (403, "registration_closed")
