"""What proxies say is believed of those we know alone."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import Headers

from studio.web.proxies import believe, networks


def asked(
    peer: str, trusted: list[str], *, link: str = "", own_host: str = "studio.local", **said: str
) -> dict[str, Any]:
    headers = [(f"x-forwarded-{name}".encode(), value.encode()) for name, value in said.items()]
    headers.append((b"host", own_host.encode()))
    scope = {"type": "http", "scheme": "http", "client": (peer, 1), "headers": headers}
    believe(scope, networks(trusted), link=link)
    return scope


def client(scope: dict[str, Any]) -> str:
    return str(scope["client"][0])


@pytest.mark.parametrize("peer", ["203.0.113.5", "127.0.0.1", "10.0.0.1", "unix", "::1"])
def test_a_stranger_is_believed_neither_address_nor_host(peer: str) -> None:
    scope = asked(peer, ["192.0.2.1"], **{"for": "198.51.100.1", "host": "evil.example"})

    assert client(scope) == peer
    assert "x-forwarded-host" not in Headers(scope=scope)


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("6.6.6.6, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
        ("10.1.1.1, 10.1.1.2", "10.1.1.1"),
        ("nonsense, 198.51.100.1, 10.1.1.1", "198.51.100.1"),
        ("198.51.100.1, nonsense", "10.0.0.9"),
        ("", "10.0.0.9"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_address_is_the_first_stranger_from_the_end(chain: str, found: str) -> None:
    assert client(asked("10.0.0.9", ["10.0.0.0/8"], **{"for": chain})) == found


def test_a_trusted_proxy_says_scheme_and_host() -> None:
    scope = asked("10.0.0.9", ["10.0.0.0/8"], proto="https", host="studio.example")

    assert scope["scheme"] == "https"
    assert Headers(scope=scope)["x-forwarded-host"] == "studio.example"


@pytest.mark.parametrize(
    ("peer", "scheme"),
    [("127.0.0.1", "https"), ("::ffff:127.0.0.1", "https"), ("10.2.2.2", "http")],
)
def test_the_scheme_is_believed_of_this_machine_too(peer: str, scheme: str) -> None:
    scope = asked(peer, [], proto="https")

    assert scope["scheme"] == scheme
    assert ("x-forwarded-proto" in Headers(scope=scope)) is (scheme == "https")


LINK = "https://abc.gradio.live"


@pytest.mark.parametrize(
    ("peer", "host", "found"),
    [
        ("127.0.0.1", "abc.gradio.live", "198.51.100.1"),
        ("127.0.0.1", "ABC.gradio.live", "198.51.100.1"),
        ("127.0.0.1", "127.0.0.1:7860", "127.0.0.1"),
        ("127.0.0.1", "evil.example", "127.0.0.1"),
        ("10.0.0.5", "abc.gradio.live", "10.0.0.5"),
    ],
)
def test_who_comes_by_the_share_link_is_told_by_its_far_end(
    peer: str, host: str, found: str
) -> None:
    said = {"for": "6.6.6.6, 198.51.100.1", "host": "evil.example"}

    scope = asked(peer, [], link=LINK, own_host=host, **said)

    assert client(scope) == found
    assert "x-forwarded-host" not in Headers(scope=scope)
    assert scope["scheme"] == ("https" if found == "198.51.100.1" else "http")


def test_without_a_link_no_name_is_the_links() -> None:
    scope = asked("127.0.0.1", [], own_host="", **{"for": "198.51.100.1"})

    assert client(scope) == "127.0.0.1"
