"""A worker process for the kill tests: `python killable_worker.py DATABASE_URL FOLDER`.

FOLDER plays the ComfyUI: a prompt is a file, named by its id and holding its job's, written when
it is posted; it has ended a moment later, worker or not. Workers are woken by a doorbell of their
own on a queue they share, and may be killed at any instruction.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from studio.engine.census import Census
from studio.engine.database import migrate, open_database
from studio.engine.jobs import Claim, Output
from studio.engine.ledger import Ledger
from studio.engine.tasks import Doorbell

LEASE_S = 0.6
RUN_S = 0.08
WORKERS = 2
REST = threading.Event()


def post(folder: Path, prompt_id: str, job_id: str) -> None:
    part = folder / f"{prompt_id}.part"
    part.write_text(job_id)
    part.rename(folder / prompt_id)


def work(ledger: Ledger, claim: Claim, folder: Path) -> None:
    prompt_id = claim.job.prompt_id
    if not prompt_id or not (folder / prompt_id).exists():
        prompt_id = f"{claim.job.job_id}.{claim.fence}"
        if not ledger.sent(claim, server="folder", prompt_id=prompt_id):
            return
        post(folder, prompt_id, claim.job.job_id)
    while time.time() < (folder / prompt_id).stat().st_mtime + RUN_S:
        REST.wait(0.01)
        if not ledger.beat(claim, lease_s=LEASE_S).ours:
            return
    name = f"{prompt_id}.png"
    ledger.complete(claim, [Output(0, "9", "image", name, name, "image/png", 1)])


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    database = open_database(url)
    migrate(database)
    ledger = Ledger(database)

    def pump() -> bool:
        claim = ledger.claim(f"worker-{os.getpid()}", lease_s=LEASE_S)
        if claim is not None:
            work(ledger, claim, folder)
        return claim is not None

    bell = Doorbell(
        folder.parent / "queue.db",
        pump,
        waiting=Census(database).waiting,
        free_slots=lambda: WORKERS,
        reap=ledger.reap,
        take_chore=ledger.take_chore,
        sweep_s=0.1,
    )
    bell.start(WORKERS)
    threading.Event().wait()


if __name__ == "__main__":
    main()
