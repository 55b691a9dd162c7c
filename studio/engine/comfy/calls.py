"""HTTP with one ComfyUI: JSON in, JSON out, timeouts everywhere.

The one place where the errors of `requests` and odd answers become ours.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from studio.engine.comfy import wire
from studio.engine.comfy.address import Address
from studio.errors import StudioError

_CONNECT_S: Final = 3.0
_CHUNK_BYTES: Final = 1 << 16
_POOL: Final = 16
_ERROR: Final = object()
_GATEWAY: Final = (502, 503, 504)  # a proxy before the server speaks for it: it is away


class NeverSent(StudioError):  # noqa: N818  named like its code, `server_away`
    """`server_away`, and the server surely did not get the request."""


class Unanswered(StudioError):  # noqa: N818  likewise
    """`server_away`: the server holds the line and says nothing. It may still be working on it."""


class _NoNetrc(requests.auth.AuthBase):
    """Keep the host's `~/.netrc` out: our own headers are all that is sent."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class Calls:
    """Requests to one server. Used by many threads at once: nothing of the session ever changes."""

    def __init__(self, address: Address, *, timeout_s: float) -> None:
        self._address = address
        self._timeout = (min(_CONNECT_S, timeout_s), timeout_s)
        self._session = requests.Session()
        self._session.trust_env = not address.loopback  # no proxy between us and ourselves
        self._session.auth = _NoNetrc()
        self._session.headers.update(address.headers)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_POOL)
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)

    def close(self) -> None:
        """Close the kept connections, also those that a response in a traceback still refers to."""
        pools = self._adapter.poolmanager.pools
        for key in pools.keys():  # noqa: SIM118  urllib3's container cannot be iterated
            pools[key].close()
        self._session.close()

    def get(self, path: str, *, missing: Any = _ERROR, timeout_s: float | None = None) -> Any:
        """Fetch JSON; `missing` is the value for a 404, which is else an error.

        Asks a second time when a kept connection turned out to be dead.
        """
        timeout = None if timeout_s is None else (min(_CONNECT_S, timeout_s), timeout_s)
        response = self._twice("GET", path, timeout=timeout)
        if response.status_code == 404 and missing is not _ERROR:
            return missing
        return self._json(response)

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Send encoded JSON once; give status and answer: text where it is no JSON (9).

        Raises `NeverSent` when the server surely did not get it, `server_away` when it may have.
        """
        response = self._once("POST", path, data=body, headers={"Content-Type": "application/json"})
        if response.status_code in (401, 403, 413) or response.status_code in _GATEWAY:
            self.refuse(response)
        answer = wire.parse(response.content)
        return response.status_code, response.text if answer is None else answer

    def tell(self, path: str, body: Mapping[str, Any]) -> None:
        """Send JSON whose answer says nothing. Doing it twice must do no harm."""
        response = self._twice(
            "POST", path, data=encode(body), headers={"Content-Type": "application/json"}
        )
        if response.status_code >= 300:
            self.refuse(response)

    def upload(self, path: str, file: Path, name: str, fields: Mapping[str, str]) -> Any:
        """Send a file as the multipart field `image`, streamed; give the answer (43)."""
        try:
            return self._json(self._send_form(path, file, name, fields))
        except (NeverSent, Unanswered):
            raise
        except StudioError as error:
            if error.code != "server_away":
                raise
            return self._json(self._send_form(path, file, name, fields))  # same bytes, same name

    def _send_form(
        self, path: str, file: Path, name: str, fields: Mapping[str, str]
    ) -> requests.Response:
        with _Form(file, name, fields) as form:
            return self._once("POST", path, data=form, headers={"Content-Type": form.content_type})

    @contextmanager
    def stream(self, path: str, params: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """Fetch a file in pieces. 404 is `output_missing`; a line cut in between `server_away`."""
        response = self._twice("GET", path, params=params, stream=True)
        with response:
            if response.status_code == 404:
                raise StudioError("output_missing", file=params.get("filename", ""))
            if response.status_code != 200:
                self.refuse(response)
            yield self._pieces(response)

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_content(_CHUNK_BYTES)
        except (requests.RequestException, HTTPError, OSError) as exc:
            raise self._away(exc) from exc

    def _twice(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._once(method, path, **options)
        except (NeverSent, Unanswered):
            raise
        except StudioError:  # a kept connection that the server had closed meanwhile
            return self._once(method, path, **options)

    def _once(
        self, method: str, path: str, *, timeout: tuple[float, float] | None = None, **options: Any
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._address.url + path,
                timeout=timeout or self._timeout,
                allow_redirects=False,  # a redirected POST would turn into a GET
                **options,
            )
        except requests.RequestException as exc:
            raise self._away(exc) from exc

    def _away(self, exc: Exception) -> StudioError:
        """Translate what `requests` raises; tell apart what surely never left."""
        cause = getattr(exc.args[0], "reason", None) if exc.args else None
        if isinstance(cause, NewConnectionError | ConnectTimeoutError):
            kind: type[StudioError] = NeverSent
        elif isinstance(exc, requests.Timeout):
            kind = Unanswered
        else:
            kind = StudioError
        return kind(
            "server_away", details=repr(exc)[:500], retryable=True, server=self._address.name
        )

    def _json(self, response: requests.Response) -> Any:
        if response.status_code != 200:
            self.refuse(response)
        body = wire.parse(response.content)
        if body is None:
            raise StudioError(
                "server_answer",
                details=f"{_line(response)}: no JSON: {response.text[:200]!r}",
                server=self._address.name,
                status=response.status_code,
            )
        return body

    def refuse(self, response: requests.Response) -> NoReturn:
        """Raise our error for a status that is none of success; bodies are often plain text (9)."""
        status = response.status_code
        details = f"{_line(response)}: {status} {response.text[:300]!r}"
        named: dict[str, Any] = {"server": self._address.name, "status": status}
        if status in (401, 403):
            raise StudioError("server_forbidden", details=details, **named)
        if status == 413:
            raise StudioError("upload_too_large", details=details, limit=_limit(response), **named)
        if status in _GATEWAY:
            raise StudioError("server_away", details=details, retryable=True, **named)
        if status >= 500:
            raise StudioError("server_answer", details=details, **named)
        raise StudioError("server_refused", details=details, **named)


def encode(body: Mapping[str, Any]) -> bytes:
    """Write JSON for the wire. Raises ValueError for what is no JSON, such as NaN."""
    return json.dumps(body, allow_nan=False, ensure_ascii=False).encode("utf-8")


def _limit(response: requests.Response) -> str:
    """Read the limit, in MB, out of `Maximum request body size 1048576 exceeded.`"""
    told = re.search(r"\d+", response.text)
    return f"{int(told.group()) / 1024 / 1024:g}" if told else "?"


def _line(response: requests.Response) -> str:
    request = response.request
    return f"{request.method} {request.path_url.partition('?')[0]}"


class _Form:
    """A multipart form with one file, read while it is sent: never whole in memory."""

    def __init__(self, file: Path, name: str, fields: Mapping[str, str]) -> None:
        mark = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={mark}"
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        ]
        quoted = name.replace("\\", "_").replace('"', "%22").replace("\r", "").replace("\n", "")
        parts.append(
            f"--{mark}\r\nContent-Disposition: form-data; "
            f'name="image"; filename="{quoted}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        )
        self._head = "".join(parts).encode("utf-8")
        self._tail = f"\r\n--{mark}--\r\n".encode("ascii")
        self._size = len(self._head) + file.stat().st_size + len(self._tail)
        self._file: BinaryIO = file.open("rb")
        self._stage = 0

    def __enter__(self) -> _Form:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        """Give the next piece; empty at the end."""
        if self._stage == 0:
            self._stage = 1
            return self._head
        if self._stage == 1:
            piece = self._file.read(size if size > 0 else _CHUNK_BYTES)
            if piece:
                return piece
            self._stage = 2
            return self._tail
        return b""
