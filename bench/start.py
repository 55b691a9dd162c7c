"""Start to first page and idle memory, against an empty Gradio app, in turns."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.row import Row
from studio.settings import PROJECT

EMPTY = """
import os, gradio as gr
with gr.Blocks() as demo:
    gr.Markdown("empty")
demo.launch(server_port=int(os.environ["STUDIO_PORT"]), quiet=True)
"""
ROUNDS = 3


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _run(command: list[str], folder: str) -> tuple[float, float]:
    """Give seconds to the first page, and MB of memory a little later."""
    port = free_port()
    environment = os.environ | {
        "STUDIO_PORT": str(port),
        "DATA_DIR": f"{folder}/data",
        "OUTPUTS_DIR": f"{folder}/outputs",
        "LOG_DIR": f"{folder}/logs",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    page.read()
                break
            except (urllib.error.URLError, ConnectionError):
                assert time.perf_counter() - begun < 60, "no page after a minute"
                time.sleep(0.02)
        seconds = time.perf_counter() - begun
        time.sleep(3)
        return seconds, _memory_mb(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=20)


def measure() -> list[Row]:
    """Start each in turns: an empty app, a studio in a new folder, and one in a known folder."""
    empty, first, again = [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            empty.append(_run([sys.executable, "-c", EMPTY], folder))
            first.append(_run([sys.executable, "studio_app.py"], folder))
            again.append(_run([sys.executable, "studio_app.py"], folder))

    def against_empty(ours: list[tuple[float, float]], which: int) -> float:
        return statistics.median(o[which] / e[which] for o, e in zip(ours, empty, strict=True))

    slower, larger = against_empty(again, 0), against_empty(again, 1)
    seconds = statistics.median(one[0] for one in again)
    memory = statistics.median(one[1] for one in again)
    return [
        Row(
            f"start to first page ({seconds:.1f} s) against an empty Gradio app",
            f"{slower:.2f}x",
            "<= 1.3x",
            slower <= 1.3,
        ),
        Row(
            "… the very first in a folder, which proves every workflow",
            f"{against_empty(first, 0):.2f}x",
        ),
        Row(
            f"idle memory ({memory:.0f} MB) against it",
            f"{larger:.2f}x",
            "<= 1.5x",
            larger <= 1.5,
        ),
    ]
