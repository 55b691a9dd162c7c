"""Model files from a server that breaks: resumed, checked, and never half under their name."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.engine.workflow.manifest import ModelFile
from studio.errors import StudioError
from studio.fetching import Wanted, fetch, place_of

DATA = bytes(range(256)) * 20_000
"""5 MB, more than one piece."""


class Shop(http.server.ThreadingHTTPServer):
    """Serves DATA; breaks the next `breaks` answers in the middle, or answers with `status`."""

    breaks = 0
    ranges = True
    told = len(DATA)
    status = 0
    asked: list[str | None]

    def handle_error(self, *_: object) -> None:
        """Say nothing of who hung up."""


class Counter(http.server.BaseHTTPRequestHandler):
    server: Shop

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.status:
            self.send_error(self.server.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not self.server.ranges:
            start = 0
        if start >= len(DATA):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(DATA)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
        self.send_header("Content-Length", str(self.server.told - start))
        self.send_header("ETag", '"one"')
        self.end_headers()
        body = DATA[start:]
        if self.server.breaks:
            self.server.breaks -= 1
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.connection.shutdown(2)
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def shop() -> Iterator[Shop]:
    server = Shop(("127.0.0.1", 0), Counter)
    server.daemon_threads = True
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def item(shop: Shop, folder: Path, **more: object) -> Wanted:
    url = f"http://127.0.0.1:{shop.server_port}/a.safetensors"
    facts = {"folder": "vae", "file": "a.safetensors", "url": url, "licence": "MIT"} | more
    model = ModelFile.model_validate(facts)
    return Wanted(model, folder / place_of(model))


def get(wanted: Wanted, **more: object) -> list[tuple[int, int | None]]:
    seen: list[tuple[int, int | None]] = []
    options = {"pause_s": 0.01, "timeout_s": (2.0, 2.0)} | more
    fetch(wanted, progress=lambda have, all_: seen.append((have, all_)), **options)  # type: ignore[arg-type]
    return seen


def test_a_file_comes_whole_and_tells_its_progress(shop: Shop, tmp_path: Path) -> None:
    wanted = item(shop, tmp_path, sha256=hashlib.sha256(DATA).hexdigest(), bytes=len(DATA))

    seen = get(wanted)

    assert wanted.path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert list(wanted.path.parent.iterdir()) == [wanted.path]


def test_a_broken_connection_is_taken_up_where_it_broke(shop: Shop, tmp_path: Path) -> None:
    shop.breaks = 3
    wanted = item(shop, tmp_path)

    get(wanted)

    assert wanted.path.read_bytes() == DATA
    assert len(shop.asked) == 4
    starts = [int((asked or "bytes=0-")[6:-1]) for asked in shop.asked]
    assert starts == sorted(starts)
    assert starts[1] > 0


def test_what_came_is_kept_for_the_next_run(shop: Shop, tmp_path: Path) -> None:
    wanted = item(shop, tmp_path)
    part = wanted.path.with_name("a.safetensors.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA[:1_000_000])

    get(wanted)

    assert shop.asked == ["bytes=1000000-"]
    assert wanted.path.read_bytes() == DATA


def test_a_server_without_ranges_sends_it_from_the_start(shop: Shop, tmp_path: Path) -> None:
    shop.ranges = False
    shop.breaks = 1
    wanted = item(shop, tmp_path)

    get(wanted)

    assert wanted.path.read_bytes() == DATA


@pytest.mark.parametrize("size", [len(DATA), len(DATA) + 5], ids=["whole", "longer"])
def test_a_part_that_is_whole_or_too_long_ends_well(shop: Shop, tmp_path: Path, size: int) -> None:
    wanted = item(shop, tmp_path)
    part = wanted.path.with_name("a.safetensors.part")
    part.parent.mkdir(parents=True)
    part.write_bytes((DATA + b"extra")[:size])

    get(wanted)

    assert wanted.path.read_bytes() == DATA


def test_a_file_that_is_there_is_never_overwritten(shop: Shop, tmp_path: Path) -> None:
    wanted = item(shop, tmp_path)
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_bytes(b"mine")

    with pytest.raises(StudioError) as caught:
        get(wanted)

    assert caught.value.code == "fetch_failed"
    assert wanted.path.read_bytes() == b"mine"
    assert shop.asked == []


@pytest.mark.parametrize("facts", [{"sha256": "0" * 64}, {"bytes": 7}], ids=["sum", "size"])
def test_a_wrong_file_is_taken_away(shop: Shop, tmp_path: Path, facts: dict[str, object]) -> None:
    wanted = item(shop, tmp_path, **facts)

    with pytest.raises(StudioError) as caught:
        get(wanted)

    assert caught.value.code == "fetch_failed"
    assert list(wanted.path.parent.iterdir()) == []


def test_a_refusal_is_final_and_told(shop: Shop, tmp_path: Path) -> None:
    shop.status = 403
    wanted = item(shop, tmp_path)

    with pytest.raises(StudioError) as caught:
        get(wanted)

    assert "403" in caught.value.params["reason"]
    assert len(shop.asked) == 1


def test_a_server_in_trouble_is_asked_again_and_then_given_up(shop: Shop, tmp_path: Path) -> None:
    shop.status = 503
    wanted = item(shop, tmp_path)

    with pytest.raises(StudioError):
        get(wanted, tries=3)

    assert len(shop.asked) == 3


def test_a_disk_too_small_is_told_before_the_first_byte(shop: Shop, tmp_path: Path) -> None:
    shop.told = 10**18
    wanted = item(shop, tmp_path)

    with pytest.raises(StudioError) as caught:
        get(wanted)

    assert "free" in caught.value.params["reason"]
    assert wanted.path.with_name("a.safetensors.part").stat().st_size == 0


@pytest.mark.parametrize(
    "facts",
    [
        {"file": "../a"},
        {"file": "x\\..\\..\\a"},
        {"folder": "../x"},
        {"file": "/a"},
        {"file": "c:a"},
    ],
)
def test_no_file_leaves_the_models_folder(facts: dict[str, str]) -> None:
    known = {"folder": "vae", "file": "a", "url": "http://x", "licence": "MIT"}

    with pytest.raises(StudioError):
        place_of(ModelFile.model_validate(known | facts))
