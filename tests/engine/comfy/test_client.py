"""The client against the practice server, over real HTTP and sockets.

"Trap n" is fact n of the recordings' README, "newer n" of its page on newer versions.
"""

from __future__ import annotations

import io
import itertools
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
import requests
import websocket
from PIL import Image

from studio.engine.comfy.client import ComfyClient, Listener, Patience, StandingKind
from studio.engine.comfy.events import (
    Back,
    Cached,
    Ended,
    Failed,
    Interrupted,
    Lost,
    NodeOutput,
    NodeProgress,
    NodeStarted,
    OutputFile,
    Preview,
    Queued,
    RunEvent,
    Silent,
    Started,
    Succeeded,
)
from studio.errors import StudioError
from studio.practice.server import PracticeServer
from tests.engine.comfy.odd import tapped

CALM = Patience(tick=0.05, first_pause=0.02, longest_pause=0.1)
"""For tests of something else: reconnects quickly, suspects nothing on a busy machine."""
WARY = Patience(tick=0.05, ping=0.1, dead=1.0, deaf=0.3, first_pause=0.02, longest_pause=0.1)
PATIENCE_S = 15.0
PROFILES = ("0.8.0", "newer")

MakeClient = Callable[..., ComfyClient]
Prompt = dict[str, Any]
Event = TypeVar("Event")


@pytest.fixture(params=PROFILES)
def practice(request: pytest.FixtureRequest) -> Iterator[PracticeServer]:
    with PracticeServer(profile=request.param, pace_s=0.03) as server:
        yield server


@pytest.fixture
def old() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.03) as server:
        yield server


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    made: list[ComfyClient] = []

    def make(url: str, *, patience: Patience = CALM, **options: Any) -> ComfyClient:
        client = ComfyClient(url, patience=patience, **options)
        made.append(client)
        client.open()
        assert client.wait_connected(5)
        return client

    yield make
    for client in made:
        client.close()


def new_id() -> str:
    return str(uuid.uuid4())


_colours = itertools.count(1)


def card(batch: int = 1, colour: int | None = None, prefix: str = "studio/card") -> Prompt:
    """Make a graph of a plain picture, another colour at each call."""
    colour = next(_colours) if colour is None else colour
    size = {"width": 64, "height": 64, "batch_size": batch, "color": colour}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def painting(steps: int = 6) -> Prompt:
    """Make a graph with a sampler, another seed at each call."""
    sampler = {
        "seed": next(_colours), "steps": steps, "cfg": 7.0, "sampler_name": "euler",
        "scheduler": "normal", "denoise": 1.0, "model": ["1", 0], "positive": ["2", 0],
        "negative": ["2", 0], "latent_image": ["4", 0],
    }  # fmt: skip
    latent = {"width": 64, "height": 64, "batch_size": 1}
    return {
        "1": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "random-sd15.safetensors"},
        },
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": latent},
        "5": {"class_type": "KSampler", "inputs": sampler},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "p"}},
    }


def hear(listener: Listener, until: type[Event]) -> tuple[list[RunEvent], Event]:
    """Hear events until one of a kind; give those before it, and it."""
    heard: list[RunEvent] = []
    deadline = time.monotonic() + PATIENCE_S
    while (left := deadline - time.monotonic()) > 0:
        event = listener.get(left)
        if isinstance(event, until):
            return heard, event
        if event is not None:
            heard.append(event)
    raise AssertionError(f"{until.__name__} never came after {heard}")


def rest(listener: Listener, quiet_s: float) -> list[RunEvent]:
    """Hear what comes until it is quiet for so long."""
    heard: list[RunEvent] = []
    while (event := listener.get(quiet_s)) is not None:
        heard.append(event)
    return heard


def run(client: ComfyClient, prompt: Prompt) -> tuple[str, list[RunEvent]]:
    prompt_id = new_id()
    with client.listen(prompt_id) as listener:
        client.submit(prompt, prompt_id)
        heard, _ = hear(listener, Ended)
    return prompt_id, heard


def files_of(client: ComfyClient, prompt_id: str) -> list[OutputFile]:
    record = client.look(prompt_id).record
    assert record is not None
    return [file for output in record.outputs for file in output.files]


# A run ------------------------------------------------------------------------------------


def test_a_run_is_heard_and_its_pictures_come_in_node_and_batch_order(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Traps 14, 33 and 40, case run-7."""
    client = make_client(practice.url)
    first = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "late"}}
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}

    prompt_id, heard = run(client, {"10": first, "3": shown, **card(batch=4, prefix="圖/卡")})

    kinds = [type(event) for event in heard if not isinstance(event, Queued)]
    assert kinds[:2] == [Started, Cached]
    assert kinds[-1] is Succeeded
    files = files_of(client, prompt_id)
    assert [file.filename for file in files] == [
        *(f"卡_0000{n}_.png" for n in range(1, 5)),
        *(f"late_0000{n}_.png" for n in range(1, 5)),
    ]
    into = io.BytesIO()
    size = client.download(files[0], into)
    assert size == len(into.getvalue())
    assert Image.open(into).size == (64, 64)


def test_a_sampler_is_heard_step_by_step_with_named_previews(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 18: the flags are the first message, so previews carry their prompt's id."""
    client = make_client(practice.url)

    prompt_id, heard = run(client, painting(steps=5))

    steps = [event.value for event in heard if isinstance(event, NodeProgress)]
    assert steps == sorted(set(steps))
    assert steps[-1] == 5
    previews = [event for event in heard if isinstance(event, Preview)]
    assert previews
    assert {(p.prompt_id, p.node) for p in previews} == {(prompt_id, "5")}


def test_the_same_job_twice_gives_the_same_file_twice(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 21, case run-1."""
    client = make_client(practice.url)
    prompt = card(colour=255)

    first, _ = run(client, prompt)
    second, heard = run(client, prompt)

    assert any(isinstance(event, Cached) and event.nodes for event in heard)
    assert files_of(client, first) == files_of(client, second) != []


def test_a_file_that_is_gone_is_told(practice: PracticeServer, make_client: MakeClient) -> None:
    """Trap 22: the cache may name a file that was deleted meanwhile."""
    client = make_client(practice.url)

    with pytest.raises(StudioError) as error:
        client.download(OutputFile("gone.png", "", "output"), io.BytesIO())

    assert error.value.code == "output_missing"


def test_a_failed_run_is_told_by_its_frames_and_by_history(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 25."""
    client = make_client(practice.url)
    practice.faults.fail(node="2", exception_type="ValueError", message="bad colour\n")

    prompt_id, heard = run(client, card())

    (failed,) = [event for event in heard if isinstance(event, Failed)]
    record = client.look(prompt_id).record
    assert (failed.node, failed.message) == ("2", "bad colour")
    assert record is not None
    assert record.outcome == "error"
    assert record.failed is not None
    assert record.failed.message == "bad colour"


def test_history_that_is_late_is_waited_for(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 34: `{}` right after the end is not "unknown"."""
    client = make_client(practice.url)
    practice.faults.late_history(0.4, after_end=True)

    prompt_id, _ = run(client, card())

    assert client.look(prompt_id).kind is StandingKind.FINISHED


# Refusals ---------------------------------------------------------------------------------


def test_a_prompt_taken_only_in_part_is_refused_and_taken_back(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 4: a 200 with `node_errors`; the rest of it must not run on."""
    client = make_client(practice.url)
    practice.faults.hold(node="1")
    bad = {"class_type": "LoadImage", "inputs": {"image": "missing.png"}}
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    prompt_id = new_id()

    with client.listen(new_id()), pytest.raises(StudioError) as error:
        client.submit({**card(), "8": bad, "9": shown}, prompt_id)
    practice.faults.release()
    run(client, card())  # whatever came before it is settled once it ended

    assert error.value.code == "prompt_refused"
    assert "missing.png" in error.value.params["reason"]
    record = client.look(prompt_id).record
    assert record is None or record.outcome == "interrupted"


def test_a_missing_model_and_a_missing_node_are_named(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Traps 5 and 7, cases graph-1 and graph-2."""
    client = make_client(practice.url)
    prompt = painting()
    prompt["1"]["inputs"]["ckpt_name"] = "gone.safetensors"

    with pytest.raises(StudioError) as model:
        client.submit(prompt, new_id())
    with pytest.raises(StudioError) as node:
        client.submit({**card(), "9": {"class_type": "NoSuchNode", "inputs": {}}}, new_id())

    assert (model.value.code, model.value.params["model"]) == ("missing_model", "gone.safetensors")
    assert (node.value.code, node.value.params["class_type"]) == ("missing_node", "NoSuchNode")
    assert practice.posted == []


def test_a_newer_server_takes_only_uuids(make_client: MakeClient) -> None:
    """Newer 1."""
    with PracticeServer(profile="newer") as practice:
        client = make_client(practice.url)

        with pytest.raises(StudioError) as error:
            client.submit(card(), "my-own-id")
        client.close()

    assert error.value.code == "prompt_refused"


def test_a_prompt_whose_answer_was_lost_runs_once(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 3: never blindly sent again."""
    client = make_client(practice.url)
    practice.faults.lose_next_answer()

    prompt_id, _ = run(client, card())

    assert [posted["prompt_id"] for posted in practice.posted] == [prompt_id]
    assert client.look(prompt_id).kind is StandingKind.FINISHED


def test_a_prompt_refused_by_a_gateway_was_never_taken_and_is_sent_again(
    old: PracticeServer, make_client: MakeClient
) -> None:
    client = make_client(old.url)
    old.faults.refuse_next_prompt(status=502)

    prompt_id, _ = run(client, card())

    assert [posted["prompt_id"] for posted in old.posted] == [prompt_id]


def test_the_socket_is_open_before_the_first_prompt_is_sent(practice: PracticeServer) -> None:
    """Trap 13: connect first, then POST; `open` itself returns at once."""
    client = ComfyClient(practice.url, patience=CALM)
    client.open()
    client.open()

    _, heard = run(client, card())
    client.close()

    assert any(isinstance(event, Started) for event in heard)


def test_many_threads_share_one_client(practice: PracticeServer, make_client: MakeClient) -> None:
    client = make_client(practice.url)
    prompts = [card() for _ in range(12)]

    with ThreadPoolExecutor(6) as pool:
        ids = [prompt_id for prompt_id, _ in pool.map(lambda p: run(client, p), prompts)]

    files = [file.filename for prompt_id in ids for file in files_of(client, prompt_id)]
    assert len(set(files)) == len(prompts)


# Whose prompt it is -----------------------------------------------------------------------


def test_nobody_hears_anothers_prompt(practice: PracticeServer, make_client: MakeClient) -> None:
    """Trap 16; `status` alone goes to everybody (13)."""
    ours, theirs = make_client(practice.url), make_client(practice.url)
    waiting = new_id()

    with ours.listen(waiting) as listener:
        run(theirs, card())
        event = listener.get(1)

    assert isinstance(event, Queued)
    assert ours.client_id != theirs.client_id


def test_prompts_without_a_client_id_are_not_heard(
    old: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 17: their progress and previews are broadcast to every socket."""
    client = make_client(old.url, silence_s=60)
    foreign = requests.post(old.url + "/prompt", json={"prompt": painting()}, timeout=5).json()

    with client.listen(new_id()) as listener:
        old.wait_for("finished", foreign["prompt_id"])
        run(client, card())
        heard = rest(listener, 0.1)

    assert {type(event) for event in heard} == {Queued}


def test_two_prompts_of_one_client_are_told_apart(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    client = make_client(practice.url)
    one, two = new_id(), new_id()

    with client.listen(one) as first, client.listen(two) as second:
        client.submit(card(), one)
        client.submit(card(), two)
        heard = [*hear(first, Ended)[0], *hear(second, Ended)[0]]

    outputs = [event.prompt_id for event in heard if isinstance(event, NodeOutput)]
    assert outputs == [one, two]


# Cancelling -------------------------------------------------------------------------------


def test_cancel_of_a_pending_prompt_leaves_the_running_one_alone(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Traps 28 and 29, newer 2, case run-5: the running one is somebody else's."""
    theirs, ours = make_client(practice.url), make_client(practice.url)
    running, pending = new_id(), new_id()
    practice.faults.hold(node="KSampler", step=1)

    with theirs.listen(running) as listener:
        theirs.submit(painting(), running)
        practice.wait_for("held:5", running)
        ours.submit(card(), pending)
        before = ours.look(pending)
        cancelled = ours.cancel(pending)
        after = ours.look(pending)
        practice.faults.release()
        heard, _ = hear(listener, Ended)

    assert (before.kind, before.position) == (StandingKind.QUEUED, 1)
    assert cancelled
    assert after.kind is StandingKind.UNKNOWN
    assert isinstance(heard[-1], Succeeded) or Succeeded in {type(event) for event in heard}


def test_cancel_of_a_running_prompt_interrupts_it(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Traps 26 and 27, newer 2 and 3."""
    client = make_client(practice.url)
    prompt_id = new_id()
    practice.faults.hold(node="KSampler", step=2)

    with client.listen(prompt_id) as listener:
        client.submit(painting(), prompt_id)
        practice.wait_for("held:5", prompt_id)
        assert client.look(prompt_id).kind is StandingKind.RUNNING
        assert client.cancel(prompt_id)
        heard, _ = hear(listener, Ended)

    record = client.look(prompt_id).record
    assert any(isinstance(event, Interrupted) for event in heard)
    assert record is not None
    assert record.outcome == "interrupted"
    assert client.features().cancel_by_id == practice.newer


def test_cancel_of_anothers_or_an_ended_prompt_does_nothing(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 26: an interrupt is answered with 200 always; case run-5: just as our job ends."""
    client = make_client(practice.url)
    ended, _ = run(client, card())
    running = new_id()
    practice.faults.hold(node="KSampler", step=1)

    with client.listen(running) as listener:
        client.submit(painting(), running)
        practice.wait_for("held:5", running)
        assert not client.cancel(ended)
        assert not client.cancel(new_id())
        practice.faults.release()
        heard, _ = hear(listener, Ended)

    assert Succeeded(running) in heard


# The socket -------------------------------------------------------------------------------


def test_a_socket_cut_in_mid_run_comes_back_and_the_run_is_heard_to_its_end(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 30, case run-3: nothing is replayed; the same client id hears the rest."""
    client = make_client(practice.url)
    prompt_id = new_id()
    practice.faults.cut_sockets(for_s=0.1, after=0.2)

    with client.listen(prompt_id) as listener:
        client.submit(painting(steps=20), prompt_id)
        before, _ = hear(listener, Lost)
        between, _ = hear(listener, Back)
        after, _ = hear(listener, Ended)

    assert any(isinstance(event, NodeStarted) for event in before)
    assert not any(isinstance(event, NodeProgress) for event in between)
    assert any(isinstance(event, NodeProgress) for event in after)
    assert all(getattr(event, "prompt_id", prompt_id) == prompt_id for event in after)
    assert len(files_of(client, prompt_id)) == 1


def test_a_run_that_ended_while_the_socket_was_away_is_found(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 30: only `status` comes after the reconnect."""
    client = make_client(practice.url)
    prompt_id = new_id()
    practice.faults.cut_sockets(for_s=0.6, after="NodeStarted")

    with client.listen(prompt_id) as listener:
        client.submit(card(), prompt_id)
        hear(listener, Back)

    assert client.look(prompt_id).kind is StandingKind.FINISHED


def test_after_a_reconnect_the_next_prompt_is_heard(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 31: the old socket is fully closed first, so its end does not unregister the new one."""
    client = make_client(practice.url)

    for _ in range(3):
        with client.listen(new_id()) as listener:
            practice.faults.cut_sockets()
            hear(listener, Back)
        run(client, card())

    assert len(practice.posted) == 3


def test_a_socket_that_went_silent_is_told_again_and_again(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 31, case run-2: the watchdog asks the records; they have it."""
    client = make_client(practice.url, silence_s=0.2)
    prompt_id = new_id()
    practice.faults.go_silent(after="NodeProgress")

    with client.listen(prompt_id) as listener:
        client.submit(painting(), prompt_id)
        _, first = hear(listener, Silent)
        _, second = hear(listener, Silent)
        practice.wait_for("finished", prompt_id)

    assert (first.prompt_id, second.prompt_id) == (prompt_id, prompt_id)
    assert 0.2 <= first.seconds < second.seconds
    assert client.look(prompt_id).kind is StandingKind.FINISHED


def test_a_deaf_socket_is_noticed_at_the_next_prompt_and_replaced(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 31: a half-open line of ours, reaped late, unregisters the newer socket."""
    client = ComfyClient(practice.url, patience=WARY)
    address = practice.url.replace("http", "ws") + f"/ws?clientId={client.client_id}"
    older = websocket.create_connection(address, timeout=5)
    older.recv()
    client.open()
    assert client.wait_connected(5)
    heard_of_us = client.remaining()
    older.close()
    practice.faults.hold(node="KSampler", step=1)
    prompt_id = new_id()

    with client.listen(prompt_id) as listener:
        client.submit(painting(), prompt_id)
        hear(listener, Lost)
        hear(listener, Back)
        practice.faults.release()
        hear(listener, Ended)
    client.close()

    assert heard_of_us == 0


def test_a_half_open_line_is_noticed(practice: PracticeServer, make_client: MakeClient) -> None:
    """Trap 32: the server never pings, so the client does."""
    with tapped(practice.url) as tap:
        client = make_client(tap.url, silence_s=60, patience=WARY)
        with client.listen(new_id()) as listener:
            tap.freeze()
            _, lost = hear(listener, Lost)
            tap.thaw()
            hear(listener, Back)
        client.close()

    assert "ping" in lost.reason


def test_a_half_open_line_is_noticed_in_under_half_a_minute_by_default() -> None:
    """Trap 32, with the patience that real clients have."""
    patience = Patience()

    assert patience.dead + patience.ping + patience.tick < 30


def test_an_idle_line_is_kept_by_pings(old: PracticeServer, make_client: MakeClient) -> None:
    """Trap 32: quiet is not dead."""
    client = make_client(old.url, silence_s=60, patience=WARY)

    with client.listen(new_id()) as listener:
        heard = rest(listener, 2.1)  # more than twice what counts as dead

    assert Lost not in {type(event) for event in heard}
    assert client.connected


def test_a_restarted_server_knows_nothing_of_the_prompt(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 38, case run-4: queue and history are lost, and the socket just drops."""
    client = make_client(practice.url)
    prompt_id = new_id()
    practice.faults.hold(node="KSampler", step=1)

    with client.listen(prompt_id) as listener:
        client.submit(painting(), prompt_id)
        practice.wait_for("held:5", prompt_id)
        practice.faults.restart(down_s=0.2)
        hear(listener, Lost)
        hear(listener, Back)

    assert client.look(prompt_id).kind is StandingKind.UNKNOWN
    run(client, card())


def test_a_server_that_starts_later_is_found(make_client: MakeClient) -> None:
    """Case chain-2."""
    with PracticeServer() as early:
        port = int(early.url.rpartition(":")[2])
    client = ComfyClient(early.url, patience=CALM)
    client.open()
    with client.listen(new_id()) as listener:
        assert listener.get(1) == Lost("not connected")
        assert not client.connected

        with PracticeServer(port=port):
            hear(listener, Back)
            assert client.system().version == "0.8.0"
            client.close()


def test_a_server_that_forbids_is_told_from_one_that_is_away(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Trap 47: 403 with an empty body, for HTTP and the handshake."""
    client = make_client(practice.url)
    with client.listen(new_id()) as listener:
        practice.faults.forbid()
        practice.faults.cut_sockets()
        hear(listener, Lost)

        with pytest.raises(StudioError) as error:
            client.system()
        practice.faults.allow()
        hear(listener, Back)

    assert error.value.code == "server_forbidden"


def test_close_ends_everything_and_says_nothing(old: PracticeServer) -> None:
    client = ComfyClient(old.url)
    client.open()
    assert client.wait_connected(5)
    listener = client.listen(new_id())
    before = threading.active_count()

    client.close()

    assert not client.connected
    assert threading.active_count() == before - 1
    assert Lost not in {type(event) for event in rest(listener, 0.1)}


# Files ------------------------------------------------------------------------------------


def picture(path: Path, colour: str) -> Path:
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def test_an_upload_is_used_under_the_name_the_server_gave_it(
    practice: PracticeServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Traps 43 and 44, case media-7: other bytes under a taken name are not mixed up."""
    client = make_client(practice.url)
    red, blue = picture(tmp_path / "red.png", "red"), picture(tmp_path / "blue.png", "blue")

    names = [client.upload(path, '照片 "1".png') for path in (red, blue, red)]
    load = {"class_type": "LoadImage", "inputs": {"image": names[1]}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "b"}}
    prompt_id, _ = run(client, {"1": load, "2": save})

    assert names[0] == names[2] != names[1]
    assert all(name.startswith("studio/") for name in names)
    into = io.BytesIO()
    client.download(files_of(client, prompt_id)[0], into)
    assert Image.open(into).getpixel((0, 0)) == (0, 0, 255)


def test_a_folder_in_an_uploads_name_goes_nowhere(
    practice: PracticeServer, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(practice.url)

    name = client.upload(picture(tmp_path / "a.png", "red"), "../../evil.png")

    assert name == "studio/evil.png"


def test_a_large_upload_arrives_whole(
    practice: PracticeServer, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(practice.url)
    content = bytes(range(256)) * 12_000
    path = tmp_path / "voice.wav"
    path.write_bytes(content)

    name = client.upload(path, "voice.wav")
    folder, _, filename = name.rpartition("/")
    into = io.BytesIO()
    client.download(OutputFile(filename, folder, "input"), into)

    assert into.getvalue() == content


def test_an_upload_over_the_limit_is_refused(
    practice: PracticeServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Trap 48."""
    practice.faults.limit_uploads(600_000)
    client = make_client(practice.url)
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(700_000))

    with pytest.raises(StudioError) as error:
        client.upload(path, "a.bin")

    assert error.value.code == "upload_too_large"


# What the server is -----------------------------------------------------------------------


def test_a_server_tells_what_it_is_and_has(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """Traps 49 and 50."""
    client = make_client(practice.url)

    assert client.system().version == practice.version
    assert client.features().max_upload_bytes == 100 * 1024 * 1024
    assert client.definitions().has("KSampler")
    assert client.definitions() is client.definitions()
    assert "random-sd15.safetensors" in client.models("checkpoints")
    assert client.models("no_such_folder") == ()
    client.free()


def test_what_was_learned_is_forgotten_when_the_server_came_back(
    practice: PracticeServer, make_client: MakeClient
) -> None:
    """It may be another version now."""
    client = make_client(practice.url)
    known = client.definitions()

    with client.listen(new_id()) as listener:
        practice.faults.restart()
        hear(listener, Back)

    assert client.definitions() is not known


# A listener by itself ---------------------------------------------------------------------


class Clock:
    """A clock that goes only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def listener_at(clock: Callable[[], float], *, silence_s: float = 5) -> Listener:
    return Listener(
        "p",
        client_id="",
        ear=cast(Any, None),
        borrows=False,
        silence_s=silence_s,
        forget=lambda _: None,
        tune=lambda _: None,
        clock=clock,
    )


def test_silence_is_counted_from_the_last_frame_of_this_prompt() -> None:
    clock = Clock()
    listener = listener_at(clock)

    clock.now += 4
    listener.put(Queued(1))  # of everybody: no sign of life of this prompt
    assert listener.get(0) == Queued(1)
    clock.now += 1
    assert listener.get(0) == Silent("p", 5)
    assert listener.get(0) is None
    clock.now += 5
    assert listener.get(0) == Silent("p", 10)
    listener.put(Started("p"))
    assert listener.get(0) == Started("p")
    clock.now += 4.9
    assert listener.get(0) is None


def test_a_slow_reader_gets_the_newest_preview_and_step_only() -> None:
    listener = listener_at(Clock())
    for step in range(1, 4):
        listener.put(NodeProgress("p", "5", step, 3))
    for picture in (b"old", b"new"):
        listener.put(Preview("p", "5", "image/jpeg", picture))
    listener.put(NodeProgress("p", "6", 1, 3))

    heard = [listener.get(0) for _ in range(4)]

    assert heard == [
        NodeProgress("p", "5", 3, 3),
        Preview("p", "5", "image/jpeg", b"new"),
        NodeProgress("p", "6", 1, 3),
        None,
    ]


def test_a_nudge_ends_a_wait_at_once() -> None:
    listener = listener_at(time.monotonic, silence_s=60)
    heard: list[RunEvent | None] = []
    waiting = threading.Thread(target=lambda: heard.append(listener.get(30)))
    waiting.start()

    listener.nudge()
    waiting.join(timeout=5)

    assert heard == [None]


def test_a_nudge_before_the_wait_is_not_lost() -> None:
    listener = listener_at(time.monotonic, silence_s=60)
    listener.put(Started("p"))
    listener.nudge()

    assert listener.get(30) is None
    assert listener.get(30) == Started("p")
