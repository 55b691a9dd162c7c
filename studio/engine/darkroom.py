"""What is made of kept files so that a page can show them: thumbnails, posters, playable copies.

And, of what is shared, copies without metadata. Each lies beside its file, in `.thumbs/`, `.play/`
and `.bare/`, and goes with it. Made once, at the first
asking or soon after a job completed, by a thread of its own; whatever fails here fails no job: the
file is then offered as it is, with a note. Knows no job's state.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from studio.engine import playable, stripped
from studio.engine.jobs import Output
from studio.engine.media import thumbnail
from studio.engine.store import Store
from studio.errors import StudioError

log = logging.getLogger("studio.darkroom")

NOTE_NO_PLAYABLE: Final = "note.no_playable"
NOTE_COPY: Final = "note.copy_shown"
_MAKERS: Final[dict[str, Callable[[Path, Path], None]]] = {
    "image": thumbnail,
    "video": playable.poster,
    "audio": playable.wave,
}


@dataclass(frozen=True, slots=True)
class Playable:
    """The file a page plays. `original` tells whether it is the kept file itself.

    `note` is a text key of what is shown instead of the original, and why, or empty.
    """

    path: Path
    mime: str
    original: bool
    note: str = ""


class Darkroom:
    """Makes and finds what pages show of kept files. Safe in many threads.

    `encode` writes a playable copy and gives why it failed, or an empty text.
    """

    def __init__(
        self, store: Store, *, encode: Callable[[Path, Path], str] = playable.copy_apart
    ) -> None:
        self._store = store
        self._encode = encode
        self._once = _Once()
        self._waiting: queue.SimpleQueue[Output | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def develop(self, outputs: Iterable[Output]) -> None:
        """Make what these files need soon, without making the caller wait."""
        for output in outputs:
            if output.kind in _MAKERS:
                self._waiting.put(output)
        with self._lock:
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(
                    target=self._work, name="studio-darkroom", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """End the thread after what it makes at present; what waits is made when asked for."""
        with self._lock:
            self._stopped = True
            thread = self._thread
        if thread is not None:
            self._waiting.put(None)
            thread.join(timeout=5)

    def small(self, output: Output) -> Path:
        """Give the small WebP of a picture or video, or the waveform of a sound.

        Raises `file_unknown` for other kinds and `file_broken` where none can be made.
        """
        maker = _MAKERS.get(output.kind)
        if maker is None:
            raise StudioError("file_unknown", name=output.name)
        kept = self._store.path(output)
        small = kept.parent / ".thumbs" / f"{kept.name}.webp"
        if not small.is_file():
            with self._once(small):
                if not small.is_file():
                    maker(kept, small)
        return small

    def play(self, output: Output) -> Playable:
        """Give what a browser can play of a file, made now if it must be and is not there yet.

        A sound plays as it is. Raises `file_unknown`.
        """
        kept = self._store.path(output)
        as_it_is = Playable(kept, output.mime, original=True)
        if output.kind != "video":
            return as_it_is
        copy, failed = _places(kept)
        with self._once(copy):
            if copy.is_file():
                return Playable(copy, "video/mp4", original=False, note=NOTE_COPY)
            if failed.is_file():
                return Playable(kept, output.mime, original=True, note=NOTE_NO_PLAYABLE)
            if playable.plays(kept, output.mime):
                return as_it_is
            return self._copied(kept, output, copy, failed)

    def note(self, output: Output) -> str:
        """Give the text key of what is shown in place of a film, without making a copy of it."""
        if output.kind != "video":
            return ""
        copy, failed = _places(self._store.path(output))
        if copy.is_file():
            return NOTE_COPY
        return NOTE_NO_PLAYABLE if failed.is_file() else ""

    def bare(self, output: Output) -> Path:
        """Give a file without prompt, workflow and other metadata, otherwise untouched.

        Raises `file_unknown`, and `share_unsupported` where that cannot surely be done.
        """
        kept = self._store.path(output)
        copy = kept.parent / ".bare" / kept.name
        with self._once(copy):
            if not copy.is_file():
                stripped.copy(kept, copy, output.mime)
        return copy

    def _copied(self, kept: Path, output: Output, copy: Path, failed: Path) -> Playable:
        why = self._encode(kept, copy)
        if not why:
            return Playable(copy, "video/mp4", original=False, note=NOTE_COPY)
        log.warning("no playable copy of %s: %s", output.path, why)
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(why, "utf-8")
        return Playable(kept, output.mime, original=True, note=NOTE_NO_PLAYABLE)

    def _work(self) -> None:
        while (output := self._waiting.get()) is not None and not self._stopped:
            try:
                self.small(output)
                self.play(output)
            except StudioError as error:
                log.warning("nothing to show of %s: %s", output.path, error)
            except Exception:
                # The loop's edge: the next file is not to suffer from this one.
                log.exception("nothing to show of %s", output.path)


def _places(kept: Path) -> tuple[Path, Path]:
    folder = kept.parent / ".play"
    return folder / f"{kept.name}.mp4", folder / f"{kept.name}.failed"


class _Once:
    """A lock for each path, there as long as somebody holds or awaits it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Path, tuple[threading.Lock, int]] = {}

    @contextmanager
    def __call__(self, path: Path) -> Iterator[None]:
        with self._lock:
            lock, users = self._held.get(path, (threading.Lock(), 0))
            self._held[path] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._held.pop(path)
                if users > 1:
                    self._held[path] = (lock, users - 1)
