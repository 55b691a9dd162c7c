"""Opening SQLite or MariaDB, units of work that outlive a lost connection, and migrations.

Knows how each database wants to be treated; knows no rule about jobs. A connection is held for one
unit of work only: one that is held through a job never heals after the server went away.
"""

from __future__ import annotations

import logging
import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import peewee as pw
from playhouse.migrations import Runner
from playhouse.pool import MaxConnectionsExceeded, PooledMySQLDatabase, PooledSqliteDatabase

from studio.engine.records import Tables, tables
from studio.errors import StudioError
from studio.texts import Sentence

log = logging.getLogger("studio.database")

T = TypeVar("T")
PATIENCE_S: Final = 60.0
"""How long a unit of work rides out a database that is away or busy."""
HURRIED_S: Final = 3.0
"""How long one rides it out that a person waits for."""
CLOCK_EVERY_S: Final = 60.0
"""How often the database's clock is asked: meanwhile ours drifts from it by milliseconds."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK_NAME: Final = "studio-migrate"

# Gone away, lost, refused, too many, shutting down; lock wait timeout; deadlock.
_PASSING_MYSQL: Final = frozenset({0, 1040, 1053, 1205, 1213, 2002, 2003, 2006, 2013, 2014, 4031})
_FULL: Final = ("disk is full", "disk full")


class _Sqlite(PooledSqliteDatabase):  # type: ignore[misc]  # playhouse has no types
    """SQLite in WAL mode, each commit synced: an accepted job survives a power cut."""

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            max_connections=32,
            timeout=10,
            # Erased, not unlinked only: some builds would leave deleted words in the file.
            pragmas=[("busy_timeout", 10_000), ("synchronous", 2), ("secure_delete", 1)],
            autoconnect=False,
            # A connection serves one thread at a time, but not always the one that opened it.
            check_same_thread=False,
        )


class _MySQL(PooledMySQLDatabase):  # type: ignore[misc]  # playhouse has no types
    """MariaDB or MySQL, reading what is committed: fewer gap locks between claiming workers."""

    def __init__(self, where: dict[str, Any], *, mariadb: bool, places: int = 32) -> None:
        self._where, self._kind = where, mariadb
        super().__init__(
            **where,
            mariadb=mariadb,
            max_connections=places,
            stale_timeout=300,
            timeout=min(10, where["read_timeout"]),
            autoconnect=False,
        )

    def impatient(self, patience_s: float) -> _MySQL:
        """Give the same database, whose connections wait for no answer longer than that."""
        bounds = {name: max(1, round(patience_s)) for name in ("read_timeout", "write_timeout")}
        where = self._where | bounds | {"connect_timeout": max(1, round(patience_s / 2))}
        return _MySQL(where, mariadb=self._kind)

    def _initialize_connection(self, conn: Any) -> None:
        with conn.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")


class _Clock:
    """The time as a server tells it, kept between two askings by a clock that nobody sets.

    That clock counts while the machine sleeps, where the system has such a one.
    """

    def __init__(self) -> None:
        self._base_us: int | None = None
        self._asked_at = 0.0

    @property
    def due(self) -> bool:
        """Tell whether the server should be asked."""
        return self._base_us is None or _steady_s() - self._asked_at > CLOCK_EVERY_S

    def set_by(self, ask: Callable[[], int]) -> None:
        """Ask the server; its answer was true in the middle of the round trip."""
        began = _steady_s()
        told_us = ask()
        ended = _steady_s()
        self._base_us, self._asked_at = told_us + round((ended - began) / 2 * 1e6), ended

    def now_us(self) -> int:
        """Give UTC epoch microseconds."""
        if self._base_us is None:
            return time.time_ns() // 1000
        return self._base_us + round((_steady_s() - self._asked_at) * 1e6)


def _steady_s() -> float:
    boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


def _server_us(connection: Any) -> int:
    row = connection.execute_sql("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")
    return int(row.fetchone()[0])


class Database:
    """One database and its tables. Methods block: call them in threads, never across an await."""

    def __init__(
        self,
        connection: pw.Database,
        *,
        patience_s: float = PATIENCE_S,
        write: threading.Lock | None = None,
    ) -> None:
        self.peewee = connection
        self.lite = isinstance(connection, pw.SqliteDatabase)
        self.tables: Tables = tables(connection)
        self._patience_s = patience_s
        # SQLite has one writer at a time and its own waiting is unfair sleep; ours is a queue.
        self._write = write or threading.Lock()
        self._rest = threading.Event()
        self._clock = _Clock()

    def hurried(self, patience_s: float = HURRIED_S) -> Database:
        """Give the same database for those whom a person waits for: it gives up soon.

        Behind a server it has connections of its own, so that a hung one is given up too.
        """
        if isinstance(self.peewee, _MySQL):
            return Database(self.peewee.impatient(patience_s), patience_s=patience_s)
        return Database(self.peewee, patience_s=patience_s, write=self._write)

    def now_us(self) -> int:
        """Give the time now, in UTC epoch microseconds, by the one clock that all machines share.

        With SQLite that is this machine's. A server's clock is asked once a minute, while work is
        done there anyway; the answer is off by half a round trip, far below any lease.
        """
        return self._clock.now_us()

    def tx(self, work: Callable[[], T]) -> T:
        """Run `work` in one write transaction, again from its start while the database is away.

        A COMMIT whose answer was lost may have happened: `work` must bear being run twice.
        Raises `disk_full`, or `database_away` when it stays away for longer than the patience.
        """
        return self._patiently(lambda: self._write_once(work))

    def read(self, work: Callable[[], T]) -> T:
        """Run `work`, which only reads, on a connection of its own; patient like `tx`."""
        return self._patiently(lambda: self._read_once(work))

    def for_update(self, query: Any, *, skip_locked: bool = False) -> Any:
        """Lock the rows of a SELECT until the end of the transaction. SQLite locks all anyway."""
        return query if self.lite else query.for_update(skip_locked=skip_locked)

    def close(self) -> None:
        """Close every connection."""
        self.peewee.close_all()  # type: ignore[attr-defined]  # every kind here is pooled

    def _write_once(self, work: Callable[[], T]) -> T:
        if self.lite:
            # IMMEDIATE: a transaction that reads first and then writes would fail at once.
            with self._write, self.peewee.connection_context(), self.peewee.atomic("IMMEDIATE"):
                return work()
        with self.peewee.connection_context():
            self._mind_clock()
            with self.peewee.atomic():
                return work()

    def _read_once(self, work: Callable[[], T]) -> T:
        with self.peewee.connection_context():
            self._mind_clock()
            return work()

    def _mind_clock(self) -> None:
        """Ask a server how late it is, when that was long ago."""
        if not self.lite and self._clock.due:
            self._clock.set_by(lambda: _server_us(self.peewee))

    def _patiently(self, attempt: Callable[[], T]) -> T:
        pause_s, end = 0.05, time.monotonic() + self._patience_s
        while True:
            try:
                return attempt()
            except (pw.OperationalError, pw.InterfaceError, MaxConnectionsExceeded) as error:
                if _disk_full(error):
                    raise StudioError("disk_full", details=str(error), retryable=True) from error
                if not passing(error):
                    raise StudioError("internal", details=f"database: {error}") from error
                if time.monotonic() > end:
                    details = f"database: {error}"
                    raise StudioError("database_away", details=details, retryable=True) from error
                log.warning("the database does not answer, trying again: %s", error)
            self._rest.wait(pause_s * random.random())  # noqa: S311  spreads the retries
            pause_s = min(pause_s * 2, 2.0)


def passing(error: Exception) -> bool:
    """Tell whether waiting may mend `error`: a lost connection, a lock, a deadlock."""
    if isinstance(error, MaxConnectionsExceeded):
        return True
    if re.search(r"database( table)? is locked|schema is locked", str(error)):
        return True
    # Peewee gives (original, code, text); `InterfaceError(0, '')` is a connection that died.
    codes = [part for part in getattr(error, "args", ()) if isinstance(part, int)]
    return bool(codes) and codes[0] in _PASSING_MYSQL


def _disk_full(error: BaseException) -> bool:
    """Ask also what was raised before: after a full disk, SQLite has nothing left to roll back."""
    if any(word in str(error) for word in _FULL):
        return True
    return error.__context__ is not None and _disk_full(error.__context__)


def open_database(url: str | Path, *, patience_s: float = PATIENCE_S) -> Database:
    """Open the database at a path, `sqlite:///path` or `mysql://user:password@host:port/name`.

    MariaDB is told from MySQL by asking it. Raises `settings_invalid` for a URL that cannot be
    used, and `database_away` when the server stays away. Does not migrate: call `migrate`.
    """
    text = str(url)
    if isinstance(url, Path) or text.startswith("sqlite:///"):
        return _open_sqlite(Path(text.removeprefix("sqlite:///")), patience_s)
    if re.match(r"(mysql|mariadb)(\+\w+)?://", text):
        return _open_mysql(text, patience_s)
    raise _bad_url(text)


def migrate(database: Database) -> list[str]:
    """Bring the schema up to date; safe when many processes start at once. Gives what was done."""
    with _alone(database):
        done = Runner(database.peewee, str(_MIGRATIONS)).up()
    for name in done:
        log.info("migration applied: %s", name)
    return list(done)


def _open_sqlite(path: Path, patience_s: float) -> Database:
    path.parent.mkdir(parents=True, exist_ok=True)
    _set_wal(path)
    return Database(_Sqlite(str(path)), patience_s=patience_s)


def _set_wal(path: Path) -> None:
    """Turn on WAL, which stays with the file. Two processes at once may see a lock."""
    end, rest = time.monotonic() + 10, threading.Event()
    while True:
        connection = sqlite3.connect(path, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise StudioError("internal", details=f"database {path}: {error}") from error
        finally:
            connection.close()
        rest.wait(0.02)


def _open_mysql(url: str, patience_s: float) -> Database:
    where = _mysql_place(url)
    mariadb = "mariadb" in _version(url, where, patience_s).lower()
    return Database(_MySQL(where, mariadb=mariadb), patience_s=patience_s)


def _mysql_place(url: str) -> dict[str, Any]:
    from pymysql.constants import CLIENT  # here: a studio on SQLite does without (see `early`)

    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError as error:
        raise _bad_url(url) from error
    name = parts.path.lstrip("/")
    if not parts.hostname or not name:
        raise _bad_url(url)
    return {
        "database": unquote(name),
        "host": parts.hostname,
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "charset": "utf8mb4",
        # Count rows found, not rows changed: a heartbeat to the same value is not a lost lease.
        "client_flag": CLIENT.FOUND_ROWS,
        "connect_timeout": 3,
        "read_timeout": 20,
        "write_timeout": 20,
    }


def _version(url: str, where: dict[str, Any], patience_s: float) -> str:
    import pymysql

    # Peewee may have been loaded without it.
    pw.mysql = pymysql  # type: ignore[attr-defined]  # a name for whichever driver it found
    end, rest = time.monotonic() + patience_s, threading.Event()
    while True:
        try:
            connection = pymysql.connect(**where)
            break
        except pymysql.err.OperationalError as error:
            if error.args[0] not in _PASSING_MYSQL:
                raise _bad_url(url) from error
            if time.monotonic() > end:
                raise StudioError("database_away", details=f"database: {error}") from error
            log.warning("the database does not answer yet: %s", error)
        rest.wait(0.5)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        return str((cursor.fetchone() or ("",))[0])


def _bad_url(url: str) -> StudioError:
    shown = re.sub(r"//[^/@]*@", "//***@", url)
    allowed = Sentence("allowed.database")
    return StudioError("settings_invalid", name="DATABASE_URL", value=shown, allowed=allowed)


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    """Keep every other process out of the migrations meanwhile."""
    connection = database.peewee
    with connection.connection_context():
        if database.lite:
            with connection.atomic("EXCLUSIVE"):
                yield
            return
        if _ask(connection, "SELECT GET_LOCK(%s, 60)") != 1:
            raise StudioError("internal", details="another process holds the migration lock")
        try:
            yield
        finally:
            _ask(connection, "SELECT RELEASE_LOCK(%s)")


def _ask(connection: Any, sql: str) -> object:
    return connection.execute_sql(sql, (_LOCK_NAME,)).fetchone()[0]
