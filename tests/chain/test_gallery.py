"""The gallery through the desk, on a whole studio: found, sent on, used again, packed, undone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from studio.engine.history import Filters, History
from studio.errors import StudioError
from tests.chain.house import ANN, BEN, House, wait_until


def test_a_result_is_found_by_two_characters_and_known_in_whole(house: House) -> None:
    job = house.ended(house.order(prompt="東京的夜景"))
    house.ended(house.order(prompt="a dog"))

    found = house.studio.desk.history(job.person, Filters(text="夜景")).jobs
    details = house.studio.desk.details(job.person, job.job_id)

    assert [one.job_id for one in found] == [job.job_id]
    assert details.job.values["prompt"] == "東京的夜景"
    assert details.job.server
    assert (details.missing, details.notes) == (frozenset(), {})


def test_an_own_result_is_sent_to_another_tab_without_an_upload(house: House) -> None:
    first = house.ended(house.order())
    sent = {"job_id": first.job_id, "name": first.outputs[0].name}

    second = house.ended(house.blend(sent, sent))

    targets = [(one.tab, one.field, one.several) for one in house.studio.desk.receivers("image")]
    assert ("image_blend", "images", True) in targets
    assert second.state == "completed", second.failure
    assert [given.field for given in second.given] == ["images", "images"]


def test_a_retry_whose_file_is_gone_says_so_at_once(
    house: House, picture: Callable[..., Path]
) -> None:
    job = house.ended(house.blend(picture("red"), picture("blue", name="my blue.png")))
    house.studio.media.path(job.person, job.given[1].ref).unlink()

    with pytest.raises(StudioError) as caught:
        house.studio.desk.retry(job.person, job.job_id)

    assert (caught.value.code, caught.value.params["name"]) == ("file_unknown", "my blue.png")


def test_nobody_sends_on_anothers_result(house: House) -> None:
    first = house.ended(house.order())
    sent = {"job_id": first.job_id, "name": first.outputs[0].name}

    with pytest.raises(StudioError) as caught:
        house.studio.desk.submit(BEN, "image_blend", {"images": [sent, sent]})

    assert caught.value.code == "job_unknown"


def test_use_again_gives_every_setting_and_input(house: House, tmp_path: Path) -> None:
    desk = house.studio.desk
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "貓.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (64, 64), "green").save(tmp_path / "狗.png")
    job = house.ended(house.blend(tmp_path / "貓.gif", tmp_path / "狗.png", opacity=0.25))

    details = desk.details(job.person, job.job_id)
    inputs = [{"ref": given.ref, "name": given.name} for given in details.job.given]
    again = desk.submit(job.person, job.tab, {**details.job.values, "images": inputs})

    assert [given.name for given in job.given] == ["貓.gif", "狗.png"]
    assert job.given[0].notes == ("note.first_frame",)
    assert (again.values, again.inputs) == (job.values, job.inputs)
    found = desk.history(job.person, Filters(text="狗.png")).jobs
    assert {one.job_id for one in found} == {job.job_id, again.job_id}


def test_a_file_is_measured_before_anything_is_ordered(house: House, tmp_path: Path) -> None:
    desk = house.studio.desk
    Image.new("RGBA", (64, 48), (0, 0, 0, 0)).save(tmp_path / "clear.png")

    given = desk.measure(ANN, "image_blend", "images", tmp_path / "clear.png")

    assert (given.width_px, given.height_px, given.name) == (64, 48, "clear.png")
    assert given.notes == ("note.transparency_white",)
    assert desk.history(ANN).jobs == ()
    ref = {"ref": given.ref, "name": given.name}
    assert house.blend(ref, ref).given[0].ref == given.ref  # type: ignore[arg-type]
    with pytest.raises(StudioError) as caught:
        desk.measure(ANN, "image_blend", "opacity", 1)
    assert caught.value.code == "field_unknown"


def test_several_results_are_packed_piece_by_piece(house: House) -> None:
    jobs = [house.ended(house.order(prompt=prompt)) for prompt in ("貓", "狗")]

    pieces = list(house.studio.desk.zip(jobs[0].person, [(job.job_id, None) for job in jobs]))

    with zipfile.ZipFile(BytesIO(b"".join(pieces))) as packed:
        assert [name.split("_")[1] for name in packed.namelist()] == ["貓", "狗"]
    assert max(map(len, pieces)) < 600_000


def test_a_deleted_job_comes_back_whole_until_it_is_purged(house: House) -> None:
    desk = house.studio.desk
    job = house.ended(house.order())
    [path] = house.paths(job)

    desk.delete(job.person, [job.job_id])
    assert desk.history(job.person).jobs == ()
    desk.restore(job.person, [job.job_id])
    assert house.paths(desk.job(job.person, job.job_id)) == [path]

    desk.delete(job.person, [job.job_id])
    parts = house.studio
    History(parts.database, parts.ledger, parts.census).purge(-1, parts.store.remove)
    assert not path.exists()
    assert desk.restore(job.person, [job.job_id]) == ()


def test_a_thumbnail_is_there_soon_after_the_job_without_being_asked_for(house: House) -> None:
    [path] = house.paths(house.ended(house.order()))

    assert wait_until(lambda: (path.parent / ".thumbs" / f"{path.name}.webp").is_file())
