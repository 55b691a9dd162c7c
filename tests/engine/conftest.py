"""Databases, ledgers and jobs for the engine's tests: each database a real one, of each kind."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.jobs import NewJob, Output
from studio.engine.ledger import Ledger
from tests.servers import MariaDB, RedisServer, start_mariadb, start_redis


class Clock:
    """Epoch microseconds that move on by one at each look, and by `pass_s` when told to."""

    def __init__(self) -> None:
        self.us = 1_700_000_000_000_000
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.us += 1
            return self.us

    def pass_s(self, seconds: float) -> None:
        with self._lock:
            self.us += round(seconds * 1e6)


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    """A MariaDB that the test may kill."""
    server = start_mariadb()
    yield server
    server.stop()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may kill."""
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'studio.db'}"
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.new_database()


@pytest.fixture(scope="session")
def mariadb_tables(mariadb: MariaDB) -> Iterator[Database]:
    """One migrated MariaDB database for many tests: making its tables takes a quarter second."""
    opened = open_database(mariadb.new_database(), patience_s=10)
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated database without rows, of each kind."""
    if request.param == "sqlite":
        opened = open_database(tmp_path / "studio.db", patience_s=10)
        migrate(opened)
        yield opened
        opened.close()
        return
    shared: Database = request.getfixturevalue("mariadb_tables")
    yield shared
    for field in fields(shared.tables):
        shared.tx(getattr(shared.tables, field.name).delete().execute)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> Ledger:
    return Ledger(database, now=clock, max_pending=50)


@pytest.fixture
def census(database: Database, clock: Clock) -> Census:
    return Census(database, now=clock)


MakeJob = Callable[..., NewJob]


@pytest.fixture
def new_job() -> MakeJob:
    """Make the order of a job, of person `anna` unless told otherwise."""

    def make(
        person: str = "anna",
        *,
        job_id: str | None = None,
        tab: str = "text_to_image",
        inputs: tuple[str, ...] = (),
        workflow: str = "text_to_image",
    ) -> NewJob:
        return NewJob(
            job_id=job_id or str(uuid.uuid4()),
            person=person,
            tab=tab,
            workflow=workflow,
            values={"prompt": "a cat"},
            seed="7",
            inputs=inputs,
        )

    return make


def picture(index: int = 0) -> Output:
    """An output as the store gives it."""
    name = f"{index + 1:03d}.png"
    return Output(
        index=index,
        node="9",
        kind="image",
        name=name,
        path=f"2026/11/25/job/1/{name}",
        mime="image/png",
        size_bytes=100,
        width_px=64,
        height_px=48,
    )


@pytest.fixture
def make_output() -> Callable[[int], Output]:
    return picture
