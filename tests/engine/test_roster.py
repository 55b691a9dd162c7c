from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from studio.engine.database import Database
from studio.engine.roster import (
    FORGET_S,
    OFFLINE_S,
    Roster,
    ServerTold,
    mark_of,
    name_of_this_process,
    strangers,
)

Make = Callable[..., Roster]
SERVERS = (
    ServerTold("gpu:8188", True, version="0.8.0", queue_remaining=3, in_use=1, stock="d1"),
    ServerTold("練習", False, stand_in=True, reason="server.reason.away"),
)


@pytest.fixture
def make(database: Database) -> Make:
    def make_one(
        name: str = "", *, running: int = 0, tell_s: float = 60.0, **options: Any
    ) -> Roster:
        told = {"servers": lambda: SERVERS} | options
        return Roster(
            database,
            name or name_of_this_process(),
            places=2,
            running=lambda: running,
            tell_s=tell_s,
            **told,
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
    assert found.servers == SERVERS
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


def test_what_servers_have_is_written_once_and_goes_when_nobody_tells_of_it(
    make: Make, database: Database
) -> None:
    one, two = (make(name, stocks=lambda: {"d1": "what it has"}) for name in ("one", "two"))
    row = database.tables.stock
    for roster in (one, two, one):
        roster.tell()

    assert two.stocks(["d1", "unknown"]) == {"d1": "what it has"}

    database.tx(row.update(seen_us=row.seen_us - round(2 * FORGET_S * 1e6)).execute)
    make("three", servers=lambda: ()).tell()
    assert two.stocks(["d1"]) == {}


def test_a_worker_of_an_earlier_version_names_its_servers(make: Make, database: Database) -> None:
    one = make("one")
    one.tell()
    row = database.tables.worker
    database.tx(row.update(servers=["gpu:8188"]).execute)

    (found,) = one.workers()

    assert found.servers == (ServerTold("gpu:8188", online=True),)


def test_who_has_another_secret_is_found_and_the_secret_is_not(make: Make) -> None:
    for name, secret in (("one", "same"), ("two", "same"), ("three", "other")):
        make(name, secret_mark=mark_of(secret)).tell()
    make("old").tell()
    workers = make().workers()

    assert [one.name for one in strangers(workers, mark_of("same"))] == ["three"]
    assert all("same" not in one.secret_mark for one in workers)


def test_a_change_is_told_at_once(make: Make, no_threads_left: None) -> None:
    told: list[ServerTold] = []
    one = make("one", tell_s=600.0, servers=lambda: list(told))
    one.start()
    end, rest = time.monotonic() + 10, threading.Event()
    try:
        while not make().workers():
            assert time.monotonic() < end
            rest.wait(0.02)
        told.append(SERVERS[0])
        one.tell_soon()
        while not make().workers()[0].servers:
            assert time.monotonic() < end
            rest.wait(0.02)
    finally:
        one.stop()
