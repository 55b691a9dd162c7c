"""The one room that fetches from, and posts to, addresses that a person named.

Such an address could lead into the host's own network. So its name is resolved here, once; every
address it has must be public; and the connection goes to just the address that was looked at, so
that a second answer of the name server changes nothing. Each redirect is asked the same again. No
proxy, cookie or password is used. Whatever goes wrong is told as one error, `url_refused`, so that
nobody learns what answers inside; the true reason is in its details, for the log.
"""

from __future__ import annotations

import http.client
import io
import logging
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from studio.errors import StudioError

log = logging.getLogger("studio.outside")

URL_CHARS: Final = 2000
REDIRECTS: Final = 3
CONNECT_S: Final = 5.0
FETCH_S: Final = 20.0
"""How long the files of one order may take in all: names, connections, redirects, every byte."""
POST_S: Final = 10.0

_PIECE_BYTES: Final = 1 << 16
_TRIED: Final = 4
"""Addresses of one name that a connection is tried with."""

_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = ("", "identity")
_MOVED: Final = frozenset({301, 302, 303, 307, 308})

_CLOSED_4: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's own services, behind an address that looks public
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
_OPEN_6: Final = ip_network("2000::/3")
_CLOSED_6: Final = tuple(
    # Teredo and its like, examples, 6to4: each may hold a private IPv4 address.
    map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_NAT64: Final = ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Sequence[str]]
"""Gives every address that a host name has. Raises OSError."""
Dial = Callable[[str, int, float], socket.socket]
"""Connects to an address and a port within so many seconds. Raises OSError."""


class Deadline:
    """A moment by which all must be done."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    def left_s(self) -> float:
        """Give the seconds that are left, or raise TimeoutError."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("it took too long")
        return left


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said to a post. `retry_after` is as it was sent, or empty."""

    status: int
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class _Target:
    """An address, taken apart."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def name(self) -> str:
        """Write host and port as `OUTSIDE_HOSTS` does."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}{self.path}"


class Outside:
    """Fetches and posts. Methods block, for as long as they say; safe in many threads.

    `allowed` are hosts, as `name` or `name:port`, that the host of the studio trusts: they may be
    private. `house` are hosts of the studio's own (its ComfyUI servers): refused even where their
    address is public. `resolve`, `dial` and `tls` are what reaches the network.
    """

    def __init__(
        self,
        *,
        allowed: Collection[str] = (),
        house: Collection[str] = (),
        resolve: Resolve | None = None,
        dial: Dial | None = None,
        tls: ssl.SSLContext | None = None,
        fetch_s: float = FETCH_S,
        post_s: float = POST_S,
    ) -> None:
        self._allowed = frozenset(one.lower() for one in allowed)
        self._house = frozenset(one.lower() for one in house)
        self._resolve = resolve or addresses_of
        self._dial = dial or connect
        self._tls = tls or ssl.create_default_context()
        self._fetch_s = fetch_s
        self._post_s = post_s
        self._lines: set[_Line] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def check(self, url: str) -> None:
        """Raise `url_refused` unless the address is well written and leads outside now."""
        with _told():
            self._looked_up(_target(url), Deadline(self._post_s))

    def patience(self) -> Deadline:
        """Begin the time that files may take, for those who fetch several in it."""
        return Deadline(self._fetch_s)

    def fetch(
        self, url: str, into: IO[bytes], *, max_bytes: int, deadline: Deadline | None = None
    ) -> str:
        """Write what is at the address into an open file, and give the name it has there.

        Takes 20 s at most. Raises `url_refused`, and `file_too_large` beyond `max_bytes`.
        """
        deadline = deadline or self.patience()
        with _told():
            target = _target(url)
            for _ in range(REDIRECTS + 1):
                with self._asked(target, deadline, "GET") as answer:
                    if answer.status in _MOVED:
                        target = _target(_elsewhere(target, answer))
                        continue
                    if answer.status != 200:
                        raise _RefusedError(f"HTTP {answer.status} from {target.name}")
                    _save(answer, into, max_bytes, _file_name(target))
                    return _file_name(target)
            raise _RefusedError(f"more than {REDIRECTS} redirects, the last to {target.name}")

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send a body and tell what was answered; redirects are not followed.

        Takes 10 s at most. Raises `url_refused` where no answer came.
        """
        with _told():
            target, deadline = _target(url), Deadline(self._post_s)
            with self._asked(target, deadline, "POST", body, headers) as answer:
                return Reply(answer.status, answer.getheader("Retry-After") or "")

    def stop(self) -> None:
        """End every connection there is, and let none begin."""
        with self._lock:
            self._stopped = True
            lines = list(self._lines)
        for line in lines:
            line.cut()

    # One request ---------------------------------------------------------------------------

    @contextmanager
    def _asked(
        self,
        target: _Target,
        deadline: Deadline,
        method: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        line = _Line(self._connected(target, deadline), deadline)
        try:
            self._hold(line)
            if target.scheme == "https":
                line.secure(self._tls, target.host)
            connection = http.client.HTTPConnection(target.host, target.port)
            connection.sock = line  # it has what of a socket is used
            sent = {
                "Host": target.name,
                "User-Agent": "ComfyUI-Studio",
                "Accept": "*/*",
                # What is packed may unpack to any size.
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            connection.request(method, target.path, body, sent | dict(headers or {}))
            with connection.getresponse() as answer:
                yield answer
        finally:
            with self._lock:
                self._lines.discard(line)
            line.hang_up()

    def _hold(self, line: _Line) -> None:
        with self._lock:
            if self._stopped:
                raise _RefusedError("the studio stops")
            self._lines.add(line)

    def _connected(self, target: _Target, deadline: Deadline) -> socket.socket:
        """Connect to one of the addresses that were looked at, and to no other."""
        fault: OSError = OSError(f"{target.name} has no address")
        for address in self._looked_up(target, deadline)[:_TRIED]:
            try:
                line = self._dial(address, target.port, min(CONNECT_S, deadline.left_s()))
            except OSError as error:
                fault = error
                continue
            if not self._trusts(target) and line.getsockname()[0] == address:
                line.close()
                raise _RefusedError(f"{address} is this machine")
            return line
        raise fault

    # Which address -------------------------------------------------------------------------

    def _looked_up(self, target: _Target, deadline: Deadline) -> list[str]:
        """Resolve a target's name. Raises unless every address may be connected to."""
        found = within(deadline.left_s(), lambda: self._addresses(target))
        if not found:
            raise _RefusedError(f"{target.host} has no address")
        return found

    def _addresses(self, target: _Target) -> list[str]:
        found = [_plain(one) for one in self._resolve(target.host, target.port)]
        if self._trusts(target):
            return found
        for address in found:
            if not is_public(address):
                raise _RefusedError(f"{target.host} is {address}, which is not public")
        ours = {address for host in self._house for address in self._of_house(host)}
        if target.host.lower() in self._house or ours.intersection(found):
            raise _RefusedError(f"{target.host} is a server of the studio")
        return found

    def _of_house(self, host: str) -> list[str]:
        try:
            return [_plain(one) for one in self._resolve(host, 0)]
        except OSError:
            return []  # who has no address now cannot be reached by it either

    def _trusts(self, target: _Target) -> bool:
        host = f"[{target.host}]" if ":" in target.host else target.host
        return not self._allowed.isdisjoint({host.lower(), f"{host}:{target.port}".lower()})


def addresses_of(host: str, port: int) -> list[str]:
    """Ask the system's resolver, which also reads `2130706433` and `0x7f.1` as addresses."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def connect(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to an address; a name is refused here."""
    return socket.create_connection((str(ip_address(address)), port), timeout_s)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open internet, whatever form it is written in."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in net for net in _CLOSED_4)
    if ip.scope_id is not None:
        return False
    if ip in _NAT64:
        return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
    return ip in _OPEN_6 and not any(ip in net for net in _CLOSED_6)


def within(seconds: float, work: Callable[[], list[str]]) -> list[str]:
    """Give what `work` gives, or raise TimeoutError: a resolver has no time limit of its own."""
    done: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put(work())
        except (OSError, ValueError, _RefusedError) as error:
            done.put(error)

    threading.Thread(target=run, name="studio-resolve", daemon=True).start()
    try:
        found = done.get(timeout=max(seconds, 0.0))
    except queue.Empty:
        raise TimeoutError("the name took too long") from None
    if isinstance(found, Exception):
        raise found
    return found


class _RefusedError(Exception):
    """Why an address cannot be used, for the log alone."""


@contextmanager
def _told() -> Iterator[None]:
    """Make one error of whatever went wrong on the way."""
    try:
        yield
    except (_RefusedError, OSError, http.client.HTTPException, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        log.info("an address that was named cannot be used: %s", reason)
        raise StudioError("url_refused", details=reason) from error


class _Line:
    """A connection that ends at its deadline, however slowly the other side drips.

    Has what `http.client` uses of a socket. `close` does nothing: an answer is still read then.
    """

    def __init__(self, plain: socket.socket, deadline: Deadline) -> None:
        self._socket = plain
        self._deadline = deadline

    def secure(self, tls: ssl.SSLContext, host: str) -> None:
        """Speak TLS from here on, with who can prove to be `host`."""
        self._socket.settimeout(self._deadline.left_s())
        self._socket = tls.wrap_socket(self._socket, server_hostname=host.rstrip("."))

    def sendall(self, data: Any) -> None:
        """Send all of it in the time that is left."""
        self._socket.settimeout(self._deadline.left_s())
        self._socket.sendall(data)

    def receive(self, into: Any) -> int:
        """Read what has come, in the time that is left."""
        self._socket.settimeout(self._deadline.left_s())
        return self._socket.recv_into(into)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Give what an answer is read from."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Leave it open, for `hang_up` to close."""

    def hang_up(self) -> None:
        """Close the connection."""
        self._socket.close()

    def cut(self) -> None:
        """End it from another thread: who reads meets its end."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            log.debug("a connection had ended already: %s", error)


class _Reader(io.RawIOBase):
    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        return self._line.receive(into)


def _target(url: str) -> _Target:
    """Take an address apart. Raises for what is not plainly http or https, or odd in any way."""
    if len(url) > URL_CHARS or any(mark <= " " or mark in "\\\x7f" for mark in url):
        raise _RefusedError("it is too long, or holds blanks or backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    host = parts.hostname or ""
    if parts.scheme not in _PORTS or not host or port == 0 or "%" in host:
        raise _RefusedError("it is not plainly http or https")
    if "@" in parts.netloc:
        raise _RefusedError("it holds a user")
    ascii_host = host.encode("idna").decode("ascii")
    return _Target(parts.scheme, ascii_host, port or _PORTS[parts.scheme], _path(parts))


def _path(parts: SplitResult) -> str:
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
    return f"{path}?{query}" if query else path


def _plain(address: str) -> str:
    """Write an address in its one way, to be compared."""
    try:
        return str(ip_address(address))
    except ValueError as error:
        raise _RefusedError(f"{address!r} is no address") from error


def _elsewhere(target: _Target, answer: http.client.HTTPResponse) -> str:
    """Give the address that an answer sends on to; http.client reads headers as Latin-1."""
    said = (answer.getheader("Location") or "").encode("latin-1").decode("utf-8", "replace")
    if not said:
        raise _RefusedError(f"a redirect of {target.name} to nowhere")
    try:
        return urljoin(target.url, said)
    except ValueError as error:
        raise _RefusedError(str(error)) from error


def _save(answer: http.client.HTTPResponse, into: IO[bytes], max_bytes: int, name: str) -> None:
    """Write a body piece by piece, never more than is allowed."""
    if (answer.getheader("Content-Encoding") or "").strip().lower() not in _PLAIN:
        raise _RefusedError("it came packed, which was not asked for")
    size = answer.length or 0
    while size <= max_bytes:
        piece = answer.read(_PIECE_BYTES)
        if not piece:
            break
        size = max(size, into.tell() + len(piece))
        if size <= max_bytes:
            into.write(piece)
    if size > max_bytes:
        limit = f"{max_bytes / 1e6:g}"
        raise StudioError("file_too_large", name=name, size_mb=f"> {limit}", max_mb=limit)
    if answer.length:
        raise _RefusedError("it ended early")


def _file_name(target: _Target) -> str:
    path = unquote(urlsplit(target.path).path)
    return Path(path).name or target.host
