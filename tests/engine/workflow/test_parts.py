"""The runs of one job: what goes before the main one, and what a manifest may say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from studio import texts
from studio.engine.workflow.binding import Workflow
from studio.engine.workflow.catalog import Catalog, load
from studio.engine.workflow.parts import part_of
from studio.engine.workflow.preflight import Preflight, Stock

MANIFEST = """\
name: talk
tab: talk
title: {en: Talk}
category: avatar
graph: talk.json
parameters:
  - {name: face, type: image, required: true, bind: [face.image], label: {en: Face}}
  - {name: sound, type: audio, required: true, bind: [sound.audio], label: {en: Sound}}
  - {name: words, type: text, bind: [say.text], label: {en: Words}}
  - {name: voice, type: choice, choices: {low: {say.voice: l}}, label: {en: Voice},
     when: {words: {empty: false}}}
derived:
  - {name: frames, value: "ceil(sound.seconds * 10)", of: sound, bind: [film.length]}
rules:
  - {when: {words: empty}, bypass: {say: {0: sample}}}
before:
  - when: {words: {empty: false}}
    save: keep
    gives: sound
outputs: [{node: save, kind: video}]
"""
GRAPH = {
    "face": {"class_type": "LoadImage", "inputs": {"image": ""}},
    "sound": {"class_type": "LoadAudio", "inputs": {"audio": ""}},
    "say": {"class_type": "Say", "inputs": {"text": "", "voice": "", "sample": ["sound", 0]}},
    "keep": {"class_type": "SaveAudio", "inputs": {"audio": ["say", 0], "filename_prefix": "k"}},
    "film": {"class_type": "Film", "inputs": {"face": ["face", 0], "a": ["say", 0], "length": 1}},
    "save": {"class_type": "SaveVideo", "inputs": {"video": ["film", 0], "filename_prefix": "s"}},
}
SAID: dict[str, Any] = {"face": "f.png", "sound": "s.wav", "sound.seconds": 7.0}
SPOKEN = SAID | {"words": "hello", "voice": "low"}
ALL = {body["class_type"] for body in GRAPH.values()}


def read(folder: Path, old: str = "", new: str = "") -> Catalog:
    assert old in MANIFEST
    (folder / "talk.yaml").write_text(MANIFEST.replace(old, new, 1), "utf-8")
    (folder / "talk.json").write_text(json.dumps(GRAPH), "utf-8")
    return load(folder)


@pytest.fixture
def talk(tmp_path: Path) -> Workflow:
    catalog = read(tmp_path)
    assert catalog.broken == ()
    return catalog.workflow("talk")


def test_without_a_text_there_is_one_run_and_nothing_of_the_other(talk: Workflow) -> None:
    part = part_of(talk, SAID)

    assert part.before is None
    assert part.prompt().keys() == {"face", "sound", "film", "save"}
    assert set(part.inputs) == {"f.png", "s.wav"}


def test_the_run_before_is_only_what_its_sound_needs(talk: Workflow) -> None:
    part = part_of(talk, SPOKEN)

    assert part.inputs == ("s.wav",)
    prompt = part.prompt({"s.wav": "up/s.wav"}, prefix="job")
    assert prompt.keys() == {"sound", "say", "keep"}
    assert prompt["sound"]["inputs"]["audio"] == "up/s.wav"
    assert prompt["keep"]["inputs"]["filename_prefix"] == "job"


def test_the_main_run_has_the_sound_that_was_made_and_no_text(talk: Workflow) -> None:
    part = part_of(talk, SPOKEN, {"sound": ("made.flac", 2.5)})

    assert [one.before is not None for one in part.earlier] == [True]
    assert set(part.inputs) == {"f.png", "made.flac"}
    prompt = part.prompt({"made.flac": "up/made.flac", "f.png": "up/f.png"})
    assert prompt.keys() == {"face", "sound", "film", "save"}
    assert prompt["sound"]["inputs"]["audio"] == "up/made.flac"
    assert prompt["film"]["inputs"] == {"face": ["face", 0], "a": ["sound", 0], "length": 25}
    assert "words" not in part.values
    assert SPOKEN["words"] == "hello"


def test_a_server_without_its_nodes_holds_up_only_jobs_with_a_text(talk: Workflow) -> None:
    preflight = Preflight(talk)

    for lacking in ("Say", "SaveAudio"):
        poor = Stock("0.8.0", ALL - {lacking})
        assert preflight.report(poor).fit
        assert [lack.class_type for lack in preflight.report(poor).nodes] == [lacking]
        assert preflight.job(SAID, poor) == ()
        assert [lack.error().code for lack in preflight.job(SPOKEN, poor)] == (
            ["field_off"] if lacking == "Say" else ["missing_node"]
        )
        spoken = part_of(talk, SPOKEN, {"sound": ("made.flac", 2.5)}).values
        assert preflight.job(spoken, poor) == ()


@pytest.mark.parametrize(
    ("old", "new", "line", "named"),
    [
        ("save: keep", "save: gone", 18, "gone"),
        ("save: keep", "save: film", 18, "film"),
        ("save: keep", "save: save", 18, "save"),
        ("gives: sound", "gives: face", 19, "face"),
        ("gives: sound", "gives: nothing", 19, "nothing"),
        (
            "when: {words: {empty: false}}\n    save",
            "when: {no: {empty: false}}\n    save",
            17,
            "no",
        ),
        ("when: {words: {empty: false}}\n    save", "when: {words: empty}\n    save", 17, "when"),
        ("{name: words, type: text,", "{name: words, type: text, default: hi,", 17, "words"),
        (
            "outputs:",
            "  - {when: {face: {empty: false}}, save: keep, gives: sound}\noutputs:",
            20,
            "sound",
        ),
    ],
)
def test_a_fault_of_it_is_told_with_its_line_in_both_languages(
    tmp_path: Path, old: str, new: str, line: int, named: str
) -> None:
    (broken, *_) = read(tmp_path, old, new).broken

    assert (broken.file, broken.line) == ("talk.yaml", line), broken.reason
    said = {broken.said.said(language) for language in texts.LANGUAGES}
    assert len(said) == len(texts.LANGUAGES)
    assert all(named in one for one in said)
