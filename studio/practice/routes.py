"""The HTTP side: every route, its statuses and its bodies as recorded."""

from __future__ import annotations

import ipaddress
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from studio import texts
from studio.practice import jobs, sockets, uploads, views
from studio.practice.definitions import Definitions
from studio.practice.faults import Faults
from studio.practice.files import MODEL_FOLDERS, Folders
from studio.practice.queue import HISTORY_LIMIT, Ticket
from studio.practice.sockets import Hub
from studio.practice.validate import fault, validate
from studio.practice.worker import Worker

_log = logging.getLogger(__name__)

_BROKE: Final = "500 Internal Server Error\n\nServer got itself in trouble"
_KEPT_FROM_VIEW: Final = ("auth_token_comfy_org", "api_key_comfy_org")
_MEMORY_BYTES: Final = 25_276_063_744

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server(Protocol):
    """What the routes need of the server."""

    newer: bool
    version: str
    folders: Folders
    definitions: Definitions
    faults: Faults
    posted: list[dict[str, Any]]
    worker: Worker
    hub: Hub


def application(server: Server) -> web.Application:
    """Make the web application; every route also exists under `/api`."""
    routes = Routes(server)
    app = web.Application(
        client_max_size=server.faults.max_upload_bytes,  # aiohttp's own is 1 MiB: less than a photo
        middlewares=[partial_middleware(routes)],
    )
    doubled = [(method, f"/api{path}", handler) for method, path, handler in routes.table()]
    for method, path, handler in [*routes.table(), *doubled, *routes.jobs_table()]:
        # add_get answers HEAD as well.
        add = app.router.add_get if method == "GET" else app.router.add_post
        add(path, handler)
    # The real server ends with a static folder: unknown GETs are an empty 404, never a 405.
    app.router.add_get("/{unknown:.*}", routes.nothing)
    return app


def partial_middleware(routes: Routes) -> Any:
    """Wrap every request in what the whole server does to it."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await routes.around(request, handler)

    return around


class Routes:
    """The handlers. All run on the server's loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._assets: dict[str, Path] = {}

    def table(self) -> Iterable[tuple[str, str, Handler]]:
        """List method, path, handler."""
        return [
            ("GET", "/ws", self.socket),
            ("GET", "/", self.front_page),
            ("GET", "/prompt", self.prompt_status),
            ("POST", "/prompt", self.prompt),
            ("GET", "/queue", self.queue),
            ("POST", "/queue", self.change_queue),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/history", self.history),
            ("GET", "/history/{prompt_id}", self.history),
            ("POST", "/history", self.change_history),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{class_type}", self.object_info),
            ("GET", "/models", self.models),
            ("GET", "/models/{folder}", self.models_in),
            ("GET", "/embeddings", self.embeddings),
            ("GET", "/system_stats", self.system_stats),
            ("GET", "/features", self.features),
            ("POST", "/upload/image", partial(self.upload, mask=False)),
            ("POST", "/upload/mask", partial(self.upload, mask=True)),
            ("GET", "/view", self.view),
            ("GET", "/view_metadata/{folder}", self.nothing),
            ("GET", "/users", self.users),
            ("GET", "/userdata", self.userdata),
            *[("GET", path, self.empty_object) for path in _EMPTY_OBJECTS],
        ]

    def jobs_table(self) -> Iterable[tuple[str, str, Handler]]:
        """List the routes that exist under `/api` alone."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/api/jobs", self.jobs),
            ("GET", "/api/jobs/{prompt_id}", self.job),
        ]
        if self._server.newer:
            table += [
                ("POST", "/api/jobs/cancel", self.cancel_many),
                ("POST", "/api/jobs/{prompt_id}/cancel", self.cancel),
            ]
        return table

    async def around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what the server refuses anywhere, and answer its own faults as recorded."""
        if self._server.faults.forbidden or not _same_origin(request):
            return web.Response(status=403)
        limit = self._server.faults.max_upload_bytes
        if (request.content_length or 0) > limit:
            text = f"Maximum request body size {limit} exceeded."
            return web.Response(status=413, text=text)
        if request.method == "OPTIONS":
            return web.Response()
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception:  # noqa: BLE001 - the edge of a request: a broken body is a 500 in plain text
            _log.debug("%s %s answered 500", request.method, request.path, exc_info=True)
            return web.Response(status=500, text=_BROKE, headers={"Connection": "close"})

    async def nothing(self, _request: web.Request) -> web.Response:
        """Answer an empty 404."""
        return web.Response(status=404, content_type="application/octet-stream")

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Serve the websocket."""
        worker = self._server.worker

        def greet(sid: str) -> list[Any]:
            return sockets.greeting(worker.queue.remaining(), sid, worker.running())

        return await self._server.hub.connect(request, greet, self._features())

    async def front_page(self, request: web.Request) -> web.Response:
        """Say what this is, to a person who opens the address."""
        language = texts.pick(request.headers.get("Accept-Language"))
        title = texts.text("practice.page.title", language)
        body = texts.text("practice.page.body", language)
        page = (
            f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
            f"<title>{title}</title><h1>{title}</h1><p>{body}</p></html>"
        )
        return web.Response(text=page, content_type="text/html")

    # prompts

    async def prompt_status(self, _request: web.Request) -> web.Response:
        """Tell the queue's length."""
        remaining = self._server.worker.queue.remaining()
        return web.json_response({"exec_info": {"queue_remaining": remaining}})

    async def prompt(self, request: web.Request) -> web.StreamResponse:
        """Check and queue a prompt."""
        refusal = self._server.faults.take_refusal()
        if refusal is not None:
            return web.Response(status=refusal[0], text=refusal[1])
        body = await _json(request)
        number = self._number(body)
        if "prompt" not in body:
            told = fault("no_prompt", "No prompt provided", "No prompt provided", {})
            return _refused(told, {})
        prompt_id, told_id = self._prompt_id(body)
        if told_id is not None:
            return _refused(told_id, {})
        graph = body["prompt"]
        verdict = validate(
            graph,
            self._server.definitions,
            self._server.folders,
            body.get("partial_execution_targets"),
        )
        if verdict.error is not None:
            return _refused(verdict.error, verdict.node_errors)
        ticket = _ticket(body, graph, number, prompt_id, verdict.outputs)
        self._accept(ticket)
        if self._server.faults.take_loss() and request.transport is not None:
            request.transport.abort()
        return web.json_response(
            {"prompt_id": prompt_id, "number": number, "node_errors": verdict.node_errors}
        )

    def _number(self, body: Any) -> float:
        """Give a prompt's place; every post without a number takes one, refused or not."""
        if "number" in body:
            return float(body["number"])
        front = "front" in body and bool(body["front"])
        return self._server.worker.next_number(front=front)

    def _prompt_id(self, body: dict[str, Any]) -> tuple[str, Any]:
        """Give the prompt's id; later versions take only canonical UUIDs."""
        wish = body.get("prompt_id")
        if not self._server.newer:
            return str(body.get("prompt_id", uuid.uuid4())), None
        if wish is None:
            return str(uuid.uuid4()), None
        if not _is_uuid(wish):
            text = f"prompt_id must be a UUID in canonical form, not {wish!r}"
            return "", fault("invalid_prompt_id", "Invalid prompt id", text, {})
        return str(wish), None

    def _accept(self, ticket: Ticket) -> None:
        del self._server.posted[: -HISTORY_LIMIT + 1]
        self._server.posted.append(
            {
                "prompt_id": ticket.prompt_id,
                "client_id": ticket.client_id,
                "prompt": ticket.graph,
                "extra_data": ticket.extra_data,
            }
        )
        self._server.worker.submit(ticket)

    async def queue(self, _request: web.Request) -> web.Response:
        """Show what runs and waits."""
        return web.json_response(self._server.worker.queue.shown())

    async def change_queue(self, request: web.Request) -> web.Response:
        """Delete pending prompts; 200 whatever comes of it."""
        body = await _json(request)
        if body.get("clear"):
            self._server.worker.queue.clear()
        for prompt_id in body.get("delete", ()):
            self._server.worker.queue.delete(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        """Interrupt the named prompt if it runs, or without a name whatever runs; always 200."""
        try:
            body = await _json(request)
        except json.JSONDecodeError:
            body = {}
        self._server.worker.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        """Drop cached results when asked to free memory."""
        body = await _json(request)
        if body.get("free_memory"):
            self._server.worker.free()
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        """Show finished prompts; unknown, pending and running ids are all `{}`."""
        queue = self._server.worker.queue
        prompt_id = request.match_info.get("prompt_id")
        if prompt_id is not None:
            return web.json_response(queue.history(prompt_id=prompt_id))
        wish = request.query.get("max_items")
        offset = int(request.query.get("offset", -1))
        return web.json_response(queue.history(None if wish is None else int(wish), offset))

    async def change_history(self, request: web.Request) -> web.Response:
        """Delete entries; 200 whatever comes of it."""
        body = await _json(request)
        if body.get("clear"):
            self._server.worker.queue.forget_all()
        for prompt_id in body.get("delete", ()):
            self._server.worker.queue.forget(prompt_id)
        return web.Response()

    # jobs

    async def jobs(self, request: web.Request) -> web.Response:
        """Show a page of jobs."""
        queue = self._server.worker.queue
        try:
            query = jobs.read_query(request.query, self._states)
        except jobs.BadQueryError as problem:
            return web.json_response({"error": str(problem)}, status=400)
        return web.json_response(jobs.page(query, queue.shown(), queue.history(), self._states))

    async def job(self, request: web.Request) -> web.Response:
        """Show one job."""
        queue = self._server.worker.queue
        prompt_id = request.match_info["prompt_id"]
        waiting = queue.shown()
        for key, status in (("queue_running", "in_progress"), ("queue_pending", "pending")):
            for item in waiting[key]:
                if item[1] == prompt_id:
                    return web.json_response(jobs.of_item(item, status))
        entry = queue.history(prompt_id=prompt_id).get(prompt_id)
        if entry is None:
            return web.json_response({"error": "Job not found"}, status=404)
        return web.json_response(jobs.in_detail(entry, self._states))

    async def cancel(self, request: web.Request) -> web.Response:
        """Cancel one job, running or pending (later versions only)."""
        prompt_id = request.match_info["prompt_id"]
        if not _is_uuid(prompt_id):
            return _bad_ids([prompt_id])
        return web.json_response({"cancelled": self._cancel(prompt_id)})

    async def cancel_many(self, request: web.Request) -> web.Response:
        """Cancel several jobs (later versions only)."""
        body = await _json(request)
        wanted = body.get("job_ids", [])
        bad = [one for one in wanted if not _is_uuid(one)]
        if bad:
            return _bad_ids(bad)
        done = [self._cancel(prompt_id) for prompt_id in wanted]
        return web.json_response({"cancelled": any(done)})

    def _cancel(self, prompt_id: str) -> bool:
        worker = self._server.worker
        return worker.interrupt(prompt_id) or worker.queue.delete(prompt_id)

    @property
    def _states(self) -> tuple[str, ...]:
        return jobs.NEW_STATES if self._server.newer else jobs.OLD_STATES

    # what the server has

    async def object_info(self, request: web.Request) -> web.Response:
        """Show all node definitions, or one; an unknown one is `{}`."""
        definitions = self._server.definitions
        class_type = request.match_info.get("class_type")
        if class_type is None:
            return web.json_response(definitions.every())
        found = {class_type: definitions.get(class_type)} if class_type in definitions else {}
        return web.json_response(found)

    async def models(self, _request: web.Request) -> web.Response:
        """List the folder kinds."""
        return web.json_response(list(MODEL_FOLDERS))

    async def models_in(self, request: web.Request) -> web.Response:
        """List the models of one kind."""
        listed = self._server.folders.listed(request.match_info["folder"])
        if listed is None:
            return web.Response(status=404)
        return web.json_response([name for name in listed if name != "pixel_space"])

    async def embeddings(self, _request: web.Request) -> web.Response:
        """List embeddings, names without ending."""
        listed = self._server.folders.listed("embeddings") or []
        return web.json_response([Path(name).with_suffix("").as_posix() for name in listed])

    async def features(self, _request: web.Request) -> web.Response:
        """Tell what the server can do."""
        return web.json_response(self._features())

    def _features(self) -> dict[str, Any]:
        features: dict[str, Any] = {
            "supports_preview_metadata": True,
            "max_upload_size": self._server.faults.max_upload_bytes,
            "extension": {"manager": {"supports_v4": True}},
        }
        if self._server.newer:
            features |= {
                "assets": True,
                "node_replacements": True,
                "supports_model_type_tags": True,
            }
        return features

    async def system_stats(self, _request: web.Request) -> web.Response:
        """Tell version and memory."""
        system: dict[str, Any] = {
            "os": "linux",
            "ram_total": _MEMORY_BYTES,
            "ram_free": _MEMORY_BYTES // 2,
            "comfyui_version": self._server.version,
            "required_frontend_version": "1.35.9",
            "installed_templates_version": "0.7.67",
            "required_templates_version": "0.7.67",
            "python_version": "3.11.7 (practice)",
            "pytorch_version": "practice",
            "embedded_python": False,
            "argv": ["main.py", "--cpu", "--preview-method", "latent2rgb"],
        }
        if self._server.newer:
            system |= {"comfy_package_versions": [], "deploy_environment": "local"}
        device = {
            "name": "practice",
            "type": "cpu",
            "index": None,
            "vram_total": _MEMORY_BYTES,
            "vram_free": _MEMORY_BYTES // 2,
            "torch_vram_total": _MEMORY_BYTES,
            "torch_vram_free": _MEMORY_BYTES // 2,
        }
        return web.json_response({"system": system, "devices": [device]})

    async def users(self, _request: web.Request) -> web.Response:
        """Tell that there are no users."""
        return web.json_response({"storage": "server", "migrated": False})

    async def userdata(self, request: web.Request) -> web.Response:
        """Refuse a listing without a folder, and have none."""
        if not request.query.get("dir"):
            return web.Response(status=400, text="Directory not provided")
        return web.Response(status=404)

    async def empty_object(self, _request: web.Request) -> web.Response:
        """Answer `{}`."""
        return web.json_response({})

    # files

    async def upload(self, request: web.Request, *, mask: bool) -> web.Response:
        """Store an upload and tell its real name."""
        form = await request.post()
        try:
            answer, path = uploads.take(form, self._server.folders, mask=mask)
        except uploads.RefusedError:
            return web.Response(status=400)
        if self._server.newer and path.is_file():
            answer["asset"] = self._asset(path)
        return web.json_response(answer)

    def _asset(self, path: Path) -> dict[str, Any]:
        """Register a file as an asset; the hash is of our own kind, only its form is theirs."""
        asset = views.asset(path)
        self._assets[asset["asset_hash"]] = path
        return asset

    async def view(self, request: web.Request) -> web.StreamResponse:
        """Give a file."""
        asset = self._assets.get(request.query.get("filename", ""))
        found = asset or views.find(request.query, self._server.folders)
        if isinstance(found, web.Response):
            return found
        return views.answer(found, request.query, attach=self._server.newer)


_EMPTY_OBJECTS: Final = ("/i18n", "/settings", "/workflow_templates")


async def _json(request: web.Request) -> Any:
    """Read a body as JSON whatever its content type says."""
    return json.loads(await request.text())


def _refused(error: Any, node_errors: Any) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors}, status=400)


def _bad_ids(ids: list[Any]) -> web.Response:
    return web.json_response({"error": "job ids must be UUIDs", "invalid_ids": ids}, status=400)


def _ticket(
    body: dict[str, Any], graph: dict[str, Any], number: float, prompt_id: str, outputs: list[str]
) -> Ticket:
    extra = dict(body.get("extra_data") or {})
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    for name in _KEPT_FROM_VIEW:
        extra.pop(name, None)
    extra["create_time"] = int(time.time() * 1000)
    return Ticket(number, prompt_id, graph, extra, outputs, extra.get("client_id"))


def _is_uuid(value: Any) -> bool:
    """Tell whether a value is a UUID in canonical lowercase hyphenated form."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def _same_origin(request: web.Request) -> bool:
    """Check Origin against a loopback Host, as the server does against foreign pages."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if not host or not origin:
        return True
    ours, theirs = urlsplit(f"//{host}"), urlsplit(origin)
    if not _is_loopback(ours.hostname or "") or not theirs.netloc:
        return True
    if ours.hostname != theirs.hostname:
        return False
    return ours.port is None or theirs.port is None or ours.port == theirs.port


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
