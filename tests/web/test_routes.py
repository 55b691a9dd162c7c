"""A person's files by their own routes: theirs alone, whole or in part, and never run as a page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from studio.engine.jobs import Job
from tests.tabs.site import CHECKPOINT, Site


@pytest.fixture(scope="module")
def owner(site: Site) -> Iterator[httpx.Client]:
    with site.visitor() as visitor:
        yield visitor


@pytest.fixture(scope="module")
def job(site: Site, owner: httpx.Client) -> Job:
    """A finished job of the owner, with two pictures."""
    person = site.person(owner)
    desk = site.studio.desk
    values = {"prompt": "燈塔", "model": CHECKPOINT, "steps": 1, "batch_size": 2, "seed": "42"}
    made = desk.submit(person, "text_to_image", values)
    asyncio.run(asyncio.wait_for(_end(site, made), 30))
    done = desk.job(person, made.job_id)
    assert len(done.outputs) == 2, done
    return done


async def _end(site: Site, job: Job) -> None:
    async for news in site.studio.desk.follow(job.person, job.job_id):
        if news.state.ended:
            return


def address(job: Job, number: int = 0) -> str:
    return f"/outputs/{job.job_id}/{job.outputs[number].name}"


def test_the_owner_gets_the_kept_file(site: Site, owner: httpx.Client, job: Job) -> None:
    answer = owner.get(address(job))

    kept = site.studio.desk.output_file(job.person, job.job_id, job.outputs[0].name)
    assert answer.content == kept.read_bytes()
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("inline; ")
    assert "private" in answer.headers["cache-control"]


def test_a_download_has_a_sensible_name(owner: httpx.Client, job: Job) -> None:
    answer = owner.get(address(job, 1), params={"download": "1"})

    disposition = answer.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="text_to_image_')
    assert disposition.endswith('_seed42_2.png"')


@pytest.mark.parametrize("kind", ["outputs", "thumbnails"])
def test_another_persons_file_is_not_there(site: Site, job: Job, kind: str) -> None:
    with site.visitor() as stranger:
        answer = stranger.get(f"/{kind}/{job.job_id}/{job.outputs[0].name}")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "job_unknown"


def test_who_shows_no_cookie_sees_no_file(site: Site, job: Job) -> None:
    assert httpx.get(site.url + address(job), trust_env=False).status_code == 404


def test_a_name_that_is_no_output_is_not_there(owner: httpx.Client, job: Job) -> None:
    answer = owner.get(f"/outputs/{job.job_id}/999.png")

    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    "path", ["..%2f..%2fdata%2fsecret", "%2e%2e/secret", "..%5csecret", "001.png%00"]
)
def test_no_path_leads_out_of_a_job(owner: httpx.Client, job: Job, path: str) -> None:
    assert owner.get(f"/outputs/{job.job_id}/{path}").status_code == 404


def test_a_part_of_a_file_can_be_asked_for(owner: httpx.Client, job: Job) -> None:
    answer = owner.get(address(job), headers={"range": "bytes=0-7"})

    assert answer.status_code == 206
    assert answer.content == b"\x89PNG\r\n\x1a\n"


def test_an_unchanged_file_is_not_sent_again(owner: httpx.Client, job: Job) -> None:
    tag = owner.get(address(job)).headers["etag"]

    answer = owner.get(address(job), headers={"if-none-match": tag})

    assert (answer.status_code, answer.content) == (304, b"")


def test_a_thumbnail_is_small(owner: httpx.Client, job: Job) -> None:
    answer = owner.get(f"/thumbnails/{job.job_id}/{job.outputs[0].name}")

    assert answer.headers["content-type"] == "image/webp"
    with Image.open(BytesIO(answer.content)) as picture:
        assert max(picture.size) <= 512


def test_an_input_is_its_owners_alone(site: Site, owner: httpx.Client, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png")
    ref = site.studio.media.take(site.person(owner), tmp_path / "a.png", "a.png").ref

    with site.visitor() as stranger:
        assert stranger.get(f"/inputs/{ref}").status_code == 404
    assert owner.get(f"/inputs/{ref}").status_code == 200


def test_the_look_is_kept_by_browsers_until_it_changes(site: Site) -> None:
    page = httpx.get(f"{site.url}/", trust_env=False).text
    address = page.split('<link rel="stylesheet" href="')[1].split('"')[0]

    answer = httpx.get(f"{site.url}/{address}", trust_env=False)

    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert httpx.get(f"{site.url}/studio-assets/none.css", trust_env=False).status_code == 404
