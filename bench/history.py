"""How quickly one person's gallery answers: 100,000 jobs against 100, on a file of SQLite."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.row import Row, percentile
from studio.engine.database import Database, migrate, open_database
from studio.engine.history import Filters, History
from studio.engine.jobs import State
from studio.engine.ledger import Ledger

MANY = 100_000
FEW = 100
PAGES = 20
TABS = ("text_to_image", "face_swap", "image_blend", "video")
WORDS = (
    "a",
    "cat",
    "dog",
    "lighthouse",
    "dusk",
    "rain",
    "山水",
    "東京",
    "夜景",
    "貓",
    "狗",
    "雨",
    "film",
)
DAY_US = 86_400_000_000


def fill(database: Database, person: str, count: int, rng: random.Random) -> None:
    """Write `count` completed jobs with a picture each; one in 5,000 is a favourite."""
    rows = database.tables
    for start in range(0, count, 1000):
        jobs, outputs, words = [], [], []
        for number in range(start, min(start + 1000, count)):
            job_id, tab = f"{person}-{number}", rng.choice(TABS)
            text = " ".join(rng.choices(WORDS, k=20)) + (" 麒麟" if number % 5000 == 7 else "")
            at_us = number * 60_000_000
            seq = rng.getrandbits(40)
            jobs.append(
                {"seq": seq, "job_id": job_id, "person": person, "tab": tab, "workflow": tab,
                 "form": {"prompt": text, "steps": 20}, "seed": "7", "inputs": [], "given": [],
                 "state": State.COMPLETED if number % 50 else State.FAILED, "fence": 1,
                 "created_us": at_us, "started_us": at_us + 1, "ended_us": at_us + 5_000_000,
                 "favourite": number % 5000 == 9}
            )  # fmt: skip
            outputs.append(
                {"job_id": job_id, "fence": 1, "position": 0, "node": "9", "kind": "image",
                 "name": "001.png", "path": f"2026/11/25/{job_id}/1/001.png", "mime": "image/png",
                 "size_bytes": 1_000_000}
            )  # fmt: skip
            words.append({"person": person, "created_us": at_us, "seq": seq, "words": text})

        def write(
            parts: tuple[list[dict[str, object]], ...] = (jobs, outputs, words),  # type: ignore[assignment]
        ) -> None:
            for table, part in zip((rows.job, rows.output, rows.words), parts, strict=True):
                table.insert_many(part).execute()

        database.tx(write)


def took_ms(work: Callable[[], object], times: int = PAGES) -> list[float]:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) * 1000)
    return found


def p95_of(times_ms: list[float]) -> float:
    return percentile(times_ms, 95)


def walk(history: History, person: str, filters: Filters) -> list[float]:
    """Time each of the first pages, one after another, by key."""
    found, key = [], None
    for _ in range(PAGES):
        begun = time.perf_counter()
        _, key = history.page(person, filters, after=key)
        found.append((time.perf_counter() - begun) * 1000)
    return found


def questions(history: History, person: str, count: int) -> dict[str, Callable[[], object]]:
    middle = f"{count // 2 * 60_000_000}-0"
    asked = {
        "deep page": (Filters(), middle),
        "tab": (Filters(tab="video"), middle),
        "a rare state": (Filters(states=(State.FAILED,)), None),
        "favourites (20)": (Filters(favourite=True), None),
        "a week long ago": (Filters(since_us=DAY_US, until_us=8 * DAY_US), None),
        "a common word": (Filters(text="山水"), None),
        "a rare word": (Filters(text="麒麟"), None),
        "no such word": (Filters(text="沒有 nothing"), None),
    }
    made: dict[str, Callable[[], object]] = {
        name: (lambda f=filters, k=key: history.page(person, f, after=k))  # type: ignore[misc]
        for name, (filters, key) in asked.items()
    }
    made["count, capped"] = lambda: history.count(person, Filters())
    return made


def measure_on(database: Database, where: str) -> list[Row]:
    rng = random.Random(7)  # noqa: S311  the same rows each time
    fill(database, "many", MANY, rng)
    fill(database, "few", FEW, rng)
    history = History(database, Ledger(database))
    many, few = walk(history, "many", Filters()), walk(history, "few", Filters())
    rows = [_row(f"gallery, first {PAGES} pages, {where}", p95_of(many), p95_of(few))]
    small = questions(history, "few", FEW)
    for name, ask in questions(history, "many", MANY).items():
        rows.append(
            _row(f"gallery, {name}, {where}", p95_of(took_ms(ask)), p95_of(took_ms(small[name])))
        )
    return rows


def _row(name: str, many_ms: float, few_ms: float) -> Row:
    result = f"p95 {many_ms:.1f} ms (100 jobs: {few_ms:.1f} ms)"
    return Row(name, result, "<= 50 ms", many_ms <= 50)


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(Path(folder) / "studio.db")
        try:
            migrate(database)
            return measure_on(database, "SQLite")
        finally:
            database.close()


if __name__ == "__main__":
    for row in measure():
        print(row.what, row.figure, sep=": ")
