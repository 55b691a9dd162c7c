"""How the page's own events are: no progress drawn over fields, no endpoint for programs."""

from __future__ import annotations

from typing import Any, Final

QUIET: Final[dict[str, Any]] = {
    "show_progress": "hidden",
    # Without this Gradio notes each output of an event, and at each step of any other event looks
    # every noted component up again, hidden progress or not: 135 fields for each frame of a job.
    "show_progress_on": [],
    "api_visibility": "private",
}
