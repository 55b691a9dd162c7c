"""What holds for every request on the port, Gradio's routes too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.practice import PracticeServer
from tests.tabs.site import CHECKPOINT, MODELS, Site, served

FRIEND = "https://friend.example"
TEXT = {"workflow": "text_to_image", "prompt": "x", "model": CHECKPOINT, "steps": 1}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio with the limits as they come, small bodies, and one other site that may call it."""
    practice = PracticeServer(pace_s=0.01, models=MODELS)
    folder = tmp_path_factory.mktemp("site")
    settings: dict[str, Any] = {"cors_origins": (FRIEND,), "max_body_mb": 1, "max_upload_mb": 2}
    with practice, served(folder, practice, rate_guest=0, **settings) as site:
        yield site


@pytest.fixture
def browser(site: Site) -> Iterator[httpx.Client]:
    with site.visitor() as visitor:
        yield visitor


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


# --- other sites ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/api/generate", "/api/guest", "/gradio_api/queue/join", "/gradio_api/upload"]
)
def test_what_another_sites_page_sends_is_not_done(
    browser: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = browser.post(path, json=TEXT, headers=headers)

    assert (answer.status_code, code(answer)) == (403, "cross_site")


def test_the_page_itself_may_send(site: Site, browser: httpx.Client) -> None:
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": site.url}, {}):
        assert browser.post("/api/guest", headers=headers).status_code == 201


def test_no_site_may_read_unless_it_is_listed(browser: httpx.Client) -> None:
    for path in ("/api/health", "/config", "/gradio_api/info"):
        strange = browser.get(path, headers={"Origin": "https://evil.example"})
        known = browser.get(path, headers={"Origin": FRIEND})

        assert not [name for name in strange.headers if name.startswith("access-control")]
        assert known.headers["access-control-allow-origin"] == FRIEND
        assert "access-control-allow-credentials" not in known.headers


def test_a_listed_sites_page_is_told_that_it_may(browser: httpx.Client) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Origin": FRIEND}

    leave = browser.options("/api/generate", headers=asks)
    refused = browser.options("/api/generate", headers=asks | {"Origin": "https://evil.example"})

    assert "Authorization" in leave.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in refused.headers


# --- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/api/health", "/api/docs", "/nope", "/outputs/a/b", "/config", "/theme.css"]
)
def test_every_answer_has_the_security_headers(browser: httpx.Client, path: str) -> None:
    headers = browser.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy or "sandbox" in policy


def test_a_made_up_host_is_not_believed(site: Site) -> None:
    evil = {"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "203.0.113.1"}

    answer = httpx.get(f"{site.url}/config", headers=evil, trust_env=False)

    assert answer.json()["root"] == site.url


# --- bodies --------------------------------------------------------------------------------------


def test_a_body_that_says_it_is_too_large_is_refused(browser: httpx.Client) -> None:
    answer = browser.post("/api/generate", content=b"x" * 1_000_001)

    assert (answer.status_code, code(answer)) == (413, "body_too_large")


@pytest.mark.parametrize("path", ["/api/generate", "/api/upload", "/gradio_api/queue/join"])
def test_a_body_that_turns_out_too_large_is_refused(browser: httpx.Client, path: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 100_000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if path != "/api/upload":
        headers = {"Content-Type": "application/json"}

    answer = browser.post(path, content=pieces(), headers=headers)

    assert answer.status_code == 413, answer.text
    assert code(answer) in ("body_too_large", "file_too_large")


# --- Gradio's routes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/file=..%2f..%2f..%2fetc%2fpasswd",
        "/gradio_api/file=..%5c..%5csecret",
        "/gradio_api/file=http://127.0.0.1:8188/view",
        "/gradio_api/file=http://169.254.169.254/",
        "/gradio_api/file=a%00b",
        "/gradio_api/proxy=http://127.0.0.1:8188/",
        "/gradio_api/deep_link",
        "/monitoring",
        "/monitoring/summary",
        "/login",
        "/gradio_api/vibe-code",
    ],
)
def test_gradio_gives_nothing_and_fetches_nothing(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)

    assert answer.status_code in (404, 405)
    assert "root:" not in answer.text


def test_gradio_gives_none_of_our_files(site: Site, browser: httpx.Client, tmp_path: Path) -> None:
    settings = site.studio.settings
    inside = site.demo.folder / "link"
    (site.demo.folder).mkdir(parents=True, exist_ok=True)
    inside.symlink_to(settings.data_dir / "secret")
    for path in (
        settings.data_dir / "secret",
        settings.data_dir / "studio.db",
        settings.workflows_dir / "text_to_image.json",
        inside,
        tmp_path,
    ):
        answer = browser.get(f"/gradio_api/file={path}")
        assert answer.status_code == 404, path
        assert str(settings.data_dir) not in answer.text
    inside.unlink()


def test_an_upload_is_its_persons_alone(site: Site, browser: httpx.Client) -> None:
    (path,) = browser.post("/gradio_api/upload", files={"files": ("a.txt", b"mine")}).json()

    assert browser.get(f"/gradio_api/file={path}").content == b"mine"
    assert httpx.get(f"{site.url}/gradio_api/file={path}", trust_env=False).status_code == 404
    with site.visitor() as stranger:
        assert stranger.get(f"/gradio_api/file={path}").status_code == 404
        stranger.post("/gradio_api/upload", files={"files": ("a.txt", b"mine")})
        assert stranger.get(f"/gradio_api/file={path}").status_code == 200  # now it is theirs too


# --- how often -----------------------------------------------------------------------------------


def test_who_orders_too_often_is_told_when_it_works_again(browser: httpx.Client) -> None:
    answers = [browser.post("/api/generate", json=TEXT | {"prompt": ""}) for _ in range(11)]

    assert [answer.status_code for answer in answers] == [422] * 10 + [429]
    assert code(answers[-1]) == "too_often"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60


def test_statuses_are_counted_by_the_second(browser: httpx.Client) -> None:
    answers = [browser.get("/api/status/none") for _ in range(8)]

    assert {answer.status_code for answer in answers} == {404, 429}


def test_uploads_are_counted_together_whichever_way_they_come(browser: httpx.Client) -> None:
    for _ in range(15):
        browser.post("/gradio_api/upload", files={"files": ("a.txt", b"x")})
        browser.post("/api/upload", files={"file": ("a.txt", b"x")})

    for path in ("/gradio_api/upload", "/api/upload"):
        assert browser.post(path, files={"file": ("a.txt", b"x")}).status_code == 429
