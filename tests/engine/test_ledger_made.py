"""What a run before the main one made is in the job's row, so that it is made once."""

from __future__ import annotations

import pytest
from playhouse.migrations import Runner

from studio.engine import database as module
from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.history import History
from studio.engine.jobs import Claim, Given, State
from studio.engine.ledger import Ledger
from tests.engine.conftest import Clock, MakeJob, picture

SPEECH = Given("audio", "0f.flac", "audio", "audio/flac", "save_speech", 100, seconds=2.5)


@pytest.fixture
def claim(ledger: Ledger, new_job: MakeJob) -> Claim:
    """A job whose first prompt was sent."""
    ledger.create(new_job(inputs=("aa.wav",)))
    claim = ledger.claim("w")
    assert claim is not None
    assert ledger.sent(claim, server="gpu", prompt_id="p-1", client_id="c-1")
    return claim


def test_what_was_made_and_the_end_of_its_prompt_are_written_together(
    ledger: Ledger, claim: Claim
) -> None:
    assert ledger.made(claim, [SPEECH])

    job = ledger.get(claim.job.job_id)
    assert job.made == (SPEECH,)
    assert (job.prompt_id, job.client_id, job.server) == ("", "", "")
    assert (job.state, job.fence) == (State.PROCESSING, claim.fence)
    assert ledger.abandoned(["gpu"]) == []


def test_who_lost_the_lease_writes_nothing_of_it(
    ledger: Ledger, claim: Claim, clock: Clock
) -> None:
    clock.pass_s(60)
    ledger.reap()

    assert not ledger.made(claim, [SPEECH])
    assert ledger.get(claim.job.job_id).made == ()


def test_the_next_worker_finds_it_and_no_prompt_to_adopt(
    ledger: Ledger, claim: Claim, clock: Clock
) -> None:
    ledger.made(claim, [SPEECH])
    clock.pass_s(60)
    ledger.reap()

    again = ledger.claim("other")

    assert again is not None
    assert (again.job.made, again.job.prompt_id) == ((SPEECH,), "")
    assert again.job.attempt == 1


def test_the_main_run_is_no_new_attempt_and_the_time_of_both_counts(
    ledger: Ledger, claim: Claim, clock: Clock
) -> None:
    clock.pass_s(5)
    ledger.made(claim, [SPEECH])
    assert ledger.sent(claim, server="gpu", prompt_id="p-2")
    clock.pass_s(7)
    assert ledger.complete(claim, [picture()])

    job = ledger.get(claim.job.job_id)
    assert job.attempt == 1
    assert job.seconds == pytest.approx(12, abs=0.1)


def test_its_file_is_kept_as_long_as_the_files_that_were_given(
    ledger: Ledger, census: Census, database: Database, claim: Claim, clock: Clock
) -> None:
    history = History(database, ledger, census, now=clock)
    ledger.made(claim, [SPEECH])
    assert census.inputs_in_use() == history.inputs() == {"aa.wav", "0f.flac"}

    ledger.complete(claim, [picture()])
    clock.pass_s(100)

    assert census.inputs_in_use() == census.inputs_in_use(ended_within_s=50) == set()
    assert census.inputs_in_use(ended_within_s=200) == {"aa.wav", "0f.flac"}
    history.delete("anna", [claim.job.job_id])
    clock.pass_s(100)
    history.purge(50, lambda _job: None)
    assert history.inputs() == set()


def test_jobs_from_before_have_nothing_made(database_url: str, new_job: MakeJob) -> None:
    opened = open_database(database_url)
    try:
        earlier = Runner(opened.peewee, str(module._MIGRATIONS))
        opened.read(lambda: earlier.up("0009_audit"))
        columns = "job_id, person, tab, workflow, form, inputs, state, created_us"
        opened.tx(
            lambda: opened.peewee.execute_sql(
                f"INSERT INTO job ({columns}, attempt, adoptions, fence, lease_us, due_us, worker,"  # noqa: S608
                " server, prompt_id, client_id, cancel_wanted, priority, started_us, ended_us)"
                " VALUES ('j', 'anna', 't', 't', '{}', '[]', 'pending', 1,"
                " 0, 0, 0, 0, 0, '', '', '', '', 0, 0, 0, 0)"
            )
        )

        assert "0010_made" in migrate(opened)

        opened.tx(opened.tables.person.insert(person="anna", created_us=0).execute)
        ledger = Ledger(opened)
        assert ledger.get("j").made == ()
        claim = ledger.claim("w")
        assert claim is not None
        assert ledger.made(claim, [SPEECH])
        assert ledger.get("j").made == (SPEECH,)
        assert migrate(opened) == []
    finally:
        opened.close()
