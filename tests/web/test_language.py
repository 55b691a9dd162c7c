"""The language of a request, and of the page's own markup."""

from __future__ import annotations

import httpx
import pytest

from studio.web.language import COOKIE, language_of, rewrite
from tests.tabs.site import Site


@pytest.mark.parametrize(
    ("cookie", "accept", "language"),
    [
        ("", "", "en"),
        ("", "zh-TW,zh;q=0.9,en;q=0.8", "zh-TW"),
        ("", "zh-HK", "zh-TW"),
        ("", "zh-CN,zh", "zh-TW"),
        ("", "en-GB,en", "en"),
        ("", "fr,zh;q=0.5", "zh-TW"),
        ("en", "zh-TW", "en"),
        ("zh-TW", "en", "zh-TW"),
        ("xx", "zh-TW", "zh-TW"),
    ],
)
def test_the_cookie_wins_then_what_the_browser_asks(
    cookie: str, accept: str, language: str
) -> None:
    headers = {"accept-language": accept} if accept else {}

    assert language_of({COOKIE: cookie} if cookie else {}, headers) == language


def test_who_asks_for_neither_gets_the_hosts_choice() -> None:
    assert language_of({}, {"accept-language": "fr"}, "zh-TW") == "zh-TW"


def test_the_first_script_is_the_first_child_of_head() -> None:
    page = rewrite(b'<html lang="en"><head><meta></head>', "<i>", "zh-TW", "en")

    assert page.startswith(
        b'<html lang="zh-TW"><head><script>window.studioDefault="en"</script><i>'
    )


@pytest.mark.parametrize(("accept", "language"), [("zh-TW", "zh-TW"), ("en", "en")])
def test_the_page_says_its_language(site: Site, accept: str, language: str) -> None:
    answer = httpx.get(f"{site.url}/", headers={"accept-language": accept}, trust_env=False)

    head = answer.text[: answer.text.index("</script>")]
    assert f'lang="{language}"' in head
    assert answer.headers["content-language"] == language
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_errors_of_routes_speak_the_visitors_language(site: Site) -> None:
    with site.visitor(language="zh-TW") as visitor:
        error = visitor.get("/outputs/none/001.png").json()["error"]

    assert error["code"] == "job_unknown"
    assert not error["message"].isascii()
