"""How many orders a second are accepted, and how many claimed, with many waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from bench.row import Row, studio

CLIENTS = 8
EACH = 150
WAITING = 10_000
CLAIMS = 400


def _at_once(work: Callable[[int], None]) -> float:
    threads = [threading.Thread(target=work, args=(n,)) for n in range(CLIENTS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def measure() -> list[Row]:
    values = {"prompt": "a cat", "model": "random-sd15.safetensors", "steps": 5}
    with studio(start=False, studio_workers=0, max_pending_per_person=10_000) as house:

        def order(client: int) -> None:
            for number in range(EACH):
                house.desk.submit(
                    f"g-{client}-{number % 5}", "text_to_image", {**values, "seed": str(number)}
                )

        rate = CLIENTS * EACH / _at_once(order)
        for number in range(WAITING - CLIENTS * EACH):
            house.desk.submit(f"g-{number % 100}", "text_to_image", {**values, "seed": str(number)})

        def claim(client: int) -> None:
            for _ in range(CLAIMS // CLIENTS):
                house.ledger.claim(f"w-{client}")

        claims = CLAIMS / _at_once(claim)
    return [
        Row("accepted jobs, 8 clients, SQLite", f"{rate:.0f}/s", ">= 800/s", rate >= 800),
        Row("claims, 10 000 waiting, 8 workers, SQLite", f"{claims:.0f}/s"),
    ]
