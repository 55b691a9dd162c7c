"""A text spoken in the voice of a sample: first the speech, then a film that is as long as it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from studio import texts
from studio.engine.jobs import Job, State
from studio.engine.watcher import Pace
from studio.engine.workflow.catalog import load
from studio.errors import StudioError
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.chain.house import ANN, House, opened, wait_until

S2V, TALK = "virtual_human", "virtual_human_infinitetalk"
WORKFLOWS = [S2V, TALK]
NODE = "FL_ChatterboxMultilingualTTS"
ENGLISH = "Hello, how are you today? Welcome to our little shop."
CHINESE = "歡迎光臨我們的小店，今天想喝點什麼呢？"
SAMPLE_S = 2
LONG = "今天天氣很好，我們去公園散步，看看花，聽聽鳥叫。" * 2
# One object each: pytest keeps a fixture while its parameter is the very same.
NEWER, OLDER, MUTE = ("newer", True), ("0.8.0", True), ("newer", False)
CASES = [
    (NEWER, S2V, "Hi."),
    (NEWER, S2V, LONG),
    (NEWER, TALK, ENGLISH),
    (NEWER, TALK, CHINESE),
    (OLDER, S2V, ENGLISH),
    (OLDER, S2V, CHINESE),
]
"""A profile of the wire and whether its server has the node that speaks; workflow; text."""


def all_models() -> dict[str, list[str]]:
    models: dict[str, list[str]] = {}
    for one in load(PROJECT / "workflows").models.values():
        models.setdefault(one.folder, []).append(one.file)
    return models


def server(profile: str = "newer", *, voice: bool = True) -> PracticeServer:
    """Make a practice server that has every model, with custom nodes or without."""
    return PracticeServer(profile=profile, pace_s=0, models=all_models(), custom_nodes=voice)


@pytest.fixture(scope="module", params=[NEWER, MUTE], ids=["voice", "none"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[PracticeServer, House]]:
    """A practice server and a studio on it."""
    profile, voice = request.param
    with (
        server(profile, voice=voice) as practice,
        opened(tmp_path_factory.mktemp("speech"), comfy_urls=(practice.url,)) as house,
    ):
        assert house.studio.stocks.wait_known(20)
        yield practice, house


@pytest.fixture
def practice(running: tuple[PracticeServer, House]) -> PracticeServer:
    return running[0]


@pytest.fixture
def house(running: tuple[PracticeServer, House]) -> House:
    return running[1]


@pytest.fixture
def has_voice(house: House) -> bool:
    return not house.studio.desk.idle(S2V)[S2V]


with_voice = pytest.mark.parametrize("running", [NEWER], ids=["voice"], indirect=True)


def said(folder: Path, text: str = ENGLISH, **more: Any) -> dict[str, Any]:
    """Give what a form says: a portrait, a sample, and a text."""
    Image.new("RGB", (96, 64), "tan").save(folder / "face.png")
    with wave.open(str(folder / "sample.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.sin(np.arange(16000 * SAMPLE_S) / 8) * 9000).astype("<i2").tobytes())
    files = {"portrait": folder / "face.png", "audio": folder / "sample.wav", "megapixels": 0.1}
    language = "english" if text.isascii() else "mandarin"
    return files | {"text": text, "speech_language": language} | more


def samples(path: Path) -> tuple[Any, int]:
    """Decode the sound of a file: its samples, and how many a second."""
    with av.open(str(path)) as file:
        plain = av.AudioResampler(format="flt", layout="mono")
        parts = [p.to_ndarray()[0] for f in file.decode(audio=0) for p in plain.resample(f)]
        return np.concatenate(parts), int(file.streams.audio[0].rate)


def pictures(path: Path) -> tuple[int, float]:
    """Decode the pictures of a film: how many, and how many a second."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        return sum(1 for _ in film.decode(stream)), float(stream.average_rate or 0)


def classes(practice: PracticeServer) -> list[set[str]]:
    """Give the node classes of every prompt that was posted."""
    return [{body["class_type"] for body in one["prompt"].values()} for one in practice.posted]


def speeches(practice: PracticeServer) -> int:
    return sum(NODE in one for one in classes(practice))


@pytest.mark.parametrize(("running", "workflow", "text"), CASES, indirect=["running"])
def test_the_film_is_within_one_frame_of_the_speech_and_holds_all_of_it(
    practice: PracticeServer, house: House, tmp_path: Path, workflow: str, text: str
) -> None:
    before = len(practice.posted)

    job = house.ended(house.studio.desk.submit(ANN, workflow, said(tmp_path, text)), timeout_s=60)

    assert job.state is State.COMPLETED, job.failure
    (spoken,) = job.made
    speech, rate = samples(house.studio.media.path(ANN, spoken.ref))
    speech_s = len(speech) / rate
    assert spoken.seconds == pytest.approx(speech_s)
    assert abs(speech_s - job.values["text.seconds"]) > 0.05, "the estimate was right by chance"
    (film,) = house.paths(job)
    frames, fps = pictures(film)
    assert speech_s <= frames / fps < speech_s + 1 / fps + 1e-6
    heard, heard_rate = samples(film)
    assert heard_rate == rate
    assert abs(len(heard) / rate - frames / fps) <= 1024 / rate + 1 / fps  # AAC comes in 1024s
    assert np.corrcoef(heard[: len(speech)], speech)[0, 1] > 0.99
    spoke, filmed = classes(practice)[before:]
    assert spoke == {"LoadAudio", NODE, "SaveAudio"}
    assert not filmed & {NODE, "SaveAudio"}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_text_is_refused_at_its_field_where_no_server_speaks(
    house: House, has_voice: bool, tmp_path: Path, workflow: str
) -> None:
    off = house.studio.desk.idle(S2V)[workflow]
    if has_voice:
        assert off == {}
        return

    with pytest.raises(StudioError, match="field_off") as told:
        house.studio.desk.submit(ANN, workflow, said(tmp_path))

    assert off == {"text": NODE, "speech_language": NODE}
    assert (told.value.field, told.value.params["class_type"]) == ("text", NODE)
    for language in texts.LANGUAGES:
        assert NODE in " ".join(texts.explain(told.value, language))


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_without_a_text_the_sound_itself_is_heard_in_one_run_on_every_server(
    practice: PracticeServer, house: House, tmp_path: Path, workflow: str
) -> None:
    before = len(practice.posted)
    order = said(tmp_path, text="", speech_language=None)

    job = house.ended(house.studio.desk.submit(ANN, workflow, order))

    assert job.state is State.COMPLETED, job.failure
    assert job.made == ()
    (film,) = house.paths(job)
    assert pictures(film)[0] == SAMPLE_S * (25 if workflow == TALK else 16)
    (prompt,) = classes(practice)[before:]
    assert not prompt & {NODE, "SaveAudio"}


@with_voice
def test_a_text_wants_its_language_and_an_end(house: House, tmp_path: Path) -> None:
    for wrong, code in (
        (said(tmp_path, speech_language=None), "field_required"),
        (said(tmp_path, text="word " * 200), "text_too_long_to_say"),
        (said(tmp_path, text="   "), "derived_out_of_range"),
    ):
        with pytest.raises(StudioError) as told:
            house.studio.desk.submit(ANN, S2V, wrong)
        assert told.value.code == code


@with_voice
@pytest.mark.parametrize(
    ("text", "code", "named"),
    [("好" * 140, "speech_too_long", ("43.4", "39.8")), ("…………", "speech_unusable", ())],
    ids=["too-long", "silent"],
)
def test_a_speech_that_no_film_can_hold_ends_the_job_before_the_film(
    practice: PracticeServer,
    house: House,
    tmp_path: Path,
    text: str,
    code: str,
    named: tuple[str, ...],
) -> None:
    before = len(practice.posted)

    job = house.ended(house.studio.desk.submit(ANN, S2V, said(tmp_path, text)))

    assert (job.state, job.made) == (State.FAILED, ())
    assert job.failure is not None
    assert job.failure.code == code
    assert len(practice.posted) == before + 1
    for language in texts.LANGUAGES:
        sentence, hint = texts.explain_code(code, job.failure.params, language)
        assert all(part in sentence for part in named)
        assert hint


@with_voice
def test_one_bar_runs_over_both_runs_and_never_back(
    practice: PracticeServer, house: House, tmp_path: Path
) -> None:
    practice.faults.hold(NODE)
    job = house.studio.desk.submit(ANN, S2V, said(tmp_path, "Hi there."))
    heard = house.follow(job, until=lambda news: news.phase == "phase.speaking")
    speaking = heard[-1]
    practice.faults.release()
    heard += house.follow(job, until=lambda news: news.state.ended)

    fractions = [news.fraction for news in heard]
    assert fractions == sorted(fractions)
    assert speaking.fraction < 0.2
    assert fractions[-1] == 1.0
    assert {texts.text(speaking.phase, language) for language in texts.LANGUAGES} == {
        "Speaking the text",
        "正在念出文字",
    }


@with_voice
def test_a_cancel_while_the_text_is_spoken_begins_no_film(
    practice: PracticeServer, house: House, tmp_path: Path
) -> None:
    before = len(practice.posted)
    practice.faults.hold(NODE)
    job = house.studio.desk.submit(ANN, S2V, said(tmp_path, "Hi you."))
    house.follow(job, until=lambda news: news.phase == "phase.speaking")
    house.studio.desk.cancel(ANN, job.job_id)
    house.follow(job, until=lambda news: news.phase == "phase.cancelling")
    practice.faults.release()

    assert house.ended(job).state is State.CANCELLED
    assert len(practice.posted) == before + 1


@with_voice
def test_the_same_text_again_is_the_persons_own_fields_and_another_persons_own_speech(
    house: House, tmp_path: Path
) -> None:
    desk, order = house.studio.desk, said(tmp_path, "Hi me.")
    job = house.ended(desk.submit(ANN, S2V, order))
    other = house.ended(desk.submit("g-ben", S2V, order))

    given = {one.field: one.ref for one in job.given}
    assert given.keys() == {"portrait", "audio"}
    assert job.values["text"] == "Hi me."
    assert job.values["audio"] == given["audio"] != job.made[0].ref
    mine, theirs = (house.studio.media.path(who.person, who.made[0].ref) for who in (job, other))
    assert mine.parent != theirs.parent
    keep = house.studio.census.inputs_in_use(ended_within_s=3600)
    assert {job.made[0].ref, other.made[0].ref} <= keep


# Others take over ---------------------------------------------------------------------------


def submitted(house: House, folder: Path) -> Job:
    assert house.studio.stocks.wait_known(20)
    return house.studio.desk.submit(ANN, S2V, said(folder, "Hi all."))


def test_who_takes_over_while_the_text_is_spoken_follows_that_speech(
    full_home: dict[str, str], tmp_path: Path
) -> None:
    with server("0.8.0") as practice:
        practice.faults.hold(NODE)
        with opened(tmp_path, comfy_urls=(practice.url,), **full_home) as house:
            job = submitted(house, tmp_path)
            practice.wait_for("node:speak")

        practice.faults.release()
        with opened(tmp_path, comfy_urls=(practice.url,), **full_home) as house:
            ended = house.ended(job)

        assert ended.state is State.COMPLETED, ended.failure
        assert (speeches(practice), len(practice.posted)) == (1, 2)


CHILD = """
import json, os, signal, sys
from pathlib import Path
from studio.build import build
from studio.settings import load
folder = Path(sys.argv[1])
studio = build(load(env_file=None, comfy_urls=(sys.argv[2],), data_dir=folder / "data",
                    outputs_dir=folder / "outputs", log_dir=folder / "logs"))
note = studio.ledger.made
def note_and_die(*given):
    assert note(*given)
    os.kill(os.getpid(), signal.SIGKILL)
studio.ledger.made = note_and_die
studio.start()
assert studio.stocks.wait_known(20)
values = json.loads(sys.argv[3])
studio.desk.submit("g-ann", "virtual_human", values)
signal.pause()
"""


def test_an_app_killed_between_the_two_runs_leaves_the_speech_to_the_next(tmp_path: Path) -> None:
    with server() as practice:
        values = {n: str(v) if isinstance(v, Path) else v for n, v in said(tmp_path).items()}
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path), practice.url, json.dumps(values)],
            timeout=60,
            check=False,
        )
        assert child.returncode == -signal.SIGKILL
        assert len(practice.posted) == 1

        with opened(tmp_path, comfy_urls=(practice.url,)) as house:
            wait_until(lambda: not house.studio.desk.running(ANN), timeout_s=60)
            (job,) = house.studio.desk.recent(ANN).jobs

    assert job.state is State.COMPLETED, job.failure
    assert (speeches(practice), len(practice.posted)) == (1, 2)
    assert job.attempt == 1


def test_when_the_server_that_spoke_dies_another_films_that_speech_without_a_voice(
    tmp_path: Path,
) -> None:
    impatient = Pace(gone_s=1.0, away_look_s=0.3)
    with server() as one, server(voice=False) as two:
        one.faults.hold("sampler_1")
        with opened(
            tmp_path, comfy_urls=(one.url, two.url), pace=impatient, studio_workers=1
        ) as house:
            job = submitted(house, tmp_path)
            one.wait_for("node:sampler_1", timeout_s=20)
            one.stop()

            ended = house.ended(job, timeout_s=30)

        assert ended.state is State.COMPLETED, ended.failure
        assert ended.server == two.url.partition("//")[2]
        assert (speeches(one), len(one.posted)) == (1, 2)
        assert (speeches(two), len(two.posted)) == (0, 1)
