"""`demo.launch()` brings the whole thing, whoever calls it, and lives and dies with the studio."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from studio.tabs.app import FOLLOWERS
from tests.tabs.site import PROJECT, Site, free_port, served

MANIFEST = """
name: invert
tab: invert
title: {en: Invert, zh-TW: 反相}
category: tool
graph: invert.json
parameters:
  - {name: image, type: image, required: true, bind: [load.image], label: {en: Picture}}
outputs: [{node: save, kind: image}]
"""
GRAPH = """
{"load": {"class_type": "LoadImage", "inputs": {"image": ""}},
 "invert": {"class_type": "ImageInvert", "inputs": {"image": ["load", 0]}},
 "save": {"class_type": "SaveImage", "inputs": {"images": ["invert", 0], "filename_prefix": "x"}}}
"""


def test_a_thousand_may_watch_at_once(site: Site) -> None:
    assert site.demo.max_threads >= FOLLOWERS == 1000


def test_nothing_is_recorded_in_the_browser_or_told_to_others(site: Site) -> None:
    assert site.demo.run_history is False
    assert site.demo.analytics_enabled is False
    assert site.demo.allowed_paths == []


def test_a_visitors_page_is_written_without_a_look_at_living_parts(site: Site) -> None:
    """A quoted word in a script of `gr.HTML` that is named as one of its parameters is an event.

    With it Gradio would copy the whole house for each page it gives out: a third of a second.
    """
    for component in site.demo.config["components"]:
        assert copy.deepcopy(component["props"]).keys() == component["props"].keys()


def test_no_event_of_the_page_lets_fields_be_looked_up_for_its_progress(site: Site) -> None:
    events = site.demo.config["dependencies"]
    own = [event for event in events if event["api_visibility"] == "private"]

    assert own
    assert all(event["show_progress_on"] == [] for event in own)


def test_uploads_lie_in_the_studios_own_folder(site: Site) -> None:
    answer = httpx.post(
        f"{site.url}/gradio_api/upload", files={"files": ("a.png", b"x")}, trust_env=False
    )

    assert Path(answer.json()[0]).is_relative_to(site.studio.settings.data_dir)


@pytest.mark.parametrize("path", ["/etc/hostname", "data/secret", "..%2f..%2fetc%2fhostname"])
def test_no_file_of_the_machine_can_be_fetched(site: Site, path: str) -> None:
    settings = site.studio.settings
    path = path.replace("data/secret", str(settings.data_dir / "secret"))

    answer = httpx.get(f"{site.url}/gradio_api/file={path}", trust_env=False)

    assert answer.status_code in (403, 404)


def test_a_workflow_dropped_in_becomes_a_tab_and_an_endpoint(tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    folder.mkdir()
    (folder / "invert.yaml").write_text(MANIFEST, "utf-8")
    (folder / "invert.json").write_text(GRAPH, "utf-8")

    with served(tmp_path, workflows_dir=folder, practice_pace=0.01) as site:
        config = httpx.get(f"{site.url}/config", trust_env=False).json()
        api = httpx.get(f"{site.url}/gradio_api/info", trust_env=False).json()

    ids = {component["props"].get("elem_id") for component in config["components"]}
    assert {"studio-invert-image", "studio-invert-generate"} <= ids
    assert "/invert" in api["named_endpoints"]


def test_closing_the_page_stops_the_studio(tmp_path: Path) -> None:
    with served(tmp_path, practice_pace=0.01) as site:
        practice = site.studio.practice
        assert practice is not None
        url = practice.url
        assert httpx.get(f"{url}/system_stats", trust_env=False).status_code == 200

    assert site.demo.programs.closing
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/system_stats", trust_env=False)


def test_a_tool_that_imports_demo_gets_the_whole_thing(tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import studio_app, httpx\n"
        "app, url, _ = studio_app.demo.launch(prevent_thread_lock=True, quiet=True)\n"
        "page = httpx.get(url, trust_env=False)\n"
        "assert 'studio_person' in page.headers['set-cookie'], page.headers\n"
        "assert 'studio-assets/page.css' in page.text\n"
        "assert httpx.get(url + 'api/health', trust_env=False).json()['status'] == 'ok'\n"
        "print(url)\n"
        "studio_app.demo.close(verbose=False)\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STUDIO_PORT": str(port),
        "DATA_DIR": str(tmp_path / "data"),
        "OUTPUTS_DIR": str(tmp_path / "outputs"),
        "LOG_DIR": str(tmp_path / "logs"),
    }

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"http://127.0.0.1:{port}/")


def test_the_address_under_a_proxy_is_respected(tmp_path: Path) -> None:
    with served(tmp_path, studio_root_path="/studio", practice_pace=0.01) as site:
        page = httpx.get(f"{site.url}/", trust_env=False)

    assert "studio_person" in page.headers["set-cookie"]
    assert 'href="studio-assets/page.css' in page.text
    assert "/studio" in page.text


def test_a_text_put_together_by_an_input_method_is_heard(site: Site) -> None:
    config = site.demo.config
    (text,) = (
        one["id"]
        for one in config["components"]
        if one["props"].get("elem_id") == "studio-virtual_human-text"
    )

    heard = [
        event
        for one in config["dependencies"]
        if str(one["api_name"]).startswith("unfold")
        for target, event in one["targets"]
        if target == text
    ]
    assert heard == ["change"]  # Gradio tells of an `input` where keys are pressed alone
