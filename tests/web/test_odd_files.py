"""The whole table of odd files through every door: the page, a program's client, REST, an address.

Whatever the door: what is taken arrives at ComfyUI plain, upright and of a type it loads; what is
refused is refused for the same reason, in words, and leaves nothing behind.
"""

from __future__ import annotations

import json
import re
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from html import unescape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

import av
import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from studio.engine.jobs import Given, Job, State
from studio.engine.media import shown_name
from studio.practice import PracticeServer
from studio.texts import explain_code
from tests.chain.house import wait_until
from tests.elsewhere import Elsewhere, serving_files
from tests.odd_files import ODD, Odd
from tests.tabs.site import MODELS, Site, as_the_site_wants_it, served  # noqa: F401  a fixture
from tests.web.conftest import UNLIMITED

TAKEN: Final = [odd for odd in ODD if not odd.code]
REFUSED: Final = [odd for odd in ODD if odd.code]
KINDS: Final = {"picture": "image", "sound": "audio", "film": "video"}
LOADS: Final = {
    "picture": {"image/png", "image/jpeg"},
    "sound": {"audio/wav", "audio/flac", "audio/mpeg"},
    "film": {"video/mp4", "video/quicktime", "video/webm", "video/x-matroska"},
}
AT_ONCE: Final = {"picture": 10, "sound": 6, "film": 3}
"""How many files of a kind one order takes here."""

CHAINS: Final[Mapping[str, Sequence[tuple[str, str, dict[str, Any]]]]] = {
    "picture": [("LoadImage", "image", {}), ("SaveImage", "images", {"filename_prefix": "p"})],
    "sound": [("LoadAudio", "audio", {}), ("SaveAudio", "audio", {"filename_prefix": "s"})],
    "film": [
        ("LoadVideo", "file", {}),
        ("GetVideoComponents", "video", {}),
        ("ImageFromBatch", "image", {"batch_index": 0, "length": 1}),
        ("SaveImage", "images", {"filename_prefix": "f"}),
    ],
}
"""By kind of file, from loader to saver: class, what it takes of the one before, and its values."""


def workflow(folder: Path) -> Path:
    """Write a workflow, as a host would, whose every field takes a file and hands it back."""
    blank = {"width": 16, "height": 16, "batch_size": 1, "color": 0}
    saved = {"images": ["blank", 0], "filename_prefix": "blank"}
    graph: dict[str, Any] = {
        "blank": {"class_type": "EmptyImage", "inputs": blank},
        "save": {"class_type": "SaveImage", "inputs": saved},
    }
    parameters, rules, outputs = [], [], [{"node": "save", "kind": "image"}]
    for kind, chain in CHAINS.items():
        for name in fields(kind):
            ids = [f"{name}_{number}" for number in range(len(chain))]
            takes: list[Any] = ["example.png", *([one, 0] for one in ids)]
            for one, (class_type, slot, values), taken in zip(ids, chain, takes, strict=False):
                graph[one] = {"class_type": class_type, "inputs": {slot: taken} | values}
            bind, type_ = f"{ids[0]}.{chain[0][1]}", KINDS[kind]
            label = {"en": name}
            parameters.append({"name": name, "type": type_, "label": label, "bind": [bind]})
            rules.append({"when": {name: "empty"}, "remove": ids})
            outputs.append({"node": ids[-1], "kind": "audio" if kind == "sound" else "image"})
    manifest = {"name": "take", "tab": "take", "title": {"en": "Take"}, "category": "tool"}
    manifest |= {"graph": "take.json", "minimum_comfyui": "0.3.43", "parameters": parameters}
    manifest |= {"rules": rules, "outputs": outputs}
    folder.mkdir()
    (folder / "take.json").write_text(json.dumps(graph), "utf-8")
    (folder / "take.yaml").write_text(json.dumps(manifest), "utf-8")
    return folder


def fields(kind: str) -> list[str]:
    """Name the fields for one kind of file."""
    return [f"{kind}_{number:02}" for number in range(AT_ONCE[kind])]


class Files:
    """The table on disk, each file in a folder of its own under its own name, where it has one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths: dict[Odd, Path] = {odd: self._write(n, odd) for n, odd in enumerate(ODD)}

    def _write(self, number: int, odd: Odd) -> Path:
        folder = self._folder / str(number)
        folder.mkdir()
        fits = len(odd.called.encode()) <= 255 and "/" not in odd.called and odd.called != ".."
        path = folder / (odd.called if fits else "unnamed")
        odd.write(path)
        return path


class Door(ABC):
    """One way in for one person. `send` orders with files; the rest is the same for every door."""

    def __init__(self, site: Site, files: Files) -> None:
        self.site, self.files = site, files
        self.person = ""

    names = True
    """Whether the door sends a file's name as the table has it."""

    quick = True
    """Whether it takes the whole table in a few seconds."""

    by_ref = False
    """Whether an order names uploads: of several that became the same, the notes of each are told.
    """

    @abstractmethod
    def send(self, values: dict[str, tuple[Path, str]]) -> None:
        """Order with files, `(path, name)` by field; raise `Refusal` when it is refused."""

    def through(self, odds: Sequence[Odd]) -> list[Odd]:
        """Choose what is sent through this door: of each form of file one, if it is slow."""
        forms = {(odd.kind, Path(odd.called).suffix, odd.code, odd.notes): odd for odd in odds}
        return list(odds) if self.quick else list(forms.values())

    def order(self, odds: Mapping[str, Odd]) -> None:
        """Order with files, by field."""
        self.send({name: (self.files.paths[odd], odd.called) for name, odd in odds.items()})

    @abstractmethod
    def close(self) -> None:
        """Hang up."""


class Refusal(Exception):  # noqa: N818  (what a person is told, no fault of the test)
    """What a door said of a refused order."""


class Page(Door):
    """What the page does: Gradio's upload, then the event of the Generate button."""

    def __init__(self, site: Site, files: Files) -> None:
        super().__init__(site, files)
        self._browser = httpx.Client(base_url=site.url, timeout=20, trust_env=False)
        self._browser.get("/").raise_for_status()
        self.person = site.person(self._browser)
        config = self._browser.get("/config").json()
        self._parts = {one["id"]: one["props"] for one in config["components"]}
        button = next(
            n for n, one in self._parts.items() if one.get("elem_id") == "studio-take-generate"
        )
        self._event = next(
            event for event in config["dependencies"] if [button, "click"] in event["targets"]
        )

    def send(self, values: dict[str, tuple[Path, str]]) -> None:
        sent = {name: [self._uploaded(*one)] for name, one in values.items()}
        asked_for = [self._parts[number] for number in self._event["inputs"]]
        data = [
            sent.get(part["elem_id"].removeprefix("studio-take-"), part.get("value"))
            for part in asked_for
        ]
        session = uuid.uuid4().hex
        body = {"data": data, "fn_index": self._event["id"], "session_hash": session}
        self._browser.post("/gradio_api/queue/join", json=body).raise_for_status()
        asked = {"session_hash": session}
        with self._browser.stream("GET", "/gradio_api/queue/data", params=asked) as answer:
            for line in answer.iter_lines():
                if "process_completed" in line:
                    told = json.loads(line.removeprefix("data: "))
                    break
        if not told["success"]:
            raise Refusal(unescape(told["output"]["error"]))

    def _uploaded(self, path: Path, name: str) -> dict[str, str]:
        files = {"files": (name, path.read_bytes())}
        answer = self._browser.post("/gradio_api/upload", files=files)
        assert answer.status_code == 200, (name, answer.text)
        [there] = answer.json()
        return {"path": there, "url": f"file={there}", "name": name}

    def close(self) -> None:
        self._browser.close()


class Program(Door):
    """`gradio_client` on the named endpoints. It calls a file as it is called on the disk."""

    names = quick = False

    def __init__(self, site: Site, files: Files, downloads: Path) -> None:
        super().__init__(site, files)
        self._client = Client(site.url, verbose=False, download_files=False)
        self.person = site.studio.guests.of_session(self._client.session_hash)

    def send(self, values: dict[str, tuple[Path, str]]) -> None:
        sent = {name: handle_file(path) for name, (path, _) in values.items()}
        job = self._client.submit(api_name="/take", **sent)
        if (refusal := job.exception(timeout=60)) is not None:
            raise Refusal(str(refusal)) from refusal

    def close(self) -> None:
        self._client.close()


class Rest(Door):
    """Uploads as forms, then orders that name them."""

    by_ref = True

    def __init__(self, site: Site, files: Files) -> None:
        super().__init__(site, files)
        self.http = httpx.Client(base_url=site.url, timeout=20, trust_env=False)
        guest = self.http.post("/api/guest").json()
        self.person = guest["person"]
        self.http.headers["Authorization"] = f"Bearer {guest['token']}"

    def send(self, values: dict[str, tuple[Path, str]]) -> None:
        sent: dict[str, Any] = {name: self.named(*one) for name, one in values.items()}
        self.told(self.http.post("/api/generate", json={"workflow": "take"} | sent), 202)

    def named(self, path: Path, name: str) -> dict[str, str]:
        files = {"file": (name, path.read_bytes())}
        answer = self.told(self.http.post("/api/upload", files=files), 201)
        return {"upload": answer["filename"], "name": answer["original_name"]}

    @staticmethod
    def told(answer: httpx.Response, status: int) -> dict[str, Any]:
        body = answer.json()
        if "error" in body:
            assert answer.status_code in (404, 413, 422), answer.text
            assert body["error"]["hint"]
            raise Refusal(body["error"]["message"])
        assert answer.status_code == status
        return dict(body)

    def close(self) -> None:
        self.http.close()


class Address(Rest):
    """Orders that name files elsewhere, where they are called as on the disk."""

    names = quick = False

    def __init__(self, site: Site, files: Files, elsewhere: Elsewhere) -> None:
        super().__init__(site, files)
        self._elsewhere = elsewhere

    def named(self, path: Path, name: str) -> dict[str, str]:
        return {"url": self._elsewhere.url(address(path))}


def address(path: Path) -> str:
    """Give where a file of the table lies elsewhere."""
    return "/" + quote("/".join(path.parts[-2:]))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def elsewhere(files: Files) -> Iterator[Elsewhere]:
    paths = files.paths.values()
    with serving_files({address(path): path.read_bytes() for path in paths}) as there:
        yield there


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for what lies about only while an order is taken."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("scratch"))
    yield Path(tempfile.tempdir)
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, elsewhere: Elsewhere, scratch: Path
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    practice = PracticeServer(pace_s=0.0, models=MODELS, folder=folder / "comfyui")
    settings: dict[str, Any] = {
        "outside_hosts": (f"127.0.0.1:{elsewhere.server.port}",),
        "workflows_dir": workflow(folder / "workflows"),
    }
    with practice, served(folder, practice, **settings, **UNLIMITED) as site:
        yield site


@pytest.fixture(scope="module", params=["page", "program", "rest", "address"])
def door(
    request: pytest.FixtureRequest,
    site: Site,
    files: Files,
    elsewhere: Elsewhere,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Door]:
    match request.param:
        case "page":
            opened: Door = Page(site, files)
        case "program":
            opened = Program(site, files, tmp_path_factory.mktemp("downloads"))
        case "rest":
            opened = Rest(site, files)
        case _:
            opened = Address(site, files, elsewhere)
    yield opened
    opened.close()


# --- what is refused -----------------------------------------------------------------------------


def stored(site: Site) -> set[str]:
    """Name every file that is stored of anybody."""
    return {path.name for path in (site.studio.settings.data_dir / "inputs").glob("*/*")}


def code_of(words: str) -> str:
    """Tell which of our sentences a person was told."""
    return next((code for code, said in SENTENCES.items() if said.match(words)), words)


SENTENCES: Final = {
    code: re.compile(re.sub(r"\\{\w+\\}", ".*", re.escape(explain_code(code, {})[0])), re.DOTALL)
    for code in {odd.code for odd in REFUSED}
}
WHOLE: Final = ("file_kind", "sound_missing")
"""Refused for their field alone: as an upload they are good."""


def test_what_is_refused_is_refused_alike_and_leaves_nothing(
    site: Site, door: Door, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = stored(site)
    told: dict[str, str] = {}
    refused_here = door.through(REFUSED)
    for odd in sorted(refused_here, key=lambda odd: odd.code in WHOLE):
        with pytest.raises(Refusal) as refused:
            door.order({fields(odd.kind)[0]: odd})
        told[odd.name] = code_of(str(refused.value))
        assert odd.code in WHOLE or stored(site) == before, odd.called
        assert odd.called in str(refused.value)

    assert told == {odd.name: odd.code for odd in refused_here}
    assert not list(scratch.glob("studio-*"))
    assert not [name for name in stored(site) if name.endswith(".part")]
    assert "Traceback" not in "".join(capfd.readouterr())


# --- what is taken -------------------------------------------------------------------------------


def test_what_is_taken_arrives_plain_and_upright(
    site: Site, door: Door, scratch: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    known = {job.job_id for job in jobs_of(site, door)}
    sent = list(orders(door.through(TAKEN)))
    for order in sent:
        door.order(order)

    wait_until(lambda: all(job.state.ended for job in jobs_of(site, door)), 60)
    jobs = [job for job in jobs_of(site, door) if job.job_id not in known]
    wrong = {
        order[given.field].name: list(faults(site, door, order[given.field], given))
        for job, order in zip(jobs, sent, strict=True)
        for given in job.given
    }

    assert {name: found for name, found in wrong.items() if found} == {}
    assert set(wrong) == {odd.name for odd in door.through(TAKEN)}
    assert [job.failure for job in jobs if job.failure] == []
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert not list(scratch.glob("studio-*"))
    assert "Traceback" not in "".join(capfd.readouterr())


def orders(odds: Sequence[Odd]) -> Iterator[dict[str, Odd]]:
    """Lay files into orders, each as full as may be."""
    left = {kind: [odd for odd in odds if odd.kind == kind] for kind in AT_ONCE}
    while any(left.values()):
        yield {
            name: odd
            for kind in AT_ONCE
            for name, odd in zip(fields(kind), left[kind], strict=False)
        }
        left = {kind: left[kind][AT_ONCE[kind] :] for kind in AT_ONCE}


def jobs_of(site: Site, door: Door) -> list[Job]:
    """List the jobs of a door's person, the oldest first."""
    return list(site.studio.desk.history(door.person, limit=500).jobs)[::-1]


def faults(site: Site, door: Door, odd: Odd, given: Given) -> Iterator[object]:
    """Say what is wrong with a file as it arrived."""
    assert site.practice is not None
    there = site.practice.folders.root / "input" / "studio" / given.ref
    if (given.kind, given.mime in LOADS[odd.kind]) != (KINDS[odd.kind], True):
        yield given.kind, given.mime
    if given.notes != odd.notes and not (door.by_ref and set(given.notes) > set(odd.notes)):
        yield given.notes
    if odd.kind != "sound" and (given.width_px, given.height_px) != odd.size:
        yield given.width_px, given.height_px
    if odd.kind != "picture" and abs(given.seconds - odd.seconds) > 0.1:
        yield given.seconds
    if odd.shown and door.names and shown_name(unquote(given.name)) != odd.shown:
        yield given.name
    yield from (picture_faults if odd.kind == "picture" else stream_faults)(odd, there)


def picture_faults(odd: Odd, there: Path) -> Iterator[object]:
    """Say what is wrong with a picture at ComfyUI: it must be plain, upright, of these colours."""
    with Image.open(there) as picture:
        if (picture.mode, picture.size) != ("RGB", odd.size):
            yield picture.mode, picture.size
        if set(picture.info) & {"icc_profile", "exif", "transparency", "prompt", "workflow"}:
            yield set(picture.info)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    height, width = pixels.shape[:2]
    for across, colour in ((width // 10, odd.left), (width * 3 // 4, odd.right)):
        if np.abs(pixels[height // 2, across] - colour).max() > odd.near:
            yield pixels[height // 2, across].tolist()


def stream_faults(odd: Odd, there: Path) -> Iterator[object]:
    """Say what is wrong with a sound or film at ComfyUI: it must open, mono or stereo, upright."""
    with av.open(str(there)) as container:
        if None in [stream.codec_context for stream in container.streams.audio]:
            yield "a sound that nothing decodes"
        elif odd.kind == "sound" and container.streams.audio[0].channels > 2:
            yield "channels"
        if odd.kind == "film" and next(container.decode(video=0)).rotation:
            yield "lies on its side"
