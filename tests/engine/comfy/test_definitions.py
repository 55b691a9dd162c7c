"""Node definitions as recorded."""

from __future__ import annotations

from studio.engine.comfy.definitions import Definitions
from tests.engine.comfy.recorded import recording

DEFINITIONS = Definitions(recording("object_info")["nodes"])


def test_a_list_is_read_in_both_forms() -> None:
    """Trap 49: V1 `[["a"], {}]` and V3 `["COMBO", {"options": [...]}]`."""
    assert DEFINITIONS.choices("CheckpointLoaderSimple", "ckpt_name") == (
        "broken.safetensors",
        "random-sd15.safetensors",
    )
    assert DEFINITIONS.choices("SaveVideo", "format") == ("auto", "mp4")


def test_a_dynamic_combo_and_its_inner_inputs_are_read() -> None:
    """Trap 49: `COMFY_DYNAMICCOMBO_V3`."""
    kinds = DEFINITIONS.choices("ResizeImageMaskNode", "resize_type")

    assert kinds is not None
    assert "scale by multiplier" in kinds
    assert DEFINITIONS.choices("ResizeImageMaskNode", "resize_type.crop") == ("disabled", "center")


def test_an_empty_list_is_not_no_list() -> None:
    assert DEFINITIONS.choices("UNETLoader", "unet_name") == ()
    assert DEFINITIONS.choices("KSampler", "steps") is None
    assert DEFINITIONS.choices("KSampler", "nope") is None


def test_a_node_the_server_lacks_is_absent() -> None:
    """Trap 49: for want of a Python package, for instance."""
    assert DEFINITIONS.has("KSampler")
    assert not DEFINITIONS.has("NoSuchNode")
    assert DEFINITIONS.choices("NoSuchNode", "x") is None


def test_every_recorded_input_can_be_asked_for() -> None:
    for class_type in DEFINITIONS:
        for name in DEFINITIONS.inputs(class_type):
            DEFINITIONS.choices(class_type, name)
    assert len(DEFINITIONS) == 111


def test_output_nodes_are_known_and_unknown_keys_ignored() -> None:
    """Newer-versions 7."""
    newer = Definitions({"Save": {"output_node": True, "has_intermediate_output": 1}, "Odd": None})

    assert newer.is_output("Save")
    assert not newer.is_output("Odd")
    assert newer.inputs("Odd") == ()
