"""Webhooks: told at least once, signed, again with longer and longer pauses, by one of many."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest

from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.history import History
from studio.engine.jobs import Failure, Hook, Job, NewJob
from studio.engine.ledger import Ledger
from studio.engine.outside import Outside, Reply
from studio.engine.webhooks import (
    GROWTH,
    JITTER,
    TRIES,
    Delivery,
    Sender,
    Stand,
    Webhooks,
    wait_s,
)
from studio.errors import StudioError
from tests.elsewhere import Elsewhere, Server, Visitor, serving
from tests.engine.conftest import Clock, MakeJob, picture

SECRET = "a secret of sixteen"
HOUR_S = 3600.0


class Receiver:
    """A program that is told; it answers as a test says, 200 when nothing is said."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.server: Server

    def __call__(self, visitor: Visitor) -> None:
        status, headers = self.answers.pop(0) if self.answers else (200, {})
        visitor.answer(status, b"thanks", **headers)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/hook"

    @property
    def told(self) -> list[Visitor]:
        return self.server.visits


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    with serving(one) as server:
        one.server = server
        yield one


@pytest.fixture
def outside(receiver: Receiver) -> Outside:
    return Elsewhere(receiver.server).outside


MakeSender = Callable[..., Sender]


@pytest.fixture
def make_sender(database: Database, ledger: Ledger, outside: Outside, clock: Clock) -> MakeSender:
    def make(to: Outside | None = None, **more: Any) -> Sender:
        parts = {"now": clock, "rng": random.Random(1)} | more  # noqa: S311
        webhooks = Webhooks(database, outside, SECRET)
        return Sender(database, ledger, webhooks, to or outside, tell, **parts)

    return make


@pytest.fixture
def sender(make_sender: MakeSender) -> Sender:
    return make_sender()


@pytest.fixture
def webhooks(database: Database, outside: Outside) -> Webhooks:
    return Webhooks(database, outside, SECRET)


def tell(job: Job, hook: Hook, delivery: Delivery) -> dict[str, Any]:
    return {"job_id": job.job_id, "status": str(job.state), "base": hook.base, "名": "貓"}


Order = Callable[..., NewJob]


@pytest.fixture
def order(ledger: Ledger, new_job: MakeJob, receiver: Receiver) -> Order:
    """Order a job whose end is to be told."""

    def ordered(person: str = "anna", url: str = "") -> NewJob:
        made = new_job(person)
        new = replace(made, hook=Hook(url or receiver.url, "https://studio.example/s", "en"))
        ledger.create(new)
        return new

    return ordered


def complete(ledger: Ledger) -> None:
    claim = ledger.claim("w")
    assert claim is not None
    assert ledger.complete(claim, [picture()])


def stands(webhooks: Webhooks, new: NewJob) -> Delivery:
    return webhooks.of([new.job_id])[new.job_id]


# --- being told ---------------------------------------------------------------------------------


def test_an_end_is_told_once_signed_and_written_down(
    order: Order,
    ledger: Ledger,
    sender: Sender,
    webhooks: Webhooks,
    receiver: Receiver,
    clock: Clock,
) -> None:
    new = order()
    assert sender.send_due() == 0
    assert stands(webhooks, new) == Delivery(receiver.url, Stand.WAITING, 0, None, 0)

    complete(ledger)
    assert (sender.send_due(), sender.send_due()) == (1, 0)

    [told] = receiver.told
    assert json.loads(told.body) == {
        "job_id": new.job_id, "status": "completed", "base": "https://studio.example/s", "名": "貓",
    }  # fmt: skip
    stamp = told.headers["studio-timestamp"]
    key = webhooks.secret_of("anna").encode()
    signed = hmac.new(key, f"{stamp}.".encode() + told.body, hashlib.sha256).hexdigest()
    assert told.headers["studio-signature"] == f"sha256={signed}"
    assert abs(int(stamp) - clock.us / 1e6) < 2
    assert told.headers["studio-event"] == "job.completed"
    assert told.headers["content-type"] == "application/json"
    assert stands(webhooks, new) == Delivery(receiver.url, Stand.DELIVERED, 1, 200, 0)


def test_every_kind_of_end_is_told(
    order: Order, ledger: Ledger, sender: Sender, receiver: Receiver
) -> None:
    failed, cancelled = order(), order()
    claim = ledger.claim("w")
    assert claim is not None
    assert claim.job.job_id == failed.job_id
    ledger.fail(claim, Failure("run_failed"))
    ledger.ask_cancel(cancelled.job_id, person="anna")

    sender.send_due()

    found = {json.loads(one.body)["job_id"]: one.headers["studio-event"] for one in receiver.told}
    assert found == {failed.job_id: "job.failed", cancelled.job_id: "job.cancelled"}


def test_a_job_without_a_webhook_is_told_to_nobody(
    ledger: Ledger, new_job: MakeJob, sender: Sender, webhooks: Webhooks
) -> None:
    new = new_job()
    ledger.create(new)
    complete(ledger)

    assert sender.send_due() == 0
    assert webhooks.of([new.job_id]) == {}
    assert webhooks.of([]) == {}


def test_the_same_order_twice_is_told_once(
    order: Order, ledger: Ledger, sender: Sender, receiver: Receiver
) -> None:
    ledger.create(order())
    complete(ledger)

    assert sender.send_due() == 1


def test_a_deleted_job_is_told_when_it_is_back_and_forgotten_when_purged(
    order: Order,
    ledger: Ledger,
    database: Database,
    sender: Sender,
    webhooks: Webhooks,
    clock: Clock,
) -> None:
    kept, gone = order(), order()
    complete(ledger)
    complete(ledger)
    history = History(database, ledger, Census(database), now=clock)
    history.delete("anna", [kept.job_id, gone.job_id])

    assert sender.send_due() == 0
    history.restore("anna", [kept.job_id])
    assert sender.send_due() == 1
    clock.pass_s(100)
    history.purge(60, lambda _: None)
    assert set(webhooks.of([kept.job_id, gone.job_id])) == {kept.job_id}


# --- again --------------------------------------------------------------------------------------


def test_what_is_not_taken_is_told_again_under_the_same_id(
    order: Order,
    ledger: Ledger,
    sender: Sender,
    webhooks: Webhooks,
    receiver: Receiver,
    clock: Clock,
) -> None:
    new = order()
    complete(ledger)
    receiver.answers = [(500, {}), (302, {"location": "/elsewhere"})]

    assert sender.send_due() == 1
    after_first = stands(webhooks, new)
    assert (after_first.state, after_first.attempts, after_first.last_status) == ("waiting", 1, 500)
    assert 8 <= (after_first.next_us - clock.us) / 1e6 <= 12
    clock.pass_s(7)
    assert sender.send_due() == 0
    clock.pass_s(6)
    assert sender.send_due() == 1
    clock.pass_s(60)
    assert sender.send_due() == 1

    assert stands(webhooks, new) == Delivery(receiver.url, Stand.DELIVERED, 3, 200, 0)
    assert {one.path for one in receiver.told} == {"/hook"}
    assert len({one.headers["studio-delivery"] for one in receiver.told}) == 1
    assert len({one.headers["studio-timestamp"] for one in receiver.told}) == 3


def test_after_eight_tries_in_a_day_it_is_given_up(
    order: Order,
    ledger: Ledger,
    sender: Sender,
    webhooks: Webhooks,
    receiver: Receiver,
    clock: Clock,
) -> None:
    new = order()
    complete(ledger)
    receiver.answers = [(503, {})] * 20
    began = clock.us

    while stands(webhooks, new).state is Stand.WAITING:
        sender.send_due()
        clock.us = max(clock.us, stands(webhooks, new).next_us)

    assert stands(webhooks, new) == Delivery(receiver.url, Stand.FAILED, TRIES, 503, 0)
    assert 18 * HOUR_S < (clock.us - began) / 1e6 < 28 * HOUR_S
    clock.pass_s(100 * HOUR_S)
    assert sender.send_due() == 0


def test_the_pauses_grow_and_are_spread() -> None:
    rng = random.Random(2)  # noqa: S311
    pauses = [[wait_s(number, rng) for _ in range(200)] for number in range(1, TRIES)]

    for shorter, longer in pairwise(pauses):
        assert max(shorter) < min(longer)
    assert min(pauses[0]) >= 10 * (1 - JITTER)
    assert max(pauses[-1]) <= 10 * GROWTH ** (TRIES - 2) * (1 + JITTER)
    assert max(pauses[0]) - min(pauses[0]) > 2


def test_a_receiver_that_is_gone_is_not_asked_again(
    order: Order, ledger: Ledger, sender: Sender, webhooks: Webhooks, receiver: Receiver
) -> None:
    new = order()
    complete(ledger)
    receiver.answers = [(410, {})]

    sender.send_due()

    assert stands(webhooks, new) == Delivery(receiver.url, Stand.FAILED, 1, 410, 0)


@pytest.mark.parametrize(
    ("said", "least_s", "most_s"),
    [
        ("600", 599, 601),
        ("1", 8, 12),
        ("999999999999", 86_399, 86_401),
        ("soon", 8, 12),
        ("-5", 8, 12),
        ("date", 299, 301),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 8, 12),
    ],
)
def test_a_receiver_may_ask_for_a_longer_pause(
    order: Order,
    ledger: Ledger,
    sender: Sender,
    webhooks: Webhooks,
    receiver: Receiver,
    clock: Clock,
    said: str,
    least_s: float,
    most_s: float,
) -> None:
    new = order()
    complete(ledger)
    if said == "date":
        said = format_datetime(datetime.fromtimestamp(clock.us / 1e6 + 300, UTC), usegmt=True)
    receiver.answers = [(429, {"retry_after": said})]

    sender.send_due()

    assert least_s <= (stands(webhooks, new).next_us - clock.us) / 1e6 <= most_s


def test_an_address_that_leads_inwards_by_now_is_not_posted_to(
    order: Order, ledger: Ledger, database: Database, receiver: Receiver, clock: Clock
) -> None:
    new = order()
    complete(ledger)
    wary = Outside()
    webhooks = Webhooks(database, wary, SECRET)

    assert Sender(database, ledger, webhooks, wary, tell, now=clock).send_due() == 1

    assert receiver.told == []
    assert (stands(webhooks, new).attempts, stands(webhooks, new).last_status) == (1, None)


# --- many processes, and crashes ----------------------------------------------------------------


def test_of_many_processes_one_sends_each_try(
    database_url: str, new_job: MakeJob, receiver: Receiver, outside: Outside
) -> None:
    homes = [open_database(database_url, patience_s=10) for _ in range(3)]
    migrate(homes[0])
    ledger = Ledger(homes[0])
    for number in range(12):
        made = new_job(f"person-{number}")
        ledger.create(replace(made, hook=Hook(receiver.url)))
        ledger.ask_cancel(made.job_id, person=made.person)
    together = threading.Barrier(len(homes))
    counts: list[int] = []

    def run(home: Database) -> None:
        sender = Sender(home, Ledger(home), Webhooks(home, outside, SECRET), outside, tell)
        together.wait(10)
        counts.append(sender.send_due())

    threads = [threading.Thread(target=run, args=(home,)) for home in homes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    for home in homes:
        home.close()

    ids = [json.loads(one.body)["job_id"] for one in receiver.told]
    assert (len(ids), len(set(ids)), sum(counts)) == (12, 12, 12)


class Died(BaseException):
    """As a kill would have it: nothing more is written."""


class Dying(Outside):
    """What dies just after it has posted."""

    def post(self, *given: Any) -> Reply:
        super().post(*given)
        raise Died


@pytest.fixture
def dying(receiver: Receiver) -> Outside:
    return Dying(allowed=[f"127.0.0.1:{receiver.server.port}"])


def test_a_try_whose_process_died_is_repeated_under_the_same_id(
    order: Order,
    ledger: Ledger,
    make_sender: MakeSender,
    receiver: Receiver,
    clock: Clock,
    dying: Outside,
) -> None:
    order()
    complete(ledger)
    with pytest.raises(Died):
        make_sender(dying).send_due()
    other = make_sender()

    clock.pass_s(60)
    assert other.send_due() == 0
    clock.pass_s(61)
    assert other.send_due() == 1

    assert len(receiver.told) == 2
    assert len({one.headers["studio-delivery"] for one in receiver.told}) == 1


def test_a_crash_in_the_last_try_ends_as_failed(
    order: Order,
    ledger: Ledger,
    make_sender: MakeSender,
    webhooks: Webhooks,
    clock: Clock,
    dying: Outside,
) -> None:
    new = order()
    complete(ledger)
    for _ in range(TRIES):
        with pytest.raises(Died):
            make_sender(dying).send_due()
        clock.pass_s(121)

    assert make_sender().send_due() == 0
    assert (stands(webhooks, new).state, stands(webhooks, new).attempts) == (Stand.FAILED, TRIES)


def test_what_a_late_process_learned_of_an_old_try_changes_nothing(
    order: Order,
    ledger: Ledger,
    make_sender: MakeSender,
    webhooks: Webhooks,
    receiver: Receiver,
    clock: Clock,
) -> None:
    posting, go_on = threading.Event(), threading.Event()

    class Late(Outside):
        def post(self, *_: Any) -> Reply:
            posting.set()
            assert go_on.wait(10)
            return Reply(410)

    new = order()
    complete(ledger)
    late = threading.Thread(target=make_sender(Late()).send_due)
    late.start()
    assert posting.wait(10)
    clock.pass_s(121)
    assert make_sender().send_due() == 1

    go_on.set()
    late.join(timeout=10)

    assert stands(webhooks, new) == Delivery(receiver.url, Stand.DELIVERED, 2, 200, 0)


# --- the thread ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_threads_left")
def test_the_thread_finds_what_ended_and_one_slow_receiver_holds_up_nobody(
    order: Order, ledger: Ledger, make_sender: MakeSender, webhooks: Webhooks, receiver: Receiver
) -> None:
    with serving(lambda visitor: visitor.gone.wait(20) and None) as tar:
        slow = [order("mallory", f"http://127.0.0.1:{tar.port}/") for _ in range(9)]
        quick = order("anna")
        for new in [*slow, quick]:
            ledger.ask_cancel(new.job_id, person=new.person)
        sender = make_sender(Outside(allowed=["127.0.0.1"]), look_s=0.02, grace_s=0.2)
        sender.start()

        wait_until(lambda: stands(webhooks, quick).state is Stand.DELIVERED)
        sender.stop()

        assert 1 <= len(tar.visits) <= 2
    assert [one.body for one in receiver.told] == [receiver.told[0].body]


def wait_until(there: Callable[[], bool], timeout_s: float = 10) -> None:
    pause = threading.Event()
    for _ in range(round(timeout_s / 0.02)):
        if there():
            return
        pause.wait(0.02)
    raise AssertionError("it never came true")


# --- what may be asked --------------------------------------------------------------------------


def test_a_key_is_a_persons_own_and_stays(webhooks: Webhooks, database: Database) -> None:
    keys = {who: webhooks.secret_of(who) for who in ("anna", "ben")}

    assert keys["anna"] != keys["ben"]
    assert Webhooks(database, None, SECRET).secret_of("anna") == keys["anna"]
    assert Webhooks(database, None, SECRET + "x").secret_of("anna") != keys["anna"]
    assert keys["anna"].startswith("whsec_")
    assert SECRET not in keys["anna"]


def test_a_key_is_renewed_for_its_person_alone_in_every_process(
    webhooks: Webhooks, database: Database
) -> None:
    keys = {who: webhooks.secret_of(who) for who in ("anna", "ben")}

    renewed = [webhooks.renew_secret("anna") for _ in range(2)]

    assert len({keys["anna"], *renewed}) == 3
    assert Webhooks(database, None, SECRET).secret_of("anna") == renewed[1]
    assert webhooks.secret_of("ben") == keys["ben"]


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8188/", "http://169.254.169.254/", "http://[::1]", "ftp://x/", "x", ""],
)
def test_an_address_inwards_is_refused_when_ordered(database: Database, url: str) -> None:
    with pytest.raises(StudioError, match="url_refused") as refused:
        Webhooks(database, Outside(), SECRET).check(Hook(url))

    assert refused.value.field == "webhook"


def test_webhooks_are_refused_where_the_host_wants_none(database: Database) -> None:
    with pytest.raises(StudioError, match="urls_off") as refused:
        Webhooks(database, None, SECRET).check(Hook("https://example.com/"))

    assert refused.value.field == "webhook"
