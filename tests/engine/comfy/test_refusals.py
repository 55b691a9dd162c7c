"""What a server refuses, in words that people can act on."""

from __future__ import annotations

from typing import Any

import pytest

from studio import texts
from studio.engine.comfy import refusals
from studio.engine.comfy.events import Failed
from tests.engine.comfy.recorded import recording

RECORDED = {
    entry["case"]: entry for entry in recording("prompt_post_and_validation") if "case" in entry
}
REFUSED = sorted(
    case
    for case, entry in RECORDED.items()
    if entry.get("status") == 400 and isinstance(entry.get("request"), dict)
)


def refused(case: str) -> Any:
    entry = RECORDED[case]
    body = entry["request"]["body"]
    prompt = body.get("prompt") if isinstance(body, dict) else {}
    return refusals.refusal(entry["body"], prompt if isinstance(prompt, dict) else {})


@pytest.mark.parametrize("case", REFUSED)
def test_every_recorded_refusal_has_a_sentence_with_a_reason(case: str) -> None:
    """Traps 5 to 7."""
    error = refused(case)

    for language in texts.LANGUAGES:
        sentence, hint = texts.explain(error, language)
        assert "{" not in sentence + hint
        assert "?" not in sentence


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("value bigger than max", "KSampler: steps: Value 99999 bigger than max of 10000"),
        ("missing required inputs", "KSampler: model: Required input is missing"),
        ("LoadImage file missing", "LoadImage: image - Invalid image file: missing.png"),
        ("link of wrong type", "Result: images, received_type(LATENT) mismatch input_type(IMAGE)"),
        ("self/cyclic link", "Prompt outputs failed validation"),
        ("no output node", "Prompt has no outputs"),
    ],
)
def test_the_reason_is_that_of_the_first_node_at_fault(case: str, reason: str) -> None:
    """Trap 6: `error.details` is empty when the fault lies upstream; a cycle names nothing."""
    error = refused(case)

    assert error.code == "prompt_refused"
    assert error.params["reason"] == reason


def test_a_missing_node_is_named() -> None:
    """Trap 5, case graph-2: the id sits in `details` as `Node ID '#9'`."""
    error = refused("unknown class_type")

    assert (error.code, error.params["class_type"]) == ("missing_node", "NoSuchNode")


def test_a_missing_node_is_named_by_newer_servers_too() -> None:
    info = {"node_id": "9", "class_type": "NoSuchNode", "node_title": "Mine"}
    answer = {"error": {"type": "missing_node_type", "message": "x", "extra_info": info}}

    error = refusals.refusal(
        answer, {"9": {"_meta": {"title": "Mine"}, "class_type": "NoSuchNode"}}
    )

    assert (error.code, error.params["node"]) == ("missing_node", "Mine")


def test_a_missing_model_is_named() -> None:
    """Trap 7, case graph-1: `value_not_in_list` on the loader."""
    error = refused("value not in list: model missing")

    assert error.code == "missing_model"
    assert error.params["model"] == "missing.safetensors"
    assert "random-sd15.safetensors" in error.params["choices"]


def test_a_long_list_that_the_server_left_out_is_no_crash() -> None:
    """Trap 7: `input_config` is null when the list has over 20 entries."""
    error = refused("value not in list: sampler (long list)")

    assert error.code == "prompt_refused"
    assert "nope" in error.params["reason"]


@pytest.mark.parametrize(
    "answer",
    ["500 Internal Server Error", None, [], {"error": "text"}, {"error": {}, "node_errors": []}],
)
def test_an_odd_answer_is_still_a_refusal(answer: object) -> None:
    """Traps 9 and 37: plain text, or an error that is a string."""
    assert refusals.refusal(answer, {}).code == "prompt_refused"


def fail(exception_type: str, message: str) -> Failed:
    return Failed("p", "5", "KSampler", exception_type, message, ("  File x\n",))


@pytest.mark.parametrize(
    ("exception_type", "message"),
    [
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory."),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 9 GB)"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: not enough memory"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_want_of_memory_is_told_from_other_failures(exception_type: str, message: str) -> None:
    """Case graph-3."""
    assert refusals.failure(fail(exception_type, message)).code == "out_of_memory"


def test_a_failure_names_the_node_and_hides_the_servers_folders() -> None:
    """Trap 25: a message may contain server paths."""
    failed = fail(
        "FileNotFoundError", "no such file: /home/ann/comfy/models/a.pt\nor C:\\x\\y\\b.pt\n"
    )
    prompt = {"5": {"class_type": "KSampler", "_meta": {"title": "Paint"}}}

    error = refusals.failure(failed, prompt)

    assert (error.code, error.params["node"]) == ("run_failed", "Paint")
    assert error.params["reason"] == "no such file: a.pt or b.pt"
    assert "File x" in error.details


def test_a_long_message_is_cut() -> None:
    assert len(refusals.failure(fail("E", "x" * 5000)).params["reason"]) <= 300
