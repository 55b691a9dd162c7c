"""The server as a thing: starts fast, stops clean, waits, runs alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

from studio.practice import PracticeServer
from tests.contract.talk import Ear, Talker, sampled, small


def test_it_starts_in_well_under_a_second(no_threads_left: None) -> None:
    began = time.monotonic()
    with PracticeServer() as server:
        answer = requests.get(server.url + "/system_stats", timeout=5)
        took = time.monotonic() - began

    assert answer.status_code == 200
    assert took < 0.5


def test_it_stops_with_a_run_held_and_a_socket_open(no_threads_left: None) -> None:
    server = PracticeServer(pace_s=30)
    server.start()
    talker = Talker(server.url)
    folder = server.folders.root
    ear = Ear(server.url, "me")
    prompt_id = talker.prompt(sampled(), "me")
    server.wait_for("started", prompt_id)
    began = time.monotonic()

    server.stop()

    assert time.monotonic() - began < 2
    assert not folder.exists()
    ear.wait_closed()
    ear.close()
    talker.close()
    server.stop()


def test_its_files_stay_in_a_folder_that_was_given(tmp_path: Path, no_threads_left: None) -> None:
    with PracticeServer(pace_s=0, folder=tmp_path) as server:
        talker = Talker(server.url)
        talker.run(small(1, "kept"), "me")
        talker.close()

    assert (tmp_path / "output" / "kept_00001_.png").is_file()


def test_it_can_start_again_after_stop(no_threads_left: None) -> None:
    server = PracticeServer(pace_s=0)
    for _ in range(2):
        with server:
            assert requests.get(server.url + "/queue", timeout=5).status_code == 200


def test_two_servers_live_side_by_side(practice: PracticeServer, talker: Talker) -> None:
    with PracticeServer(pace_s=0, profile="newer") as second:
        other = Talker(second.url)
        other.run(small(), "me")
        other.close()

    assert talker.get("/history").json() == {}


def test_models_are_listed_as_given(no_threads_left: None) -> None:
    models = {"checkpoints": ["a.safetensors", "sub/b.safetensors"], "loras": ["c.safetensors"]}
    with PracticeServer(pace_s=0, models=models) as server:
        talker = Talker(server.url)
        listed = talker.get("/models/checkpoints").json()
        entry, _ = talker.run(sampled(1, 1, "sub/b.safetensors"), "me")
        info = talker.get("/object_info/LoraLoader").json()
        talker.close()

    assert listed == models["checkpoints"]
    assert info["LoraLoader"]["input"]["required"]["lora_name"][0] == models["loras"]
    assert entry["status"]["completed"]


def test_waiting_in_vain_tells_what_was_reached(practice: PracticeServer, talker: Talker) -> None:
    prompt_id = talker.prompt(small(), "me")
    practice.wait_for("finished", prompt_id)

    with pytest.raises(TimeoutError, match="'node:99' not reached"):
        practice.wait_for("node:99", prompt_id, timeout_s=0.01)


def test_points_are_reached_in_order(practice: PracticeServer, talker: Talker) -> None:
    prompt_id = talker.prompt(sampled(1, 3), "me")

    for point in ("queued", "started", "node:5", "node:KSampler", "progress:3", "finished"):
        practice.wait_for(point, prompt_id)

    assert practice.posted[0]["prompt_id"] == prompt_id
    assert practice.posted[0]["client_id"] == "me"


def test_the_pace_is_kept_at_every_step(no_threads_left: None) -> None:
    with PracticeServer(pace_s=0.05) as server:
        talker = Talker(server.url)
        with Ear(server.url, "me") as ear:
            prompt_id = talker.prompt(sampled(1, 6), "me")
            server.wait_for("progress:1", prompt_id)
            began = time.monotonic()
            server.wait_for("progress:6", prompt_id)
            took = time.monotonic() - began
            ear.until_end(prompt_id)
        talker.close()

    assert took > 0.2


def test_an_interrupt_does_not_wait_for_the_step_to_end(no_threads_left: None) -> None:
    graph = sampled(1, 6)
    # A loader takes time and is deaf to interrupts: here plain words stand in for its outputs.
    del graph["1"]
    graph["5"]["inputs"]["model"] = graph["2"]["inputs"]["clip"] = "x"
    graph["3"]["inputs"]["clip"] = graph["6"]["inputs"]["vae"] = "x"
    with PracticeServer(pace_s=30) as server:
        talker = Talker(server.url)
        prompt_id = talker.prompt(graph, "me")
        server.wait_for("node:5", prompt_id)
        began = time.monotonic()
        talker.post("/interrupt", {"prompt_id": prompt_id})
        server.wait_for("finished", prompt_id)
        took = time.monotonic() - began
        talker.close()

    assert took < 2


def test_it_runs_alone_from_the_command_line() -> None:
    command = [sys.executable, "-m", "studio.practice", "--port", "0", "--profile", "newer"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.rsplit(" ", 1)[1].strip()
        told = requests.get(url + "/system_stats", timeout=5).json()
        process.send_signal(signal.SIGTERM)
        code = process.wait(10)

    assert told["system"]["comfyui_version"] == "0.46.0"
    assert line.startswith("Practice server (0.46.0) at http://127.0.0.1:")
    assert code == 0


def test_it_needs_no_gradio() -> None:
    code = "import sys, studio.practice; print(sorted(m for m in sys.modules if 'gradio' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.strip() == "[]"


def test_no_file_stays_open(no_threads_left: None) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    with PracticeServer(pace_s=0):
        pass
    before = opened()
    for _ in range(5):
        with PracticeServer(pace_s=0) as server:
            talker = Talker(server.url)
            talker.run(small(), "me")
            server.faults.restart()
            talker.close()

    assert opened() <= before
    assert threading.active_count() >= 1
