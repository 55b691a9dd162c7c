"""Behind nginx with TLS, under /studio/: the page, its pictures, events, uploads and downloads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from studio.practice import PracticeServer
from tests.browser.person import BLEND, Person
from tests.proxy import nginx
from tests.tabs.site import CHECKPOINT, MODELS, Site, free_port, served


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A studio behind nginx; `url` is the address outside."""
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "nginx").mkdir()
    with (
        PracticeServer(pace_s=0.03, models=MODELS) as practice,
        served(folder, practice, studio_root_path="/studio", rate_status=0) as inside,
        nginx(folder / "nginx", inside.studio.settings.studio_port, free_port()) as outside,
    ):
        yield replace(inside, url=outside)


@pytest.fixture
def ann(site: Site, chromium: Browser) -> Iterator[Person]:
    context = chromium.new_context(locale="en-US", ignore_https_errors=True)
    context.set_default_timeout(15_000)
    failed: list[str] = []
    context.on(
        "response",
        lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status > 399 else 0,
    )
    person = Person(site, context.new_page())
    yield person
    context.close()
    assert failed == []
    assert person.complaints == []
    assert person.strangers == []


def test_the_page_makes_a_picture_and_gives_it_as_a_file(ann: Person, site: Site) -> None:
    ann.order("a lighthouse")
    stage = ann.sees_result()

    picture = stage.locator("img.studio-picture").first
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1024
    address = str(picture.evaluate("image => image.src"))
    assert address.startswith(f"{site.url}/outputs/")
    (cookie,) = [c for c in ann.page.context.cookies() if c["name"] == "studio_person"]
    assert cookie["secure"]
    got = ann.page.context.request.get(f"{address}?download=1")
    assert got.headers["content-disposition"].startswith("attachment")


def test_a_picture_can_be_uploaded_on_the_page(ann: Person, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    ann.open_tab("Image blend")

    field = ann.field("images", BLEND)
    field.locator("input[type=file]").set_input_files(tmp_path / "red.png")

    picture = field.locator("figure.studio-upload img").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 64


def test_an_account_is_made_and_opened_below_the_path(ann: Person, site: Site) -> None:
    page = ann.page
    page.locator("a.studio-person").click()
    page.get_by_role("link", name="Make an account").click()
    page.locator("#register-email").fill("below@example.com")
    page.locator("#register-password").fill("correct horse battery")
    page.keyboard.press("Enter")

    expect(page.locator("a.studio-person")).to_have_text("below")
    assert page.url == f"{site.url}/"
    page.locator("a.studio-person").click()
    expect(page).to_have_url(f"{site.url}/account")
    (cookie,) = [c for c in page.context.cookies() if c["name"] == "studio_session"]
    assert cookie["secure"]
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(f"{site.url}/account/login?said=out")


def test_a_program_orders_follows_and_downloads(site: Site) -> None:
    file = BytesIO()
    Image.new("RGB", (64, 64), "blue").save(file, "PNG")
    with httpx.Client(verify=False, timeout=20, trust_env=False) as program:  # noqa: S501
        token = program.post(f"{site.url}/api/guest").json()["token"]
        program.headers["Authorization"] = f"Bearer {token}"
        sent = program.post(f"{site.url}/api/upload", files={"file": ("b.png", file.getvalue())})
        body = {"workflow": "text_to_image", "prompt": "x", "model": CHECKPOINT, "steps": 2}
        job_id = program.post(f"{site.url}/api/generate", json=body).json()["job_id"]
        with program.stream("GET", f"{site.url}/api/events/{job_id}") as stream:
            lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
        done = json.loads(lines[-1].removeprefix("data: "))
        address = done["image_url"]
        picture = program.get(site.url.removesuffix("/studio") + address)
        shown = program.get(f"{site.url}/api/openapi.json").json()

    assert sent.status_code == 201
    assert len(lines) > 1
    assert address.startswith("/studio/outputs/")
    assert picture.headers["content-type"] == "image/png"
    assert shown["servers"] == [{"url": "/studio"}]


def test_a_stranger_cannot_make_up_the_host(site: Site) -> None:
    evil = {"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "203.0.113.9"}
    with httpx.Client(verify=False, trust_env=False, headers=evil) as client:  # noqa: S501
        page = client.get(f"{site.url}/").text
        config = client.get(f"{site.url}/config").json()

    assert "evil.example" not in page
    assert config["root"] == site.url
