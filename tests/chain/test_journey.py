"""A job from the press to the kept file, on real parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from studio.engine.jobs import State
from studio.errors import StudioError
from studio.practice import PracticeServer
from tests.chain.house import ANN, BEN, House, opened, wait_until


def node_of(prompt: dict[str, Any], class_type: str) -> dict[str, Any]:
    (found,) = [node for node in prompt.values() if node["class_type"] == class_type]
    return found["inputs"]


def test_a_job_ends_with_its_picture_kept(house: House) -> None:
    job = house.ended(house.order())

    assert job.state is State.COMPLETED
    (output,) = job.outputs
    assert output.kind == "image"
    assert output.mime == "image/png"
    with Image.open(house.paths(job)[0]) as picture:
        assert picture.size == (output.width_px, output.height_px)
    assert job.seconds is not None
    assert job.seconds > 0


def test_progress_never_falls_and_names_the_node(house: House) -> None:
    job = house.order(steps=8)

    heard = house.follow(job, until=lambda news: news.state.ended)

    fractions = [news.fraction for news in heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [news.seq for news in heard] == sorted(news.seq for news in heard)
    assert any(news.steps == 8 and news.node_title for news in heard)


def test_previews_arrive_while_it_runs(house: House, practice: PracticeServer) -> None:
    practice.faults.hold("sampler")
    job = house.order(steps=8)
    practice.wait_for("started")
    practice.faults.release()

    heard = house.follow(job, until=lambda news: news.state.ended)

    previews = [news.preview for news in heard if news.preview]
    assert previews
    assert previews[0][:3] == b"\xff\xd8\xff"


def test_the_same_order_twice_gives_two_results(house: House) -> None:
    first = house.ended(house.order())
    second = house.ended(house.order())

    assert first.state is second.state is State.COMPLETED
    assert len(second.outputs) == 1
    assert house.paths(first) != house.paths(second)


@pytest.mark.parametrize("seed", ["0", "9007199254740993", "18446744073709551615"])
def test_seeds_are_exact_in_graph_and_record(
    house: House, practice: PracticeServer, seed: str
) -> None:
    job = house.ended(house.order(seed=seed))

    assert job.seed == seed
    assert node_of(practice.posted[-1]["prompt"], "KSampler")["seed"] == int(seed)


def test_minus_one_draws_a_seed_that_is_kept(house: House, practice: PracticeServer) -> None:
    jobs = [house.ended(house.order(seed="-1")) for _ in range(2)]

    assert jobs[0].seed != jobs[1].seed
    sent = node_of(practice.posted[0]["prompt"], "KSampler")["seed"]
    assert str(sent) == jobs[0].seed


def test_a_bad_value_is_refused_by_name_and_nothing_is_queued(
    house: House, practice: PracticeServer
) -> None:
    with pytest.raises(StudioError) as caught:
        house.order(seed="abc")

    assert caught.value.code == "seed_invalid"
    assert caught.value.field == "seed"
    assert house.studio.desk.running(ANN) == []
    assert practice.posted == []


def test_a_batch_gives_every_picture_in_order(house: House) -> None:
    job = house.ended(house.order(batch_size=4))

    assert [output.index for output in job.outputs] == [0, 1, 2, 3]
    assert len({path.read_bytes() for path in house.paths(job)}) == 4


def test_a_blend_is_the_true_mean_of_its_pictures(
    house: House, picture: Callable[..., Path]
) -> None:
    job = house.ended(house.blend(picture("black"), picture("white"), opacity=0.5))

    assert job.state is State.COMPLETED, job.failure
    with Image.open(house.paths(job)[0]) as result:
        assert result.size == (64, 48)
        red, green, blue = result.convert("RGB").getpixel((32, 24))
    assert abs(red - 127) <= 1
    assert red == green == blue


def test_two_people_with_the_same_file_name_get_their_own_pictures(
    house: House, picture: Callable[..., Path], tmp_path: Path
) -> None:
    mine = picture("red", name="image.png")
    ann = house.blend(mine, mine, person=ANN)
    theirs = picture("blue", name="image.png")
    ben = house.blend(theirs, theirs, person=BEN)

    colours = []
    for job in (house.ended(ann), house.ended(ben)):
        with Image.open(house.paths(job)[0]) as result:
            colours.append(result.convert("RGB").getpixel((5, 5)))
    assert colours == [(255, 0, 0), (0, 0, 255)]


def test_nobody_sees_another_persons_job(house: House) -> None:
    job = house.ended(house.order(ANN))
    desk = house.studio.desk

    for ask in (
        lambda: desk.job(BEN, job.job_id),
        lambda: desk.cancel(BEN, job.job_id),
        lambda: desk.retry(BEN, job.job_id),
        lambda: desk.output_file(BEN, job.job_id, job.outputs[0].name),
    ):
        with pytest.raises(StudioError) as caught:
            ask()
        assert caught.value.code == "job_unknown"
    assert desk.recent(BEN).jobs == ()
    assert desk.running(BEN) == []


def test_a_retry_keeps_the_seed_or_draws_a_new_one(house: House) -> None:
    first = house.ended(house.order(seed="41"))
    desk = house.studio.desk

    same = desk.retry(ANN, first.job_id)
    other = desk.retry(ANN, first.job_id, new_seed=True)

    assert same.seed == "41"
    assert other.seed != "41"
    assert house.ended(same).state is house.ended(other).state is State.COMPLETED


def test_one_persons_many_jobs_hold_up_anothers_by_one_at_most(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler")
    anns = [house.order(ANN, seed=str(n)) for n in range(6)]
    practice.wait_for("started")
    bens = house.order(BEN, seed="99")
    practice.faults.release()

    house.ended(bens)
    for job in anns:
        house.ended(job)

    seeds = [node_of(posted["prompt"], "KSampler")["seed"] for posted in practice.posted]
    assert seeds.index(99) <= 2  # two were in ComfyUI already: slots are 2


def test_outputs_are_asked_for_by_name_and_lead_nowhere_else(house: House) -> None:
    job = house.ended(house.order())

    for name in ("../../../data/secret", "/etc/hostname", "..%2f", "", "002.png"):
        with pytest.raises(StudioError) as caught:
            house.studio.desk.output_file(ANN, job.job_id, name)
        assert caught.value.code == "file_unknown"


def test_every_thread_and_socket_ends_with_the_studio(
    no_threads_left: None, practice: PracticeServer, tmp_path: Path
) -> None:
    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        house.ended(house.order())
        assert wait_until(lambda: house.studio.fleet.free_slots == 2)
