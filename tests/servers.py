"""Real servers for tests: MariaDB and Redis, each in a temporary folder on a free loopback port."""

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
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pymysql
import pytest
from redis import Redis
from redis.exceptions import RedisError

START_S = 30.0


def free_port() -> int:
    """Find a free loopback port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class _Server(ABC):
    """A server process that tests may kill and start again on the same port."""

    def __init__(self, prefix: str) -> None:
        # Short: the path of a socket may have 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix=prefix, dir=tempfile.gettempdir()))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Give the command line that starts it."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it takes questions."""

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        end, rest = time.monotonic() + START_S, threading.Event()
        while not self.answers():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            rest.wait(0.05)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=10)

    def pause(self) -> None:
        """Let it answer nobody, with every connection open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(timeout=20)
        shutil.rmtree(self.folder, ignore_errors=True)


class RedisServer(_Server):
    """A Redis without persistence: killed and started again, it is empty."""

    def __init__(self, password: str = "") -> None:
        super().__init__("redis-")
        self.password = password

    def command(self) -> list[str]:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--save": "",
            "--appendonly": "no",
            "--dir": str(self.folder),
        }
        if self.password:
            options["--requirepass"] = self.password
        return ["redis-server", *itertools.chain.from_iterable(options.items())]

    @property
    def url(self) -> str:
        word = f":{self.password}@" if self.password else ""
        return f"redis://{word}127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        return Redis.from_url(self.url, socket_timeout=5)

    def empty(self) -> None:
        """Forget everything."""
        with self.client() as client:
            client.flushall()

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False


class MariaDB(_Server):
    """A MariaDB whose databases are made by `new_database`."""

    def __init__(self) -> None:
        super().__init__("mdb-")
        self._names = itertools.count()
        self._run(
            "mariadb-install-db",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )

    def command(self) -> list[str]:
        return [
            "mariadbd",
            "--no-defaults",
            f"--user={getpass.getuser()}",
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_unicode_520_nopad_ci",
            "--skip-log-bin",
            "--innodb-buffer-pool-size=64M",
        ]

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

    def answers(self) -> bool:
        try:
            self.ask("select 1")
        except pymysql.err.OperationalError:
            return False
        return True

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(
            [
                program,
                "--no-defaults",
                f"--user={getpass.getuser()}",
                f"--datadir={self.folder / 'data'}",
                *options,
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )


def _or_skip(what: str, *programs: str) -> None:
    """Skip where a program is absent; under CI=true that is a failure."""
    if all(shutil.which(program) for program in programs):
        return
    reason = f"NOT TESTED: no {programs[0]} here, so nothing is known about {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def start_mariadb() -> MariaDB:
    """Start one, or skip where there is no MariaDB."""
    _or_skip("MariaDB", "mariadbd", "mariadb-install-db")
    server = MariaDB()
    server.start()
    return server


def start_redis(password: str = "") -> RedisServer:
    """Start one, or skip where there is no Redis."""
    _or_skip("Redis", "redis-server")
    server = RedisServer(password)
    server.start()
    return server
