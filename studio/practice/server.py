"""The practice server: a thread with a loop of its own, and a worker thread beside it."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

from aiohttp import web

from studio.practice.definitions import Definitions
from studio.practice.faults import Faults
from studio.practice.files import RECORDED_MODELS, Folders
from studio.practice.points import Points
from studio.practice.routes import application
from studio.practice.sockets import Hub
from studio.practice.worker import Surroundings, Worker

Profile = Literal["0.8.0", "newer"]
VERSIONS: Final[Mapping[str, str]] = {"0.8.0": "0.8.0", "newer": "0.46.0"}
_STOP_S: Final = 10.0


class PracticeServer:
    """A ComfyUI as far as the wire goes. Use it as a context manager, or `start` and `stop`.

    `pace_s` is seconds per sampler step. `folder` holds input, output and temp; without one a
    temporary folder is made and removed again. `models` maps folder kinds to file names to list
    (None = as recorded). `mark` puts the word PRACTICE on pictures of model nodes. `custom_nodes`:
    those custom nodes are installed that shipped workflows can use.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        profile: Profile = "0.8.0",
        pace_s: float = 0.35,
        folder: Path | None = None,
        models: Mapping[str, Sequence[str]] | None = None,
        mark: bool = True,
        custom_nodes: bool = False,
    ) -> None:
        self.newer = profile == "newer"
        self.version = VERSIONS[profile]
        self.faults = Faults(self)
        self.posted: list[dict[str, Any]] = []
        self.url = ""
        self._host, self._port = host, port
        self._pace_s, self._mark = pace_s, mark
        self._custom_nodes = custom_nodes
        self._folder, self._own_folder = folder, folder is None
        self._models = RECORDED_MODELS if models is None else models
        self._points = Points()
        self._late_s = 0.0
        self._old_workers: list[Worker] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer; `url` is valid afterwards. Raises OSError when the port is taken."""
        if self._thread is not None:
            raise RuntimeError("the practice server runs already")
        listener = socket.create_server((self._host, self._port))
        self._port = listener.getsockname()[1]
        self.url = f"http://{self._host}:{self._port}"
        self._prepare()
        loop = asyncio.new_event_loop()
        self._loop = loop
        self.hub = Hub(loop, self.faults)
        self.worker = self._new_worker()
        self._thread = threading.Thread(
            target=self._serve, args=(loop,), name="practice-server", daemon=True
        )
        self._thread.start()
        self._call(self._open(listener))

    def stop(self) -> None:
        """Drop everything and wait until threads and sockets are gone. Twice does no harm."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self.faults.release()
        self.worker.kill()
        self._call(self._close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_STOP_S)
        for worker in [*self._old_workers, self.worker]:
            worker.join(_STOP_S)
        loop.close()
        self._loop = self._thread = None
        if self._own_folder and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def wait_for(self, what: str, prompt_id: str | None = None, timeout_s: float = 10) -> None:
        """Wait until a run reached a point. Raises TimeoutError.

        Points: "queued", "started", "node:<id or class>", "progress:<n>", "held:<id>",
        "finished". What was reached before counts, so name the prompt when there are several.
        """
        self._points.wait(what, prompt_id, timeout_s)

    # what faults steer

    def restart(self, down_s: float) -> None:
        """Live through a restart of the process, down for `down_s` seconds."""
        if self._loop is None:
            self._late_s = down_s
            return
        self._call(self._restart(down_s))

    def interrupt(self) -> None:
        """Interrupt whatever runs."""
        self.worker.interrupt()

    def touch_sockets(self, act: Callable[[], None]) -> None:
        """Change the socket faults on the loop, and carry out those that wait for nothing."""

        async def touch() -> None:
            act()
            self.hub.carry_out_now()

        if self._loop is None:
            act()
        else:
            self._call(touch())

    # inside

    def _prepare(self) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="practice-"))
        self.folders = Folders(self._folder.resolve(), self._models)
        self.folders.make()
        self.folders.wipe_temp()
        self.definitions = Definitions(
            self.folders, newer=self.newer, custom_nodes=self._custom_nodes
        )

    def _new_worker(self) -> Worker:
        return Worker(
            Surroundings(
                hub=self.hub,
                folders=self.folders,
                definitions=self.definitions,
                faults=self.faults,
                points=self._points,
                pace_s=self._pace_s,
                mark=self._mark,
            )
        )

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something on the loop and wait for it."""
        assert self._loop is not None, "the server is started"  # noqa: S101
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_STOP_S)

    async def _open(self, listener: socket.socket) -> None:
        self._runner = web.AppRunner(application(self), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        self._publisher = asyncio.ensure_future(self.hub.publish())
        self._opening: asyncio.Task[None] | None = None
        self.worker.start()
        if self._late_s:
            listener.close()
            self._listen_later(self._late_s)
        else:
            await self._listen(listener)

    async def _listen(self, listener: socket.socket) -> None:
        self._site: web.SockSite | None = web.SockSite(self._runner, listener)
        await self._site.start()

    def _listen_later(self, seconds: float) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            await self._listen(socket.create_server((self._host, self._port)))

        if self._opening is not None:
            self._opening.cancel()
        self._site = None
        self._opening = asyncio.ensure_future(later())

    async def _restart(self, down_s: float) -> None:
        """Lose queue, history, cache, counter, temp files and every connection."""
        self.worker.kill()
        self._old_workers.append(self.worker)
        if self._site is not None and down_s:
            await self._site.stop()
        self.hub.drop_all()
        self._drop_connections()
        self.folders.wipe_temp()
        self.worker = self._new_worker()
        self.worker.start()
        if down_s:
            self._listen_later(down_s)

    def _drop_connections(self) -> None:
        server = self._runner.server
        for one in list(server.connections) if server is not None else []:
            if one.transport is not None:
                one.transport.abort()

    async def _close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self.hub.drop_all()
        await self._runner.cleanup()
        self._publisher.cancel()
        await asyncio.gather(self._publisher, return_exceptions=True)
