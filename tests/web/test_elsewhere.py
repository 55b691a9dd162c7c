"""Files named by their address, and webhooks: all by the one room outside."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Any

import httpx
import pytest
from gradio import processing_utils
from gradio.state_holder import SessionState
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from studio.engine.webhooks import signature
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.elsewhere import Elsewhere, Visitor, serving_files
from tests.tabs.site import CHECKPOINT, MODELS, Site, served
from tests.web.conftest import UNLIMITED, Ended

INWARDS = (
    "http://127.0.0.1:8188/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://localhost/",
    "http://2130706433/",
)


def png(colour: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """A place outside, which the host of the studio trusts."""
    files = {
        "/red.png": png("red"),
        "/blue.png": png("blue"),
        "/page": b"<html>inner words</html>",
        "/hook": b"thanks",
    }
    with serving_files(files) as there:
        yield there


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere) -> Iterator[Site]:
    practice = PracticeServer(pace_s=0.01, models=MODELS)
    trusted = (f"127.0.0.1:{elsewhere.server.port}",)
    folder = tmp_path_factory.mktemp("site")
    with practice, served(folder, practice, outside_hosts=trusted, **UNLIMITED) as site:
        yield site


def test_a_program_orders_with_pictures_by_address(
    program: httpx.Client, ended: Ended, elsewhere: Elsewhere
) -> None:
    images = [elsewhere.url("/red.png"), {"url": elsewhere.url("/blue.png"), "name": "sky.png"}]

    taken = program.post("/api/generate", json={"workflow": "image_blend_pixel", "images": images})

    assert taken.status_code == 202, taken.text
    done = ended(taken.json()["job_id"])
    assert (done["status"], len(done["values"]["images"])) == ("completed", 2)


@pytest.mark.parametrize("url", INWARDS)
def test_an_address_inwards_is_refused_at_its_field(program: httpx.Client, url: str) -> None:
    body = {"workflow": "face_swap", "face": url, "body": {"url": url}}

    answer = program.post("/api/generate", json=body)

    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == "url_refused"
    assert error["field"] in ("face", "body")


def test_what_is_fetched_and_no_picture_is_not_echoed(
    program: httpx.Client, elsewhere: Elsewhere
) -> None:
    body = {"workflow": "face_swap", "face": elsewhere.url("/page")}

    answer = program.post("/api/generate", json=body)

    assert answer.json()["error"]["code"] == "file_type_unsupported"
    assert "inner words" not in answer.text


def test_gradio_client_names_pictures_by_address(site: Site, elsewhere: Elsewhere) -> None:
    client = Client(site.url, verbose=False)
    images = [handle_file(elsewhere.url(f"/{colour}.png")) for colour in ("red", "blue")]

    files, info = client.predict(
        images=images, blend_mode="normal", opacity=0.0, api_name="/image_blend"
    )
    client.close()

    assert info["status"] == "completed"
    with Image.open(files[0]) as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_gradio_client_is_told_when_an_address_leads_inwards(site: Site) -> None:
    client = Client(site.url, verbose=False)
    images = [handle_file("http://127.0.0.1:8188/x.png")] * 2

    with pytest.raises(AppError, match="address"):
        client.predict(images=images, api_name="/image_blend")
    client.close()


def test_gradio_itself_fetches_nothing_whatever_an_event_is_given(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    async def fetch(url: str, **_: Any) -> str:
        fetched.append(url)
        raise ValueError(url)

    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        monkeypatch.setattr(processing_utils, name, fetch)
    for name in ("ssrf_protected_download", "save_url_to_cache"):
        monkeypatch.setattr(processing_utils, name, lambda url, **_: fetched.append(url))
    url = "http://93.184.215.14/x.png"
    marked = {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}

    value = [marked, {"value": marked, "background": marked, "layers": [marked]}]
    kinds = {tuple(type(one) for one in fn.inputs): fn for fn in site.demo.fns.values()}

    async def give() -> None:
        state = SessionState(site.demo)
        for fn in kinds.values():
            for given in (marked, value, {"value": value}):
                with suppress(Exception):  # what a component makes of it is its own
                    await site.demo.preprocess_data(fn, [given for _ in fn.inputs], state)

    asyncio.run(give())
    assert len(kinds) > 5
    assert fetched == []


@pytest.mark.parametrize("path", ["file=http://127.0.0.1:8188/", "proxy=http://127.0.0.1:8188/"])
def test_no_route_of_gradio_fetches_an_address(program: httpx.Client, path: str) -> None:
    assert program.get(f"/gradio_api/{path}").status_code == 404


# --- webhooks -----------------------------------------------------------------------------------

TEXT = {"workflow": "text_to_image", "prompt": "a lighthouse", "model": CHECKPOINT, "steps": 1}


def told_of(elsewhere: Elsewhere, job_id: str, timeout_s: float = 10) -> Visitor:
    """Wait for the post about a job."""
    pause = threading.Event()
    for _ in range(round(timeout_s / 0.05)):
        for visit in elsewhere.server.visits:
            if visit.method == "POST" and json.loads(visit.body)["job_id"] == job_id:
                return visit
        pause.wait(0.05)
    raise AssertionError("nothing was told")


def delivered(program: httpx.Client, job_id: str, timeout_s: float = 10) -> dict[str, Any]:
    """Wait until the row says what the receiver knows already."""
    pause = threading.Event()
    for _ in range(round(timeout_s / 0.05)):
        view: dict[str, Any] = program.get(f"/api/status/{job_id}").json()
        if view["webhook"]["state"] != "waiting":
            return view
        pause.wait(0.05)
    raise AssertionError("it was never written down")


def test_an_orders_webhook_is_told_what_the_status_says(
    program: httpx.Client, elsewhere: Elsewhere
) -> None:
    taken = program.post("/api/generate", json=TEXT | {"webhook": elsewhere.url("/hook")}).json()
    secret = program.post("/api/webhooks/secret").json()["secret"]

    told = told_of(elsewhere, taken["job_id"])

    body = json.loads(told.body)
    view = delivered(program, taken["job_id"])
    address = str(program.base_url).rstrip("/")
    assert body["image_url"] == f"{address}{view['image_url']}"
    assert program.get(body["outputs"][0]["url"]).status_code == 200
    places = ("image_url", "outputs", "webhook")
    assert {name: body[name] for name in body if name not in places} == {
        name: view[name] for name in view if name not in places
    }
    assert body["status"] == "completed"
    assert view["webhook"] == {
        "url": elsewhere.url("/hook"),
        "state": "delivered",
        "attempts": 1,
        "last_status": 200,
        "next_try": None,
    }
    signed = hmac.new(
        secret.encode(),
        told.headers["studio-timestamp"].encode() + b"." + told.body,
        hashlib.sha256,
    )
    assert told.headers["studio-signature"] == f"sha256={signed.hexdigest()}"
    [listed] = program.get("/api/history").json()["jobs"]
    assert listed["webhook"] == view["webhook"]


@pytest.mark.parametrize("url", [*INWARDS, "ftp://x/", "http://user:word@example.com/"])
def test_a_webhook_inwards_is_refused_and_no_job_is_made(program: httpx.Client, url: str) -> None:
    answer = program.post("/api/generate", json=TEXT | {"webhook": url})

    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "url_refused"
    assert answer.json()["error"]["field"] == "webhook"
    assert program.get("/api/history").json()["total"] == 0


@pytest.mark.parametrize(
    "value", [7, True, ["http://example.com/"], {"url": "http://example.com/"}]
)
def test_a_webhook_is_an_address(program: httpx.Client, value: Any) -> None:
    answer = program.post("/api/generate", json=TEXT | {"webhook": value})

    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "webhook")


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_order_without_a_webhook_shows_none(program: httpx.Client, nothing: Any) -> None:
    taken = program.post("/api/generate", json=TEXT | {"webhook": nothing}).json()

    assert program.get(f"/api/status/{taken['job_id']}").json()["webhook"] is None


def test_another_webhook_under_the_same_key_is_another_order(
    program: httpx.Client, elsewhere: Elsewhere
) -> None:
    key = {"Idempotency-Key": "one"}
    order = TEXT | {"seed": "5", "webhook": elsewhere.url("/hook")}

    first = program.post("/api/generate", json=order, headers=key)
    again = program.post("/api/generate", json=order, headers=key)
    other = program.post("/api/generate", json=order | {"webhook": elsewhere.url("/")}, headers=key)

    assert first.json()["job_id"] == again.json()["job_id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_reused")


def test_each_person_has_a_key_of_their_own(program: httpx.Client, stranger: httpx.Client) -> None:
    keys = [one.post("/api/webhooks/secret").json()["secret"] for one in (program, stranger)]

    assert len(set(keys)) == 2


def test_a_renewed_key_signs_all_that_is_sent_from_then_on(
    program: httpx.Client, elsewhere: Elsewhere
) -> None:
    old = program.post("/api/webhooks/secret").json()["secret"]

    new = program.post("/api/webhooks/secret/renew").json()["secret"]
    order = program.post("/api/generate", json=TEXT | {"webhook": elsewhere.url("/hook")})
    told = told_of(elsewhere, order.json()["job_id"])

    def signed(secret: str) -> str:
        return f"sha256={signature(secret, told.headers['studio-timestamp'], told.body)}"

    assert program.post("/api/webhooks/secret").json()["secret"] == new != old
    assert told.headers["studio-signature"] == signed(new) != signed(old)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-TW.md"])
def test_the_readmes_example_tells_our_posts_from_others(
    program: httpx.Client, elsewhere: Elsewhere, readme: str
) -> None:
    section = (PROJECT / readme).read_text("utf-8").split("\n### Webhook")[1]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    there: dict[str, Any] = {}
    exec(example[1], there)  # noqa: S102  (our own README)
    order = TEXT | {"webhook": elsewhere.url("/hook")}
    secret = program.post("/api/webhooks/secret").json()["secret"]

    told = told_of(elsewhere, program.post("/api/generate", json=order).json()["job_id"])

    headers = httpx.Headers(told.headers)
    assert there["is_from_studio"](headers, told.body, secret)
    assert not there["is_from_studio"](headers, told.body + b" ", secret)
    assert not there["is_from_studio"](headers, told.body, secret + "x")
    old = httpx.Headers(told.headers | {"studio-timestamp": "1700000000"})
    assert not there["is_from_studio"](old, told.body, secret)
