"""Run the practice server alone: `python -m studio.practice --port 8189 --pace 0.2`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from studio.practice.server import VERSIONS, PracticeServer


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, serve until Ctrl-C or SIGTERM."""
    chosen = _parser().parse_args(arguments)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    server = PracticeServer(
        host=chosen.host,
        port=chosen.port,
        profile=chosen.profile,
        pace_s=chosen.pace,
        folder=chosen.folder,
    )
    with server:
        sys.stdout.write(f"Practice server ({server.version}) at {server.url}\n")
        sys.stdout.flush()
        done.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m studio.practice", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8189, help="port; 0 takes a free one")
    parser.add_argument("--profile", choices=list(VERSIONS), default="0.8.0")
    parser.add_argument("--pace", type=float, default=0.35, help="seconds per sampler step")
    parser.add_argument("--folder", type=Path, help="where files live; default: temporary")
    return parser


if __name__ == "__main__":
    main()
