"""Workflows are proven once in a run of tests, and not once for each studio that it starts.

What is kept is keyed by the files and by the code, so it is as good in another folder.
"""

from __future__ import annotations

from pathlib import Path

_kept: list[bytes] = []


def remind(data_dir: Path) -> None:
    """Give a studio that is to be built what an earlier one found."""
    file = data_dir / "proofs.json"
    if _kept and not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_kept[0])


def learn(data_dir: Path) -> None:
    """Keep what the first studio found."""
    file = data_dir / "proofs.json"
    if not _kept and file.exists():
        _kept.append(file.read_bytes())
