"""For the same prompt the practice server says what a real ComfyUI says: frames, history, refusals.

Compared are kinds, order and field names, not times, ids or pixels. The order in which nodes that
do not depend on each other run is ComfyUI's own affair and is not compared.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import requests

Prompt = dict[str, Any]
Both = Callable[..., tuple[Any, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def painting(checkpoint: str, *, steps: int = 3, batch: int = 1) -> Prompt:
    """The smallest prompt with a sampler; a new seed each time, so that nothing is cached."""
    seed = uuid.uuid4().int % 2**53
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "positive": node("CLIPTextEncode", clip=["checkpoint", 1], text=f"a lighthouse {seed}"),
        "negative": node("CLIPTextEncode", clip=["checkpoint", 1], text=f"blurry {seed}"),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=batch),
        "sampler": node(
            "KSampler",
            model=["checkpoint", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["latent", 0],
            seed=seed,
            steps=steps,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        "save": node("SaveImage", images=["decode", 0], filename_prefix=f"hold/{seed}"),
    }


def shape(value: Any) -> Any:
    """Reduce a value to its field names and kinds."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) else type(value).__name__


def story(frames: list[dict[str, Any]]) -> list[str]:
    """Give the kinds of the frames in order, nodes named for what is about one node."""
    told = []
    for frame in frames:
        named = frame["data"].get("node") or frame["data"].get("node_id") or ""
        if frame["type"] == "progress_state":
            states = frame["data"]["nodes"]
            named = ",".join(f"{name}:{states[name]['state']}" for name in list(states)[-1:])
        told.append(f"{frame['type']} {named}".strip())
    return told


def of_node(frames: list[dict[str, Any]], name: str) -> list[str]:
    """Give what was said of one node, with its progress."""
    told = []
    for frame in frames:
        data = frame["data"]
        if frame["type"] == "progress_state":
            state = data["nodes"].get(name)
            seen = f"{state['state']} {state['value']:g}/{state['max']:g}" if state else ""
            if state and (not told or told[-1] != seen):
                told.append(seen)
        elif name in (data.get("node"), data.get("node_id")):
            told.append(frame["type"] + (f" {data['value']:g}" if "value" in data else ""))
    return told


def fields(frames: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Give, for each kind of frame, the shapes it came in (one node's state for progress_state)."""
    seen: dict[str, set[str]] = {}
    for frame in frames:
        data = dict(frame["data"])
        if frame["type"] == "progress_state":
            data["nodes"] = next(iter(data["nodes"].values()), {})
        if frame["type"] in ("feature_flags", "execution_error"):
            data = dict.fromkeys(data, "")  # what a version can do, and whose inputs these were
        if frame["type"] == "execution_cached":
            data["nodes"] = ["x"]
        seen.setdefault(frame["type"], set()).add(json.dumps(shape(data)))
    return seen


def outline(frames: list[dict[str, Any]]) -> list[str]:
    """Give the kinds in order, runs of the same node's frames in place, nodes left out."""
    return [frame["type"] for frame in frames if frame["type"] != "progress_state"]


def hold_together(real: Any, practice: Any) -> None:
    nodes = list(real.history["prompt"][2])
    assert {name: of_node(practice.frames, name) for name in nodes} == {
        name: of_node(real.frames, name) for name in nodes
    }
    assert sorted(outline(practice.frames)) == sorted(outline(real.frames))
    assert outline(practice.frames)[:5] == outline(real.frames)[:5]
    assert story(practice.frames)[-4:] == story(real.frames)[-4:]
    ours, theirs = fields(practice.frames), fields(real.frames)
    ours.pop("feature_flags"), theirs.pop("feature_flags")
    assert ours == theirs
    assert real.answer.keys() == practice.answer.keys()
    same_history(real, practice)


def same_history(real: Any, practice: Any) -> None:
    assert practice.history.keys() == real.history.keys()
    assert practice.history["status"]["status_str"] == real.history["status"]["status_str"]
    assert practice.history["status"]["completed"] == real.history["status"]["completed"]
    assert [kind for kind, _ in practice.history["status"]["messages"]] == [
        kind for kind, _ in real.history["status"]["messages"]
    ]
    assert shape(practice.history["outputs"]) == shape(real.history["outputs"])
    assert shape(practice.history["meta"]) == shape(real.history["meta"])


def forget(both: Both) -> None:
    """Run something else: the cache holds the nodes of the last prompt only."""
    colour = uuid.uuid4().int % 2**24
    both(
        {
            "other": node("EmptyImage", width=8, height=8, batch_size=1, color=colour),
            "save_other": node("PreviewImage", images=["other", 0]),
        }
    )


def test_a_run_with_sampler_and_previews_tells_the_same_story(both: Both, checkpoint: str) -> None:
    forget(both)

    hold_together(*both(painting(checkpoint)))


def test_the_same_prompt_again_is_served_from_the_cache_alike(both: Both, checkpoint: str) -> None:
    prompt = painting(checkpoint)
    first = both(prompt)

    again = both(prompt)

    hold_together(*again)
    for before, after in zip(first, again, strict=True):
        assert after.history["outputs"] == before.history["outputs"]


def test_a_new_prefix_runs_only_the_save_node_alike(both: Both, checkpoint: str) -> None:
    prompt = painting(checkpoint)
    both(prompt)

    changed = prompt | {
        "save": node("SaveImage", images=["decode", 0], filename_prefix=f"hold/{uuid.uuid4()}")
    }

    hold_together(*both(changed))


def test_a_batch_gives_as_many_files_in_order_alike(both: Both, checkpoint: str) -> None:
    real, practice = both(painting(checkpoint, steps=1, batch=3))

    hold_together(real, practice)
    for run in (real, practice):
        names = [item["filename"] for item in run.history["outputs"]["save"]["images"]]
        assert [name[-10:] for name in names] == ["00001_.png", "00002_.png", "00003_.png"]
        assert [picture.shape for picture in run.pictures("save")] == [(64, 64, 4)] * 3


def test_a_failing_branch_fails_alike(both: Both) -> None:
    prompt = {
        "fine": node("EmptyImage", width=8, height=8, batch_size=1, color=uuid.uuid4().int % 2**24),
        "save": node("SaveImage", images=["fine", 0], filename_prefix="hold/fine"),
        "broken": node("LoadImage", image="no-picture.png"),
        "save_broken": node("SaveImage", images=["broken", 0], filename_prefix="hold/broken"),
    }

    real, practice = both(prompt, {"no-picture.png": b"these are only words"})

    for run in (real, practice):
        assert run.status == "error"
    errors = [
        next(frame["data"] for frame in run.frames if frame["type"] == "execution_error")
        for run in (real, practice)
    ]
    assert errors[0].keys() == errors[1].keys()
    assert [error["node_id"] for error in errors] == ["broken", "broken"]
    assert errors[0]["exception_type"] == errors[1]["exception_type"]
    assert story(practice.frames)[-3:] == story(real.frames)[-3:]
    assert practice.history.keys() == real.history.keys()


REFUSED: dict[str, Prompt] = {
    "nothing": {},
    "no outputs": {"a": node("EmptyImage", width=8, height=8, batch_size=1, color=0)},
    "unknown class": {"a": node("NoSuchNode"), "b": node("SaveImage", images=["a", 0])},
    "class missing": {"a": {"inputs": {}}},
    "input missing": {"save": node("SaveImage", filename_prefix="x")},
    "too big": {
        "a": node("EmptyImage", width=10**9, height=8, batch_size=1, color=0),
        "save": node("SaveImage", images=["a", 0], filename_prefix="x"),
    },
    "too small": {
        "a": node("EmptyImage", width=0, height=8, batch_size=1, color=0),
        "save": node("SaveImage", images=["a", 0], filename_prefix="x"),
    },
    "not a number": {
        "a": node("EmptyImage", width="wide", height=8, batch_size=1, color=0),
        "save": node("SaveImage", images=["a", 0], filename_prefix="x"),
    },
    "no such choice": {
        "a": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "b": node(
            "ImageScale", image=["a", 0], upscale_method="?", width=8, height=8, crop="center"
        ),
        "save": node("SaveImage", images=["b", 0], filename_prefix="x"),
    },
    "no such model": {
        "a": node("CheckpointLoaderSimple", ckpt_name="none.safetensors"),
        "b": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "c": node("VAEDecode", samples=["b", 0], vae=["a", 2]),
        "save": node("SaveImage", images=["c", 0], filename_prefix="x"),
    },
    "no such file": {
        "a": node("LoadImage", image="not-there.png"),
        "save": node("SaveImage", images=["a", 0], filename_prefix="x"),
    },
    "wrong type": {
        "a": node("LoadImageMask", image="not-there.png", channel="red"),
        "save": node("SaveImage", images=["a", 0], filename_prefix="x"),
    },
    "dangling link": {"save": node("SaveImage", images=["gone", 0], filename_prefix="x")},
    "slot out of range": {
        "a": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "save": node("SaveImage", images=["a", 7], filename_prefix="x"),
    },
    "integer link": {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "save": node("SaveImage", images=[1, 0], filename_prefix="x"),
    },
    "a ring": {
        "a": node("ImageInvert", image=["b", 0]),
        "b": node("ImageInvert", image=["a", 0]),
        "save": node("SaveImage", images=["a", 0], filename_prefix="x"),
    },
}


def refusal(url: str, body: Any) -> tuple[int, str, Any]:
    answer = requests.post(f"{url}/prompt", json=body, timeout=20)
    kind = answer.headers.get("Content-Type", "").split(";")[0]
    if kind != "application/json":
        return answer.status_code, kind, ""
    said = answer.json()
    return answer.status_code, kind, (errors_of(said), nodes_of(said))


def errors_of(said: Any) -> Any:
    error = said.get("error", {})
    return error if isinstance(error, str) else {k: error.get(k) for k in ("type", "message")}


def nodes_of(said: Any) -> Any:
    nodes = said.get("node_errors")
    if not isinstance(nodes, dict):
        return nodes
    return {
        name: {
            "class_type": entry["class_type"],
            "dependent_outputs": sorted(entry["dependent_outputs"]),
            "errors": sorted((e["type"], e["message"]) for e in entry["errors"]),
        }
        for name, entry in nodes.items()
    }


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_a_bad_prompt_is_refused_alike(real_url: str, practice_url: str, case: str) -> None:
    body = {"prompt": REFUSED[case], "client_id": "c", "prompt_id": str(uuid.uuid4())}

    assert refusal(practice_url, body) == refusal(real_url, body)


def test_junk_is_answered_alike(real_url: str, practice_url: str) -> None:
    for data in (b"", b"not json", b'{"prompt": null}', b'{"prompt": {}, "number": "abc"}', b"{}"):
        answers = [
            requests.post(f"{url}/prompt", data=data, timeout=10)
            for url in (practice_url, real_url)
        ]
        kinds = [
            (answer.status_code, answer.headers["Content-Type"].split(";")[0]) for answer in answers
        ]
        assert kinds[0] == kinds[1], data
