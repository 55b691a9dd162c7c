from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from studio.engine.database import Database
from studio.engine.roster import FORGET_S, OFFLINE_S, Roster, name_of_this_process

Make = Callable[..., Roster]


@pytest.fixture
def make(database: Database) -> Make:
    def make_one(name: str = "", *, running: int = 0, tell_s: float = 60.0) -> Roster:
        return Roster(
            database,
            name or name_of_this_process(),
            places=2,
            running=lambda: running,
            servers=lambda: ("gpu:8188", "練習"),
            tell_s=tell_s,
        )

    return make_one


def age(database: Database, name: str, seconds: float) -> None:
    row = database.tables.worker
    database.tx(
        row.update(seen_us=row.seen_us - round(seconds * 1e6)).where(row.worker == name).execute
    )


def test_a_worker_is_listed_as_it_told(make: Make, database: Database) -> None:
    make("one", running=1).tell()

    (found,) = make().workers()

    assert (found.name, found.places, found.running, found.online) == ("one", 2, 1, True)
    assert found.servers == ("gpu:8188", "練習")
    assert abs(found.started_us - database.now_us()) < 5_000_000


def test_a_worker_unheard_for_thirty_seconds_is_offline_and_later_forgotten(
    make: Make, database: Database
) -> None:
    one, two = make("one"), make("two")
    one.tell()
    two.tell()

    age(database, "one", OFFLINE_S - 5)
    assert [worker.online for worker in two.workers()] == [True, True]
    age(database, "one", 6)
    assert [(worker.name, worker.online) for worker in two.workers()] == [
        ("two", True),
        ("one", False),
    ]
    age(database, "one", FORGET_S)
    two.tell()
    assert [worker.name for worker in two.workers()] == ["two"]


def test_one_that_was_unheard_is_there_again_when_it_tells(make: Make, database: Database) -> None:
    one = make("one")
    one.tell()
    age(database, "one", 100)
    one.tell()

    assert [worker.online for worker in one.workers()] == [True]


def test_it_tells_again_and_again_and_signs_off(
    make: Make, database: Database, no_threads_left: None
) -> None:
    one = make("one", tell_s=0.05)
    one.start()
    end, rest = time.monotonic() + 10, threading.Event()
    seen: set[int] = set()
    while len(seen) < 3:
        assert time.monotonic() < end
        seen |= {worker.seen_us for worker in make().workers()}
        rest.wait(0.02)

    one.stop()

    assert make().workers() == []


def test_names_of_processes_differ_even_on_one_host_with_one_pid() -> None:
    assert name_of_this_process() != name_of_this_process()
