"""Throwaway servers on loopback, for what the studio fetches from and posts to."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from studio.engine.outside import Outside

Script = Callable[["Visitor"], None]


class Visitor:
    """One connection to the throwaway server: what was asked, and ways to answer."""

    def __init__(self, line: socket.socket, gone: threading.Event) -> None:
        self.line = line
        self.gone = gone
        head = b""
        while b"\r\n\r\n" not in head and (piece := line.recv(65536)):
            head += piece
        first, *lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = {n.lower(): v for n, _, v in (one.partition(": ") for one in lines)}
        self.body = head.split(b"\r\n\r\n", 1)[1]
        while len(self.body) < int(self.headers.get("content-length", 0)):
            self.body += line.recv(65536)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        said = {"content-length": str(len(body))} | {
            n.replace("_", "-"): v for n, v in headers.items()
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
        self.line.sendall(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body)

    def drip(self, start: bytes, piece: bytes) -> None:
        """Send a little, again and again, until the other side has had enough."""
        self.line.sendall(start)
        while not self.gone.wait(0.02):
            self.line.sendall(piece)


class Server:
    """A server on loopback that does what a test says, and remembers who asked for what."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self.visits: list[Visitor] = []
        self._gone = threading.Event()
        self._threads: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._serve, name="throwaway")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            one = threading.Thread(target=self._meet, args=(line,), name="throwaway-visit")
            self._threads.append(one)
            one.start()

    def _meet(self, line: socket.socket) -> None:
        line.settimeout(10)
        try:
            secured = self._tls.wrap_socket(line, server_side=True) if self._tls else line
            with secured:
                visitor = Visitor(secured, self._gone)
                self.visits.append(visitor)
                self._script(visitor)
        except (OSError, ValueError):
            line.close()  # the other side hung up, as some tests want it to

    def stop(self) -> None:
        self._gone.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in [self._thread, *self._threads]:
            thread.join(timeout=10)


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(script, tls)
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class Elsewhere:
    """A throwaway server that gives files, and what may fetch from it."""

    server: Server

    @property
    def outside(self) -> Outside:
        return Outside(allowed=[f"127.0.0.1:{self.server.port}"])

    @property
    def asked(self) -> list[str]:
        return [visit.path for visit in self.server.visits]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"


@contextmanager
def serving_files(files: Mapping[str, bytes]) -> Iterator[Elsewhere]:
    """Serve these files by their paths."""

    def script(visitor: Visitor) -> None:
        found = files.get(visitor.path)
        if found is None:
            visitor.answer(404, b"not there")
        else:
            visitor.answer(200, found)

    with serving(script) as server:
        yield Elsewhere(server)
