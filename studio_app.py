"""ComfyUI Studio: settings, build, launch. `demo` is the page, for tools that import it."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from studio import log, texts
from studio.build import build
from studio.errors import StudioError
from studio.settings import load
from studio.tabs import StudioBlocks, make_demo


def open_page() -> StudioBlocks:
    """Build everything from the settings; a bad one ends the start with one line."""
    try:
        chosen = load()
        log.start(chosen.log_dir, level=chosen.log_level, hide=chosen.secret_values)
        return make_demo(build(chosen))
    except StudioError as error:
        sys.exit(" ".join(texts.explain(error)))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


demo = open_page()

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # else the studio's end would not run on SIGTERM
    demo.launch()
