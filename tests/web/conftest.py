"""A page that is served for real, for the tests of routes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from studio.engine.people import Role
from studio.practice import PracticeServer
from tests.tabs.filters import forgive
from tests.tabs.site import CHECKPOINT, MODELS, Site, served

UNLIMITED: dict[str, Any] = {
    "rate_generate": 0,
    "rate_generate_page": 0,
    "rate_status": 0,
    "rate_upload": 0,
    "rate_guest": 0,
    "rate_login": 0,
    "rate_register": 0,
}
Order = Callable[..., dict[str, Any]]
Ended = Callable[[str], dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    forgive(items, "tests/web/")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page on a practice ComfyUI, one for all tests of a file; without limits of how often."""
    practice = PracticeServer(pace_s=0.01, models=MODELS)
    with practice, served(tmp_path_factory.mktemp("site"), practice, **UNLIMITED) as site:
        yield site


@pytest.fixture
def program(site: Site) -> Iterator[httpx.Client]:
    """A program with a token of its own."""
    with programs(site) as one:
        yield one


@pytest.fixture
def stranger(site: Site) -> Iterator[httpx.Client]:
    """Another program, of another person."""
    with programs(site) as other:
        yield other


@contextmanager
def programs(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=20, trust_env=False) as client:
        token = client.post("/api/guest").json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


@contextmanager
def members(site: Site, *, role: Role = Role.MEMBER) -> Iterator[httpx.Client]:
    """A program with the personal token of an account of its own."""
    people = site.studio.people
    account = people.add(f"{uuid.uuid4().hex}@example.com", "correct horse battery", role=role)
    _, token = people.make_token(account.person, "test", writes=True)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=site.url, headers=headers, timeout=20, trust_env=False) as client:
        yield client


@pytest.fixture
def order(program: httpx.Client) -> Order:
    """Order a small picture and give what was answered."""

    def ordered(**values: Any) -> dict[str, Any]:
        body = {"workflow": "text_to_image", "prompt": "a lighthouse", "model": CHECKPOINT}
        answer = program.post("/api/generate", json=body | {"steps": 1} | values)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    return ordered


@pytest.fixture
def ended(program: httpx.Client) -> Ended:
    """Follow a job's events to its end and give the last."""

    def follow(job_id: str) -> dict[str, Any]:
        return events(program, job_id)[-1]

    return follow


def events(program: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    """Read a job's events until the stream ends."""
    with program.stream("GET", f"/api/events/{job_id}") as answer:
        assert answer.status_code == 200, answer.read()
        lines = list(answer.iter_lines())
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
