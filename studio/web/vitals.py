"""Health for people and containers, metrics for monitors: JSON, and Prometheus' text.

Open to everybody, so nothing here names a person, a prompt or a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from studio import texts
from studio.engine.desk import Desk
from studio.engine.health import Counted, Health, Metrics
from studio.errors import StudioError
from studio.web.language import language_of

Family = Metric


class Vitals:
    """The routes of one studio. All answer 503 while the database is away."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def health(self, request: Request) -> Response:
        """Tell how the house is: 200 while it takes jobs, be every ComfyUI away."""
        try:
            health = await anyio.to_thread.run_sync(self._desk.health)
        except StudioError as error:
            return _away(error, request)
        return JSONResponse({"status": "ok", **_health(health)})

    async def metrics(self, request: Request) -> Response:
        """Give the counts as JSON."""
        try:
            metrics = await anyio.to_thread.run_sync(self._desk.metrics)
        except StudioError as error:
            return _away(error, request)
        return JSONResponse(_metrics(metrics))

    async def prometheus(self, request: Request) -> Response:
        """Give the counts as Prometheus reads them."""
        try:
            metrics = await anyio.to_thread.run_sync(self._desk.metrics)
        except StudioError as error:
            return _away(error, request)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Families(metrics))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def vital_routes(desk: Desk) -> list[Route]:
    """List the routes of this file."""
    vitals = Vitals(desk)
    return [
        Route("/api/health", vitals.health, methods=["GET"]),
        Route("/api/metrics", vitals.metrics, methods=["GET"]),
        Route("/metrics", vitals.prometheus, methods=["GET"]),
    ]


def _away(error: StudioError, request: Request) -> Response:
    message, hint = texts.explain(error, language_of(request.cookies, request.headers))
    body = {"error": {"code": error.code, "message": message, "hint": hint}}
    return JSONResponse(body, status_code=error.status, headers={"retry-after": "5"})


def _health(health: Health) -> dict[str, Any]:
    return {
        "servers": [
            {
                "name": server.name,
                "online": server.online,
                "practice": server.stand_in,
                "version": server.version,
                "queue_length": server.queue_remaining,
                "in_use": server.in_use,
                "reason": server.reason,
            }
            for server in health.servers
        ],
        "workers": [
            {
                "name": worker.name,
                "online": worker.online,
                "places": worker.places,
                "running": worker.running,
            }
            for worker in health.workers
        ],
        "waiting": health.waiting,
        "running": health.running,
        "accepted": health.accepted,
        "disk_free_bytes": health.disk_free_bytes,
        "takes_jobs": health.disk_free_bytes >= health.disk_floor_bytes,
    }


def _metrics(metrics: Metrics) -> dict[str, Any]:
    return {
        **_health(metrics.health),
        "jobs": [
            {"workflow": workflow, "state": state, "count": count}
            for (workflow, state), count in sorted({**metrics.open_jobs, **metrics.ended}.items())
        ],
        "duration_s": _histogram(metrics.durations_s),
        "wait_s": _histogram(metrics.waits_s),
        "event_lag_s": _histogram(metrics.lags_s),
    }


def _histogram(counted: Counted) -> dict[str, Any]:
    return {
        "count": counted.count,
        "sum": round(counted.total, 6),
        "buckets": {
            _bound(bound): count for bound, count in counted.buckets if math.isfinite(bound)
        },
    }


def _bound(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else f"{bound:g}"


class _Families(Collector):
    """The metric families of one scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """Give every family."""
        yield from _of_house(self._metrics.health)
        yield from _of_servers(self._metrics.health)
        yield from _of_jobs(self._metrics)


def _of_house(health: Health) -> Iterator[Family]:
    online = sum(1 for worker in health.workers if worker.online)
    for name, text, value in (
        ("studio_jobs_waiting", "Jobs that wait for a worker.", health.waiting),
        ("studio_jobs_running", "Jobs that a worker has.", health.running),
        ("studio_workers_online", "Worker processes heard within 30 s.", online),
        ("studio_disk_free_bytes", "Free space of the fullest disk.", health.disk_free_bytes),
        ("studio_disk_floor_bytes", "Free space a new job needs.", health.disk_floor_bytes),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    yield CounterMetricFamily(
        "studio_jobs_accepted", "Jobs ever taken into this database.", value=health.accepted
    )


def _of_servers(health: Health) -> Iterator[Family]:
    families = {
        name: GaugeMetricFamily(f"studio_server_{name}", text, labels=["server"])
        for name, text in (
            ("online", "1 when the ComfyUI answers."),
            ("takes_jobs", "1 when it takes a job now."),
            ("queue_length", "Prompts of everybody on it."),
            ("in_use", "Prompts of this process on it."),
        )
    }
    for server in health.servers:
        values = (server.online, not server.reason, server.queue_remaining, server.in_use)
        for family, value in zip(families.values(), values, strict=True):
            family.add_metric([server.name], float(value))
    yield from families.values()


def _of_jobs(metrics: Metrics) -> Iterator[Family]:
    open_jobs = GaugeMetricFamily(
        "studio_jobs", "Open jobs by workflow and state.", labels=["workflow", "state"]
    )
    for (workflow, state), count in sorted(metrics.open_jobs.items()):
        open_jobs.add_metric([workflow, state], count)
    yield open_jobs
    ended = CounterMetricFamily(
        "studio_jobs_ended",
        "Jobs that ended since this process started, by workflow and state.",
        labels=["workflow", "state"],
    )
    for (workflow, state), count in sorted(metrics.ended.items()):
        ended.add_metric([workflow, state], count)
    yield ended
    for name, text, counted in (
        ("studio_job_seconds", "From the start to the completed end.", metrics.durations_s),
        ("studio_job_wait_seconds", "From accepted to started.", metrics.waits_s),
        ("studio_event_lag_seconds", "From told to given to a follower.", metrics.lags_s),
    ):
        buckets = [(_bound(bound), count) for bound, count in counted.buckets]
        yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=counted.total)
