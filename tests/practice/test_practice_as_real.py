"""Faults that a run beside a real ComfyUI brought to light."""

from __future__ import annotations

import numpy as np
import pytest
import requests

from studio.practice import PracticeServer
from studio.practice.nodes.scale import scale
from studio.practice.nodes.values import NodeError


def test_a_photo_larger_than_a_mebibyte_can_be_uploaded(no_threads_left: None) -> None:
    photo = bytes(5 * 1024 * 1024)

    with PracticeServer() as server:
        answer = requests.post(
            f"{server.url}/upload/image", files={"image": ("photo.jpg", photo)}, timeout=20
        )

    assert (answer.status_code, answer.json()["name"]) == (200, "photo.jpg")


def test_nearest_takes_the_column_that_32_bit_arithmetic_takes() -> None:
    columns = np.arange(40, dtype=np.float32).reshape(1, 1, 40, 1)

    made = scale(columns, 77, 1, "nearest-exact")

    # 38.5 * 40 / 77 is 20 exactly; in 64 bits it comes out just below.
    assert made[0, 0, 38, 0] == 20


def test_a_size_of_nothing_fails_in_the_words_of_the_real_one() -> None:
    thin = np.zeros((1, 300, 2, 3), np.float32)

    with pytest.raises(NodeError, match=r"input \(H: 300, W: 2\) output \(H: 1, W: 0\)") as caught:
        scale(thin, 0, 1, "nearest-exact")

    assert caught.value.kind == "RuntimeError"
