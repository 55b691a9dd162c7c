"""What every group of routes shares: the server they answer for, and how a body is read."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from studio.practice.definitions import Definitions
from studio.practice.faults import Faults
from studio.practice.files import Folders
from studio.practice.sockets import Hub
from studio.practice.worker import Worker

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = tuple[str, str, Handler]


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


async def read_json(request: web.Request) -> Any:
    """Read a body as JSON whatever its content type says."""
    return json.loads(await request.text())


def is_uuid(value: Any) -> bool:
    """Tell whether a value is a UUID in canonical lowercase hyphenated form."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False
