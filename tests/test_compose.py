"""The compose files, held against our settings and commands without an engine to run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from studio.practice import PracticeServer
from studio.settings import PROJECT, Settings, load

FILES = ("docker-compose.yml", "docker-compose.full.yml", "docker-compose.worker.yml")
SERVICE_KEYS = {
    "build", "command", "depends_on", "environment", "extra_hosts", "healthcheck", "image", "init",
    "ports", "restart", "stop_grace_period", "volumes",
}  # fmt: skip
CHECK_KEYS = {"test", "interval", "timeout", "start_period", "retries"}
SPAN = re.compile(r"\d+(ms|s|m|h)")
GIVEN = {
    "STUDIO_SECRET": "a secret of some length",
    "DB_PASSWORD": "p@ss word/%",
    "REDIS_PASSWORD": "another one",
    "DATABASE_URL": "mysql://studio:word@10.0.0.2/studio",
    "REDIS_URL": "redis://:word@10.0.0.2:6379/0",
    "SHARED_DATA": "/srv/data",
    "SHARED_OUTPUTS": "/srv/outputs",
}


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / name).read_text("utf-8"))
    return found


def services(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose(name)["services"]
    return found


EVERY = [(name, service) for name in FILES for service in services(name)]
OURS = [(name, one) for name, one in EVERY if services(name)[one].get("build")]


def filled(text: str) -> str:
    """Put in what stands in `.env`, as compose does: `${NAME:-default}` and `${NAME:?why}`."""

    def value(found: re.Match[str]) -> str:
        name, kind, rest = found.groups()
        return GIVEN.get(name) or (rest if kind == ":-" else "")

    return re.sub(r"\$\{(\w+)(:-|:\?)([^}]*)\}", value, text)


def environment(name: str, service: str) -> dict[str, str]:
    given = services(name)[service].get("environment", {})
    return {key: filled(str(value)) for key, value in given.items()}


@pytest.mark.parametrize(("name", "service"), EVERY)
def test_a_service_says_only_what_compose_knows(name: str, service: str) -> None:
    said = services(name)[service]
    check = said.get("healthcheck", {})

    assert set(said) <= SERVICE_KEYS
    assert set(check) <= CHECK_KEYS
    assert said["restart"] == "unless-stopped"
    spans = [check.get(key) for key in ("interval", "timeout", "start_period")]
    spans.append(said.get("stop_grace_period"))
    assert all(SPAN.fullmatch(span) for span in spans if span)


@pytest.mark.parametrize("name", FILES)
def test_every_volume_that_is_used_is_declared(name: str) -> None:
    used = {
        volume.partition(":")[0]
        for service in services(name).values()
        for volume in map(filled, service.get("volumes", ()))
    }

    assert {volume for volume in used if "/" not in volume} == set(compose(name)["volumes"])


@pytest.mark.parametrize("name", FILES)
def test_what_is_depended_on_is_there_and_has_a_health_check(name: str) -> None:
    for service in services(name).values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert services(name)[other]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize(("name", "service"), OURS)
def test_what_is_set_for_our_containers_are_settings_that_load(
    name: str, service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = environment(name, service)
    assert {key.lower() for key in given} <= set(Settings.model_fields)
    for key, value in given.items():
        monkeypatch.setenv(key, value)

    settings = load(
        env_file=None, data_dir=tmp_path / "d", outputs_dir=tmp_path / "o", log_dir=tmp_path / "l"
    )

    shared = name != "docker-compose.yml"
    assert settings.database_url.startswith("mysql://" if shared else "sqlite:///")
    assert settings.redis_url.startswith("redis://" if shared else "")
    assert settings.studio_workers > 0 or service == "web"


@pytest.mark.parametrize(("name", "service"), OURS)
def test_our_containers_write_only_into_volumes(name: str, service: str) -> None:
    places = {filled(v).rpartition(":")[2] for v in services(name)[service]["volumes"]}

    assert places == {"/app/data", "/app/outputs", "/app/logs"}


def test_without_its_secrets_the_full_studio_does_not_start() -> None:
    text = (PROJECT / "docker-compose.full.yml").read_text("utf-8")

    assert set(re.findall(r"\$\{(\w+):\?", text)) == {
        "STUDIO_SECRET",
        "DB_PASSWORD",
        "REDIS_PASSWORD",
    }
    ports = {name: one["ports"] for name, one in services(FILES[1]).items() if "ports" in one}
    assert set(ports) == {"web"}, "database and Redis are reached from inside only"


@pytest.mark.parametrize(("name", "service"), [pair for pair in OURS if pair[1] == "worker"])
def test_a_worker_is_started_by_our_command_and_asked_by_our_check(name: str, service: str) -> None:
    worker = services(name)[service]

    assert worker["command"] == ["python", "-m", "studio", "worker"]
    assert worker["healthcheck"]["test"] == ["CMD", "python", "-m", "studio.alive"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a container, with a ComfyUI beside it."""
    with PracticeServer(pace_s=0.01) as practice:
        yield {
            **os.environ,
            "COMFY_URLS": practice.url,
            "DATA_DIR": str(tmp_path / "data"),
            "OUTPUTS_DIR": str(tmp_path / "outputs"),
            "LOG_DIR": str(tmp_path / "logs"),
        }


def test_the_check_of_a_worker_tells_a_living_one_from_none(place: dict[str, str]) -> None:
    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "studio.alive"]
        return subprocess.run(
            command, cwd=PROJECT, env=place, capture_output=True, text=True, timeout=60, check=False
        )

    log = Path(place["LOG_DIR"]) / "worker.log"
    command = [sys.executable, *services(FILES[1])["worker"]["command"][1:]]
    worker = subprocess.Popen(command, cwd=PROJECT, env=place, stderr=subprocess.DEVNULL)
    try:
        for _ in range(30):
            alive = check()
            if alive.returncode == 0:
                break
        assert alive.returncode == 0, alive.stderr
        worker.terminate()
        assert worker.wait(timeout=30) == 0
    finally:
        worker.kill()
        worker.wait(timeout=10)

    gone = check()
    assert gone.returncode == 1
    assert "heard" in gone.stderr
    assert "worker ready" in log.read_text("utf-8")


@pytest.mark.parametrize("name", FILES)
def test_compose_itself_takes_the_file(name: str) -> None:
    docker = shutil.which("docker")
    has_compose = (
        docker
        and subprocess.run(
            [docker, "compose", "version"], capture_output=True, timeout=60, check=False
        ).returncode
        == 0
    )
    if not has_compose:
        pytest.skip("NOT TESTED: no docker compose here, so only our own reading of the file is")
    done = subprocess.run(
        [docker, "compose", "--env-file", "/dev/null", "-f", name, "config", "--quiet"],
        cwd=PROJECT,
        env={**os.environ, **GIVEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
