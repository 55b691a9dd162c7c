"""What a newcomer and a host start: make, the script, the container, the examples of the README."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import pkgutil
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest
from PIL import Image

import studio.engine
import studio.practice
from studio.settings import PROJECT, Settings

START_S = 90
READMES = ("README.md", "README.zh-TW.md")
TEST_PACKAGES = {"chromium", "curl", "mariadb-server-core", "fonts-noto-cjk"}


def read(name: str) -> str:
    return (PROJECT / name).read_text("utf-8")


# --- the running app ----------------------------------------------------------------------------


@dataclass
class App:
    url: str
    process: subprocess.Popen[str]
    said: list[str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """The environment of a started app, with its folders away from the project's."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    folders = {f"{name}_DIR": str(folder / name.lower()) for name in ("DATA", "OUTPUTS", "LOG")}
    return {**kept, **folders, **{name: str(value) for name, value in settings.items()}}


def lines_of(process: subprocess.Popen[str]) -> queue.Queue[str | None]:
    """Read what a process says in a thread, so that waiting for it has an end. None = it ended."""
    said: queue.Queue[str | None] = queue.Queue()

    def pump() -> None:
        assert process.stdout
        with process.stdout:
            for line in process.stdout:
                said.put(line.rstrip())
        said.put(None)

    threading.Thread(target=pump, daemon=True).start()
    return said


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with only what the Dockerfile copies: no `.env` of a developer, no tests."""
    folder = tmp_path_factory.mktemp("image")
    for source in copied():
        if (PROJECT / source).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / source, folder / source, ignore=ignore)
        else:
            shutil.copy(PROJECT / source, folder)
    return folder


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, image: Path) -> Iterator[App]:
    """The app as `python studio_app.py` starts it from another folder, once it says its address."""
    folder = tmp_path_factory.mktemp("app")
    url = f"http://127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-u", str(image / "studio_app.py")],
        cwd=folder,
        env=environment(folder, STUDIO_PORT=url.rpartition(":")[2], PRACTICE_PACE=0),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines, said = lines_of(process), []
    try:
        while not said or url not in said[-1]:
            line = lines.get(timeout=START_S)
            assert line is not None, "the app ended:\n" + "\n".join(said)
            said.append(line)
        yield App(url, process, said)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def test_the_app_started_from_elsewhere_with_no_settings_prints_its_address(app: App) -> None:
    assert any(app.url in line for line in app.said)
    assert app.process.poll() is None


def test_a_bad_setting_ends_the_start_with_one_line(image: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(image / "studio_app.py")],
        env=environment(tmp_path, STUDIO_PORT="seven"),
        capture_output=True,
        text=True,
        timeout=START_S,
    )

    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("STUDIO_PORT=seven ")
    assert "a whole number from 1 to 65535" in done.stderr


# --- examples of the README ---------------------------------------------------------------------


def examples(readme: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", read(readme), re.DOTALL | re.MULTILINE)


def test_both_readmes_show_the_same_examples() -> None:
    for language in ("python", "sh", "json", "yaml", "bat"):
        assert examples(READMES[0], language) == examples(READMES[1], language)


@pytest.mark.parametrize("number", range(2), ids=["text_to_image", "image_blend"])
def test_the_python_examples_run_as_they_stand(app: App, tmp_path: Path, number: int) -> None:
    for name, colour in (("base.png", "navy"), ("light.png", "orange")):
        Image.new("RGB", (64, 48), colour).save(tmp_path / name)
    code = examples("README.md", "python")[number].replace("http://127.0.0.1:7860", app.url)

    done = subprocess.run(
        [sys.executable, "-c", code + "\nimport json; print(json.dumps([files, info]))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    files, info = json.loads(done.stdout.splitlines()[-1])
    assert files
    assert all(Path(file).stat().st_size for file in files)
    assert info["status"] == "completed"
    assert number == 1 or info["seed"] == "42"


def test_the_curl_example_runs_as_it_stands(app: App) -> None:
    script = next(text for text in examples("README.md", "sh") if "$EVENT_ID" in text)
    first, second = script.replace("http://127.0.0.1:7860", app.url).split("curl -sN")
    whole = f"EVENT_ID=$({first.strip()} | sed 's/.*: *\"//; s/\".*//')\ncurl -sN{second}"

    assert shutil.which("curl")
    done = subprocess.run(["bash", "-c", whole], capture_output=True, text=True, timeout=120)

    assert "event: complete" in done.stdout, done.stdout + done.stderr
    assert '"42"' in done.stdout.replace("\\", "")


def test_the_example_workflow_becomes_a_tab_with_no_python_written(tmp_path: Path) -> None:
    from studio.engine.workflow import catalog

    graph = next(text for text in examples("README.md", "json"))
    manifest = next(text for text in examples("README.md", "yaml"))
    (tmp_path / "invert.json").write_text(graph, "utf-8")
    (tmp_path / "invert.yaml").write_text(manifest, "utf-8")

    found = catalog.load(tmp_path)

    assert found.broken == ()
    assert [tab.name for tab in found.tabs] == ["invert"]


# --- the container ------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", read("Dockerfile"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def ordered(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def copied() -> list[str]:
    return [source for rest in ordered("COPY") for source in rest.split()[:-1]]


def environment_of_the_image() -> dict[str, str]:
    return dict(pair.split("=", 1) for rest in ordered("ENV") for pair in rest.split())


def left_out(path: str) -> bool:
    """Tell whether `.dockerignore` keeps a path out: the last rule that matches decides."""
    out = False
    for line in read(".dockerignore").splitlines():
        rule = line.strip().removeprefix("!")
        if rule and not rule.startswith("#") and _matches(rule, path):
            out = not line.startswith("!")
    return out


def _matches(rule: str, path: str) -> bool:
    above = ["/".join(path.split("/")[:depth]) for depth in range(1, path.count("/") + 2)]
    if rule.startswith("**/"):
        return any(fnmatch(part.rpartition("/")[2], rule[3:]) for part in above)
    return any("/" not in part and fnmatch(part, rule) for part in above) or rule in above


def test_what_the_image_copies_is_there_and_not_left_out() -> None:
    sources = copied()

    assert {"requirements.txt", "studio_app.py", "studio", "workflows"} == set(sources)
    assert [source for source in sources if not (PROJECT / source).exists()] == []
    assert [source for source in sources if left_out(source)] == []


def test_the_image_holds_all_that_the_app_reads() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=30
    ).stdout.splitlines()
    inside = [name for name in listed if not left_out(name)]

    assert {name.split("/")[0] for name in inside} == {
        "requirements.txt",
        "studio_app.py",
        "studio",
        "workflows",
    }
    assert [name for name in listed if name.startswith("studio/") and name not in inside] == []


@pytest.mark.parametrize(
    "path",
    [".env", "studio/.env", "data/secret", "outputs/2026/01/01/a.png", ".git/config", "logs/a"],
)
def test_no_secret_and_no_picture_gets_into_the_image(path: str) -> None:
    assert left_out(path)


def test_the_image_does_not_run_as_root() -> None:
    user = ordered("USER")[-1]

    assert user not in ("root", "0")
    assert f"useradd --create-home --uid 1000 {user}" in ordered("RUN")


def test_the_volumes_are_the_folders_that_the_app_writes_to() -> None:
    home = ordered("WORKDIR")[-1]
    defaults = {name: Settings.model_fields[name].default for name in ("data_dir", "outputs_dir")}

    volumes = json.loads(ordered("VOLUME")[0])

    assert volumes == [f"{home}/{folder}" for folder in defaults.values()]
    made = next(rest for rest in ordered("RUN") if rest.startswith("mkdir"))
    assert all(str(folder) in made.split("chown")[1] for folder in defaults.values())


def test_the_settings_of_the_image_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {k: v for k, v in environment_of_the_image().items() if k.startswith("STUDIO_")}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)

    made = Settings(_env_file=None)

    assert {name.lower() for name in ours} <= set(Settings.model_fields)
    assert (made.studio_host, str(made.studio_port)) == ("0.0.0.0", ordered("EXPOSE")[0])  # noqa: S104


def health_check() -> list[str]:
    python, *rest = json.loads(ordered("HEALTHCHECK")[0].partition("CMD ")[2])
    assert python == "python"
    return [sys.executable, *rest]


def test_the_health_check_passes_on_a_running_app(app: App) -> None:
    port = app.url.rpartition(":")[2]

    done = subprocess.run(health_check(), env={**os.environ, "STUDIO_PORT": port}, timeout=60)

    assert done.returncode == 0


def test_the_health_check_fails_when_nothing_answers() -> None:
    environment = {**os.environ, "STUDIO_PORT": str(free_port())}

    done = subprocess.run(health_check(), env=environment, capture_output=True, timeout=60)

    assert done.returncode != 0


def test_the_image_starts_the_app() -> None:
    assert json.loads(ordered("CMD")[0]) == ["python", "studio_app.py"]
    assert (PROJECT / "studio_app.py").is_file()


# --- requirements -------------------------------------------------------------------------------


def required(name: str) -> set[str]:
    names = re.findall(r"^([A-Za-z0-9_.-]+)", read(name), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", found).lower() for found in names if found != "-r"}


def imported(folder: Path) -> set[str]:
    """Distributions whose packages are imported anywhere under `folder`."""
    modules = set()
    for path in folder.rglob("*.py") if folder.is_dir() else [folder]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.split(".")[0])
    known = importlib.metadata.packages_distributions()
    return {
        re.sub(r"[-_.]+", "-", name).lower() for module in modules for name in known.get(module, [])
    }


def test_requirements_are_what_the_app_imports() -> None:
    used = imported(PROJECT / "studio") | imported(PROJECT / "studio_app.py")
    # These come with what we require, by their makers' own promise.
    with_others = {
        "annotated-types",  # pydantic
        "pydantic-core",  # pydantic
        "python-dotenv",  # pydantic-settings
        "multidict",  # aiohttp
        "urllib3",  # requests
        "anyio",  # starlette
        "starlette",  # gradio
        "fastapi",  # gradio
        "uvicorn",  # gradio
    }

    assert used - required("requirements.txt") - with_others == set()
    needed_unseen = {"python-multipart"}  # starlette reads forms with it, where it is there
    assert required("requirements.txt") - used - needed_unseen == set()


def test_every_installed_release_is_in_its_range() -> None:
    from packaging.requirements import Requirement

    lines = [
        Requirement(line)
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in read(name).splitlines()
        if line and not line.startswith(("-r", "#"))
    ]

    outside = {
        f"{line} (here {importlib.metadata.version(line.name)})"
        for line in lines
        if not line.specifier.contains(importlib.metadata.version(line.name), prereleases=True)
    }
    assert outside == set()


def test_engine_and_practice_start_without_loading_gradio() -> None:
    names = [
        module.name
        for package in (studio.engine, studio.practice)
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    ]
    code = "\n".join(
        [
            "import importlib, sys",
            f"for name in {names!r}: importlib.import_module(name)",
            "loaded = {'gradio', 'fastapi', 'starlette', 'uvicorn'} & set(sys.modules)",
            "sys.exit(' '.join(loaded) or 0)",
        ]
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr


# --- make ---------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with only what make reads."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(PROJECT / name, tmp_path / name)
    shutil.copytree(PROJECT / ".ci", tmp_path / ".ci")
    return tmp_path


def make(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make as a person does, also when the tests themselves are run by make."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(
        ["make", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_make_run_installs_once_and_again_when_requirements_change(checkout: Path) -> None:
    plan = make(checkout, "-n", "run").stdout
    assert "-m venv" in plan
    assert "install -r requirements.txt" in plan

    (checkout / ".venv").mkdir()
    for name in ("made.done", "run.done"):
        (checkout / ".venv" / name).touch()
    assert "install" not in make(checkout, "-n", "run").stdout

    later = (checkout / ".venv" / "run.done").stat().st_mtime + 10
    os.utime(checkout / "requirements.txt", (later, later))
    plan = make(checkout, "-n", "run").stdout
    assert "-m venv" not in plan
    assert "install -r requirements.txt" in plan


def test_make_without_a_python_says_which_one_is_needed(checkout: Path) -> None:
    done = make(checkout, "run", "PYTHON=")

    assert done.returncode != 0
    assert "Python 3.11 or later is needed" in done.stderr


@pytest.mark.parametrize(
    ("purpose", "ci", "code", "needed"),
    [
        ("tests", "", 0, TEST_PACKAGES),
        ("tests", "true", 1, TEST_PACKAGES),
        ("venv", "", 1, {"python3-venv"}),
    ],
)
def test_whoever_is_not_root_is_told_the_missing_packages(
    tmp_path: Path, purpose: str, ci: str, code: int, needed: set[str]
) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "grep").symlink_to(str(shutil.which("grep")))
    script = read(".ci/needs").replace("$PATH:/usr/sbin", "$PATH")  # nothing of this machine

    done = subprocess.run(
        ["/bin/sh", "-c", script, "needs", purpose],
        env={"PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == code
    told = re.search(r"sudo apt-get install (.+)", done.stderr)
    assert told
    assert needed <= set(told[1].split())


def test_every_program_that_a_test_looks_for_is_installed_by_make_test() -> None:
    sought = {
        name
        for path in (PROJECT / "tests").rglob("*.py")
        if path.parent.name != "real"
        for name in re.findall(r"""which\(["']([\w-]+)["']\)""", path.read_text("utf-8"))
    }

    # With mariadbd; in every Debian; an engine cannot be had everywhere, its test says so.
    there = {"mariadb-install-db", "mount", "docker"}
    assert {name for name in sought - there if name not in read(".ci/needs")} == set()


def test_ci_checks_and_tests_with_the_words_a_person_types() -> None:
    steps = read(".ci/run").splitlines()

    assert steps.index("make check") + 1 == steps.index("make test && exit")
    assert steps[-1].startswith("exec make test ")
    assert "--last-failed" in steps[-1]
