"""Each browser is a guest of its own."""

from __future__ import annotations

import httpx
import pytest

from studio.engine.accounts import COOKIE, Guests
from studio.web.identity import cookie_header, is_page_load
from tests.tabs.site import Site


def test_a_page_load_without_a_cookie_makes_a_guest(site: Site) -> None:
    answer = httpx.get(f"{site.url}/", trust_env=False)

    cookie = answer.headers["set-cookie"]
    assert site.studio.guests.read(answer.cookies[COOKIE])
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_a_browser_stays_the_same_guest_over_page_loads(site: Site) -> None:
    with site.visitor() as visitor:
        before = site.person(visitor)
        visitor.get("/")

        assert site.person(visitor) == before


def test_two_browsers_are_two_guests(site: Site) -> None:
    with site.visitor() as one, site.visitor() as other:
        assert site.person(one) != site.person(other)


def test_a_forged_cookie_makes_a_new_guest(site: Site) -> None:
    forged = Guests("another secret of 16 or more").cookie("g-victim")

    answer = httpx.get(f"{site.url}/", cookies={COOKIE: forged}, trust_env=False)

    assert site.studio.guests.read(answer.cookies[COOKIE]) not in (None, "g-victim")


def test_only_the_page_itself_sets_a_cookie(site: Site) -> None:
    assert "set-cookie" not in httpx.get(f"{site.url}/api/health", trust_env=False).headers


@pytest.mark.parametrize(
    ("headers", "scheme", "ending"),
    [
        ({}, "http", "; SameSite=Lax"),
        ({}, "https", "; SameSite=Lax; Secure"),
        ({"x-forwarded-proto": "https"}, "http", "; SameSite=Lax; Secure"),
        ({"sec-fetch-dest": "iframe"}, "https", "; SameSite=None; Secure; Partitioned"),
        ({"sec-fetch-dest": "iframe"}, "http", "; SameSite=Lax"),
    ],
    ids=["plain", "https", "behind-a-proxy", "framed", "framed-without-https"],
)
def test_the_cookie_fits_the_way_the_page_is_shown(
    headers: dict[str, str], scheme: str, ending: str
) -> None:
    line = cookie_header("value", headers, scheme)

    assert line.startswith(f"{COOKIE}=value; ")
    assert line.endswith(ending)


@pytest.mark.parametrize(
    ("scope", "loads"),
    [
        ({"type": "http", "method": "GET", "path": "/"}, True),
        ({"type": "http", "method": "GET", "path": "/studio/", "root_path": "/studio"}, True),
        ({"type": "http", "method": "POST", "path": "/"}, False),
        ({"type": "http", "method": "GET", "path": "/config"}, False),
        ({"type": "lifespan"}, False),
    ],
)
def test_a_page_load_is_told_from_other_requests(scope: dict[str, str], loads: bool) -> None:
    assert is_page_load(scope) is loads
