"""Whose the files in Gradio's folder are: an upload is its person's alone.

Gradio gives any file of its folder to whoever knows the address. Each upload by a known person
leaves a claim here, one empty file, so that every web process on this machine knows it. A file
without a claim (an upload by a program that shows no identity, a result handed to one) is open to
who knows its address, which nobody can guess.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path
from typing import Final

_KEEP_S: Final = 2 * 24 * 3600
"""Gradio itself keeps files for a day."""

_SWEEP_EVERY_S: Final = 3600


class GradioFiles:
    """The files in `folder`, and the claims on them in `claims`. Blocks on the disk."""

    def __init__(self, folder: Path, claims: Path) -> None:
        self._folder = folder
        self._claims = claims
        self._swept_at = 0.0

    def claim(self, path: str, person: str) -> None:
        """Note that a file is this person's; of equal uploads by two, both are its owners."""
        home = self._home(path)
        home.mkdir(parents=True, exist_ok=True)
        (home / _short(person)).touch()
        home.touch()
        self._sweep()

    def may_read(self, path: str, person: str | None) -> bool:
        """Tell whether a file is in the folder, and nobody else's alone."""
        if "\x00" in path or not self._within(path):
            return False
        home = self._home(path)
        return not home.is_dir() or (person is not None and (home / _short(person)).is_file())

    def _within(self, path: str) -> bool:
        real = Path(path).resolve()
        return real.is_relative_to(self._folder.resolve()) and real.is_file()

    def _home(self, path: str) -> Path:
        return self._claims / _short(str(Path(path).resolve()))

    def _sweep(self) -> None:
        now = time.time()
        if now - self._swept_at < _SWEEP_EVERY_S:
            return
        self._swept_at = now
        for home in self._claims.iterdir():
            if now - home.stat().st_mtime > _KEEP_S:
                shutil.rmtree(home, ignore_errors=True)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
