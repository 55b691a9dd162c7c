"""The websockets: who is connected, who hears what. Lives on the server's loop alone."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import WSMsgType, web

from studio.practice import frames
from studio.practice.faults import AFTER, Faults, SocketFault
from studio.practice.frames import Frame, NodeText, Preview, Text


@dataclass(frozen=True, slots=True)
class Step:
    """A sampler step: its `progress` and preview, whose order depends on the socket."""

    progress: Text
    preview: Preview | None

    @property
    def to(self) -> str | None:
        """The client it is for; None = everybody."""
        return self.progress.to


@dataclass(slots=True, eq=False)
class Open:
    """One open socket."""

    response: web.WebSocketResponse
    transport: asyncio.Transport
    wants_metadata: bool = False
    deaf: bool = False


class Hub:
    """Every open socket by client id, and the one queue all frames go through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, faults: Faults) -> None:
        self._loop = loop
        self._faults = faults
        self._frames: asyncio.Queue[Frame | Step] = asyncio.Queue()
        self._by_id: dict[str, Open] = {}
        self._all: list[Open] = []
        self._refuse_until = 0.0

    def push(self, frame: Frame | Step) -> None:
        """Queue a frame from any thread; a loop already closed drops it."""
        try:
            self._loop.call_soon_threadsafe(self._frames.put_nowait, frame)
        except RuntimeError:
            return

    def hears(self, client_id: str | None) -> bool:
        """Tell whether anybody would hear a frame, so that previews are drawn for somebody."""
        return bool(self._by_id) if client_id is None else client_id in self._by_id

    async def publish(self) -> None:
        """Send queued frames for ever, in order."""
        while True:
            frame = await self._frames.get()
            for one in self._hearers(frame.to):
                await self._send(one, frame)
            self._after(frame)

    def _hearers(self, to: str | None) -> list[Open]:
        if to is None:
            return list(self._by_id.values())
        one = self._by_id.get(to)
        return [] if one is None else [one]

    async def _send(self, one: Open, frame: Frame | Step) -> None:
        if one.deaf or one.response.closed:
            return
        try:
            for wire in _wires(one, frame):
                if isinstance(wire, str):
                    await one.response.send_str(wire)
                else:
                    await one.response.send_bytes(wire)
        except ConnectionError:
            # The socket went while we wrote; its reader notices by itself.
            return

    def _after(self, frame: Frame | Step) -> None:
        """Carry out the socket faults that this frame sets off."""
        for fault in list(self._faults.socket):
            if any(fault.due(word, fraction) for word, fraction in _marks(frame)):
                self._faults.socket.remove(fault)
                self._carry_out(fault)

    def carry_out_now(self) -> None:
        """Carry out the socket faults that wait for nothing."""
        for fault in list(self._faults.socket):
            if fault.after is None:
                self._faults.socket.remove(fault)
                self._carry_out(fault)

    def _carry_out(self, fault: SocketFault) -> None:
        if fault.for_s is None:
            for one in self._all:
                one.deaf = True
            return
        self._refuse_until = self._loop.time() + fault.for_s
        self.drop_all()

    def drop_all(self) -> None:
        """Let every connection vanish, without a close frame, as a killed process does."""
        for one in self._all:
            one.transport.abort()

    async def connect(
        self, request: web.Request, greeting: Callable[[str], list[Text]], features: dict[str, Any]
    ) -> web.StreamResponse:
        """Serve one socket until it goes. `greeting` gives the first frames for its id."""
        if self._loop.time() < self._refuse_until:
            return web.Response(status=503)
        sid = request.query.get("clientId", "") or uuid.uuid4().hex
        response = web.WebSocketResponse()
        await response.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return response
        one = Open(response, transport)
        self._by_id[sid] = one
        self._all.append(one)
        try:
            for frame in greeting(sid):
                await self._send(one, frame)
            await self._listen(one, features)
        finally:
            # The trap of two sockets with one id: whichever closes unregisters the other as well.
            self._by_id.pop(sid, None)
            self._all.remove(one)
        return response

    async def _listen(self, one: Open, features: dict[str, Any]) -> None:
        """Read the client's messages: only feature flags count, and only as the first."""
        first = True
        async for message in one.response:
            if message.type is WSMsgType.TEXT and first:
                flags = _flags(message.data)
                if flags is not None:
                    one.wants_metadata = bool(flags.get("supports_preview_metadata"))
                    await self._send(one, Text("feature_flags", features, None))
            first = False


def _flags(text: str) -> dict[str, Any] | None:
    try:
        message = json.loads(text)
    except json.JSONDecodeError:
        return None
    if not isinstance(message, dict) or message.get("type") != "feature_flags":
        return None
    flags = message.get("data", {})
    return flags if isinstance(flags, dict) else {}


def _wires(one: Open, frame: Frame | Step) -> list[str | bytes]:
    if isinstance(frame, (Text, NodeText)):
        return [frame.wire()]
    if isinstance(frame, Preview):
        return [_picture(one, frame)]
    progress = frame.progress.wire()
    if frame.preview is None:
        return [progress]
    picture = _picture(one, frame.preview)
    # Recorded so: with metadata the picture comes before its progress, without it after.
    return [picture, progress] if _metadata(one, frame.preview) else [progress, picture]


def _metadata(one: Open, preview: Preview) -> bool:
    # Broadcast previews are of the old type for everybody.
    return one.wants_metadata and preview.to is not None


def _picture(one: Open, preview: Preview) -> bytes:
    return preview.with_metadata() if _metadata(one, preview) else preview.plain()


def _marks(frame: Frame | Step) -> list[tuple[str, float | None]]:
    """Give the words `after=` may name for a frame, and the fraction it tells."""
    if isinstance(frame, Step):
        data = frame.progress.data
        marks: list[tuple[str, float | None]] = [
            ("NodeProgress", data["value"] / data["max"]),
            (f"progress:{data['value']}", None),
        ]
        return [*marks, ("Preview", None)] if frame.preview else marks
    if isinstance(frame, Text):
        if frame.event == "executing" and frame.data.get("node") is None:
            return [("Ended", None)]
        if frame.event == "executing":
            return [("NodeStarted", None), (f"node:{frame.data['node']}", None)]
        word = AFTER.get(frame.event)
        return [] if word is None else [(word, None)]
    return []


def greeting(remaining: int, sid: str, running: tuple[str | None, str | None]) -> list[Text]:
    """Give the first frames: status with sid, and the running node when it is this client's.

    That `executing` carries neither prompt_id nor display_node (`ws_reconnect_same_client`).
    """
    client_id, node = running
    first = [frames.status(remaining, sid)]
    if client_id == sid and node is not None:
        first.append(Text("executing", {"node": node}, sid))
    return first
