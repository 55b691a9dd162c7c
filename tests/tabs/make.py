"""Jobs and news as values, for tests of what is drawn from them."""

from __future__ import annotations

from typing import Any

from studio.engine.jobs import Failure, Job, News, Output, State

NOON_US = 1_795_608_000_000_000


def output(index: int = 1, kind: str = "image", **more: Any) -> Output:
    ending, mime = {"image": ("png", "image/png"), "video": ("mp4", "video/mp4")}.get(
        kind, ("txt", "text/plain")
    )
    facts: dict[str, Any] = {"width_px": 1280, "height_px": 720} | more
    name = f"{index:03}.{ending}"
    return Output(index, "save", kind, name, f"x/{name}", mime, 100, **facts)


def job(state: State = State.COMPLETED, **more: Any) -> Job:
    facts: dict[str, Any] = {
        "values": {"prompt": "a cat", "aspect_ratio": "16:9"},
        "seed": "42",
        "outputs": (output(),) if state is State.COMPLETED else (),
        "created_us": NOON_US,
        "started_us": NOON_US,
        "ended_us": NOON_US + 6_400_000,
        "failure": Failure("out_of_memory") if state is State.FAILED else None,
    } | more
    values = facts.pop("values")
    return Job("job-1", "g-ann", "text_to_image", "text_to_image", values, state, **facts)


def news(state: State = State.PROCESSING, **more: Any) -> News:
    return News("job-1", "g-ann", 1, state, **more)
