"""What nodes give: pixels by hand-worked numbers, films and sounds by their measures."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import requests
from PIL import Image

from studio.practice import PracticeServer, draw
from studio.practice.nodes import masks, models, pixels, sizes
from studio.practice.nodes.scale import bytes_of, floats, scale
from studio.practice.nodes.values import NodeError
from tests.contract.talk import Talker

RGB = np.random.default_rng(1).random((1, 6, 8, 3), np.float32)


def flat(level: float, height: int = 2, width: int = 2) -> Any:
    return np.full((1, height, width, 3), level, np.float32)


def node(class_type: str, **inputs: Any) -> Any:
    return {"class_type": class_type, "inputs": inputs}


def upload(talker: Talker, name: str, data: bytes) -> None:
    answer = talker.http.post(
        talker.url + "/upload/image", files={"image": (name, data)}, timeout=20
    )
    assert answer.status_code == 200


def picture_bytes(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def shown(talker: Talker, item: Any) -> bytes:
    answer = talker.get("/view", params=item)
    assert answer.status_code == 200
    return answer.content


def run(talker: Talker, graph: Any, save: str = "save") -> list[Any]:
    """Run a graph; gives its files as bytes."""
    entry, _ = talker.run(graph, "me")
    assert entry["status"]["completed"], entry["status"]["messages"][-1]
    output = entry["outputs"][save]
    return [shown(talker, item) for item in output.get("images", output.get("audio"))]


def pictures(talker: Talker, graph: Any, save: str = "save") -> list[Any]:
    made = []
    for data in run(talker, graph, save):
        with Image.open(io.BytesIO(data)) as picture:
            made.append(np.asarray(picture))
    return made


# pixels


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("normal", 0.2),
        ("multiply", 0.16),
        ("screen", 0.84),
        ("overlay", 0.68),
        ("soft_light", 0.8 - 0.6 * 0.8 * 0.2),
        ("difference", 0.6),
    ],
)
def test_blend_modes_follow_their_formulas(mode: str, expected: float) -> None:
    whole = pixels.image_blend(flat(0.8), flat(0.2), 1.0, mode)
    half = pixels.image_blend(flat(0.8), flat(0.2), 0.5, mode)

    assert np.allclose(whole, expected, atol=1e-6)
    assert np.allclose(half, (0.8 + expected) / 2, atol=1e-6)


def test_difference_is_cut_at_black_and_not_symmetric() -> None:
    assert pixels.image_blend(flat(0.2), flat(0.8), 1.0, "difference").max() == 0


def test_a_blended_picture_takes_the_first_ones_size_by_centre_crop() -> None:
    wide = np.zeros((1, 2, 6, 3), np.float32)
    wide[:, :, 2:4] = 1

    made = pixels.image_blend(flat(0.0), wide, 1.0, "normal")

    assert made.shape == (1, 2, 2, 3)
    assert np.allclose(made, 1, atol=1e-6)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
def test_scaling_keeps_an_even_picture_even(method: str) -> None:
    made = scale(flat(0.25, 7, 5), 13, 3, method)

    assert made.shape == (1, 3, 13, 3)
    assert np.allclose(made, 0.25, atol=1 / 255)


def test_area_averages_and_nearest_picks() -> None:
    line = np.array([0, 1, 0, 1], np.float32).reshape(1, 1, 4, 1)

    assert scale(line, 2, 1, "area").ravel().tolist() == [0.5, 0.5]
    assert scale(line, 2, 1, "nearest-exact").ravel().tolist() == [1, 1]


@pytest.mark.parametrize("levels", [range(256)])
def test_bytes_survive_the_way_through_floats(levels: range) -> None:
    there = np.array(list(levels), np.uint8).reshape(1, 16, 16, 1)

    assert (bytes_of(floats(there)) == there).all()


def test_scaling_one_side_keeps_the_shape() -> None:
    made = sizes.image_scale(RGB, "bilinear", 4, 0, "disabled")

    assert made.shape == (1, 3, 4, 3)


@pytest.mark.parametrize(("colour", "level"), [("white", 1.0), ("black", 0.0)])
def test_resize_and_pad_fits_inside_and_fills_the_rest(colour: str, level: float) -> None:
    made = sizes.resize_and_pad_image(flat(0.5, 4, 8), 16, 16, colour, "area")

    assert made.shape == (1, 16, 16, 3)
    assert np.allclose(made[:, 4:12], 0.5)
    assert (made[:, :4] == level).all()
    assert (made[:, 12:] == level).all()


def test_composite_pastes_where_the_mask_is_white() -> None:
    mask = np.zeros((1, 2, 2), np.float32)
    mask[0, 0, 0] = 1

    made = pixels.image_composite_masked(flat(0.0, 4, 4), flat(1.0), 1, 1, False, mask)

    assert made[0, 1, 1].tolist() == [1, 1, 1]
    assert made.sum() == 3


def test_joining_alpha_turns_the_mask_round_and_splitting_undoes_it() -> None:
    mask = np.full((1, 6, 8), 0.25, np.float32)

    joined = masks.join_image_with_alpha(RGB, mask)
    parted = masks.split_image_with_alpha(joined)

    assert np.allclose(joined[..., 3], 0.75)
    assert np.allclose(parted.outputs[1], mask)
    assert np.allclose(parted.outputs[0], RGB)


def test_an_index_past_the_end_means_the_last_picture() -> None:
    batch = np.concatenate([flat(0.1), flat(0.9)])

    assert pixels.image_from_batch(batch, 4095, 5)[0, 0, 0, 0] == pytest.approx(0.9)


# pictures through the door


def test_a_loaded_picture_is_upright_and_its_mask_is_one_minus_alpha(
    practice: PracticeServer, talker: Talker
) -> None:
    sideways = Image.new("RGB", (40, 20), (0, 0, 255))
    sideways.paste((255, 0, 0), (0, 0, 20, 20))
    exif = sideways.getexif()
    exif[0x0112] = 6
    upload(talker, "phone.jpg", picture_bytes(sideways, "JPEG", quality=95, exif=exif))
    half = Image.new("RGBA", (2, 1), (9, 9, 9, 255))
    half.putpixel((0, 0), (9, 9, 9, 0))
    upload(talker, "alpha.png", picture_bytes(half))

    upright = pictures(
        talker,
        {"a": node("LoadImage", image="phone.jpg"), "save": _save("a")},
    )[0]
    mask = pictures(
        talker,
        {
            "a": node("LoadImage", image="alpha.png"),
            "b": node("MaskToImage", mask=["a", 1]),
            "save": _save("b"),
        },
    )[0]

    assert upright.shape == (40, 20, 3)
    assert upright[2, 10, 0] > 200
    assert mask[0, :, 0].tolist() == [255, 0]


def _save(source: str, slot: int = 0) -> Any:
    return node("SaveImage", images=[source, slot], filename_prefix="t")


def test_a_mask_channel_is_read_as_it_is(practice: PracticeServer, talker: Talker) -> None:
    upload(talker, "m.png", picture_bytes(Image.new("RGB", (4, 4), (200, 10, 20))))

    made = pictures(
        talker,
        {
            "a": node("LoadImageMask", image="m.png", channel="red"),
            "b": node("MaskToImage", mask=["a", 0]),
            "save": _save("b"),
        },
    )[0]

    assert (made == 200).all()


def test_a_batch_is_saved_in_order(practice: PracticeServer, talker: Talker) -> None:
    made = pictures(
        talker,
        {
            "a": node("EmptyImage", width=8, height=8, batch_size=2, color=0xFF0000),
            "b": node("EmptyImage", width=16, height=16, batch_size=1, color=0x0000FF),
            "c": node("ImageBatch", image1=["a", 0], image2=["b", 0]),
            "save": _save("c"),
        },
    )

    assert [one[0, 0].tolist() for one in made] == [[255, 0, 0], [255, 0, 0], [0, 0, 255]]
    assert {one.shape for one in made} == {(8, 8, 3)}


# models


def latent_graph(**changes: Any) -> Any:
    inputs = {
        "seed": 4,
        "steps": 1,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
        "denoise": 1.0,
        "model": ["ckpt", 0],
        "positive": ["words", 0],
        "negative": ["words", 0],
        "latent_image": ["latent", 0],
    }
    return {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name="random-sd15.safetensors"),
        "words": node("CLIPTextEncode", text="a harbour", clip=["ckpt", 1]),
        "latent": node("EmptyLatentImage", width=96, height=64, batch_size=3),
        "sampler": node("KSampler", **(inputs | changes)),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["ckpt", 2]),
        "save": _save("decode"),
    }


def test_model_pictures_have_the_size_and_count_that_was_asked(
    practice: PracticeServer, talker: Talker
) -> None:
    made = pictures(talker, latent_graph())

    assert [one.shape for one in made] == [(64, 96, 3)] * 3
    assert not (made[0] == made[1]).all()


def test_seed_and_text_decide_the_picture(practice: PracticeServer, talker: Talker) -> None:
    first = pictures(talker, latent_graph())[0]
    other_seed = pictures(talker, latent_graph(seed=2**64 - 1))[0]
    graph = latent_graph()
    graph["words"]["inputs"]["text"] = "a mountain"
    other_text = pictures(talker, graph)[0]
    again = pictures(talker, latent_graph())[0]

    assert (first == again).all()
    assert not (first == other_seed).all()
    assert not (first == other_text).all()


@pytest.mark.parametrize("size", [(64, 64), (512, 512), (1024, 640)])
def test_the_mark_changes_a_broad_band_of_every_picture(size: tuple[int, int]) -> None:
    width, height = size
    marked = draw.pictures(width, height, 1, seed=3, text="x")[0].astype(int)
    bare = draw.pictures(width, height, 1, seed=3, text="x", mark=False)[0].astype(int)

    changed = (marked != bare).any(axis=2)
    yellow = (marked[..., 0] > 200) & (marked[..., 1] > 150) & (marked[..., 2] < 120)
    assert changed[height // 2].all()
    assert changed.mean() > 0.1
    assert yellow.mean() > 0.005


def test_without_the_mark_the_landscape_is_bare(no_threads_left: None) -> None:
    with PracticeServer(pace_s=0, mark=False) as server:
        talker = Talker(server.url)
        made = pictures(talker, latent_graph())[0]
        talker.close()

    assert (made == draw.landscape(96, 64, seed=4, text="a harbour")).all()


def test_an_inpainted_picture_keeps_what_the_mask_keeps(
    practice: PracticeServer, talker: Talker
) -> None:
    graph = latent_graph()
    graph["latent"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0x123456)
    graph["encode"] = node("VAEEncode", pixels=["latent", 0], vae=["ckpt", 2])
    graph["white"] = node("SolidMask", value=1.0, width=32, height=64)
    graph["black"] = node("SolidMask", value=0.0, width=64, height=64)
    graph["mask"] = node(
        "MaskComposite",
        destination=["black", 0],
        source=["white", 0],
        x=0,
        y=0,
        operation="add",
    )
    graph["noise"] = node("SetLatentNoiseMask", samples=["encode", 0], mask=["mask", 0])
    graph["sampler"]["inputs"]["latent_image"] = ["noise", 0]

    made = pictures(talker, graph)[0]

    assert (made[:, 40:] == [0x12, 0x34, 0x56]).all()
    # The mark stands inside what was painted, however small that is.
    yellow = (made[..., 0] > 150) & (made[..., 1] > 110) & (made[..., 2] < 110)
    assert yellow[:, :32].any()
    assert not (made[:, :24] == [0x12, 0x34, 0x56]).all(axis=2).any()


def test_an_upscaled_picture_carries_the_mark_too(
    no_threads_left: None,
) -> None:
    graph = {
        "model": node("UpscaleModelLoader", model_name="4x.pth"),
        "a": node("EmptyImage", width=32, height=32, batch_size=1, color=0x808080),
        "up": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["a", 0]),
        "save": _save("up"),
    }
    with PracticeServer(pace_s=0, models={"upscale_models": ["4x.pth"]}) as server:
        talker = Talker(server.url)
        made = pictures(talker, graph)[0]
        talker.close()

    assert made.shape == (128, 128, 3)
    assert len(np.unique(made.reshape(-1, 3), axis=0)) > 3


def test_a_custom_sampler_takes_steps_seed_and_words_from_its_helpers(
    practice: PracticeServer, talker: Talker
) -> None:
    graph = latent_graph()
    graph |= {
        "noise": node("RandomNoise", noise_seed=4),
        "guider": node("BasicGuider", model=["ckpt", 0], conditioning=["words", 0]),
        "pick": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node(
            "BasicScheduler", model=["ckpt", 0], scheduler="simple", steps=3, denoise=1.0
        ),
        "sampler": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["pick", 0],
            sigmas=["sigmas", 0],
            latent_image=["latent", 0],
        ),
    }
    entry, heard = talker.run(graph, "me")

    steps = [
        one["data"]["max"] for one in heard if isinstance(one, dict) and one["type"] == "progress"
    ]
    assert steps == [3, 3, 3]
    assert len(entry["outputs"]["save"]["images"]) == 3
    plain = pictures(talker, latent_graph())
    assert (pictures(talker, graph)[0] == plain[0]).all()


# films and sounds


def film_graph(**video: Any) -> Any:
    return {
        "latent": node("EmptyHunyuanLatentVideo", width=64, height=48, length=9, batch_size=1),
        **{key: one for key, one in latent_graph().items() if key not in ("latent", "save")},
        "video": node("CreateVideo", images=["decode", 0], fps=8.0, **video),
        "save": node(
            "SaveVideo", video=["video", 0], filename_prefix="v", format="auto", codec="auto"
        ),
    }


def opened(data: bytes) -> Any:
    return av.open(io.BytesIO(data))


def test_a_film_has_the_frames_that_were_asked(practice: PracticeServer, talker: Talker) -> None:
    data = run(talker, film_graph())[0]

    with opened(data) as film:
        stream = film.streams.video[0]
        frames = list(film.decode(stream))
        facts = (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate)
        about = json.loads(film.metadata["prompt"])
    assert len(frames) == 9
    assert (frames[0].width, frames[0].height) == (64, 48)
    assert facts == ("h264", "yuv420p", 8)
    assert about["save"]["class_type"] == "SaveVideo"


def test_sound_ends_with_the_pictures(practice: PracticeServer, talker: Talker) -> None:
    graph = film_graph(audio=["silence", 0])
    graph["silence"] = node("EmptyAudio", duration=5.0, sample_rate=44100, channels=2)

    data = run(talker, graph)[0]

    with opened(data) as film:
        sound = film.streams.audio[0]
        length = sum(frame.samples for frame in film.decode(sound)) / 44100
        assert sound.codec_context.name == "aac"
    assert length == pytest.approx(9 / 8, abs=0.06)


def test_an_odd_size_cannot_be_a_film(practice: PracticeServer, talker: Talker) -> None:
    entry, _ = talker.run(
        {
            "a": node("EmptyImage", width=63, height=48, batch_size=2, color=0),
            "video": node("CreateVideo", images=["a", 0], fps=8.0),
            "save": node(
                "SaveVideo", video=["video", 0], filename_prefix="v", format="auto", codec="auto"
            ),
        },
        "me",
    )

    assert entry["status"]["messages"][-1][0] == "execution_error"


def test_a_film_comes_apart_into_frames_sound_and_rate(
    practice: PracticeServer, talker: Talker
) -> None:
    graph = film_graph(audio=["silence", 0])
    graph["silence"] = node("EmptyAudio", duration=1.125, sample_rate=16000, channels=1)
    upload(talker, "clip.mp4", run(talker, graph)[0])
    graph = {
        "load": node("LoadVideo", file="clip.mp4"),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "rate": node("PreviewAny", source=["parts", 2]),
        "save": _save("parts"),
        "sound": node("SaveAudio", audio=["parts", 1], filename_prefix="s"),
    }

    entry, _ = talker.run(graph, "me")

    assert len(entry["outputs"]["save"]["images"]) == 9
    assert entry["outputs"]["rate"]["text"] == ["8.0"]
    assert entry["outputs"]["sound"]["audio"][0]["filename"].endswith(".flac")


def test_a_loaded_film_is_saved_byte_for_byte(practice: PracticeServer, talker: Talker) -> None:
    data = run(talker, film_graph())[0]
    upload(talker, "clip.mp4", data)

    again = run(
        talker,
        {
            "load": node("LoadVideo", file="clip.mp4"),
            "save": node(
                "SaveVideo", video=["load", 0], filename_prefix="w", format="auto", codec="auto"
            ),
        },
    )[0]

    assert again == data


def test_a_sound_keeps_its_samples_through_flac(practice: PracticeServer, talker: Talker) -> None:
    samples = (np.sin(np.arange(8000) / 20) * 20000).astype(np.int16)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    upload(talker, "voice.wav", buffer.getvalue())

    data = run(
        talker,
        {
            "load": node("LoadAudio", audio="voice.wav"),
            "cut": node("TrimAudioDuration", audio=["load", 0], start_index=0.1, duration=0.2),
            "save": node("SaveAudio", audio=["cut", 0], filename_prefix="s"),
        },
    )[0]

    with opened(data) as sound:
        stream = sound.streams.audio[0]
        got = np.concatenate([frame.to_ndarray().ravel() for frame in sound.decode(stream)])
        assert stream.codec_context.sample_rate == 16000
        assert stream.codec_context.channels == 1
    wanted = samples[1600:4800] / 32768
    scaled = got / (2**31 if got.dtype == np.int32 else 2**15)
    assert len(got) == 3200
    assert np.abs(scaled - wanted).max() < 1e-3


def test_a_moving_webp_has_its_frames(practice: PracticeServer, talker: Talker) -> None:
    graph = latent_graph()
    graph["save"] = node(
        "SaveAnimatedWEBP",
        images=["decode", 0],
        filename_prefix="w",
        fps=6.0,
        lossless=True,
        quality=80,
        method="default",
    )

    data = run(talker, graph)[0]

    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.n_frames) == ("WEBP", 3)
        assert str(picture.getexif()[0x0110]).startswith("prompt:")


# every graph of the house


GRAPHS = sorted((Path(__file__).parents[2] / "workflows").glob("*.json"))


@pytest.mark.parametrize("path", GRAPHS, ids=[path.stem for path in GRAPHS])
def test_every_node_of_our_graphs_is_known(path: Path) -> None:
    from studio.practice.definitions import custom, later, recorded

    graph = json.loads(path.read_text("utf-8"))

    known = {*recorded(), *later(), *custom()}
    unknown = {one["class_type"] for one in graph.values()} - known
    assert unknown == set()


# blur, words, and what only a newer ComfyUI has


def test_a_blur_spreads_a_point_as_a_bell_and_keeps_its_sum() -> None:
    point = np.zeros((1, 9, 9, 3), np.float32)
    point[0, 4, 4] = 1.0

    blurred = pixels.image_blur(point, blur_radius=2, sigma=0.5)

    bell = np.exp(-np.array([1.0, 0.25, 0, 0.25, 1.0]) / 0.5)
    bell /= bell.sum()
    assert np.allclose(blurred[0, 2:7, 2:7, 0], np.outer(bell, bell), atol=1e-6)
    assert blurred.sum() == pytest.approx(3.0, rel=1e-5)


def test_a_blur_leaves_an_even_picture_and_refuses_one_smaller_than_its_radius() -> None:
    assert np.allclose(pixels.image_blur(flat(0.3, 8, 8), 7, 1.0), 0.3)
    with pytest.raises(NodeError, match="Padding size"):
        pixels.image_blur(flat(0.3, 8, 8), 8, 1.0)


def test_words_are_joined_by_their_delimiter(talker: Talker) -> None:
    graph = {
        "both": node("StringConcatenate", string_a="a cat", string_b="ink", delimiter=", "),
        "show": node("PreviewAny", source=["both", 0]),
    }

    entry, _ = talker.run(graph, "me")

    assert entry["outputs"]["show"]["text"] == ["a cat, ink"]


def test_only_the_newer_profile_knows_the_newer_nodes() -> None:
    from studio.practice.definitions import later

    for profile, known in (("0.8.0", False), ("newer", True)):
        with PracticeServer(profile=profile, pace_s=0) as server:
            told = requests.get(f"{server.url}/object_info", timeout=10).json()
            assert [name in told for name in later()] == [known] * len(later())


def test_the_front_of_a_picture_is_a_soft_ellipse() -> None:
    class Idle:
        pace_s = 0.0

        def work(self, seconds: float) -> None:
            assert seconds == 0

    mask = models.remove_background(Idle(), flat(0.5, 40, 60))  # type: ignore[arg-type]

    assert mask.shape == (1, 40, 60)
    assert (mask[0, 20, 30], mask[0, 0, 0]) == (1.0, 0.0)
    assert len(np.unique(mask)) > 10
