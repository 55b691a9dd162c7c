"""Masks: exactly the picture's size, white = change, and nothing painted is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from studio.engine import masks
from studio.engine.media import InputFile, Media
from studio.errors import StudioError

SIZES = [(64, 64), (300, 50), (31, 77)]
Box = tuple[int, int, int, int]


@pytest.fixture
def store(tmp_path: Path) -> Media:
    return Media(tmp_path / "store", max_bytes=2_000_000, max_pixels=2_000_000)


def layer(size: tuple[int, int], *strokes: Box, colour: str = "red") -> Image.Image:
    """Make what an editor gives: transparent but for the strokes."""
    picture = Image.new("RGBA", size, (0, 0, 0, 0))
    for stroke in strokes:
        ImageDraw.Draw(picture).rectangle(stroke, fill=colour)
    return picture


def read(store: Media, file: InputFile) -> np.ndarray:
    with Image.open(store.path("ann", file.ref)) as mask:
        assert mask.mode == "L"
        assert mask.format == "PNG"
        return np.asarray(mask).astype(int)


def take(store: Media, tmp_path: Path, *layers: Image.Image, **options: object) -> InputFile:
    paths = []
    for number, one in enumerate(layers):
        paths.append(tmp_path / f"layer{number}.png")
        one.save(paths[-1])
    asked = {"size": layers[0].size, "painted": True} | options
    return store.take_mask("ann", paths, "mask.png", **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("colour", ["red", "black", "white"])
def test_a_stroke_is_white_whatever_its_colour(
    store: Media, tmp_path: Path, size: tuple[int, int], colour: str
) -> None:
    file = take(store, tmp_path, layer(size, (2, 3, 10, 12), colour=colour))

    mask = read(store, file)
    assert mask.shape == (size[1], size[0])
    assert (file.width_px, file.height_px, file.kind) == (*size, "mask")
    assert (mask[3:13, 2:11] == 255).all()
    assert mask.sum() == 90 * 255


def test_several_layers_are_one_mask(store: Media, tmp_path: Path) -> None:
    size = (40, 20)
    file = take(store, tmp_path, layer(size, (0, 0, 4, 4)), layer(size, (30, 10, 34, 14)))

    mask = read(store, file)
    assert mask[2, 2] == mask[12, 32] == 255
    assert mask[18, 18] == 0


@pytest.mark.parametrize("size", [(1024, 1024), (3000, 500)], ids=str)
def test_no_stroke_and_an_erased_one_are_told(
    store: Media, tmp_path: Path, size: tuple[int, int]
) -> None:
    erased = layer(size, (2, 2, 20, 20))
    ImageDraw.Draw(erased).rectangle((0, 0, 30, 30), fill=(0, 0, 0, 0))

    for nothing in (layer(size), erased):
        with pytest.raises(StudioError) as caught:
            take(store, tmp_path, nothing)
        assert caught.value.code == "nothing_painted"


def test_a_smaller_layer_of_the_same_shape_is_brought_to_the_pictures_size(
    store: Media, tmp_path: Path
) -> None:
    file = take(store, tmp_path, layer((400, 300), (0, 0, 199, 299)), size=(801, 600))

    mask = read(store, file)
    assert mask.shape == (600, 801)
    assert (mask[:, :390] == 255).all()
    assert (mask[:, 410:] == 0).all()


def test_a_mask_of_another_shape_is_refused(store: Media, tmp_path: Path) -> None:
    with pytest.raises(StudioError) as caught:
        take(store, tmp_path, layer((300, 300), (0, 0, 9, 9)), size=(400, 300))

    assert caught.value.code == "mask_other_size"
    assert caught.value.params["picture"] == "400 x 300"


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "I;16"])
def test_a_black_and_white_picture_is_read_by_its_brightness(
    store: Media, tmp_path: Path, mode: str
) -> None:
    given = np.zeros((20, 30), np.uint8)
    given[:, :10] = 255
    picture = Image.fromarray(given)
    if mode == "I;16":
        picture = Image.fromarray(given.astype(np.uint16) * 257)
    elif mode != "L":
        picture = picture.convert(mode)

    mask = read(store, take(store, tmp_path, picture, painted=False))

    assert (mask == given).all()


def test_a_given_picture_with_transparency_counts_as_painted(store: Media, tmp_path: Path) -> None:
    given = layer((20, 20), (0, 0, 9, 19), colour="black")

    mask = read(store, take(store, tmp_path, given, painted=False))

    assert (mask[:, :10] == 255).all()
    assert (mask[:, 10:] == 0).all()


def test_inverting_swaps_what_is_changed(store: Media, tmp_path: Path) -> None:
    plain = read(store, take(store, tmp_path, layer((30, 30), (5, 5, 14, 14))))
    turned = read(store, take(store, tmp_path, layer((30, 30), (5, 5, 14, 14)), invert=True))

    assert (plain + turned == 255).all()


def test_a_feathered_edge_is_soft_and_its_middle_and_the_border_stay(
    store: Media, tmp_path: Path
) -> None:
    mask = read(store, take(store, tmp_path, layer((100, 60), (0, 0, 49, 59)), feather_px=8))

    row = mask[30]
    assert row[0] == 255
    assert row[99] == 0
    assert 100 < row[49] < 160
    assert (np.diff(row) <= 0).all()
    assert mask[0, 10] == 255


def test_no_feather_leaves_a_mask_as_it_is() -> None:
    mask = Image.new("L", (4, 4), 255)

    assert masks.feathered(mask, 0) is mask


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((800, 600), (400, 300), True),
        ((801, 600), (400, 300), True),
        ((3000, 500), (600, 100), True),
        ((800, 600), (600, 800), False),
        ((800, 600), (800, 590), False),
    ],
)
def test_shapes_are_the_same_but_for_a_pixel(
    one: tuple[int, int], other: tuple[int, int], same: bool
) -> None:
    assert masks.same_shape(one, other) is same
