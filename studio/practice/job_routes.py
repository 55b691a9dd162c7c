"""Jobs: the later view of queue and history, and cancel by id."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from studio.practice import jobs
from studio.practice.part import Route, Server, is_uuid, read_json


class JobRoutes:
    """`/api/jobs` and below; they exist under `/api` alone."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def table(self) -> list[Route]:
        """List method, path, handler."""
        table: list[Route] = [
            ("GET", "/api/jobs", self.jobs),
            ("GET", "/api/jobs/{prompt_id}", self.job),
        ]
        if self._server.newer:
            table += [
                ("POST", "/api/jobs/cancel", self.cancel_many),
                ("POST", "/api/jobs/{prompt_id}/cancel", self.cancel),
            ]
        return table

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
        if not is_uuid(prompt_id):
            return _bad_ids([prompt_id])
        return web.json_response({"cancelled": self._cancel(prompt_id)})

    async def cancel_many(self, request: web.Request) -> web.Response:
        """Cancel several jobs (later versions only)."""
        body = await read_json(request)
        wanted = body.get("job_ids", [])
        bad = [one for one in wanted if not is_uuid(one)]
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


def _bad_ids(ids: list[Any]) -> web.Response:
    return web.json_response({"error": "job ids must be UUIDs", "invalid_ids": ids}, status=400)
