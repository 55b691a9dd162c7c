"""What is no ComfyUI, or stands between one and us: odd answers, a line to tamper with."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, str, bytes]


def text(status: int, body: str = "500 Internal Server Error") -> Answer:
    return status, "text/plain; charset=utf-8", body.encode()


def answer(body: object, status: int = 200) -> Answer:
    return status, "application/json", json.dumps(body).encode()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up: tests make them."""


class OddServer:
    """Answers by script: `routes["GET /queue"]` is an answer, or gives one for the body sent.

    `asked` holds method and path of every request, `heads` its headers.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Answer | Callable[[bytes], Answer | None]] = {}
        self.asked: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.was_asked = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                line = f"{self.command} {self.path.partition('?')[0]}"
                owner.asked.append(line)
                owner.heads.append(dict(self.headers.items()))
                owner.was_asked.set()
                sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                route = owner.routes.get(line, text(404, ""))
                given = route(sent) if callable(route) else route
                if given is None:  # hang up without an answer
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, kind, body = given
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = handle_any  # noqa: N815  the library's names

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"


@contextmanager
def odd_server() -> Iterator[OddServer]:
    server = OddServer()
    thread = threading.Thread(target=server._server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server._server.shutdown()
    server._server.server_close()
    thread.join()


class Tap:
    """A line to a server that can be frozen (no byte passes, nothing closes) or cut.

    `said` holds the first bytes that each connection sent: its request head.
    """

    def __init__(self, url: str, at_port: int = 0) -> None:
        host, _, port = url.rpartition("/")[2].partition(":")
        self._target = (host, int(port))
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self.said: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", at_port))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._spawn(self._accept)

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def cut(self) -> None:
        """Close every line that is open now."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.thaw()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=5)

    def _spawn(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, timeout=5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._pairs.append((near, far))
            self._spawn(self._carry, near, far, True)
            self._spawn(self._carry, far, near, False)

    def _carry(self, here: socket.socket, there: socket.socket, outward: bool) -> None:
        first = outward
        with contextlib.suppress(OSError):
            while piece := here.recv(1 << 16):
                self._open.wait()
                if first:
                    self.said.append(piece)
                    first = False
                there.sendall(piece)
        self._open.wait()  # a frozen line does not tell that the other side hung up
        for end in (here, there):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        if outward:
            return
        here.close()
        there.close()


@contextmanager
def tapped(url: str) -> Iterator[Tap]:
    tap = Tap(url)
    yield tap
    tap.close()
