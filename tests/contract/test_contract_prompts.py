"""POST /prompt, replayed body by body: same statuses, same words."""

from __future__ import annotations

import copy
import json
import re
import uuid
from typing import Any

import pytest

from studio.practice import PracticeServer
from tests.contract.talk import Ear, Talker, recording, small

CASES = {
    case["case"]: case
    for case in recording("prompt_post_and_validation")
    if "request" in case and case["request"]["path"] == "/prompt"
}
DYNAMIC = {case["case"]: case for case in recording("v3_dynamic_inputs")}
UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$")
OLD_IDS = [name for name in CASES if "prompt_id" in name]
BOTH = [name for name in CASES if name not in OLD_IDS]


def settled(body: Any) -> Any:
    """Leave out what no two servers share: chosen ids, counters, and lines of tracebacks."""
    if not isinstance(body, dict):
        return body
    body = copy.deepcopy(body)
    if UUID.match(str(body.get("prompt_id"))):
        body["prompt_id"] = "UUID"
    if isinstance(body.get("number"), int):
        body["number"] = "COUNTER" if body["number"] >= 0 else "FRONT"
    for node in body.get("node_errors", {}).values():
        for error in node["errors"]:
            trace = error["extra_info"].pop("traceback", None)
            assert trace is None or all(line.startswith('  File "') for line in trace)
    return body


def post(talker: Talker, request: Any) -> Any:
    headers = {"Content-Type": request["content_type"]} if request["content_type"] else {}
    if isinstance(request["body"], str):
        return talker.http.post(
            talker.url + "/prompt", data=request["body"], headers=headers, timeout=20
        )
    if request["body"] is None:
        return talker.http.post(talker.url + "/prompt", headers=headers, timeout=20)
    # Not by `json=`: requests refuses the NaN one of them holds.
    return talker.http.post(
        talker.url + "/prompt", data=json.dumps(request["body"]), headers=headers, timeout=20
    )


def hold_against(talker: Talker, case: Any) -> None:
    # Minus nothing is nothing: the counter must have left 0 for `front` to show.
    talker.prompt(small(), number=0)
    talker.post("/prompt", {})

    answer = post(talker, case["request"])

    assert answer.status_code == case["status"]
    assert answer.headers["Content-Type"] == case["headers"]["Content-Type"]
    if answer.headers["Content-Type"].startswith("application/json"):
        assert settled(answer.json()) == settled(case["body"])
    else:
        assert answer.text == case["body"]


@pytest.mark.parametrize("name", BOTH)
def test_a_body_gets_the_recorded_answer(
    name: str, practice: PracticeServer, talker: Talker
) -> None:
    hold_against(talker, CASES[name])


@pytest.mark.parametrize("name", OLD_IDS)
def test_any_prompt_id_is_taken_by_the_recorded_version(
    name: str, old: PracticeServer, talker: Talker
) -> None:
    hold_against(talker, CASES[name])


@pytest.mark.parametrize(
    "prompt_id",
    ["my-own-id-1", 123, "", str(uuid.uuid4()).upper(), uuid.uuid4().hex],
    ids=["words", "number", "empty", "capitals", "no-hyphens"],
)
def test_later_versions_take_only_canonical_uuids(
    prompt_id: Any, newer: PracticeServer, talker: Talker
) -> None:
    answer = talker.post("/prompt", {"prompt": small(), "prompt_id": prompt_id})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_prompt_id"
    assert newer.posted == []


@pytest.mark.parametrize("more", [{}, {"prompt_id": None}], ids=["absent", "null"])
def test_later_versions_make_an_id_where_none_is_given(
    more: Any, newer: PracticeServer, talker: Talker
) -> None:
    assert UUID.match(talker.prompt(small(), **more))


def test_a_uuid_is_honoured_by_both(practice: PracticeServer, talker: Talker) -> None:
    prompt_id = str(uuid.uuid4())

    assert talker.prompt(small(), prompt_id=prompt_id) == prompt_id


def test_the_counter_counts_refused_posts_too(practice: PracticeServer, talker: Talker) -> None:
    talker.post("/prompt", {"prompt": small()})
    talker.post("/prompt", {"prompt": {}})
    talker.post("/prompt", {})
    talker.post("/prompt", {"prompt": small(), "number": 7.5})

    answer = talker.post("/prompt", {"prompt": small()}).json()

    assert answer["number"] == 3


def test_the_same_id_twice_runs_twice_and_history_keeps_the_later(
    practice: PracticeServer, talker: Talker
) -> None:
    prompt_id = str(uuid.uuid4())
    with Ear(talker.url, "dup") as ear:
        practice.faults.hold("1")
        talker.prompt(small(8, "studio/fast", batch=3), "dup", prompt_id=prompt_id)
        practice.wait_for("held:1", prompt_id)
        talker.prompt(small(9, "studio/fast"), "dup", prompt_id=prompt_id)
        practice.faults.release()
        ear.until_status(0)

    assert len(practice.posted) == 2
    assert len(talker.get("/history").json()) == 1
    outputs = talker.record(prompt_id)["outputs"]["2"]["images"]
    assert [one["filename"] for one in outputs] == ["fast_00004_.png"]


def test_bad_outputs_are_dropped_in_silence_on_a_200(
    practice: PracticeServer, talker: Talker
) -> None:
    case = CASES["one good and one bad output: 200 WITH node_errors, bad branch skipped"]

    answer = post(talker, case["request"]).json()
    practice.wait_for("finished", answer["prompt_id"])

    entry = talker.record(answer["prompt_id"])
    assert list(entry["outputs"]) == ["2"]
    assert entry["prompt"][4] == ["2"]
    assert entry["status"]["status_str"] == "success"


def test_partial_targets_run_alone(practice: PracticeServer, talker: Talker) -> None:
    case = CASES["partial_execution_targets one of two"]

    answer = post(talker, case["request"]).json()
    practice.wait_for("finished", answer["prompt_id"])

    entry = talker.record(answer["prompt_id"])
    assert list(entry["outputs"]) == ["3"]
    assert entry["outputs"]["3"]["images"][0]["type"] == "temp"
    assert entry["prompt"][4] == ["3"]


def test_secrets_are_taken_out_of_what_is_shown(practice: PracticeServer, talker: Talker) -> None:
    case = CASES["extra_data with workflow and client_id inside"]
    answer = post(talker, case["request"]).json()
    practice.wait_for("finished", answer["prompt_id"])

    extra = talker.record(answer["prompt_id"])["prompt"][3]
    listed = talker.get("/api/jobs?workflow_id=wf-1").json()["jobs"]

    assert list(extra) == ["extra_pnginfo", "note", "client_id", "create_time"]
    assert [job["workflow_id"] for job in listed] == ["wf-1"]


def test_values_are_converted_in_what_runs(practice: PracticeServer, talker: Talker) -> None:
    graph = small()
    graph["1"]["inputs"] |= {"width": "64", "height": 64.9}
    graph["2"]["inputs"]["filename_prefix"] = {"__value__": "wrapped"}

    entry, _ = talker.run(graph, "me")

    assert entry["outputs"]["2"]["images"][0]["filename"] == "wrapped_00001_.png"
    assert entry["prompt"][2]["1"]["inputs"]["width"] == 64


def test_a_body_over_the_limit_is_a_plain_413(practice: PracticeServer, talker: Talker) -> None:
    case = next(
        one
        for one in recording("prompt_post_and_validation")
        if one.get("case") == "body of 101 MiB (limit is 100 MiB)"
    )
    practice.faults.limit_uploads(1000)

    answer = talker.http.post(talker.url + "/prompt", data=b" " * 1001, timeout=20)

    assert answer.status_code == case["status"]
    assert answer.headers["Content-Type"] == case["headers"]["Content-Type"]
    assert answer.text == case["body"].replace("104857600", "1000")


@pytest.mark.parametrize("name", list(DYNAMIC))
def test_dynamic_inputs_behave_as_recorded(
    name: str, practice: PracticeServer, talker: Talker
) -> None:
    case = DYNAMIC[name]

    answer = talker.post("/prompt", {"prompt": case["graph"], "client_id": "v3"})

    assert answer.status_code == case["status"]
    assert settled(answer.json()) == settled(case["body"])
    if case["status"] == 200:
        prompt_id = answer.json()["prompt_id"]
        practice.wait_for("finished", prompt_id)
        entry = talker.record(prompt_id)
        kind, data = entry["status"]["messages"][-1]
        assert kind == case["ended"]
        assert data.get("exception_message") == case["error"]
        assert _counts(entry["outputs"]) == _counts(case["outputs"])


def _counts(outputs: Any) -> Any:
    return {
        node: [(one["subfolder"], one["type"]) for one in shown["images"]]
        for node, shown in outputs.items()
    }


def test_a_wrapped_link_wedges_the_server_until_it_restarts(
    practice: PracticeServer, talker: Talker
) -> None:
    graph = small()
    graph["2"]["inputs"]["images"] = {"__value__": ["x", 1]}
    wedged = talker.prompt(graph, "me")
    practice.wait_for("started", wedged)

    talker.prompt(small(), "me")
    talker.post("/interrupt", {"prompt_id": wedged})

    assert [item[1] for item in talker.get("/queue").json()["queue_running"]] == [wedged]
    practice.faults.restart()
    again = talker.prompt(small(), "me")
    practice.wait_for("finished", again)
