"""Every shipped workflow to its end on both practice profiles: what comes out is what was asked."""

from __future__ import annotations

import math
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from studio.engine.jobs import State
from studio.engine.workflow.binding import length
from studio.errors import StudioError
from studio.practice import PracticeServer
from tests.chain.house import ANN, House, opened
from tests.shipped import CATALOG

NEWER_ONLY = {"virtual_human_infinitetalk", "remove_background"}
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
CUSTOM = {"aspect_ratio": "custom"}
WIDE = (96, 64)


def models() -> dict[str, list[str]]:
    """Name every file the workflows may want, by folder."""
    found: dict[str, list[str]] = {"loras": ["ink.safetensors"]}
    for model in CATALOG.models.values():
        found.setdefault(model.folder, []).append(model.file)
    return found


@pytest.fixture(scope="module", params=["0.8.0", "newer"])
def studio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A studio on a practice server that has every model, and takes no time for steps."""
    with (
        PracticeServer(profile=request.param, pace_s=0, models=models()) as server,
        opened(tmp_path_factory.mktemp("workflows"), comfy_urls=(server.url,)) as house,
    ):
        assert house.studio.stocks.wait_known(20)
        yield house


@pytest.fixture(scope="module")
def newer(studio: House) -> bool:
    """Tell whether the server has the newer nodes."""
    return studio.studio.desk.servers()[0].version != "0.8.0"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Make pictures, a mask, sounds and clips."""
    folder = tmp_path_factory.mktemp("files")
    for number, name in enumerate(("a", "b", "c")):
        Image.new("RGB", WIDE, (80 * number, 120, 200)).save(folder / f"{name}.png")
    mask = Image.new("L", WIDE, 0)
    mask.paste(255, (24, 16, 72, 48))
    mask.save(folder / "mask.png")
    for name, seconds in (("short", 0.2), ("sound", 3.03), ("long", 5.2)):
        write_sound(folder / f"{name}.wav", seconds)
    for name, frames in (("one", 7), ("two", 5)):
        write_clip(folder / f"{name}.mp4", frames)
    return {path.name: path for path in folder.iterdir()}


def write_sound(path: Path, seconds: float) -> None:
    beat = np.sin(np.arange(round(seconds * 16000)) / 8)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes((beat * 9000).astype("<i2").tobytes())


def write_clip(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            shown = np.full((48, 64, 3), 20 * number, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        film.mux(stream.encode(None))


def film_of(path: Path) -> tuple[int, tuple[int, int], float, float]:
    """Decode a film: frames, size, frames a second, and seconds of its sound."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(stream))
        fps = float(stream.average_rate or 0)
        size = (stream.width, stream.height)
    with av.open(str(path)) as film:
        if not film.streams.audio:
            return frames, size, fps, 0.0
        rate = film.streams.audio[0].rate
        samples = sum(frame.samples for frame in film.decode(film.streams.audio[0]))
    return frames, size, fps, samples / rate


PICTURES: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    # id: workflow, what is said, and the size that comes out
    "t2i": ("text_to_image", CUSTOM | {"width": 256, "height": 272}, (256, 272)),
    "t2i-lora": (
        "text_to_image",
        CUSTOM | {"width": 256, "height": 256, "lora": "ink.safetensors", "batch_size": 2},
        (256, 256),
    ),
    "checkpoint": (
        "text_to_image_checkpoint",
        CUSTOM | {"width": 72, "height": 64, "model": CHECKPOINT},
        (72, 64),
    ),
    "swap": (
        "face_swap",
        {"face": "a.png", "body": "b.png", "prompt": "", "megapixels": 0.25},
        (624, 416),
    ),
    "swap-slow": (
        "face_swap",
        {
            "face": "a.png",
            "body": "b.png",
            "fast": False,
            "swap_lora": False,
            "lora": "ink.safetensors",
            "megapixels": 0.25,
        },
        (624, 416),
    ),
    "pixel": ("image_blend_pixel", {"images": ["a.png", "b.png", "c.png"]}, WIDE),
    "creative": (
        "image_blend_creative",
        CUSTOM | {"images": ["a.png", "b.png"], "width": 512, "height": 528},
        (512, 528),
    ),
    "creative-3": (
        "image_blend_creative",
        CUSTOM | {"images": ["a.png", "b.png", "c.png"], "width": 512, "height": 512},
        (512, 512),
    ),
    "edit": ("image_edit", {"image": "a.png", "megapixels": 0.25}, (624, 416)),
    "edit-mask": (
        "image_edit",
        {
            "image": "a.png",
            "mask": "mask.png",
            "mask_invert": True,
            "references": ["b.png", "c.png"],
            "megapixels": 0.25,
            "fast": False,
            "negative_prompt": "blurry",
        },
        (624, 416),
    ),
    "edit-checkpoint": (
        "image_edit_checkpoint",
        {"image": "a.png", "model": CHECKPOINT, "steps": 2},
        (640, 424),
    ),
    "edit-checkpoint-mask": (
        "image_edit_checkpoint",
        {
            "image": "a.png",
            "mask": "mask.png",
            "mask_feather": 0,
            "model": CHECKPOINT,
            "steps": 2,
        },
        (640, 424),
    ),
    "sketch": ("sketch_to_image", {"sketch": "a.png", "detail": "draft"}, (880, 592)),
    "sketch-style": (
        "sketch_to_image",
        {"sketch": "a.png", "detail": "draft", "style": "ink", "style_image": "b.png"},
        (880, 592),
    ),
    "controlnet": (
        "sketch_to_image_controlnet",
        {"sketch": "a.png", "model": CHECKPOINT, "detail": "draft", "dark_lines": False},
        (560, 376),
    ),
    "controlnet-xl": (
        "sketch_to_image_controlnet",
        {"sketch": "a.png", "model": "sd_xl_base_1.0.safetensors", "detail": "draft"},
        (968, 648),
    ),
    "upscale": ("upscale", {"image": "a.png", "factor": "3"}, (288, 192)),
    "upscale-model": (
        "upscale",
        {"image": "a.png", "upscale_model": "RealESRGAN_x4plus.safetensors"},
        (192, 128),
    ),
    "cut-out": ("remove_background", {"image": "a.png"}, WIDE),
}
SHORT = {"seconds": 0.5}
SMALL = SHORT | {"keep_shape": False} | CUSTOM | {"width": 256, "height": 288}
FILMS: dict[str, tuple[str, dict[str, Any], tuple[int, int], int]] = {
    # id: workflow, what is said, the size and the frames that come out
    "t2v": ("text_to_video", SHORT | CUSTOM | {"width": 256, "height": 288}, (256, 288), 13),
    "t2v-14b": (
        "text_to_video_14b",
        SHORT | CUSTOM | {"width": 256, "height": 272, "fps": 20.0, "fast": False},
        (256, 272),
        13,
    ),
    "i2v": ("image_to_video", SHORT | {"image": "a.png", "megapixels": 0.1}, (384, 256), 13),
    "i2v-cut": ("image_to_video", SMALL | {"image": "a.png"}, (256, 288), 13),
    "i2v-14b": (
        "image_to_video_14b",
        SHORT | {"image": "a.png", "megapixels": 0.1},
        (400, 272),
        9,
    ),
    "first": (
        "first_last_frame",
        SHORT | {"first_frame": "a.png", "megapixels": 0.1},
        (400, 272),
        9,
    ),
    "first-last": (
        "first_last_frame",
        SMALL | {"first_frame": "a.png", "last_frame": "b.png"},
        (256, 288),
        9,
    ),
    "long-1": ("long_video", SMALL | {"shots": 1, "prompt_1": "x"}, (256, 288), 13),
    "long-3": (
        "long_video",
        SHORT
        | {"shots": 3, "prompt_1": "x", "prompt_2": "y", "prompt_3": "z"}
        | {"image_1": "a.png", "image_3": "b.png", "megapixels": 0.1},
        (384, 256),
        39,
    ),
    "join": ("video_concat", {"video_1": "one.mp4", "video_2": "two.mp4"}, (64, 48), 12),
    "join-3": (
        "video_concat",
        {"video_1": "one.mp4", "video_2": "two.mp4", "video_4": "one.mp4", "audio": "sound.wav"},
        (64, 48),
        19,
    ),
}


def order(studio: House, files: dict[str, Path], workflow: str, said: dict[str, Any]) -> Any:
    """Order by the workflow's own name, and give the ended job."""
    given = {
        name: [files[one] for one in value]
        if isinstance(value, list)
        else files.get(value, value)
        if isinstance(value, str)
        else value
        for name, value in said.items()
    }
    wanted = CATALOG.workflow(workflow).manifest.parameter("prompt")
    words = {"prompt": "a cat"} if wanted is not None and wanted.required else {}
    return studio.ended(studio.studio.desk.submit(ANN, workflow, words | given), timeout_s=90)


def lacking(workflow: str, newer: bool) -> bool:
    return workflow in NEWER_ONLY and not newer


@pytest.mark.parametrize("case", PICTURES)
def test_a_picture_comes_out_in_its_size(
    studio: House, newer: bool, files: dict[str, Path], case: str
) -> None:
    workflow, said, size = PICTURES[case]
    if lacking(workflow, newer):
        with pytest.raises(StudioError, match="missing_node"):
            order(studio, files, workflow, said)
        return

    job = order(studio, files, workflow, said)

    assert job.state is State.COMPLETED, job.failure
    assert job.tab == CATALOG.workflow(workflow).manifest.tab
    assert len(job.outputs) == said.get("batch_size", 1)
    for path in studio.paths(job):
        with Image.open(path) as picture:
            assert picture.size == size
            assert (picture.mode == "RGBA") is (workflow == "remove_background")


@pytest.mark.parametrize("case", FILMS)
def test_a_film_comes_out_in_its_size_and_length(
    studio: House, files: dict[str, Path], case: str
) -> None:
    workflow, said, size, frames = FILMS[case]

    job = order(studio, files, workflow, said)

    assert job.state is State.COMPLETED, job.failure
    (output,) = job.outputs
    assert output.kind == "video"
    made, shown, fps, _ = film_of(studio.paths(job)[0])
    assert (made, shown) == (frames, size)
    told = length(CATALOG.workflow(workflow), job.values)
    if workflow != "video_concat":
        assert told is not None
        assert (told.frames, told.fps) == (frames, fps)


@pytest.mark.parametrize("sound", ["short.wav", "sound.wav", "long.wav"])
@pytest.mark.parametrize("workflow", ["virtual_human", "virtual_human_infinitetalk"])
def test_a_virtual_human_speaks_as_long_as_its_sound(
    studio: House, newer: bool, files: dict[str, Path], workflow: str, sound: str
) -> None:
    said = {"portrait": "a.png", "audio": sound, "megapixels": 0.1}
    if lacking(workflow, newer):
        with pytest.raises(StudioError, match="missing_node"):
            order(studio, files, workflow, said)
        return
    with wave.open(str(files[sound])) as given:
        seconds = given.getnframes() / given.getframerate()

    job = order(studio, files, workflow, said)

    assert job.state is State.COMPLETED, job.failure
    frames, size, fps, heard = film_of(studio.paths(job)[0])
    assert size == (400, 272)
    assert frames == math.ceil(seconds * fps)
    assert 0 <= frames / fps - seconds < 1 / fps
    # AAC begins and ends with up to a block of 1024 samples more.
    assert -1 / fps < heard - seconds < 1 / fps + 2 * 1024 / 16000
    told = length(CATALOG.workflow(workflow), job.values)
    assert told is not None
    assert (told.frames, told.fps) == (frames, fps)


def test_a_sound_over_the_cap_is_refused_with_its_length(studio: House, tmp_path: Path) -> None:
    write_sound(tmp_path / "speech.wav", 39.9)
    portrait = tmp_path / "face.png"
    Image.new("RGB", WIDE).save(portrait)

    with pytest.raises(StudioError, match="file_too_long") as caught:
        order(
            studio,
            {"face.png": portrait, "speech.wav": tmp_path / "speech.wav"},
            "virtual_human",
            {"portrait": "face.png", "audio": "speech.wav"},
        )

    assert (caught.value.field, caught.value.params["max"]) == ("audio", "39.8")


def test_a_host_sets_how_long_a_sound_may_be(tmp_path: Path) -> None:
    write_sound(tmp_path / "speech.wav", 61)

    with (
        opened(tmp_path, max_media_minutes=1) as house,
        pytest.raises(StudioError, match="media_too_long") as caught,
    ):
        house.studio.desk.upload(ANN, tmp_path / "speech.wav", "speech.wav")

    assert caught.value.params["max_minutes"] == "1"


def test_every_workflow_is_run_here() -> None:
    run = {case[0] for case in (*PICTURES.values(), *FILMS.values())}

    assert run | {"virtual_human", "virtual_human_infinitetalk"} == set(CATALOG.workflows)


@pytest.mark.parametrize("fit", ["whole", "fill", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1)])
def test_a_sliver_is_blended_or_refused_by_its_field(
    studio: House, picture: Callable[..., Path], fit: str, size: tuple[int, int]
) -> None:
    base = picture("red", WIDE)
    later = picture("blue", size, f"{size[0]}x{size[1]}.png")

    if fit == "whole" and size != (1, 1):
        with pytest.raises(StudioError, match="picture_too_thin") as caught:
            studio.blend(base, later, fit=fit)
        assert caught.value.field == "images"
        return

    job = studio.ended(studio.blend(base, later, fit=fit))

    assert job.state is State.COMPLETED, job.failure
