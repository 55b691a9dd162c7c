"""Odd answers and bad lines become ours. "Trap n" is fact n of the recordings' README."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studio import texts
from studio.engine.comfy import address
from studio.engine.comfy.calls import NeverSent, Unanswered
from studio.engine.comfy.client import ComfyClient, StandingKind
from studio.engine.comfy.events import OutputFile
from studio.errors import StudioError
from tests.engine.comfy.odd import Answer, OddServer, answer, odd_server, tapped, text

PROMPT = {"1": {"class_type": "EmptyImage", "inputs": {}}}
ID = "7f378f22-6b9d-495f-8525-e0a565db9a01"
IDLE = answer({"queue_running": [], "queue_pending": []})
WAITING = answer({"queue_running": [], "queue_pending": [[1, ID, {}, {}, []]]})
TAKEN = answer({"prompt_id": ID, "number": 1, "node_errors": {}})


@pytest.fixture
def odd() -> Iterator[OddServer]:
    with odd_server() as server:
        yield server


@pytest.fixture
def client(odd: OddServer) -> Iterator[ComfyClient]:
    client = ComfyClient(odd.url, timeout_s=5)
    yield client
    client.close()


def code_of(error: pytest.ExceptionInfo[StudioError]) -> str:
    for language in texts.LANGUAGES:
        assert "{" not in "".join(texts.explain(error.value, language))
    return error.value.code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (text(500), "server_answer"),
        (text(200, "<html>router login</html>"), "server_answer"),
        (text(401, ""), "server_forbidden"),
        (text(403, ""), "server_forbidden"),
        (text(404, ""), "server_refused"),
        (text(302, ""), "server_refused"),
        (text(502, "<html>Bad gateway</html>"), "server_away"),
        (text(503, ""), "server_away"),
        (answer({"hello": "world"}), "server_answer"),
        (answer([1]), "server_answer"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]} {value[2][:12]!r}",
)
def test_odd_answers_have_codes(
    odd: OddServer, client: ComfyClient, given: Answer, code: str
) -> None:
    """Trap 9: error bodies are often no JSON. Trap 47: 403 with an empty body."""
    odd.routes["GET /system_stats"] = given

    with pytest.raises(StudioError) as error:
        client.system()

    assert code_of(error) == code


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (text(500), "server_answer"),
        (text(413, "Maximum request body size 1048576 exceeded."), "upload_too_large"),
        (text(403, ""), "server_forbidden"),
        (text(400, "what?"), "prompt_refused"),
        (answer({"prompt_id": "None", "number": 1, "node_errors": {}}), "server_answer"),
    ],
)
def test_odd_answers_to_a_prompt_have_codes(
    odd: OddServer, client: ComfyClient, given: Answer, code: str
) -> None:
    """Traps 2, 9 and 48: another id than ours, plain text, the size limit."""
    odd.routes |= {"POST /prompt": given, "GET /queue": IDLE}

    with pytest.raises(StudioError) as error:
        client.submit(PROMPT, ID)

    assert code_of(error) == code


def test_the_limit_is_told_in_megabytes(odd: OddServer, client: ComfyClient) -> None:
    odd.routes["POST /prompt"] = text(413, "Maximum request body size 1048576 exceeded.")

    with pytest.raises(StudioError) as error:
        client.submit(PROMPT, ID)

    assert error.value.params["limit"] == "1"


def test_a_prompt_that_is_no_json_never_leaves(odd: OddServer, client: ComfyClient) -> None:
    with pytest.raises(StudioError) as error:
        client.submit({"1": {"inputs": {"width": float("nan")}}}, ID)

    assert code_of(error) == "prompt_refused"
    assert odd.asked == []


def test_a_seed_crosses_the_wire_exactly(odd: OddServer, client: ComfyClient) -> None:
    """Case media-8; traps 17 and 23: and always with our client id."""
    sent: list[Any] = []

    def take(body: bytes) -> Answer:
        sent.append(json.loads(body))
        return TAKEN

    odd.routes["POST /prompt"] = take

    client.submit({"1": {"inputs": {"seed": 2**64 - 1, "text": "圖"}}}, ID, extra_data={"a": 1})

    assert sent == [
        {
            "prompt": {"1": {"inputs": {"seed": 2**64 - 1, "text": "圖"}}},
            "prompt_id": ID,
            "client_id": client.client_id,
            "extra_data": {"a": 1},
        }
    ]


def test_a_server_that_is_not_there_never_got_the_prompt() -> None:
    with odd_server() as gone:
        client = ComfyClient(gone.url, timeout_s=0.8)

    with pytest.raises(NeverSent) as error:
        client.submit(PROMPT, ID)
    client.close()

    assert code_of(error) == "server_away"


def test_a_prompt_whose_answer_was_lost_is_looked_up_and_not_sent_again(
    odd: OddServer, client: ComfyClient
) -> None:
    """Trap 3: the same id sent twice runs twice."""
    odd.routes |= {"POST /prompt": lambda _: None, "GET /queue": WAITING}

    client.submit(PROMPT, ID)

    assert odd.asked == ["POST /prompt", "GET /queue"]


def test_a_prompt_that_never_arrived_is_sent_again_after_two_looks(
    odd: OddServer, client: ComfyClient
) -> None:
    """Trap 3."""
    tries = iter([None, TAKEN])
    odd.routes |= {
        "POST /prompt": lambda _: next(tries),
        "GET /queue": IDLE,
        f"GET /history/{ID}": answer({}),
    }

    client.submit(PROMPT, ID)

    assert odd.asked.count("POST /prompt") == 2
    first = odd.asked.index("POST /prompt")
    again = odd.asked.index("POST /prompt", first + 1)
    assert odd.asked[first:again].count("GET /queue") >= 2


def test_a_prompt_that_the_server_still_chews_on_is_not_sent_again(odd: OddServer) -> None:
    """Trap 3: no answer in time is no "no"."""
    odd.routes |= {"GET /queue": IDLE, f"GET /history/{ID}": answer({})}
    with tapped(odd.url) as tap:
        client = ComfyClient(tap.url, timeout_s=0.6)
        client.queue()
        tap.freeze()

        with pytest.raises(StudioError) as error:
            client.submit(PROMPT, ID)
        client.close()

    assert code_of(error) == "server_away"
    assert isinstance(error.value, Unanswered)


def test_a_kept_line_that_the_server_closed_meanwhile_is_no_error(odd: OddServer) -> None:
    odd.routes["GET /queue"] = WAITING
    with tapped(odd.url) as tap:
        client = ComfyClient(tap.url)
        client.queue()
        tap.cut()

        queue = client.queue()
        client.close()

    assert queue.pending == (ID,)


def test_every_answer_has_a_deadline(odd: OddServer) -> None:
    with tapped(odd.url) as tap:
        client = ComfyClient(tap.url, timeout_s=0.2)
        tap.freeze()

        with pytest.raises(StudioError) as error:
            client.system()
        client.close()

    assert code_of(error) == "server_away"


def test_unknown_is_said_only_after_two_looks(odd: OddServer, client: ComfyClient) -> None:
    """Trap 38, case run-4: lost is in neither of two looks a second apart."""
    queues = iter([IDLE, WAITING])
    odd.routes |= {"GET /queue": lambda _: next(queues), f"GET /history/{ID}": answer({})}

    standing = client.look(ID)

    assert (standing.kind, standing.position) == (StandingKind.QUEUED, 0)


def test_the_whole_history_is_never_asked_for(odd: OddServer, client: ComfyClient) -> None:
    """Trap 36: it may hold 10000 graphs."""
    odd.routes |= {"GET /queue": IDLE, f"GET /history/{ID}": answer({})}

    client.look(ID)

    assert "GET /history" not in odd.asked


def test_a_cancel_never_interrupts_without_an_id(odd: OddServer, client: ComfyClient) -> None:
    """Traps 26, 28 and 29, case run-5: deleted, then interrupted because it began meanwhile."""
    sent: list[tuple[str, Any]] = []

    def note(name: str) -> Any:
        def take(body: bytes) -> Answer:
            sent.append((name, json.loads(body)))
            return text(200, "")

        return take

    queues = iter(
        [
            {"queue_running": [[0, "other", {}, {}, []]], "queue_pending": [[1, ID, {}, {}, []]]},
            {"queue_running": [[1, ID, {}, {}, []]], "queue_pending": []},
        ]
    )
    odd.routes |= {
        "GET /queue": lambda _: answer(next(queues)),
        "POST /queue": note("queue"),
        "POST /interrupt": note("interrupt"),
    }

    assert client.cancel(ID)

    assert sent == [("queue", {"delete": [ID]}), ("interrupt", {"prompt_id": ID})]


def test_a_cancel_of_what_is_not_there_touches_nothing(odd: OddServer, client: ComfyClient) -> None:
    """Case run-5: somebody else's job runs; an idle interrupt is answered with 200 all the same."""
    odd.routes["GET /queue"] = answer(
        {"queue_running": [[0, "other", {}, {}, []]], "queue_pending": []}
    )

    assert not client.cancel(ID)

    assert [line for line in odd.asked if line.startswith("POST")] == [
        f"POST /api/jobs/{ID}/cancel"
    ]


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_server_that_cancels_by_id_is_asked_nothing_else(
    odd: OddServer, client: ComfyClient, cancelled: bool
) -> None:
    """Newer-versions 2."""
    odd.routes |= {
        f"POST /api/jobs/{ID}/cancel": answer({"cancelled": cancelled}),
        "GET /features": answer({}),
    }

    assert client.cancel(ID) is cancelled

    assert odd.asked == [f"POST /api/jobs/{ID}/cancel"]
    assert client.features().cancel_by_id


def test_that_a_server_cannot_cancel_by_id_is_asked_once(
    odd: OddServer, client: ComfyClient
) -> None:
    """Newer-versions 2: 404 or 405."""
    odd.routes |= {f"POST /api/jobs/{ID}/cancel": text(405, ""), "GET /queue": IDLE}

    client.cancel(ID)
    client.cancel(ID)

    assert odd.asked.count(f"POST /api/jobs/{ID}/cancel") == 1


def test_a_file_over_the_servers_limit_is_refused_before_a_byte_is_sent(
    odd: OddServer, client: ComfyClient, tmp_path: Path
) -> None:
    """Trap 48, newer-versions 4: the limit is read in `/features`."""
    odd.routes["GET /features"] = answer({"max_upload_size": 1048576.0})
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1048577))

    with pytest.raises(StudioError) as error:
        client.upload(path, "a.bin")

    assert code_of(error) == "upload_too_large"
    assert error.value.params["limit"] == "1"
    assert odd.asked == ["GET /features"]


def test_a_prompt_over_the_limit_is_refused_before_it_is_sent(
    odd: OddServer, client: ComfyClient
) -> None:
    """Trap 48: the limit holds for `/prompt` too."""
    odd.routes["GET /features"] = answer({"max_upload_size": 600_000})

    with pytest.raises(StudioError) as error:
        client.submit({"1": {"inputs": {"text": "x" * 700_000}}}, ID)

    assert code_of(error) == "upload_too_large"
    assert "POST /prompt" not in odd.asked


def test_a_server_without_features_has_the_usual_limit(odd: OddServer, client: ComfyClient) -> None:
    assert client.features().max_upload_bytes == 100 * 1024 * 1024


def test_a_download_cut_in_between_is_told(odd: OddServer, client: ComfyClient) -> None:
    odd.routes["GET /view"] = answer({"x": "y" * 1000})
    file = OutputFile("a.png", "sub", "output")
    with tapped(odd.url) as tap:
        through = ComfyClient(tap.url, timeout_s=5)

        class Freezing(io.BytesIO):
            def write(self, piece: Any) -> int:
                tap.cut()
                return super().write(piece)

        odd.routes["GET /view"] = (200, "image/png", bytes(50_000_000))
        with pytest.raises(StudioError) as error:
            through.download(file, Freezing())
        through.close()

    assert code_of(error) == "server_away"


def test_a_full_disk_of_ours_is_not_taken_for_the_servers_fault(
    odd: OddServer, client: ComfyClient
) -> None:
    odd.routes["GET /view"] = (200, "image/png", bytes(100))

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        client.download(OutputFile("a.png", "", "output"), Full())


def test_headers_of_the_settings_are_sent_and_no_origin(odd: OddServer) -> None:
    """Trap 47: another Origin is a 403; the browser's headers are never ours to send."""
    odd.routes["GET /queue"] = IDLE
    client = ComfyClient(
        odd.url, headers={"Authorization": "Bearer t", "Origin": "http://evil.example"}
    )

    client.queue()
    client.close()

    (head,) = odd.heads
    assert head["Authorization"] == "Bearer t"
    assert "Origin" not in head
    assert "Cookie" not in head


def test_the_handshake_has_an_origin_that_matches_its_host(odd: OddServer) -> None:
    """Trap 47: websocket-client makes its own."""
    with tapped(odd.url) as tap:
        client = ComfyClient(tap.url, headers={"Authorization": "Bearer t"})
        client.open()
        assert odd.was_asked.wait(5)
        client.close()
        head = next(said.decode() for said in tap.said if b"Upgrade" in said)

    host = tap.url.partition("//")[2]
    assert f"Host: {host}\r\n" in head
    assert f"Origin: http://{host}\r\n" in head
    assert "Authorization: Bearer t" in head
    assert f"clientId={client.client_id}" in head


# Addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url", "name", "socket"),
    [
        ("http://127.0.0.1:8188", "http://127.0.0.1:8188", "127.0.0.1:8188", "ws://127.0.0.1:8188"),
        ("gpu-1:8188/", "http://gpu-1:8188", "gpu-1:8188", "ws://gpu-1:8188"),
        ("https://h/comfy/", "https://h/comfy", "h/comfy", "wss://h/comfy"),
        ("http://[::1]:8188", "http://[::1]:8188", "[::1]:8188", "ws://[::1]:8188"),
    ],
)
def test_an_address_serves_http_socket_and_people(
    given: str, url: str, name: str, socket: str
) -> None:
    read = address.read(given)

    assert (read.url, read.name) == (url, name)
    assert read.socket_url("a b") == f"{socket}/ws?clientId=a%20b"


def test_a_password_in_an_address_is_not_shown() -> None:
    read = address.read("http://ann:s3cret@gpu:8188")

    assert "s3cret" not in repr(read)
    assert read.headers["Authorization"] == "Basic YW5uOnMzY3JldA=="


@pytest.mark.parametrize("given", ["ftp://x", "http://", "file:///etc/passwd", "http://x:port"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        address.read(given)
