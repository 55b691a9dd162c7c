"""The recordings read through `wire.py`. "Trap n" is fact n of the recordings' README."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio.engine.comfy import wire
from studio.engine.comfy.events import (
    Cached,
    Ended,
    Failed,
    Interrupted,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    OutputFile,
    Preview,
    Queued,
    RunEvent,
    Unknown,
)
from tests.engine.comfy.recorded import (
    RECORDINGS,
    every_frame_list,
    frames,
    raw_frame,
    recording,
    replay,
)


def text(kind: str, **data: Any) -> str:
    return json.dumps({"type": kind, "data": data})


def short(events: list[RunEvent]) -> list[str]:
    """Name the events of a run; a node's own with its id."""
    return [
        type(event).__name__ + (f" {event.node}" if hasattr(event, "node") else "")
        for event in events
    ]


# Frames -----------------------------------------------------------------------------------


def test_a_normal_run_is_told_in_order_and_each_fact_once() -> None:
    """Trap 14: the order of a run; trap 15: `progress_state` repeats every node so far."""
    events = replay(recording("ws_run_no_flags")["frames"])

    assert short(events)[:8] == [
        "Queued",
        "Queued",
        "Queued",
        "Started",
        "Cached",
        "NodeStarted 1",
        "NodeFinished 1",
        "NodeStarted 4",
    ]
    assert short(events)[-6:] == [
        "NodeStarted 7",
        "NodeOutput 7",
        "NodeFinished 7",
        "Succeeded",
        "Queued",
        "Ended",
    ]
    assert max(Counter(short(events)[3:-1]).values()) == 5  # the sampler's five steps, no more


def test_progress_and_progress_state_are_not_told_twice() -> None:
    """Trap 15: both frames come for each step of a sampler."""
    recorded = recording("ws_run_no_flags")["frames"]
    kinds = Counter(entry["text"]["type"] for entry in frames(recorded) if "text" in entry)

    steps = [event for event in replay(recorded) if isinstance(event, NodeProgress)]

    assert kinds["progress"] == 5
    assert [(s.node, s.value, s.maximum) for s in steps] == [("5", n, 5) for n in range(1, 6)]


def test_a_server_that_sends_only_progress_is_understood_as_well() -> None:
    reader = wire.Reader()

    told = [reader.text(text("progress", value=n, max=2, prompt_id="p", node="5")) for n in (1, 2)]

    assert told == [(NodeProgress("p", "5", 1, 2),), (NodeProgress("p", "5", 2, 2),)]


def test_an_old_preview_belongs_to_the_prompt_last_spoken_of() -> None:
    """Trap 18: type 1 carries no ids."""
    recorded = recording("ws_run_no_flags")

    previews = [event for event in replay(recorded["frames"]) if isinstance(event, Preview)]

    assert {(p.prompt_id, p.node) for p in previews} == {
        (recorded["prompt"]["body"]["prompt_id"], "5")
    }
    assert {p.mime for p in previews} == {"image/jpeg"}


def test_an_old_preview_of_a_foreign_prompt_is_not_given_to_ours() -> None:
    """Traps 17 and 18: prompts without a client id broadcast progress and previews to everybody."""
    reader = wire.Reader()
    reader.text(text("executing", node="5", display_node="5", prompt_id="ours"))
    reader.text(text("progress", value=1, max=9, prompt_id="foreign", node="3"))

    (event,) = reader.binary(raw_frame("type1_preview_jpeg.bin"))

    assert isinstance(event, Preview)
    assert (event.prompt_id, event.node) == ("foreign", "3")


def test_an_old_preview_after_the_end_belongs_to_nobody() -> None:
    reader = wire.Reader()
    reader.text(text("executing", node="5", display_node="5", prompt_id="p"))
    reader.text(text("executing", node=None, prompt_id="p"))

    (event,) = reader.binary(raw_frame("type1_preview_jpeg.bin"))

    assert isinstance(event, Preview)
    assert event.prompt_id is None


def test_the_raw_binary_frames_are_cut_where_the_picture_begins() -> None:
    """Trap 19: types 1 and 4 hold a JPEG, type 3 a text without a prompt id."""
    reader = wire.Reader()

    (old,) = reader.binary(raw_frame("type1_preview_jpeg.bin"))
    (new,) = reader.binary(raw_frame("type4_preview_with_metadata.bin"))
    (words,) = reader.binary(raw_frame("type3_text.bin"))

    assert isinstance(old, Preview)
    assert old.data[:2] == b"\xff\xd8"
    assert isinstance(new, Preview)
    assert new.data[:2] == b"\xff\xd8"
    assert new.prompt_id
    assert new.node
    assert words == Unknown("binary 3")


def test_previews_with_ids_name_their_prompt() -> None:
    """Trap 18: after the flags message."""
    recorded = recording("ws_run_preview_metadata")

    previews = [event for event in replay(recorded["frames"]) if isinstance(event, Preview)]

    assert len(previews) == 5
    assert {p.prompt_id for p in previews} == {recorded["prompt"]["body"]["prompt_id"]}


def test_a_fully_cached_run_hands_out_the_earlier_file() -> None:
    """Trap 21."""
    events = replay(recording("ws_run_fully_cached")["same_graph_again"]["frames"])

    assert short(events) == [
        "Queued",
        "Queued",
        "Started",
        "Cached",
        "NodeOutput 7",
        "NodeFinished 7",
        "Succeeded",
        "Queued",
        "Ended",
    ]
    (output,) = [event for event in events if isinstance(event, NodeOutput)]
    assert output.files == (OutputFile("t2i_00001_.png", "studio", "output"),)
    (cached,) = [event for event in events if isinstance(event, Cached)]
    assert cached.nodes == ("1", "2", "3", "4", "5", "6", "7")


def test_a_failed_run_says_where_and_why_and_keeps_the_inputs_out() -> None:
    """Trap 25: the message ends in a newline; `current_inputs` may hold secrets."""
    events = replay(recording("ws_run_execution_error")["frames"])

    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.node, failed.class_type) == ("1", "CheckpointLoaderSimple")
    assert failed.message == "Error while deserializing header: header too large"
    assert failed.traceback
    assert "broken.safetensors" not in repr(failed)
    assert not hasattr(failed, "current_inputs")
    assert isinstance(events[-1], Ended)


def test_an_interrupted_run_is_no_failed_run() -> None:
    """Trap 26."""
    recorded = recording("ws_interrupt")

    events = replay(recorded["frames"])

    assert Interrupted(recorded["prompt_id"], "5") in events
    assert not any(isinstance(event, Failed) for event in events)


def test_after_a_reconnect_a_node_comes_without_a_prompt() -> None:
    """Trap 30: nothing is replayed but the node that runs now."""
    recorded = recording("ws_reconnect_same_client")

    events = replay(recorded["mid_run"]["frames_after_reconnect"])
    away = replay(recorded["finished_while_away"]["frames_after_reconnect"])

    assert events[:2] == [Queued(1), NodeStarted(None, "5")]
    assert {p.prompt_id for p in events if isinstance(p, Preview)} == {recorded["prompt_id"]}
    assert away == [Queued(0)]


def test_frames_of_prompts_without_a_client_id_name_their_prompt() -> None:
    """Trap 17: what is broadcast can be told from ours by its id."""
    recorded = recording("ws_prompt_without_client_id")

    events = replay(recorded["frames_watcher"])

    named = {event.prompt_id for event in events if not isinstance(event, Queued | Unknown)}
    assert named == {next(iter(recorded["history"]["body"]))}


def test_status_counts_the_whole_servers_queue() -> None:
    """Trap 13: `sid` only in the first; no prompt id."""
    reader = wire.Reader()

    first = reader.text(text("status", status={"exec_info": {"queue_remaining": 3}}, sid="me"))
    later = reader.text(text("status", status={"exec_info": {"queue_remaining": 2}}))

    assert (first, later) == ((Queued(3),), (Queued(2),))


def test_an_inner_node_of_an_expanded_one_speaks_for_the_node_shown() -> None:
    reader = wire.Reader()
    state = {"value": 1, "max": 1, "state": "finished", "display_node_id": "5"}
    running = {"value": 1, "max": 4, "state": "running", "display_node_id": "5"}

    told = reader.text(
        text("progress_state", prompt_id="p", nodes={"5.0.1": state, "5.0.2": running})
    )

    assert told == (NodeProgress("p", "5", 1, 4),)


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in RECORDINGS.glob("*.json") if every_frame_list(path.stem))
)
def test_every_recorded_frame_is_understood(name: str) -> None:
    for recorded in every_frame_list(name):
        unknown = {e.kind for e in replay(recorded) if isinstance(e, Unknown)}
        assert unknown <= {"feature_flags", "binary 3"}


# Malformed frames -------------------------------------------------------------------------

unhurried = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(
    [
        "status", "execution_start", "execution_cached", "executing", "progress", "progress_state",
        "executed", "execution_success", "execution_error", "execution_interrupted", "crystools",
    ]
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "prompt_id", "node", "display_node", "nodes", "value", "max", "output", "status", "node_id",
        "node_type", "exception_message", "exception_type", "traceback", "images",
    ]
)  # fmt: skip


@unhurried
@given(KINDS, st.dictionaries(KEYS, JSON, max_size=6))
def test_no_message_of_a_known_type_breaks_the_reader(kind: str, data: dict[str, Any]) -> None:
    events = wire.Reader().text(text(kind, **data))

    assert all(isinstance(event, RunEvent) for event in events)


@unhurried
@given(st.text() | JSON.map(json.dumps))
def test_no_text_breaks_the_reader(frame: str) -> None:
    assert all(isinstance(event, RunEvent) for event in wire.Reader().text(frame))


@unhurried
@given(
    st.binary(max_size=64)
    | st.builds(
        lambda n, rest: n.to_bytes(4, "big") + rest, st.integers(0, 5), st.binary(max_size=64)
    )
)
def test_no_bytes_break_the_reader(frame: bytes) -> None:
    (event,) = wire.Reader().binary(frame)

    assert isinstance(event, Preview | Unknown)


@unhurried
@given(JSON, JSON, JSON)
def test_no_answer_breaks_the_readers_of_answers(one: Any, two: Any, three: Any) -> None:
    wire.read_queue({"queue_running": one, "queue_pending": [two, [three, "p", {}, {}, []]]})
    wire.read_history({"p": one}, "p")
    wire.read_history({"p": {"prompt": two, "outputs": {"1": one}, "status": three}}, "p")
    wire.read_output("p", "1", {"images": [one, two], "text": three})
    wire.read_features({"max_upload_size": one})
    wire.read_system({"system": one, "devices": two})
    wire.read_upload(one)
    wire.read_accepted(one)
    wire.combo([one, {"options": two}])
    wire.node_order({"1": {"inputs": {"a": [one, 0], "b": two}}, "2": three})


def test_deeply_nested_junk_is_unknown() -> None:
    assert wire.Reader().text("[" * 100_000) == (Unknown(""),)


def test_what_others_run_does_not_pile_up() -> None:
    """Trap 17: prompts whose end is never told to us."""
    reader = wire.Reader()

    for n in range(500):
        reader.text(text("progress", value=1, max=2, prompt_id=f"p{n}", node="1"))

    assert len(reader._told) <= 16


# Answers ----------------------------------------------------------------------------------


def test_pending_prompts_come_in_the_order_they_will_run() -> None:
    """Trap 10: `/queue` gives heap order; the lower number runs first."""
    recorded = recording("ws_two_clients_order_delete")

    queue = wire.read_queue(recorded["queue_before_delete"])

    deleted = recorded["prompts"]["a2_deleted"]
    ran = recorded["execution_order"]
    assert list(queue.running) == ran[:1]
    assert [p for p in queue.pending if p != deleted] == ran[1:]


def test_history_of_a_pending_running_or_unknown_prompt_is_none() -> None:
    """Trap 35: all look alike."""
    recorded = recording("ws_interrupt")

    assert wire.read_history(recorded["history_of_running"]["body"], recorded["prompt_id"]) is None


def test_history_tells_success_error_and_interrupt_apart() -> None:
    """Trap 26: an interrupted run says "error" too; its messages tell."""

    def outcome(name: str) -> str:
        recorded = recording(name)
        body = recorded["history"]["body"]
        record = wire.read_history(body, next(iter(body)))
        assert record is not None
        return record.outcome

    assert outcome("ws_run_no_flags") == "success"
    assert outcome("ws_run_execution_error") == "error"
    assert outcome("ws_interrupt") == "interrupted"


def test_a_failed_run_keeps_what_it_had_saved() -> None:
    """Trap 25."""
    body = recording("ws_run_execution_error")["history"]["body"]

    record = wire.read_history(body, next(iter(body)))

    assert record is not None
    assert record.failed is not None
    assert record.failed.class_type == "CheckpointLoaderSimple"
    assert [file.filename for output in record.outputs for file in output.files] == [
        "side_00001_.png"
    ]


@pytest.mark.parametrize("name", sorted(recording("ui_outputs_by_node")))
def test_the_files_of_every_kind_of_node_are_found(name: str) -> None:
    """Traps 39 and 40: any key, any kind of file; `temp` is never a result."""
    for outputs in (recording("ui_outputs_by_node")[name].get("history_outputs") or {}).values():
        output = wire.read_output("p", "1", outputs)

        expected = [
            item["filename"]
            for values in outputs.values()
            for item in values
            if isinstance(item, dict) and item["type"] != "temp"
        ]
        assert [file.filename for file in output.files] == expected
        assert output.texts == tuple(outputs.get("text", ()))


def test_newer_outputs_may_be_bare_strings() -> None:
    """Newer-versions 8: 3D files as paths, text as text; neither crashes nor is lost."""
    output = wire.read_output(
        "p", "1", {"result": ["3d/mesh_00001_.glb", {"position": 1}, None], "text": ["a.txt"]}
    )

    assert output.files == (OutputFile("mesh_00001_.glb", "3d", "output"),)
    assert output.texts == ("a.txt",)


def test_outputs_stand_in_the_order_of_nodes_whatever_the_order_in_the_json() -> None:
    """Case run-7: a second save node in front in JSON order."""
    image = {"class_type": "EmptyImage", "inputs": {"batch_size": 4}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}
    graph = {"10": save, "1": image, "2": save}
    files = [{"filename": f"b_{n}.png", "subfolder": "", "type": "output"} for n in range(4)]
    outputs = {"10": {"images": files[:1]}, "2": {"images": files}}
    entry = {"prompt": [1, "p", graph, {}, ["10", "2"]], "outputs": outputs, "status": {}}

    record = wire.read_history({"p": entry}, "p")

    assert record is not None
    assert [output.node for output in record.outputs] == ["2", "10"]
    assert [file.filename for file in record.outputs[0].files] == [f["filename"] for f in files]


def test_nodes_are_ordered_by_their_links_before_their_ids() -> None:
    graph = {
        "3": {"inputs": {"images": ["20", 0]}},
        "20": {"inputs": {}},
        "x": {"inputs": {"a": ["3", 0], "b": ["missing", 0], "c": [1, 2]}},
        "7": {"inputs": {"me": ["7", 0]}},
    }

    assert wire.node_order(graph) == ["20", "3", "x", "7"]


def test_ids_of_nodes_made_while_running_stand_with_their_maker() -> None:
    graph = {"5": {"inputs": {}}, "6": {"inputs": {}}}
    image = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
    entry = {"prompt": [1, "p", graph], "outputs": {"6": image, "zz": image, "5.0.1": image}}

    record = wire.read_history({"p": entry}, "p")

    assert record is not None
    assert [output.node for output in record.outputs] == ["5.0.1", "6", "zz"]


def test_the_upload_limit_is_read_in_bytes_whole_or_not() -> None:
    """Trap 48: a float when the flag is set; newer-versions 4."""
    assert wire.read_features({"max_upload_size": 1048576.0}).max_upload_bytes == 1048576
    assert wire.read_features({}).max_upload_bytes == 104857600


def test_the_name_of_an_upload_is_the_answers() -> None:
    """Traps 43 and 44, newer-versions 5."""
    answer = {"name": "pic (1).png", "subfolder": "a/b", "type": "input", "asset": {"id": "x"}}

    assert wire.read_upload(answer) == "a/b/pic (1).png"
    assert wire.read_upload({"name": "pic.png", "subfolder": "", "type": "input"}) == "pic.png"
    assert wire.read_upload({"error": "x"}) is None


def test_what_is_no_comfyui_has_no_system() -> None:
    idle = recording("http_idle_endpoints")["/system_stats"]["body"]

    info = wire.read_system(idle)

    assert info is not None
    assert info.version == "0.8.0"
    assert info.devices[0].type == "cpu"
    assert wire.read_system({"hello": "world"}) is None
