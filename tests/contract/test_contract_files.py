"""Files in and out, replayed in the recorded order: uploads, views, names, outputs by node."""

from __future__ import annotations

import io
import json
import wave
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from PIL import Image

from studio.practice import PracticeServer
from tests.contract.talk import (
    Ear,
    Talker,
    comparable,
    decode,
    recorded_frames,
    recording,
    small,
)

UPLOADS = recording("uploads")
OUTPUTS = recording("ui_outputs_by_node")


def png(color: Any = (10, 20, 30), size: Any = (40, 30), mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, color).save(buffer, "PNG")
    return buffer.getvalue()


def wav(seconds: float = 1.0, rate: int = 16000) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(range(256)) * int(seconds * rate * 2 / 256))
    return buffer.getvalue()


def sent_bytes(case: Any, number: int) -> bytes:
    """Give what a recorded upload sent: other bytes where it says so."""
    name = case["case"]
    if name in ("new file", "same name, same bytes", "overwrite=true", "overwrite=1"):
        return png((1, 1, 1))
    if name.startswith("same name, other bytes"):
        return png((2, 2, 2))
    if "empty" in name:
        return b""
    if "wav" in name:
        return wav()
    if "html" in name:
        return b"<b>x</b>\n"
    if "mask" in name:
        return png((0, 0, 0, 100), mode="RGBA")
    return b"text" if "text" in name or "not an image" in name else png((number, 3, 3))


def send(talker: Talker, case: Any, number: int) -> Any:
    request = case["request"]
    url = talker.url + request["path"]
    if case["case"] == "JSON instead of multipart":
        return talker.http.post(url, json=request["body"], timeout=20)
    if case["case"] == "image field as text, no file name":
        return talker.http.post(url, data=case["form_fields"], timeout=20)
    if case["case"] == "no file":
        return talker.http.post(url, files={"x": ("", b"")}, timeout=20)
    part = request["body"].split(" | ")[-1]
    field, name = (piece.split("=", 1)[1].strip('"') for piece in part.split("; ")[1:3])
    files = {field: (name.replace("%22", '"'), sent_bytes(case, number))}
    if case["case"] == "101 MiB file":
        files = {field: (name, b"x" * 200_000)}
    return talker.http.post(url, data=case["form_fields"], files=files, timeout=20)


def uploaded(practice: PracticeServer, talker: Talker) -> list[tuple[Any, Any]]:
    """Send every recorded upload in order; gives the cases with their answers."""
    made = []
    for number, case in enumerate(UPLOADS):
        if not (case.get("request") or {}).get("path"):
            continue
        if case["case"] == "101 MiB file":
            practice.faults.limit_uploads(100_000)
        made.append((case, send(talker, case, number)))
    practice.faults.limit_uploads(100 * 1024 * 1024)
    return made


def test_uploads_are_answered_and_renamed_as_recorded(
    practice: PracticeServer, talker: Talker
) -> None:
    told = []
    for case, answer in uploaded(practice, talker):
        got = answer.json() if "json" in answer.headers.get("Content-Type", "") else answer.text
        if isinstance(got, dict):
            asset = got.pop("asset", None)
            assert (asset is None) == (not practice.newer or case["case"].endswith("written)"))
        expected = case["body"]
        if case["case"] == "101 MiB file":
            expected = expected.replace("104857600", "100000")
        if (answer.status_code, got) != (case["status"], expected):
            told.append((case["case"], case["status"], expected, answer.status_code, got))

    assert told == []


def test_combos_list_top_level_uploads_by_kind(practice: PracticeServer, talker: Talker) -> None:
    uploaded(practice, talker)

    images = talker.get("/object_info/LoadImage").json()["LoadImage"]
    sounds = talker.get("/object_info/LoadAudio").json()["LoadAudio"]

    recorded = {case["case"]: case for case in UPLOADS}
    listed = recorded["LoadImage options right after uploads (files in subfolders are not listed)"]
    assert images["input"]["required"]["image"][0] == listed["options"]
    assert sounds["input"]["required"]["audio"] == recorded["LoadAudio options"]["spec"]


def test_uploaded_names_load_or_fail_as_recorded(practice: PracticeServer, talker: Talker) -> None:
    uploaded(practice, talker)
    told = []
    for case in UPLOADS:
        if not case["case"].startswith("LoadImage image="):
            continue
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": case["case"][16:]}},
            "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
        }
        entry, frames = talker.run(graph, "me")
        kind, data = entry["status"]["messages"][-1]
        told.append((case["case"], kind))
        assert kind == case["ended"], case["case"]
        if case["error"]:
            assert data["exception_type"] == case["error"]["exception_type"]
            assert data["exception_message"].startswith("cannot identify image file '")
        shown = [one["data"]["output"] for one in frames if one["type"] == "executed"]
        assert [len(one["images"]) for one in shown] == [
            len(one["output"]["images"]) for one in case["executed_frames"]
        ]

    assert len(told) == 11


def test_the_mask_lands_in_the_alpha_of_its_original(
    practice: PracticeServer, talker: Talker
) -> None:
    uploaded(practice, talker)

    answer = talker.get("/view?filename=mask.png&type=input&subfolder=clipspace")

    with Image.open(io.BytesIO(answer.content)) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (40, 30))
        assert picture.getpixel((5, 5))[3] == 100  # type: ignore[index]
    gone = talker.get("/view?filename=mask2.png&type=input&subfolder=clipspace")
    assert gone.status_code == 404


def test_later_versions_find_an_upload_by_its_hash(newer: PracticeServer, talker: Talker) -> None:
    data = png((7, 8, 9))
    answer = talker.http.post(
        talker.url + "/upload/image", files={"image": ("a.png", data)}, timeout=20
    ).json()

    seen = talker.get("/view", params={"filename": answer["asset"]["asset_hash"]})

    assert set(answer["asset"]) == {"id", "name", "asset_hash", "size", "mime_type", "tags"}
    assert seen.content == data


def test_view_answers_as_recorded(practice: PracticeServer, talker: Talker) -> None:
    uploaded(practice, talker)
    for prefix in ("plain", "studio/sub/deep", "图像/结果"):
        talker.run(small(3, prefix), "me")
    told = []
    for case in recording("view"):
        if case["case"] in ("/api/view", "api prefix", "If-None-Match", "If-Modified-Since"):
            continue
        parts = urlsplit(case["path"])
        answer = talker.http.request(
            case["method"],
            talker.url + parts.path,
            params=parse_qsl(parts.query, keep_blank_values=True),
            headers=case["request_headers"],
            timeout=20,
        )
        ours, theirs = _seen(answer), _recorded(case, newer=practice.newer)
        if ours != theirs:
            told.append((case["case"], ours, theirs))

    assert told == []


def _seen(answer: Any) -> Any:
    kept = _headers(answer.headers)
    picture = None
    if answer.status_code == 200 and answer.headers["Content-Type"].startswith("image/"):
        with Image.open(io.BytesIO(answer.content)) as opened:
            picture = [opened.format, list(opened.size), opened.mode]
    return answer.status_code, kept, picture


def _recorded(case: Any, *, newer: bool) -> Any:
    kept = _headers(case["headers"])
    if newer and case["case"] == "html is served as download":
        kept["Content-Disposition"] = "attachment; " + kept["Content-Disposition"]
    return case["status"], kept, case.get("image")


def _headers(headers: Any) -> dict[str, str]:
    names = ("Content-Disposition", "Content-Type", "Accept-Ranges", "Content-Range")
    kept = {name: headers[name] for name in names if name in headers}
    if "Content-Range" in kept:
        kept["Content-Range"] = kept["Content-Range"].split("/")[0]
    return kept


def test_an_unchanged_file_is_not_sent_again(practice: PracticeServer, talker: Talker) -> None:
    talker.run(small(3, "plain"), "me")
    first = talker.get("/view?filename=plain_00001_.png")

    by_tag = talker.get(
        "/api/view?filename=plain_00001_.png", headers={"If-None-Match": first.headers["ETag"]}
    )
    by_time = talker.get(
        "/view?filename=plain_00001_.png",
        headers={"If-Modified-Since": first.headers["Last-Modified"]},
    )

    assert (by_tag.status_code, by_tag.content) == (304, b"")
    assert (by_time.status_code, by_time.content) == (304, b"")


def test_names_are_counted_and_refused_as_recorded(
    practice: PracticeServer, talker: Talker
) -> None:
    told = []
    for color, case in enumerate(recording("save_image_naming")):
        if "note" in case:
            _by_hand(practice, case["note"])
            continue
        if "%year%" in case["filename_prefix"]:
            continue
        graph = small(color, case["filename_prefix"], case["batch"])
        entry, _ = talker.run(graph, "me")
        kind, data = entry["status"]["messages"][-1]
        images = entry["outputs"].get("2", {}).get("images", [])
        if (kind, images) != (case["ended"], case["images"]):
            told.append((case["filename_prefix"][:40], kind, images, case["images"]))
        if case["error"] and "outside" in case["error"]["exception_message"]:
            assert data["exception_type"] == case["error"]["exception_type"]
            assert data["exception_message"].startswith(
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
            )

    assert told == []


def _by_hand(practice: PracticeServer, note: str) -> None:
    """Do on disk what the recorder did between two runs."""
    place = practice.folders.of("output")
    if "plain_00002_.png was deleted" in note:
        (place / "plain_00002_.png").unlink()
    elif "plain_00050_.png was put" in note:
        (place / "plain_00050_.png").write_bytes(b"x")
    elif note.startswith("the file was deleted on disk"):
        (place / "plain_00051_.png").unlink()


def test_equal_save_nodes_of_one_prompt_write_one_file(
    practice: PracticeServer, talker: Talker
) -> None:
    graph = small(1, "pair")
    graph["3"] = graph["2"]

    entry, frames = talker.run(graph, "me")

    assert entry["outputs"]["2"] == entry["outputs"]["3"]
    assert [one["type"] for one in frames].count("executed") == 2
    assert len(list(practice.folders.of("output").iterdir())) == 1


def test_a_png_carries_its_prompt_and_the_pages_extras(
    practice: PracticeServer, talker: Talker
) -> None:
    extra = {"extra_pnginfo": {"workflow": {"id": "w"}}}
    entry, _ = talker.run(small(1, "text"), "me", extra_data=extra)

    answer = talker.get("/view?filename=text_00001_.png")

    with Image.open(io.BytesIO(answer.content)) as picture:
        assert json.loads(picture.info["prompt"]) == entry["prompt"][2]
        assert json.loads(picture.info["workflow"]) == {"id": "w"}


def test_a_deleted_file_is_still_named_by_the_cache(
    practice: PracticeServer, talker: Talker
) -> None:
    talker.run(small(1, "gone"), "me")
    (practice.folders.of("output") / "gone_00001_.png").unlink()

    entry, _ = talker.run(small(1, "gone"), "me")

    assert entry["outputs"]["2"]["images"][0]["filename"] == "gone_00001_.png"
    assert talker.get("/view?filename=gone_00001_.png").status_code == 404


RUN_NODES = [name for name, case in OUTPUTS.items() if case.get("graph")]


@pytest.mark.parametrize("name", RUN_NODES)
def test_saving_nodes_show_the_recorded_outputs(
    name: str, practice: PracticeServer, talker: Talker
) -> None:
    case = OUTPUTS[name]
    _before(name, talker)

    with Ear(talker.url, "me") as ear:
        prompt_id = talker.prompt(case["graph"], "me")
        frames = ear.until_end(prompt_id)
    entry = talker.record(prompt_id)

    shown = [one for one in frames if isinstance(one, dict) and one["type"] == "executed"]
    assert _kinds([one["data"] for one in shown]) == _kinds(case["executed_frames"])
    assert entry["status"]["messages"][-1][0] == case["ended"]
    texts = [decode(one) for one in frames if isinstance(one, bytes)]
    assert [(one["node_id"], one["text"]) for one in texts] == [
        (one["node_id"], one["text"]) for one in case["binary"]
    ]
    for seen in case.get("view", ()):
        key = seen["key"]
        node = next(iter(entry["outputs"]))
        item = entry["outputs"][node][key][case["view"].index(seen)]
        answer = talker.get("/view", params=item)
        assert answer.headers["Content-Type"] == seen["content_type"]
        assert _head(answer.content) == _head(bytes.fromhex(seen["head_hex"]))


def _before(name: str, talker: Talker) -> None:
    """Send the files some graphs read."""
    files = {}
    if "wav" in name:
        files = {"image": ("voice.wav", wav())}
    if name.startswith("LoadVideo"):
        talker.run(OUTPUTS["SaveVideo mp4"]["graph"], "before")
        film = talker.get("/view?filename=video_00001_.mp4&subfolder=ui").content
        files = {"image": ("clip.mp4", film)}
    if files:
        answer = talker.http.post(talker.url + "/upload/image", files=files, timeout=20)
        assert answer.status_code == 200


def _kinds(shown: list[Any]) -> Any:
    """Compare outputs by node, key, ending, place; counters tell of earlier runs."""
    return [
        (one["node"], {key: [_kind(value) for value in v] for key, v in one["output"].items()})
        for one in shown
    ]


def _kind(value: Any) -> Any:
    if isinstance(value, dict):
        ending = value["filename"].rsplit(".", 1)[1]
        stem = value["filename"].split("_")[0]
        return stem, ending, value["subfolder"], value["type"]
    return str(value)[:6] if str(value).startswith("tensor") else value


def _head(data: bytes) -> bytes:
    """The bytes that tell a file's kind (RIFF and ftyp and IDs differ in sizes only)."""
    if data[:4] == b"RIFF":
        return data[:4] + data[8:12]
    if data[8:17] == b'{"__metad':
        return b"latent"
    if data[8:9] == b"{":
        return b"latent"
    return data[:4] if data[4:8] != b"ftyp" else data[4:12]


def test_an_overwritten_input_is_noticed_by_the_cache(
    practice: PracticeServer, talker: Talker
) -> None:
    steps = recording("cache_and_changed_inputs")[:3]
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "same.png"}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"filename_prefix": "chg/x", "images": ["1", 0]},
        },
    }
    told = []
    for color in (1, 1, 2):
        talker.http.post(
            talker.url + "/upload/image",
            files={"image": ("same.png", png((color, 0, 0)))},
            data={"overwrite": "true"},
            timeout=20,
        )
        entry, _ = talker.run(graph, "me")
        cached = dict(entry["status"]["messages"])["execution_cached"]["nodes"]
        told.append({"cached": cached, "outputs": entry["outputs"]})

    assert told == [{key: step[key] for key in ("cached", "outputs")} for step in steps]


def test_after_a_restart_all_is_as_recorded(practice: PracticeServer, talker: Talker) -> None:
    rec = recording("crash_and_restart")
    talker.run(small(1, "crash/x"), "crash")
    with Ear(talker.url, "crash") as ear:
        practice.faults.hold("1")
        running = talker.prompt(small(2, "crash/x"), "crash")
        practice.wait_for("held:1", running)
        practice.faults.restart()
        practice.faults.release()
        ear.wait_closed()

    with Ear(talker.url, "crash") as again:
        heard = list(again.heard)
    entry, _ = talker.run(small(1, "crash/x"), "crash")

    assert comparable(heard) == comparable(recorded_frames(rec["frames_on_reconnect"]))
    assert talker.get("/queue").json() == rec["queue_after"]
    assert talker.record(running) == rec["history_of_running_prompt"]
    job = talker.get(f"/api/jobs/{running}")
    told = rec["job_of_running_prompt"]
    assert (job.status_code, job.json()) == (told["status"], told["body"])
    assert entry["outputs"] == rec["same_graph_after_restart"]["outputs"]
    assert entry["prompt"][0] == rec["same_graph_after_restart"]["number_restarts_from_0"]
