"""What `/api/jobs` tells: queue and history in one list, filtered and paged. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

OLD_STATES: Final = ("pending", "in_progress", "completed", "failed")
NEW_STATES: Final = (*OLD_STATES, "cancelled")
_OUTPUT_KEYS_SKIPPED: Final = ("animated",)

Job = dict[str, Any]


class BadQueryError(Exception):
    """A filter that is refused with 400; the text is the answer."""


@dataclass(frozen=True, slots=True)
class Query:
    """A checked request for a page of jobs."""

    states: frozenset[str]
    workflow_id: str | None
    sort_by: str
    ascending: bool
    limit: int | None
    offset: int


def read_query(query: Mapping[str, str], states: tuple[str, ...]) -> Query:
    """Check the query string. Raises `BadQueryError` (`history_and_jobs.json`)."""
    wanted = [word.strip().lower() for word in query.get("status", "").split(",") if word.strip()]
    unknown = [word for word in wanted if word not in states]
    if unknown:
        raise BadQueryError(
            f"Invalid status value(s): {', '.join(unknown)}. Valid values: {', '.join(states)}"
        )
    sort_by = query.get("sort_by", "created_at")
    if sort_by not in ("created_at", "execution_duration"):
        raise BadQueryError("sort_by must be 'created_at' or 'execution_duration'")
    order = query.get("sort_order", "desc")
    if order not in ("asc", "desc"):
        raise BadQueryError("sort_order must be 'asc' or 'desc'")
    return Query(
        frozenset(wanted or states),
        query.get("workflow_id"),
        sort_by,
        order == "asc",
        _limit(query.get("limit")),
        max(0, _whole("offset", query.get("offset", "0"))),
    )


def _limit(text: str | None) -> int | None:
    if text is None:
        return None
    limit = _whole("limit", text)
    if limit <= 0:
        raise BadQueryError("limit must be a positive integer")
    return limit


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadQueryError(f"{name} must be an integer") from None


def page(
    query: Query,
    queue: Mapping[str, list[list[Any]]],
    history: Mapping[str, dict[str, Any]],
    states: tuple[str, ...],
) -> dict[str, Any]:
    """Give the body of `GET /api/jobs`, newest first unless asked otherwise."""
    jobs = [
        job
        for job in every(queue, history, states)
        if job["status"] in query.states and query.workflow_id in (None, job.get("workflow_id"))
    ]
    jobs.sort(key=_sort_key(query), reverse=not query.ascending)
    end = None if query.limit is None else query.offset + query.limit
    shown = jobs[query.offset : end]
    return {
        "jobs": shown,
        "pagination": {
            "offset": query.offset,
            "limit": query.limit,
            "total": len(jobs),
            "has_more": query.offset + len(shown) < len(jobs),
        },
    }


def _sort_key(query: Query) -> Any:
    if query.sort_by == "created_at":
        return lambda job: job["create_time"]
    return lambda job: job.get("execution_end_time", 0) - job.get("execution_start_time", 0)


def every(
    queue: Mapping[str, list[list[Any]]],
    history: Mapping[str, dict[str, Any]],
    states: tuple[str, ...],
) -> Iterator[Job]:
    """Yield every job in short form: history, then running, then pending."""
    for entry in history.values():
        yield of_history(entry, states)
    for item in queue["queue_running"]:
        yield of_item(item, "in_progress")
    for item in queue["queue_pending"]:
        yield of_item(item, "pending")


def of_item(item: list[Any], status: str) -> Job:
    """Give a queued or running prompt as a job."""
    job = _head(item, status)
    job["outputs_count"] = 0
    return _with_workflow_id(job, item)


def of_history(entry: Mapping[str, Any], states: tuple[str, ...]) -> Job:
    """Give a finished prompt as a job, in short form."""
    item, messages = entry["prompt"], entry["status"]["messages"]
    job = _head(item, _state(entry["status"], states))
    times = [data["timestamp"] for _, data in messages]
    job["execution_start_time"], job["execution_end_time"] = times[0], times[-1]
    if (error := _message(messages, "execution_error")) is not None:
        job["execution_error"] = error
    files = list(_files(entry["outputs"]))
    job["outputs_count"] = len(files)
    if files:
        # A file that was kept says more of the job than one in the temp folder.
        node, key, file = next((one for one in files if one[2].get("type") == "output"), files[0])
        job["preview_output"] = {**file, "nodeId": node, "mediaType": key}
    return _with_workflow_id(job, item)


def in_detail(entry: Mapping[str, Any], states: tuple[str, ...]) -> Job:
    """Give a finished prompt as `GET /api/jobs/{id}` does."""
    item = entry["prompt"]
    job = of_history(entry, states)
    workflow_id = job.pop("workflow_id", None)
    job["outputs"] = entry["outputs"]
    job["execution_status"] = entry["status"]
    job["workflow"] = {"prompt": item[2], "extra_data": item[3]}
    if workflow_id is not None:
        job["workflow_id"] = workflow_id
    return job


def _head(item: list[Any], status: str) -> Job:
    return {
        "id": item[1],
        "status": status,
        "priority": item[0],
        "create_time": item[3]["create_time"],
    }


def _state(status: Mapping[str, Any], states: tuple[str, ...]) -> str:
    if status["status_str"] == "success":
        return "completed"
    interrupted = _message(status["messages"], "execution_interrupted") is not None
    return "cancelled" if interrupted and "cancelled" in states else "failed"


def _message(messages: list[list[Any]], event: str) -> Any:
    return next((data for kind, data in messages if kind == event), None)


def _files(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for node, shown in outputs.items():
        for key, values in shown.items():
            if key in _OUTPUT_KEYS_SKIPPED:
                continue
            for value in values:
                if isinstance(value, dict):
                    yield node, key, value


def _with_workflow_id(job: Job, item: list[Any]) -> Job:
    workflow = (item[3].get("extra_pnginfo") or {}).get("workflow") or {}
    if workflow.get("id") is not None:
        job["workflow_id"] = workflow["id"]
    return job
