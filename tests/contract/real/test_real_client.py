"""Our client against a ComfyUI: the same promises on a real server and on the practice server."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from studio.engine.comfy.answers import StandingKind
from studio.engine.comfy.client import ComfyClient, Listener
from studio.engine.comfy.events import (
    Cached,
    Ended,
    Failed,
    Interrupted,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    Preview,
    RunEvent,
    Started,
    Succeeded,
)
from studio.errors import StudioError
from studio.practice import PracticeServer
from tests.chain.house import wait_until

Prompt = dict[str, Any]
PATIENCE_S = 60.0
LONG = 200
"""Steps of a run that is to be stopped: seconds on an idle machine, so none may be left behind."""


@pytest.fixture(scope="module")
def slow_practice(checkpoint: str) -> Iterator[str]:
    """Give a practice server whose steps can be interrupted, like real ones."""
    with PracticeServer(pace_s=0.05, models={"checkpoints": [checkpoint]}) as server:
        yield server.url


@pytest.fixture(params=["real", "practice"])
def url(request: pytest.FixtureRequest, real_url: str, slow_practice: str) -> str:
    return real_url if request.param == "real" else slow_practice


@pytest.fixture
def client(url: str) -> Iterator[ComfyClient]:
    client = ComfyClient(url, silence_s=5.0)
    client.open()
    yield client
    queue = client.queue()
    for prompt_id in reversed(queue.running + queue.pending):
        client.cancel(prompt_id)
    client.close()


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def colour_card(colour: int | None = None, batch: int = 1) -> Prompt:
    colour = uuid.uuid4().int % 2**24 if colour is None else colour
    return {
        "card": node("EmptyImage", width=64, height=64, batch_size=batch, color=colour),
        "save": node("SaveImage", images=["card", 0], filename_prefix=f"held/{colour:06x}"),
    }


@pytest.fixture
def painting(checkpoint: str) -> Callable[..., Prompt]:
    """Make prompts with a sampler of so many steps, each with a seed of its own."""

    def make(steps: int) -> Prompt:
        seed = uuid.uuid4().int % 2**53
        return {
            "checkpoint": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
            "positive": node("CLIPTextEncode", clip=["checkpoint", 1], text="a lighthouse"),
            "negative": node("CLIPTextEncode", clip=["checkpoint", 1], text="blurry"),
            "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
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
            "save": node("SaveImage", images=["decode", 0], filename_prefix="held/painting"),
        }

    return make


def events_until(listener: Listener, *kinds: type[Any]) -> list[RunEvent]:
    """Read events up to and including the first of these kinds, within PATIENCE_S."""
    seen: list[RunEvent] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        event = listener.get(1.0)
        if event is not None:
            seen.append(event)
        if isinstance(event, kinds):
            return seen
    raise AssertionError(f"none of {kinds} came; seen: {seen[-5:]}")


def run(client: ComfyClient, prompt: Prompt) -> tuple[str, list[RunEvent]]:
    prompt_id = str(uuid.uuid4())
    with client.listen(prompt_id) as listener:
        client.submit(prompt, prompt_id)
        return prompt_id, events_until(listener, Ended)


def only(events: list[RunEvent], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_the_server_tells_what_it_is_and_has(client: ComfyClient, checkpoint: str) -> None:
    definitions = client.definitions()

    assert client.system().version
    assert client.system().devices
    assert client.features().max_upload_bytes >= 2**20
    assert checkpoint in client.models("checkpoints")
    assert definitions.has("KSampler")
    assert not definitions.has("NoSuchNode")
    assert checkpoint in (definitions.choices("CheckpointLoaderSimple", "ckpt_name") or ())
    assert definitions.choices("ImageBlend", "blend_mode") == (
        "normal",
        "multiply",
        "screen",
        "overlay",
        "soft_light",
        "difference",
    )
    assert definitions.choices("KSampler", "seed") is None


def test_a_run_is_heard_from_start_to_end_and_its_file_fetched(client: ComfyClient) -> None:
    prompt_id, events = run(client, colour_card(0x336699, batch=3))

    kinds = [type(event) for event in events]
    assert kinds.index(Started) < kinds.index(Cached) < kinds.index(Succeeded)
    assert isinstance(events[-1], Ended)
    record = client.history(prompt_id)
    assert record is not None
    assert record.outcome == "success"
    assert [output.node for output in record.outputs] == ["save"]
    assert len(record.outputs[0].files) == 3
    stream = io.BytesIO()
    size = client.download(record.outputs[0].files[0], stream)
    assert size == len(stream.getvalue())
    assert np.unique(np.asarray(Image.open(stream)).reshape(-1, 3), axis=0).tolist() == [
        [0x33, 0x66, 0x99]
    ]


def test_the_same_prompt_twice_gives_its_file_twice(client: ComfyClient) -> None:
    prompt = colour_card()
    first_id, _ = run(client, prompt)

    second_id, events = run(client, prompt)

    assert not only(events, NodeStarted)
    assert len(only(events, NodeOutput)) == 1
    first, second = client.history(first_id), client.history(second_id)
    assert first is not None
    assert second is not None
    assert [o.files for o in second.outputs] == [o.files for o in first.outputs] != []


def test_a_sampler_counts_its_steps_and_shows_previews(
    client: ComfyClient, painting: Callable[[int], Prompt]
) -> None:
    prompt_id, events = run(client, painting(4))

    steps = [e for e in only(events, NodeProgress) if e.node == "sampler" and e.maximum == 4]
    values = [event.value for event in steps]
    assert values == sorted(values)
    assert set(values) == {1, 2, 3, 4}
    previews = only(events, Preview)
    assert len(previews) == 4
    for preview in previews:
        assert (preview.prompt_id, preview.node) == (prompt_id, "sampler")
        assert Image.open(io.BytesIO(preview.data)).format == preview.mime.split("/")[1].upper()


def test_cancel_of_a_running_prompt_stops_it_and_says_interrupted(
    client: ComfyClient, painting: Callable[[int], Prompt]
) -> None:
    prompt_id = str(uuid.uuid4())
    with client.listen(prompt_id) as listener:
        client.submit(painting(LONG), prompt_id)
        events_until(listener, Preview)
        assert client.look(prompt_id).kind is StandingKind.RUNNING

        assert client.cancel(prompt_id)

        events = events_until(listener, Ended)
    assert only(events, Interrupted)
    standing = client.look(prompt_id)
    assert standing.kind is StandingKind.FINISHED
    assert standing.record is not None
    assert standing.record.outcome == "interrupted"
    assert not client.cancel(prompt_id)


def test_cancel_of_a_waiting_prompt_leaves_the_running_one_alone(
    client: ComfyClient, painting: Callable[[int], Prompt]
) -> None:
    running, waiting = str(uuid.uuid4()), str(uuid.uuid4())
    with client.listen(running) as listener:
        client.submit(painting(LONG), running)
        events_until(listener, Preview)
        client.submit(colour_card(), waiting)
        standing = client.look(waiting)
        assert (standing.kind, standing.position) == (StandingKind.QUEUED, 1)
        assert client.queue().pending == (waiting,)

        assert client.cancel(waiting)

        assert client.look(waiting).kind is StandingKind.UNKNOWN
        assert client.look(running).kind is StandingKind.RUNNING
        client.cancel(running)
        events_until(listener, Ended)


def test_cancel_of_an_unknown_prompt_touches_nobody(
    client: ComfyClient, painting: Callable[[int], Prompt]
) -> None:
    running = str(uuid.uuid4())
    with client.listen(running) as listener:
        client.submit(painting(LONG), running)
        events_until(listener, Preview)

        assert not client.cancel(str(uuid.uuid4()))

        events_until(listener, Preview)
        client.cancel(running)
        events_until(listener, Ended)


def test_an_interrupt_from_outside_is_heard(
    client: ComfyClient, url: str, painting: Callable[[int], Prompt]
) -> None:
    prompt_id = str(uuid.uuid4())
    with client.listen(prompt_id) as listener:
        client.submit(painting(LONG), prompt_id)
        events_until(listener, Preview)

        requests.post(f"{url}/interrupt", timeout=5).raise_for_status()

        assert only(events_until(listener, Ended), Interrupted)


def test_two_files_of_one_name_stay_two_files(client: ComfyClient, tmp_path: Path) -> None:
    name = f"{uuid.uuid4()}.png"
    names = []
    for colour in ("red", "blue"):
        file = tmp_path / f"{colour}.png"
        Image.new("RGB", (8, 8), colour).save(file)
        names.append(client.upload(file, name))

    assert names[0] != names[1]
    assert all(given.startswith("studio/") for given in names)
    for given, colour in zip(names, ((255, 0, 0), (0, 0, 255)), strict=True):
        prompt = {
            "load": node("LoadImage", image=given),
            "save": node("SaveImage", images=["load", 0], filename_prefix="held/upload"),
        }
        prompt_id, _ = run(client, prompt)
        record = client.history(prompt_id)
        assert record is not None
        stream = io.BytesIO()
        client.download(record.outputs[0].files[0], stream)
        assert Image.open(stream).getpixel((4, 4)) == colour


def test_a_name_in_chinese_with_quotes_and_spaces_is_uploaded(
    client: ComfyClient, tmp_path: Path
) -> None:
    file = tmp_path / "source.png"
    Image.new("RGB", (8, 8), "green").save(file)

    given = client.upload(file, f'貓 "n" {uuid.uuid4()}.png')

    _, events = run(
        client,
        {
            "load": node("LoadImage", image=given),
            "save": node("SaveImage", images=["load", 0], filename_prefix="held/upload"),
        },
    )
    assert only(events, Succeeded)


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ({"a": node("NoSuchNode"), "b": node("SaveImage", images=["a", 0])}, "missing_node"),
        (
            {
                "c": node("CheckpointLoaderSimple", ckpt_name="gone.safetensors"),
                "l": node("EmptyLatentImage", width=64, height=64, batch_size=1),
                "d": node("VAEDecode", samples=["l", 0], vae=["c", 2]),
                "s": node("SaveImage", images=["d", 0], filename_prefix="x"),
            },
            "missing_model",
        ),
        ({"s": node("SaveImage", filename_prefix="x")}, "prompt_refused"),
        ({}, "prompt_refused"),
    ],
    ids=["unknown node", "unknown model", "input missing", "empty"],
)
def test_a_bad_prompt_is_explained(client: ComfyClient, prompt: Prompt, code: str) -> None:
    with pytest.raises(StudioError) as caught:
        client.submit(prompt, str(uuid.uuid4()))

    assert caught.value.code == code


def test_a_prompt_of_which_only_half_would_run_is_refused_whole(client: ComfyClient) -> None:
    prompt_id = str(uuid.uuid4())
    prompt = colour_card() | {"bad": node("SaveImage", filename_prefix="x")}

    with pytest.raises(StudioError) as caught:
        client.submit(prompt, prompt_id)

    assert caught.value.code == "prompt_refused"
    # What had begun meanwhile was interrupted, and ends at its next step.
    assert wait_until(lambda: prompt_id not in client.queue().running + client.queue().pending)


def test_a_failing_node_is_named(client: ComfyClient, tmp_path: Path) -> None:
    file = tmp_path / "words.png"
    file.write_text("these are only words", "utf-8")
    given = client.upload(file, f"{uuid.uuid4()}.png")

    prompt_id, events = run(
        client,
        {
            "load": node("LoadImage", image=given),
            "save": node("SaveImage", images=["load", 0], filename_prefix="x"),
        },
    )

    (failed,) = only(events, Failed)
    assert (failed.node, failed.class_type) == ("load", "LoadImage")
    record = client.history(prompt_id)
    assert record is not None
    assert record.outcome == "error"
    assert record.failed is not None
    assert record.failed.node == "load"


def test_a_file_that_is_gone_is_output_missing(client: ComfyClient) -> None:
    prompt_id, _ = run(client, colour_card())
    record = client.history(prompt_id)
    assert record is not None
    there = record.outputs[0].files[0]
    gone = type(there)(f"no-{there.filename}", there.subfolder, there.type)

    with pytest.raises(StudioError) as caught:
        client.download(gone, io.BytesIO())

    assert caught.value.code == "output_missing"


def test_an_unknown_prompt_is_unknown(client: ComfyClient) -> None:
    prompt_id = str(uuid.uuid4())

    assert client.history(prompt_id) is None
    assert client.look(prompt_id).kind is StandingKind.UNKNOWN


def test_free_is_taken(client: ComfyClient) -> None:
    client.free()

    _, events = run(client, colour_card())
    assert only(events, Succeeded)
