"""Each fault that can be ordered really happens, on the wire, and ends."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
import websocket

from studio.practice import PracticeServer
from tests.contract.talk import Ear, Talker, comparable, kinds, sampled, small


def events(heard: list[Any]) -> list[str]:
    return [kind for kind in kinds(heard) if kind != "status"]


def answers_again(talker: Talker, timeout_s: float = 10) -> float:
    """Ask until the server answers; gives the seconds it took."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        try:
            talker.get("/queue")
        except requests.ConnectionError:
            continue
        return time.monotonic() - began
    raise AssertionError("the server did not come back")


@pytest.mark.parametrize("status", [503, 500, 429])
def test_a_refused_prompt_is_not_queued_and_the_next_is_taken(
    status: int, practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.refuse_next_prompt(status, "not now")

    refused = talker.post("/prompt", {"prompt": small()})
    taken = talker.post("/prompt", {"prompt": small()})

    assert (refused.status_code, refused.text) == (status, "not now")
    assert taken.status_code == 200
    assert len(practice.posted) == 1


def test_a_forbidding_server_answers_403_everywhere(
    practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.forbid()

    answers = [talker.get("/system_stats"), talker.get("/nope"), talker.post("/prompt", {})]
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(talker.url.replace("http", "ws") + "/ws", timeout=5)
    practice.faults.allow()

    assert [(one.status_code, one.content) for one in answers] == [(403, b"")] * 3
    assert talker.get("/system_stats").status_code == 200


def test_a_lost_answer_leaves_the_prompt_queued(practice: PracticeServer, talker: Talker) -> None:
    practice.faults.lose_next_answer()

    with pytest.raises(requests.ConnectionError):
        talker.post("/prompt", {"prompt": small(), "prompt_id": "mine"})
    practice.wait_for("finished", "mine")

    assert [one["prompt_id"] for one in practice.posted] == ["mine"]
    assert talker.record("mine")["status"]["completed"]


@pytest.mark.parametrize("node", ["1", "EmptyImage", None], ids=["id", "class", "any"])
def test_a_node_fails_as_ordered_and_only_once(
    node: str | None, practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.fail(node=node, exception_type="ValueError", message="no luck")

    failed, heard = talker.run(small(), "me")
    fine, _ = talker.run(small(), "me")

    error = next(one["data"] for one in heard if one["type"] == "execution_error")
    assert (error["node_id"], error["exception_type"]) == ("1", "ValueError")
    assert error["exception_message"] == "no luck\n"
    assert error["traceback"] != []
    assert failed["status"]["status_str"] == "error"
    assert fine["status"]["completed"]


def test_out_of_memory_is_told_in_the_cards_words(practice: PracticeServer, talker: Talker) -> None:
    practice.faults.out_of_memory("KSampler")

    _, heard = talker.run(sampled(), "me")

    error = next(one for one in comparable(heard) if one.get("type") == "execution_error")["data"]
    assert error["exception_type"] == "torch.OutOfMemoryError"
    assert "out of memory" in error["exception_message"]
    assert error["node_type"] == "KSampler"


def test_cut_sockets_drop_without_a_close_frame_and_stay_refused_for_a_while(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "me") as ear:
        practice.faults.cut_sockets(for_s=0.4, after=0.4)
        prompt_id = talker.prompt(sampled(1, 5), "me")
        ear.wait_closed()
        heard = list(ear.heard)
        with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
            websocket.create_connection(talker.url.replace("http", "ws") + "/ws", timeout=5)

    practice.wait_for("finished", prompt_id)
    last = [one["data"] for one in heard if isinstance(one, dict) and one["type"] == "progress"][-1]
    assert (last["value"], last["max"]) == (2, 5)
    assert talker.record(prompt_id)["status"]["completed"]
    assert _opens_within(talker, 5)


def _opens_within(talker: Talker, seconds: float) -> bool:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            with Ear(talker.url, "again"):
                return True
        except websocket.WebSocketBadStatusException:
            continue
    return False


@pytest.mark.parametrize(
    ("after", "last"),
    [
        ("Started", "execution_start"),
        ("NodeStarted", "executing"),
        ("node:4", "executing"),
        ("progress:2", "binary"),
        ("Preview", "binary"),
        ("NodeOutput", "executed"),
        ("Succeeded", "execution_success"),
    ],
)
def test_silence_comes_after_the_frame_that_was_named(
    after: str, last: str, practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "me") as deaf:
        practice.faults.go_silent(after=after)
        prompt_id = talker.prompt(sampled(1, 2), "me")
        practice.wait_for("finished", prompt_id)
        deaf.wait(lambda heard: last in kinds(heard))
        with Ear(talker.url, "other") as other:
            talker.prompt(small(), "other")
            other.until_status(0)
        heard = events(deaf.heard)

    assert heard[-1] == last
    assert talker.record(prompt_id)["status"]["completed"]


def test_a_socket_opened_after_the_silence_hears_again(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "me"):
        practice.faults.go_silent()

    _, heard = talker.run(small(), "me")

    assert "executed" in kinds(heard)


def test_a_restart_forgets_everything_but_output_files(
    practice: PracticeServer, talker: Talker
) -> None:
    graph = small(1, "crash/x")
    graph["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    before, _ = talker.run(graph, "me")
    temp = before["outputs"]["3"]["images"][0]
    with Ear(talker.url, "me") as ear:
        practice.faults.hold("5", step=1)
        running = talker.prompt(sampled(1, 30), "me")
        practice.wait_for("held:5", running)
        pending = talker.prompt(small(2), "me")

        practice.faults.restart()
        ear.wait_closed()
    answers_again(talker)

    assert talker.get("/queue").json() == {"queue_running": [], "queue_pending": []}
    assert talker.get("/history").json() == {}
    assert [talker.get(f"/api/jobs/{one}").status_code for one in (running, pending)] == [404] * 2
    assert talker.get("/view", params=temp).status_code == 404
    assert talker.get("/view?filename=x_00001_.png&subfolder=crash").status_code == 200
    again = talker.post("/prompt", {"prompt": graph, "client_id": "me"}).json()
    practice.wait_for("finished", again["prompt_id"])
    assert again["number"] == 0
    saved = talker.record(again["prompt_id"])["outputs"]["2"]["images"]
    assert saved[0]["filename"] == "x_00002_.png"


def test_a_run_cut_off_by_a_restart_says_and_writes_nothing_more(
    practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.hold("1")
    running = talker.prompt(small(), "me")
    practice.wait_for("held:1", running)

    practice.faults.restart()
    with Ear(talker.url, "me") as ear:
        practice.faults.release()
        after = talker.prompt(small(3), "me")
        heard = ear.until_end(after)

    assert running not in str(heard)
    assert talker.record(running) == {}


def test_while_down_connections_are_refused_and_then_taken(
    practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.restart(down_s=0.5)

    with pytest.raises(requests.ConnectionError):
        talker.get("/queue")
    took = answers_again(talker)

    assert 0.1 < took < 5


def test_a_second_restart_while_down_only_takes_longer(
    practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.restart(down_s=30)

    practice.faults.restart(down_s=0.2)

    assert answers_again(talker) < 5


def test_a_slow_start_ordered_before_start_opens_late(no_threads_left: None) -> None:
    server = PracticeServer(pace_s=0.0)
    server.faults.slow_start(0.4)
    with server:
        talker = Talker(server.url)
        try:
            with pytest.raises(requests.ConnectionError):
                talker.get("/queue")
            assert answers_again(talker) > 0.05
        finally:
            talker.close()


def test_history_comes_late_but_before_the_last_status(
    practice: PracticeServer, talker: Talker
) -> None:
    practice.faults.late_history(0.3)
    with Ear(talker.url, "me") as ear:
        prompt_id = talker.prompt(small(), "me")
        ear.wait(lambda heard: "execution_success" in kinds(heard))
        early = talker.record(prompt_id)
        ear.until_end(prompt_id)

    assert early == {}
    assert talker.record(prompt_id)["status"]["completed"]


def test_history_may_come_even_after_the_end(practice: PracticeServer, talker: Talker) -> None:
    practice.faults.late_history(0.3, after_end=True)
    with Ear(talker.url, "me") as ear:
        prompt_id = talker.prompt(small(), "me")
        ear.until_end(prompt_id)
        early = talker.record(prompt_id)
    practice.wait_for("finished", prompt_id)

    assert early == {}
    assert talker.record(prompt_id)["status"]["completed"]


def test_a_strangers_interrupt_ends_the_run(practice: PracticeServer, talker: Talker) -> None:
    with Ear(talker.url, "me") as ear:
        practice.faults.hold("KSampler", step=2)
        prompt_id = talker.prompt(sampled(1, 30), "me")
        practice.wait_for("held:5", prompt_id)
        practice.faults.interrupt_now()
        heard = ear.until_end(prompt_id)

    assert "execution_interrupted" in kinds(heard)


def test_a_held_run_goes_on_when_released(practice: PracticeServer, talker: Talker) -> None:
    practice.faults.hold("2")
    prompt_id = talker.prompt(small(), "me")
    practice.wait_for("held:2", prompt_id)
    running = talker.get("/queue").json()["queue_running"]

    practice.faults.release()
    practice.wait_for("finished", prompt_id)

    assert [item[1] for item in running] == [prompt_id]


def test_clear_forgets_all_orders(practice: PracticeServer, talker: Talker) -> None:
    faults = practice.faults
    faults.refuse_next_prompt()
    faults.lose_next_answer()
    faults.fail()
    faults.hold("1")
    faults.late_history(5)
    faults.forbid()
    faults.cut_sockets(after="Started")

    faults.clear()

    entry, _ = talker.run(small(), "me")
    assert entry["status"]["completed"]


def test_an_unknown_place_for_a_fault_is_told_at_once(practice: PracticeServer) -> None:
    with pytest.raises(ValueError, match="NodeStart"):
        practice.faults.go_silent(after="NodeStart")
