"""A text spoken in the voice of a sample, where a server has the node for it and where none has."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from studio import texts
from studio.engine.jobs import State
from studio.engine.workflow.catalog import load
from studio.errors import StudioError
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.chain.house import ANN, House, opened

TEXT = "Hello, how are you today? Welcome to our little shop."
WORKFLOWS = ["virtual_human", "virtual_human_infinitetalk"]
NODE = "FL_ChatterboxMultilingualTTS"


@pytest.fixture(scope="module", params=[True, False], ids=["with-voice", "without"])
def house(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A studio on a newer practice server that has every model, with custom nodes or without."""
    models: dict[str, list[str]] = {}
    for one in load(PROJECT / "workflows").models.values():
        models.setdefault(one.folder, []).append(one.file)
    with (
        PracticeServer(
            profile="newer", pace_s=0, models=models, custom_nodes=request.param
        ) as server,
        opened(tmp_path_factory.mktemp("speech"), comfy_urls=(server.url,)) as house,
    ):
        assert house.studio.stocks.wait_known(20)
        yield house


@pytest.fixture(scope="module")
def has_voice(house: House) -> bool:
    return not house.studio.desk.idle("virtual_human")["virtual_human"]


def said(folder: Path, **more: Any) -> dict[str, Any]:
    Image.new("RGB", (96, 64), "tan").save(folder / "face.png")
    with wave.open(str(folder / "sample.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((np.sin(np.arange(16000 * 7) / 8) * 9000).astype("<i2").tobytes())
    files = {"portrait": folder / "face.png", "audio": folder / "sample.wav", "megapixels": 0.1}
    return files | {"text": TEXT, "speech_language": "english"} | more


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_text_is_spoken_where_a_server_can_and_told_where_none_can(
    house: House, has_voice: bool, tmp_path: Path, workflow: str
) -> None:
    if not has_voice:
        with pytest.raises(StudioError, match="field_off") as told:
            house.studio.desk.submit(ANN, workflow, said(tmp_path))
        assert (told.value.field, told.value.params["class_type"]) == ("text", NODE)
        for language in texts.LANGUAGES:
            assert NODE in " ".join(texts.explain(told.value, language))
        return

    job = house.ended(house.studio.desk.submit(ANN, workflow, said(tmp_path)))

    assert job.state is State.COMPLETED, job.failure
    with av.open(str(house.paths(job)[0])) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(stream))
        rate = float(stream.average_rate or 0)
    # The sample lasts 7 s; the film is as long as the text takes, not as long as the sample.
    assert 3 < frames / rate < 5
    assert job.values["text.seconds"] == pytest.approx(frames / rate, abs=1 / rate)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_without_a_text_the_sound_itself_is_heard_on_every_server(
    house: House, tmp_path: Path, workflow: str
) -> None:
    order = said(tmp_path, text="", speech_language=None)

    job = house.ended(house.studio.desk.submit(ANN, workflow, order))

    assert job.state is State.COMPLETED, job.failure
    with av.open(str(house.paths(job)[0])) as film:
        frames = sum(1 for _ in film.decode(video=0))
    assert frames == 7 * (25 if "infinite" in workflow else 16)


def test_a_field_without_its_node_is_named_with_it(house: House, has_voice: bool) -> None:
    off = house.studio.desk.idle("virtual_human")

    expected = {} if has_voice else {"text": NODE, "speech_language": NODE}
    assert {name: dict(off[name]) for name in WORKFLOWS} == dict.fromkeys(WORKFLOWS, expected)


def test_a_text_wants_its_language_and_an_end(house: House, tmp_path: Path) -> None:
    for wrong, code in (
        (said(tmp_path, speech_language=None), "field_required"),
        (said(tmp_path, text="word " * 150), "text_too_long_to_say"),
        (said(tmp_path, text="   "), "derived_out_of_range"),
    ):
        with pytest.raises(StudioError) as told:
            house.studio.desk.submit(ANN, "virtual_human", wrong)
        assert told.value.code == code
