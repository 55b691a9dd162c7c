"""How often one may ask: the same in memory and in Redis, and nobody is refused for Redis' sake."""

from __future__ import annotations

import pytest

from studio.engine.limits import Limits, Rate
from studio.errors import StudioError

RATES = {Rate.GENERATE: 2, Rate.PAGE: 4, Rate.STATUS: 1}


@pytest.fixture(params=["memory", "redis"])
def redis(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else ""


def test_who_asks_too_often_is_told_how_long_to_wait(redis: str) -> None:
    limits = Limits(RATES, redis)
    limits.take(Rate.GENERATE, "ann")
    limits.take(Rate.GENERATE, "ann")

    with pytest.raises(StudioError) as refused:
        limits.take(Rate.GENERATE, "ann")

    assert refused.value.code == "too_often"
    assert 50 <= int(refused.value.params["wait_s"]) <= 60
    limits.take(Rate.GENERATE, "ben")


def test_orders_by_the_page_and_by_programs_count_together(redis: str) -> None:
    limits = Limits(RATES, redis)
    for _ in range(4):
        limits.take(Rate.PAGE, "ann")

    for rate in (Rate.PAGE, Rate.GENERATE):
        with pytest.raises(StudioError, match="too_often"):
            limits.take(rate, "ann")


def test_a_second_process_counts_on_where_there_is_redis(redis_url: str) -> None:
    Limits(RATES, redis_url).take(Rate.STATUS, "ann")

    with pytest.raises(StudioError, match="too_often"):
        Limits(RATES, redis_url).take(Rate.STATUS, "ann")


def test_zero_is_no_limit(redis: str) -> None:
    limits = Limits({Rate.UPLOAD: 0}, redis)

    for _ in range(100):
        limits.take(Rate.UPLOAD, "ann")


def test_where_redis_is_away_each_process_counts_for_itself() -> None:
    limits = Limits(RATES, "redis://127.0.0.1:1/0")
    limits.take(Rate.STATUS, "ann")

    with pytest.raises(StudioError, match="too_often"):
        limits.take(Rate.STATUS, "ann")
