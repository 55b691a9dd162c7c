"""Orders that come at the same moment: the ledger's promises of `create`, kept for each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import peewee
import pytest

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.jobs import Job, NewJob
from studio.engine.ledger import Ledger
from studio.errors import StudioError
from tests.chain.house import wait_until

MakeJob = Callable[..., NewJob]
T = TypeVar("T")
WAIT_S = 20


class Held(Database):
    """A database whose next write waits for its gate, and that may then go away."""

    def __init__(self, connection: peewee.Database) -> None:
        super().__init__(connection, patience_s=0)
        self.begun, self.gate = threading.Event(), threading.Event()
        self.commits = 0
        self.away = False

    def _write_once(self, work: Callable[[], T]) -> T:
        self.begun.set()
        assert self.gate.wait(WAIT_S)
        if self.away:
            raise peewee.OperationalError(2006, "the server has gone away")
        self.commits += 1
        return super()._write_once(work)


@pytest.fixture
def held(database: Database) -> Held:
    return Held(database.peewee)


@contextmanager
def at_once(held: Held, ledger: Ledger, *new: NewJob) -> Iterator[list[Future[Job]]]:
    """Have the jobs created by a thread each, those after the first in one group."""
    line = ledger._orders._together._line
    with ThreadPoolExecutor(len(new)) as pool:
        futures = [pool.submit(ledger.create, new[0])]
        assert held.begun.wait(WAIT_S)
        for count, one in enumerate(new[1:], 1):
            futures.append(pool.submit(ledger.create, one))
            wait_until(lambda count=count: len(line) == count)
        yield futures
        held.gate.set()


def code(future: Future[Job]) -> str:
    error = future.exception(WAIT_S)
    return error.code if isinstance(error, StudioError) else f"{error!r}"


def test_orders_at_once_are_each_there_with_what_they_are_found_by(
    held: Held, new_job: MakeJob
) -> None:
    ledger = Ledger(held)
    new = [replace(new_job(who), words=f"a cat of {who}") for who in ("anna", "ben", "cleo")]

    with at_once(held, ledger, *new) as made:
        pass

    assert [one.result(WAIT_S) for one in made] == [ledger.get(one.job_id) for one in new]
    words = held.tables.words
    found = held.read(lambda: list(words.select(words.words).order_by(words.seq).tuples()))
    assert found == [(f"a cat of {one.person}",) for one in new]
    assert held.commits == 2


def test_the_limit_counts_orders_of_one_group(held: Held, new_job: MakeJob) -> None:
    ledger = Ledger(held, max_pending=1)

    with at_once(
        held, ledger, new_job("anna"), new_job("ben"), new_job("ben"), new_job("cleo")
    ) as (anna, ben, more, cleo):
        pass

    assert code(more) == "queue_full"
    assert [one.result(WAIT_S).person for one in (anna, ben, cleo)] == ["anna", "ben", "cleo"]


def test_one_id_twice_in_a_group_is_one_job_and_of_another_person_unknown(
    held: Held, new_job: MakeJob
) -> None:
    ledger = Ledger(held)
    same = new_job("ben", job_id="j-1")

    with at_once(held, ledger, new_job("anna"), same, same, new_job("cleo", job_id="j-1")) as (
        _,
        first,
        again,
        other,
    ):
        pass

    assert first.result(WAIT_S) == again.result(WAIT_S)
    assert code(other) == "job_unknown"
    assert Census(held).waiting() == 2


def test_an_order_the_database_cannot_take_spoils_no_other(held: Held, new_job: MakeJob) -> None:
    ledger = Ledger(held)
    odd = replace(new_job("ben"), values={"prompt": object()})

    with at_once(held, ledger, new_job("anna"), new_job("cleo"), odd, new_job("dora")) as (
        anna,
        cleo,
        bad,
        dora,
    ):
        pass

    assert isinstance(bad.exception(WAIT_S), TypeError)
    made = [one.result(WAIT_S).job_id for one in (anna, cleo, dora)]
    assert [ledger.get(job_id).person for job_id in made] == ["anna", "cleo", "dora"]


def test_a_database_that_is_away_is_told_to_each_and_waited_for_once(
    held: Held, new_job: MakeJob
) -> None:
    ledger = Ledger(held)

    with at_once(held, ledger, new_job("anna"), new_job("ben"), new_job("cleo")) as made:
        held.away = True

    assert [code(one) for one in made] == ["database_away"] * 3
    assert len({id(one.exception(WAIT_S)) for one in made}) == 3
    held.away = False
    assert Census(held).waiting() == 0
