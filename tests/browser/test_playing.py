"""What the studio shows of films plays in a real Chromium; what it does not play gets a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from studio.engine import playable
from tests.engine.films import film

PLAYED = """
    async source => {
        const film = document.createElement("video");
        film.muted = true;
        film.src = source;
        document.body.append(film);
        const end = new Promise((played, failed) => {
            film.ontimeupdate = () => { if (film.currentTime > 0.2) played("played"); };
            film.onended = () => played("played");
            film.onerror = () => played(film.error.message || "error");
            setTimeout(() => played("never began"), 20000);
        });
        film.play().catch(() => {});
        return [await end, film.videoWidth, film.videoHeight, film.duration];
    }
"""
QUIET = {"x265-params": "log-level=none"}


def played(chromium: Browser, folder: Path, name: str) -> list[Any]:
    (folder / "page.html").write_text("<body></body>", "utf-8")
    page = chromium.new_page()
    try:
        page.goto((folder / "page.html").as_uri())
        result: list[Any] = page.evaluate(PLAYED, name)
        return result
    finally:
        page.close()


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "form"),
    [
        ("libx265", "yuv420p10le", "mp4"),
        ("libx264", "yuv444p", "mp4"),
        ("mpeg4", "yuv420p", "mp4"),
        ("libx264", "yuv420p", "matroska"),
    ],
)
def test_a_copy_plays(
    chromium: Browser, tmp_path: Path, codec: str, pix_fmt: str, form: str
) -> None:
    options = QUIET if codec == "libx265" else {}
    source = film(
        tmp_path / "given", form, codec, pix_fmt, frames=32, with_sound="aac", options=options
    )
    mime = "video/x-matroska" if form == "matroska" else "video/mp4"

    assert not playable.plays(source, mime)
    assert playable.copy_apart(source, tmp_path / "copy.mp4") == ""

    told, width, height, seconds = played(chromium, tmp_path, "copy.mp4")
    assert (told, width, height) == ("played", 64, 48)
    assert seconds == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize(
    ("codec", "form", "mime"),
    [
        ("libx264", "mp4", "video/mp4"),
        ("libvpx-vp9", "webm", "video/webm"),
        ("libvpx", "webm", "video/webm"),
    ],
)
def test_what_is_said_to_play_does(
    chromium: Browser, tmp_path: Path, codec: str, form: str, mime: str
) -> None:
    source = film(tmp_path / f"given.{form}", form, codec, frames=32)

    assert playable.plays(source, mime)
    assert played(chromium, tmp_path, source.name)[0] == "played"
