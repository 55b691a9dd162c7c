from __future__ import annotations

import pytest

from studio.engine.line import STARTS_FORETOLD, Line, Turn


def starts(line: Line, *turns: Turn) -> str:
    """Who starts first, second and so on, as the places tell."""
    places = {line.place(t.person, own): t.person for t in turns for own in range(t.waiting)}
    return "".join(places[place] for place in range(len(places)))


@pytest.mark.parametrize(
    ("running", "waiting", "expected"),
    [
        ("", {"a": 3, "b": 2}, "ababa"),
        ("a", {"a": 2, "b": 3}, "babab"),
        ("aa", {"a": 2, "b": 2}, "baba"),
        ("ab", {"c": 1, "a": 1}, "ca"),
        ("bbb", {"a": 1, "b": 1}, "ab"),
    ],
    ids=["nobody runs", "one slot", "two slots", "two others run", "an own long row"],
)
def test_the_line_is_foretold(running: str, waiting: dict[str, int], expected: str) -> None:
    turns = [Turn(one, waiting[one], (running.count(one), ord(one))) for one in waiting]

    assert starts(Line(turns, running), *turns) == expected


def test_who_was_served_least_lately_is_first_among_equals() -> None:
    turns = [Turn("a", 2, (9, 0)), Turn("b", 2, (5, 0))]

    assert starts(Line(turns, ""), *turns) == "baba"


def test_nobody_is_foretold_more_at_once_than_the_limit() -> None:
    turns = [Turn("a", 3, (0, 0))]

    assert starts(Line(turns, "bbb", at_most=1), *turns) == "aaa"


def test_a_place_far_behind_is_told_as_one_at_the_end() -> None:
    line = Line([Turn("a", STARTS_FORETOLD + 50, (0, 0))], "")

    assert line.place("a", STARTS_FORETOLD + 7) == STARTS_FORETOLD + 7
