"""What a file is called when a person takes it home."""

from __future__ import annotations

import pytest

from studio.engine.jobs import Job, Output, State
from studio.web.names import disposition, download_name

NOON_US = 1_795_608_000_000_000


def job(tab: str = "text_to_image", seed: str | None = "42") -> Job:
    outputs = tuple(
        Output(i, "save", "image", f"{i:03}.png", f"x/{i:03}.png", "image/png", 10) for i in (1, 2)
    )
    return Job(
        "j", "p", tab, tab, {}, State.COMPLETED, seed=seed, outputs=outputs, created_us=NOON_US
    )


def test_a_download_is_named_by_tab_day_seed_and_number() -> None:
    one = job()

    assert download_name(one, one.outputs[1]) == "text_to_image_20261125_seed42_2.png"


def test_a_job_without_a_seed_names_none() -> None:
    one = job("image_blend", None)

    assert download_name(one, one.outputs[0]) == "image_blend_20261125_1.png"


def test_a_seed_stays_exact_in_the_name() -> None:
    one = job(seed="18446744073709551615")

    assert "seed18446744073709551615_" in download_name(one, one.outputs[0])


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a_1.png", 'attachment; filename="a_1.png"'),
        (
            "燈塔_1.png",
            "attachment; filename=\"_1.png\"; filename*=UTF-8''%E7%87%88%E5%A1%94_1.png",
        ),
        ("燈塔", "attachment; filename=\"file\"; filename*=UTF-8''%E7%87%88%E5%A1%94"),
        ('a"b\r\nc.png', "attachment; filename=\"a_b_c.png\"; filename*=UTF-8''a%22b%0D%0Ac.png"),
    ],
    ids=["plain", "chinese", "chinese-only", "quotes-and-line-ends"],
)
def test_every_name_fits_into_the_header(name: str, header: str) -> None:
    assert disposition(name, attachment=True) == header
