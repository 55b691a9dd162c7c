"""How many orders a second are accepted, and how many claimed, with many waiting, in each home."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench.home import home, homes
from bench.row import Row, studio

CLIENTS = 8
EACH = 300
WAITING = 10_000
CLAIMS = 400
TARGETS = {"SQLite": 800, "MariaDB+Redis": 500}
VALUES = {"prompt": "a cat", "model": "random-sd15.safetensors", "steps": 5}


def _at_once(work: Callable[[int], None]) -> float:
    """Give the seconds that eight threads take, each with its part."""
    threads = [threading.Thread(target=work, args=(n,)) for n in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def _measure_in(where: str, settings: dict[str, str]) -> list[Row]:
    limits = {"studio_workers": 0, "max_pending_per_person": 10_000}
    with studio(start=False, **limits, **settings) as house:

        def order(client: int, count: int = EACH) -> None:
            for number in range(count):
                values = {**VALUES, "seed": str(number)}
                house.desk.submit(f"g-{client}-{number % 5}", "text_to_image", values)

        order(CLIENTS, 20)  # connections are opened, and all that is made once is made
        accepted = CLIENTS * EACH / _at_once(order)
        left = WAITING - CLIENTS * EACH
        _at_once(lambda client: order(100 + client, left // CLIENTS))

        def claim(client: int) -> None:
            for _ in range(CLAIMS // CLIENTS):
                house.ledger.claim(f"w-{client}")

        claimed = CLAIMS / _at_once(claim)
    target = TARGETS[where]
    return [
        Row(
            f"accepted jobs, {CLIENTS} clients, {where}",
            f"{accepted:.0f}/s",
            f">= {target}/s",
            accepted >= target,
        ),
        Row(f"claims, 10 000 waiting, {CLIENTS} workers, {where}", f"{claimed:.0f}/s"),
    ]


def measure() -> list[Row]:
    rows = []
    for where in homes():
        with home(where) as settings:
            rows += _measure_in(where, settings)
    return rows
