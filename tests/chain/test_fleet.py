"""Several ComfyUIs: one dies, one says nothing, one turns jobs away, and no job is lost by it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from studio.build import _free_port
from studio.engine.jobs import State
from studio.engine.watcher import Pace
from studio.practice import PracticeServer
from tests.chain.house import ANN, House, opened, wait_until
from tests.engine.comfy.odd import Tap

IMPATIENT = Pace(gone_s=1.0, away_look_s=0.3)
HELD = "sampler"

Pair = tuple[PracticeServer, PracticeServer]


@pytest.fixture
def pair() -> Iterator[Pair]:
    with PracticeServer(pace_s=0.02) as one, PracticeServer(pace_s=0.02) as two:
        yield one, two


@contextmanager
def studio_on(*urls: str, folder: Path, **settings: Any) -> Iterator[House]:
    with opened(folder, comfy_urls=urls, **settings) as house:
        wait_until(lambda: sum(view.online for view in house.studio.desk.servers()) == len(urls))
        yield house


def first_studio(*urls: str, folder: Path) -> AbstractContextManager[House]:
    """One worker alone, so that among equals the first server is taken."""
    return studio_on(*urls, folder=folder, pace=IMPATIENT, studio_workers=1)


def test_a_job_on_a_server_that_died_is_done_by_the_other(pair: Pair, tmp_path: Path) -> None:
    one, two = pair
    one.faults.hold(HELD)
    with first_studio(one.url, two.url, folder=tmp_path) as house:
        job = house.order()
        one.wait_for(f"node:{HELD}")
        one.stop()

        ended = house.ended(job, timeout_s=30)

    assert ended.state is State.COMPLETED
    assert ended.server == two.url.partition("//")[2]
    assert (len(one.posted), len(two.posted)) == (1, 1)


def test_a_job_waits_for_its_dead_server_when_there_is_no_other(tmp_path: Path) -> None:
    with PracticeServer(pace_s=0.02) as only:
        port = int(only.url.rpartition(":")[2])
        only.faults.hold(HELD)
        with studio_on(only.url, folder=tmp_path, pace=IMPATIENT) as house:
            job = house.order()
            only.wait_for(f"node:{HELD}")
            only.stop()
            house.follow(job, until=lambda news: news.phase == "phase.server_away")
            assert house.studio.desk.job(ANN, job.job_id).state is State.PROCESSING
            with PracticeServer(port=port, pace_s=0.02) as again:
                assert house.ended(job, timeout_s=40).state is State.COMPLETED
                assert len(again.posted) == 1


def test_what_was_given_up_is_stopped_when_its_server_is_back(pair: Pair, tmp_path: Path) -> None:
    """The network was away, not the server: its prompt must not run to an end nobody takes."""
    one, two = pair
    one.faults.hold(HELD)
    line = Tap(one.url)
    try:
        with first_studio(line.url, two.url, folder=tmp_path) as house:
            job = house.order()
            one.wait_for(f"node:{HELD}")
            line.close()
            ended = house.ended(job, timeout_s=30)
            assert ended.server == two.url.partition("//")[2]

            line = Tap(one.url, at_port=int(line.url.rpartition(":")[2]))

            wait_until(lambda: not one.worker.queue.remaining(), timeout_s=20)
    finally:
        line.close()
    assert len(one.posted) == 1
    assert len(two.posted) == 1


def test_what_was_given_up_is_stopped_though_the_worker_that_did_is_gone(
    pair: Pair, tmp_path: Path
) -> None:
    one, two = pair
    one.faults.hold(HELD)
    line = Tap(one.url)
    try:
        with first_studio(line.url, two.url, folder=tmp_path) as house:
            job = house.order()
            one.wait_for(f"node:{HELD}")
            line.close()
            assert house.ended(job, timeout_s=30).state is State.COMPLETED

        line = Tap(one.url, at_port=int(line.url.rpartition(":")[2]))
        with studio_on(line.url, folder=tmp_path):
            wait_until(lambda: not one.worker.queue.remaining(), timeout_s=20)
    finally:
        line.close()
    assert len(one.posted) == 1


def test_an_adopted_prompt_whose_server_says_nothing_is_shown_too(tmp_path: Path) -> None:
    with PracticeServer(pace_s=0.02) as only:
        only.faults.hold(HELD)
        with studio_on(only.url, folder=tmp_path) as house:
            job = house.order()
            only.wait_for(f"node:{HELD}")
        with studio_on(only.url, folder=tmp_path, pace=Pace(silent_s=1.0)) as house:
            house.follow(job, until=lambda news: news.phase == "phase.silent")
            (view,) = house.studio.desk.servers()
            assert view.reason == "server.reason.silent"

            only.faults.release()

            assert house.ended(job).state is State.COMPLETED
    assert len(only.posted) == 1


def test_a_server_that_says_nothing_is_shown_and_gets_no_more(pair: Pair, tmp_path: Path) -> None:
    for server in pair:
        server.faults.hold(HELD)
    with studio_on(*(s.url for s in pair), folder=tmp_path, pace=Pace(silent_s=1.0)) as house:
        job = house.order()
        wait_until(lambda: pair[0].posted or pair[1].posted)
        one, two = pair if pair[0].posted else reversed(pair)
        two.faults.release()
        house.follow(job, until=lambda news: news.phase == "phase.silent")
        views = {view.name: view for view in house.studio.desk.servers()}
        assert views[one.url.partition("//")[2]].reason == "server.reason.silent"

        others = [house.ended(house.order(seed=str(n))) for n in range(3)]

        assert {other.server for other in others} == {two.url.partition("//")[2]}
        one.faults.release()
        assert house.ended(job).state is State.COMPLETED
        wait_until(lambda: not any(view.reason for view in house.studio.desk.servers()))


def test_a_server_that_never_speaks_again_is_the_reason_of_the_end(tmp_path: Path) -> None:
    pace = Pace(silent_s=1.0)
    with PracticeServer(pace_s=0.02) as only:
        only.faults.hold(HELD)
        with studio_on(only.url, folder=tmp_path, pace=pace, time_limit_s=6) as house:
            job = house.ended(house.order())

            assert job.failure is not None
            assert job.failure.code == "run_silent"
            only.faults.release()


def test_a_server_that_forgets_every_attempt_is_the_reason_of_the_end(tmp_path: Path) -> None:
    with (
        PracticeServer(pace_s=0.02) as only,
        studio_on(only.url, folder=tmp_path) as house,
    ):
        only.faults.hold(HELD)
        job = house.order()
        for attempt in range(1, 4):
            wait_until(lambda attempt=attempt: len(only.posted) == attempt, timeout_s=20)
            only.wait_for(f"node:{HELD}", only.posted[-1]["prompt_id"])
            only.faults.restart()

        ended = house.ended(job)

        assert ended.failure is not None
        assert ended.failure.code == "run_lost"
        assert len(only.posted) == 3


def test_a_long_job_tells_the_log_how_it_stands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        PracticeServer(pace_s=0.05) as only,
        caplog.at_level(logging.INFO, "studio.reporter"),
        studio_on(only.url, folder=tmp_path, pace=Pace(log_every_s=0.2)) as house,
    ):
        job = house.ended(house.order(steps=20))

    told = [record for record in caplog.records if record.name == "studio.reporter"]
    assert len(told) >= 2
    assert {(vars(one)["job"], vars(one)["person"]) for one in told} == {(job.job_id, ANN)}
    assert "%" in told[-1].getMessage()


def test_a_job_that_one_server_turns_away_goes_to_the_other(pair: Pair, tmp_path: Path) -> None:
    one, two = pair
    one.faults.refuse_next_prompt(status=500)
    with first_studio(one.url, two.url, folder=tmp_path) as house:
        job = house.ended(house.order())

        assert job.state is State.COMPLETED
        assert job.server == two.url.partition("//")[2]
        assert job.attempt == 2


def test_each_model_stays_on_the_server_that_loaded_it(tmp_path: Path) -> None:
    models = {"checkpoints": ["a.safetensors", "b.safetensors"]}
    with (
        PracticeServer(pace_s=0.01, models=models) as one,
        PracticeServer(pace_s=0.01, models=models) as two,
        studio_on(one.url, two.url, folder=tmp_path) as house,
    ):
        for server in (one, two):
            server.faults.hold(HELD)
        first = [house.order(model=f"{name}.safetensors") for name in "ab"]
        wait_until(lambda: one.posted and two.posted)
        for server in (one, two):
            server.faults.release()
        home = {job.values["model"]: house.ended(job).server for job in first}
        asked = [f"{name}.safetensors" for name in "bababb"]
        used = []
        for seed, model in enumerate(asked):
            wait_until(lambda: house.studio.fleet.free_slots == 4)
            used.append(house.ended(house.order(model=model, seed=str(seed))).server)

    assert len(set(home.values())) == 2
    assert used == [home[model] for model in asked]


def test_a_job_that_waits_while_no_server_is_there_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, comfy_urls=(f"http://127.0.0.1:{_free_port()}",)) as house:
        job = house.order()

        heard = house.follow(job, until=lambda news: news.phase == "phase.offline")

        assert heard[-1].state is State.PENDING
        assert heard[-1].position == 1
        assert [view.reason for view in house.studio.desk.servers()] == ["server.reason.away"]
