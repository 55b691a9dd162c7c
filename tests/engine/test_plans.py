"""No act of a person reads the jobs of all: each statement is held to SQLite's own plan of it.

A plan here depends on the tables and the statement alone, so a few jobs show what a million meet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.history import Filters, History
from studio.engine.jobs import NewJob, State
from studio.engine.ledger import Ledger
from tests.engine.conftest import picture

Acts = dict[str, Callable[[], object]]
_TABLES = ("job", "job_words", "output")
_IDS = [f"job-{number}" for number in range(4)]


@pytest.fixture
def acts(tmp_path: Path) -> tuple[Database, Acts]:
    database = open_database(f"sqlite:///{tmp_path / 'studio.db'}")
    migrate(database)
    ledger = Ledger(database)
    history = History(database, ledger, Census(database))
    for job_id in [*_IDS, "waits"]:
        ledger.create(NewJob(job_id, "anna", "upscale", "upscale", {}, "7", words="貓 cat"))
    for _ in _IDS:
        claim = ledger.claim("worker")
        assert claim is not None
        ledger.complete(claim, [picture()])
    return database, {
        "a page": lambda: history.page("anna", Filters()),
        "a later page": lambda: history.page("anna", Filters(), after="9999999999999999-0"),
        "a filtered page": lambda: history.page(
            "anna", Filters(workflow="upscale", states=(State.COMPLETED,), tab="upscale")
        ),
        "a found page": lambda: history.page("anna", Filters(text="貓")),
        "favourites": lambda: history.page("anna", Filters(favourite=True)),
        "a count": lambda: history.count("anna", Filters()),
        "several": lambda: history.several("anna", _IDS),
        "a favourite": lambda: history.favourite("anna", "job-0", True),
        "deleting": lambda: history.delete("anna", _IDS),
        "undoing": lambda: history.restore("anna", _IDS),
        "one job": lambda: ledger.get("job-0", person="anna"),
        "what runs": lambda: ledger.running("anna"),
        "what was last": lambda: ledger.page("anna", tab="upscale"),
        "a place in line": lambda: ledger.ahead_of("waits"),
        "cancelling": lambda: ledger.ask_cancel("waits", person="anna"),
        "ordering": lambda: ledger.create(NewJob("new", "anna", "upscale", "upscale", {}, "8")),
    }


def test_no_act_of_a_person_reads_the_jobs_of_all(
    acts: tuple[Database, Acts], caplog: pytest.LogCaptureFixture
) -> None:
    database, done = acts
    caplog.set_level(logging.DEBUG, logger="peewee")
    wide = {}

    for name, act in done.items():
        caplog.clear()
        act()
        asked = [record.msg for record in caplog.records if record.name == "peewee"]
        assert asked, f"{name}: no statement was seen"
        wide[name] = [step for sql, params in asked for step in _wide(database, sql, params)]

    assert {name: steps for name, steps in wide.items() if steps} == {}


def _wide(database: Database, sql: str, params: object) -> list[str]:
    """Give the steps of a statement that read a whole table, or all that is not deleted."""
    if not sql.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
        return []
    rows = database.read(lambda: database.peewee.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params))
    steps = [str(row[3]) for row in rows]
    scans = {f"SCAN {name}" for name in (*_TABLES, *(f"t{number}" for number in range(1, 9)))}
    return [
        f"{step}: {sql}"
        for step in steps
        if "INDEX job_deleted" in step or " ".join(step.split()[:2]) in scans
    ]
