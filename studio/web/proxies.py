"""Who really asks, and at which address: what proxies say is believed only of those we know.

Anybody can send `X-Forwarded-*`. The address and the host are taken from trusted proxies alone;
the scheme also from this machine, since a proxy or a share tunnel here ends TLS. What comes through
that tunnel is told by its name, and its end out there says who comes: else all who come by the link
would be one address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.types import Scope

Network = IPv4Network | IPv6Network
_SAID = (
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-original-url",
    "x-real-ip",
    "x-rewrite-url",
)


def networks(names: Iterable[str]) -> tuple[Network, ...]:
    """Read addresses and networks (`10.0.0.0/8`). Raises ValueError."""
    return tuple(ip_network(name, strict=False) for name in names)


def believe(scope: Scope, trusted: Sequence[Network], *, link: str = "") -> None:
    """Write into a request's scope what can be believed, and take every other claim out.

    `link` is the address of the public share link while there is one.
    """
    headers = MutableHeaders(scope=scope)
    peer = _address((scope.get("client") or ("", 0))[0])
    known = _within(peer, trusted)
    scheme = _last(headers.get("x-forwarded-proto"))
    host = _last(headers.get("x-forwarded-host"))
    said = headers.getlist("x-forwarded-for")
    for name in _SAID:
        del headers[name]
    if scheme in ("http", "https") and (known or (peer is not None and peer.is_loopback)):
        scope["scheme"] = scheme
        headers["x-forwarded-proto"] = scheme
    by_link = peer is not None and peer.is_loopback and _is_host_of(link, headers.get("host"))
    if by_link and not scheme:
        scope["scheme"] = headers["x-forwarded-proto"] = urlsplit(link).scheme
    if not known and not by_link:
        return
    if host and known:
        headers["x-forwarded-host"] = host
    chain = [part.strip() for line in said for part in line.split(",")]
    client = _first_stranger(chain, trusted)
    if client is not None:
        scope["client"] = (str(client), 0)


def _is_host_of(link: str, host: str | None) -> bool:
    return bool(link) and bool(host) and urlsplit(link).netloc.lower() == str(host).lower()


def loopback(host: str) -> bool:
    """Tell whether a host's name or address means this machine."""
    address = _address(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def _first_stranger(
    chain: Sequence[str], trusted: Sequence[Network]
) -> IPv4Address | IPv6Address | None:
    """Read the chain from its end: what stands before the first stranger, that one made up."""
    found = None
    for name in reversed(chain):
        address = _address(name)
        if address is None:
            return found
        found = address
        if not _within(address, trusted):
            return found
    return found


def _address(name: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _within(address: IPv4Address | IPv6Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)


def _last(line: str | None) -> str:
    """Give what the nearest proxy said: it writes behind what came to it."""
    return (line or "").rpartition(",")[2].strip()
