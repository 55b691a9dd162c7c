"""Following: one job in focus, the others behind it, and an end for each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from studio.engine.jobs import State
from studio.practice import PracticeServer
from studio.tabs.follow import Frame, Watch, Watches, focus, follow
from tests.chain.house import ANN, BEN, House, opened
from tests.tabs.make import job


@pytest.fixture
def practice() -> Iterator[PracticeServer]:
    with PracticeServer(pace_s=0.02) as server:
        yield server


@pytest.fixture
def house(practice: PracticeServer, tmp_path: Path) -> Iterator[House]:
    with opened(tmp_path, comfy_urls=(practice.url,)) as house:
        yield house


async def frames(house: House, person: str = ANN) -> list[Frame]:
    seen = []
    async with asyncio.timeout(20):
        async with aclosing(follow(house.studio.desk, person, "text_to_image", Watch())) as shown:
            async for frame in shown:
                seen.append(frame)
    return seen


def test_a_working_job_comes_before_one_that_waits() -> None:
    waiting, working = job(State.PENDING), job(State.PROCESSING)

    assert focus([waiting, working]) is working
    assert focus([waiting]) is waiting
    assert focus([]) is None


def test_both_jobs_are_followed_to_their_ends(house: House) -> None:
    ordered = [house.order(seed="1"), house.order(seed="2")]

    seen = asyncio.run(frames(house))

    ends = [frame.job for frame in seen if frame.done]
    assert {end.job_id for end in ends} == {one.job_id for one in ordered}
    assert len(ends) == 2
    assert all(end.state is State.COMPLETED and end.outputs for end in ends)
    assert seen[-1].others == ()


def test_progress_of_the_job_in_focus_never_falls(house: House) -> None:
    house.order(seed="3", steps=8)

    seen = asyncio.run(frames(house))

    fractions = [frame.news.fraction for frame in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_nothing_running_means_no_frame(house: House) -> None:
    assert asyncio.run(frames(house)) == []


def test_another_persons_jobs_are_not_followed(house: House) -> None:
    house.order(BEN)

    assert asyncio.run(frames(house, ANN)) == []


def test_leaving_early_cancels_nothing(house: House, practice: PracticeServer) -> None:
    practice.faults.hold("sampler", step=2)
    ordered = house.order(seed="4")

    async def leave() -> None:
        async with aclosing(follow(house.studio.desk, ANN, "text_to_image", Watch())) as shown:
            await anext(shown)

    asyncio.run(asyncio.wait_for(leave(), 10))
    practice.faults.release()

    assert house.ended(ordered).state is State.COMPLETED


def test_a_cancelled_job_ends_the_following(house: House, practice: PracticeServer) -> None:
    practice.faults.hold("sampler", step=2)
    ordered = house.order(seed="5")
    seen: list[Frame] = []

    async def cancel_at_the_first_frame() -> None:
        desk = house.studio.desk
        async with aclosing(follow(desk, ANN, "text_to_image", Watch())) as shown:
            async for frame in shown:
                if not seen:
                    await asyncio.to_thread(desk.cancel, ANN, ordered.job_id)
                seen.append(frame)

    asyncio.run(asyncio.wait_for(cancel_at_the_first_frame(), 20))

    assert seen[-1].done
    assert seen[-1].job.state is State.CANCELLED


def test_a_page_has_one_follower_a_tab() -> None:
    watches = Watches()

    with watches.watching("session", "tab") as watch:
        assert watches.find("session", "tab") is watch
        assert watches.find("session", "other") is None
        assert watches.find("another", "tab") is None

    assert watches.find("session", "tab") is None


def test_a_job_cancelled_behind_another_does_not_take_its_place(
    house: House, practice: PracticeServer
) -> None:
    practice.faults.hold("sampler", step=2)
    first, second = house.order(seed="6"), house.order(seed="7")

    async def cancel_the_second() -> list[Frame]:
        seen = []
        async with aclosing(follow(house.studio.desk, ANN, "text_to_image", Watch())) as shown:
            async for frame in shown:
                seen.append(frame)
                if len(seen) == 1:
                    await asyncio.to_thread(house.studio.desk.cancel, ANN, second.job_id)
                if not frame.others:
                    practice.faults.release()
        return seen

    seen = asyncio.run(asyncio.wait_for(cancel_the_second(), 20))

    assert [frame.job.job_id for frame in seen if frame.done] == [first.job_id]
