"""A whole studio with its page on a free port, and a practice ComfyUI that tests may steer."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.build import Studio, build
from studio.practice import PracticeServer
from studio.settings import PROJECT, load
from studio.tabs import StudioBlocks, make_demo
from studio.web.language import COOKIE as LANGUAGE_COOKIE
from tests import proven

MODELS = {
    "diffusion_models": ["z_image_turbo_bf16.safetensors"],
    "text_encoders": ["qwen_3_4b.safetensors"],
    "vae": ["ae.safetensors"],
    "checkpoints": ["v1-5-pruned-emaonly-fp16.safetensors"],
    "loras": ["ink.safetensors"],
}
CHECKPOINT = MODELS["checkpoints"][0]


@dataclass
class Site:
    """A running page and the parts behind it."""

    url: str
    studio: Studio
    demo: StudioBlocks
    practice: PracticeServer | None

    @contextmanager
    def visitor(self, *, language: str = "en") -> Iterator[httpx.Client]:
        """Be a new browser that has opened the page."""
        with httpx.Client(base_url=self.url, timeout=10, trust_env=False) as visitor:
            visitor.cookies.set(LANGUAGE_COOKIE, language)
            visitor.get("/").raise_for_status()
            yield visitor

    def person(self, visitor: httpx.Client) -> str:
        """Tell who a visitor is."""
        person = self.studio.guests.read(visitor.cookies["studio_person"])
        assert person is not None
        return person


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _launched(studio: Studio) -> tuple[StudioBlocks, str]:
    """Draw and launch, inside a running loop: else Gradio makes loops of its own, never closed."""
    demo = make_demo(studio)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True)
    return demo, url


@contextmanager
def served(folder: Path, practice: PracticeServer | None = None, **settings: Any) -> Iterator[Site]:
    """Serve a studio on a practice ComfyUI; without one in practice mode, or as `settings` say.

    Gradio keeps its folder by an environment name, which is given back at the end.
    """
    if practice is not None:
        settings["comfy_urls"] = (practice.url,)
    before = os.environ.pop("GRADIO_TEMP_DIR", None)
    proven.remind(folder / "data")
    studio = build(
        load(
            env_file=None,
            data_dir=folder / "data",
            outputs_dir=folder / "outputs",
            log_dir=folder / "logs",
            workflows_dir=settings.pop("workflows_dir", PROJECT / "workflows"),
            studio_port=free_port(),
            **settings,
        )
    )
    proven.learn(folder / "data")
    with ThreadPoolExecutor(1) as pool:  # Playwright's own loop may be running in this thread
        demo, url = pool.submit(asyncio.run, _launched(studio)).result()
    try:
        yield Site(url.rstrip("/"), studio, demo, practice)
    finally:
        demo.close(verbose=False)
        os.environ.pop("GRADIO_TEMP_DIR", None)
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


@pytest.fixture(name="pace_s", scope="module")
def usual_pace() -> float:
    """Seconds that a step takes on the practice ComfyUI."""
    return 0.02


@pytest.fixture(name="site", scope="module")
def a_site(tmp_path_factory: pytest.TempPathFactory, pace_s: float) -> Iterator[Site]:
    """A page on a practice ComfyUI, one for all tests of a file."""
    practice = PracticeServer(pace_s=pace_s, models=MODELS)
    with practice, served(tmp_path_factory.mktemp("site"), practice) as site:
        yield site


@pytest.fixture(autouse=True)
def as_the_site_wants_it(
    request: pytest.FixtureRequest, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Keep the folder Gradio was told of, and forget what a test ordered of the practice server."""
    if "site" not in request.fixturenames:
        yield
        return
    site: Site = request.getfixturevalue("site")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(site.demo.folder))
    yield
    if site.practice is not None:
        site.practice.faults.clear()
