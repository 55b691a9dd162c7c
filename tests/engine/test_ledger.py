from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import peewee
import pytest

from studio.engine.census import Census
from studio.engine.database import Database
from studio.engine.jobs import Claim, Failure, Job, NewJob, Output, State
from studio.engine.ledger import MAX_ADOPTIONS, MAX_ATTEMPTS, Ledger
from studio.errors import StudioError

T = TypeVar("T")


class Forgetful(Database):
    """A database whose next COMMIT arrives, and whose answer does not."""

    lose_next = False

    def _write_once(self, work: Callable[[], T]) -> T:
        given = super()._write_once(work)
        if self.lose_next:
            self.lose_next = False
            raise peewee.OperationalError(2013, "Lost connection to server during query")
        return given


@pytest.fixture
def forgetful(database: Database) -> Forgetful:
    return Forgetful(database.peewee)


def claimed(ledger: Ledger, worker: str = "w") -> Claim:
    claim = ledger.claim(worker)
    assert claim is not None
    return claim


def on_server(ledger: Ledger, prompt_id: str = "p-1") -> Claim:
    claim = claimed(ledger)
    assert ledger.sent(claim, server="gpu", prompt_id=prompt_id)
    return claim


def order(ledger: Ledger, slots: int, output: Callable[[int], Output]) -> str:
    """The first letters of the persons, in the order their jobs start on so many slots."""
    served, busy = "", []
    while True:
        claim = ledger.claim("w") if len(busy) < slots else None
        if claim is not None:
            served += claim.job.person[0]
            busy.append(claim)
        elif busy:
            assert ledger.complete(busy.pop(0), [output(0)])
        else:
            return served


def raised(code: str, call: Callable[[], object]) -> StudioError:
    with pytest.raises(StudioError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


class TestCreate:
    def test_a_new_job_is_pending_and_exact(self, ledger: Ledger) -> None:
        values = {"prompt": "一隻貓 🍣", "seed": str(2**64 - 1), "steps": 8, "images": ["a.png"]}

        made = ledger.create(
            NewJob("j-1", "anna", "tab", "flow", values, seed=str(2**64 - 1), inputs=("a.png",))
        )

        assert made == ledger.get("j-1", person="anna")
        assert made.values == values
        assert (made.state, made.seed, made.inputs) == (
            State.PENDING,
            "18446744073709551615",
            ("a.png",),
        )

    def test_the_same_id_again_gives_the_job_that_is_there(
        self, ledger: Ledger, census: Census, new_job: Callable[..., NewJob]
    ) -> None:
        order = new_job()

        first, again = ledger.create(order), ledger.create(order)

        assert first == again
        assert census.waiting() == 1

    def test_a_lost_answer_to_the_commit_makes_no_second_job(
        self, forgetful: Forgetful, new_job: Callable[..., NewJob]
    ) -> None:
        ledger = Ledger(forgetful, max_pending=1)
        forgetful.lose_next = True

        made = ledger.create(new_job())

        assert Census(forgetful).waiting() == 1
        assert ledger.get(made.job_id).state is State.PENDING

    def test_an_id_of_another_person_is_unknown(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        ledger.create(new_job("anna", job_id="j-1"))

        raised("job_unknown", lambda: ledger.create(new_job("ben", job_id="j-1")))

    def test_too_many_waiting_jobs_are_refused_to_this_person_alone(
        self, database: Database, new_job: Callable[..., NewJob]
    ) -> None:
        ledger = Ledger(database, max_pending=2)
        ledger.create(new_job("anna"))
        ledger.create(new_job("anna"))

        error = raised("queue_full", lambda: ledger.create(new_job("anna")))

        assert (error.status, error.params["limit"]) == (429, "2")
        assert ledger.create(new_job("ben")).state is State.PENDING

    def test_submits_at_once_never_pass_the_limit(
        self, database: Database, new_job: Callable[..., NewJob]
    ) -> None:
        ledger = Ledger(database, max_pending=2)
        gate = threading.Barrier(8)

        def submit(person: str) -> bool:
            gate.wait(timeout=10)
            try:
                return bool(ledger.create(new_job(person)))
            except StudioError:
                return False

        for person in ("anna", "ben", "cleo", "dora"):
            ledger.ask_cancel(ledger.create(new_job(person)).job_id, person=person)
            with ThreadPoolExecutor(8) as pool:
                accepted = sum(pool.map(submit, [person] * 8))
            assert accepted == len(ledger.running(person)) == 2


class TestPersons:
    def test_nobody_reads_a_job_of_another(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        ledger.create(new_job("anna", job_id="j-1"))

        for call in (
            lambda: ledger.get("j-1", person="ben"),
            lambda: ledger.get("j-1", person="Anna"),
            lambda: ledger.get("J-1", person="anna"),
            lambda: ledger.ask_cancel("j-1", person="ben"),
            lambda: ledger.get("no such", person="anna"),
        ):
            raised("job_unknown", call)
        assert ledger.get("j-1").state is State.PENDING

    @pytest.mark.parametrize("other", ["ben", "Anna", "anna ", ""])
    def test_lists_hold_the_persons_own_jobs_only(
        self,
        ledger: Ledger,
        new_job: Callable[..., NewJob],
        make_output: Callable[[int], Output],
        other: str,
    ) -> None:
        ledger.create(new_job("anna"))
        ledger.complete(claimed(ledger), [make_output(0)])
        ledger.create(new_job("anna"))

        assert ledger.running(other) == []
        assert ledger.page(other) == ([], None)
        assert len(ledger.running("anna")) == len(ledger.page("anna")[0]) == 1

    def test_running_lists_waiting_and_working_jobs_of_a_tab_oldest_first(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        made = [ledger.create(new_job(tab=tab)) for tab in ("a", "b", "a")]
        claimed(ledger)

        assert [job.job_id for job in ledger.running("anna")] == [job.job_id for job in made]
        assert [job.job_id for job in ledger.running("anna", "a")] == [
            made[0].job_id,
            made[2].job_id,
        ]


class TestPage:
    def test_pages_neither_skip_nor_repeat_while_jobs_end(
        self, ledger: Ledger, new_job: Callable[..., NewJob], make_output: Callable[[int], Output]
    ) -> None:
        ended = []
        for _ in range(7):
            ended.append(ledger.create(new_job()).job_id)
            ledger.complete(claimed(ledger), [make_output(1), make_output(0)])

        first, key = ledger.page("anna", limit=3)
        ledger.create(new_job())
        ledger.complete(claimed(ledger), [])
        second, key = ledger.page("anna", after=key, limit=3)
        third, end = ledger.page("anna", after=key, limit=3)

        assert [job.job_id for job in (*first, *second, *third)] == ended[::-1]
        assert end is None
        assert [output.index for output in second[0].outputs] == [0, 1]

    def test_jobs_that_end_in_the_same_microsecond_are_all_listed(
        self, database: Database, new_job: Callable[..., NewJob]
    ) -> None:
        ledger = Ledger(database, now=lambda: 1_000_000)
        made = {ledger.create(new_job()).job_id for _ in range(5)}
        for job_id in made:
            ledger.ask_cancel(job_id, person="anna")

        seen, key = [], None
        while True:
            page, key = ledger.page("anna", after=key, limit=2)
            seen += [job.job_id for job in page]
            if key is None:
                break

        assert len(seen) == 5
        assert set(seen) == made

    def test_a_page_can_be_of_one_tab(self, ledger: Ledger, new_job: Callable[..., NewJob]) -> None:
        for tab in ("a", "b", "a"):
            ledger.ask_cancel(ledger.create(new_job(tab=tab)).job_id, person="anna")

        assert [job.tab for job in ledger.page("anna", tab="a")[0]] == ["a", "a"]

    @pytest.mark.parametrize("key", ["", "x", "1-", "-1", "1;drop", "9" * 400 + "-" + "9" * 400])
    def test_a_foreign_key_breaks_nothing(
        self, ledger: Ledger, new_job: Callable[..., NewJob], key: str
    ) -> None:
        ledger.ask_cancel(ledger.create(new_job()).job_id, person="anna")

        assert len(ledger.page("anna", after=key)[0]) == 1


class TestClaim:
    def test_one_slot_serves_two_persons_in_turn(
        self, ledger: Ledger, new_job: Callable[..., NewJob], make_output: Callable[[int], Output]
    ) -> None:
        for person in "a" * 20 + "b" * 3:
            ledger.create(new_job(person))

        assert order(ledger, 1, make_output) == "ababab" + "a" * 17

    @pytest.mark.parametrize("slots", [2, 3])
    def test_more_slots_serve_the_person_with_fewest_running(
        self,
        ledger: Ledger,
        new_job: Callable[..., NewJob],
        make_output: Callable[[int], Output],
        slots: int,
    ) -> None:
        for person in "a" * 12 + "b" * 3:
            ledger.create(new_job(person))

        assert order(ledger, slots, make_output).startswith("ababab")

    def test_fifty_jobs_of_one_keep_another_waiting_for_one_at_most(
        self, ledger: Ledger, new_job: Callable[..., NewJob], make_output: Callable[[int], Output]
    ) -> None:
        for _ in range(50):
            ledger.create(new_job("anna"))
        running = claimed(ledger)

        late = ledger.create(new_job("ben"))
        ledger.complete(running, [make_output(0)])

        assert ledger.ahead_of(late.job_id) == 0
        assert claimed(ledger).job.job_id == late.job_id

    def test_an_empty_ledger_gives_no_claim(self, ledger: Ledger) -> None:
        assert ledger.claim("w") is None

    def test_many_workers_claim_each_job_once(
        self, database: Database, new_job: Callable[..., NewJob]
    ) -> None:
        ledger, census = Ledger(database), Census(database)
        made = {ledger.create(new_job(f"p{n % 5}")).job_id for n in range(40)}

        def work(worker: int) -> list[str]:
            mine = []
            while census.waiting():
                claim = ledger.claim(f"w{worker}")
                if claim is not None:
                    mine.append(claim.job.job_id)
            return mine

        with ThreadPoolExecutor(8) as pool:
            taken = [job_id for mine in pool.map(work, range(8)) for job_id in mine]

        assert len(taken) == 40
        assert set(taken) == made

    def test_a_claim_shows_the_job_as_it_now_is(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        made = ledger.create(new_job())

        claim = claimed(ledger, "host:1")

        assert claim.job == ledger.get(made.job_id)
        assert (claim.job.state, claim.job.worker, claim.job.attempt, claim.fence) == (
            State.PROCESSING,
            "host:1",
            1,
            1,
        )


class TestLine:
    @pytest.mark.parametrize("seed", range(4))
    def test_the_position_told_is_the_order_kept_with_one_slot(
        self,
        ledger: Ledger,
        new_job: Callable[..., NewJob],
        make_output: Callable[[int], Output],
        seed: int,
    ) -> None:
        rng = random.Random(seed)  # noqa: S311  no secret
        for _ in range(6):
            ledger.create(new_job(rng.choice("abc")))
            ledger.complete(claimed(ledger), [make_output(0)])
        made = [ledger.create(new_job(rng.choice("abc"))) for _ in range(14)]

        told = {ledger.ahead_of(job.job_id): job.job_id for job in made}
        kept = []
        for _ in made:
            claim = claimed(ledger)
            kept.append(claim.job.job_id)
            ledger.complete(claim, [make_output(0)])

        assert [told[place] for place in range(14)] == kept

    @pytest.mark.parametrize("at_most", [0, 1], ids=["any", "one at once"])
    @pytest.mark.parametrize("seed", range(3))
    def test_with_several_slots_and_priorities_the_place_told_is_kept(
        self,
        database: Database,
        clock: Any,
        new_job: Callable[..., NewJob],
        make_output: Callable[[int], Output],
        seed: int,
        at_most: int,
    ) -> None:
        ledger = Ledger(database, now=clock, max_pending=50, max_running=at_most)
        rng = random.Random(seed)  # noqa: S311  no secret
        for _ in range(9):
            ledger.create(new_job(rng.choice("abcd")))
        slots = [claim for _ in range(3) if (claim := ledger.claim("w")) is not None]
        for claim in slots:
            assert ledger.sent(claim, server="s", prompt_id=claim.job.job_id)
        rest = [ledger.create(new_job(rng.choice("abcd"))) for _ in range(12)]
        for job in rng.sample(rest, 3):
            ledger.set_priority(job.job_id, rng.choice([1, 2]))
        waiting = [job for one in "abcd" for job in ledger.running(one) if not job.prompt_id]

        told = {ledger.ahead_of(job.job_id): job.job_id for job in waiting}
        kept = []
        while len(kept) < len(waiting):
            done = slots.pop(0)
            ledger.complete(done, [make_output(0)])
            while len(slots) < 3 and (claim := ledger.claim("w")) is not None:
                assert ledger.sent(claim, server="s", prompt_id=claim.job.job_id)
                slots.append(claim)
                kept.append(claim.job.job_id)

        assert [told.get(place) for place in range(len(waiting))] == kept

    def test_a_prompt_that_lost_its_worker_goes_before_everybodys_turn(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        ledger.create(new_job("anna"))
        claim = claimed(ledger)
        assert ledger.sent(claim, server="s", prompt_id="p")
        later = ledger.create(new_job("ben"))
        ledger.give_back(claim, keep_prompt=True, count=False)

        assert (ledger.ahead_of(claim.job.job_id), ledger.ahead_of(later.job_id)) == (0, 1)

    def test_a_running_or_ended_job_has_nobody_ahead(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        job = ledger.create(new_job())
        ledger.create(new_job())
        claim = claimed(ledger)

        assert ledger.ahead_of(job.job_id) == 0
        ledger.fail(claim, Failure("internal"))
        assert ledger.ahead_of(job.job_id) == 0


class TestLease:
    def test_a_beat_keeps_the_job_and_tells_of_a_wish_to_cancel(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        claim = claimed(ledger)

        clock.pass_s(29)
        assert ledger.beat(claim).cancel_wanted is False
        ledger.ask_cancel(job.job_id, person="anna")
        clock.pass_s(29)

        assert ledger.reap() == 0
        assert ledger.beat(claim).ours
        assert ledger.beat(claim).cancel_wanted

    def test_a_beat_in_the_same_microsecond_is_not_a_lost_lease(
        self, database: Database, new_job: Callable[..., NewJob]
    ) -> None:
        ledger = Ledger(database, now=lambda: 1_000_000)
        ledger.create(new_job())
        claim = claimed(ledger)

        assert ledger.beat(claim).ours
        assert ledger.beat(claim).ours

    def test_an_expired_lease_puts_the_job_back_with_its_prompt(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        on_server(ledger, "p-1")
        clock.pass_s(31)

        assert ledger.reap() == 1
        back = ledger.get(job.job_id)
        assert (back.state, back.server, back.prompt_id) == (State.PENDING, "gpu", "p-1")

    def test_a_stale_worker_writes_nothing(
        self,
        ledger: Ledger,
        new_job: Callable[..., NewJob],
        clock: Any,
        make_output: Callable[[int], Output],
    ) -> None:
        job = ledger.create(new_job())
        stale = on_server(ledger, "p-1")
        clock.pass_s(31)
        ledger.reap()

        def refused() -> bool:
            before = ledger.get(job.job_id)
            wrote = [
                ledger.beat(stale).ours,
                ledger.sent(stale, server="x", prompt_id="x"),
                ledger.complete(stale, [make_output(0)]),
                ledger.fail(stale, Failure("internal")),
                ledger.cancelled(stale),
                ledger.give_back(stale, keep_prompt=False, count=True),
            ]
            return not any(wrote) and ledger.get(job.job_id) == before

        assert refused()
        claimed(ledger)
        assert refused()

    def test_a_reaped_job_that_reached_no_server_and_is_unwanted_is_cancelled(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        late = claimed(ledger)
        ledger.ask_cancel(job.job_id, person="anna")
        clock.pass_s(31)

        assert ledger.reap() == 1
        assert ledger.get(job.job_id).state is State.CANCELLED
        assert not ledger.cancelled(late)

    def test_a_reaped_job_whose_prompt_may_run_is_adopted_to_be_cancelled(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        on_server(ledger)
        ledger.ask_cancel(job.job_id, person="anna")
        clock.pass_s(31)
        ledger.reap()

        claim = claimed(ledger)

        assert claim.job.cancel_wanted
        assert ledger.cancelled(claim)


class TestAttempts:
    def expire(self, ledger: Ledger, clock: Any) -> None:
        clock.pass_s(31)
        assert ledger.reap() == 1

    def test_a_fourth_claim_fails_the_job_and_takes_the_next(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        first = ledger.create(new_job())
        for attempt in range(1, MAX_ATTEMPTS + 1):
            claim = on_server(ledger, f"p-{attempt}")
            assert claim.job.attempt == attempt
            assert ledger.give_back(claim, keep_prompt=False, count=True)
        second = ledger.create(new_job())

        taken = claimed(ledger)

        failed = ledger.get(first.job_id)
        assert taken.job.job_id == second.job_id
        assert (failed.state, failed.failure) == (
            State.FAILED,
            Failure("attempts_spent", {"attempts": "3"}),
        )

    def test_workers_that_die_before_they_send_anything_take_no_attempt(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        for _ in range(MAX_ADOPTIONS):
            assert claimed(ledger).job.attempt == 1
            self.expire(ledger, clock)

        assert ledger.claim("w") is None
        failure = ledger.get(job.job_id).failure
        assert failure == Failure("attempts_spent", {"attempts": str(MAX_ADOPTIONS)})

    def test_adopting_a_prompt_is_no_attempt_and_comes_first(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        ledger.create(new_job("anna"))
        on_server(ledger)
        ledger.create(new_job("ben"))
        for _ in range(MAX_ATTEMPTS + 2):
            self.expire(ledger, clock)
            adopted = claimed(ledger)
            assert (adopted.job.prompt_id, adopted.job.attempt) == ("p-1", 1)

    def test_a_prompt_in_place_of_a_vanished_one_is_an_attempt(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        on_server(ledger, "p-1")
        self.expire(ledger, clock)

        on_server(ledger, "p-2")

        assert ledger.get(job.job_id).attempt == 2

    def test_a_job_whose_every_worker_dies_ends_at_last(
        self, ledger: Ledger, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        job = ledger.create(new_job())
        on_server(ledger)
        for _ in range(MAX_ADOPTIONS):
            self.expire(ledger, clock)
            claimed(ledger)
        self.expire(ledger, clock)

        assert ledger.claim("w") is None
        failure = ledger.get(job.job_id).failure
        assert failure is not None
        assert failure.code == "attempts_spent"


class TestGiveBack:
    def test_an_uncounted_return_may_be_repeated_for_ever(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        ledger.create(new_job())
        for _ in range(MAX_ATTEMPTS + 2):
            claim = claimed(ledger)
            assert claim.job.attempt == 1
            assert ledger.give_back(claim, keep_prompt=False, count=False)

    def test_an_uncounted_return_of_an_adopted_prompt_may_be_repeated_for_ever(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        job = ledger.create(new_job())
        ledger.give_back(on_server(ledger), keep_prompt=True, count=False)
        for _ in range(MAX_ADOPTIONS + 2):
            assert ledger.give_back(claimed(ledger), keep_prompt=True, count=False)

        assert ledger.get(job.job_id).prompt_id == "p-1"

    def test_a_return_without_its_prompt_begins_anew(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        ledger.create(new_job())
        ledger.give_back(on_server(ledger), keep_prompt=False, count=True)

        again = claimed(ledger)

        assert (again.job.prompt_id, again.job.server, again.job.attempt) == ("", "", 2)

    def test_a_job_given_back_for_later_is_not_due_before(
        self, ledger: Ledger, census: Census, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        ledger.create(new_job())
        ledger.give_back(claimed(ledger), keep_prompt=False, count=False, wait_s=5)

        assert (census.waiting(), ledger.claim("w")) == (0, None)
        clock.pass_s(6)
        assert census.waiting() == 1
        assert ledger.claim("w") is not None

    def test_an_unwanted_job_with_nothing_on_a_server_is_cancelled_instead(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        job = ledger.create(new_job())
        claim = claimed(ledger)
        ledger.ask_cancel(job.job_id, person="anna")

        assert ledger.give_back(claim, keep_prompt=True, count=False)
        assert ledger.get(job.job_id).state is State.CANCELLED


class TestEnds:
    def test_outputs_and_end_are_written_together(
        self, ledger: Ledger, new_job: Callable[..., NewJob], make_output: Callable[[int], Output]
    ) -> None:
        job = ledger.create(new_job())
        outputs = [make_output(0), make_output(1)]

        assert ledger.complete(on_server(ledger), outputs)

        done = ledger.get(job.job_id, person="anna")
        assert (done.state, done.outputs) == (State.COMPLETED, tuple(outputs))
        assert done.seconds is not None
        assert done.seconds > 0

    def test_outputs_that_cannot_be_written_leave_the_job_unfinished(
        self, ledger: Ledger, new_job: Callable[..., NewJob], make_output: Callable[[int], Output]
    ) -> None:
        job = ledger.create(new_job())
        claim = claimed(ledger)

        with pytest.raises(peewee.IntegrityError):
            ledger.complete(claim, [make_output(0), make_output(0)])

        assert ledger.get(job.job_id) == claim.job
        assert ledger.complete(claim, [make_output(0)])

    @pytest.mark.parametrize("end", ["complete", "fail", "cancelled"])
    def test_a_lost_answer_to_the_commit_is_still_our_end(
        self,
        forgetful: Forgetful,
        new_job: Callable[..., NewJob],
        make_output: Callable[[int], Output],
        end: str,
    ) -> None:
        ledger = Ledger(forgetful)
        job = ledger.create(new_job())
        claim = claimed(ledger)
        forgetful.lose_next = True

        ours = {
            "complete": lambda: ledger.complete(claim, [make_output(0)]),
            "fail": lambda: ledger.fail(claim, Failure("internal")),
            "cancelled": lambda: ledger.cancelled(claim),
        }[end]()

        assert ours
        assert ledger.get(job.job_id).state.ended
        assert len(ledger.get(job.job_id).outputs) == (1 if end == "complete" else 0)

    def test_a_failure_keeps_its_reason_however_long(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        job = ledger.create(new_job())
        failure = Failure("run_failed", {"node": "採樣器"}, details="x" * 200_000)

        ledger.fail(claimed(ledger), failure)

        assert ledger.get(job.job_id).failure == failure

    def test_an_ended_job_is_never_claimed_again(
        self, ledger: Ledger, census: Census, new_job: Callable[..., NewJob], clock: Any
    ) -> None:
        ledger.create(new_job())
        ledger.fail(claimed(ledger), Failure("internal"))
        clock.pass_s(3600)

        assert (ledger.reap(), census.waiting(), ledger.claim("w")) == (0, 0, None)


class TestCancel:
    def test_a_waiting_job_is_cancelled_at_once(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        job = ledger.create(new_job())

        assert ledger.ask_cancel(job.job_id, person="anna").state is State.CANCELLED
        assert ledger.claim("w") is None
        assert ledger.ask_cancel(job.job_id, person="anna").state is State.CANCELLED

    def test_a_waiting_job_with_a_prompt_is_left_to_its_next_worker(
        self, ledger: Ledger, new_job: Callable[..., NewJob]
    ) -> None:
        job = ledger.create(new_job())
        ledger.give_back(on_server(ledger), keep_prompt=True, count=False)

        asked = ledger.ask_cancel(job.job_id, person="anna")

        assert (asked.state, asked.cancel_wanted) == (State.PENDING, True)

    def test_an_ended_job_cannot_be_cancelled(
        self, ledger: Ledger, new_job: Callable[..., NewJob], make_output: Callable[[int], Output]
    ) -> None:
        job = ledger.create(new_job())
        ledger.complete(claimed(ledger), [make_output(0)])

        error = raised("job_ended", lambda: ledger.ask_cancel(job.job_id, person="anna"))

        assert error.status == 409
        assert ledger.get(job.job_id).state is State.COMPLETED

    def test_cancel_and_claim_at_once_agree(
        self, database: Database, new_job: Callable[..., NewJob]
    ) -> None:
        ledger = Ledger(database)
        for _ in range(15):
            job = ledger.create(new_job())
            with ThreadPoolExecutor(2) as pool:
                asked = pool.submit(ledger.ask_cancel, job.job_id, person="anna")
                claim = pool.submit(ledger.claim, "w").result()
            seen: Job = asked.result()

            assert (seen.state is State.CANCELLED) == (claim is None)
            assert claim is None or ledger.beat(claim).cancel_wanted


class TestHouse:
    def test_a_chore_is_done_by_one_of_many_and_again_when_due(
        self, database: Database, clock: Any
    ) -> None:
        ledgers = [Ledger(database, now=clock) for _ in range(4)]
        gate = threading.Barrier(4)

        def take(ledger: Ledger) -> bool:
            gate.wait(timeout=10)
            return ledger.take_chore("sweep", 60)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(take, ledgers)) == 1
        assert not ledgers[0].take_chore("sweep", 60)
        clock.pass_s(61)
        assert ledgers[0].take_chore("sweep", 60)
