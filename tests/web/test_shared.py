"""Links to single results over HTTP: what they show, what they never say, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.tabs.site import Site
from tests.web.conftest import Ended, Order

PAGE = {"Accept": "text/html"}
PROMPT = "a lighthouse nobody else may read of"


@pytest.fixture
def job(order: Order, ended: Ended) -> dict[str, Any]:
    return ended(order(prompt=PROMPT)["job_id"])


@pytest.fixture
def share(program: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    answer = program.post("/api/shares", json={"job_id": job["job_id"]})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@pytest.fixture
def nobody(site: Site) -> Any:
    """Somebody with a link and nothing else."""
    with httpx.Client(timeout=20, trust_env=False) as client:
        yield client


def test_who_has_the_link_sees_the_picture_and_nothing_else(
    nobody: httpx.Client, share: dict[str, Any], job: dict[str, Any], program: httpx.Client
) -> None:
    page = nobody.get(share["url"], headers=PAGE)
    picture = nobody.get(f"{share['url']}/picture.png")

    assert page.status_code == picture.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert picture.headers["content-type"] == "image/png"
    kept = program.get(job["outputs"][0]["url"]).content
    assert PROMPT.encode() in kept
    for said in (page.content, picture.content, str(page.headers).encode()):
        for secret in (PROMPT, job["job_id"], program.get("/api/me").json()["person"]):
            assert secret.encode() not in said
    assert not nobody.cookies


def test_the_page_is_for_no_index_needs_no_script_and_shows_the_picture_elsewhere(
    nobody: httpx.Client, share: dict[str, Any]
) -> None:
    page = nobody.get(share["url"], headers=PAGE)

    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src 'self'")
    assert "script" not in policy
    assert "<script" not in page.text
    assert page.headers["x-robots-tag"] == "noindex, nofollow"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert f'<meta property="og:image" content="{share["url"]}/picture.png">' in page.text
    assert page.text.count("<meta property=") == 6


@pytest.mark.parametrize(
    ("language", "said"), [("en", "A picture shared with you"), ("zh-TW", "與你分享的圖片")]
)
def test_the_page_speaks_the_readers_language(
    nobody: httpx.Client, share: dict[str, Any], language: str, said: str
) -> None:
    page = nobody.get(share["url"], headers=PAGE | {"Accept-Language": language})

    assert f'lang="{language}"' in page.text
    assert said in page.text


def test_the_file_comes_in_ranges_to_keep_and_is_asked_for_anew_each_time(
    nobody: httpx.Client, share: dict[str, Any]
) -> None:
    url = f"{share['url']}/picture.png"
    whole = nobody.get(url)

    part = nobody.get(url, headers={"Range": "bytes=1-3"})
    kept = nobody.get(f"{url}?download=1")
    again = nobody.get(url, headers={"If-None-Match": whole.headers["etag"]})

    assert (part.status_code, part.content) == (206, b"PNG")
    assert kept.headers["content-disposition"] == 'attachment; filename="picture.png"'
    assert whole.headers["cache-control"] == "private, no-cache"
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert again.status_code == 304


Act = Callable[[httpx.Client, dict[str, Any], dict[str, Any]], object]
ENDS: dict[str, Act] = {
    "revoked": lambda program, share, _: program.delete(f"/api/shares/{share['id']}"),
    "deleted": lambda program, _, job: program.delete(f"/api/jobs/{job['job_id']}"),
    "expired": lambda *_: None,
    "forged": lambda *_: None,
}


@pytest.mark.parametrize("end", ENDS)
def test_every_link_that_leads_to_nothing_gets_the_same_answer(
    site: Site,
    nobody: httpx.Client,
    program: httpx.Client,
    share: dict[str, Any],
    job: dict[str, Any],
    end: str,
) -> None:
    seen = nobody.get(f"{share['url']}/picture.png")
    url = share["url"] if end != "forged" else share["url"][:-1] + "é"
    if end == "expired":
        rows = site.studio.database.tables.share
        past = rows.update(expires_us=1).where(rows.share_id == share["id"])
        site.studio.database.tx(past.execute)

    ENDS[end](program, share, job)

    page, file = nobody.get(url, headers=PAGE), nobody.get(f"{url}/picture.png")
    fresh = nobody.get(f"{url}/picture.png", headers={"If-None-Match": seen.headers["etag"]})
    assert [one.status_code for one in (page, file, fresh)] == [404, 404, 404]
    assert "This link leads to nothing." in page.text
    assert "<script" not in page.text
    assert file.json()["error"]["code"] == nobody.get(url).json()["error"]["code"]
    assert file.json()["error"]["code"] == "share_unknown"
    assert page.headers["cache-control"] == "no-store"


def test_the_list_says_how_each_link_stands(program: httpx.Client, share: dict[str, Any]) -> None:
    (listed,) = program.get("/api/shares", params={"job_id": share["job_id"]}).json()["shares"]
    assert listed == share
    assert listed["state"] == "active"

    program.delete(f"/api/shares/{share['id']}")

    (ended,) = program.get("/api/shares", params={"job_id": share["job_id"]}).json()["shares"]
    assert (ended["state"], ended["url"]) == ("revoked", None)


def test_another_persons_result_and_link_are_not_there(
    stranger: httpx.Client, share: dict[str, Any], nobody: httpx.Client
) -> None:
    made = stranger.post("/api/shares", json={"job_id": share["job_id"]})
    ended = stranger.delete(f"/api/shares/{share['id']}")

    assert made.json()["error"]["code"] == "job_unknown"
    assert ended.json()["error"]["code"] == "share_unknown"
    assert share["id"] not in stranger.get("/api/shares").text
    assert nobody.get(share["url"]).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "field_required"),
        ({"job_id": 7}, 422, "field_wrong_type"),
        ({"job_id": "\ud800"}, 422, "field_wrong_type"),
        ({"job_id": "none"}, 404, "job_unknown"),
        ({"job_id": "JOB", "name": []}, 422, "field_wrong_type"),
        ({"job_id": "JOB", "name": "../001.png"}, 404, "file_unknown"),
        ({"job_id": "JOB", "days": True}, 422, "field_wrong_type"),
        ({"job_id": "JOB", "days": 10**30}, 422, "field_out_of_range"),
        ({"job_id": "JOB", "days": 0}, 422, "field_out_of_range"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    program: httpx.Client, job: dict[str, Any], body: dict[str, Any], status: int, code: str
) -> None:
    sent = {name: job["job_id"] if value == "JOB" else value for name, value in body.items()}

    answer = program.post("/api/shares", content=json.dumps(sent))

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_over_a_proxy_the_link_is_the_readers(site: Site, program: httpx.Client, job: Any) -> None:
    """From this machine the scheme is believed, the host only of proxies that were named."""
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}

    made = program.post("/api/shares", json={"job_id": job["job_id"]}, headers=headers).json()

    assert made["url"].startswith(site.url.replace("http://", "https://") + "/shared/")
