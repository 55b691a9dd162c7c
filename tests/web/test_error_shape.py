"""Every way to fail over HTTP: the right status, one shape, the reader's language, no trace."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest

from studio import errors
from tests.tabs.site import Site

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FAILING = [
    # method, path, headers, body, status, code
    ("GET", "/nope", {}, b"", 404, "route_unknown"),
    ("GET", "/api", {}, b"", 404, "route_unknown"),
    ("GET", "/api/nope", {}, b"", 404, "route_unknown"),
    ("GET", "/openapi.json", {}, b"", 404, "route_unknown"),
    ("GET", "/studio-assets/none.js", {}, b"", 404, "route_unknown"),
    ("POST", "/outputs/a/b", {}, b"", 405, "method_wrong"),
    ("PUT", "/api/generate", {}, b"", 405, "method_wrong"),
    ("GET", "/api/generate", {}, b"", 405, "method_wrong"),
    ("DELETE", "/", {}, b"", 405, "method_wrong"),
    ("GET", "/outputs/a/b", {}, b"", 404, "job_unknown"),
    ("GET", "/outputs/..%2f..%2fdata/secret", {}, b"", 404, "route_unknown"),
    ("GET", "/outputs/..%5c..%5cdata/secret", {}, b"", 404, "job_unknown"),
    ("GET", "/outputs/zip", {}, b"", 404, "file_unknown"),
    ("GET", "/outputs/zip?of=none", {}, b"", 404, "job_unknown"),
    ("GET", "/thumbnails/a/b", {}, b"", 404, "job_unknown"),
    ("GET", "/play/a/b", {}, b"", 404, "job_unknown"),
    ("GET", "/inputs/none", {}, b"", 404, "file_unknown"),
    ("GET", "/inputs/..%5c..%5csecret", {}, b"", 404, "file_unknown"),
    ("GET", "/gradio_api/file=/etc/passwd", {}, b"", 404, "file_unknown"),
    ("GET", "/gradio_api/proxy=http://x", {}, b"", 404, "route_unknown"),
    ("POST", "/api/generate", {}, b"", 400, "body_invalid"),
    ("POST", "/api/generate", JSON, b"{", 400, "body_invalid"),
    ("POST", "/api/generate", JSON, b"[]", 400, "body_invalid"),
    ("POST", "/api/generate", JSON, b'{"workflow": NaN}', 400, "body_invalid"),
    ("POST", "/api/generate", JSON, b"[" * 100_000, 400, "body_invalid"),
    ("POST", "/api/generate", JSON, b'"\xff"', 400, "body_invalid"),
    ("POST", "/api/generate", JSON, b"{}", 422, "field_required"),
    ("POST", "/api/generate", JSON, b'{"workflow": "none"}', 404, "workflow_unknown"),
    ("POST", "/api/generate", JSON, b'{"workflow": "text_to_image"}', 422, "field_required"),
    (
        "POST", "/api/generate", JSON, b'{"workflow": "text_to_image", "values": 3}', 422,
        "field_wrong_type",
    ),
    (
        "POST", "/api/generate", JSON, b'{"workflow": "text_to_image", "prompt": "\\ud800"}', 422,
        "field_wrong_type",
    ),
    (
        "POST", "/api/generate", JSON, b'{"workflow": "text_to_image", "prompt": {"__value__": 1}}',
        422, "field_wrong_type",
    ),
    (
        "POST", "/api/generate", JSON,
        b'{"workflow": "text_to_image", "prompt": "a", "seed": 18446744073709551616}', 422,
        "seed_invalid",
    ),
    (
        "POST", "/api/generate", JSON, b'{"workflow": "text_to_image", "prompt": "a", "nope": 1}',
        422, "field_unknown",
    ),
    (
        "POST", "/api/generate", {"Idempotency-Key": "x" * 201}, b"{}", 422, "field_too_long",
    ),
    ("GET", "/api/status/none", {}, b"", 404, "job_unknown"),
    ("GET", "/api/events/none", {}, b"", 404, "job_unknown"),
    ("POST", "/api/cancel/none", {}, b"", 404, "job_unknown"),
    ("POST", "/api/retry/none", {}, b"", 404, "job_unknown"),
    ("POST", "/api/retry/none?new_seed=perhaps", {}, b"", 422, "field_wrong_type"),
    ("DELETE", "/api/jobs/none", {}, b"", 404, "job_unknown"),
    ("POST", "/api/jobs/none/restore", {}, b"", 404, "job_unknown"),
    ("GET", "/api/history?page=0", {}, b"", 422, "field_out_of_range"),
    ("GET", "/api/history?limit=101", {}, b"", 422, "field_out_of_range"),
    ("GET", "/api/history?page=1000&limit=100", {}, b"", 422, "field_out_of_range"),
    ("GET", "/api/history?status=none", {}, b"", 422, "field_wrong_type"),
    ("GET", "/api/history?since=yesterday", {}, b"", 422, "field_wrong_type"),
    ("GET", "/api/history?text=" + "x" * 201, {}, b"", 422, "field_too_long"),
    ("POST", "/api/upload", JSON, b"{}", 400, "body_invalid"),
    ("POST", "/api/upload", {"Content-Type": "multipart/form-data"}, b"", 400, "body_invalid"),
    ("POST", "/api/upload", FORM, b"nonsense", 400, "body_invalid"),
    ("POST", "/api/upload", FORM, b"--x--\r\n", 422, "field_required"),
    (
        "POST", "/api/guest", {"Origin": "https://evil.example", "Authorization": ""}, b"", 403,
        "cross_site",
    ),
    ("GET", "/api/history", {"Authorization": "Bearer st_forged"}, b"", 401, "person_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    FAILING,
    ids=[f"{one[0]}-{one[1][:40]}-{one[5]}-{index}" for index, one in enumerate(FAILING)],
)
def test_each_failure_has_the_one_shape(
    program: httpx.Client,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    status: int,
    code: str,
) -> None:
    answer = program.request(method, path, headers=headers, content=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) - {"field"} == {"code", "message", "hint"}
    assert errors.CODES[code] == status
    assert "Traceback" not in answer.text
    assert "{" not in answer.json()["error"]["message"]


def test_a_failure_is_told_in_the_readers_language(program: httpx.Client) -> None:
    asked = {"Accept-Language": "zh-TW,zh;q=0.9"}

    for path in ("/nope", "/api/status/none", "/outputs/a/b"):
        message = program.get(path, headers=asked).json()["error"]["message"]
        assert any("\u4e00" <= sign <= "\u9fff" for sign in message)


def test_a_fault_of_ours_is_told_without_its_trace(site: Site) -> None:
    """A handler that breaks, on the real application."""

    async def broken(_request: object) -> None:
        raise RuntimeError("the secret reason")

    site.demo.app.add_route("/broken", broken)

    answer = httpx.get(f"{site.url}/broken", trust_env=False)

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text
