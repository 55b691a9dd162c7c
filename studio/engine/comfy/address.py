"""The address of one server: for HTTP, for the socket, for people. Pure."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_OURS = ("origin", "host", "referer")
"""Headers that the libraries set rightly: another Origin is a 403 on a loopback server (47)."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a ComfyUI is.

    `url` has no secrets: a `user:password@` of the given address moves into `headers`.
    """

    url: str
    name: str
    host: str
    loopback: bool
    headers: Mapping[str, str] = field(repr=False)

    def socket_url(self, client_id: str) -> str:
        """Give the websocket's address for one client id."""
        scheme, _, rest = self.url.partition("://")
        return f"{_SCHEMES[scheme]}://{rest}/ws?clientId={quote(client_id, safe='')}"


def read(url: str, headers: Mapping[str, str] | None = None) -> Address:
    """Read an address such as `http://gpu-1:8188` or `https://user:word@host/comfy`.

    Raises ValueError when it is none.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"not the address of a ComfyUI: {url!r}")
    host = parts.hostname
    shown = f"[{host}]" if ":" in host else host
    place = f"{shown}:{parts.port}" if parts.port else shown
    path = parts.path.rstrip("/")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    kept = {k: v for k, v in (headers or {}).items() if k.lower() not in _OURS}
    if parts.username and not any(name.lower() == "authorization" for name in kept):
        kept["Authorization"] = _basic(unquote(parts.username), unquote(parts.password or ""))
    return Address(f"{scheme}://{place}{path}", place + path, host, is_loopback(host), kept)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def is_loopback(host: str) -> bool:
    """Tell whether a host name means this machine, whichever machine that is."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
