"""ComfyUI Studio: settings, build, launch. `demo` is the page, for tools that import it."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import studio.early
from studio import log, texts
from studio.build import build
from studio.errors import StudioError
from studio.settings import arguments, load
from studio.tabs import StudioBlocks, make_demo


def open_page() -> StudioBlocks:
    """Build everything from the settings."""
    chosen = load(**(arguments(sys.argv[1:]) if __name__ == "__main__" else {}))
    log.start(chosen.log_dir, level=chosen.log_level, hide=chosen.secret_values)
    return make_demo(build(chosen))


def _interrupt(number: int, _frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one would cut the clean end short
    raise KeyboardInterrupt


try:
    demo = open_page()
    studio.early.settle()
    if __name__ == "__main__":
        signal.signal(signal.SIGTERM, _interrupt)  # else the studio's end would not run
        demo.launch()
except StudioError as error:  # a setting that will not do ends the start with one line
    sys.exit(" ".join(texts.explain(error)))
