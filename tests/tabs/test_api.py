"""Programs: endpoints by name, files in and out, progress, cancel, and what stays closed."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from studio.engine.jobs import State
from tests.tabs.site import CHECKPOINT, Site

_SEEDS = itertools.count(1000)


def small(**more: Any) -> dict[str, Any]:
    """Give the values of a small picture; each with a seed of its own, so that no run is cached."""
    return {"prompt": "a cat", "model": CHECKPOINT, "steps": 2, "seed": str(next(_SEEDS))} | more


PINNED = json.loads((Path(__file__).parent / "api_names.json").read_text("utf-8"))


@pytest.fixture
def client(site: Site, tmp_path: Path) -> Iterator[Client]:
    program = Client(site.url, verbose=False, download_files=tmp_path / "downloads")
    yield program
    program.close()


def job_of(site: Site, client: Client, job_id: str) -> Any:
    person = site.studio.guests.of_session(client.session_hash)
    return site.studio.desk.job(person, job_id)


def wait_for_job(job: Any, timeout_s: float = 10) -> dict[str, Any]:
    """Wait for the first word of a running job."""
    ends = time.monotonic() + timeout_s
    for answer in job:
        assert time.monotonic() < ends
        return dict(answer[1])
    raise AssertionError("no answer came")


def test_the_api_names_and_parameters_are_pinned(client: Client) -> None:
    named = client.view_api(print_info=False, return_format="dict")["named_endpoints"]

    found = {
        name: {p["parameter_name"]: _default(p) for p in facts["parameters"]}
        for name, facts in named.items()
    }
    assert found == PINNED


def _default(parameter: dict[str, Any]) -> Any:
    return parameter["parameter_default"] if parameter["parameter_has_default"] else "(required)"


def test_a_program_gets_files_and_what_made_them(site: Site, client: Client) -> None:
    wanted = small(batch_size=2, seed="7")
    files, info = client.predict(api_name="/text_to_image", **wanted)

    assert [Path(file).name.endswith(f"_seed7_{n}.png") for n, file in enumerate(files, 1)] == [
        True,
        True,
    ]
    with Image.open(files[0]) as picture:
        assert picture.size == (512, 512)
    assert (info["status"], info["seed"], info["workflow"]) == (
        "completed",
        "7",
        "text_to_image_checkpoint",
    )
    assert info["seconds"] >= 0


def test_pictures_go_in_as_files_and_keep_their_order(client: Client, tmp_path: Path) -> None:
    paths = []
    for colour in ("red", "blue"):
        Image.new("RGB", (32, 24), colour).save(tmp_path / f"{colour}.png")
        paths.append(handle_file(tmp_path / f"{colour}.png"))

    files, _ = client.predict(
        images=paths, blend_mode="normal", opacity=0.0, api_name="/image_blend"
    )

    with Image.open(files[0]) as picture:
        assert picture.size == (32, 24)
        assert picture.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("seed", ["0", "9007199254740993", "18446744073709551615"])
def test_a_seed_is_exact_from_program_to_graph(site: Site, client: Client, seed: str) -> None:
    _, info = client.predict(api_name="/text_to_image", **small(seed=seed))

    assert site.practice is not None
    sampler = site.practice.posted[-1]["prompt"]["sampler"]
    assert info["seed"] == seed
    assert str(sampler["inputs"]["seed"]) == seed


def test_a_drawn_seed_is_told(client: Client) -> None:
    _, info = client.predict(api_name="/text_to_image", **small(seed="-1"))

    assert 0 <= int(info["seed"]) < 2**53


def test_a_fault_of_the_caller_reads_as_a_sentence(client: Client) -> None:
    with pytest.raises(AppError, match="not a seed") as told:
        client.predict(prompt="a cat", seed="abc", api_name="/text_to_image")

    assert "Traceback" not in str(told.value)


def test_a_program_reads_plain_text_and_no_html(client: Client) -> None:
    with pytest.raises(AppError) as told:
        client.predict(prompt="a cat", seed="Ann's & <b>", api_name="/text_to_image")

    assert "“Ann's & <b>” is not a seed" in str(told.value)


def test_too_few_pictures_are_counted_in_words_that_fit_one(client: Client, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "one.png")

    with pytest.raises(AppError, match=r"Files in “Pictures”: 1\. It takes 2–4\."):
        client.predict(
            images=[handle_file(tmp_path / "one.png")], opacity=0.5, api_name="/image_blend"
        )


def test_a_failed_job_raises_what_a_person_would_read(site: Site, client: Client) -> None:
    assert site.practice is not None
    site.practice.faults.fail("sampler", message="tensor 7 of secret/path.py is odd")

    with pytest.raises(AppError, match="Sampler") as told:
        client.predict(api_name="/text_to_image", **small())

    assert "Traceback" not in str(told.value)


def test_a_path_of_this_machine_is_no_upload(client: Client) -> None:
    secret = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}

    with pytest.raises(AppError):
        client.predict(images=[secret, secret], api_name="/image_blend")


def test_progress_is_visible_to_programs(site: Site, client: Client) -> None:
    assert site.practice is not None
    site.practice.faults.hold("sampler", step=1)
    job = client.submit(api_name="/text_to_image", **small())
    try:
        site.practice.wait_for("progress:1")
        seen = _progress(job)
    finally:
        site.practice.faults.release()

    assert seen.desc is not None
    assert 0 < (seen.progress or 0) < 1
    assert job.result(timeout=20)[1]["status"] == "completed"


def _progress(job: Any, timeout_s: float = 10) -> Any:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        data = job.status().progress_data
        if data and data[0].progress:
            return data[0]
    raise AssertionError("no progress came")


def test_cancel_of_a_program_stops_the_real_job(site: Site, client: Client) -> None:
    assert site.practice is not None
    site.practice.faults.hold("sampler", step=1)
    job = client.submit(api_name="/text_to_image", **small())
    info = wait_for_job(job)
    site.practice.wait_for("progress:1", timeout_s=10)

    job.cancel()

    ends = time.monotonic() + 5
    while not job_of(site, client, info["job_id"]).state.ended:
        assert time.monotonic() < ends
    assert job_of(site, client, info["job_id"]).state is State.CANCELLED


def test_status_cancel_and_history_know_the_callers_jobs_alone(
    site: Site, client: Client, tmp_path: Path
) -> None:
    _, info = client.predict(api_name="/text_to_image", **small())
    stranger = Client(site.url, verbose=False, download_files=tmp_path)

    assert client.predict(info["job_id"], api_name="/status")["status"] == "completed"
    history = client.predict(api_name="/history")
    assert [job["job_id"] for job in history["jobs"]] == [info["job_id"]]
    assert stranger.predict(api_name="/history")["jobs"] == []
    for name in ("/status", "/cancel"):
        with pytest.raises(AppError):
            stranger.predict(info["job_id"], api_name=name)
    stranger.close()


def test_cancel_by_name_stops_a_running_job(site: Site, client: Client) -> None:
    assert site.practice is not None
    site.practice.faults.hold("sampler", step=1)
    job = client.submit(api_name="/text_to_image", **small())
    info = wait_for_job(job)
    site.practice.wait_for("progress:1", timeout_s=10)

    client.predict(info["job_id"], api_name="/cancel")

    assert job.result(timeout=10)[1]["status"] == "cancelled"


def test_events_of_the_page_are_closed_to_programs(site: Site) -> None:
    config = site.demo.get_config_file()

    opened = {
        dependency["api_name"]
        for dependency in config["dependencies"]
        if dependency["api_visibility"] != "private"
    }
    assert {f"/{name}" for name in opened} == set(PINNED)
