"""Every route of the app, and what each of four gets: nobody, another member, the owner, an admin.

A route without a row fails, and so does a row without a route.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
import pytest

from studio.engine.people import Role
from tests.tabs.site import Site
from tests.web.conftest import Ended, Order, members, programs
from tests.web.test_rest import TEXT, png

OPEN = (200, 200, 200, 200)
CLOSED = (404, 404, 404, 404)
OWN = (404, 404, 200, 404)
"""The admin too, until the job is opened, which is written down."""
CALLERS = (401, 200, 200, 200)
MINE = (401, 404, 200, 404)
ADMINS = (401, 403, 403, 200)
LOGGED_IN = (401, 403, 403, 403)
"""What a person does with the password is not for a token, the owner's neither."""
SESSION = (200, 200, 200, 200)
"""A stream that breaks off at once: it belongs to a session or event, the program's own secret."""

TABLE: Mapping[str, tuple[int, ...]] = {
    # ours
    "GET /": OPEN,
    "GET /outputs/{job_id}/{name}": OWN,
    "GET /outputs/zip": OWN,
    "POST /outputs/zip": OWN,
    "GET /thumbnails/{job_id}/{name}": OWN,
    "GET /play/{job_id}/{name}": OWN,
    "GET /inputs/{ref}": OWN,
    "GET /studio-assets/{name}": OPEN,
    "GET /account": (303, 200, 200, 200),
    "GET /account/login": OPEN,
    "GET /account/register": OPEN,
    "GET /shared/{token}": OPEN,
    "GET /shared/{token}/{name}": OPEN,
    "POST /api/shares": (401, 404, 201, 404),
    "GET /api/shares": CALLERS,
    "DELETE /api/shares/{share_id}": MINE,
    "GET /api/health": OPEN,
    "GET /api/metrics": OPEN,
    "GET /metrics": OPEN,
    "GET /api/docs": OPEN,
    "GET /api/openapi.json": OPEN,
    "POST /api/guest": (201, 201, 201, 201),
    "POST /api/generate": (401, 202, 202, 202),
    "GET /api/status/{job_id}": MINE,
    "GET /api/events/{job_id}": MINE,
    "POST /api/cancel/{job_id}": (401, 404, 409, 404),
    "POST /api/retry/{job_id}": (401, 404, 202, 404),
    "GET /api/history": CALLERS,
    "DELETE /api/jobs/{job_id}": MINE,
    "POST /api/jobs/{job_id}/restore": MINE,
    "POST /api/upload": (401, 201, 201, 201),
    "POST /api/webhooks/secret": CALLERS,
    "POST /api/webhooks/secret/renew": CALLERS,
    "GET /api/workflows": CALLERS,
    "GET /api/models": CALLERS,
    "POST /api/register": (400, 400, 400, 400),
    "POST /api/login": (400, 400, 400, 400),
    "POST /api/logout": OPEN,
    "GET /api/me": CALLERS,
    "PUT /api/user/profile": LOGGED_IN,
    "PUT /api/user/password": LOGGED_IN,
    "DELETE /api/user/delete": LOGGED_IN,
    "GET /api/tokens": CALLERS,
    "POST /api/tokens": LOGGED_IN,
    "DELETE /api/tokens/{token_id}": LOGGED_IN,
    "GET /api/admin/people": ADMINS,
    "POST /api/admin/people/{person}/block": ADMINS,
    "POST /api/admin/people/{person}/unblock": ADMINS,
    "POST /api/admin/people/{person}/role": (401, 403, 403, 400),
    "POST /api/admin/invitations": (401, 403, 403, 201),
    "GET /api/admin/jobs": ADMINS,
    "POST /api/admin/jobs/{job_id}/open": ADMINS,
    "POST /api/admin/jobs/{job_id}/cancel": (401, 403, 403, 409),
    "POST /api/admin/jobs/{job_id}/priority": (401, 403, 403, 409),
    "GET /api/admin/servers": ADMINS,
    "GET /api/admin/limits": ADMINS,
    "GET /api/admin/deeds": ADMINS,
    # Gradio's, that the page and its clients need
    "GET /config": OPEN,
    "GET /config/": OPEN,
    "GET /theme.css": OPEN,
    "GET /robots.txt": OPEN,
    "GET /favicon.ico": OPEN,
    "GET /static/{path:path}": CLOSED,
    "GET /assets/{path:path}": CLOSED,
    "GET /gradio_api/info": OPEN,
    "GET /gradio_api/info/": OPEN,
    "GET /gradio_api/openapi.json": OPEN,
    "GET /gradio_api/theme.css": OPEN,
    "GET /gradio_api/app_id": OPEN,
    "GET /gradio_api/app_id/": OPEN,
    "GET /gradio_api/user": OPEN,
    "GET /gradio_api/user/": OPEN,
    "GET /gradio_api/login_check": OPEN,
    "GET /gradio_api/login_check/": OPEN,
    "GET /gradio_api/startup-events": OPEN,
    "GET /gradio_api/file={path_or_url:path}": OWN,
    "GET /gradio_api/file/{path:path}": OWN,
    "POST /gradio_api/upload": OPEN,
    "GET /gradio_api/upload_progress": CLOSED,
    "POST /gradio_api/queue/join": (422, 422, 422, 422),
    "GET /gradio_api/queue/data": SESSION,
    "GET /gradio_api/queue/status": OPEN,
    "GET /gradio_api/heartbeat/{session_hash}": OPEN,
    "POST /gradio_api/cancel": (422, 422, 422, 422),
    "POST /gradio_api/reset": (422, 422, 422, 422),
    "POST /gradio_api/reset/": (422, 422, 422, 422),
    "POST /gradio_api/run/{api_name}": (422, 422, 422, 422),
    "POST /gradio_api/run/{api_name}/": (422, 422, 422, 422),
    "POST /gradio_api/api/{api_name}": (422, 422, 422, 422),
    "POST /gradio_api/api/{api_name}/": (422, 422, 422, 422),
    "POST /gradio_api/call/{api_name}": (422, 422, 422, 422),
    "POST /gradio_api/call/{api_name}/": (422, 422, 422, 422),
    "POST /gradio_api/call/v2/{api_name}": (422, 422, 422, 422),
    "POST /gradio_api/call/v2/{api_name}/": (422, 422, 422, 422),
    "GET /gradio_api/call/{api_name}/{event_id}": SESSION,
    "GET /gradio_api/call/v2/{api_name}/{event_id}": SESSION,
}
"""`METHOD path` -> the status for nobody, another member, the owner, an admin."""

NEVER = (
    "/gradio_api/proxy=",
    "/gradio_api/stream/",
    "/gradio_api/vibe-",
    "/gradio_api/undo-vibe-edit",
    "/gradio_api/process_recording",
    "/gradio_api/deep_link",
    "/gradio_api/runs",
    "/gradio_api/dev/",
    "/gradio_api/token",
    "/gradio_api/component_server",
    "/gradio_api/custom_component/",
    "/monitoring",
    "/pwa_icon",
    "/manifest.json",
    "/svelte/",
    "/login",
    "/logout",
)
"""Gradio's routes that are closed to all."""


@dataclass(frozen=True)
class Owned:
    """What the owner has, to be asked for by all four."""

    program: httpx.Client
    names: Mapping[str, str]


@pytest.fixture
def program(site: Site) -> Iterator[httpx.Client]:
    with members(site) as owner:
        yield owner


@pytest.fixture
def stranger(site: Site) -> Iterator[httpx.Client]:
    with members(site) as other:
        yield other


@pytest.fixture
def overseer(site: Site) -> Iterator[httpx.Client]:
    with members(site, role=Role.ADMIN) as admin:
        yield admin


@pytest.fixture
def owned(site: Site, program: httpx.Client, order: Order, ended: Ended) -> Owned:
    job = ended(order()["job_id"])
    ref = program.post("/api/upload", files={"file": ("a.png", png())}).json()["filename"]
    (path,) = program.post("/gradio_api/upload", files={"files": ("a.txt", b"x")}).json()
    share = program.post("/api/shares", json={"job_id": job["job_id"]}).json()
    page = program.get("/").text
    asset = page.split("studio-assets/")[1].split("?")[0]
    with members(site) as another:
        person = another.get("/api/me").json()["person"]
    return Owned(
        program,
        {
            "{job_id}": job["job_id"],
            "{share_id}": share["id"],
            "{person}": person,
            "shared/{token}/{name}": f"shared/{share['url'].rpartition('/')[2]}/picture.png",
            "{token}": share["url"].rpartition("/")[2],
            "outputs/zip": f"outputs/zip?of={job['job_id']}",
            "{ref}": ref,
            "{path_or_url:path}": path,
            "gradio_api/file/{path:path}": f"gradio_api/file/{path}",
            "studio-assets/{name}": f"studio-assets/{asset}",
            "{name}": job["outputs"][0]["name"],
            "{path:path}": "none.js",
            "{size}": "64",
        },
    )


def routes(site: Site) -> Iterator[str]:
    """List every `METHOD path` of the running app, Gradio's and ours."""
    for route in site.demo.app.routes:
        yield from _listed(route)


def _listed(route: object) -> Iterator[str]:
    inner = getattr(route, "original_router", None)  # how FastAPI keeps an included router
    if inner is not None:
        for one in inner.routes:
            yield from _listed(one)
        return
    methods = getattr(route, "methods", None)
    assert methods, f"a kind of route that this test does not know: {type(route)}"
    for method in sorted(set(methods) - {"HEAD"}):
        yield f"{method} {getattr(route, 'path', '')}"


def test_every_route_has_a_row_and_every_row_a_route(site: Site) -> None:
    found = set(routes(site))
    open_ = {one for one in found if not one.split(" ", 1)[1].startswith(NEVER)}

    assert open_ - set(TABLE) == set()
    assert set(TABLE) - open_ == set()


def test_each_gets_what_the_table_says(
    site: Site, owned: Owned, stranger: httpx.Client, overseer: httpx.Client
) -> None:
    wrong = {}
    with httpx.Client(base_url=site.url, timeout=20, trust_env=False) as nobody:
        for row, wanted in TABLE.items():
            method, path = row.split(" ", 1)
            for name, value in owned.names.items():
                path = path.replace(name, value)
            nobody.cookies.clear()
            mine = owned.names["{job_id}"]
            callers = (nobody, stranger, owned.program, overseer)
            got = tuple(status(one, method, path, mine) for one in callers)
            if got != wanted:
                wrong[row] = got

    assert wrong == {}


def status(client: httpx.Client, method: str, path: str, job_id: str = "") -> int:
    """Ask once, and read no stream that may not end."""
    more: dict[str, object] = {}
    if path == "/api/generate":
        more["json"] = TEXT
    elif (method, path) == ("POST", "/api/shares"):
        more["json"] = {"job_id": job_id}
    elif path == "/api/upload":
        more["files"] = {"file": ("a.png", png())}
    elif path == "/gradio_api/upload":
        more["files"] = {"files": ("b.txt", b"y")}
    elif path.startswith("/gradio_api/queue/data"):
        more["params"] = {"session_hash": "none"}
    elif path.startswith("/gradio_api/upload_progress"):
        more["params"] = {"upload_id": "none"}
    with client.stream(method, path, **more) as answer:  # type: ignore[arg-type]
        return answer.status_code


@pytest.mark.parametrize("path", NEVER)
def test_what_nobody_needs_is_closed_to_all(site: Site, program: httpx.Client, path: str) -> None:
    for method in ("GET", "POST"):
        assert program.request(method, f"{path}x").status_code == 404


def test_what_one_person_sees_names_nothing_of_another(
    site: Site, owned: Owned, stranger: httpx.Client
) -> None:
    seen = "".join(
        stranger.get(path).text
        for path in ("/", "/config", "/api/history", "/api/health", "/gradio_api/info")
    )  # fmt: skip

    assert owned.names["{job_id}"] not in seen
    assert owned.names["{ref}"] not in seen
    assert json.dumps(site.studio.settings.studio_secret.get_secret_value()) not in seen


def test_two_programs_are_two_people(site: Site) -> None:
    with programs(site) as one, programs(site) as other:
        assert one.headers["Authorization"] != other.headers["Authorization"]
