"""The admin's tab: hidden from all others, and closed to who calls its events by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from studio.engine.people import Role
from studio.tabs.admin import _EVENTS
from tests.tabs.site import CHECKPOINT, Site

WORD = "correct horse battery"
PROMPT = "a lighthouse nobody else may read of"
ASKED: dict[str, Any] = {
    "text": "", "after": "", "turn": "1", "state": "", "on": True, "admin": True, "days": 7,
}  # fmt: skip


@contextmanager
def someone(site: Site, email: str, role: Role) -> Iterator[httpx.Client]:
    """A browser that is logged in."""
    site.studio.people.add(email, WORD, role=role)
    with httpx.Client(base_url=site.url, timeout=20, trust_env=False) as client:
        client.get("/").raise_for_status()
        client.post("/api/login", json={"email": email, "password": WORD}).raise_for_status()
        yield client


@pytest.fixture(scope="module")
def member(site: Site) -> Iterator[httpx.Client]:
    with someone(site, "member@example.com", Role.MEMBER) as client:
        yield client


@pytest.fixture(scope="module")
def admin(site: Site) -> Iterator[httpx.Client]:
    with someone(site, "admin@example.com", Role.ADMIN) as client:
        yield client


@pytest.fixture(scope="module")
def job_id(site: Site) -> str:
    with site.visitor() as guest:
        body = {"workflow": "text_to_image", "prompt": PROMPT, "model": CHECKPOINT, "steps": 1}
        return str(guest.post("/api/generate", json=body).json()["job_id"])


@pytest.fixture(scope="module")
def config(site: Site) -> dict[str, Any]:
    """What the page tells everybody of itself."""
    return dict(httpx.get(f"{site.url}/config", trust_env=False).json())


@pytest.fixture(scope="module")
def events(config: dict[str, Any]) -> dict[str, int]:
    """The number of each event of the tab."""
    [board] = [
        one["id"]
        for one in config["components"]
        if one["props"].get("elem_id") == "studio-admin-board"
    ]
    return {
        target[1]: dependency["id"]
        for dependency in config["dependencies"]
        for target in dependency["targets"]
        if target[0] == board
    }


def called(client: httpx.Client, number: int, *, job: str, way: str) -> str:
    """Call an event by its number, as the page does or by its older door; give all that comes."""
    body = {
        "data": [],
        "fn_index": number,
        "session_hash": f"by-hand-{number}",
        "event_data": ASKED | {"job": job, "person": f"g-{'0' * 32}"},
    }
    if way == "run":
        return client.post("/gradio_api/run/predict", json=body).text
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.text
    asked = {"session_hash": body["session_hash"]}
    told = []
    with client.stream("GET", "/gradio_api/queue/data", params=asked) as answer:
        for line in answer.iter_lines():
            told.append(line)
            if "process_completed" in line or "unexpected_error" in line:
                break
    return "\n".join(told)


@pytest.mark.parametrize(
    ("event", "way"), [*((event, "join") for event in _EVENTS), ("open", "run"), ("block", "run")]
)
def test_an_event_called_by_hand_refuses_a_member_and_a_guest(
    site: Site, member: httpx.Client, events: dict[str, int], job_id: str, event: str, way: str
) -> None:
    assert site.practice is not None
    before = site.studio.people.deeds()

    with httpx.Client(base_url=site.url, timeout=20, trust_env=False) as nobody:
        for client in (member, nobody):
            told = called(client, events[event], job=job_id, way=way)

            assert re.search(r"Only an admin may do this|\"error\"", told), told
            for secret in (PROMPT, job_id, "admin@example.com", "invitation=", site.practice.url):
                assert secret not in told
    assert site.studio.people.deeds() == before


def test_the_same_call_answers_an_admin(
    site: Site, admin: httpx.Client, events: dict[str, int], job_id: str
) -> None:
    people = called(admin, events["people"], job=job_id, way="join")
    jobs = called(admin, events["jobs"], job=job_id, way="join")
    opened = called(admin, events["open"], job=job_id, way="join")

    assert "admin@example.com" in people
    assert job_id in jobs
    assert PROMPT not in jobs
    assert PROMPT in opened
    assert site.studio.people.deeds()[0].about == job_id


def test_every_event_is_private_and_told_to_no_program(
    site: Site, config: dict[str, Any], events: dict[str, int]
) -> None:
    assert set(events) == set(_EVENTS)
    ours = [one for one in config["dependencies"] if one["id"] in events.values()]

    assert {one["api_visibility"] for one in ours} == {"private"}
    told = httpx.get(f"{site.url}/gradio_api/info", trust_env=False).json()
    assert set(told["named_endpoints"]) & {f"/{one['api_name']}" for one in ours} == set()
    assert told["unnamed_endpoints"] == {}


def test_the_page_holds_the_tab_out_of_sight(config: dict[str, Any]) -> None:
    [tab] = [one for one in config["components"] if one["props"].get("id") == "admin"]

    assert tab["props"]["visible"] is False
