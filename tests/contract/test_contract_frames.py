"""The recorded runs, replayed: same frames, same order, same fields."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from studio.practice import PracticeServer
from tests.contract.talk import (
    FLAGS,
    Ear,
    Talker,
    comparable,
    kinds,
    recorded_frames,
    recording,
    sampled,
    small,
)


def expected(frames: list[Any], *, after_connect: bool = True) -> list[Any]:
    found = recorded_frames(frames)
    return comparable(found if after_connect else found[1:])


def graph_of(name: str) -> Any:
    return recording(name)["prompt"]["request"]["body"]["prompt"]


def test_a_sampler_run_sends_the_recorded_frames(practice: PracticeServer, talker: Talker) -> None:
    rec = recording("ws_run_no_flags")

    with Ear(talker.url, "me") as ear:
        prompt_id = talker.prompt(graph_of("ws_run_no_flags"), "me")
        heard = ear.until_end(prompt_id)

    assert comparable(heard) == expected(rec["frames"])


def test_a_finished_run_has_the_recorded_history_and_job(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_run_no_flags")
    recorded_entry = next(iter(rec["history"]["body"].values()))

    entry, _ = talker.run(graph_of("ws_run_no_flags"), "me")
    job = talker.get(f"/api/jobs/{entry['prompt'][1]}").json()

    assert entry["outputs"] == recorded_entry["outputs"]
    assert entry["meta"] == recorded_entry["meta"]
    assert entry["prompt"][2] == recorded_entry["prompt"][2]
    assert list(entry["prompt"][3]) == list(recorded_entry["prompt"][3])
    assert entry["prompt"][4] == recorded_entry["prompt"][4]
    assert _messages(entry) == _messages(recorded_entry)
    assert set(job) == set(rec["job"]["body"])
    assert job["preview_output"] == rec["job"]["body"]["preview_output"]
    assert job["outputs_count"] == rec["job"]["body"]["outputs_count"]


def _messages(entry: Any) -> Any:
    status = copy.deepcopy(entry["status"])
    for _, data in status["messages"]:
        del data["prompt_id"], data["timestamp"]
        data.pop("traceback", None)
        data.pop("current_outputs", None)
    return status


def test_flags_as_first_message_bring_previews_with_metadata(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_run_preview_metadata")
    graph = graph_of("ws_run_preview_metadata")
    other = copy.deepcopy(graph)
    other["5"]["inputs"]["seed"] = 10
    talker.run(other, "before")

    with Ear(talker.url, "me", flags=True) as ear:
        prompt_id = talker.prompt(graph, "me")
        heard = ear.until_end(prompt_id)

    # The file's number depends on the runs before, which were others in the recording.
    _same_but_features(heard, rec["frames"], practice)


def _same_but_features(heard: list[Any], frames: list[Any], practice: PracticeServer) -> None:
    ours, theirs = comparable(heard), expected(frames)
    if practice.newer:
        for one in (ours[1], theirs[1]):
            assert one["data"].pop("supports_preview_metadata")
            one["data"].clear()
    assert ours == theirs


def test_preview_method_none_sends_no_binary_frame(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_preview_method_none")
    talker.run(sampled(1, 3), "before")

    with Ear(talker.url, "me") as ear:
        prompt_id = talker.prompt(sampled(2, 3), "me", extra_data={"preview_method": "none"})
        heard = ear.until_end(prompt_id)[1:]

    assert _without_files(comparable(heard)) == _without_files(expected(rec["frames"]))


def _without_files(frames: list[Any]) -> list[Any]:
    """Leave out file counters, which tell of earlier runs."""
    frames = copy.deepcopy(frames)
    for one in frames:
        for item in one.get("data", {}).get("output", {}).get("images", ()):
            item["filename"] = item["filename"].rsplit("_", 2)[0]
    return frames


def test_the_same_graph_again_runs_nothing_and_names_the_old_file(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_run_fully_cached")
    graph = graph_of("ws_run_no_flags")
    first, _ = talker.run(graph, "me")

    again, heard = talker.run(graph, "me")
    graph["7"]["inputs"]["filename_prefix"] = "studio/other"
    _, heard_other = talker.run(graph, "me")

    assert comparable(heard[1:]) == expected(rec["same_graph_again"]["frames"])
    assert again["outputs"] == first["outputs"]
    assert comparable(heard_other[1:]) == expected(rec["only_the_save_prefix_changed"]["frames"])


def test_a_failing_branch_leaves_what_was_saved_before(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_run_execution_error")
    recorded_entry = next(iter(rec["history"]["body"].values()))
    graph = recorded_entry["prompt"][2]
    talker.run(sampled(1, 1), "before")

    entry, heard = talker.run(graph, "me")
    job = talker.get(f"/api/jobs/{entry['prompt'][1]}").json()

    ours, theirs = comparable(heard), expected(rec["frames"])
    for one in (*ours, *theirs):
        if one["type"] == "execution_error":
            # A set in the real server: its order says nothing.
            one["data"]["current_outputs"] = sorted(one["data"]["current_outputs"])
    assert ours == theirs
    assert entry["outputs"] == recorded_entry["outputs"]
    assert _messages(entry) == _messages(recorded_entry)
    assert set(job) == set(rec["job"]["body"])
    assert job["status"] == "failed"


def test_two_prompts_of_one_client_follow_each_other(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_two_prompts_same_client")
    talker.run(sampled(90, 1), "before")

    with Ear(talker.url, "me") as ear:
        practice.faults.hold("5")
        first = talker.prompt(sampled(91, 3), "me")
        practice.wait_for("held:5", first)
        second = talker.prompt(sampled(92, 3), "me")
        ear.until_status(2)
        practice.faults.release()
        heard = ear.until_end(second)

    assert _without_files(comparable(heard)) == _without_files(expected(rec["frames"]))


def test_order_is_by_number_and_a_later_front_goes_first(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_two_clients_order_delete")
    with Ear(talker.url, "a") as a, Ear(talker.url, "b"):
        practice.faults.hold("5")
        running = talker.prompt(sampled(1, 8), "a")
        practice.wait_for("held:5", running)
        deleted = talker.prompt(sampled(2, 8), "a")
        b1 = talker.prompt(sampled(3, 2), "b")
        b2 = talker.prompt(small(1), "b")
        b3 = talker.prompt(small(2), "b", front=True)
        b4 = talker.prompt(small(3), "b", number=-0.5)
        queue = talker.get("/queue").json()
        talker.post("/queue", {"delete": [deleted]})
        talker.post("/queue", {"delete": ["unknown-id"]})
        after = talker.get("/queue").json()["queue_pending"]
        practice.faults.release()
        a.until_status(0)

    names = {running: "a1", deleted: "a2", b1: "b1", b2: "b2", b3: "b3", b4: "b4"}
    recorded_names = dict(zip(rec["prompts"].values(), names.values(), strict=True))
    assert [names[item[1]] for item in queue["queue_pending"]] == [
        recorded_names[item[1]] for item in rec["queue_before_delete"]["queue_pending"]
    ]
    assert [names[item[1]] for item in after] == [
        recorded_names[one] for one in rec["queue_ids_after_delete"]["queue_pending"]
    ]
    history = talker.get("/history").json()
    assert [names[one] for one in history] == [
        recorded_names[one] for one in rec["execution_order"]
    ]
    assert len(queue["queue_running"][0]) == 5
    assert [item[0] for item in queue["queue_pending"]][:2] == [-4, -0.5]


def test_a_deleted_prompt_leaves_no_trace_and_no_frame(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "a") as ear:
        practice.faults.hold("1")
        running = talker.prompt(small(1), "a")
        practice.wait_for("held:1", running)
        deleted = talker.prompt(small(2), "a")
        talker.post("/queue", {"delete": [deleted]})
        practice.faults.release()
        heard = ear.until_end(running)

    assert talker.get(f"/history/{deleted}").json() == {}
    assert talker.get(f"/api/jobs/{deleted}").status_code == 404
    assert deleted not in str(heard)


def test_clear_drops_everybodys_pending_prompts(practice: PracticeServer, talker: Talker) -> None:
    rec = recording("ws_queue_clear")
    with Ear(talker.url, "a") as a, Ear(talker.url, "b") as b:
        practice.faults.hold("1")
        running = talker.prompt(sampled(5, 5), "a")
        practice.wait_for("held:1", running)
        talker.prompt(sampled(6, 5), "a")
        talker.prompt(small(3), "b")
        a.until_status(3)
        talker.post("/queue", {"clear": True})
        a.until_status(1, count=3)
        practice.faults.release()
        heard = a.until_end(running)
        heard_b = b.until_status(0)

    assert _without_files(comparable(heard)[1:]) == _without_files(expected(rec["frames_client_a"]))
    assert comparable(heard_b)[1:] == expected(rec["frames_client_b"])


def test_only_the_owner_hears_frames_of_a_prompt(practice: PracticeServer, talker: Talker) -> None:
    rec = recording("ws_prompt_other_client_not_connected")

    with Ear(talker.url, "watcher") as ear:
        prompt_id = talker.prompt(sampled(7, 2), "nobody")
        practice.wait_for("finished", prompt_id)
        heard = ear.until_status(0)

    assert comparable(heard)[1:] == expected(rec["frames_watcher"])


def test_a_prompt_without_client_id_is_half_heard_by_everybody(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_prompt_without_client_id")

    with Ear(talker.url, "w") as plain, Ear(talker.url, "w2", flags=True) as flagged:
        flagged.wait(lambda heard: "feature_flags" in kinds(heard))
        prompt_id = talker.prompt(sampled(50, 3))
        heard = plain.until_status(0)
        heard_flagged = flagged.until_status(0)

    assert comparable(heard) == expected(rec["frames_watcher"])
    _same_but_features(heard_flagged, rec["frames_watcher_with_flag"], practice)
    assert talker.record(prompt_id)["outputs"] != {}
    assert "client_id" not in talker.record(prompt_id)["prompt"][3]


def test_a_cached_run_without_client_id_has_no_outputs_in_history(
    practice: PracticeServer, talker: Talker
) -> None:
    outputs = []
    for client_id in (None, None, "me"):
        prompt_id = talker.prompt(small(9, "extra/noid"), client_id)
        practice.wait_for("finished", prompt_id)
        outputs.append(talker.record(prompt_id)["outputs"])

    assert outputs[0] == outputs[2] != {}
    assert outputs[1] == {}


def test_a_failing_prompt_without_client_id_is_told_to_nobody(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("cache_interrupt_and_no_client_extras")
    told = rec["execution error of a prompt without client_id, seen by another client"]

    with Ear(talker.url, "watcher") as ear:
        prompt_id = talker.prompt(sampled(1, 3, "broken.safetensors"))
        practice.wait_for("finished", prompt_id)
        heard = ear.until_status(0)

    assert kinds(heard[1:]) == told["frame_types"]
    messages = talker.record(prompt_id)["status"]["messages"]
    assert [kind for kind, _ in messages] == told["message_types"]


def test_an_interrupt_without_client_id_is_told_to_everybody(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("cache_interrupt_and_no_client_extras")
    told = rec["interrupt of a prompt without client_id, seen by another client"]

    with Ear(talker.url, "watcher") as ear:
        practice.faults.hold("5", step=1)
        prompt_id = talker.prompt(sampled(1, 30))
        practice.wait_for("held:5", prompt_id)
        talker.post("/interrupt", {"prompt_id": prompt_id})
        heard = ear.until_status(0)

    # The recorded run had two more progress_state frames: its loader was not cached.
    assert kinds(heard)[-4:] == told["frame_types"][-4:]
    assert comparable(heard)[-2]["data"] == comparable([told["interrupted_frame"]["text"]])[0][
        "data"
    ] | {"prompt_id": "P0"}


def test_interrupts_are_always_200_and_hit_only_what_runs(
    old: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_interrupt")
    idle = talker.post("/interrupt", {})

    with Ear(talker.url, "me") as ear:
        old.faults.hold("1")
        running = talker.prompt(sampled(20, 30), "me")
        old.wait_for("held:1", running)
        pending = talker.prompt(small(1, "studio/fast"), "me")
        ear.until_status(2)
        old.faults.release()
        old.faults.hold("5", step=1)
        old.wait_for("held:5", running)
        answers = [
            idle,
            talker.post("/interrupt", {"prompt_id": "not-a-prompt"}),
            talker.post("/interrupt", {"prompt_id": pending}),
            talker.post("/queue", {"delete": [running]}),
        ]
        queue = talker.get("/queue").json()
        jobs = talker.get("/api/jobs?status=in_progress,pending").json()
        answers.append(talker.post("/interrupt", {"prompt_id": running}))
        heard = ear.until_end(pending)

    assert [(one.status_code, one.content) for one in answers] == [(200, b"")] * 5
    assert [item[1] for item in queue["queue_running"]] == [running]
    assert [item[1] for item in queue["queue_pending"]] == [pending]
    recorded_jobs = rec["jobs_running_pending"]["body"]["jobs"]
    assert [(job["status"], set(job)) for job in jobs["jobs"]] == [
        (job["status"], set(job)) for job in recorded_jobs
    ]
    assert _without_files(comparable(heard)[1:]) == _without_files(expected(rec["frames"]))


def test_an_interrupted_run_looks_like_a_failure_but_for_its_message(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_interrupt")
    recorded_entry = next(iter(rec["history"]["body"].values()))

    with Ear(talker.url, "me") as ear:
        practice.faults.hold("5", step=1)
        prompt_id = talker.prompt(sampled(20, 30), "me")
        practice.wait_for("held:5", prompt_id)
        talker.http.post(talker.url + "/interrupt", timeout=10)
        heard = ear.until_end(prompt_id)
    job = talker.get(f"/api/jobs/{prompt_id}").json()

    assert comparable(heard)[1:] == expected(rec["global_interrupt_frames"])
    assert _messages(talker.record(prompt_id)) == _messages(recorded_entry)
    assert set(job) == set(rec["job"]["body"])
    assert job["status"] == ("cancelled" if practice.newer else "failed")


def test_an_interrupt_in_the_last_node_comes_too_late(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "me") as ear:
        practice.faults.hold("2")
        prompt_id = talker.prompt(small(3), "me")
        practice.wait_for("held:2", prompt_id)
        talker.post("/interrupt", {"prompt_id": prompt_id})
        practice.faults.release()
        heard = ear.until_end(prompt_id)

    assert "execution_success" in kinds(heard)
    assert talker.record(prompt_id)["status"]["status_str"] == "success"


def test_an_interrupt_takes_effect_before_the_next_node(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("cache_interrupt_and_no_client_extras")
    told = rec["interrupt with another node still to run: takes effect before the next node"]
    graph = small(3, batch=3)
    graph["3"] = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
    graph["4"] = {
        "class_type": "SaveImage",
        "inputs": {"filename_prefix": "extra/inverted", "images": ["3", 0]},
    }

    with Ear(talker.url, "me") as ear:
        practice.faults.hold("2")
        prompt_id = talker.prompt(graph, "me")
        practice.wait_for("held:2", prompt_id)
        talker.post("/interrupt", {"prompt_id": prompt_id})
        practice.faults.release()
        heard = ear.until_end(prompt_id)

    assert kinds(heard[1:]) == kinds(recorded_frames(told["frames"]))
    last = comparable(heard)[-3]["data"]
    assert (last["node_id"], last["node_type"], last["executed"]) == (
        "3",
        "ImageInvert",
        ["1", "2"],
    )
    assert talker.record(prompt_id)["outputs"].keys() == {"2"}


def test_reconnecting_in_mid_run_tells_the_running_node_and_replays_nothing(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_reconnect_same_client")["mid_run"]
    talker.run(sampled(1, 1), "before")

    with Ear(talker.url, "r") as ear:
        practice.faults.hold("5", step=3)
        prompt_id = talker.prompt(sampled(30, 10), "r")
        practice.wait_for("held:5", prompt_id)
    with Ear(talker.url, "r") as again:
        again.wait(lambda heard: len(heard) >= 2)
        practice.faults.release()
        heard = again.until_end(prompt_id)

    assert kinds(ear.heard[:4]) == ["status", "status", "status", "execution_start"]
    assert _without_files(comparable(heard)) == _without_files(
        expected(rec["frames_after_reconnect"])
    )


def test_reconnecting_after_the_end_tells_only_the_status(
    practice: PracticeServer, talker: Talker
) -> None:
    prompt_id = talker.prompt(small(4), "r2")
    practice.wait_for("finished", prompt_id)

    with Ear(talker.url, "r2") as ear:
        heard = list(ear.heard)

    rec = recording("ws_reconnect_same_client")["finished_while_away"]
    assert comparable(heard) == expected(rec["frames_after_reconnect"])
    assert talker.record(prompt_id)["status"]["status_str"] == rec["history_status"]


def test_of_two_sockets_with_one_id_the_newer_hears_and_dies_with_the_older(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("ws_client_id_traps")
    with Ear(talker.url, "x") as first, Ear(talker.url, "x") as second:
        prompt_id = talker.prompt(small(6, "studio/fast"), "x")
        heard = second.until_end(prompt_id)
        assert kinds(first.heard) == ["status"]
        first.close()
        # The first one's end is told to the server by the time a new socket is greeted.
        with Ear(talker.url, "other") as other:
            deaf = talker.prompt(small(7, "studio/fast"), "x")
            practice.wait_for("finished", deaf)
            other.until_status(0)
        assert len(second.heard) == len(heard)

    both = rec["both_open"]
    assert _without_files(comparable(heard)) == _without_files(
        expected(both["frames_second_socket"])
    )
    assert talker.record(deaf) != {}


def test_without_an_id_the_server_gives_one_and_uses_it(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, None) as ear:
        sid = ear.heard[0]["data"]["sid"]
        prompt_id = talker.prompt(small(8, "studio/fast"), sid)
        heard = ear.until_end(prompt_id)

    rec = recording("ws_client_id_traps")["no_clientId_in_url_server_gives_sid"]
    assert len(sid) == 32
    assert _without_files(comparable(heard)) == _without_files(expected(rec))


def test_flags_sent_late_are_ignored_and_junk_closes_nothing(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "m") as ear:
        for message in ({"type": "hello"}, FLAGS, "not json", "[1,2]"):
            ear.say(message)
        prompt_id = talker.prompt(sampled(3, 2), "m")
        heard = ear.until_end(prompt_id)

    assert "feature_flags" not in kinds(heard)
    previews = [one for one in heard if isinstance(one, bytes)]
    assert previews
    assert all(one[:4] == b"\0\0\0\1" for one in previews)


def test_the_server_answers_pings_and_sends_none(practice: PracticeServer, talker: Talker) -> None:
    import websocket

    socket = websocket.create_connection(talker.url.replace("http", "ws") + "/ws", timeout=5)
    try:
        socket.recv()
        socket.ping("abc")
        opcode, data = socket.recv_data(control_frame=True)
    finally:
        socket.close(timeout=2)

    assert (opcode, data) == (websocket.ABNF.OPCODE_PONG, b"abc")


def test_client_id_inside_extra_data_counts(practice: PracticeServer, talker: Talker) -> None:
    with Ear(talker.url, "inner") as ear:
        prompt_id = talker.prompt(small(2), extra_data={"client_id": "inner"})
        heard = ear.until_end(prompt_id)

    assert "executed" in kinds(heard)


@pytest.mark.parametrize(
    "word", ["type1_preview_jpeg", "type3_text", "type4_preview_with_metadata"]
)
def test_recorded_binary_frames_have_our_layout(word: str) -> None:
    from studio.practice.frames import NodeText, Preview
    from tests.contract.talk import RECORDINGS, decode

    data = (RECORDINGS / "binary_frames" / f"{word}.bin").read_bytes()
    told = decode(data)

    if word == "type3_text":
        made = NodeText(told["node_id"], told["text"], None).wire()
    elif word == "type1_preview_jpeg":
        made = Preview("5", "p", data[8:], None).plain()
    else:
        about = told["metadata"]
        jpeg = data[8 + int.from_bytes(data[4:8], "big") :]
        made = Preview(about["node_id"], about["prompt_id"], jpeg, None).with_metadata()
    assert made == data
