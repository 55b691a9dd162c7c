"""Where a login is required: no route of the running app answers nobody, but the way in."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from studio.engine.people import Role
from studio.practice import PracticeServer
from tests.tabs.site import MODELS, Site, served
from tests.web.conftest import UNLIMITED
from tests.web.test_access import routes

OPEN = {
    "GET /account/login",
    "GET /account/register",
    "POST /api/login",
    "POST /api/register",
    "GET /api/health",
    "GET /shared/{token}",
    "GET /shared/{token}/{name}",
    "GET /studio-assets/{name}",
    "GET /assets/{path:path}",
    "GET /static/{path:path}",
    "GET /favicon.ico",
    "GET /robots.txt",
    "GET /gradio_api/startup-events",
}
"""The way in, whether the studio is well, what was shared on purpose, scripts and styles."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("required")
    practice = PracticeServer(pace_s=0.01, models=MODELS)
    ways = {"studio_accounts": "required"}
    with practice, served(folder, practice, **UNLIMITED, **ways) as site:
        site.studio.people.add("admin@example.com", "correct horse battery", role=Role.ADMIN)
        yield site


def asked(client: httpx.Client, row: str, **headers: str) -> tuple[int, str]:
    """Ask once without a login; give the status and where it leads."""
    method, path = row.split(" ", 1)
    with client.stream(method, re.sub(r"{[^}]*}", "x", path), headers=headers) as answer:
        return answer.status_code, answer.headers.get("location", "")


def test_nobody_gets_in_by_any_route(site: Site) -> None:
    guest = site.studio.guests.cookie("g-1")
    for cookies in ({}, {"studio_person": guest}, {"studio_session": "forged"}):
        with httpx.Client(
            base_url=site.url, cookies=cookies, timeout=20, trust_env=False
        ) as nobody:
            let_in = {row for row in sorted(set(routes(site))) if asked(nobody, row)[0] != 401}

        assert let_in - OPEN == set(), cookies
        assert OPEN - let_in == set(), cookies


def test_a_page_leads_to_the_login_and_tells_nothing_else(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=20, trust_env=False) as nobody:
        for row in sorted(set(routes(site)) - OPEN):
            status, way = asked(nobody, row, accept="text/html")
            if row.startswith("GET "):
                assert status == 303, row
                assert re.fullmatch(r"(\.\./)*account/login(\?.*)?", way), (row, way)
            else:
                assert status == 401, row
