"""Several results as one ZIP, and what the page plays: a person's own, and nobody else's."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import Iterator
from io import BytesIO

import httpx
import pytest

from studio.engine.jobs import Job
from tests.tabs.site import CHECKPOINT, Site


@pytest.fixture(scope="module")
def owner(site: Site) -> Iterator[httpx.Client]:
    with site.visitor() as visitor:
        yield visitor


def made(site: Site, visitor: httpx.Client, prompt: str) -> Job:
    desk, person = site.studio.desk, site.person(visitor)
    values = {"prompt": prompt, "model": CHECKPOINT, "steps": 1, "batch_size": 2}
    job = desk.submit(person, "text_to_image", values)

    async def end() -> None:
        async for news in desk.follow(person, job.job_id):
            if news.state.ended:
                return

    asyncio.run(asyncio.wait_for(end(), 30))
    return desk.job(person, job.job_id)


@pytest.fixture(scope="module")
def jobs(site: Site, owner: httpx.Client) -> list[Job]:
    return [made(site, owner, "山水畫: 夜/景?"), made(site, owner, "a lighthouse")]


def test_a_zip_holds_whole_jobs_and_single_files_under_readable_names(
    site: Site, owner: httpx.Client, jobs: list[Job]
) -> None:
    first, second = jobs
    single = f"{second.job_id}/{second.outputs[1].name}"

    answer = owner.get("/outputs/zip", params={"of": [first.job_id, single]})

    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    with zipfile.ZipFile(BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        names = packed.namelist()
        contents = {packed.read(name) for name in names}
    assert [name.partition("_")[2] for name in names] == [
        "山水畫 夜 景_1.png",
        "山水畫 夜 景_2.png",
        "a lighthouse_2.png",
    ]
    kept = [(first, 0), (first, 1), (second, 1)]
    desk = site.studio.desk
    assert contents == {
        desk.output_file(job.person, job.job_id, job.outputs[at].name).read_bytes()
        for job, at in kept
    }


def test_hundreds_of_results_are_packed_when_a_form_asks(
    owner: httpx.Client, jobs: list[Job]
) -> None:
    """Five hundred ids are 20 kB: many a proxy takes no address of 8."""
    of = [jobs[0].job_id] * 250 + [jobs[1].job_id] * 250
    answer = owner.post("/outputs/zip", data={"of": of})

    assert answer.status_code == 200
    with zipfile.ZipFile(BytesIO(answer.content)) as packed:
        assert len(packed.namelist()) == 4
    more = owner.post("/outputs/zip", data={"of": [*of, of[0]]})
    assert (more.status_code, more.json()["error"]["code"]) == (422, "too_many_at_once")


@pytest.mark.parametrize("body", [b"", b"of", b"of=\xff%ff%00", b"--x\r\n", b"{}"])
def test_a_form_that_is_none_packs_nothing(owner: httpx.Client, body: bytes) -> None:
    answer = owner.post("/outputs/zip", content=body)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("file_unknown", "job_unknown")


@pytest.mark.parametrize("of", [[], ["unknown"], ["{job}/999.png"], ["{job}/../../x"], [""]])
def test_a_zip_of_what_is_not_there_is_no_zip(
    owner: httpx.Client, jobs: list[Job], of: list[str]
) -> None:
    asked = [text.replace("{job}", jobs[0].job_id) for text in of]

    answer = owner.get("/outputs/zip", params={"of": asked})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("file_unknown", "job_unknown")


def test_a_zip_with_anothers_job_in_it_is_refused_whole(site: Site, jobs: list[Job]) -> None:
    with site.visitor() as stranger:
        own = made(site, stranger, "mine")
        answer = stranger.get("/outputs/zip", params={"of": [own.job_id, jobs[0].job_id]})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "job_unknown"


def test_what_is_played_is_the_owners_alone_and_knows_range(
    site: Site, owner: httpx.Client, jobs: list[Job]
) -> None:
    address = f"/play/{jobs[0].job_id}/{jobs[0].outputs[0].name}"

    part = owner.get(address, headers={"range": "bytes=0-7"})
    with site.visitor() as stranger:
        refused = stranger.get(address)

    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")
    assert refused.status_code == 404


def test_a_deleted_job_gives_no_file_and_a_restored_one_does(
    site: Site, owner: httpx.Client, jobs: list[Job]
) -> None:
    desk, job = site.studio.desk, jobs[1]
    address = f"/outputs/{job.job_id}/{job.outputs[0].name}"

    desk.delete(job.person, [job.job_id])
    gone = owner.get(address).status_code
    desk.restore(job.person, [job.job_id])

    assert (gone, owner.get(address).status_code) == (404, 200)
