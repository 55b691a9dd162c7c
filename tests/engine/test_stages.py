"""What a run before the main one made is taken in as measured, or refused for what it is."""

from __future__ import annotations

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studio.engine.comfy.client import RunRecord
from studio.engine.comfy.events import Ended, NodeOutput, OutputFile, Started
from studio.engine.jobs import Job, State
from studio.engine.media import Media
from studio.engine.stages import Stages, saved
from studio.engine.workflow.catalog import load
from studio.errors import StudioError
from studio.settings import PROJECT

TALK = "virtual_human_infinitetalk"
VALUES = {
    "portrait": "face.png",
    "audio": "sample.wav",
    "text": "Hello there.",
    "speech_language": "english",
    "portrait.width": 640.0,
    "portrait.height": 480.0,
    "audio.seconds": 7.0,
    "text.seconds": 1.2,
    "megapixels": 0.4,
    "seed": "7",
}
JOB = Job("j-1", "anna", "virtual_human", TALK, VALUES, State.PROCESSING)


@pytest.fixture(scope="module")
def catalog():
    return load(PROJECT / "workflows")


@pytest.fixture
def media(tmp_path: Path) -> Media:
    return Media(tmp_path / "inputs", max_bytes=10**7, max_pixels=10**6)


@pytest.fixture
def stages(catalog, media: Media) -> Stages:
    return Stages(catalog, media)


def sound(path: Path, seconds: float, loud: int = 9000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        beat = np.sin(np.arange(round(8000 * seconds)) / 3) * loud
        file.writeframes(beat.astype("<i2").tobytes())
    return path


def test_a_speech_is_measured_and_stands_in_its_field(
    stages: Stages, media: Media, tmp_path: Path
) -> None:
    part = stages.next(JOB)
    assert part.before is not None

    (made,) = stages.take(JOB, part, sound(tmp_path / "made", 2.5))

    assert (made.field, made.kind, made.seconds) == ("audio", "audio", 2.5)
    assert media.has("anna", made.ref)
    assert not media.has("ben", made.ref)
    job = replace(JOB, made=(made,))
    prompt = stages.next(job).prompt()
    assert prompt["frames"]["inputs"]["length"] == 63
    assert prompt["load_audio"]["inputs"]["audio"] == made.ref
    assert "text" not in stages.left(job).values
    assert stages.left(JOB) is JOB


@pytest.mark.parametrize(
    ("bytes_", "seconds", "loud", "code"),
    [
        (None, 23.5, 9000, "speech_too_long"),
        (None, 2.0, 0, "speech_unusable"),
        (None, 0.0, 0, "speech_unusable"),
        (b"no sound at all", 0.0, 0, "speech_unusable"),
        (b"", 0.0, 0, "speech_unusable"),
    ],
    ids=["too-long", "silent", "empty", "no-sound", "nothing"],
)
def test_what_no_film_can_be_made_of_is_refused_with_its_own_code(
    stages: Stages, tmp_path: Path, bytes_: bytes | None, seconds: float, loud: int, code: str
) -> None:
    path = tmp_path / "made"
    if bytes_ is None:
        sound(path, seconds, loud)
    else:
        path.write_bytes(bytes_)

    with pytest.raises(StudioError) as told:
        stages.take(JOB, stages.next(JOB), path)

    assert told.value.code == code
    if code == "speech_too_long":
        assert (told.value.params["seconds"], told.value.params["max"]) == ("23.5", "23.4")


def test_only_a_kept_file_of_the_node_that_saves_is_the_speech(stages: Stages) -> None:
    part = stages.next(JOB)
    kept = OutputFile("a.flac", "", "output")
    shown = OutputFile("b.flac", "", "temp")
    outputs = (
        NodeOutput("p", "other", (OutputFile("c.flac", "", "output"),)),
        NodeOutput("p", "save_speech", (shown, kept)),
    )

    assert saved(RunRecord("success", outputs, None), part) == kept
    with pytest.raises(StudioError, match="speech_unusable"):
        saved(RunRecord("success", outputs[:1], None), part)


def test_one_bar_is_of_both_runs(stages: Stages, media: Media, tmp_path: Path) -> None:
    part = stages.next(JOB)
    speaking = stages.progress(part, part.prompt(), 30.0, 0.0)
    speaking.read(Started("p"), 0.0)
    speaking.read(Ended("p"), 4.0)
    spoken = speaking.view(4.0)
    made = stages.take(JOB, part, sound(tmp_path / "made", 2.5))
    part = stages.next(replace(JOB, made=made))
    filming = stages.progress(part, part.prompt(), 30.0, 4.0)

    assert 0 < spoken.fraction < 0.5
    assert filming.view(4.0).fraction == pytest.approx(spoken.fraction, abs=0.1)
    assert spoken.eta_s == pytest.approx(26)
    filming.read(Ended("p"), 9.0)
    assert filming.view(9.0).fraction == 1.0


def test_a_job_without_a_text_has_the_bar_of_its_one_run(stages: Stages) -> None:
    part = stages.next(replace(JOB, values=VALUES | {"text": ""}))
    progress = stages.progress(part, part.prompt(), None, 0.0)

    assert progress.view(0.0).fraction == 0
    progress.read(Ended("p"), 1.0)
    assert progress.view(1.0).fraction == 1.0
