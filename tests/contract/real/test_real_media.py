"""Moving pictures and sound: the practice server writes files a real ComfyUI would write.

Encoded video and lossy sound are not compared byte by byte: size, length, rate and kind are.
"""

from __future__ import annotations

import io
import json
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Prompt = dict[str, Any]
Both = Callable[..., tuple[Any, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def clip(frames: int = 6) -> Prompt:
    return {
        "a": node("EmptyImage", width=64, height=48, batch_size=frames // 2, color=0xFF0000),
        "b": node("EmptyImage", width=64, height=48, batch_size=frames - frames // 2, color=0x00FF),
        "frames": node("ImageBatch", image1=["a", 0], image2=["b", 0]),
    }


def tone(seconds: float, rate: int = 44100, channels: int = 1) -> bytes:
    steps = np.arange(int(seconds * rate))
    wavy = (np.sin(steps * 2 * np.pi * 440 / rate) * 12000).astype("<i2")
    stream = io.BytesIO()
    with wave.open(stream, "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(np.repeat(wavy[:, None], channels, axis=1).tobytes())
    return stream.getvalue()


def probe(data: bytes, folder: Path) -> list[dict[str, Any]]:
    file = folder / "probed"
    file.write_bytes(data)
    said = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-count_frames", "-of", "json", str(file)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    wanted = ("codec_name", "width", "height", "r_frame_rate", "nb_read_frames", "pix_fmt")
    sound = ("codec_name", "sample_rate", "channels")
    return [
        {key: stream.get(key) for key in (wanted if stream["codec_type"] == "video" else sound)}
        for stream in json.loads(said.stdout)["streams"]
    ]


def only_file(run: Any, name: str) -> tuple[str, dict[str, str]]:
    """Give the output key and the single file of a node."""
    outputs = run.history["outputs"][name]
    key = next(key for key in outputs if key != "animated")
    assert len(outputs[key]) == 1
    return key, outputs[key][0]


@pytest.mark.parametrize("lossless", [True, False])
def test_animated_webp_has_the_same_frames(both: Both, lossless: bool) -> None:
    prompt = clip() | {
        "save": node(
            "SaveAnimatedWEBP",
            images=["frames", 0],
            filename_prefix="hold/moving",
            fps=8.0,
            lossless=lossless,
            quality=80,
            method="default",
        )
    }

    runs = both(prompt)

    told = []
    for run in runs:
        key, file = only_file(run, "save")
        picture = Image.open(io.BytesIO(run.file(file)))
        durations = []
        for index in range(picture.n_frames):
            picture.seek(index)
            picture.load()
            durations.append(picture.info["duration"])
        told.append((key, run.history["outputs"]["save"].get("animated"), picture.size, durations))
    assert told[0] == told[1]


@pytest.mark.parametrize("sound", [False, True], ids=["silent", "with sound"])
def test_video_has_the_same_streams(both: Both, sound: bool, tmp_path: Path) -> None:
    prompt = clip(12) | {
        "video": node(
            "CreateVideo",
            images=["frames", 0],
            fps=12.0,
            **({"audio": ["sound", 0]} if sound else {}),
        ),
        "save": node(
            "SaveVideo", video=["video", 0], filename_prefix="hold/clip", format="mp4", codec="h264"
        ),
    }
    if sound:
        prompt["sound"] = node("LoadAudio", audio="tone.wav")

    # Stereo: an older ComfyUI (0.3.64) spreads mono over two channels, a newer one keeps one.
    runs = both(prompt, {"tone.wav": tone(1.0, channels=2)})

    told = []
    for run in runs:
        key, file = only_file(run, "save")
        told.append((key, Path(file["filename"]).suffix, probe(run.file(file), tmp_path)))
    assert told[0] == told[1]


@pytest.mark.parametrize(("rate", "channels"), [(44100, 1), (48000, 2)])
def test_saved_sound_is_the_same_sound(
    both: Both, rate: int, channels: int, tmp_path: Path
) -> None:
    prompt = {
        "sound": node("LoadAudio", audio=f"tone{rate}.wav"),
        "save": node("SaveAudio", audio=["sound", 0], filename_prefix="hold/sound"),
    }

    runs = both(prompt, {f"tone{rate}.wav": tone(0.5, rate, channels)})

    told = []
    for run in runs:
        key, file = only_file(run, "save")
        told.append((key, Path(file["filename"]).suffix, probe(run.file(file), tmp_path)))
    assert told[0] == told[1]
