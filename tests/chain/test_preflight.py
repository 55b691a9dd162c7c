"""A job goes only where it can run, and what nobody can run is refused before it is queued."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio.engine.jobs import State
from studio.errors import StudioError
from studio.practice import PracticeServer
from tests.chain.house import MODEL, House, opened, wait_until

Picture = Callable[..., Path]

INVERT = """\
name: invert
tab: invert
title: {{en: Invert, zh-TW: 反轉色彩}}
category: tool
graph: invert.json
parameters:
  - {{name: image, type: image, required: true, bind: [load.image], label: {{en: Picture}}}}
outputs: [{{node: save, kind: image}}]
"""
GRAPH = """\
{{"load": {{"class_type": "LoadImage", "inputs": {{"image": "example.png"}}}},
 "odd": {{"class_type": "{0}", "inputs": {{"image": ["load", 0]}},
         "_meta": {{"title": "My trick"}}}},
 "save": {{"class_type": "SaveImage", "inputs": {{"images": ["odd", 0], "filename_prefix": "x"}}}}}}
"""


@pytest.fixture
def folder_with_odd_node(tmp_path: Path) -> Path:
    """Workflows: one whose node no server has."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "invert.yaml").write_text(INVERT.format(), "utf-8")
    (folder / "invert.json").write_text(GRAPH.format("NoSuchNode"), "utf-8")
    return folder


def known(house: House) -> House:
    assert house.studio.stocks.wait_known(20)
    return house


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[PracticeServer, PracticeServer, House]]:
    """A server without models and one with a checkpoint, one slot each."""
    with (
        PracticeServer(pace_s=0.01, models={}) as bare,
        PracticeServer(pace_s=0.01, models={"checkpoints": [f"sub/{MODEL}"]}) as rich,
        opened(tmp_path, comfy_urls=(bare.url, rich.url), comfy_slots=1) as house,
    ):
        wait_until(lambda: len(house.studio.fleet.usable()) == 2)
        yield bare, rich, known(house)


def test_a_model_that_no_server_has_is_named_before_queueing(house: House) -> None:
    with pytest.raises(StudioError) as caught:
        known(house).order(model="nowhere.safetensors")

    assert (caught.value.code, caught.value.field) == ("missing_model", "model")
    assert caught.value.params["model"] == "nowhere.safetensors"
    assert MODEL in caught.value.params["choices"]
    assert house.studio.desk.waiting() == 0


def test_a_node_that_no_server_has_is_named_with_its_title(
    practice: PracticeServer,
    tmp_path: Path,
    folder_with_odd_node: Path,
    picture: Picture,
) -> None:
    with opened(tmp_path, comfy_urls=(practice.url,), workflows_dir=folder_with_odd_node) as house:
        known(house)
        sentences = [house.studio.desk.lack_sentences("invert", lang) for lang in ("en", "zh-TW")]
        with pytest.raises(StudioError) as caught:
            house.studio.desk.submit("g-ann", "invert", {"image": picture("red")})

    assert caught.value.params == {"class_type": "NoSuchNode", "node": "My trick"}
    assert all("NoSuchNode" in " ".join(said) for said in sentences)


def test_jobs_go_only_to_the_server_that_can_run_them(
    two: tuple[PracticeServer, PracticeServer, House],
) -> None:
    bare, rich, house = two

    jobs = [house.order(seed=str(seed), model=f"sub\\{MODEL}") for seed in range(4)]
    ended = [house.ended(job) for job in jobs]

    assert [job.state for job in ended] == [State.COMPLETED] * 4
    assert (len(bare.posted), len(rich.posted)) == (0, 4)


def test_a_job_for_a_busy_server_lets_others_pass_to_the_free_one(
    two: tuple[PracticeServer, PracticeServer, House], tmp_path: Path, picture: Picture
) -> None:
    bare, rich, house = two
    rich.faults.hold("sampler")
    first = house.order(seed="1")
    rich.wait_for("held:sampler")
    second = house.order(seed="2")

    blend = house.blend(picture("red"), picture("blue"))

    assert house.ended(blend).state is State.COMPLETED
    waits = house.studio.desk.job(second.person, second.job_id)
    assert waits.state is State.PENDING
    # It is not claimed and given back again and again: others come and go, it was looked at once.
    for colour in ("green", "blue"):
        assert house.ended(house.blend(picture("red"), picture(colour))).state is State.COMPLETED
    assert house.studio.desk.job(second.person, second.job_id).fence == waits.fence <= 1
    rich.faults.release()
    assert house.ended(first).state is house.ended(second).state is State.COMPLETED
    assert len(bare.posted) == 3


def test_a_job_that_only_an_absent_server_could_run_waits_and_says_so(tmp_path: Path) -> None:
    from studio.build import _free_port

    port = _free_port()
    with (
        PracticeServer(pace_s=0.01, models={}) as bare,
        opened(tmp_path, comfy_urls=(bare.url, f"http://127.0.0.1:{port}")) as house,
    ):
        # Accepted before anything was known of the server that is there.
        job = house.studio.ledger.create(_new_job())
        known(house)
        heard = house.follow(job, until=lambda news: news.phase == "phase.waiting_fit")
        assert heard[-1].state is State.PENDING
        with PracticeServer(port=port, pace_s=0.01) as late:
            assert house.ended(job, timeout_s=30).state is State.COMPLETED
            assert len(late.posted) == 1
    assert bare.posted == []


def _new_job() -> object:
    from studio.engine.jobs import NewJob

    values = {"prompt": "a cat", "model": MODEL, "steps": 4, "seed": "7", "aspect_ratio": "1:1"}
    return NewJob("j-1", "g-ann", "text_to_image", "text_to_image_checkpoint", values, seed="7")


def test_a_file_put_there_just_now_is_seen_at_the_next_press(tmp_path: Path) -> None:
    folder = tmp_path / "comfy"
    with (
        PracticeServer(pace_s=0.01, models={}, folder=folder) as practice,
        opened(tmp_path, comfy_urls=(practice.url,)) as house,
    ):
        known(house)
        with pytest.raises(StudioError):
            house.order()
        target = folder / "models" / "checkpoints" / MODEL
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"x" * 100)
        assert wait_until(lambda: _accepted(house))


def _accepted(house: House) -> bool:
    try:
        house.order()
    except StudioError:
        return False
    return True


def test_a_tab_says_which_server_lacks_what(
    two: tuple[PracticeServer, PracticeServer, House],
) -> None:
    *_, house = two

    lacks = house.studio.desk.lacks("text_to_image")

    checkpoint = {one.server: one.report.fit for one in lacks["text_to_image_checkpoint"]}
    assert sorted(checkpoint.values()) == [False, True]
    assert not any(one.report.fit for one in lacks["text_to_image"])
    said = house.studio.desk.lack_sentences("text_to_image", "en")
    assert any("z_image_turbo" in sentence for sentence in said)
    assert not any("checkpoint" in sentence.split(".")[0] for sentence in said)


def test_a_web_process_without_a_worker_refuses_nothing_and_says_what_is_missing(
    tmp_path: Path, folder_with_odd_node: Path, picture: Picture
) -> None:
    with opened(tmp_path, studio_workers=0, workflows_dir=folder_with_odd_node) as web:
        job = web.studio.desk.submit("g-ann", "invert", {"image": picture("red")})

        heard = web.follow(job, until=lambda news: bool(news.phase))

        assert (heard[-1].state, heard[-1].phase) == (State.PENDING, "phase.no_worker")


def test_a_web_process_goes_by_what_its_workers_tell_and_not_by_its_own_addresses(
    tmp_path: Path, picture: Picture
) -> None:
    """Its COMFY_URLS name a server that is away, and one that lacks what the workers' has."""
    with (
        PracticeServer(pace_s=0.01, models={}) as bare,
        PracticeServer(pace_s=0.01, models={"checkpoints": [MODEL]}) as rich,
        opened(tmp_path, comfy_urls=(rich.url,)) as worker,
        opened(tmp_path, comfy_urls=(bare.url, "http://127.0.0.1:1"), studio_workers=0) as web,
    ):
        known(worker)
        desk = web.studio.desk
        name = rich.url.partition("//")[2]
        wait_until(lambda: [(v.name, v.online) for v in desk.servers()] == [(name, True)])
        assert [worker.online for worker in desk.health().workers] == [True]
        assert desk.servers()[0].version == rich.version
        wait_until(lambda: MODEL in desk.models()["checkpoints"])

        job = web.order()
        with pytest.raises(StudioError) as caught:
            web.order(model="nowhere.safetensors")

        assert caught.value.code == "missing_model"
        assert web.ended(job).state is State.COMPLETED
        assert bare.posted == []
