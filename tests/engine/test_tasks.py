from __future__ import annotations

import logging
import signal
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio.engine.tasks import Doorbell
from tests.servers import RedisServer, free_port

DEADLINE_S = 10.0


class House:
    """What a doorbell is joined to, as counters and events."""

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.waiting = 0
        self.slots = 100
        self.done = 0
        self.idle = 0
        self.reaped = 0
        self.running = 0
        self.most_running = 0
        self.chores: list[str] = []
        self.due: set[str] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.fault: Exception | None = None

    def work(self) -> bool:
        with self.lock:
            if self.fault is not None:
                fault, self.fault = self.fault, None
                raise fault
            if not self.waiting:
                self.idle += 1
                self.lock.notify_all()
                return False
            self.waiting -= 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.lock.notify_all()
        self.hold.wait(DEADLINE_S)
        with self.lock:
            self.running -= 1
            self.done += 1
            self.lock.notify_all()
        return True

    def reap(self) -> int:
        with self.lock:
            self.reaped += 1
            self.lock.notify_all()
        return 0

    def take_chore(self, name: str, every_s: float) -> bool:
        with self.lock:
            took = name in self.due
            self.due.discard(name)
        return took

    def add(self, jobs: int) -> None:
        with self.lock:
            self.waiting += jobs

    def until(self, true: Callable[[], bool]) -> None:
        with self.lock:
            assert self.lock.wait_for(true, DEADLINE_S), vars(self)


@pytest.fixture
def house() -> House:
    return House()


Make = Callable[..., Doorbell]


@pytest.fixture(params=["sqlite", "redis"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where the rings lie, of each kind."""
    if request.param == "sqlite":
        return tmp_path / "data" / "queue.db"
    url: str = request.getfixturevalue("redis_url")
    return url


@pytest.fixture
def make(queue: Path | str, house: House, no_threads_left: None) -> Iterator[Make]:
    made: list[Doorbell] = []

    def make_one(
        *,
        sweep_s: float = 60.0,
        signed_by: str = "us",
        at: Path | str | None = None,
        **more: float,
    ) -> Doorbell:
        bell = Doorbell(
            at or queue,
            house.work,
            waiting=lambda: house.waiting,
            free_slots=lambda: house.slots,
            reap=house.reap,
            take_chore=house.take_chore,
            secret=signed_by,
            sweep_s=sweep_s,
            **more,
        )
        made.append(bell)
        return bell

    yield make_one
    house.hold.set()
    for bell in made:
        assert bell.stop(DEADLINE_S)


def test_a_ring_wakes_an_idle_worker_in_a_few_milliseconds(make: Make, house: House) -> None:
    bell = make()
    bell.start(4)
    waits = []
    for number in range(1, 16):
        # Nothing tells that a worker went to sleep again: give it time to.
        threading.Event().wait(0.05)
        house.add(1)
        started = time.perf_counter()
        bell.ring()
        house.until(lambda number=number: house.done == number)  # type: ignore[misc]
        waits.append(time.perf_counter() - started)

    assert statistics.median(waits) < 0.03


def test_one_ring_starts_as_many_jobs_as_there_are_workers_and_all_get_done(
    make: Make, house: House
) -> None:
    bell = make(sweep_s=0.05)
    house.add(20)
    house.hold.clear()

    bell.start(3)
    bell.ring()
    house.until(lambda: house.running == 3)
    house.hold.set()
    house.until(lambda: house.done == 20)

    assert house.most_running == 3


def test_lost_rings_are_rung_by_the_sweeper(make: Make, house: House) -> None:
    house.add(5)

    make(sweep_s=0.05).start(2)

    house.until(lambda: house.done == 5)


def test_nothing_is_rung_while_no_slot_is_free(make: Make, house: House) -> None:
    house.slots = 0
    house.add(3)

    make(sweep_s=0.02).start(2)
    house.until(lambda: house.reaped > 5)

    assert (house.done, house.idle) == (0, 0)


def test_useless_rings_do_no_harm(make: Make, house: House) -> None:
    bell = make()
    for _ in range(20):
        bell.ring()
    house.add(2)

    bell.start(2)
    house.until(lambda: house.idle >= 18)

    assert house.done == 2


def test_rings_of_another_doorbell_on_the_same_queue_are_heard(make: Make, house: House) -> None:
    web, worker = make(), make()
    worker.start(1)

    house.add(1)
    web.ring()

    house.until(lambda: house.done == 1)


def test_rings_outlive_a_restart(make: Make, house: House) -> None:
    first = make()
    first.ring()
    assert first.stop(1)
    house.add(1)

    make().start(1)

    house.until(lambda: house.done == 1)


def test_a_stop_waits_for_the_present_job_and_takes_no_other(make: Make, house: House) -> None:
    bell = make()
    house.add(5)
    house.hold.clear()
    for _ in range(5):
        bell.ring()
    bell.start(1)
    house.until(lambda: house.running == 1)

    threading.Timer(0.1, house.hold.set).start()

    assert bell.stop(DEADLINE_S)
    assert (house.done, house.waiting) == (1, 4)


def test_a_ring_that_a_stopping_worker_still_took_starts_nothing(make: Make, house: House) -> None:
    bell = make()
    house.add(1)
    bell.start(1)
    assert bell.stop(DEADLINE_S)

    bell._pump_once()

    assert (house.waiting, house.done) == (1, 0)


def test_a_stop_whose_grace_ends_says_so(make: Make, house: House) -> None:
    bell = make()
    house.add(1)
    house.hold.clear()
    bell.start(1)
    bell.ring()
    house.until(lambda: house.running == 1)
    started = time.monotonic()

    assert not bell.stop(0.2)
    assert time.monotonic() - started < 2


def test_an_idle_stop_is_quick(make: Make) -> None:
    bell = make(sweep_s=60)
    bell.add_chore("sweep", 3600, lambda: None)
    bell.start(4)
    started = time.monotonic()

    assert bell.stop(DEADLINE_S)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
def test_a_ring_never_raises(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, house: House
) -> None:
    bell = make()
    with sqlite3.connect(tmp_path / "data" / "queue.db") as other:
        other.execute("DROP TABLE task")
    other.close()

    bell.ring()

    assert "the doorbell could not be rung" in caplog.text
    with sqlite3.connect(tmp_path / "data" / "queue.db") as other:
        other.execute(bell._huey.storage.table_task)
    other.close()


def test_a_fault_in_the_work_ends_no_worker(
    make: Make, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    bell = make(sweep_s=0.05)
    house.fault = RuntimeError("fault")
    house.add(1)
    bell.start(1)
    bell.ring()

    house.until(lambda: house.done == 1)
    assert "the work met a fault of its own" in caplog.text


def test_a_fault_in_the_sweep_does_not_end_it(
    tmp_path: Path, house: House, no_threads_left: None, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty() -> int:
        house.reap()
        raise RuntimeError("fault")

    bell = Doorbell(
        tmp_path / "queue.db",
        house.work,
        waiting=lambda: 0,
        free_slots=lambda: 0,
        reap=faulty,
        take_chore=house.take_chore,
        sweep_s=0.02,
    )
    bell.start(1)

    house.until(lambda: house.reaped >= 3)

    assert bell.stop(DEADLINE_S)
    assert "the sweeper met a fault" in caplog.text


def test_a_chore_is_done_when_its_row_says_so_and_a_faulty_one_stops_no_other(
    make: Make, house: House
) -> None:
    bell = make(sweep_s=0.02, chore_look_s=0.02)

    def done(name: str) -> None:
        with house.lock:
            house.chores.append(name)
            house.lock.notify_all()
        if name == "faulty":
            raise RuntimeError("fault")

    bell.add_chore("faulty", 3600, lambda: done("faulty"))
    bell.add_chore("sweep", 3600, lambda: done("sweep"))
    house.due = {"faulty", "sweep"}

    bell.start(1)
    house.until(lambda: house.chores == ["faulty", "sweep"])
    with house.lock:
        house.due = {"sweep"}
    house.until(lambda: house.chores == ["faulty", "sweep", "sweep"])


def test_a_web_process_rings_and_runs_nothing(make: Make, house: House) -> None:
    before = threading.active_count()
    bell = make()
    house.add(1)

    bell.start(0)
    bell.ring()

    assert threading.active_count() == before
    assert int(bell._huey.storage.queue_size()) == 1


def test_the_signal_handlers_of_the_app_stay(make: Make) -> None:
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    make().start(2)

    assert {name: signal.getsignal(name) for name in before} == before


def test_it_starts_off_the_main_thread(make: Make, house: House) -> None:
    bell = make()
    house.add(1)
    starter = threading.Thread(target=bell.start, args=(1,))
    starter.start()
    starter.join(DEADLINE_S)
    bell.ring()

    house.until(lambda: house.done == 1)


def test_a_message_signed_with_another_secret_is_not_run(
    make: Make, house: House, caplog: pytest.LogCaptureFixture
) -> None:
    stranger, bell = make(signed_by="them"), make(signed_by="us")
    house.add(1)

    with caplog.at_level(logging.ERROR):
        stranger.ring()
        bell.start(1)
        bell.ring()
        house.until(lambda: house.done == 1)

    assert "mismatch" in caplog.text
    assert house.idle == 0


@pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
def test_a_broken_queue_file_is_made_anew(
    make: Make, house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "queue.db").write_bytes(b"this is no database" * 500)

    bell = make()
    house.add(1)
    bell.start(1)
    bell.ring()

    house.until(lambda: house.done == 1)
    assert "the queue's file is broken" in caplog.text


def test_a_dead_worker_is_replaced(make: Make, house: House) -> None:
    bell = make(sweep_s=0.02, health_s=0.05)
    bell.start(1)
    house.fault = SystemExit()  # type: ignore[assignment]  # the one way out of Huey's own net
    house.add(1)
    bell.ring()

    house.until(lambda: house.done == 1)


class TestRedisAway:
    """The rows are the truth: a queue that is away or was emptied loses no job."""

    def test_a_ring_into_nowhere_is_quick_and_raises_nothing(
        self, tmp_path: Path, house: House, caplog: pytest.LogCaptureFixture
    ) -> None:
        bell = doorbell(f"redis://127.0.0.1:{free_port()}/0", house)
        started = time.monotonic()

        for _ in range(3):
            bell.ring()

        assert time.monotonic() - started < 1.0
        assert caplog.text.count("Redis is away") == 1
        assert bell.stop(1)

    def test_a_ring_to_one_that_answers_nobody_is_given_up(
        self, own_redis: RedisServer, house: House
    ) -> None:
        bell = doorbell(own_redis.url, house)
        bell.ring()
        own_redis.pause()
        started = time.monotonic()

        bell.ring()

        for _ in range(20):
            bell.ring()
        assert time.monotonic() - started < 4.0
        own_redis.go_on()
        assert bell.stop(1)

    @pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
    def test_jobs_of_the_time_without_redis_are_done_when_it_is_back_and_empty(
        self, make: Make, own_redis: RedisServer, house: House
    ) -> None:
        worker, web = make(sweep_s=0.1, at=own_redis.url), make(at=own_redis.url)
        house.hold.clear()
        worker.start(2)
        house.add(6)
        web.ring()
        house.until(lambda: house.running == 2)
        own_redis.kill()
        house.add(4)
        web.ring()
        house.hold.set()
        own_redis.start()

        house.until(lambda: house.done == 10)

    @pytest.mark.parametrize("queue", ["sqlite"], indirect=True)
    def test_a_stop_without_redis_is_quick(
        self, make: Make, own_redis: RedisServer, house: House
    ) -> None:
        bell = make(sweep_s=0.1, at=own_redis.url)
        bell.start(2)
        own_redis.kill()
        started = time.monotonic()

        assert bell.stop(DEADLINE_S)
        assert time.monotonic() - started < 4


def doorbell(queue: str, house: House) -> Doorbell:
    return Doorbell(
        queue,
        house.work,
        waiting=lambda: house.waiting,
        free_slots=lambda: house.slots,
        reap=house.reap,
        take_chore=house.take_chore,
        secret="us",
    )
