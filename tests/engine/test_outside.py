"""What leads into the host's own network is refused: by resolved address, after each redirect."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import pytest

from studio.engine.outside import Outside, addresses_of, connect, is_public
from studio.errors import StudioError
from tests.elsewhere import Script, Server, Visitor, serving

PUBLIC = "93.184.215.14"
OTHER = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


class Net:
    """A net of its own: names as told, and public addresses that end at a throwaway server."""

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]], port: int = 0) -> None:
        self._names = {name: list(answers) for name, answers in names.items()}
        self._port = port
        self.asked: list[str] = []
        self.dialled: list[tuple[str, int]] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        """Give a name's next answer, the last for ever."""
        self.asked.append(host)
        if host not in self._names:
            return addresses_of(host, port)
        answers = self._names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def dial(self, address: str, port: int, timeout_s: float) -> socket.socket:
        self.dialled.append((address, port))
        return connect("127.0.0.1", self._port or port, timeout_s)


def fetched(outside: Outside, url: str, max_bytes: int = 1000) -> bytes:
    into = BytesIO()
    outside.fetch(url, into, max_bytes=max_bytes)
    return into.getvalue()


def refused(outside: Outside, url: str, max_bytes: int = 1000) -> StudioError:
    into = BytesIO()
    with pytest.raises(StudioError) as told:
        outside.fetch(url, into, max_bytes=max_bytes)
    return told.value


def trusting(server: Server, **more: float) -> Outside:
    return Outside(allowed=[f"127.0.0.1:{server.port}"], **more)  # type: ignore[arg-type]


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3",  # noqa: S104  (an address to refuse)
        "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1",
        "127.255.255.254", "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255",
        "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
        "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "100::1",
        "2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "2002:7f00:1::",
        "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
        "fe80::1%lo", "2606:4700::1%lo", "fec0::1", "ff02::1", "localhost", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_of_the_open_internet_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", PUBLIC, OTHER, "64:ff9b::808:808"])
def test_an_address_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8188/", "http://127.0.0.1/", "https://127.0.0.1/", "http://127.1/",
        "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0177.0.0.1/",
        "http://017700000001/", "http://0/", "http://0.0.0.0:8188/", "http://localhost:8188/",
        "http://LOCALHOST./", "http://169.254.169.254/latest/meta-data/", "http://[::1]/",
        "http://[::1]:8188/", "http://[::ffff:127.0.0.1]/", "http://[::]/",
        "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
    ],
)  # fmt: skip
def test_no_spelling_of_an_inner_address_is_ever_dialled(url: str) -> None:
    net = Net({})

    error = refused(Outside(resolve=net.resolve, dial=net.dial), url)

    assert error.code == "url_refused"
    assert net.dialled == []


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.png", "//host/x", "ftp://host/x", "file:///etc/passwd", "gopher://host/",
        "data:image/png;base64,AAAA", "http://", "http:///x", "http://host:0/", "http://host:99999/",
        "http://host:x/", "http://user@host/", "http://user:word@host/", "http://:word@host/",
        "http://@host/", "http://host\\@127.0.0.1/", "http://ho st/", "http://host/\r\nX: y",
        " http://host/", "http://host/\x00", "http://[fe80::1%25lo]/", "http://a..b/",
        f"http://host/{'x' * 2000}", "http://[::1", "javascript:alert(1)",
        f"http://{'a' * 64}.com/",
    ],
)  # fmt: skip
def test_what_is_not_plainly_http_or_https_is_refused_before_any_name_is_asked(url: str) -> None:
    net = Net({"host": [[PUBLIC]]})

    assert refused(Outside(resolve=net.resolve, dial=net.dial), url).code == "url_refused"
    assert (net.asked, net.dialled) == ([], [])


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], [OTHER, "fe80::1"], [PUBLIC, "10.1.2.3"], []]
)
def test_a_name_is_refused_when_any_of_its_addresses_is_not_public(answers: list[str]) -> None:
    net = Net({"pictures.example": [answers]})

    error = refused(Outside(resolve=net.resolve, dial=net.dial), "http://pictures.example/a.png")

    assert error.code == "url_refused"
    assert net.dialled == []


def test_all_refusals_look_the_same_to_who_asks() -> None:
    with serving(lambda visitor: visitor.answer(500, b"inner words")) as server:
        closed = socket.create_server(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()
        trusted = Outside(allowed=["127.0.0.1"])
        told = [
            refused(trusted, f"http://127.0.0.1:{server.port}/"),
            refused(trusted, f"http://127.0.0.1:{port}/"),
            refused(Outside(), f"http://127.0.0.1:{server.port}/"),
            refused(Outside(), "http://no-such-name.invalid/"),
        ]

    assert {(error.code, tuple(error.params)) for error in told} == {("url_refused", ())}


# --- the connection ------------------------------------------------------------------------------


def test_a_public_file_is_fetched_without_cookie_password_or_packing() -> None:
    with serving(lambda visitor: visitor.answer(200, b"a picture")) as server:
        net = Net({"pictures.example": [[PUBLIC]]}, server.port)
        outside = Outside(resolve=net.resolve, dial=net.dial)
        into = BytesIO()

        name = outside.fetch(
            "http://pictures.example:8080/a%20b/貓.png?x=1 2#y".replace(" ", "+"),
            into,
            max_bytes=100,
        )

        assert (into.getvalue(), name) == (b"a picture", "貓.png")
        assert net.dialled == [(PUBLIC, 8080)]
        [visit] = server.visits
        assert (visit.method, visit.path) == ("GET", "/a%20b/%E8%B2%93.png?x=1+2")
        assert visit.headers == {
            "host": "pictures.example:8080",
            "user-agent": "ComfyUI-Studio",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
        }


def test_a_name_that_changes_between_look_and_connection_changes_nothing() -> None:
    with serving(lambda visitor: visitor.answer(200, b"public")) as server:
        net = Net({"rebind.example": [[PUBLIC], ["127.0.0.1"]]}, server.port)

        assert (
            fetched(Outside(resolve=net.resolve, dial=net.dial), "http://rebind.example/")
            == b"public"
        )

        assert net.asked == ["rebind.example"]
        assert net.dialled == [(PUBLIC, 80)]


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer() -> None:
    with serving(lambda visitor: visitor.answer(200, b"here")) as server:
        net = Net({"two.example": [[OTHER, PUBLIC]]}, server.port)

        def dial(address: str, port: int, timeout_s: float) -> socket.socket:
            if address == OTHER:
                raise OSError("no route")
            return net.dial(address, port, timeout_s)

        assert fetched(Outside(resolve=net.resolve, dial=dial), "http://two.example/") == b"here"


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:8188/", "http://169.254.169.254/", "http://[::1]/", "//127.0.0.1/x",
        "http://inner.example/", "http://2130706433/", "file:///etc/passwd", "http://u:p@b.example/",
        "", "http://[",
    ],
)  # fmt: skip
def test_a_redirect_inwards_is_refused(location: str) -> None:
    with serving(lambda visitor: visitor.answer(302, location=location)) as server:
        net = Net({"a.example": [[PUBLIC]], "inner.example": [["10.0.0.7"]]}, server.port)

        error = refused(Outside(resolve=net.resolve, dial=net.dial), "http://a.example/")

        assert error.code == "url_refused"
        assert net.dialled == [(PUBLIC, 80)]
        assert len(server.visits) == 1


def test_a_name_that_is_public_at_first_and_private_after_a_redirect_is_refused() -> None:
    with serving(lambda visitor: visitor.answer(307, location="/again")) as server:
        net = Net({"a.example": [[PUBLIC], ["127.0.0.1"]]}, server.port)

        refused(Outside(resolve=net.resolve, dial=net.dial), "http://a.example/")

        assert net.dialled == [(PUBLIC, 80)]


def test_three_redirects_are_followed_and_no_fourth() -> None:
    def script(visitor: Visitor) -> None:
        left = int(visitor.path.removeprefix("/"))
        if left:
            visitor.answer(301, location=f"{left - 1}")
        else:
            visitor.answer(200, b"there")

    with serving(script) as server:
        outside = trusting(server)

        assert fetched(outside, f"http://127.0.0.1:{server.port}/3") == b"there"
        assert refused(outside, f"http://127.0.0.1:{server.port}/4").code == "url_refused"


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(lambda visitor: visitor.answer(200, b"direct")) as server:
        assert fetched(trusting(server), f"http://127.0.0.1:{server.port}/") == b"direct"


def test_a_server_of_the_house_is_refused_though_its_address_is_public() -> None:
    names = {"gpu.example": [[PUBLIC]], "alias.example": [[OTHER, PUBLIC]]}
    net = Net(names)
    outside = Outside(house=["gpu.example"], resolve=net.resolve, dial=net.dial)

    for url in ("http://gpu.example:8188/", "http://alias.example/", f"http://{PUBLIC}/"):
        assert refused(outside, url).code == "url_refused"
    assert net.dialled == []


def test_this_machine_is_refused_by_its_own_public_address_too() -> None:
    with serving(lambda visitor: visitor.answer(200, b"inner")) as server:

        def dial(_address: str, _port: int, timeout_s: float) -> socket.socket:
            line = connect("127.0.0.1", server.port, timeout_s)
            return Own(line)

        class Own(socket.socket):
            """A connection of a machine to the public address it has itself."""

            def __init__(self, line: socket.socket) -> None:
                super().__init__(fileno=line.detach())

            def getsockname(self) -> tuple[str, int]:
                return (PUBLIC, 40000)

        outside = Outside(resolve=lambda _host, _port: [PUBLIC], dial=dial)

        assert refused(outside, "http://me.example/").code == "url_refused"
        assert server.visits == []


def test_a_host_the_host_of_the_studio_named_may_be_private() -> None:
    with serving(lambda visitor: visitor.answer(200, b"ours")) as server:
        net = Net({"hooks.internal": [["127.0.0.1"]]})
        url = f"http://HOOKS.internal:{server.port}/"

        for allowed in (f"hooks.internal:{server.port}", "hooks.internal"):
            assert fetched(Outside(allowed=[allowed], resolve=net.resolve), url) == b"ours"
        for other in ("hooks.internal:1", "internal", "127.0.0.1"):
            refused(Outside(allowed=[other], resolve=net.resolve), url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for `files.example`, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    key = path.with_name("key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes",
         "-keyout", key, "-out", path, "-days", "2", "-subj", "/CN=files.example",
         "-addext", "subjectAltName=DNS:files.example"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    path.write_text(path.read_text() + key.read_text())
    return path


def test_a_server_must_prove_its_name(certificate: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    knows = ssl.create_default_context(cafile=str(certificate))
    with serving(lambda visitor: visitor.answer(200, b"secret"), served) as server:
        net = Net({"files.example": [[PUBLIC]], "other.example": [[PUBLIC]]}, server.port)

        def outside(tls: ssl.SSLContext | None) -> Outside:
            return Outside(resolve=net.resolve, dial=net.dial, tls=tls)

        assert fetched(outside(knows), "https://files.example/a") == b"secret"
        refused(outside(knows), "https://other.example/a")
        refused(outside(None), "https://files.example/a")
        assert net.dialled[0] == (PUBLIC, 443)


# --- the body ------------------------------------------------------------------------------------


def endless(visitor: Visitor) -> None:
    visitor.drip(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)


def lying(visitor: Visitor) -> None:
    visitor.answer(200, b"x", content_length="1000000000000")


def chunked(visitor: Visitor) -> None:
    visitor.drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n" * 5000)


@pytest.mark.parametrize("script", [endless, lying, chunked])
def test_no_more_than_the_largest_size_is_taken(script: Script) -> None:
    with serving(script) as server:
        into = BytesIO()
        with pytest.raises(StudioError, match="file_too_large"):
            trusting(server).fetch(
                f"http://127.0.0.1:{server.port}/big.png", into, max_bytes=99_999
            )

    assert len(into.getvalue()) <= 99_999


def test_just_the_largest_size_is_taken() -> None:
    with serving(lambda visitor: visitor.answer(200, b"x" * 1000)) as server:
        assert len(fetched(trusting(server), f"http://127.0.0.1:{server.port}/", 1000)) == 1000


def slow_head(visitor: Visitor) -> None:
    visitor.drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")


def slow_line(visitor: Visitor) -> None:
    visitor.drip(b"HTTP/1.1 200 OK\r\nX: ", b"y")


def slow_body(visitor: Visitor) -> None:
    visitor.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"y")


def silent(visitor: Visitor) -> None:
    visitor.gone.wait(10)


def interim(visitor: Visitor) -> None:
    visitor.drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize("script", [slow_head, slow_line, slow_body, silent, interim])
def test_who_drips_is_left_after_the_time_for_all_of_it(script: Script) -> None:
    with serving(script) as server:
        error = refused(trusting(server, fetch_s=0.3), f"http://127.0.0.1:{server.port}/")

    assert error.code == "url_refused"


def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    done = threading.Event()

    def resolve(_host: str, _port: int) -> Sequence[str]:
        done.wait(10)
        return [PUBLIC]

    error = refused(Outside(resolve=resolve, fetch_s=0.1), "http://slow.example/")
    done.set()

    assert error.code == "url_refused"


def test_a_packed_body_is_refused_and_never_unpacked() -> None:
    bomb = gzip.compress(bytes(1_000_000))
    with serving(lambda visitor: visitor.answer(200, bomb, content_encoding="gzip")) as server:
        assert (
            refused(trusting(server), f"http://127.0.0.1:{server.port}/", 10**9).code
            == "url_refused"
        )


@pytest.mark.parametrize("status", [201, 204, 304, 400, 401, 403, 404, 500, 503])
def test_only_a_plain_200_is_a_file(status: int) -> None:
    with serving(
        lambda visitor: visitor.answer(status, b"" if status in (204, 304) else b"words")
    ) as server:
        refused(trusting(server), f"http://127.0.0.1:{server.port}/")


@pytest.mark.parametrize(
    "words", [b"SSH-2.0-x\r\n", b"", b"HTTP/1.1 2000\r\n\r\n", b"\x00" * 100, b"+PONG\r\n"]
)
def test_what_speaks_no_http_is_refused_and_not_told(words: bytes) -> None:
    with serving(lambda visitor: visitor.line.sendall(words)) as server:
        error = refused(trusting(server), f"http://127.0.0.1:{server.port}/")

    assert (error.code, error.params) == ("url_refused", {})


def test_a_body_that_ends_early_is_no_file() -> None:
    with serving(lambda visitor: visitor.answer(200, b"half", content_length="8")) as server:
        refused(trusting(server), f"http://127.0.0.1:{server.port}/")


# --- posts ---------------------------------------------------------------------------------------


def test_a_post_tells_what_was_answered_and_follows_no_redirect() -> None:
    def script(visitor: Visitor) -> None:
        visitor.answer(302, location="/elsewhere", retry_after="7")

    with serving(script) as server:
        reply = trusting(server).post(
            f"http://127.0.0.1:{server.port}/hook",
            b'{"a": 1}',
            {"Content-Type": "application/json"},
        )

        assert (reply.status, reply.retry_after) == (302, "7")
        [visit] = server.visits
        assert (visit.method, visit.path, visit.body) == ("POST", "/hook", b'{"a": 1}')
        assert visit.headers["content-type"] == "application/json"


def test_a_post_inwards_is_refused() -> None:
    with serving(lambda visitor: visitor.answer(200)) as server:
        with pytest.raises(StudioError, match="url_refused"):
            Outside().post(f"http://127.0.0.1:{server.port}/", b"", {})

        assert server.visits == []


def test_an_end_of_the_studio_ends_what_is_under_way() -> None:
    with serving(silent) as server:
        outside = trusting(server)
        told: list[StudioError] = []
        waiting = threading.Thread(
            target=lambda: told.append(refused(outside, f"http://127.0.0.1:{server.port}/"))
        )
        waiting.start()
        while not server.visits:
            threading.Event().wait(0.01)

        outside.stop()
        waiting.join(timeout=10)

    assert [error.code for error in told] == ["url_refused"]
    assert refused(outside, f"http://127.0.0.1:{server.port}/").code == "url_refused"
