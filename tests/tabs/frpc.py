"""Stand-ins for Gradio's tunnel program: one that works, and those that fail as people saw it."""

from __future__ import annotations

import sys
from pathlib import Path

_WORKS = '''
import http.client, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

asked = dict(zip(sys.argv, sys.argv[1:]))
own = asked["-n"]

class Through(BaseHTTPRequestHandler):
    """Passes on what comes, as the far end of the tunnel does."""

    def do_GET(self):
        there = http.client.HTTPConnection(asked["-i"], int(asked["-l"]), timeout=20)
        headers = dict(self.headers.items())
        headers |= {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        headers["Connection"] = "close"
        there.request("GET", self.path, headers=headers)
        answer = there.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        print("[I] a visitor came " + "x" * 4000, flush=True)

server = ThreadingHTTPServer(("127.0.0.1", 0), Through)
print("[I] start proxy success: http://127.0.0.1:%d" % server.server_port, flush=True)
server.serve_forever()
'''
_SILENT = """
import signal
signal.pause()
"""
_DIES = """
import sys
sys.stderr.write("[E] no such server\\n")
sys.exit(1)
"""
_BLOCKED = """
import signal
print("[W] login to server failed: dial tcp 192.0.2.1:7000: i/o timeout", flush=True)
signal.pause()
"""
PROGRAMS = {"works": _WORKS, "silent": _SILENT, "dies": _DIES, "blocked": _BLOCKED}


def program(folder: Path, kind: str) -> Path:
    """Write one of them, to be run in the place of Gradio's."""
    path = folder / f"frpc-{kind}"
    path.write_text(f"#!{sys.executable} -ES\n{PROGRAMS[kind]}", "utf-8")
    path.chmod(0o700)
    return path
