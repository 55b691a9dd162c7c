"""A graph somebody exported becomes a manifest that loads, binds, and keeps no sample file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from studio.engine.workflow.catalog import load
from studio.engine.workflow.draft import draft
from studio.engine.workflow.faults import FaultError
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
    assert {"steps", "cfg", "batch_size"} <= fields.keys()
    assert "denoise" not in fields


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


def test_conditioning_is_followed_by_its_role_wherever_a_node_puts_it(tmp_path: Path) -> None:
    graph = basic()
    graph["60"] = node("ApplyFace", model=["4", 0], positive=["12:3", 0], negative=["7", 0])
    graph["3"]["inputs"] |= {"model": ["60", 0], "positive": ["60", 1], "negative": ["60", 2]}

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["12:3.text"]
    assert fields["negative_prompt"]["bind"] == ["7.text"]


def test_of_joined_texts_the_prompt_is_asked_and_the_rest_kept_as_texts(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node("PrimitiveStringMultiline", "Style", value="in the style of an old master")
    graph["21"] = node("PrimitiveStringMultiline", "User prompt", value="a cat")
    graph["22"] = node("StringConcatenate", string_a=["20", 0], string_b=["21", 0], delimiter=", ")
    graph["12:3"]["inputs"]["text"] = ["22", 0]

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["21.value"]
    assert fields["text"]["bind"] == ["20.value"]
    assert fields["text"]["default"] == "in the style of an old master"
    assert fields["text"]["label"]["en"] == "Style"


def test_a_prompt_that_a_language_model_rewrites_is_the_persons_own(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node("PrimitiveStringMultiline", value="You are a prompt engineer. Expand: ")
    graph["21"] = node("PrimitiveStringMultiline", value="a cat")
    graph["22"] = node("StringConcatenate", string_a=["20", 0], string_b=["21", 0], delimiter="")
    graph["23"] = node("TextGenerate", clip=["4", 1], prompt=["22", 0])
    graph["24"] = node("ComfySwitchNode", switch=True, on_false=["21", 0], on_true=["23", 0])
    graph["25"] = node("ShowText|any", text="as it was", anything=["24", 0])
    graph["12:3"]["inputs"]["text"] = ["25", 0]

    assert drafted(graph, tmp_path)["prompt"]["bind"] == ["21.value"]


def test_two_samplers_in_a_row_are_asked_for_one_picture(tmp_path: Path) -> None:
    graph = basic()
    for new, old in (("15", "12:3"), ("16", "7")):
        graph[new] = node("CLIPTextEncode", text=graph[old]["inputs"]["text"], clip=["14", 1])
    graph["14"] = node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors")
    refined = {"positive": ["15", 0], "negative": ["16", 0], "latent_image": ["3", 0]}
    graph["13"] = node("KSampler", **graph["3"]["inputs"] | refined | {"model": ["14", 0]})
    graph["8"]["inputs"]["samples"] = ["13", 0]

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["12:3.text", "15.text"]
    assert fields["negative_prompt"]["bind"] == ["7.text", "16.text"]
    assert "prompt_2" not in fields


def test_a_node_that_takes_both_prompts_itself_is_read_by_their_names(tmp_path: Path) -> None:
    graph = {
        "t": node("WanVideoTextEncode", positive_prompt="a cat", negative_prompt="blurry"),
        "e": node("WanVideoEmptyEmbeds", width=832, height=480, num_frames=81),
        "s": node("WanVideoSampler", text_embeds=["t", 0], image_embeds=["e", 0], seed=1),
        "z": node("VHS_VideoCombine", images=["s", 0], filename_prefix="x", frame_rate=16),
    }

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["t.positive_prompt"]
    assert fields["negative_prompt"]["bind"] == ["t.negative_prompt"]
    assert (fields["width"]["default"], fields["length"]["bind"]) == (832, ["e.num_frames"])


@pytest.mark.parametrize("way", [("prompt",), ("workflow",), ("input", "workflow")], ids="-".join)
def test_a_graph_is_taken_out_of_what_it_was_sent_in(tmp_path: Path, way: tuple[str, ...]) -> None:
    graph: Any = basic() | {"_comment": "made by hand", "_meta": {"author": "somebody"}}
    for key in reversed(way):
        graph = {key: graph, "images": []}

    made = draft(json.dumps(graph), "mine", "Mine")

    assert made.notes[0].params == {"keys": "_comment, _meta"}
    assert list(json.loads(made.graph)) == ["7", "12:3", "4", "5", "3", "8", "9"]


def test_a_lost_link_that_leads_to_no_result_does_no_harm(tmp_path: Path) -> None:
    graph = basic()
    graph["64"] = node("PreviewAny", source=["136", 0])

    assert "prompt" in drafted(graph, tmp_path)


@pytest.mark.parametrize(
    ("ending", "kind", "class_type"),
    [
        (node("Image Saver", images=["8", 0], filename="x"), "image", "Image Saver"),
        (node("SaveImageWebsocket", images=["8", 0]), "image", "SaveImage"),
        (node("ETN_SendImageWebSocket", images=["8", 0], format="PNG"), "image", "SaveImage"),
        (node("PreviewAny", source=["8", 0]), "text", "PreviewAny"),
        (node("easy showAnything", anything=["8", 0]), "text", "easy showAnything"),
    ],
    ids=lambda value: value["class_type"] if isinstance(value, dict) else "",
)
def test_what_ends_a_graph_gives_its_result(
    tmp_path: Path, ending: dict[str, Any], kind: str, class_type: str
) -> None:
    drafted(basic() | {"9": ending}, tmp_path)

    manifest = yaml.safe_load((tmp_path / "mine.yaml").read_text("utf-8"))
    assert manifest["outputs"] == [{"node": "9", "kind": kind}]
    graph = json.loads((tmp_path / "mine.json").read_text("utf-8"))
    assert graph["9"]["class_type"] == class_type


def test_sizes_are_found_where_other_nodes_hold_them(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node("PrimitiveInt", "Int", value=1024)
    graph["21"] = node("PrimitiveInt", value=768)
    graph["5"]["inputs"] |= {"width": ["20", 0], "height": ["21", 0]}
    graph["22"] = node("LatentUpscale", samples=["3", 0], width=2048, height=1536)
    graph["8"]["inputs"]["samples"] = ["22", 0]

    fields = drafted(graph, tmp_path)

    assert (fields["width"]["bind"], fields["height"]["bind"]) == (["20.value"], ["21.value"])
    assert fields["width"]["label"] == {"en": "Width", "zh-TW": "寬度"}
    assert not {"width_2", "number"} & fields.keys()


def test_a_resolution_selector_offers_its_shapes(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node(
        "ResolutionSelector", aspect_ratio="16:9 (Widescreen)", megapixels=1.0, multiple=32
    )
    graph["5"]["inputs"] |= {"width": ["20", 0], "height": ["20", 1]}

    fields = drafted(graph, tmp_path)

    assert fields["aspect_ratio"]["default"] == "16:9 (Widescreen)"
    assert "1:1 (Square)" in fields["aspect_ratio"]["choices"]
    assert fields["megapixels"]["bind"] == ["20.megapixels"]


def test_a_model_is_looked_for_where_its_loader_lists_it(tmp_path: Path) -> None:
    graph = basic()
    graph["10"] = node("UnetLoaderGGUF", unet_name="wan\\high-Q4.gguf")
    graph["11"] = node(
        "LoraLoader",
        model=["10", 0],
        clip=["4", 1],
        lora_name="a.safetensors",
        strength_model=0.8,
        strength_clip=0.8,
    )
    graph["12"] = node("RIFE VFI", frames=["8", 0], ckpt_name="rife47.pth")
    graph["3"]["inputs"]["model"] = ["11", 0]
    graph["9"]["inputs"]["images"] = ["12", 0]

    fields = drafted(graph, tmp_path)

    assert {p["folder"] for p in fields.values() if p["type"] == "model"} == {
        "checkpoints",
        "unet_gguf",
        "loras",
    }
    assert fields["lora_strength"]["bind"] == ["11.strength_model", "11.strength_clip"]


def test_dials_without_effect_are_not_offered(tmp_path: Path) -> None:
    graph = basic()
    graph["3"]["inputs"]["cfg"] = 1.0
    graph["20"] = node("FluxGuidance", conditioning=["12:3", 0], guidance=3.5)
    graph["3"]["inputs"]["positive"] = ["20", 0]

    fields = drafted(graph, tmp_path)

    assert not {"cfg", "denoise"} & fields.keys()
    assert fields["guidance"]["default"] == 3.5
    assert fields["negative_prompt"]["advanced"] is True


def test_a_strength_is_offered_where_a_picture_is_kept(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node("LoadImage", "載入圖像", image="mine.png [output]")
    graph["5"] = node("VAEEncode", pixels=["20", 0], vae=["4", 2])
    graph["3"]["inputs"]["denoise"] = 0.8700000000000001

    fields = drafted(graph, tmp_path)

    assert fields["denoise"]["default"] == 0.87
    assert fields["image"]["label"] == {"en": "Picture", "zh-TW": "圖片"}
    assert list(fields)[:3] == ["image", "prompt", "negative_prompt"]


@pytest.mark.parametrize("drawn", [-1, "__RANDOM_INT__"])
def test_a_seed_that_others_would_draw_is_a_seed(tmp_path: Path, drawn: int | str) -> None:
    graph = basic()
    graph["20"] = node("Seed (rgthree)", seed=drawn)
    graph["3"]["inputs"]["seed"] = ["20", 0]

    assert drafted(graph, tmp_path)["seed"]["bind"] == ["20.seed"]


def test_values_are_called_by_their_titles_or_by_what_reads_them(tmp_path: Path) -> None:
    graph = basic()
    graph["20"] = node("PrimitiveInt", "Frame Rate", value=24)
    graph["21"] = node("PrimitiveFloat", "浮點數", value=0.5)
    graph["22"] = node("Odd", images=["8", 0], fps=["20", 0], sharpness=["21", 0])
    graph["9"]["inputs"]["images"] = ["22", 0]

    fields = drafted(graph, tmp_path)

    assert fields["frame_rate"]["label"] == {"en": "Frame Rate", "zh-TW": "Frame Rate"}
    assert fields["sharpness"]["bind"] == ["21.value"]


def test_a_song_is_asked_for_by_tags_lyrics_and_length(tmp_path: Path) -> None:
    graph = basic()
    graph["12:3"] = node("TextEncodeAceStepAudio", clip=["4", 1], tags="folk", lyrics="[verse]")
    graph["5"] = node("EmptyAceStepLatentAudio", seconds=120.0, batch_size=1)
    graph["9"] = node("SaveAudioMP3", audio=["8", 0], filename_prefix="x")

    fields = drafted(graph, tmp_path)

    assert fields["prompt"]["bind"] == ["12:3.tags"]
    assert fields["lyrics"]["default"] == "[verse]"
    assert fields["seconds"]["default"] == 120.0
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text("utf-8"))["category"] == "tool"


def test_a_file_of_the_web_is_still_a_file_to_give(tmp_path: Path) -> None:
    graph = {
        "v": node("VHS_LoadVideo", video="https://example.com/a.mp4"),
        "z": node("VHS_VideoCombine", images=["v", 0], filename_prefix="x"),
    }

    assert drafted(graph, tmp_path)["video"]["type"] == "video"


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


@pytest.mark.parametrize(
    ("saver", "kind"),
    [("SaveGLB", "file"), ("SaveSVGNode", "file"), ("SaveLatent", "file"), ("SaveImage", "image")],
)
def test_what_only_other_programs_open_is_a_file(saver: str, kind: str) -> None:
    graph = basic()
    graph["9"] = node(saver, images=["8", 0], filename_prefix="x")

    made = draft(json.dumps(graph), "mine", "Mine")

    assert f"kind: {kind}}}" in made.manifest


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
        (
            '{"1": {"class_type": "SaveImage", "inputs": {"x": {"__value__": ["a", 1]}}}}',
            "__value__",
        ),
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
