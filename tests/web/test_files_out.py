"""What servers hand out, whatever it is: shown or offered, on the page and to programs."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from studio.engine.jobs import Job
from studio.tabs import result
from tests.engine.films import film, sound
from tests.odd_files import SIZE, animated, heic, saved, scene, shot
from tests.tabs.site import CHECKPOINT, Site, served
from tests.web.conftest import UNLIMITED

Make = Callable[[Path], object]
QUIET: dict[str, Any] = {"options": {"x265-params": "log-level=none"}}
OCTETS = "application/octet-stream"


def moov_at_end(path: Path) -> None:
    """Write a film that says what it is at its end, and its sound in six channels."""
    film(path, "mp4", "libx264", size=(64, 48), with_sound="aac")
    data = path.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")


# What the server calls it, how it is made, its kind, how it is sent, and whether a browser plays or
# draws it as it is.
OUT: dict[str, tuple[Make, str, str, bool]] = {
    "hevc.mp4": (shot("mp4", "libx265", "yuv420p10le", **QUIET), "video", "video/mp4", False),
    "full-colour.mp4": (
        shot("mp4", "libx264", "yuv444p", size=(641, 481), frames=2), "video", "video/mp4", False,
    ),
    "old.mp4": (shot("mp4", "mpeg4", with_sound="aac"), "video", "video/mp4", False),
    "prores.mov": (
        shot("mov", "prores_ks", "yuv422p10le", with_sound="pcm_s16le"),
        "video", "video/quicktime", False,
    ),
    "late.mp4": (moov_at_end, "video", "video/mp4", True),
    "mute.webm": (shot("webm", "libvpx-vp9"), "video", "video/webm", True),
    "moves.gif": (animated("GIF"), "image", "image/gif", True),
    "moves.webp": (animated("WEBP", lossless=True), "image", "image/webp", True),
    "moves.png": (animated("PNG"), "image", "image/png", True),
    "moves.avif": (animated("AVIF"), "image", "image/avif", True),
    "old.bmp": (saved("BMP"), "image", "image/bmp", True),
    "deep.tiff": (saved("TIFF"), "image", OCTETS, False),
    "phone.heic": (lambda path: heic(path, [scene()]), "image", OCTETS, False),
    "song.flac": (lambda path: sound(path, "flac", "flac"), "audio", "audio/flac", True),
    "song.opus": (lambda path: sound(path, "ogg", "libopus"), "audio", "audio/ogg", True),
    "song.mp3": (lambda path: sound(path, "mp3", "libmp3lame"), "audio", "audio/mpeg", True),
    "float.wav": (lambda path: sound(path, "wav", "pcm_f32le"), "audio", "audio/wav", True),
    "song.mp4": (lambda path: sound(path, "mp4", "aac"), "audio", "audio/mp4", True),
    "mesh.glb": (lambda path: path.write_bytes(b"glTF\x02\0\0\0"), "file", OCTETS, True),
    "light.exr": (lambda path: path.write_bytes(b"\x76\x2f\x31\x01" + bytes(64)), "file", OCTETS,
                  True),
    "a.latent": (lambda path: path.write_bytes(bytes(64)), "file", OCTETS, True),
    "a.svg": (lambda path: path.write_bytes(b"<svg onload='x()'/>"), "file", OCTETS, True),
    "a.html": (lambda path: path.write_bytes(b"<script>x()</script>"), "text", OCTETS, True),
    "a.txt": (lambda path: path.write_text("一隻貓", "utf-8"), "text", OCTETS, True),
}  # fmt: skip
NAMES = list(OUT)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page without a worker: the tests end its jobs themselves."""
    folder = tmp_path_factory.mktemp("site")
    with served(folder, comfy_urls=("http://127.0.0.1:9",), studio_workers=0, **UNLIMITED) as site:
        yield site


@pytest.fixture(scope="module")
def owner(site: Site) -> Iterator[httpx.Client]:
    with site.visitor() as visitor:
        yield visitor


@pytest.fixture(scope="module")
def done(site: Site, owner: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that handed out one file of each kind."""
    studio, person = site.studio, site.person(owner)
    values = {"prompt": "a cat", "model": CHECKPOINT, "steps": 1}
    job = studio.desk.submit(person, "text_to_image", values)
    claim = studio.ledger.claim("test")
    assert claim is not None
    folder = tmp_path_factory.mktemp("made")
    with studio.store.draft(job.job_id, claim.fence, datetime.date(2026, 11, 26)) as draft:
        for name, (make, *_) in OUT.items():
            make(folder / name)
            with draft.add("9", name) as into:
                into.write((folder / name).read_bytes())
        outputs = draft.keep()
    assert studio.ledger.complete(claim, outputs)
    return studio.desk.job(person, job.job_id)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_handed_out_is_sent_as_what_it_is_and_runs_nothing(
    owner: httpx.Client, done: Job, name: str
) -> None:
    _, kind, mime, _ = OUT[name]
    output = done.outputs[NAMES.index(name)]

    sent = owner.get(f"/outputs/{done.job_id}/{output.name}")
    kept = owner.get(f"/outputs/{done.job_id}/{output.name}", params={"download": "1"})

    assert (output.kind, sent.headers["content-type"]) == (kind, mime)
    assert sent.headers["content-disposition"].startswith(
        "attachment" if mime == OCTETS else "inline"
    )
    assert kept.headers["content-disposition"].startswith("attachment")
    assert sent.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert len(kept.content) == output.size_bytes


ENDINGS = {"hevc.mp4": ".mp4", "song.opus": ".ogg", "song.mp4": ".m4a", "a.html": ".txt"}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_taken_home_has_an_ending_that_opens_it(
    owner: httpx.Client, done: Job, name: str
) -> None:
    output = done.outputs[NAMES.index(name)]

    kept = owner.get(f"/outputs/{done.job_id}/{output.name}", params={"download": "1"})

    ending = ENDINGS.get(name, Path(name).suffix)
    assert kept.headers["content-disposition"].rstrip('"').endswith(ending)


@pytest.mark.parametrize("name", [name for name in NAMES if OUT[name][1] in ("video", "audio")])
def test_every_film_and_sound_plays(owner: httpx.Client, done: Job, name: str) -> None:
    _, kind, mime, plays = OUT[name]
    output = done.outputs[NAMES.index(name)]

    answer = owner.get(f"/play/{done.job_id}/{output.name}")

    assert answer.headers["content-type"] == (mime if plays else "video/mp4")
    with av.open(BytesIO(answer.content)) as container:
        if kind == "video":
            picture = container.streams.video[0]
            assert picture.codec_context.name in ("h264", "vp9", "libvpx-vp9")
            assert picture.pix_fmt == "yuv420p"
            assert (picture.width % 2, picture.height % 2) == (0, 0)
        else:
            assert container.streams.audio


@pytest.mark.parametrize("name", NAMES)
def test_every_result_has_something_small_to_see_or_a_sign(
    owner: httpx.Client, done: Job, name: str
) -> None:
    output = done.outputs[NAMES.index(name)]
    told = owner.get(f"/api/status/{done.job_id}").json()["outputs"][NAMES.index(name)]

    answer = owner.get(f"/thumbnails/{done.job_id}/{output.name}")

    if OUT[name][1] in ("image", "video", "audio"):
        assert told["thumbnail_url"].endswith(f"/thumbnails/{done.job_id}/{output.name}")
        with Image.open(BytesIO(answer.content)) as picture:
            assert picture.format == "WEBP"
    else:
        assert (answer.status_code, told["thumbnail_url"]) == (404, None)
        assert "<img" not in result.shown(done, output, "en", small=True)


def test_a_picture_no_browser_draws_is_shown_by_its_small_one(done: Job) -> None:
    drawn = {
        name: result.shown(done, done.outputs[NAMES.index(name)], "en", small=False)
        for name in NAMES
        if OUT[name][1] == "image"
    }

    assert {name for name, markup in drawn.items() if 'src="thumbnails/' in markup} == {
        "deep.tiff",
        "phone.heic",
    }
    assert all('data-keep="outputs/' in markup for markup in drawn.values())


def test_pictures_are_kept_with_their_size(done: Job) -> None:
    sizes = {
        name: (output.width_px, output.height_px)
        for name, output in zip(NAMES, done.outputs, strict=True)
        if output.kind == "image" and output.mime != "image/heic"
    }

    assert set(sizes.values()) == {SIZE}
