"""A disk that fills up: nothing new is taken, what runs fails by name, and nothing is left half."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from studio.engine.jobs import State
from studio.errors import StudioError
from studio.practice import PracticeServer
from tests.chain.house import ANN, BEN, opened

MB = 1_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 12 MB of its own, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED: no disk can be mounted here, so a really full one was not tried")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, leave_bytes: int) -> None:
    import shutil

    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(bytes(free - leave_bytes))


def test_below_the_floor_no_job_is_taken_and_nothing_is_written(
    practice: PracticeServer, tmp_path: Path, small_disk: Path, picture: Callable[..., Path]
) -> None:
    settings = {"comfy_urls": (practice.url,), "min_free_mb": 5}
    with opened(tmp_path, outputs_dir=small_disk, **settings) as house:
        first = house.ended(house.order())
        fill(small_disk, 4 * MB)

        with pytest.raises(StudioError) as caught:
            house.blend(picture("red"), picture("blue"))
        with pytest.raises(StudioError) as again:
            house.studio.desk.retry(ANN, first.job_id)

        assert (caught.value.code, again.value.code) == ("disk_full", "disk_full")
        assert not list((tmp_path / "data" / "inputs").glob("*/*"))
        assert house.studio.desk.running(ANN) == []
        (small_disk / "ballast").unlink()
        assert house.ended(house.order(seed="8")).state is State.COMPLETED


def test_a_disk_that_fills_in_mid_job_fails_it_by_name_and_leaves_no_half_file(
    practice: PracticeServer, tmp_path: Path, small_disk: Path
) -> None:
    settings = {"comfy_urls": (practice.url,), "min_free_mb": 0}
    with opened(tmp_path, outputs_dir=small_disk, **settings) as house:
        practice.faults.hold("sampler")
        job = house.order()
        practice.wait_for("node:sampler")
        fill(small_disk, 0)
        practice.faults.release()

        ended = house.ended(job)

        assert ended.state is State.FAILED
        assert ended.failure is not None
        assert ended.failure.code == "disk_full"
        assert [path.name for path in small_disk.rglob("*") if path.is_file()] == ["ballast"]


def test_a_queue_stops_where_what_it_will_make_fills_its_persons_share(
    practice: PracticeServer, tmp_path: Path
) -> None:
    with opened(tmp_path, comfy_urls=(practice.url,), quota_mb=1) as house:
        size = house.ended(house.order(ANN)).outputs[0].size_bytes
        who = house.studio.database.tables.person
        kept = MB - size - size // 2
        house.studio.database.tx(who.insert(person=BEN, created_us=1, kept_bytes=kept).execute)
        practice.faults.hold("sampler")
        taken = [house.order(BEN, seed=seed) for seed in ("1", "2")]

        with pytest.raises(StudioError) as refused:
            house.order(BEN, seed="3")
        practice.faults.release()
        ends = [house.ended(job) for job in taken]
        with pytest.raises(StudioError) as full:
            house.order(BEN, seed="3")

    assert (refused.value.code, full.value.code) == ("quota_promised", "quota_full")
    assert [len(job.outputs) for job in ends] == [1, 1]
