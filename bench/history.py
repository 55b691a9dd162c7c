"""How quickly a gallery answers: one person's 1,000,000 jobs against 1,000, question by question.

`python -m bench history` measures SQLite and, where `mariadbd` is installed, MariaDB;
`python -m bench.history 100000` so many jobs instead.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.row import Row, percentile
from studio.engine.census import Census
from studio.engine.database import Database, migrate, open_database
from studio.engine.history import COUNTED_AT_MOST, FOUND_AT_MOST, Filters, History
from studio.engine.jobs import State
from studio.engine.ledger import Ledger
from studio.engine.shelves import Shelves
from studio.engine.words import folded
from tests.servers import MariaDB

MANY: Final = 1_000_000
FEW: Final = 1_000
TIMES: Final = 20
TARGET_MS: Final = 30.0
MINUTE_US: Final = 60_000_000
DAY_US: Final = 86_400_000_000
WORKFLOWS: Final = ("text_to_image", "face_swap", "image_blend", "text_to_video", "image_edit")
RARE: Final = "upscale"
_HANZI: Final = [chr(0x4E00 + 7 * number) for number in range(2500)]
_LETTERS: Final = ("aeiou", "bcdfghklmnprst")


def vocabulary(rng: random.Random) -> tuple[list[str], list[str], list[float]]:
    """Make words of letters and of Chinese, and how often each is said: few often, most seldom."""
    latin = [
        "".join(rng.choice(_LETTERS[(at + 1) % 2]) for at in range(rng.randint(3, 9)))
        for _ in range(4000)
    ]
    chinese = ["".join(rng.choices(_HANZI, k=rng.randint(1, 4))) for _ in range(4000)]
    return latin, chinese, [1 / (rank + 3) for rank in range(4000)]


def fill(database: Database, person: str, count: int, rng: random.Random) -> None:
    """Write `count` ended jobs of about 25 words each, as rows: a ledger would take an hour."""
    latin, chinese, weights = vocabulary(random.Random(1))  # noqa: S311  the same each time
    marks = "job_id, person, tab, workflow, form, seed, inputs, given, state, attempt, adoptions"
    marks += ", fence, lease_us, due_us, worker, server, prompt_id, client_id, cancel_wanted"
    marks += ", priority, created_us, started_us, ended_us, favourite, deleted_us, seq"
    first = int(database.read(lambda: database.tables.job.select().count())) + 1
    for start in range(0, count, 10_000):
        jobs, words = [], []
        for number in range(start, min(start + 10_000, count)):
            said = rng.choices(latin, weights, k=12) + rng.choices(chinese, weights, k=12)
            said += ["共同", "common"] if number % 3 else ["lighthouse"]
            if number % (count // 20) == count // 40:
                said.append("zyzzyva 麒麟")
            seed, text = str(rng.getrandbits(64)), " ".join(said)
            workflow = WORKFLOWS[number % 5] if number % (count // 20) != 11 else RARE
            state = State.COMPLETED if number % (count // 20) != 5 else State.FAILED
            at_us, seq = number * MINUTE_US + 1, first + number
            jobs.append(
                (f"{person}-{number}", person, workflow, workflow,
                 json.dumps({"prompt": text, "steps": 20, "seed": seed}), seed, "[]", "[]",
                 str(state), 1, 0, 1, 0, 0, "w", "pc-1", "p", "c", 0, 0, at_us, at_us + 1,
                 at_us + 5_000_000, int(number % (count // 20) == 9), 0, seq)
            )  # fmt: skip
            words.append((person, at_us, seq, folded(f"{text} {seed}")))

        def write(jobs: list[Any] = jobs, words: list[Any] = words) -> None:
            insert(database, "job", marks, jobs)
            insert(database, "job_words", "person, created_us, seq, words", words)

        database.tx(write)
    who = database.tables.person
    database.tx(who.insert(person=person, created_us=1).on_conflict_ignore().execute)


def insert(database: Database, table: str, columns: str, rows: list[Any]) -> None:
    connection: Any = database.peewee
    places = ", ".join([connection.param] * (columns.count(",") + 1))
    cursor = connection.cursor()
    cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608
    cursor.close()


def questions(count: int) -> dict[str, tuple[Filters, str | None]]:
    """Say what is asked of a person with so many jobs: filters, and the key of the page."""
    middle = f"{count // 2 * MINUTE_US}-0"
    end = f"{30 * MINUTE_US}-0"
    old = DAY_US // 4
    return {
        "first page": (Filters(), None),
        "page in the middle": (Filters(), middle),
        "last page": (Filters(), end),
        "workflow, middle": (Filters(workflow="face_swap"), middle),
        "workflow of 20 jobs": (Filters(workflow=RARE), None),
        "workflow of none": (Filters(workflow="gone"), None),
        "tab, middle": (Filters(tab="text_to_video"), middle),
        "state of 20 jobs": (Filters(states=(State.FAILED,)), None),
        "state of none": (Filters(states=(State.CANCELLED,)), None),
        "favourites (20)": (Filters(favourite=True), None),
        "six hours long ago": (Filters(since_us=old, until_us=2 * old), None),
        "six hours, rare word": (Filters(since_us=old, until_us=2 * old, text="麒麟"), None),
        "a common word": (Filters(text="common"), None),
        "a common word, middle": (Filters(text="共同"), middle),
        "a rare word": (Filters(text="zyzzyva"), None),
        "a rare word, Chinese": (Filters(text="麒麟"), None),
        "one rare character": (Filters(text="麟"), None),
        "two letters": (Filters(text="zz"), None),
        "no such word": (Filters(text="nothing like it"), None),
        "no such word, Chinese": (Filters(text="沒有"), None),
        "two words never together": (Filters(text="common lighthouse"), None),
        "common word of a rare workflow": (Filters(text="common", workflow=RARE), None),
        "rare word, favourites": (Filters(text="麒麟", favourite=True), None),
        "a seed of zeros, of none": (Filters(text="00000000000000000001"), None),
    }


def p95_ms(work: Callable[[], object], times: int = TIMES) -> float:
    """Give the 95th percentile of some repetitions after one to warm up."""
    work()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1000)
    return percentile(found, 95)


def measure_on(database: Database, where: str, many: int) -> list[Row]:
    """Fill a database, shelve it, and ask it everything."""
    rng = random.Random(7)  # noqa: S311  the same rows each time
    for person, count in (("many", many), ("few", FEW)):
        fill(database, person, count, rng)
    shelves = Shelves(database)
    begun = time.perf_counter()
    written = shelves.tidy(3600)
    took_s = time.perf_counter() - begun
    rows = [Row(f"{where}: {many:,} jobs shelved in short steps", f"{took_s:.0f} s", "", None)]
    print(f"{where}: {written} shelves in {took_s:.1f} s", file=sys.stderr, flush=True)
    history = History(database, Ledger(database), Census(database))
    for (name, large), (_, small) in zip(
        questions(many).items(), questions(FEW).items(), strict=True
    ):
        filters, key = large
        slow = p95_ms(lambda f=filters, k=key: history.page("many", f, after=k))  # type: ignore[misc]
        filters, key = small
        quick = p95_ms(lambda f=filters, k=key: history.page("few", f, after=k))  # type: ignore[misc]
        rows.append(_row(f"{where}: {name}", slow, quick))
    there = seed_of(database, f"many-{many // 2}"), seed_of(database, f"few-{FEW // 2}")
    slow = p95_ms(lambda: history.page("many", there[0]))
    quick = p95_ms(lambda: history.page("few", there[1]))
    rows.append(_row(f"{where}: the seed of a job in the middle", slow, quick))
    slow, quick = (
        p95_ms(lambda p=person, c=count: delete_and_undo(history, p, c // 2))  # type: ignore[misc]
        for person, count in (("many", many), ("few", FEW))
    )
    rows.append(_row(f"{where}: delete 50 and undo", slow, quick))
    for name, filters, most in (
        ("count, all", Filters(), COUNTED_AT_MOST),
        ("count, a common word, to 200", Filters(text="共同"), FOUND_AT_MOST),
        ("count, a common word, to 1,000", Filters(text="共同"), COUNTED_AT_MOST),
    ):
        slow = p95_ms(lambda f=filters, m=most: history.count("many", f, at_most=m))  # type: ignore[misc]
        quick = p95_ms(lambda f=filters, m=most: history.count("few", f, at_most=m))  # type: ignore[misc]
        rows.append(_row(f"{where}: {name}", slow, quick))
    return rows


def delete_and_undo(history: History, person: str, below: int) -> None:
    """Delete 50 jobs next to each other, and bring them back."""
    ids = [f"{person}-{number}" for number in range(below - 50, below)]
    assert len(history.delete(person, ids)) == len(history.restore(person, ids)) == 50


def seed_of(database: Database, job_id: str) -> Filters:
    """Ask for a job by its seed."""
    job = database.tables.job
    query = job.select(job.seed).where(job.job_id == job_id)
    return Filters(text=str(database.read(query.scalar)))


def _row(name: str, slow_ms: float, quick_ms: float) -> Row:
    print(f"{name}: {slow_ms:.1f} ms, {quick_ms:.1f} ms", file=sys.stderr, flush=True)
    figure = f"p95 {slow_ms:.1f} ms ({FEW:,} jobs: {quick_ms:.1f} ms)"
    return Row(name, figure, f"<= {TARGET_MS:.0f} ms", slow_ms <= TARGET_MS)


@contextmanager
def stores() -> Iterator[dict[str, str]]:
    """Give the URL of an empty database of each kind that can be had here."""
    with tempfile.TemporaryDirectory() as folder:
        urls = {"SQLite": f"sqlite:///{Path(folder) / 'studio.db'}"}
        if shutil.which("mariadbd") is None:
            yield urls
            return
        server = _Large()
        server.start()
        try:
            yield urls | {"MariaDB": server.new_database()}
        finally:
            server.stop()


class _Large(MariaDB):
    """The tests' MariaDB, with as much memory as a small server gives it."""

    def command(self) -> list[str]:
        return [*super().command(), "--innodb-buffer-pool-size=512M"]


def measure(many: int = MANY) -> list[Row]:
    rows: list[Row] = []
    with stores() as urls:
        for where, url in urls.items():
            database = open_database(url)
            try:
                migrate(database)
                rows += measure_on(database, where, many)
            finally:
                database.close()
    return rows


if __name__ == "__main__":
    for row in measure(int(sys.argv[1]) if len(sys.argv) > 1 else MANY):
        print(row.what, row.figure, sep=": ")
