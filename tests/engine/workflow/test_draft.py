"""A graph somebody exported becomes a manifest that loads, binds, and keeps no sample file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from studio.engine.workflow.catalog import load
from studio.engine.workflow.draft import draft
from studio.engine.workflow.manifest import FaultError
from studio.engine.workflow.preflight import Preflight

SHIPPED = Path(__file__).parents[3] / "workflows"


def node(class_type: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"class_type": class_type, "inputs": inputs}
    return body | ({"_meta": {"title": title}} if title else {})


def basic() -> dict[str, Any]:
    """Ids as ComfyUI writes them: numbers, and one inside a subgraph. The negative comes first."""
    return {
        "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
        "12:3": node("CLIPTextEncode", text="a sample cat", clip=["4", 1]),
        "4": node("CheckpointLoaderSimple", ckpt_name="sub\\model.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "3": node(
            "KSampler",
            seed=42,
            steps=20,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            model=["4", 0],
            positive=["12:3", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    }


def drafted(graph: Any, folder: Path) -> dict[str, dict[str, Any]]:
    """Draft, write and load as the app does; give the parameters by name."""
    text = graph if isinstance(graph, str) else json.dumps(graph)
    made = draft(text, "mine", "Mine")
    (folder / "mine.yaml").write_text(made.manifest, "utf-8")
    (folder / "mine.json").write_text(made.graph, "utf-8")
    loaded = load(folder)
    assert loaded.broken == ()
    Preflight(loaded.workflow("mine"))
    manifest = yaml.safe_load(made.manifest)
    return {entry["name"]: entry for entry in manifest["parameters"]}


def test_the_prompt_is_the_one_the_sampler_calls_positive(tmp_path: Path) -> None:
    fields = drafted(basic(), tmp_path)

    assert fields["prompt"]["bind"] == ["12:3.text"]
    assert fields["prompt"]["required"] is True
    assert "default" not in fields["prompt"]
    assert fields["negative_prompt"]["bind"] == ["7.text"]
    assert fields["negative_prompt"]["default"] == "blurry"


def test_seed_size_model_and_sampling_are_found(tmp_path: Path) -> None:
    fields = drafted(basic(), tmp_path)

    assert fields["seed"]["bind"] == ["3.seed"]
    assert (fields["width"]["default"], fields["height"]["default"]) == (512, 768)
    assert fields["model"] | {"folder": "checkpoints"} == fields["model"]
    assert {"steps", "cfg", "denoise", "batch_size"} <= fields.keys()


def test_prompts_are_found_through_conditioning_nodes(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node("FluxGuidance", conditioning=["12:3", 0], guidance=3.5)
    graph["21"] = node(
        "ControlNetApplyAdvanced", positive=["20", 0], negative=["7", 0], strength=0.8
    )
    graph["3"]["inputs"] |= {"positive": ["21", 0], "negative": ["21", 1]}

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["12:3.text"]
    assert fields["negative_prompt"]["bind"] == ["7.text"]


def test_a_value_that_is_a_link_is_offered_at_its_source_once(tmp_path: Path) -> None:
    graph = basic()
    graph["文字"] = node("PrimitiveStringMultiline", "What to draw", value="a cat")
    graph["種子"] = node("PrimitiveInt", "Luck", value=5)
    graph["12:3"]["inputs"]["text"] = ["文字", 0]
    graph["3"]["inputs"]["seed"] = ["種子", 0]

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["文字.value"]
    assert fields["seed"]["bind"] == ["種子.value"]
    assert not {"text", "number"} & fields.keys()


def test_a_guider_without_a_negative_gives_one_prompt(tmp_path: Path) -> None:
    graph = basic()
    graph["3"] = node(
        "SamplerCustomAdvanced",
        noise=["30", 0],
        guider=["31", 0],
        sampler=["32", 0],
        sigmas=["33", 0],
        latent_image=["5", 0],
    )
    graph["30"] = node("RandomNoise", noise_seed=18446744073709551615)
    graph["31"] = node("BasicGuider", model=["4", 0], conditioning=["12:3", 0])
    graph["32"] = node("KSamplerSelect", sampler_name="euler")
    graph["33"] = node("BasicScheduler", model=["4", 0], steps=20, denoise=1.0)

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["12:3.text"]
    assert "negative_prompt" not in fields
    assert fields["seed"]["bind"] == ["30.noise_seed"]


def test_no_sample_file_is_kept_and_every_file_must_be_given(tmp_path: Path) -> None:
    graph = {
        "a": node("LoadImage", "Face", image="somebody.png", upload="image"),
        "m": node("LoadImageMask", image="clipspace/mask.png [input]", channel="red"),
        "s": node("LoadAudio", "LoadAudio", audio="speech.mp3"),
        "v": node("OddVideoLoader", video="dance.mp4", frames=8),
        "x": node("Odd", image=["a", 0], mask=["m", 0], audio=["s", 0], video=["v", 0]),
        "z": node("SaveImage", images=["x", 0], filename_prefix="x"),
    }

    fields = drafted(graph, tmp_path)

    kinds = {name: entry["type"] for name, entry in fields.items()}
    assert kinds == {"image": "image", "mask": "mask", "audio": "audio", "video": "video"}
    assert all(entry["required"] for entry in fields.values())
    assert fields["image"]["label"] == {"en": "Face", "zh-TW": "Face"}
    assert fields["audio"]["label"] == {"en": "Sound", "zh-TW": "音訊"}
    kept = (tmp_path / "mine.json").read_text("utf-8")
    assert not any(sample in kept for sample in ("somebody", "clipspace", "speech", "dance"))


@pytest.mark.parametrize("bom", ["", "\ufeff"], ids=["plain", "bom"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_wrappers_byte_order_marks_and_missing_titles_do_no_harm(
    tmp_path: Path, bom: str, wrapped: bool
) -> None:
    graph = {"prompt": basic(), "client_id": "x"} if wrapped else basic()

    assert "prompt" in drafted(bom + json.dumps(graph), tmp_path)


def test_nan_beside_the_inputs_is_dropped(tmp_path: Path) -> None:
    graph = basic()
    graph["3"]["is_changed"] = [float("nan")]

    drafted(json.dumps(graph), tmp_path)

    assert "NaN" not in (tmp_path / "mine.json").read_text("utf-8")


def test_notes_and_reroutes_of_the_page_are_resolved_and_told(tmp_path: Path) -> None:
    graph = basic()
    graph["40"] = node("MarkdownNote", text="read me")
    graph["41"] = node("Reroute", **{"": ["12:3", 0]})
    graph["3"]["inputs"]["positive"] = ["41", 0]

    made = draft(json.dumps(graph), "mine", "Mine")

    assert [note.key for note in made.notes] == ["draft.note.page_only"]
    assert "12:3.text" in made.manifest
    assert all(note.sentence(language) for note in made.notes for language in ("en", "zh-TW"))


def test_a_preview_is_made_to_save_where_nothing_else_does(tmp_path: Path) -> None:
    graph = basic()
    graph["9"] = node("PreviewImage", images=["8", 0])

    made = draft(json.dumps(graph), "mine", "Mine")

    assert json.loads(made.graph)["9"]["class_type"] == "SaveImage"
    assert [note.key for note in made.notes] == ["draft.note.preview"]


def test_what_leads_to_no_result_is_left_out_and_told() -> None:
    graph = basic()
    graph["50"] = node("LoadImage", image="left_over.png")

    made = draft(json.dumps(graph), "mine", "Mine")

    assert "left_over" not in made.graph
    assert made.notes[0].params == {"nodes": "50"}


def test_a_tool_without_prompt_or_file_offers_its_numbers(tmp_path: Path) -> None:
    graph = {
        "e": node("EmptyImage", width=64, height=64, batch_size=4, color=255),
        "b": node("ImageBlur", image=["e", 0], blur_radius=1, sigma=1.0),
        "s": node("SaveImage", images=["b", 0], filename_prefix="x"),
    }

    assert {"width", "height", "batch_size"} <= drafted(graph, tmp_path).keys()


def test_video_and_sound_results_have_their_kind() -> None:
    graph = basic()
    graph["60"] = node("CreateVideo", images=["8", 0], fps=16.0)
    graph["61"] = node("SaveVideo", video=["60", 0], filename_prefix="v", format="auto")

    manifest = yaml.safe_load(draft(json.dumps(graph), "mine", "Mine").manifest)

    assert manifest["outputs"] == [{"node": "9", "kind": "image"}, {"node": "61", "kind": "video"}]
    assert manifest["category"] == "video"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"nodes": [], "links": []}', "Export (API)"),
        ("{}", "no nodes"),
        ("[]", "object"),
        ("{", "not JSON"),
        ('{"1": {"inputs": {}}}', "class_type"),
        ('{"1": {"class_type": "A", "inputs": {"x": {"__value__": ["a", 1]}}}}', "__value__"),
        ('{"1": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}}', "not in the graph"),
        ('{"1": {"class_type": "EmptyImage", "inputs": {"width": 8}}}', "saves"),
        ('{"1": {"class_type": "SaveImage", "inputs": {"x": NaN}}}', "NaN"),
        ('{"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}', "chosen"),
    ],
)
def test_what_cannot_become_a_workflow_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(FaultError) as caught:
        draft(text, "mine", "Mine")

    assert reason in caught.value.reason


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.json")))
def test_every_shipped_graph_makes_a_draft_that_loads(name: str, tmp_path: Path) -> None:
    fields = drafted((SHIPPED / f"{name}.json").read_text("utf-8"), tmp_path)

    assert fields
