"""The two homes a studio may live in: a file of SQLite, or a MariaDB with a Redis."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import MariaDB, RedisServer

SERVERS = ("mariadbd", "mariadb-install-db", "redis-server")


def homes() -> list[str]:
    """Name the homes that can be measured here."""
    return ["SQLite", *(["MariaDB+Redis"] if all(map(shutil.which, SERVERS)) else [])]


@contextmanager
def home(name: str) -> Iterator[dict[str, str]]:
    """Start what a home needs, on loopback, and give the settings that lead there."""
    if name == "SQLite":
        yield {}
        return
    mariadb, redis = MariaDB(), RedisServer()
    try:
        mariadb.start()
        redis.start()
        yield {"database_url": mariadb.new_database(), "redis_url": redis.url}
    finally:
        redis.stop()
        mariadb.stop()
