"""Webhooks over the life of several processes: rows say what is to be told, no memory does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio.engine.jobs import Hook
from tests.chain.house import ANN, MODEL, opened, wait_until
from tests.elsewhere import Elsewhere, serving_files


@pytest.fixture
def receiver() -> Iterator[Elsewhere]:
    with serving_files({"/hook": b"thanks"}) as there:
        yield there


def test_an_end_that_no_worker_saw_is_told_by_the_next_one(
    tmp_path: Path, receiver: Elsewhere
) -> None:
    trusted = (f"127.0.0.1:{receiver.server.port}",)
    with opened(tmp_path, studio_workers=0, outside_hosts=trusted) as house:
        values = {"prompt": "a cat", "model": MODEL, "seed": "7"}
        hook = Hook(receiver.url("/hook"), language="zh-TW")
        job = house.studio.desk.submit(ANN, "text_to_image", values, hook=hook)
        house.studio.desk.cancel(ANN, job.job_id)
    assert receiver.asked == []

    with opened(tmp_path, outside_hosts=trusted) as house:
        wait_until(lambda: house.studio.desk.webhooks([job])[job.job_id].state == "delivered")

    [told] = receiver.server.visits
    body = json.loads(told.body)
    assert (body["job_id"], body["status"]) == (job.job_id, "cancelled")
    assert body["webhook"]["attempts"] == 1
