"""What several processes need of the ledger: wishes seen in rows, and a prompt's socket kept."""

from __future__ import annotations

from studio.engine.ledger import Ledger
from tests.engine.conftest import MakeJob


def test_wishes_to_cancel_are_found_among_ones_own_jobs_only(
    ledger: Ledger, new_job: MakeJob
) -> None:
    for job_id in ("one", "two", "theirs"):
        ledger.create(new_job(job_id=job_id))
    mine = [ledger.claim("me"), ledger.claim("me")]
    claims = [claim for claim in mine if claim is not None]
    assert ledger.claim("other") is not None
    assert ledger.unwanted(claims) == set()

    ledger.ask_cancel("two", person=None)
    ledger.ask_cancel("theirs", person=None)

    assert ledger.unwanted(claims) == {"two"}
    assert ledger.unwanted([]) == set()


def test_the_socket_a_prompt_was_posted_under_outlives_its_worker(
    ledger: Ledger, new_job: MakeJob
) -> None:
    ledger.create(new_job(job_id="one"))
    claim = ledger.claim("first")
    assert claim is not None
    ledger.sent(claim, server="gpu", prompt_id="p", client_id="c")

    ledger.give_back(claim, keep_prompt=True, count=False)
    second = ledger.claim("second")
    assert second is not None
    assert (second.job.prompt_id, second.job.client_id) == ("p", "c")

    ledger.give_back(second, keep_prompt=False, count=False)
    third = ledger.claim("third")
    assert third is not None
    assert (third.job.prompt_id, third.job.client_id) == ("", "")
