"""The whole chain on real parts, without the page: desk, ledger, Huey, client, practice, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image

from studio.engine.database import Database, migrate, open_database
from studio.practice import PracticeServer
from tests.chain.house import House, opened
from tests.servers import MariaDB


@pytest.fixture(params=["0.8.0", "newer"])
def practice(request: pytest.FixtureRequest) -> Iterator[PracticeServer]:
    """A practice ComfyUI of each profile, quick."""
    with PracticeServer(profile=request.param, pace_s=0.02) as server:
        yield server


@pytest.fixture(scope="session")
def records(mariadb: MariaDB) -> Iterator[tuple[str, Database]]:
    """One migrated database for all tests of the full home, and its address."""
    url = mariadb.new_database()
    database = open_database(url)
    migrate(database)
    yield url, database
    database.close()


@pytest.fixture
def full_home(records: tuple[str, Database], redis_url: str) -> Iterator[dict[str, str]]:
    """Settings of the home of many processes: MariaDB and Redis, both without anything in them."""
    url, database = records
    yield {"database_url": url, "redis_url": redis_url}
    for field in fields(database.tables):
        database.tx(getattr(database.tables, field.name).delete().execute)


@pytest.fixture
def home(practice: PracticeServer, request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of a home: all in one process with the old ComfyUI, the full one with the newer.

    So both homes and both profiles are tried by everything, in the time of one.
    """
    if not practice.newer:
        return {}
    full: dict[str, str] = request.getfixturevalue("full_home")
    return full


@pytest.fixture
def house(practice: PracticeServer, home: dict[str, str], tmp_path: Path) -> Iterator[House]:
    """A studio on the practice server, as if it were a configured ComfyUI."""
    with opened(tmp_path, comfy_urls=(practice.url,), **home) as house:
        yield house


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Path]:
    """Make a one-coloured PNG."""

    def make(colour: str, size: tuple[int, int] = (64, 48), name: str = "") -> Path:
        path = tmp_path / "pictures" / (name or f"{colour}.png")
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size, colour).save(path)
        return path

    return make
