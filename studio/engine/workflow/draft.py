"""A graph that somebody exported -> a manifest to begin with. Pure: it guesses, and says what.

Prompts are found from a sampler's `positive` and `negative` links, never by the first text node;
everything else by the names that ComfyUI's nodes give their inputs. A file of the export is never
kept: each becomes a field that must be filled.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from studio import texts
from studio.engine.workflow.faults import FaultError
from studio.engine.workflow.graph import (
    FILE_INPUTS,
    Prompt,
    is_link,
    needed,
    titles,
    validate,
    validate_nodes,
)
from studio.engine.workflow.manifest import SEED_MAX

NOTES: Final = frozenset({"Note", "MarkdownNote"})

_TEXT_INPUTS: Final = (
    "text", "prompt", "clip_l", "t5xxl", "text_g", "text_l", "clip_g", "llama", "tags",
)  # fmt: skip
_SOURCES: Final = ("value", "string", *_TEXT_INPUTS, "seed", "noise_seed", "number", "int", "float")
_SEEDS: Final = ("seed", "noise_seed")
_UNSET_SEED: Final = -3
"""Some nodes write -1 to -3 for "another one each time", which their page alone understands."""

_WRAPPERS: Final = ("prompt", "workflow", "workflow_json", "input")
_SAVES: Final = re.compile(r"save(?!.*socket)", re.IGNORECASE)
_SHOWS_PICTURES: Final = re.compile(r"preview.*image|image.*preview|socket", re.IGNORECASE)
_SHOWS_TEXT: Final = re.compile(r"^PreviewAny$|show_?(text|any)", re.IGNORECASE)
_JOINS: Final = re.compile(r"concat|join|combine|append|merge", re.IGNORECASE)
_BETWEEN: Final = ("delimiter", "separator")
_NUMBERS: Final = re.compile(r"primitive|seed|constant|number|\bint|\bfloat", re.IGNORECASE)
_ABOUT: Final = re.compile(r"system|style|prefix|suffix|trigger|negative|負|负", re.IGNORECASE)
_PROMPTING: Final = re.compile(r"prompt|positive|提示|正", re.IGNORECASE)
_PLAIN_TITLE: Final = re.compile(
    r"((load|upload|載入|加载|讀取|读取|上傳|上传)?\W*(image|picture|video|audio|圖像|圖片|图像|图片"
    r"|影片|视频|音訊|音频)\W*(upload|as mask|path)?\W*\w{0,4}|int|float|string|boolean"
    r"|string \(multiline\)|整[數数]|浮[點点][數数]|字串|字符串|布[林爾尔]值?|이미지 로드|문자열)",
    re.IGNORECASE,
)
"""What ComfyUI itself calls these nodes, in the languages of its page: nobody's own words."""

_FRAMES: Final = ("length", "num_frames", "video_frames")
_RESIZES: Final = re.compile(r"upscale|scale|resize|composite|crop", re.IGNORECASE)
_LOADS_CHECKPOINT: Final = re.compile(r"load|checkpoint", re.IGNORECASE)
_LOADS_FILE: Final = re.compile(r"(VHS_)?Load(Image|Video|Audio)(?!.*(path|url))", re.IGNORECASE)

_RATIOS: Final = (
    "1:1 (Square)", "3:2 (Photo)", "4:3 (Standard)", "16:9 (Widescreen)", "21:9 (Ultrawide)",
    "2:3 (Portrait Photo)", "3:4 (Portrait Standard)", "9:16 (Portrait Widescreen)",
)  # fmt: skip
"""What ResolutionSelector offers."""

_PICTURE: Final = "png jpg jpeg webp gif bmp tif tiff avif heic"
_SOUND: Final = "wav mp3 flac ogg opus m4a aac"
_VIDEO: Final = "mp4 webm mov mkv avi m4v"
_MODEL: Final = re.compile(
    r"[^\n]+\.(safetensors|sft|ckpt|pt|pt2|pth|bin|gguf|onnx)", re.IGNORECASE
)
_FOLDERS: Final[Mapping[str, str]] = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "audio_encoder_name": "audio_encoders",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "text_encoder": "text_encoders",
}
_FOLDERS_OF_CLASS: Final[Mapping[tuple[str, str], str]] = {
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("ModelPatchLoader", "name"): "model_patches",
    ("PhotoMakerLoader", "photomaker_model_name"): "photomaker",
    ("IPAdapterModelLoader", "ipadapter_file"): "ipadapter",
    ("WanVideoModelLoader", "model"): "diffusion_models",
    ("WanVideoLoraSelect", "lora"): "loras",
    ("WanVideoVAELoader", "model_name"): "vae",
    ("LoadWanVideoT5TextEncoder", "model_name"): "text_encoders",
}
_FOLDERS_OF_GGUF: Final[Mapping[str, str]] = {
    "diffusion_models": "unet_gguf",
    "text_encoders": "clip_gguf",
}
"""ComfyUI-GGUF lists its files apart from the others of a folder."""

_MODEL_NAMES: Final[Mapping[str, str]] = {
    "loras": "lora",
    "checkpoints": "model",
    "diffusion_models": "model",
    "unet_gguf": "model",
    "clip_gguf": "text_encoder",
    "model_patches": "model_patch",
}
_PLAIN_MODELS: Final = frozenset({"model", "lora"})
_PRIMITIVES: Final[Mapping[str, str]] = {
    "PrimitiveString": "text",
    "PrimitiveStringMultiline": "text",
    "PrimitiveInt": "integer",
    "PrimitiveFloat": "number",
    "PrimitiveBoolean": "switch",
}


@dataclass(frozen=True, slots=True)
class Note:
    """Something the host should know of a draft: a text key and its parameters."""

    key: str
    params: Mapping[str, str] = field(default_factory=dict)

    def sentence(self, language: str = texts.DEFAULT) -> str:
        """Say it to people."""
        return texts.text(self.key, language, **self.params)


@dataclass(frozen=True, slots=True)
class Draft:
    """Two files to put into `workflows/`, and what was done that the host may not expect."""

    manifest: str
    graph: str
    notes: tuple[Note, ...]


def draft(text: str, name: str, title: str) -> Draft:
    """Draft the manifest of a graph in API format. Raises `FaultError` with the reason."""
    notes: list[Note] = []
    graph = _read(text, notes)
    saves = _saving(graph, notes)
    used = needed(graph, [node for node, _ in saves])
    idle = [node for node in graph if node not in used]
    if idle:
        notes.append(Note("draft.note.idle", {"nodes": ", ".join(idle)}))
    graph = {node: body for node, body in graph.items() if node in used}
    validate(graph)  # ComfyUI too looks only at what leads to a result
    parameters = _Finder(graph).parameters()
    if not parameters:
        raise FaultError.of("fault.no_field")
    _forget_files(graph, parameters)
    return Draft(
        manifest=_manifest(name, title, parameters, saves),
        graph=json.dumps(graph, ensure_ascii=False, indent=2) + "\n",
        notes=tuple(notes),
    )


# --- reading ---


def _read(text: str, notes: list[Note]) -> Prompt:
    """Take the nodes out of whatever was saved; NaN may stand beside the inputs, not in them."""
    try:
        data = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as exc:
        raise FaultError.of("fault.not_json", exc.lineno, detail=exc.msg) from exc
    except RecursionError as exc:
        raise FaultError.of("fault.too_deep") from exc
    data = _unwrapped(data)
    if not isinstance(data, dict) or isinstance(data.get("nodes"), list):
        validate(data)
    left_out = [key for key, body in data.items() if not _is_node(body)]
    if left_out and len(left_out) < len(data):
        data = {key: body for key, body in data.items() if key not in left_out}
        notes.append(Note("draft.note.no_node", {"keys": ", ".join(left_out)}))
    graph = {
        node: {key: body[key] for key in ("class_type", "inputs", "_meta") if key in body}
        if isinstance(body, dict)
        else body
        for node, body in data.items()
    }
    if any(_has_nan(body) for body in graph.values()):
        raise FaultError.of("fault.nan", value="NaN, Infinity")
    graph = _without_page_only(graph, notes)
    validate_nodes(graph)
    return graph


def _unwrapped(data: Any) -> Any:
    """Take a graph out of what it was sent or stored in, such as `{input: {workflow: {...}}}`."""
    for _ in _WRAPPERS:
        inner = next((data.get(key) for key in _WRAPPERS if _wraps(data, key)), None)
        if inner is None:
            break
        data = inner
    return data


def _wraps(data: Any, key: str) -> bool:
    inner = data.get(key) if isinstance(data, dict) else None
    return isinstance(inner, dict) and not _is_node(inner)


def _is_node(body: object) -> bool:
    return isinstance(body, dict) and ("class_type" in body or "inputs" in body)


def _has_nan(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_nan(one) for one in value.values())
    if isinstance(value, list):
        return any(_has_nan(one) for one in value)
    return isinstance(value, float) and not math.isfinite(value)


def _without_page_only(graph: dict[str, Any], notes: list[Note]) -> Prompt:
    """Leave out notes, and lead around reroutes, which only ComfyUI's page knows."""
    dropped = [n for n, b in graph.items() if isinstance(b, dict) and b.get("class_type") in NOTES]
    ways = {
        node: next((v for v in (body.get("inputs") or {}).values() if is_link(v)), None)
        for node, body in graph.items()
        if isinstance(body, dict) and body.get("class_type") == "Reroute"
    }
    ways = {node: link for node, link in ways.items() if link is not None}
    left = {n: b for n, b in graph.items() if n not in dropped and n not in ways}
    for body in left.values():
        for name, value in (body.get("inputs") or {}).items() if isinstance(body, dict) else ():
            seen: set[str] = set()
            while is_link(value) and value[0] in ways and value[0] not in seen:
                seen.add(value[0])
                value = ways[value[0]]
            body["inputs"][name] = value
    if dropped or ways:
        notes.append(Note("draft.note.page_only", {"nodes": ", ".join([*dropped, *ways])}))
    return left


def _saving(graph: Prompt, notes: list[Note]) -> list[tuple[str, str]]:
    """List the nodes that save, with the kind of what they save; a preview becomes one if none."""
    saves = [
        (node, _kind_saved(body["class_type"]))
        for node, body in graph.items()
        if "filename_prefix" in body["inputs"] or _SAVES.search(body["class_type"])
    ]
    if saves:
        return saves
    shown = [(node, name) for node, body in graph.items() if (name := _shown_picture(body))]
    for node, name in shown:
        inputs = {"images": graph[node]["inputs"][name], "filename_prefix": "studio"}
        graph[node] = graph[node] | {"class_type": "SaveImage", "inputs": inputs}
    if shown:
        nodes = ", ".join(node for node, _ in shown)
        notes.append(Note("draft.note.preview", {"nodes": nodes}))
        return [(node, "image") for node, _ in shown]
    said = [node for node, body in graph.items() if _SHOWS_TEXT.search(body["class_type"])]
    if not said:
        raise FaultError.of("fault.no_save")
    return [(node, "text") for node in said]


def _shown_picture(body: Mapping[str, Any]) -> str:
    """Name the input of a picture that is only shown, or sent to who asked; empty if none."""
    if not _SHOWS_PICTURES.search(body["class_type"]):
        return ""
    return next((n for n in ("images", "image") if is_link(body["inputs"].get(n))), "")


def _kind_saved(class_type: str) -> str:
    name = class_type.lower()
    if re.search(r"video|webm|webp|mp4|gif", name):
        return "video"
    if re.search(r"audio|mp3|flac|opus|wav", name):
        return "audio"
    if re.search(r"glb|mesh|3d", name):
        return "file"
    if re.search(r"glb|svg|mesh|3d|latent", name):
        return "file"
    return "text" if "text" in name else "image"


# --- finding parameters ---

_DIALS: Final = (
    ("steps", 1, 200, 1),
    ("cfg", 0.0, 30.0, 0.1),
    ("guidance", 0.0, 30.0, 0.1),
    ("denoise", 0.0, 1.0, 0.01),
)
_TELLING_CHARS: Final = 3
_TELLS_NOTHING: Final = frozenset(
    {"value", "input", "string", "number", "source", "anything", "on_true", "on_false", "switch"}
)
_FOLDED: Final[Mapping[str, Any]] = {"multiline": True, "advanced": True}

Entry = dict[str, Any]
Place = tuple[str, str]


class _Finder:
    """Walks one graph and collects fields; every input goes to one field at most."""

    def __init__(self, graph: Prompt) -> None:
        self.graph = graph
        self.titles = titles(graph)
        self.claimed: set[Place] = set()
        self.found: list[Entry] = []
        self.names: set[str] = set()
        self.asides: list[Place] = []

    def parameters(self) -> list[Entry]:
        """Find all fields, in the order of the form."""
        self._files()
        self._prompts()
        self._sizes()
        self._models()
        self._sampling()
        self._seeds()
        self._primitives()
        if not self.found:
            self._whatever()
        # A form begins with what is given: files, then what is wanted of them.
        first = ("image", "mask", "audio", "video")
        return sorted(self.found, key=lambda entry: _rank(entry, first))

    def _prompts(self) -> None:
        for role in ("positive", "negative"):
            groups = [self._texts(node, role) for node in self._samplers(role)]
            groups += [
                self._said((node, name))
                for node, body in self.graph.items()
                for name in (f"{role}_prompt", role)
                if not _SAVES.search(body["class_type"])
                if name.endswith("_prompt") & (name in body["inputs"])
                or isinstance(body["inputs"].get(name), str)
            ]
            for places in self._alike(groups):
                self._prompt(role, places)
        if not any(entry["name"].startswith("prompt") for entry in self.found):
            self._prompts_by_title()
        self._asides()

    def _alike(self, groups: list[list[Place]]) -> list[list[Place]]:
        """Put together what says the same: two samplers in a row are asked for one picture."""
        merged: dict[str, list[Place]] = {}
        for places in groups:
            left = [place for place in places if place not in self.claimed]
            if left:
                merged.setdefault(str(self._at(left[0])).strip(), []).extend(left)
        return [list(dict.fromkeys(places)) for places in merged.values()]

    def _asides(self) -> None:
        """Offer what a prompt is joined with, and lyrics, as texts of their own."""
        for place in self.asides:
            text = str(self._at(place))
            if text.strip():
                label = self._own_title(place[0])
                self._add("text", "text", [place], label=label, default=text, **_FOLDED)
        for node, body in self.graph.items():
            if isinstance(body["inputs"].get("lyrics"), str):
                text = body["inputs"]["lyrics"]
                self._add("lyrics", "text", [(node, "lyrics")], default=text, multiline=True)

    def _samplers(self, role: str) -> list[str]:
        """List where a role's conditioning ends: samplers and guiders, else whoever has it."""

        def has(body: Mapping[str, Any]) -> bool:
            inputs = body["inputs"]
            single = role == "positive" and "conditioning" in inputs
            return is_link(inputs.get(role)) or (single and "Guider" in body["class_type"])

        every = [node for node, body in self.graph.items() if has(body)]
        ends = [n for n in every if re.search("Sampler|Guider", self.graph[n]["class_type"])]
        return ends or every

    def _texts(self, node: str, role: str) -> list[Place]:
        """Walk from a sampler through conditioning to the texts it is made of."""
        inputs = self.graph[node]["inputs"]
        link = inputs.get(role) if is_link(inputs.get(role)) else inputs.get("conditioning")
        places: list[Place] = []
        open_links, seen = [link], set()
        while open_links:
            link = open_links.pop(0)
            if not is_link(link) or tuple(link) in seen:
                continue
            seen.add(tuple(link))
            body = self.graph[link[0]]
            if body["class_type"] == "ConditioningZeroOut" and role == "negative":
                continue
            names = (*_TEXT_INPUTS, f"{role}_prompt")
            strings = [p for n in names if n in body["inputs"] for p in self._said((link[0], n))]
            if strings:
                places += strings
                continue
            open_links += self._onward(body["inputs"], role)
        return list(dict.fromkeys(places))

    def _onward(self, inputs: Mapping[str, Any], role: str) -> list[Any]:
        """Give the links a conditioning comes from: of the same role where a node has both."""
        if "positive" in inputs and "negative" in inputs:
            return [inputs[role]]
        return [v for name, v in inputs.items() if re.match(r"conditioning|positive|cond", name)]

    def _said(self, place: Place) -> list[Place]:
        """Find the text a person would change among those an input is made of; empty if none.

        What it is joined with is kept as an aside.
        """
        leaves = [leaf for leaf in self._leaves(place, set()) if isinstance(self._at(leaf), str)]
        if not leaves:
            return []
        chosen = max(leaves, key=lambda leaf: self._likeness(leaf, place))
        self.asides += [leaf for leaf in leaves if leaf != chosen and leaf not in self.asides]
        return [chosen]

    def _likeness(self, leaf: Place, place: Place) -> tuple[bool, bool, bool, int]:
        """Tell how much a text looks like a prompt: by its title, its place, its length."""
        title, text = self.titles[leaf[0]], str(self._at(leaf))
        about = bool(_ABOUT.search(title)) or text.lower().startswith("you are")
        named = bool(_PROMPTING.search(title)) and leaf[0] != place[0]
        return not about, named, not _JOINS.search(self.graph[leaf[0]]["class_type"]), len(text)

    def _leaves(self, place: Place, seen: set[str]) -> list[Place]:
        """Follow an input to the values it is made of: several where nodes join texts."""
        value = self._at(place)
        if not is_link(value):
            return [place]
        if value[0] in seen:
            return []
        seen.add(value[0])
        names = self._inner(self.graph[value[0]])
        return [leaf for name in names for leaf in self._leaves((value[0], name), seen)]

    def _inner(self, body: Mapping[str, Any]) -> list[str]:
        """Name the inputs that a node's own output repeats."""
        inputs, class_type = body["inputs"], body["class_type"]
        if isinstance(inputs.get("switch"), bool):
            return [name for name in (f"on_{str(inputs['switch']).lower()}",) if name in inputs]
        if _JOINS.search(class_type):
            return [name for name in inputs if name not in _BETWEEN]
        if _SHOWS_TEXT.search(class_type):
            return [name for name, value in inputs.items() if is_link(value)][:1]
        return [name for name in _SOURCES if name in inputs][:1] or list(inputs)[:1]

    def _source(self, place: Place) -> Place | None:
        """Follow an input that is a link to the value it comes from; None when it is none."""
        leaves = self._leaves(place, set())
        return leaves[0] if len(leaves) == 1 else None

    def _origin(self, place: Place) -> Place:
        """Give the node that holds nothing but the number an input reads; else the input."""
        source = self._source(place)
        only = source and _NUMBERS.search(self.graph[source[0]]["class_type"])
        return source if source and only else place

    def _prompt(self, role: str, places: list[Place]) -> None:
        if not places:
            return
        text = str(self._at(places[0]))
        said = {"default": text} if text.strip() else {}
        if role == "negative":
            idle = {"advanced": True} if self._unguided() else {}
            self._add("negative_prompt", "text", places, multiline=True, **said, **idle)
        elif "prompt" in self.names:
            self._add("prompt", "text", places, multiline=True, **said)
        else:
            self._add("prompt", "text", places, required=True, multiline=True)

    def _unguided(self) -> bool:
        """Tell whether no sampler looks at its negative, since all have a guidance of 1."""
        every = [body["inputs"]["cfg"] for body in self.graph.values() if "cfg" in body["inputs"]]
        return bool(every) and all(cfg in (1, 1.0) for cfg in every if not is_link(cfg))

    def _prompts_by_title(self) -> None:
        """Without a sampler: what is called a prompt, else the first text that is encoded."""
        texts_found = [
            place
            for node, body in self.graph.items()
            for name in _TEXT_INPUTS
            if name in body["inputs"] and not _SHOWS_TEXT.search(body["class_type"])
            for place in self._said((node, name))
            if place not in self.claimed
        ]
        texts_found = list(dict.fromkeys(texts_found)) or self._texts_of_primitives()
        negative = [p for p in texts_found if re.search("negative|負", self.titles[p[0]], re.I)]
        positive = [p for p in texts_found if p not in negative]
        named = [p for p in positive if re.search("positive|prompt|正", self.titles[p[0]], re.I)]
        self._prompt("positive", (named or positive)[:1])
        self._prompt("negative", negative[:1])

    def _texts_of_primitives(self) -> list[Place]:
        """List texts of nodes that only hold one, where their title says what they are for."""
        return [
            (node, "value")
            for node, body in self.graph.items()
            if _PRIMITIVES.get(body["class_type"]) == "text"
            and isinstance(body["inputs"].get("value"), str)
            and _PROMPTING.search(self.titles[node])
        ]

    def _files(self) -> None:
        for node, body in self.graph.items():
            for name, value in body["inputs"].items():
                kind = _file_kind(body["class_type"], name, value)
                if kind:
                    self._add(
                        kind, kind, [(node, name)], label=self._own_title(node), required=True
                    )

    def _sizes(self) -> None:
        groups: dict[tuple[int, int], list[str]] = {}
        for node, body in self.graph.items():
            size = tuple(self._number(self._origin((node, name))) for name in ("width", "height"))
            if self._makes_blank(body) and all(isinstance(n, int) and n > 0 for n in size):
                groups.setdefault((int(size[0] or 0), int(size[1] or 0)), []).append(node)
        for nodes in groups.values():
            for name in ("width", "height"):
                self._integer(name, self._origins(nodes, name), 16, 8192)
            self._integer("batch_size", self._origins(nodes, "batch_size"), 1, 8)
            frames = [place for name in _FRAMES for place in self._origins(nodes, name)]
            self._integer("length", frames, 1, 1000)
        for node, body in self.graph.items():
            if body["class_type"] == "ResolutionSelector":
                self._resolution(node, body["inputs"])
            elif re.match(r"Empty.*Audio", body["class_type"]):
                self._decimal("seconds", [(node, "seconds")], 1.0, 600.0, 0.1)

    def _makes_blank(self, body: Mapping[str, Any]) -> bool:
        """Tell whether a node's width and height are those of the result."""
        counts = any(name in body["inputs"] for name in ("batch_size", *_FRAMES))
        named = re.search("Empty|ToVideo|Latent", body["class_type"])
        return bool(named or counts) and not _RESIZES.search(body["class_type"])

    def _origins(self, nodes: list[str], name: str) -> list[Place]:
        found = [self._origin((n, name)) for n in nodes if name in self.graph[n]["inputs"]]
        return [place for place in dict.fromkeys(found) if self._number(place) is not None]

    def _resolution(self, node: str, inputs: Mapping[str, Any]) -> None:
        ratio = inputs.get("aspect_ratio")
        if isinstance(ratio, str):
            choices = list(dict.fromkeys([*_RATIOS, ratio]))
            place = (node, "aspect_ratio")
            self._add("aspect_ratio", "choice", [place], choices=choices, default=ratio)
        self._decimal("megapixels", [(node, "megapixels")], 0.1, 16.0, 0.1)

    def _models(self) -> None:
        for node, body in self.graph.items():
            for name, value in body["inputs"].items():
                folder = _folder(body["class_type"], name)
                if folder and isinstance(value, str) and _MODEL.fullmatch(value):
                    gguf = value.lower().endswith(".gguf")
                    folder = _FOLDERS_OF_GGUF.get(folder, folder) if gguf else folder
                    called = _MODEL_NAMES.get(folder, folder.removesuffix("s"))
                    more = {} if called in _PLAIN_MODELS else {"advanced": True}
                    said = {"folder": folder, "default": value} | more
                    self._add(called, "model", [(node, name)], **said)
                    if called == "lora":
                        self._strength(node)

    def _strength(self, node: str) -> None:
        """Offer how strongly a LoRA counts, for all it changes at once."""
        names = ("strength_model", "strength_clip", "strength")
        places = [(node, name) for name in names if self._number((node, name)) is not None]
        if len({self._number(place) for place in places}) == 1:
            self._decimal("lora_strength", places, 0.0, 2.0, 0.05)

    def _sampling(self) -> None:
        """Offer steps, guidance and strength where one sampler has them: of two, each is half."""
        for name, low, high, step in _DIALS:
            places = {
                self._origin((node, name)): None
                for node, body in self.graph.items()
                if name in body["inputs"]
            }
            values = [self._number(place) for place in places]
            if len(places) != 1 or values[0] is None or self._idle(name, values[0]):
                continue
            if name == "steps":
                self._integer(name, [*places], int(low), int(high), advanced=True)
            else:
                self._decimal(name, [*places], low, high, step)

    def _idle(self, name: str, value: float) -> bool:
        """Tell whether nobody should turn this dial: nothing to keep of, or another one counts."""
        inputs = [body["inputs"] for body in self.graph.values()]
        if name == "denoise":
            starts = any(re.match("VAEEncode", b["class_type"]) for b in self.graph.values())
            return value == 1 and not starts
        return name == "cfg" and value == 1 and any("guidance" in one for one in inputs)

    def _seeds(self) -> None:
        places = [
            source
            for node, body in self.graph.items()
            for name in _SEEDS
            if name in body["inputs"] and (source := self._source((node, name)))
        ]
        whole = [place for place in dict.fromkeys(places) if _seeds(self._at(place))]
        if whole:
            self._add("seed", "seed", whole)

    def _primitives(self) -> None:
        for node, body in self.graph.items():
            kind, place = _PRIMITIVES.get(body["class_type"]), (node, "value")
            if kind is None or place in self.claimed or is_link(body["inputs"].get("value")):
                continue
            value, label = body["inputs"].get("value"), self._own_title(node)
            called = self._use(node)
            if label and label.isascii() and len(_slug(label)) >= _TELLING_CHARS:
                called = _slug(label)
            if texts.has(f"draft.label.{called}"):
                label = ""
            hidden = {} if called else {"advanced": True}
            if kind in ("text", "switch"):
                self._add(called or kind, kind, [place], label=label, default=value)
            elif kind == "integer":
                name = called or "number"
                self._integer(name, [place], 0, 1_000_000, label=label, **hidden)
            else:
                self._decimal(called or "number", [place], 0.0, 1e6, 0.01, label=label)

    def _use(self, node: str) -> str:
        """Say what a value is for by the only input that reads it; empty if that tells nothing."""
        names = {
            name
            for body in self.graph.values()
            for name, value in body["inputs"].items()
            if is_link(value) and value[0] == node
        }
        name = _slug(names.pop()) if len(names) == 1 else ""
        idle = name in _TELLS_NOTHING or name.startswith("values_")
        return "" if idle or len(name) < _TELLING_CHARS else name

    def _whatever(self) -> None:
        """Offer the first values there are, so that a tool without prompt or file has a form."""
        for node, body in self.graph.items():
            for name, value in body["inputs"].items():
                if len(self.found) >= 8 or isinstance(value, bool) or name == "filename_prefix":
                    continue
                label = f"{self.titles[node]}: {name}"
                if isinstance(value, int):
                    top = max(4 * abs(value), 4096)
                    self._integer(_slug(name), [(node, name)], min(value, 0), top, label=label)
                elif isinstance(value, float):
                    least, most = min(value, 0.0), max(4 * abs(value), 1.0)
                    self._decimal(_slug(name), [(node, name)], least, most, 0.01, label=label)

    # Writing entries

    def _integer(self, name: str, places: list[Place], low: int, high: int, **more: Any) -> None:
        values = [self._number(place) for place in places]
        if not places or not isinstance(values[0], int):
            return
        value = values[0]
        low, high = min(low, value), max(high, value)
        steps = (4, 1) if name == "length" else (16, 8, 4, 2, 1) if low >= 16 else (1,)
        step = next(step for step in steps if (value - low) % step == 0)
        self._add(name, "integer", places, default=value, min=low, max=high, step=step, **more)

    def _decimal(
        self, name: str, places: list[Place], low: float, high: float, step: float, **more: Any
    ) -> None:
        if self._number(places[0]) is None:
            return
        value = round(float(self._number(places[0]) or 0), 6)
        limits = {"min": min(low, value), "max": max(high, value), "step": step}
        self._add(name, "number", places, default=value, **limits, advanced=True, **more)

    def _add(self, name: str, kind: str, places: list[Place], **more: Any) -> None:
        places = [place for place in places if place not in self.claimed]
        if not places:
            return
        self.claimed.update(places)
        label = more.pop("label", None) or None
        unique = self._unique(name)
        bind = [f"{node}.{given}" for node, given in places]
        label_of = _label(name, unique, label)
        self.found.append({"name": unique, "type": kind, "label": label_of, "bind": bind} | more)

    def _unique(self, name: str) -> str:
        unique, n = name, 2
        while unique in self.names:
            unique, n = f"{name}_{n}", n + 1
        self.names.add(unique)
        return unique

    def _own_title(self, node: str) -> str:
        """Give the title its author gave a node; empty when it is just what ComfyUI calls it."""
        title = str((self.graph[node].get("_meta") or {}).get("title") or "")
        plain = re.sub(r"\W", "", title).lower()
        plain_class = re.sub(r"\W", "", self.graph[node]["class_type"]).lower()
        return "" if plain == plain_class or _PLAIN_TITLE.fullmatch(title) else title

    def _at(self, place: Place) -> Any:
        return self.graph[place[0]]["inputs"].get(place[1])

    def _number(self, place: Place) -> int | float | None:
        value = self._at(place)
        return None if isinstance(value, bool) or not isinstance(value, (int, float)) else value


def _rank(entry: Entry, first: tuple[str, ...]) -> int:
    if entry["type"] in first:
        return 0
    names = ("prompt", "negative_prompt")
    return 1 + next((i for i, n in enumerate(names) if entry["name"].startswith(n)), len(names))


def _folder(class_type: str, name: str) -> str | None:
    """Tell the folder that an input names a file of; custom nodes use these names too."""
    if name == "ckpt_name" and not _LOADS_CHECKPOINT.search(class_type):
        return None
    return _FOLDERS_OF_CLASS.get((class_type, name)) or _FOLDERS.get(name)


def _seeds(value: object) -> bool:
    """Tell whether a seed stands here, or a word some sender of graphs replaces by one."""
    if isinstance(value, str):
        return "rand" in value.lower()
    return isinstance(value, int) and _UNSET_SEED <= value <= SEED_MAX


def _file_kind(class_type: str, name: str, value: object) -> str | None:
    """Tell which kind of file an input names, by its node's class or by its name's ending."""
    if is_link(value) or name in ("filename_prefix", *_TEXT_INPUTS):
        return None
    if FILE_INPUTS.get(class_type) == name:
        known = {"LoadImageMask": "mask", "LoadAudio": "audio", "LoadVideo": "video"}
        return known.get(class_type, "image")
    if not isinstance(value, str) or "\n" in value:
        return None
    if _LOADS_FILE.match(class_type) and name in ("image", "video", "audio"):
        return name
    value = re.sub(r" \[\w+\]$", "", value)
    if re.match(r"https?://", value):
        return None
    ending = value.rsplit(".", 1)[-1].lower() if "." in value else ""
    for kind, endings in (("image", _PICTURE), ("audio", _SOUND), ("video", _VIDEO)):
        if ending in endings.split():
            return kind
    return None


def _label(name: str, unique: str, own: str | None) -> dict[str, str]:
    if own:
        return dict.fromkeys(texts.LANGUAGES, own)
    key, tail = f"draft.label.{name}", unique.removeprefix(name).replace("_", " ")
    if texts.has(key):
        return {language: texts.text(key, language) + tail for language in texts.LANGUAGES}
    words = name.replace("_", " ").capitalize() + tail
    return dict.fromkeys(texts.LANGUAGES, words)


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return (slug if slug[:1].isalpha() else f"field_{slug}")[:40]


def _forget_files(graph: Prompt, parameters: list[Entry]) -> None:
    """Take the export's own files out of the graph: they are on no other server."""
    files = {
        b for p in parameters if p["type"] in ("image", "mask", "audio", "video") for b in p["bind"]
    }
    for node, body in graph.items():
        for name in body["inputs"]:
            if f"{node}.{name}" in files:
                body["inputs"][name] = ""


# --- writing ---


def _manifest(name: str, title: str, parameters: list[Entry], saves: list[tuple[str, str]]) -> str:
    kinds = [kind for _, kind in saves]
    category = "tool"
    if "video" in kinds:
        category = "video"
    elif "image" in kinds and _draws(parameters):
        category = "image"
    head = {"name": name, "tab": name, "title": dict.fromkeys(texts.LANGUAGES, title)}
    lines = [f"{key}: {_flow(value)}" for key, value in head.items()]
    lines += [f"category: {category}", f"graph: {name}.json", "", "parameters:"]
    lines += [f"  - {_flow(entry)}" for entry in parameters]
    outputs = [{"node": node, "kind": kind} for node, kind in saves]
    return "\n".join([*lines, "", f"outputs: {_flow(outputs)}", ""])


def _draws(parameters: list[Entry]) -> bool:
    return any(entry["name"].startswith("prompt") for entry in parameters)


def _flow(value: Any) -> str:
    """Write a value as one line of YAML."""
    text = yaml.safe_dump(
        copy.deepcopy(value),
        default_flow_style=True,
        allow_unicode=True,
        sort_keys=False,
        width=float("inf"),
    )
    return text.removesuffix("\n").removesuffix("...").rstrip()
