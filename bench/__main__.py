"""`python -m bench [name …] [--save]`: measure, print tables, and with --save keep each bench's."""

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


def kept(results: str, name: str, table: str) -> str:
    """Put a bench's table into the text of RESULTS.md, in the place of its last one.

    Other benches' tables, and what was written by hand, stay as they are.
    """
    first, last = f"<!-- bench {name} -->", f"<!-- end of {name} -->"
    block = f"{first}\n{table}\n{last}"
    before, found, rest = results.partition(first)
    if found:
        return before + block + rest.partition(last)[2]
    return f"{results.rstrip()}\n\n## `python -m bench {name}`\n\n{block}\n"


def main(arguments: list[str]) -> None:
    names = [name for name in arguments if not name.startswith("--")] or list(ALL)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        table = _table(importlib.import_module(f"bench.{name}").measure())
        print(table)
        if "--save" in arguments:
            load, day = os.getloadavg()[0], f"{datetime.now(UTC):%Y-%m-%d}"
            said = f"{day}, {machine}, load at its end {load:.1f}\n\n{table}"
            RESULTS.write_text(kept(RESULTS.read_text("utf-8"), name, said), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
