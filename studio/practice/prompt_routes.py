"""Prompts in, queue and history out: the routes a run is ordered and watched by."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

from aiohttp import web

from studio.practice.part import Route, Server, is_uuid, read_json
from studio.practice.queue import HISTORY_LIMIT, Ticket
from studio.practice.validate import fault, validate

_KEPT_FROM_VIEW: Final = ("auth_token_comfy_org", "api_key_comfy_org")


class PromptRoutes:
    """`/prompt`, `/queue`, `/history`, `/interrupt`, `/free`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def table(self) -> list[Route]:
        """List method, path, handler."""
        return [
            ("GET", "/prompt", self.prompt_status),
            ("POST", "/prompt", self.prompt),
            ("GET", "/queue", self.queue),
            ("POST", "/queue", self.change_queue),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/history", self.history),
            ("GET", "/history/{prompt_id}", self.history),
            ("POST", "/history", self.change_history),
        ]

    async def prompt_status(self, _request: web.Request) -> web.Response:
        """Tell the queue's length."""
        remaining = self._server.worker.queue.remaining()
        return web.json_response({"exec_info": {"queue_remaining": remaining}})

    async def prompt(self, request: web.Request) -> web.StreamResponse:
        """Check and queue a prompt."""
        refusal = self._server.faults.take_refusal()
        if refusal is not None:
            return web.Response(status=refusal[0], text=refusal[1])
        body = await read_json(request)
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
        if not is_uuid(wish):
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
        body = await read_json(request)
        if body.get("clear"):
            self._server.worker.queue.clear()
        for prompt_id in body.get("delete", ()):
            self._server.worker.queue.delete(prompt_id)
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        """Interrupt the named prompt if it runs, or without a name whatever runs; always 200."""
        try:
            body = await read_json(request)
        except json.JSONDecodeError:
            body = {}
        self._server.worker.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        """Drop cached results when asked to free memory."""
        body = await read_json(request)
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
        body = await read_json(request)
        if body.get("clear"):
            self._server.worker.queue.forget_all()
        for prompt_id in body.get("delete", ()):
            self._server.worker.queue.forget(prompt_id)
        return web.Response()


def _refused(error: Any, node_errors: Any) -> web.Response:
    return web.json_response({"error": error, "node_errors": node_errors}, status=400)


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
