"""Every other route, replayed: idle answers, history, jobs, headers."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import websocket

from studio.practice import PracticeServer
from tests.contract.talk import Ear, Talker, comparable, recorded_frames, recording, sampled, small

IDLE = recording("http_idle_endpoints")
SAME_BODY = [
    "/features",
    "/queue",
    "/prompt",
    "/history",
    "/history/00000000-0000-0000-0000-000000000000",
    "/models",
    "/models/checkpoints",
    "/models/diffusion_models",
    "/models/no_such_folder",
    "/embeddings",
    "/api/jobs",
    "/jobs",
    "/api/queue",
    "/object_info/NoSuchNode",
    "/object_info/EmptyImage",
    "/users",
    "/api/users",
    "/userdata?dir=",
    "/settings",
    "/view_metadata/checkpoints?filename=random-sd15.safetensors",
    "/nope",
    "/api/nope",
    "/history?max_items=abc",
    "/workflow_templates",
]
OTHERS = ["GET /interrupt", "GET /free", "PUT /prompt", "DELETE /queue", "OPTIONS /prompt"]


def body(answer: Any) -> Any:
    kind = answer.headers.get("Content-Type", "")
    return answer.json() if kind.startswith("application/json") else answer.text


@pytest.mark.parametrize("path", SAME_BODY)
def test_an_idle_server_answers_as_recorded(
    path: str, practice: PracticeServer, talker: Talker
) -> None:
    recorded = IDLE[path]

    answer = talker.get(path)

    assert answer.status_code == recorded["status"]
    assert answer.headers.get("Content-Type") in (
        recorded["headers"].get("Content-Type"),
        "application/octet-stream",
    )
    told = body(answer)
    if practice.newer and path == "/features":
        told = {key: told[key] for key in recorded["body"]}
    assert told == recorded["body"]


@pytest.mark.parametrize("line", OTHERS)
def test_other_methods_answer_as_recorded(
    line: str, practice: PracticeServer, talker: Talker
) -> None:
    method, path = line.split(" ")

    answer = talker.http.request(method, talker.url + path, timeout=20)

    assert answer.status_code == IDLE[line]["status"]
    assert answer.text == IDLE[line]["body"]
    assert answer.headers.get("Allow") == IDLE[line]["headers"].get("Allow")


def test_system_stats_has_the_recorded_shape(practice: PracticeServer, talker: Talker) -> None:
    recorded = IDLE["/system_stats"]["body"]

    told = talker.get("/system_stats").json()

    assert set(recorded["system"]) <= set(told["system"])
    assert [set(one) for one in told["devices"]] == [set(one) for one in recorded["devices"]]
    assert told["system"]["comfyui_version"] == ("0.46.0" if practice.newer else "0.8.0")


def test_object_info_holds_every_recorded_definition(
    practice: PracticeServer, talker: Talker
) -> None:
    recorded = recording("object_info")["nodes"]

    told = talker.get("/object_info").json()

    assert set(recorded) <= set(told)
    assert {name: told[name] for name in recorded} == recorded


def test_the_front_page_says_what_this_is(practice: PracticeServer, talker: Talker) -> None:
    page = talker.get("/").text
    page_in_chinese = talker.get("/", headers={"Accept-Language": "zh-TW"}).text

    assert "Practice server" in page
    assert "練習伺服器" in page_in_chinese


# history and jobs


@pytest.fixture
def five(practice: PracticeServer, talker: Talker) -> list[str]:
    """Five finished prompts, oldest first."""
    made = []
    for number in range(5):
        made.append(talker.prompt(small(number), "me", prompt_id=str(uuid.uuid4())))
        practice.wait_for("finished", made[-1])
    return made


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("?max_items=1", [4]),
        ("?max_items=2&offset=0", [0, 1]),
        ("?max_items=2&offset=1", [1, 2]),
        ("?offset=3&max_items=1", [3]),
        ("?max_items=0", []),
        ("?max_items=-1", []),
        ("?offset=3", [3, 4]),
    ],
)
def test_history_pages_as_recorded(
    query: str, shown: list[int], practice: PracticeServer, talker: Talker, five: list[str]
) -> None:
    told = talker.get(f"/history{query}").json()

    assert [five.index(prompt_id) for prompt_id in told] == shown


JOBS = {
    path: told
    for path, told in recording("history_and_jobs").items()
    if path.startswith("/api/jobs?")
}


@pytest.mark.parametrize("path", [path for path, told in JOBS.items() if told["status"] == 400])
def test_a_bad_job_query_is_refused_in_the_recorded_words(
    path: str, old: PracticeServer, talker: Talker
) -> None:
    answer = talker.get(path)

    assert answer.status_code == 400
    assert answer.json() == JOBS[path]["body"]


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", [4, 3, 2, 1, 0]),
        ("?limit=2", [4, 3]),
        ("?limit=2&offset=1&sort_order=asc", [1, 2]),
        ("?status=completed&limit=1", [4]),
        ("?status=failed", []),
        ("?offset=-5&limit=1", [4]),
    ],
)
def test_jobs_page_as_recorded(
    query: str, shown: list[int], practice: PracticeServer, talker: Talker, five: list[str]
) -> None:
    told = talker.get(f"/api/jobs{query}").json()

    assert [five.index(job["id"]) for job in told["jobs"]] == shown
    assert set(told["pagination"]) == {"offset", "limit", "total", "has_more"}
    assert told["pagination"]["has_more"] == (
        told["pagination"]["offset"] + len(shown) < told["pagination"]["total"]
    )


def test_jobs_sort_by_how_long_they_ran(
    practice: PracticeServer, talker: Talker, five: list[str]
) -> None:
    told = talker.get("/api/jobs?sort_by=execution_duration").json()["jobs"]

    ran = [job["execution_end_time"] - job["execution_start_time"] for job in told]
    assert ran == sorted(ran, reverse=True)


def test_a_job_has_the_recorded_keys(practice: PracticeServer, talker: Talker, five: Any) -> None:
    recorded = JOBS["/api/jobs?limit=2"]["body"]["jobs"][1]

    told = talker.get("/api/jobs?limit=1").json()["jobs"][0]

    assert list(told) == list(recorded)
    assert list(told["preview_output"]) == list(recorded["preview_output"])


def test_the_state_cancelled_is_known_to_later_versions_only(
    newer: PracticeServer, talker: Talker
) -> None:
    assert talker.get("/api/jobs?status=cancelled").status_code == 200


CHANGES = recording("history_delete_free_interrupt_http")


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, told in CHANGES.items()
        if isinstance(told, dict) and told["request"]["method"] == "POST"
    ],
)
def test_changes_answer_as_recorded(name: str, practice: PracticeServer, talker: Talker) -> None:
    request = CHANGES[name]["request"]
    url = talker.url + request["path"]

    if isinstance(request["body"], str):
        answer = talker.http.post(url, data=request["body"], timeout=20)
    elif request["body"] is None:
        answer = talker.http.post(url, timeout=20)
    else:
        answer = talker.http.post(url, json=request["body"], timeout=20)

    assert answer.status_code == CHANGES[name]["status"]
    assert answer.text == CHANGES[name]["body"]


def test_deleted_history_is_gone_without_a_frame(
    practice: PracticeServer, talker: Talker, five: list[str]
) -> None:
    with Ear(talker.url, "hd") as ear:
        talker.post("/history", {"delete": [five[2]]})
        left = list(talker.get("/history").json())
        talker.post("/history", {"clear": True})
        cleared = talker.get("/history").json()
        last = talker.prompt(small(9))
        practice.wait_for("finished", last)
        heard = ear.until_status(0)

    assert left == [five[0], five[1], five[3], five[4]]
    assert cleared == {}
    assert comparable(heard[:1]) == comparable(recorded_frames(CHANGES["frames during clear"]))


# the cache


def test_the_cache_is_one_prompt_deep_and_goes_by_content(
    practice: PracticeServer, talker: Talker
) -> None:
    rec = recording("cache_interrupt_and_no_client_extras")
    steps = rec["cache keeps only the last prompt: A, B, A, A, A renumbered"]
    a, b = small(1, "extra/aba"), small(2, "extra/aba")
    renumbered = {
        "x1": a["1"],
        "x2": {**a["2"], "inputs": {**a["2"]["inputs"], "images": ["x1", 0]}},
    }

    ran = [talker.run(graph, "me")[0] for graph in (a, b, a, a, renumbered)]

    assert [_cached(entry) for entry in ran] == [step["cached"] for step in steps]
    assert [entry["outputs"] for entry in ran] == [step["outputs"] for step in steps]
    talker.post("/free", {"unload_models": True})
    assert _cached(talker.run(a, "me")[0]) == ["1", "2"]
    talker.post("/free", {"free_memory": True})
    assert _cached(talker.run(a, "me")[0]) == []


def _cached(entry: Any) -> Any:
    return next(
        data["nodes"] for kind, data in entry["status"]["messages"] if kind == "execution_cached"
    )


def test_new_files_and_models_are_seen_at_once(practice: PracticeServer, talker: Talker) -> None:
    rec = recording("cache_and_changed_inputs")[-1]
    place = practice.folders.root / "models" / "checkpoints"
    place.mkdir(parents=True)
    (place / "added_later.safetensors").write_bytes(b"x")

    listed = talker.get("/models/checkpoints").json()
    info = talker.get("/object_info/CheckpointLoaderSimple").json()
    entry, _ = talker.run(sampled(1, 1, "added_later.safetensors"), "me")

    assert listed == rec["models"]
    choices = info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
    assert choices == rec["object_info"]
    assert entry["status"]["completed"]


# headers


HEADERS = [
    case
    for case in recording("headers_origin_limits")["default_config"]
    if case.get("path") == "/prompt" and "request_headers" in case
]


@pytest.mark.parametrize("case", HEADERS, ids=[case["case"] for case in HEADERS])
def test_origin_is_checked_as_recorded(case: Any, practice: PracticeServer, talker: Talker) -> None:
    port = talker.url.rsplit(":", 1)[1]
    headers = {k: v.replace("8191", port) for k, v in case["request_headers"].items()}

    answer = talker.http.request(
        case["method"], talker.url + "/prompt", headers=headers, timeout=20
    )

    expected = 500 if case["method"] == "POST" and case["status"] == 200 else case["status"]
    assert answer.status_code == expected


@pytest.mark.parametrize("origin", ["http://127.0.0.1:7860", "http://localhost:{port}"])
def test_a_socket_of_another_origin_is_refused(
    origin: str, practice: PracticeServer, talker: Talker
) -> None:
    port = talker.url.rsplit(":", 1)[1]
    url = talker.url.replace("http", "ws", 1) + "/ws?clientId=o"

    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(url, origin=origin.format(port=port), timeout=5)


def test_sockets_open_under_api_and_a_plain_get_is_400(
    practice: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url + "/api", "z") as ear:
        first = ear.heard[0]
    plain = talker.get("/ws")

    recorded = recording("headers_origin_limits")["default_config"]
    assert first == next(c for c in recorded if c["case"] == "/api/ws works too")["first"]
    assert plain.status_code == 400
    assert plain.text == next(c for c in recorded if c["case"] == "plain GET /ws")["body"]


def test_features_tell_a_lower_limit(practice: PracticeServer, talker: Talker) -> None:
    practice.faults.limit_uploads(1024 * 1024)

    answer = talker.http.post(
        talker.url + "/upload/image", files={"image": ("a.png", b"x" * 1_500_000)}, timeout=20
    )

    assert talker.get("/features").json()["max_upload_size"] == 1048576
    assert answer.status_code == 413
    assert answer.text == "Maximum request body size 1048576 exceeded."


# cancel by id


def test_the_recorded_version_has_no_cancel_by_id(old: PracticeServer, talker: Talker) -> None:
    answer = talker.post(f"/api/jobs/{uuid.uuid4()}/cancel")

    assert answer.status_code in (404, 405)


def test_cancel_by_id_stops_a_running_and_a_pending_job(
    newer: PracticeServer, talker: Talker
) -> None:
    with Ear(talker.url, "me") as ear:
        newer.faults.hold("5", step=1)
        running = talker.prompt(sampled(1, 30), "me")
        newer.wait_for("held:5", running)
        pending = talker.prompt(small(), "me")
        answers = [
            talker.post(f"/api/jobs/{one}/cancel").json()
            for one in (pending, running, str(uuid.uuid4()))
        ]
        ear.until_end(running)
        late = talker.post(f"/api/jobs/{running}/cancel").json()

    assert answers == [{"cancelled": True}, {"cancelled": True}, {"cancelled": False}]
    assert late == {"cancelled": False}
    assert talker.get(f"/api/jobs/{running}").json()["status"] == "cancelled"
    assert talker.get(f"/api/jobs/{pending}").status_code == 404


def test_cancel_of_many_refuses_ids_that_are_not_uuids(
    newer: PracticeServer, talker: Talker
) -> None:
    answer = talker.post("/api/jobs/cancel", {"job_ids": ["x", str(uuid.uuid4())]})

    assert answer.status_code == 400
    assert answer.json()["invalid_ids"] == ["x"]
