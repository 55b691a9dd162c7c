"""What may go wrong between us and ComfyUI, and how a job ends all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from studio.engine.jobs import State
from studio.errors import StudioError
from studio.practice import PracticeServer
from tests.chain.house import ANN, BEN, House, opened, wait_until


def test_a_silent_socket_does_not_lose_the_result(house: House, practice: PracticeServer) -> None:
    practice.faults.go_silent(after="progress:3")

    job = house.ended(house.order())

    assert job.state is State.COMPLETED
    assert len(job.outputs) == 1


def test_a_cut_socket_in_mid_run_is_no_failure(house: House, practice: PracticeServer) -> None:
    practice.faults.cut_sockets(for_s=2, after="progress:2")

    job = house.ended(house.order(steps=20))

    assert job.state is State.COMPLETED
    assert len(practice.posted) == 1


def test_a_late_history_is_waited_for(house: House, practice: PracticeServer) -> None:
    practice.faults.late_history(1.5)

    assert house.ended(house.order()).state is State.COMPLETED


def test_a_lost_answer_is_asked_for_and_never_sent_twice(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.lose_next_answer()

    job = house.ended(house.order())

    assert job.state is State.COMPLETED
    assert len(practice.posted) == 1


def test_a_comfyui_that_forgot_the_prompt_gets_it_once_more(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler")
    job = house.order()
    practice.wait_for("node:sampler")

    practice.faults.restart()
    practice.faults.release()

    ended = house.ended(job, timeout_s=40)
    assert ended.state is State.COMPLETED
    assert len(practice.posted) == 2


def test_a_node_error_becomes_a_failure_with_its_reason(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.fail(
        node="sampler", exception_type="ValueError", message="bad latent at /secret/place"
    )

    job = house.ended(house.order())

    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.code == "run_failed"
    assert house.ended(house.order(seed="8")).state is State.COMPLETED


def test_out_of_memory_frees_the_server_and_tries_once_more(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.out_of_memory(node="sampler")

    job = house.ended(house.order())

    assert job.state is State.COMPLETED
    assert len(practice.posted) == 2


def test_out_of_memory_twice_is_said_and_the_next_job_works(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.out_of_memory(node="sampler")
    practice.faults.out_of_memory(node="sampler")

    job = house.ended(house.order())

    assert job.failure is not None
    assert job.failure.code == "out_of_memory"
    assert house.ended(house.order(seed="8")).state is State.COMPLETED


def test_an_interrupt_in_comfyui_itself_cancels_and_the_next_job_starts(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler")
    job = house.order(steps=50)
    practice.wait_for("node:sampler")
    following = house.order(seed="8")

    practice.faults.interrupt_now()
    practice.faults.release()

    assert house.ended(job).state is State.CANCELLED
    assert house.ended(following).state is State.COMPLETED


def test_a_prompt_deleted_in_comfyui_itself_is_cancelled_within_seconds(
    house: House, practice: PracticeServer
) -> None:
    import requests

    practice.faults.hold("sampler")
    first = house.order()
    practice.wait_for("node:sampler")
    second = house.order(seed="8")
    wait_until(lambda: len(practice.posted) == 2)

    prompt_id = practice.posted[1]["prompt_id"]
    requests.post(f"{practice.url}/queue", json={"delete": [prompt_id]}, timeout=5)

    assert house.ended(second, timeout_s=10).state is State.CANCELLED
    practice.faults.release()
    assert house.ended(first).state is State.COMPLETED


def test_cancel_of_a_running_job_stops_it_on_the_server(
    house: House, practice: PracticeServer
) -> None:
    job = house.order(steps=100)
    practice.wait_for("node:sampler")

    house.studio.desk.cancel(ANN, job.job_id)

    assert house.ended(job, timeout_s=5).state is State.CANCELLED
    assert practice.posted[0]["prompt_id"]


def test_cancel_of_a_pending_job_never_reaches_comfyui(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler")
    running = [house.order(seed=str(n)) for n in range(2)]
    wait_until(lambda: len(practice.posted) == 2)
    waiting = house.order(seed="99")

    cancelled = house.studio.desk.cancel(ANN, waiting.job_id)
    practice.faults.release()

    assert cancelled.state is State.CANCELLED
    assert [house.ended(job).state for job in running] == [State.COMPLETED] * 2
    assert len(practice.posted) == 2


def test_cancel_of_ones_own_queued_job_leaves_anothers_running_one_alone(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler")
    anns = house.order(ANN)
    practice.wait_for("node:sampler")
    bens = house.order(BEN, seed="8")
    wait_until(lambda: len(practice.posted) == 2)

    house.studio.desk.cancel(BEN, bens.job_id)

    assert house.ended(bens, timeout_s=5).state is State.CANCELLED
    practice.faults.release()
    assert house.ended(anns).state is State.COMPLETED


def test_cancel_of_an_ended_job_changes_nothing(house: House) -> None:
    job = house.ended(house.order())

    with pytest.raises(StudioError) as caught:
        house.studio.desk.cancel(ANN, job.job_id)

    assert caught.value.code == "job_ended"
    assert house.studio.desk.job(ANN, job.job_id).state is State.COMPLETED


def test_a_time_limit_ends_the_job_and_its_prompt(practice: PracticeServer, tmp_path: Path) -> None:
    with opened(tmp_path, comfy_urls=(practice.url,), time_limit_s=1) as house:
        job = house.ended(house.order(steps=100))

        assert job.failure is not None
        assert job.failure.code == "time_limit"
        assert house.ended(house.order(seed="8")).state is State.COMPLETED


def test_a_refused_prompt_says_why(house: House, practice: PracticeServer) -> None:
    practice.faults.refuse_next_prompt(status=403)

    job = house.ended(house.order())

    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.code in ("server_forbidden", "server_refused")


@pytest.mark.parametrize("profile", ["0.8.0"])
def test_jobs_wait_for_a_configured_comfyui_that_is_not_up_yet(
    profile: str, tmp_path: Path
) -> None:
    from studio.build import _free_port

    port = _free_port()
    with opened(tmp_path, comfy_urls=(f"http://127.0.0.1:{port}",)) as house:
        job = house.order()
        heard = house.follow(job, until=lambda news: news.state is State.PENDING)
        assert heard[-1].state is State.PENDING
        assert [view.online for view in house.studio.desk.servers()] == [False]
        with PracticeServer(port=port, profile=profile, pace_s=0.01) as late:
            assert house.ended(job, timeout_s=30).state is State.COMPLETED
            assert len(late.posted) == 1
