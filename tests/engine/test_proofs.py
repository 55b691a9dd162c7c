from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from studio.engine.proofs import Proofs
from studio.engine.workflow import catalog, trial
from studio.settings import PROJECT

NAME = "image_blend_pixel"


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """A folder with one workflow that fits its graph."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    for part in ("yaml", "json"):
        shutil.copy(PROJECT / "workflows" / f"{NAME}.{part}", folder)
    return folder


@pytest.fixture
def file(tmp_path: Path, workflows: Path) -> Path:
    """Where the proof of that workflow was kept."""
    kept = tmp_path / "data" / "proofs.json"
    assert learned(workflows, kept).workflows.keys() == {NAME}
    return kept


def learned(workflows: Path, file: Path) -> catalog.Catalog:
    proofs = Proofs(file)
    found = catalog.load(workflows, proofs)
    proofs.save()
    return found


def told(workflows: Path, file: Path) -> tuple[str, ...]:
    """What of the workflows is taken from the file: it is marked there, so that one sees it."""
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({key: [] for key in kept}))
    return tuple(w.name for w in learned(workflows, file).workflows.values() if not w.always)


def test_a_proof_is_kept_with_what_it_found(workflows: Path, file: Path) -> None:
    again = learned(workflows, file).workflow(NAME)

    assert again.always == trial.always_used(again) != frozenset()
    assert told(workflows, file) == (NAME,)


@pytest.mark.parametrize("part", ["yaml", "json"])
def test_a_file_that_changed_is_proven_again(workflows: Path, file: Path, part: str) -> None:
    changed = workflows / f"{NAME}.{part}"
    changed.write_text(changed.read_text() + "\n")

    assert told(workflows, file) == ()


def test_what_became_wrong_is_found_although_it_was_right_before(
    workflows: Path, file: Path
) -> None:
    manifest = workflows / f"{NAME}.yaml"
    manifest.write_text(manifest.read_text().replace("outputs: [{node: ", "outputs: [{node: no"))

    found = learned(workflows, file)

    assert [one.file for one in found.broken if one.line] == [manifest.name]
    assert json.loads(file.read_text()) == {}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"a": 1}', '"text"', "\0" * 9, '{"k": [["x"]]}']
)
def test_a_broken_file_costs_a_proof_and_nothing_else(
    workflows: Path, file: Path, content: str
) -> None:
    good = json.loads(file.read_text())
    file.write_text(content)

    assert learned(workflows, file).workflow(NAME).always
    assert json.loads(file.read_text()) == good


def test_nodes_that_the_graph_has_not_are_not_believed(workflows: Path, file: Path) -> None:
    good = json.loads(file.read_text())
    file.write_text(json.dumps({key: ["no such node"] for key in good}))

    assert learned(workflows, file).workflow(NAME).always
    assert json.loads(file.read_text()) == good


def test_a_place_that_cannot_be_written_stops_nobody(workflows: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the folder would be")

    assert learned(workflows, tmp_path / "data" / "proofs.json").workflows.keys() == {NAME}
