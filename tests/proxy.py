"""A real nginx with TLS before a studio, under a path of its own, as the README has it."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from studio.settings import PROJECT

_WHERE = f"{os.environ.get('PATH', '')}:/usr/sbin"
NGINX = shutil.which("nginx", path=_WHERE)
OPENSSL = shutil.which("openssl", path=_WHERE)
_HOUSE = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
{place}
  }}
}}
"""


def place_in_readme(port: int) -> str:
    """Give the README's own lines for nginx, for a studio on this port."""
    text = (PROJECT / "README.md").read_text("utf-8")
    block = text.split("```nginx\n")[1].split("```")[0]
    assert "127.0.0.1:7860" in block
    return block.replace("127.0.0.1:7860", f"127.0.0.1:{port}")


@contextmanager
def nginx(folder: Path, upstream: int, port: int) -> Iterator[str]:
    """Serve the studio on `upstream` at https://127.0.0.1:`port`/studio; give that address."""
    if NGINX is None or OPENSSL is None:
        pytest.skip("nginx and openssl are needed")
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    house = _HOUSE.format(folder=folder, port=port, place=place_in_readme(upstream))
    (folder / "nginx.conf").write_text(house, "utf-8")
    with subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf"]) as process:
        try:
            _wait_for(port, folder / "cert.pem", process)
            yield f"https://127.0.0.1:{port}/studio"
        finally:
            process.terminate()
            process.wait(timeout=10)


def _wait_for(port: int, certificate: Path, process: subprocess.Popen[bytes]) -> None:
    context = ssl.create_default_context(cafile=str(certificate))
    for _ in range(200):
        assert process.poll() is None, "nginx ended"
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1"),
            ):
                return
        except ConnectionRefusedError:
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
    raise AssertionError("nginx does not answer")
