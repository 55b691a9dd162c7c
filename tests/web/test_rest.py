"""The API for programs, over real HTTP: orders, status, events, history, uploads."""

from __future__ import annotations

import base64
import json
import wave
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from studio.practice import PracticeServer
from studio.web.rest import STREAMS_AT_MOST
from tests.tabs.site import CHECKPOINT, MODELS, Site, served
from tests.web.conftest import Ended, Order, events, programs

TEXT = {"workflow": "text_to_image", "prompt": "a lighthouse", "model": CHECKPOINT, "steps": 1}


@pytest.fixture
def practice(site: Site) -> PracticeServer:
    assert site.practice is not None
    return site.practice


def png(colour: str = "red", size: tuple[int, int] = (64, 64)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def coded(colour: str = "red") -> str:
    return base64.b64encode(png(colour)).decode()


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    return dict(error)


# --- orders --------------------------------------------------------------------------------------


def test_an_order_is_taken_and_its_result_can_be_fetched(
    program: httpx.Client, order: Order, ended: Ended
) -> None:
    taken = order(seed="18446744073709551615")

    done = ended(taken["job_id"])

    assert taken == {"job_id": done["job_id"], "status": "pending", "seed": "18446744073709551615"}
    assert (done["status"], done["progress"], done["seed"]) == ("completed", 1.0, taken["seed"])
    picture = program.get(done["image_url"])
    assert picture.headers["content-type"] == "image/png"
    assert len(picture.content) == done["outputs"][0]["size_bytes"]


def test_the_originals_field_names_are_understood(order: Order, ended: Ended) -> None:
    taken = order(
        negative_prompt="", aspect_ratio="1:1", batch_size=2, seed=7, images=[], audio=None,
        prompts=[],
    )  # fmt: skip

    assert taken["seed"] == "7"
    assert len(ended(taken["job_id"])["outputs"]) == 2


def test_parameters_may_stand_under_values(program: httpx.Client, ended: Ended) -> None:
    inner = {name: value for name, value in TEXT.items() if name != "workflow"}

    taken = program.post("/api/generate", json={"workflow": TEXT["workflow"], "values": inner})

    assert ended(taken.json()["job_id"])["prompt"] == "a lighthouse"


def test_pictures_come_as_base64_data_uri_upload_and_own_result(
    program: httpx.Client, order: Order, ended: Ended
) -> None:
    made = ended(order()["job_id"])
    upload = program.post("/api/upload", files={"file": ("樣本.png", png("blue"))}).json()
    images = [
        coded("red"),
        f"data:image/png;base64,{coded('green')}",
        {"upload": upload["filename"]},
        {"job_id": made["job_id"], "name": made["outputs"][0]["name"]},
    ]

    taken = program.post("/api/generate", json={"workflow": "image_blend_pixel", "images": images})

    done = ended(taken.json()["job_id"])
    assert upload["original_name"] == "樣本.png"
    assert (upload["kind"], upload["width"], upload["height"]) == ("image", 64, 64)
    assert (done["status"], len(done["values"]["images"])) == ("completed", 4)


def test_another_persons_upload_and_result_cannot_be_used(
    program: httpx.Client, stranger: httpx.Client, order: Order, ended: Ended
) -> None:
    made = ended(order()["job_id"])
    upload = program.post("/api/upload", files={"file": ("a.png", png("navy"))}).json()

    for theirs in (upload["filename"], {"job_id": made["job_id"], "name": "001.png"}):
        body = {"workflow": "image_blend_pixel", "images": [coded(), theirs]}
        answer = stranger.post("/api/generate", json=body)
        assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    "file",
    [
        {"path": "/etc/passwd"},
        {"path": "../../.env"},
        "../../.env",
        "..\\..\\.env",
        "/etc/passwd",
        "http://127.0.0.1:8188/view",
        "http://169.254.169.254/",
        {"url": "http://[::1]/"},
        {"upload": "../../secret"},
        {"job_id": "../..", "name": "../../secret"},
        {"job_id": "x", "name": "..%2f..%2fsecret"},
        "data:text/html,<b>",
        "data:image/svg+xml;base64,PHN2Zy8+",
        7,
        [coded()],
    ],
)
def test_no_path_and_no_address_is_taken_for_a_picture(program: httpx.Client, file: object) -> None:
    body = {"workflow": "image_blend_pixel", "images": [coded(), file]}

    answer = program.post("/api/generate", json=body)

    assert answer.status_code in (404, 422), answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["../x", "..%2fx", "text_to_image\x00", "", None, 7, ["x"]])
def test_a_name_that_is_no_workflow_is_refused(program: httpx.Client, name: object) -> None:
    answer = program.post("/api/generate", json={"workflow": name, "prompt": "x"})

    assert answer.status_code in (404, 422), answer.text


def test_a_field_at_fault_is_named_in_the_callers_language(program: httpx.Client) -> None:
    body = TEXT | {"prompt": "x" * 1001}

    english = refused(program.post("/api/generate", json=body), 422, "field_too_long")
    chinese = program.post("/api/generate", json=body, headers={"Accept-Language": "zh-TW"})

    assert english["field"] == "prompt"
    assert english["hint"]
    assert "字" in chinese.json()["error"]["message"]


def test_the_same_key_gives_the_same_job_and_another_order_under_it_is_refused(
    program: httpx.Client, stranger: httpx.Client
) -> None:
    headers = {"Idempotency-Key": "once"}

    first = program.post("/api/generate", json=TEXT, headers=headers).json()
    again = program.post("/api/generate", json=TEXT, headers=headers).json()
    other = program.post("/api/generate", json=TEXT | {"steps": 2}, headers=headers)
    seeded = program.post("/api/generate", json=TEXT | {"seed": 1}, headers=headers)
    theirs = stranger.post("/api/generate", json=TEXT, headers=headers).json()

    assert (again["job_id"], again["seed"]) == (first["job_id"], first["seed"])
    refused(other, 409, "key_reused")
    refused(seeded, 409, "key_reused")
    assert theirs["job_id"] != first["job_id"]
    assert program.get("/api/history").json()["total"] == 1


def test_a_retry_has_the_same_seed_or_a_new_one(
    program: httpx.Client, order: Order, ended: Ended
) -> None:
    first = order(seed=42)
    ended(first["job_id"])

    same = program.post(f"/api/retry/{first['job_id']}").json()
    new = program.post(f"/api/retry/{first['job_id']}?new_seed=true").json()

    assert same["seed"] == "42"
    assert new["seed"] != "42"
    assert len({first["job_id"], same["job_id"], new["job_id"]}) == 3


def test_a_running_job_is_cancelled(
    program: httpx.Client, practice: PracticeServer, order: Order, ended: Ended
) -> None:
    practice.faults.hold("sampler", step=1)
    job_id = order(steps=5)["job_id"]
    with program.stream("GET", f"/api/events/{job_id}") as answer:
        for line in answer.iter_lines():
            if '"status":"processing"' in line:
                break

    assert program.post(f"/api/cancel/{job_id}").status_code == 200

    assert ended(job_id)["status"] == "cancelled"
    practice.faults.clear()
    assert program.post(f"/api/cancel/{job_id}").status_code == 200  # twice is the same as once


def test_cancelling_what_has_ended_is_told(
    program: httpx.Client, order: Order, ended: Ended
) -> None:
    job_id = order()["job_id"]
    ended(job_id)

    refused(program.post(f"/api/cancel/{job_id}"), 409, "job_ended")


def test_a_failed_job_says_why(
    program: httpx.Client, practice: PracticeServer, order: Order, ended: Ended
) -> None:
    practice.faults.fail("sampler")

    failed = ended(order()["job_id"])

    practice.faults.clear()
    assert failed["status"] == "failed"
    assert failed["error"]["message"]
    assert "Traceback" not in json.dumps(failed)


# --- following -----------------------------------------------------------------------------------


def test_events_tell_progress_and_end_with_the_result(program: httpx.Client, order: Order) -> None:
    seen = events(program, order(steps=8)["job_id"])

    fractions = [event["progress"] for event in seen]
    assert fractions == sorted(fractions)
    assert len(seen) > 1
    assert seen[-1]["outputs"][0]["url"].startswith("/outputs/")


def test_a_hundred_followers_hold_no_thread(
    site: Site, program: httpx.Client, practice: PracticeServer, order: Order
) -> None:
    """More than Starlette's forty threads: a status is still answered at once."""
    practice.faults.hold("sampler", step=1)
    job_id = order(steps=3)["job_id"]
    limits = httpx.Limits(max_connections=200)
    with ExitStack() as stack:
        many = stack.enter_context(
            httpx.Client(base_url=site.url, headers=program.headers, limits=limits, trust_env=False)
        )
        for _ in range(100):
            stream = stack.enter_context(many.stream("GET", f"/api/events/{job_id}"))
            next(stream.iter_raw())

        assert many.get(f"/api/status/{job_id}", timeout=5).json()["job_id"] == job_id
    practice.faults.clear()


# --- history -------------------------------------------------------------------------------------


def test_history_is_paged_by_number_and_by_key(
    program: httpx.Client, order: Order, ended: Ended
) -> None:
    ids = [order(seed=n)["job_id"] for n in range(5)]
    for job_id in ids:
        ended(job_id)
    newest_first = ids[::-1]

    second = program.get("/api/history", params={"page": 2, "limit": 2}).json()
    keyed = program.get("/api/history", params={"after": second["next"], "limit": 2}).json()

    assert [job["job_id"] for job in second["jobs"]] == newest_first[2:4]
    assert (second["total"], second["page"], second["total_pages"]) == (5, 2, 3)
    assert [job["job_id"] for job in keyed["jobs"]] == newest_first[4:]
    assert keyed["next"] is None


def test_history_is_filtered(program: httpx.Client, order: Order, ended: Ended) -> None:
    wanted = order(prompt="黃昏的燈塔")["job_id"]
    other = order(prompt="a cat")["job_id"]
    ended(wanted), ended(other)

    def found(**params: str) -> list[str]:
        answer = program.get("/api/history", params=params)
        return [job["job_id"] for job in answer.json()["jobs"]]

    assert found(text="燈塔") == [wanted]
    assert found(workflow="text_to_image") == [other, wanted]
    assert found(workflow="text_to_image_checkpoint", status="completed") == [other, wanted]
    assert found(status="failed") == found(favourite="true") == found(until="2020-01-01") == []
    assert found(since="2020-01-01T00:00:00+08:00") == [other, wanted]


def test_a_deleted_job_is_out_of_sight_until_restored(
    program: httpx.Client, stranger: httpx.Client, order: Order, ended: Ended
) -> None:
    job_id = order()["job_id"]
    ended(job_id)

    refused(stranger.delete(f"/api/jobs/{job_id}"), 404, "job_unknown")
    assert program.delete(f"/api/jobs/{job_id}").json() == {"job_id": job_id, "deleted": True}
    assert program.get("/api/history").json()["jobs"] == []
    refused(stranger.post(f"/api/jobs/{job_id}/restore"), 404, "job_unknown")
    assert program.post(f"/api/jobs/{job_id}/restore").json()["deleted"] is False
    assert len(program.get("/api/history").json()["jobs"]) == 1


# --- the house -----------------------------------------------------------------------------------


def test_workflows_tell_parameters_and_servers(program: httpx.Client) -> None:
    chinese = program.get("/api/workflows", headers={"Accept-Language": "zh-TW"}).json()

    by_name = {one["name"]: one for one in chinese["workflows"]}
    shown = by_name["text_to_image_checkpoint"]
    assert {p["name"] for p in shown["parameters"]} >= {"prompt", "negative_prompt", "seed"}
    assert [p["label"] for p in shown["parameters"] if p["name"] == "prompt"] == ["提示詞"]
    assert [server["fit"] for server in shown["servers"]] == [True]


def test_models_are_what_the_server_lists(program: httpx.Client) -> None:
    models = program.get("/api/models").json()

    assert models["models"]["checkpoints"] == [CHECKPOINT]
    fields = {(one["tab"], one["field"]): one["choices"] for one in models["fields"]}
    offered = [choice["value"] for choice in fields["text_to_image", "model"]]
    assert offered == ["z_image_turbo", CHECKPOINT]


# --- who -----------------------------------------------------------------------------------------


def test_without_token_or_cookie_nothing_is_done(site: Site) -> None:
    answer = httpx.post(f"{site.url}/api/generate", json=TEXT, trust_env=False)

    refused(answer, 401, "person_unknown")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["st_forged", "st_", "st_ä", "st_" + "x" * 5000])
def test_a_forged_token_proves_nobody_even_beside_a_good_cookie(site: Site, token: str) -> None:
    with site.visitor() as visitor:
        header = f"Bearer {token}".encode("latin-1")
        answer = visitor.get("/api/history", headers=[(b"Authorization", header)])

    refused(answer, 401, "person_unknown")


def test_a_cookie_is_no_token_and_a_token_no_cookie(site: Site, program: httpx.Client) -> None:
    with site.visitor() as visitor:
        cookie = visitor.cookies["studio_person"]
    as_token = {"Authorization": f"Bearer st_{cookie}"}
    token = program.headers["Authorization"].removeprefix("Bearer ")

    with httpx.Client(base_url=site.url, trust_env=False) as bare:
        refused(bare.get("/api/history", headers=as_token), 401, "person_unknown")
        bare.cookies.set("studio_person", token)
        refused(bare.get("/api/history"), 401, "person_unknown")


def test_anothers_bearer_token_is_not_ours_to_judge(site: Site) -> None:
    """A private Space gets its own token in the same header."""
    with site.visitor() as visitor:
        answer = visitor.get("/api/history", headers={"Authorization": "Bearer hf_abc"})

    assert answer.status_code == 200


def test_a_browser_gets_a_token_for_itself(site: Site) -> None:
    with site.visitor() as visitor:
        guest = visitor.post("/api/guest", headers={"Sec-Fetch-Site": "same-origin"}).json()

        assert guest["person"] == site.person(visitor)


def test_a_token_works_on_gradios_routes_too(site: Site, order: Order, ended: Ended) -> None:
    from gradio_client import Client

    with programs(site) as program:
        client = Client(site.url, headers=dict(program.headers), verbose=False)
        client.predict(prompt="a cat", model=CHECKPOINT, steps=1, api_name="/text_to_image")

        assert program.get("/api/history").json()["jobs"][0]["prompt"] == "a cat"


def test_an_open_stream_does_not_keep_the_server_from_its_end(tmp_path: Path) -> None:
    with ExitStack() as stack:
        practice = stack.enter_context(PracticeServer(pace_s=0.01, models=MODELS))
        with served(tmp_path, practice) as site, programs(site) as program:
            practice.faults.hold("sampler", step=1)
            job_id = program.post("/api/generate", json=TEXT | {"steps": 3}).json()["job_id"]
            stream = stack.enter_context(program.stream("GET", f"/api/events/{job_id}"))
            lines = stream.iter_lines()
            assert next(lines).startswith("event: ")

            site.demo.close(verbose=False)

            assert "event: end" not in list(lines)
            assert site.demo.programs.closing


def test_nobody_keeps_all_connections_with_streams(
    site: Site, program: httpx.Client, order: Order
) -> None:
    assert site.practice is not None
    site.practice.faults.hold("sampler", step=1)
    job_id = order(steps=3)["job_id"]
    with ExitStack() as open_:
        streams = [
            open_.enter_context(program.stream("GET", f"/api/events/{job_id}")).iter_lines()
            for _ in range(STREAMS_AT_MOST)
        ]
        assert all(next(lines) for lines in streams)  # kept: one let go is one closed
        refused(program.get(f"/api/events/{job_id}"), 429, "too_many_streams")
    site.practice.faults.release()

    assert events(program, job_id)[-1]["status"] == "completed"


@pytest.mark.parametrize(
    ("language", "word"), [("en", "“text” cannot be used"), ("zh-TW", "無法使用")]
)
def test_a_text_no_server_can_speak_is_refused_at_its_field(
    site: Site, program: httpx.Client, language: str, word: str
) -> None:
    assert site.studio.stocks.wait_known(20)
    sound = BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(b"\x10\x20" * 56_000)
    voice = base64.b64encode(sound.getvalue()).decode()
    body = {"workflow": "virtual_human", "portrait": coded(), "audio": voice, "text": "Hello"}

    answer = program.post(
        "/api/generate",
        json=body | {"speech_language": "english"},
        headers={"Accept-Language": language},
    )

    error = refused(answer, 422, "field_off")
    assert error["field"] == "text"
    assert word in error["message"]
    assert "FL_ChatterboxMultilingualTTS" in error["hint"]
