"""From the first schema to the gallery's: what was there stays, and is found."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playhouse.migrations import Runner

from studio.engine import database as module
from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.history import Filters, History
from studio.engine.ledger import Ledger

COLUMNS = (
    "job_id, person, tab, workflow, form, seed, inputs, state, attempt, adoptions, fence, lease_us,"
    " due_us, worker, server, prompt_id, cancel_wanted, created_us, started_us, ended_us"
)


@pytest.fixture
def old(database_url: str) -> Iterator[Database]:
    """A database of the first schema with a few jobs in it."""
    opened = open_database(database_url)
    opened.read(lambda: Runner(opened.peewee, str(module._MIGRATIONS)).up("0001_first"))

    def fill() -> None:
        for number in range(1203):
            form = {"prompt": f"Ｃat {number} 東京", "sampler": "euler", "seed": "7"}
            values = [
                f"job-{number}", "anna", "text_to_image", "text_to_image", json.dumps(form), "7",
                "[]", "completed", 1, 0, 1, 0, 0, "", "", "", 0, number + 1, number + 1, number + 2,
            ]  # fmt: skip
            marks = ", ".join([opened.peewee.param] * len(values))
            added = f"INSERT INTO job ({COLUMNS}) VALUES ({marks})"  # noqa: S608  no outside values
            opened.peewee.execute_sql(added, values)

    opened.tx(fill)
    yield opened
    opened.close()


def test_jobs_of_the_first_schema_are_in_the_gallery_and_found(old: Database) -> None:
    assert "0003_gallery" in migrate(old)

    history = History(old, Ledger(old), Census(old))
    jobs, key = history.page("anna", Filters(), limit=5)
    assert [job.job_id for job in jobs] == [f"job-{n}" for n in (1202, 1201, 1200, 1199, 1198)]
    assert key is not None
    assert (jobs[0].given, jobs[0].favourite) == ((), False)
    [found] = history.page("anna", Filters(text="cat 東京 1099"))[0]
    assert found.job_id == "job-1099"
    assert history.count("anna", Filters(text="euler")).number == 0


def test_words_half_filled_by_a_crash_are_filled_whole(old: Database) -> None:
    migrate(old)
    words = old.tables.words
    old.tx(words.delete().where(words.seq > 700).execute)

    def again() -> None:
        old.peewee.execute_sql("DELETE FROM schema_migration WHERE name = '0003_gallery'")

    old.tx(again)
    migrate(old)

    assert old.read(words.select().count) == 1203
