"""The host's commands through their door: what they print, what they write, how they end."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from PIL import Image, PngImagePlugin
from typer.main import get_command
from typer.testing import CliRunner, Result

from studio import __version__
from studio.cli import app
from studio.engine.jobs import State
from studio.engine.oversight import HOST
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.chain.house import opened, wait_until
from tests.servers import MariaDB

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "example.png"}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
}
SHIPPED = [
    PROJECT / "workflows" / name
    for workflow in ("text_to_image", "text_to_image_checkpoint", "image_blend_pixel")
    for name in (f"{workflow}.yaml", f"{workflow}.json")
] + [PROJECT / "workflows" / "models.yaml"]
READMES = ("README.md", "README.zh-TW.md")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.01) as server:
        yield server


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house by the environment, as a host would set it up, in a folder of its own."""
    workflows = tmp_path / "workflows"
    workflows.mkdir()
    for path in SHIPPED:
        (workflows / path.name).write_bytes(path.read_bytes())
    for name in ("data", "outputs", "log", "workflows"):
        monkeypatch.setenv(f"{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path


@pytest.fixture
def run(folders: Path) -> Run:
    def call(*words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture
def on(practice: PracticeServer, monkeypatch: pytest.MonkeyPatch) -> PracticeServer:
    monkeypatch.setenv("COMFY_URLS", practice.url)
    return practice


def written(folder: Path, data: Any, name: str = "my graph.json") -> Path:
    path = folder / name
    path.write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
    return path


# --- the door ---


def test_version_is_printed_and_no_command_needs_gradio() -> None:
    code = (
        "import sys; import studio.cli, studio.worker, studio.doctor, studio.monitor;"
        "import studio.importing, studio.fetching; assert 'gradio' not in sys.modules;"
        "sys.argv = ['studio', 'version']; studio.cli.app()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == __version__


@pytest.mark.parametrize("readme", READMES)
def test_readme_names_every_command(readme: str) -> None:
    text = (PROJECT / readme).read_text("utf-8")
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}

    assert {name for name in commands if f"**{name}**" not in text} == set()
    assert "**models**" in text


def ways(command: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Name every command, those of groups with the group before them."""
    yield way
    for name, below in getattr(command, "commands", {}).items():
        yield from ways(below, (*way, name))


@pytest.mark.parametrize("asked", [*ways(get_command(app))], ids=" ".join)
def test_help_speaks_the_language_of_the_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")

    done = run(*asked, "--help")

    assert done.exit_code == 0, done.output
    told = [line for line in done.output.splitlines() if "│" in line or line.startswith(" ")]
    left = {word for line in told for word in re.findall(r"[A-Z][a-z]+ [a-z]+ [a-z]+", line)}
    assert left == set()
    assert "顯示這份說明" in done.output.replace("\n", "")


def test_a_bad_setting_ends_with_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDIO_PORT", "many")

    done = run("models", "list")

    assert done.exit_code == 1
    assert "STUDIO_PORT" in done.output
    assert "Traceback" not in done.output


# --- doctor ---


def test_the_doctor_goes_from_settings_to_a_job(
    run: Run, on: PracticeServer, folders: Path
) -> None:
    done = run("doctor", "--lang", "en")

    assert done.exit_code == 0, done.output
    for part in (on.url, "0.8.0", "z_image_turbo_bf16.safetensors", "Apache-2.0", "All is well"):
        assert part in done.output
    assert done.output.count("✓") >= 8
    assert on.posted
    assert not list((folders / "outputs").rglob("*.png"))


def test_the_doctor_speaks_chinese(run: Run, on: PracticeServer) -> None:
    done = run("doctor", "--no-job", "--lang", "zh-TW")

    assert done.exit_code == 0, done.output
    assert "一切正常" in done.output
    assert not re.search(r"\b(?:cannot|missing|can be|is there)\b", done.output)


def test_the_doctor_names_broken_manifests_with_file_line_and_reason(
    run: Run, on: PracticeServer, folders: Path
) -> None:
    manifest = folders / "workflows" / "odd.yaml"
    manifest.write_text("name: odd\ntab: odd\ntitle: {en: Odd}\ncategory: nonsense\n", "utf-8")

    done = run("doctor", "--no-job")

    assert done.exit_code == 1
    assert re.search(r"✗.*odd\.yaml.*Line 4: .*category", done.output)


def test_the_doctor_says_which_server_is_away_and_how_to_mend_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.build import _free_port

    monkeypatch.setenv("COMFY_URLS", f"http://127.0.0.1:{_free_port()}")

    done = run("doctor")

    assert done.exit_code == 1
    assert "✗ http://127.0.0.1" in done.output
    assert "COMFY_URLS" in done.output


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("COMFY_SLOTS", "none", "COMFY_SLOTS"),
        ("DATABASE_URL", "mysql://u:secret@127.0.0.1:1/x", "DATABASE_URL"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "REDIS_URL"),
    ],
)
def test_the_doctor_says_what_else_is_broken(
    run: Run,
    on: PracticeServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(name, value)

    done = run("doctor", "--no-job")

    assert done.exit_code == 1
    assert "✗" in done.output
    assert said in done.output
    assert "secret" not in done.output


def test_the_doctor_tells_a_job_that_fails_and_one_that_never_ends(run: Run, on: Any) -> None:
    on.faults.fail(node="SaveImage", exception_type="ValueError", message="no such place")
    failed = run("doctor")
    on.faults.hold("SaveImage")
    late = run("doctor", "--job-seconds", "2")
    on.faults.release()

    assert failed.exit_code == late.exit_code == 1
    assert "no such place" in failed.output
    assert "2 s" in late.output


def test_the_doctor_and_the_monitor_know_the_other_home(
    run: Run,
    on: PracticeServer,
    folders: Path,
    mariadb: MariaDB,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MariaDB and Redis, a worker with another secret, and its job's steps through Redis."""
    home = {"database_url": mariadb.new_database(), "redis_url": redis_url}
    for name, value in home.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("STUDIO_SECRET", "this process has this secret")
    well = run("doctor")
    assert well.exit_code == 0, well.output
    for part in ("mysql", "Redis", "No worker answers", "image_blend", "All is well"):
        assert part in well.output

    other = {"studio_secret": "and the worker another one", **home}
    with opened(folders / "elsewhere", comfy_urls=(on.url,), **other) as house:
        on.faults.hold("VAEDecode")
        job = house.order()
        on.wait_for("node:VAEDecode")
        broken, seen = run("doctor", "--no-job"), run("monitor", "--once")
        on.faults.release()
        house.ended(job)

    assert broken.exit_code == 1
    assert re.search(r"✗ Worker .* has another STUDIO_SECRET", broken.output)
    assert "and the worker" not in broken.output
    for part in (job.job_id[:8], "text_to_image_checkpoint", "0.8.0", "%", "Decode"):
        assert part in seen.output, seen.output


# --- jobs ---


@pytest.mark.parametrize("full", [False, True], ids=["sqlite", "mariadb and redis"])
def test_a_host_lists_jobs_lets_one_go_first_and_stops_one_beside_the_running_studio(
    run: Run,
    on: PracticeServer,
    folders: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
) -> None:
    home: dict[str, Any] = {}
    if full:
        home["database_url"] = request.getfixturevalue("mariadb").new_database()
        home["redis_url"] = request.getfixturevalue("redis_url")
    for name, value in home.items():
        monkeypatch.setenv(name.upper(), value)
    on.faults.hold("sampler")
    with opened(folders, comfy_urls=(on.url,), comfy_slots=1, **home) as house:
        running = house.order(seed="1")
        on.wait_for("held:sampler")
        first, second = house.order(seed="2"), house.order(seed="3")

        moved = run("jobs", "priority", second.job_id)
        listed, chinese = run("jobs", "list"), run("jobs", "list", "--lang", "zh-TW")
        stopped = run("jobs", "cancel", running.job_id)
        unknown = run("jobs", "cancel", "nowhere")
        deeds = [(one.admin, one.act, one.about) for one in house.studio.people.deeds()]
        house.follow(running, until=lambda n: n.state.ended or n.phase == "phase.cancelling")
        on.faults.release()
        ends = [house.ended(job) for job in (running, first, second)]

    assert moved.exit_code == listed.exit_code == stopped.exit_code == 0, moved.output
    assert all(job.job_id in listed.output for job in (running, first, second))
    assert "a cat" not in listed.output
    assert "等待中" in chinese.output
    assert unknown.exit_code == 1
    assert [job.state for job in ends] == [State.CANCELLED, State.COMPLETED, State.COMPLETED]
    assert ends[2].started_us < ends[1].started_us
    assert deeds == [(HOST, "cancel", running.job_id), (HOST, "priority", second.job_id)]


# --- models ---


def test_models_are_listed_with_size_and_licence(run: Run) -> None:
    done = run("models", "list")

    assert done.exit_code == 0
    for part in ("z_image_turbo_bf16.safetensors", "11.46 GB", "CreativeML", "diffusion_models"):
        assert part in done.output


def test_models_get_tells_an_unknown_workflow_and_one_without_files(
    run: Run, tmp_path: Path
) -> None:
    unknown = run("models", "get", "nothing", "--into", tmp_path)
    bare = run("models", "get", "image_blend_pixel", "--into", tmp_path)

    assert (unknown.exit_code, bare.exit_code) == (1, 0)
    assert "nothing" in unknown.output


def test_models_get_refuses_before_the_first_byte_what_would_not_fit(
    run: Run, folders: Path, tmp_path: Path
) -> None:
    models = folders / "workflows" / "models.yaml"
    models.write_text(models.read_text("utf-8").replace("11.46", "99000000"), "utf-8")

    done = run("models", "get", "text_to_image", "--into", tmp_path / "models")

    assert done.exit_code == 1
    assert "are free" in done.output
    assert list((tmp_path / "models").rglob("*.part")) == []


# --- import ---


def test_import_writes_two_files_that_the_app_loads_and_runs(
    run: Run, on: PracticeServer, folders: Path
) -> None:
    done = run("import", written(folders, GRAPH))
    picture = folders / "red.png"
    Image.new("RGB", (8, 8), "red").save(picture)

    assert done.exit_code == 0, done.output
    assert "my_graph.yaml" in done.output
    with opened(folders, comfy_urls=(on.url,), workflows_dir=folders / "workflows") as house:
        job = house.studio.desk.submit("g-ann", "my_graph", {"image": picture})
        [kept] = house.paths(house.ended(job))
        assert Image.open(kept).getpixel((0, 0)) == (0, 255, 255)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"nodes": [], "links": []}, "Export (API)"),
        ({}, "no nodes"),
        ("{", "not JSON"),
        (GRAPH | {"2": {"class_type": "ImageInvert", "inputs": {"image": ["9", 0]}}}, "'9'"),
    ],
    ids=["page format", "empty", "broken", "dangling"],
)
def test_import_says_what_is_wrong_and_writes_nothing(
    run: Run, folders: Path, data: Any, said: str
) -> None:
    before = sorted((folders / "workflows").iterdir())

    done = run("import", written(folders, data), "--lang", "en")

    assert done.exit_code == 1
    assert said in done.output
    assert sorted((folders / "workflows").iterdir()) == before


def test_import_takes_the_graph_out_of_a_picture(run: Run, folders: Path) -> None:
    held = PngImagePlugin.PngInfo()
    held.add_text("prompt", json.dumps(GRAPH))
    held.add_text("workflow", json.dumps({"nodes": [], "links": []}))
    Image.new("RGB", (4, 4)).save(folders / "ComfyUI_00001_.png", pnginfo=held)
    Image.new("RGB", (4, 4)).save(folders / "plain.png")

    done = run("import", folders / "ComfyUI_00001_.png", "--name", "from_picture")
    plain = run("import", folders / "plain.png")

    assert done.exit_code == 0, done.output
    assert (folders / "workflows" / "from_picture.yaml").exists()
    assert plain.exit_code == 1
    assert "metadata" in plain.output


def test_import_takes_the_graph_out_of_a_webp_and_a_video(run: Run, folders: Path) -> None:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{json.dumps(GRAPH)}"  # as SaveAnimatedWEBP writes it
    Image.new("RGB", (4, 4)).save(folders / "moving.webp", exif=exif)
    options = {"movflags": "use_metadata_tags"}  # as SaveVideo does
    with av.open(str(folders / "film.mp4"), "w", container_options=options) as film:
        film.metadata["prompt"] = json.dumps(GRAPH)
        stream: Any = film.add_stream("libx264", rate=4)
        stream.width = stream.height = 16
        film.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        film.mux(stream.encode(None))

    for name in ("moving.webp", "film.mp4"):
        done = run("import", folders / name)

        assert done.exit_code == 0, done.output
        assert (folders / "workflows" / f"{Path(name).stem}.yaml").exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"nodes": [], "links": []}, "這是 ComfyUI 頁面的格式"),
        ({}, "節點圖裡沒有節點"),
        ("{", "這不是 JSON"),
        (GRAPH | {"2": {"class_type": "ImageInvert", "inputs": {"image": ["9", 0]}}}, "沒有它"),
    ],
    ids=["page format", "empty", "broken", "dangling"],
)
def test_import_says_what_is_wrong_in_the_language_of_the_terminal(
    run: Run, folders: Path, monkeypatch: pytest.MonkeyPatch, data: Any, said: str
) -> None:
    monkeypatch.setenv("LC_ALL", "zh_TW.UTF-8")

    done = run("import", written(folders, data))

    assert done.exit_code == 1
    assert said in done.output


def test_import_never_overwrites(run: Run, folders: Path) -> None:
    file = written(folders, GRAPH, "text_to_image.json")
    before = (folders / "workflows" / "text_to_image.yaml").read_bytes()

    done = run("import", file)

    assert done.exit_code == 1
    assert "--name" in done.output
    assert (folders / "workflows" / "text_to_image.yaml").read_bytes() == before


def told(readme: str) -> list[tuple[str, str]]:
    """Give the code of "Add a workflow", kind and text, in its order."""
    text = (PROJECT / readme).read_text("utf-8")
    section = re.search(r"^## (?:Add a workflow|加入工作流程)\n(.*?)^## ", text, re.M | re.S)
    assert section
    return re.findall(r"^```(\w+)\n(.*?)^```", section[1], re.M | re.S)


def test_readme_add_a_workflow_works_word_by_word(folders: Path, on: PracticeServer) -> None:
    assert told(READMES[0]) == told(READMES[1])
    (_, graph), (_, command), (_, manifest) = told(READMES[0])
    (folders / "invert.json").write_text(graph, "utf-8")

    words = shlex.split(command.replace(".venv/bin/python", shlex.quote(sys.executable)))
    done = subprocess.run(
        words,
        cwd=folders,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    drafted = yaml.safe_load((folders / "workflows" / "invert.yaml").read_text("utf-8"))
    shown = yaml.safe_load(manifest)
    assert drafted | {"title": 0, "parameters": 0} == shown | {"title": 0, "parameters": 0}
    assert [p["bind"] for p in drafted["parameters"]] == [p["bind"] for p in shown["parameters"]]

    (folders / "workflows" / "invert.yaml").write_text(manifest, "utf-8")
    Image.new("RGB", (8, 8), "red").save(folders / "red.png")
    with opened(folders, comfy_urls=(on.url,), workflows_dir=folders / "workflows") as house:
        assert house.studio.catalog.tab("invert").title["zh-TW"] == "反轉色彩"
        job = house.studio.desk.submit("g-ann", "invert", {"image": folders / "red.png"})
        assert house.ended(job).state is State.COMPLETED


# --- monitor ---


def test_monitor_shows_a_running_job_of_another_process(
    run: Run, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        PracticeServer(pace_s=0.02) as practice,
        opened(folders, comfy_urls=(practice.url,)) as house,
    ):
        monkeypatch.setenv("COMFY_URLS", practice.url)
        monkeypatch.setenv("DATA_DIR", str(folders / "data"))
        practice.faults.hold("VAEDecode")
        job = house.order()
        practice.wait_for("node:VAEDecode")
        wait_until(lambda: list((folders / "data" / "live").glob("*.json")))
        done, chinese = (run("monitor", "--once", "--lang", lang) for lang in ("en", "zh-TW"))
        practice.faults.release()
        house.ended(job)

    assert done.exit_code == 0, done.output
    for part in (job.job_id[:8], "text_to_image_checkpoint", "0.8.0", "%"):
        assert part in done.output
    assert "online" in done.output
    assert "線上" in chinese.output
    assert not list((folders / "data" / "live").glob("*.json"))


# --- worker ---


def test_worker_runs_jobs_and_ends_on_sigterm(folders: Path, on: PracticeServer) -> None:
    with opened(folders, comfy_urls=(on.url,), studio_workers=0) as house:
        process = subprocess.Popen(
            [sys.executable, "-m", "studio", "worker"],
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert house.ended(house.order(), timeout_s=40).state is State.COMPLETED
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert "job completed" in (folders / "log" / "worker.log").read_text("utf-8")
