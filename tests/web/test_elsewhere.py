"""Files named by their address: over REST and from gradio_client, all by the one room outside."""

from __future__ import annotations

import asyncio
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

from studio.practice import PracticeServer
from tests.elsewhere import Elsewhere, serving_files
from tests.tabs.site import MODELS, Site, served
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
    files = {"/red.png": png("red"), "/blue.png": png("blue"), "/page": b"<html>inner words</html>"}
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
