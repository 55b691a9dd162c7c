"""Databases, ledgers and jobs for the engine's tests: each database a real one, of each kind."""

from __future__ import annotations

import getpass
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest

from studio.engine.database import Database, migrate, open_database
from studio.engine.jobs import NewJob, Output
from studio.engine.ledger import Ledger

START_S = 30.0


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


class MariaDB:
    """A MariaDB of our own in a temporary folder, on a free port of the loopback."""

    def __init__(self) -> None:
        # Short: the path of a socket may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="mdb-", dir=tempfile.gettempdir()))
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._run(
            "mariadb-install-db",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        self._process = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                f"--user={getpass.getuser()}",
                f"--datadir={self._folder / 'data'}",
                f"--socket={self._folder / 's'}",
                f"--pid-file={self._folder / 'pid'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                "--character-set-server=utf8mb4",
                "--collation-server=utf8mb4_unicode_520_nopad_ci",
                "--skip-log-bin",
                "--innodb-buffer-pool-size=64M",
            ],
            stdout=log,
            stderr=log,
        )
        log.close()
        self._wait_until_it_answers()

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=10)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=20)
        shutil.rmtree(self._folder, ignore_errors=True)

    def new_database(self) -> str:
        """Make an empty database with a user of its own, and give its URL."""
        name = f"studio_{next(self._names)}"
        self.ask(f"create database {name}")
        self.ask(f"create or replace user '{name}'@'127.0.0.1' identified by 'p@ss/w'")
        self.ask(f"grant all on {name}.* to '{name}'@'127.0.0.1'")
        return f"mysql://{name}:p%40ss%2Fw@127.0.0.1:{self.port}/{name}"

    def ask(self, sql: str) -> None:
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root")
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(
            [
                program,
                "--no-defaults",
                f"--user={getpass.getuser()}",
                f"--datadir={self._folder / 'data'}",
                *options,
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def _wait_until_it_answers(self) -> None:
        end, rest = time.monotonic() + START_S, threading.Event()
        while True:
            try:
                self.ask("select 1")
                return
            except pymysql.err.OperationalError:
                if time.monotonic() > end:
                    raise
            rest.wait(0.05)


def start_mariadb() -> MariaDB:
    """Start one, or skip where there is no MariaDB; under CI=true that is a failure."""
    if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
        reason = "NOT TESTED: no mariadbd here, so nothing is known about MariaDB"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    server = MariaDB()
    server.start()
    return server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    server = start_mariadb()
    yield server
    server.stop()


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    """A MariaDB that the test may kill."""
    server = start_mariadb()
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
    rows = shared.tables
    yield shared
    for table in (rows.job, rows.output, rows.person, rows.chore):
        shared.tx(table.delete().execute)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> Ledger:
    return Ledger(database, now=clock, max_pending=50)


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
