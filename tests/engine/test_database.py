from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import peewee
import pytest
from playhouse.migrations import Runner

from studio.engine import database as module
from studio.engine.database import Database, migrate, open_database
from studio.engine.jobs import NewJob
from studio.engine.ledger import Ledger
from studio.errors import StudioError
from tests.servers import MariaDB

T = TypeVar("T")
HOUSE = Path(__file__).parents[2]
ALL = sorted(path.stem for path in module._MIGRATIONS.glob("0*.py"))
MIGRATE = """
import sys
from studio.engine.database import migrate, open_database
opened = open_database(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(migrate(opened))
"""


@pytest.fixture
def empty(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    yield opened
    opened.close()


def add_person(database: Database, name: str) -> None:
    database.tables.person.insert(person=name, created_us=1).execute()


def count(database: Database) -> int:
    return database.read(database.tables.person.select().count)


NEW = NewJob(
    job_id="",
    person="anna",
    tab="text_to_image",
    workflow="text_to_image",
    values={"prompt": "a cat"},
)


def old_rows(database: Database) -> None:
    """Write what the first version wrote: a completed job, and one whose worker died."""
    ask = database.peewee.execute_sql
    person = {"person": "anna", "created_us": 1, "last_served_us": 1}
    job = {
        "person": "anna",
        "tab": "text_to_image",
        "workflow": "text_to_image",
        "form": json.dumps({"prompt": "一隻貓 🐈"}, ensure_ascii=False),
        "seed": str(2**64 - 1),
        "inputs": "[]",
        "attempt": 1,
        "adoptions": 0,
        "fence": 1,
        "lease_us": 0,
        "due_us": 0,
        "worker": "w",
        "server": "gpu",
        "cancel_wanted": 0,
        "created_us": 1,
        "started_us": 2,
    }
    done = job | {"job_id": "old-done", "state": "completed", "prompt_id": "q", "ended_us": 5}
    left = job | {"job_id": "old-left", "state": "pending", "prompt_id": "p", "ended_us": 0}
    output = {
        "job_id": "old-done",
        "fence": 1,
        "position": 0,
        "node": "9",
        "kind": "image",
        "name": "001.png",
        "path": "x/001.png",
        "mime": "image/png",
        "size_bytes": 10,
        "width_px": 8,
        "height_px": 8,
    }
    for table, row in (("person", person), ("job", done), ("job", left), ("output", output)):
        marks = ", ".join(["?" if database.lite else "%s"] * len(row))
        ask(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))  # noqa: S608


class TestMigrations:
    def test_a_second_run_does_nothing(self, empty: Database) -> None:
        assert migrate(empty) == ALL
        assert migrate(empty) == []

    def test_processes_that_start_at_once_apply_each_once(
        self, empty: Database, database_url: str
    ) -> None:
        environment = os.environ | {"PYTHONPATH": str(HOUSE)}
        starters = [
            subprocess.Popen(
                [sys.executable, "-c", MIGRATE, database_url],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        ready = [starter.stdout.readline() for starter in starters if starter.stdout]
        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(lambda it: it.communicate("go\n", timeout=60), starters))

        assert ready == ["ready\n"] * 4
        assert [process.returncode for process in starters] == [0] * 4, told
        assert sorted(out.strip() for out, _ in told) == [str(ALL), *["[]"] * 3]

    @pytest.mark.parametrize("done", [1, 3, 6, 9, 12])
    def test_one_that_was_cut_off_half_way_goes_on_where_it_was(
        self, empty: Database, done: int
    ) -> None:
        def cut_off() -> None:
            left = iter(range(done))

            def stop(event: peewee.QueryEvent) -> None:
                if event.sql.startswith("CREATE"):
                    next(left)

            empty.peewee.query_hooks.append(stop)
            try:
                Runner(empty.peewee, str(module._MIGRATIONS)).up()
            finally:
                empty.peewee.query_hooks.remove(stop)

        with pytest.raises((StopIteration, RuntimeError)):
            empty.read(cut_off)
        migrate(empty)

        indexes = empty.read(lambda: {found.name for found in empty.peewee.get_indexes("job")})
        assert {"job_job_id", "job_person_ended", "job_state_person_due"} <= indexes
        add = empty.tables.person.insert(person="anna", created_us=1)
        assert empty.tx(add.execute) is not None

    def test_a_studio_of_the_first_schema_keeps_all_it_has(self, empty: Database) -> None:
        empty.read(lambda: Runner(empty.peewee, str(module._MIGRATIONS)).up("0001_first"))
        empty.tx(lambda: old_rows(empty))

        done = migrate(empty)

        assert done == ALL[1:]
        ledger = Ledger(empty)
        ended = ledger.get("old-done", person="anna")
        assert (ended.seed, ended.values["prompt"]) == ("18446744073709551615", "一隻貓 🐈")
        assert [output.name for output in ended.outputs] == ["001.png"]
        claim = ledger.claim("w")
        assert claim is not None
        assert (claim.job.job_id, claim.job.prompt_id, claim.job.client_id) == ("old-left", "p", "")
        assert ledger.create(replace(NEW, job_id="new")).job_id == "new"

    def test_the_models_are_the_tables(self, database: Database) -> None:
        for field in fields(database.tables):
            model = getattr(database.tables, field.name)
            table = model._meta.table_name
            found = database.read(lambda name=table: database.peewee.get_columns(name))  # type: ignore[misc]

            assert {column.name for column in found} == set(model._meta.columns)
            assert {column.name for column in found if column.null} == {
                name for name, field in model._meta.columns.items() if field.null
            }


class TestUnitsOfWork:
    def test_read_then_write_in_many_threads_never_finds_it_locked(
        self, database: Database
    ) -> None:
        database.tx(lambda: add_person(database, "anna"))
        row = database.tables.person

        def add_one() -> None:
            query = database.for_update(row.select().where(row.person == "anna"))
            before = query.get().last_served_us
            row.update(last_served_us=before + 1).execute()

        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(database.tx, add_one) for _ in range(80)]:
                done.result(timeout=30)

        assert database.read(lambda: row.get().last_served_us) == 80

    def test_more_threads_than_connections_all_get_their_turn(self, database: Database) -> None:
        with ThreadPoolExecutor(60) as pool:
            counts = list(pool.map(lambda _: count(database), range(240)))

        assert counts == [0] * 240

    def test_work_that_raises_leaves_nothing(self, database: Database) -> None:
        def fail() -> None:
            add_person(database, "anna")
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            database.tx(fail)

        assert count(database) == 0

    def test_a_query_outside_a_unit_of_work_is_an_error(self, database: Database) -> None:
        with pytest.raises(peewee.InterfaceError):
            database.tables.person.select().count()

    def test_two_databases_in_one_process_do_not_mix(
        self, database: Database, tmp_path: Path
    ) -> None:
        other = open_database(tmp_path / "other.db")
        migrate(other)
        other.tx(lambda: add_person(other, "anna"))

        assert (count(other), count(database)) == (1, 0)
        other.close()

    def test_an_error_of_ours_in_the_query_is_not_retried(self, database: Database) -> None:
        tries = []

        def wrong() -> None:
            tries.append(1)
            database.peewee.execute_sql("SELECT no_such_column FROM person")

        with pytest.raises((StudioError, peewee.DatabaseError)):
            database.tx(wrong)

        assert len(tries) == 1


class TestSqlite:
    def test_commits_are_synced_and_readers_do_not_wait(self, tmp_path: Path) -> None:
        database = open_database(f"sqlite:///{tmp_path / 'deep' / 'studio.db'}")

        modes = database.read(
            lambda: (
                database.peewee.execute_sql("PRAGMA journal_mode").fetchone()[0],
                database.peewee.execute_sql("PRAGMA synchronous").fetchone()[0],
            )
        )

        assert modes == ("wal", 2)
        database.close()

    def test_a_full_disk_is_told_as_such(self, tmp_path: Path) -> None:
        database = open_database(tmp_path / "studio.db")
        migrate(database)

        def fill() -> None:
            # SQLite's own limit, whose error is the one of a full disk.
            pages = database.peewee.execute_sql("PRAGMA page_count").fetchone()[0]
            database.peewee.execute_sql(f"PRAGMA max_page_count = {pages}")
            for number in range(5000):
                add_person(database, f"person-{number}")

        with pytest.raises(StudioError) as caught:
            database.tx(fill)

        assert caught.value.code == "disk_full"
        assert count(database) == 0
        database.close()

    def test_a_lock_that_never_goes_is_an_error_in_the_end(self, tmp_path: Path) -> None:
        holder = open_database(tmp_path / "studio.db")
        migrate(holder)
        waiter = open_database(tmp_path / "studio.db", patience_s=0.0)

        def hold() -> StudioError:
            waiter.read(lambda: None)
            with pytest.raises(StudioError) as caught:
                waiter.tx(lambda: None)
            return caught.value

        waiter.peewee._pragmas[:] = [("busy_timeout", 50)]
        error = holder.tx(hold)

        assert (error.code, "locked" in error.details) == ("database_away", True)
        holder.close()
        waiter.close()


class TestMariaDB:
    def test_units_of_work_ride_out_a_killed_server(
        self, own_mariadb: MariaDB, new_server_url: Callable[[], str]
    ) -> None:
        database = open_database(new_server_url(), patience_s=40)
        migrate(database)
        stop = threading.Event()

        def keep_writing(worker: int) -> int:
            done = 0
            while not stop.is_set():
                name = f"{worker}-{done}"
                database.tx(
                    lambda name=name: (
                        database.tables.person.insert(  # type: ignore[misc]
                            person=name, created_us=1
                        )
                        .on_conflict_ignore()
                        .execute()
                    )
                )
                done += 1
            return done

        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(keep_writing, number) for number in range(4)]
            wait_for(lambda: count(database) > 20)
            own_mariadb.kill()
            own_mariadb.start()
            before = count(database)
            wait_for(lambda: count(database) > before + 20)
            stop.set()
            written = sum(worker.result(timeout=60) for worker in workers)

        assert count(database) == written
        database.close()

    def test_who_is_waited_for_gives_up_within_seconds(
        self, own_mariadb: MariaDB, new_server_url: Callable[[], str]
    ) -> None:
        patient = open_database(new_server_url(), patience_s=30)
        migrate(patient)
        hurried = patient.hurried(1.0)

        for strike, mend in (
            (own_mariadb.pause, own_mariadb.go_on),
            (own_mariadb.kill, own_mariadb.start),
        ):
            assert count(hurried) == 0
            strike()
            began = time.monotonic()
            with pytest.raises(StudioError) as caught:
                count(hurried)
            assert (caught.value.code, caught.value.status) == ("database_away", 503)
            assert time.monotonic() - began < 5
            mend()
            assert count(patient) == 0

        hurried.close()
        patient.close()

    def test_the_time_is_the_servers_however_wrong_this_machines_clock_is(
        self, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database = open_database(mariadb.new_database())
        true_us = time.time_ns() // 1000
        monkeypatch.setattr(time, "time_ns", lambda: 1_000)
        monkeypatch.setattr(time, "time", lambda: 0.000001)

        before = database.now_us()
        database.read(lambda: None)
        after = database.now_us()

        assert before == 1
        assert abs(after - true_us) < 2_000_000
        database.close()

    def test_the_servers_clock_is_asked_seldom(self, mariadb: MariaDB) -> None:
        database = open_database(mariadb.new_database())
        asked: list[str] = []
        database.peewee.query_hooks.append(
            lambda event: asked.append(event.sql) if "UNIX_TIMESTAMP" in event.sql else None
        )
        for _ in range(20):
            database.read(lambda: None)
            database.tx(lambda: None)

        assert len(asked) == 1
        database.close()

    def test_ids_compare_exactly_and_words_as_people_read_them(self, mariadb: MariaDB) -> None:
        database = open_database(mariadb.new_database())
        migrate(database)
        for name in ("anna", "Anna", "anna ", "🍣", "🍺"):
            database.tx(lambda name=name: add_person(database, name))  # type: ignore[misc]

        assert count(database) == 5
        database.close()

    def test_a_wrong_password_is_told_at_once_and_not_shown(self, mariadb: MariaDB) -> None:
        url = mariadb.new_database().replace("p%40ss", "secret")

        with pytest.raises(StudioError) as caught:
            open_database(url)

        assert caught.value.code == "settings_invalid"
        assert "secret" not in str(caught.value)


@pytest.fixture
def new_server_url(own_mariadb: MariaDB) -> Callable[[], str]:
    return own_mariadb.new_database


def wait_for(true: Callable[[], bool], timeout_s: float = 30.0) -> None:
    end, rest = time.monotonic() + timeout_s, threading.Event()
    while not true():
        assert time.monotonic() < end
        rest.wait(0.02)


@pytest.mark.parametrize(
    "url",
    ["", "studio.db", "postgres://u:p@h/d", "mysql://u:p@host", "mysql:///name", "mysql://h:x/d"],
)
def test_a_url_that_cannot_be_used_is_told_with_what_can(url: str) -> None:
    with pytest.raises(StudioError) as caught:
        open_database(url)

    assert caught.value.code == "settings_invalid"
    assert "sqlite:///" in caught.value.params["allowed"]
