from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from studio.engine.together import Together
from tests.chain.house import wait_until

WAIT_S = 10
WHOLE, ALONE = 13, -1


class Work:
    """Doubles numbers. It waits for its gate, and refuses one number whole and one alone."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.begun = threading.Event()
        self.gate = threading.Event()

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(asked))
        self.begun.set()
        assert self.gate.wait(WAIT_S)
        if WHOLE in asked:
            raise ArithmeticError("the whole group")
        return [LookupError("this one") if one == ALONE else 2 * one for one in asked]


def asked(work: Work, together: Together[int, int], *numbers: int) -> list[Future[int]]:
    """Have each number asked for by a thread, the later ones while the first is served."""
    with ThreadPoolExecutor(len(numbers)) as pool:
        futures = [pool.submit(together, numbers[0])]
        assert work.begun.wait(WAIT_S)
        for count, number in enumerate(numbers[1:], 1):
            futures.append(pool.submit(together, number))
            wait_until(lambda count=count: len(together._line) == count)
        work.gate.set()
    return futures


@pytest.fixture
def work() -> Work:
    return Work()


def test_who_is_alone_is_served_at_once(work: Work) -> None:
    work.gate.set()
    together = Together(work, most=4)

    assert [together(1), together(2)] == [2, 4]
    assert work.groups == [[1], [2]]


def test_those_who_come_meanwhile_are_served_in_one_go_in_their_order(work: Work) -> None:
    found = asked(work, Together(work, most=4), 1, 2, 3, 4)

    assert [one.result(WAIT_S) for one in found] == [2, 4, 6, 8]
    assert work.groups == [[1], [2, 3, 4]]


def test_a_group_has_no_more_than_may_be(work: Work) -> None:
    found = asked(work, Together(work, most=2), 1, 2, 3, 4)

    assert [one.result(WAIT_S) for one in found] == [2, 4, 6, 8]
    assert work.groups == [[1], [2, 3], [4]]


def test_a_refusal_reaches_its_asker_alone(work: Work) -> None:
    one, two, refused, three = asked(work, Together(work, most=4), 1, 2, ALONE, 3)

    assert [one.result(WAIT_S), two.result(WAIT_S), three.result(WAIT_S)] == [2, 4, 6]
    with pytest.raises(LookupError, match="this one"):
        refused.result(WAIT_S)


def test_what_one_spoils_for_a_group_is_done_for_the_others_one_by_one(work: Work) -> None:
    one, two, spoiler, three = asked(work, Together(work, most=4), 1, 2, WHOLE, 3)

    assert [one.result(WAIT_S), two.result(WAIT_S), three.result(WAIT_S)] == [2, 4, 6]
    with pytest.raises(ArithmeticError):
        spoiler.result(WAIT_S)
    assert work.groups == [[1], [2, WHOLE, 3], [2], [WHOLE], [3]]


def test_who_was_to_serve_and_was_struck_leaves_the_others_served() -> None:
    begun, gate, groups = threading.Event(), threading.Event(), []

    def struck(numbers: Sequence[int]) -> list[int | Exception]:
        groups.append(list(numbers))
        begun.set()
        assert gate.wait(WAIT_S)
        if numbers[0] == 2:
            raise KeyboardInterrupt
        return list(numbers)

    together = Together(struck, most=4)
    with ThreadPoolExecutor(3) as pool:
        one = pool.submit(together, 1)
        assert begun.wait(WAIT_S)
        two = pool.submit(together, 2)
        wait_until(lambda: len(together._line) == 1)
        three = pool.submit(together, 3)
        wait_until(lambda: len(together._line) == 2)
        gate.set()

        assert (one.result(WAIT_S), three.result(WAIT_S)) == (1, 3)
        with pytest.raises(KeyboardInterrupt):
            two.result(WAIT_S)
    assert groups == [[1], [2, 3], [3]]
