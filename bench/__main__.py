"""`python -m bench [name …] [--save]`: measure, print a table, and with --save keep it."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.row import Row

ALL = ("tax", "gap", "cancel", "accept", "lag", "start", "history")
RESULTS = Path(__file__).parent / "RESULTS.md"


def _table(rows: list[Row]) -> str:
    lines = ["| what | measured | target | met |", "|---|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        lines.append(f"| {row.what} | {row.figure} | {row.target} | {met} |")
    return "\n".join(lines)


def _sections() -> str:
    """Give what was written below the table by hand, from the first section on."""
    _, mark, rest = RESULTS.read_text("utf-8").partition("\n## ")
    return mark + rest


def main(arguments: list[str]) -> None:
    names = [name for name in arguments if not name.startswith("--")] or list(ALL)
    rows: list[Row] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"bench.{name}").measure()
    table = _table(rows)
    print(table)
    if "--save" in arguments:
        machine = (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        RESULTS.write_text(f"# Measured\n\n{day}, {machine}\n\n{table}\n{_sections()}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
