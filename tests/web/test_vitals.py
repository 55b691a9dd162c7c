"""Health and metrics through the door: for people, containers and monitors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from studio.build import build
from studio.settings import load
from studio.web.vitals import vital_routes
from tests.chain.house import wait_until
from tests.servers import MariaDB, start_mariadb
from tests.tabs.site import Site


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    server = start_mariadb()
    yield server
    server.stop()


def get(site: Site, path: str) -> httpx.Response:
    return httpx.get(f"{site.url}{path}", trust_env=False)


def test_health_tells_servers_workers_line_and_disk(site: Site) -> None:
    wait_until(lambda: site.studio.fleet.free_slots == 2)  # a test before may just have ended a job
    health = get(site, "/api/health").json()

    assert health["status"] == "ok"
    assert [server["online"] for server in health["servers"]] == [True]
    assert health["servers"][0]["reason"] == ""
    assert (health["waiting"], health["running"]) == (0, 0)
    assert health["disk_free_bytes"] > 0
    assert health["takes_jobs"] is True


def test_metrics_are_read_by_prometheus(site: Site) -> None:
    answer = get(site, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}

    assert answer.headers["content-type"].startswith("text/plain")
    assert {
        "studio_jobs_waiting",
        "studio_jobs_accepted",
        "studio_jobs_ended",
        "studio_job_seconds",
        "studio_job_wait_seconds",
        "studio_event_lag_seconds",
        "studio_server_online",
        "studio_server_queue_length",
        "studio_workers_online",
        "studio_disk_free_bytes",
    } <= set(families)
    (online,) = families["studio_server_online"].samples
    assert online.value == 1.0


def test_metrics_as_json_say_the_same(site: Site) -> None:
    metrics = get(site, "/api/metrics").json()

    assert metrics["servers"][0]["online"] is True
    assert metrics["duration_s"]["count"] == 0
    assert set(metrics) >= {"jobs", "wait_s", "event_lag_s", "waiting", "running"}


def test_nothing_in_the_metrics_names_a_person(site: Site) -> None:
    httpx.get(site.url, trust_env=False)

    assert "g-" not in get(site, "/metrics").text


def test_health_is_503_while_the_database_is_away(own_mariadb: MariaDB, tmp_path: Path) -> None:
    studio = build(
        load(
            env_file=None,
            database_url=own_mariadb.new_database(),
            data_dir=tmp_path / "data",
            outputs_dir=tmp_path / "outputs",
            log_dir=tmp_path / "logs",
            comfy_urls="http://127.0.0.1:9",
            studio_workers=0,
        )
    )
    app = Starlette(routes=vital_routes(studio.desk))

    async def ask(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://studio") as client:
            return await client.get(path)

    assert asyncio.run(ask("/api/health")).status_code == 200
    own_mariadb.kill()
    answers = [asyncio.run(ask(path)) for path in ("/metrics", "/api/health")]
    studio.database.close()
    studio.hurried.close()

    assert [answer.status_code for answer in answers] == [503, 503]
    assert answers[1].json()["error"]["code"] == "database_away"
    assert answers[0].headers["retry-after"] == "5"
