"""Formulas of manifests: what they compute, and what they refuse to be."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.engine.workflow import formula
from studio.engine.workflow.faults import FaultError


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("4 * round(seconds * fps / 4) + 1", {"seconds": 5.0, "fps": 24}, 121),
        ("4 * round(seconds * fps / 4) + 1", {"seconds": 0.5, "fps": 16}, 9),
        ("ceil(audio.seconds * 25)", {"audio.seconds": 2.2}, 55),
        ("ceil(audio.seconds * 25)", {"audio.seconds": 2.201}, 56),
        ("floor(x)", {"x": 2.9999999}, 3),
        ("round(x)", {"x": 2.5}, 3),
        ("max(1, min(x, 8)) - -2", {"x": 11}, 10),
        ("a / b", {"a": 1, "b": 4}, 0.25),
    ],
)
def test_a_formula_computes_what_it_says(
    text: str, values: dict[str, float], expected: float
) -> None:
    found = formula.value(text, values)

    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "x ** 2",
        "'a'",
        "True",
        "print(x)",
        "__import__('os')",
        "x.y.z",
        "(x).real()",
        "[1]",
        "x if y else z",
        "round(x, 2)",
        "min(x)",
        "max(x, y, key=z)",
        "lambda: 1",
        "x" * 3 + "\x00",
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(FaultError):
        formula.names(text)


def test_a_formula_names_what_it_reads() -> None:
    assert formula.names("max(a, 2) * clip.seconds + a / b") == {"a", "b", "clip.seconds"}


def test_what_cannot_be_worked_out_is_a_fault() -> None:
    for values in ({"a": 1, "b": 0}, {"a": "x", "b": 1}, {"a": float("inf"), "b": 1}):
        with pytest.raises(FaultError, match="cannot be worked out"):
            formula.value("ceil(a / b)", values)


@given(st.floats(0.05, 60), st.sampled_from([16, 24, 25, 30]))
def test_frames_by_ceil_never_end_before_the_sound_and_at_most_a_frame_after(
    seconds: float, fps: int
) -> None:
    frames = formula.value("ceil(audio.seconds * fps)", {"audio.seconds": seconds, "fps": fps})

    assert -1e-6 <= frames - seconds * fps <= 1
    assert frames == math.ceil(frames)
