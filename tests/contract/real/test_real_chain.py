"""The whole chain, desk to kept files, on a real ComfyUI: what people do, and what befalls them."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from PIL import Image

from studio.engine.jobs import Job, News, State
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.chain.house import BEN, House, opened

PATIENCE_S = 60.0
LONG = 100
"""Steps of a run that is to be stopped."""

Order = Callable[..., Job]


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the product's workflows with 64x64 px for 1:1: a CPU draws them in a moment."""
    folder = tmp_path_factory.mktemp("real") / "workflows"
    shutil.copytree(PROJECT / "workflows", folder)
    manifest = folder / "text_to_image_checkpoint.yaml"
    text = manifest.read_text("utf-8")
    full, little = (f"latent.width: {side}, latent.height: {side}" for side in (512, 64))
    small = text.replace(full, little)
    assert small != text
    manifest.write_text(small, "utf-8")
    return folder


@pytest.fixture
def house(real_url: str, workflows: Path, tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path, comfy_urls=(real_url,), workflows_dir=workflows) as house:
        yield house
        for job in (*house.studio.desk.running("g-ann"), *house.studio.desk.running(BEN)):
            house.studio.desk.cancel(job.person, job.job_id)
            house.ended(job, PATIENCE_S)


@pytest.fixture
def order(house: House, checkpoint: str) -> Order:
    """Order a picture of the small checkpoint, with a seed of its own."""

    def make(**values: object) -> Job:
        seed = str(uuid.uuid4().int % 2**64)
        return house.order(**{"model": checkpoint, "seed": seed, "steps": 2} | values)

    return make


def pictures(house: House, job: Job) -> list[NDArray[np.uint8]]:
    """Read a job's kept pictures, in order."""
    made = []
    for path in house.paths(job):
        with Image.open(path) as picture:
            made.append(np.asarray(picture))
    return made


def samples(news: News) -> bool:
    return news.step > 0


def test_a_picture_is_made_and_kept_with_previews_on_the_way(house: House, order: Order) -> None:
    job = order(steps=6, batch_size=2)

    heard = house.follow(job, until=lambda news: news.state.ended, timeout_s=PATIENCE_S)

    ended = house.studio.desk.job(job.person, job.job_id)
    assert ended.state is State.COMPLETED
    assert ended.seed == job.seed
    assert [picture.shape for picture in pictures(house, ended)] == [(64, 64, 3)] * 2
    assert any(news.preview for news in heard)
    fractions = [news.fraction for news in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_seed_gives_its_picture_again(house: House, order: Order) -> None:
    seed = str(2**64 - 1 - uuid.uuid4().int % 2**32)

    jobs = [house.ended(order(seed=seed), PATIENCE_S) for _ in range(2)]

    (first,), (second,) = (pictures(house, job) for job in jobs)
    assert (first == second).all()
    assert jobs[0].outputs[0].path != jobs[1].outputs[0].path


def test_a_blend_of_the_house_is_the_same_picture_in_practice(house: House, tmp_path: Path) -> None:
    files = []
    for seed, (width, height) in enumerate([(160, 120), (70, 90), (200, 50)]):
        noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        files.append(tmp_path / f"{seed}.png")
        Image.fromarray(noise).save(files[-1])

    (real,) = pictures(house, house.ended(house.blend(*files, blend_mode="overlay"), PATIENCE_S))
    with (
        PracticeServer(pace_s=0) as practice,
        opened(tmp_path / "practice", comfy_urls=(practice.url,)) as other,
    ):
        (drawn,) = pictures(other, other.ended(other.blend(*files, blend_mode="overlay")))

    assert real.shape == (120, 160, 3)
    assert np.abs(real.astype(int) - drawn.astype(int)).max() <= 1


def test_cancel_stops_the_real_run(house: House, order: Order, real_url: str) -> None:
    job = order(steps=LONG)
    house.follow(job, until=samples, timeout_s=PATIENCE_S)

    house.studio.desk.cancel(job.person, job.job_id)

    assert house.ended(job, PATIENCE_S).state is State.CANCELLED
    assert idle_within(real_url, 10)


def test_an_interrupt_in_comfyui_itself_cancels_the_job_and_the_next_one_runs(
    house: House, order: Order, real_url: str
) -> None:
    job = order(steps=LONG)
    house.follow(job, until=samples, timeout_s=PATIENCE_S)
    waiting = order()

    requests.post(f"{real_url}/interrupt", timeout=5).raise_for_status()

    assert house.ended(job, PATIENCE_S).state is State.CANCELLED
    assert house.ended(waiting, PATIENCE_S).state is State.COMPLETED


def test_a_prompt_deleted_in_comfyui_itself_is_cancelled_within_seconds(
    house: House, order: Order, real_url: str
) -> None:
    job = order(steps=LONG)
    house.follow(job, until=samples, timeout_s=PATIENCE_S)
    waiting = order()  # not before: two of one moment may come there in either order
    pending = pending_within(real_url, 10)

    requests.post(f"{real_url}/queue", json={"delete": [pending]}, timeout=5).raise_for_status()

    assert house.ended(waiting, 15).state is State.CANCELLED
    assert house.studio.desk.job(job.person, job.job_id).state is State.PROCESSING


def test_a_new_process_adopts_the_running_prompt_and_hears_it(
    real_url: str, workflows: Path, tmp_path: Path, checkpoint: str
) -> None:
    values = {"model": checkpoint, "seed": str(uuid.uuid4().int % 2**64), "steps": LONG}
    with opened(tmp_path, comfy_urls=(real_url,), workflows_dir=workflows) as first:
        job = first.order(**values)
        first.follow(job, until=samples, timeout_s=PATIENCE_S)
        prompt_id = first.studio.desk.job(job.person, job.job_id).prompt_id

    with opened(tmp_path, comfy_urls=(real_url,), workflows_dir=workflows) as second:
        second.follow(job, until=samples, timeout_s=PATIENCE_S)
        second.studio.desk.cancel(job.person, job.job_id)
        ended = second.ended(job, PATIENCE_S)

    assert (ended.state, ended.prompt_id) == (State.CANCELLED, prompt_id)


def test_a_new_process_collects_what_ended_meanwhile(
    real_url: str, workflows: Path, tmp_path: Path, checkpoint: str
) -> None:
    values = {"model": checkpoint, "seed": str(uuid.uuid4().int % 2**64), "steps": 3}
    with opened(tmp_path, comfy_urls=(real_url,), workflows_dir=workflows) as first:
        job = first.order(**values)
        first.follow(job, until=samples, timeout_s=PATIENCE_S)
        prompt_id = first.studio.desk.job(job.person, job.job_id).prompt_id
    assert idle_within(real_url, PATIENCE_S)

    with opened(tmp_path, comfy_urls=(real_url,), workflows_dir=workflows) as second:
        ended = second.ended(job, PATIENCE_S)

    assert (ended.state, ended.prompt_id) == (State.COMPLETED, prompt_id)
    assert len(ended.outputs) == 1


def test_one_persons_cancel_leaves_anothers_run_alone(
    house: House, order: Order, real_url: str
) -> None:
    running = order(steps=LONG)
    house.follow(running, until=samples, timeout_s=PATIENCE_S)
    waiting = order(person=BEN)
    pending_within(real_url, 10)

    house.studio.desk.cancel(BEN, waiting.job_id)

    assert house.ended(waiting, PATIENCE_S).state is State.CANCELLED
    assert house.studio.desk.job(running.person, running.job_id).state is State.PROCESSING


def idle_within(url: str, seconds: float) -> bool:
    """Tell whether the server has nothing to do within so many seconds."""
    return bool(eventually(lambda: not sum(map(len, queue(url))), seconds))


def pending_within(url: str, seconds: float) -> str:
    """Give the prompt that waits in the server's queue."""
    return str(eventually(lambda: (queue(url)[1] or [[0, ""]])[0][1], seconds))


def queue(url: str) -> tuple[list[list[str]], list[list[str]]]:
    assert urlsplit(url).hostname in ("127.0.0.1", "localhost")
    said = requests.get(f"{url}/queue", timeout=5).json()
    return said["queue_running"], said["queue_pending"]


def eventually(ask: Callable[[], object], seconds: float) -> object:
    deadline = time.monotonic() + seconds
    while not (said := ask()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
    return said
