"""Node definitions as `/object_info` gives them: the recorded ones, with the lists of today."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib import resources
from typing import Any, Final

from studio.practice.files import PICTURES, SOUNDS, VIDEOS, Folders

Definition = dict[str, Any]

_MODEL_INPUTS: Final[Mapping[tuple[str, str], str]] = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("ModelPatchLoader", "name"): "model_patches",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("AudioEncoderLoader", "audio_encoder_name"): "audio_encoders",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("LoadBackgroundRemovalModel", "bg_removal_name"): "background_removal",
}
_FILE_INPUTS: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("LoadImage", "image"): PICTURES,
    ("LoadImageMask", "image"): PICTURES,
    ("LoadAudio", "audio"): SOUNDS | VIDEOS,
    ("LoadVideo", "file"): VIDEOS,
}


@cache
def recorded() -> Mapping[str, Definition]:
    """Read the definitions kept in the package. Shared: copy before you change."""
    return _read("object_info.json")


@cache
def later() -> Mapping[str, Definition]:
    """Read the definitions of nodes that came after the recorded version.

    Nobody here recorded them: they follow the documentation of these nodes. Copy before a change.
    """
    return _read("object_info_newer.json")


@cache
def custom() -> Mapping[str, Definition]:
    """Read the definitions of custom nodes that shipped workflows can use where they are installed.

    Not recorded either: they follow the published source of these nodes. Copy before a change.
    """
    return _read("object_info_custom.json")


def _read(name: str) -> dict[str, Definition]:
    text = resources.files(__package__).joinpath(name).read_text("utf-8")
    nodes: dict[str, Definition] = json.loads(text)
    return nodes


class Definitions:
    """The recorded definitions with what this server's folders hold at the moment of asking."""

    def __init__(
        self, folders: Folders, *, newer: bool = False, custom_nodes: bool = False
    ) -> None:
        self._folders = folders
        self._nodes = {**recorded(), **later()} if newer else recorded()
        if custom_nodes:
            self._nodes = {**self._nodes, **custom()}

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._nodes

    def get(self, class_type: str) -> Definition:
        """Give one definition with fresh lists. Raises KeyError."""
        node = self._nodes[class_type]
        lists = self._lists(class_type)
        if not lists:
            return node
        node = copy.deepcopy(node)
        for name, options in lists.items():
            _put_options(node, name, options)
        return node

    def every(self) -> dict[str, Definition]:
        """Give all definitions, as `/object_info` does."""
        return {class_type: self.get(class_type) for class_type in self._nodes}

    def _lists(self, class_type: str) -> dict[str, list[str]]:
        wanted: dict[str, Callable[[], list[str]]] = {}
        for (owner, name), folder in _MODEL_INPUTS.items():
            if owner == class_type:
                wanted[name] = partial(self._models, folder)
        for (owner, name), endings in _FILE_INPUTS.items():
            if owner == class_type:
                wanted[name] = partial(self._folders.inputs, endings)
        return {name: make() for name, make in wanted.items()}

    def _models(self, folder: str) -> list[str]:
        return self._folders.listed(folder) or []


def _put_options(node: Definition, name: str, options: list[str]) -> None:
    """Fill a combo of either form: `[[...], {...}]` or `["COMBO", {"options": [...]}]`."""
    for section in ("required", "optional"):
        spec = node["input"].get(section, {}).get(name)
        if spec is None:
            continue
        if spec[0] == "COMBO":
            spec[1]["options"] = options
        else:
            spec[0] = options
