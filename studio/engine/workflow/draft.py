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
from studio.engine.workflow.graph import FILE_INPUTS, Prompt, is_link, needed, titles, validate
from studio.engine.workflow.manifest import SEED_MAX, FaultError

NOTES: Final = frozenset({"Note", "MarkdownNote"})

_TEXT_INPUTS: Final = ("text", "prompt", "clip_l", "t5xxl", "text_g", "text_l", "clip_g", "llama")
_SOURCES: Final = ("value", "string", *_TEXT_INPUTS, "seed", "noise_seed", "number", "int", "float")
_SEEDS: Final = ("seed", "noise_seed")
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
}
_FOLDERS_OF_CLASS: Final[Mapping[tuple[str, str], str]] = {
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}
_PLAIN_MODELS: Final = frozenset({"checkpoints", "diffusion_models", "loras"})
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
    validate(graph)
    saves = _saving(graph, notes)
    used = needed(graph, [node for node, _ in saves])
    idle = [node for node in graph if node not in used]
    if idle:
        notes.append(Note("draft.note.idle", {"nodes": ", ".join(idle)}))
    graph = {node: body for node, body in graph.items() if node in used}
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
    inner = data.get("prompt") if isinstance(data, dict) else None
    if isinstance(inner, dict) and "class_type" not in inner:
        data = inner
    if not isinstance(data, dict) or isinstance(data.get("nodes"), list):
        validate(data)
    graph = {
        node: {key: body[key] for key in ("class_type", "inputs", "_meta") if key in body}
        if isinstance(body, dict)
        else body
        for node, body in data.items()
    }
    if any(_has_nan(body) for body in graph.values()):
        raise FaultError.of("fault.nan", value="NaN, Infinity")
    return _without_page_only(graph, notes)


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
        if "filename_prefix" in body["inputs"] or body["class_type"].startswith("Save")
    ]
    if saves:
        return saves
    previews = [node for node, body in graph.items() if body["class_type"] == "PreviewImage"]
    if not previews:
        raise FaultError.of("fault.no_save")
    for node in previews:
        graph[node]["class_type"] = "SaveImage"
        graph[node]["inputs"]["filename_prefix"] = "studio"
    notes.append(Note("draft.note.preview", {"nodes": ", ".join(previews)}))
    return [(node, "image") for node in previews]


def _kind_saved(class_type: str) -> str:
    name = class_type.lower()
    if re.search(r"video|webm|webp|mp4|gif", name):
        return "video"
    if re.search(r"audio|mp3|flac|opus|wav", name):
        return "audio"
    return "text" if "text" in name else "image"


# --- finding parameters ---

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
        return self.found

    def _prompts(self) -> None:
        for role in ("positive", "negative"):
            for node in self._samplers(role):
                places = [p for p in self._texts(node, role) if p not in self.claimed]
                self._prompt(role, places)
        if not any(entry["name"].startswith("prompt") for entry in self.found):
            self._prompts_by_title()

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
            direct = [self._source((link[0], n)) for n in _TEXT_INPUTS if n in body["inputs"]]
            strings = [place for place in direct if place and isinstance(self._at(place), str)]
            if strings:
                places += strings
                continue
            open_links += self._onward(body["inputs"], link[1], role)
        return list(dict.fromkeys(places))

    def _onward(self, inputs: Mapping[str, Any], slot: int, role: str) -> list[Any]:
        """Give the links a conditioning comes from: of the same role where a node has both."""
        both = "positive" in inputs and "negative" in inputs
        if both:
            return [inputs["positive" if slot == 0 else "negative" if slot == 1 else role]]
        return [v for name, v in inputs.items() if re.match(r"conditioning|positive|cond", name)]

    def _source(self, place: Place) -> Place | None:
        """Follow an input that is a link to the value it comes from; None when it is none."""
        for _ in range(20):
            value = self._at(place)
            if not is_link(value):
                return place
            inputs = self.graph[value[0]]["inputs"]
            inner = [n for n in _SOURCES if n in inputs] or list(inputs)[:1]
            if not inner:
                return None
            place = (value[0], inner[0])
        return None

    def _prompt(self, role: str, places: list[Place]) -> None:
        if not places:
            return
        if role == "positive":
            self._add("prompt", "text", places, required=True, multiline=True)
        else:
            text = str(self._at(places[0]))
            said = {"default": text} if text.strip() else {}
            self._add("negative_prompt", "text", places, multiline=True, **said)

    def _prompts_by_title(self) -> None:
        """Without a sampler: what is called a prompt, else the first text that is encoded."""
        texts_found = [
            (node, name)
            for node, body in self.graph.items()
            for name in _TEXT_INPUTS
            if isinstance(body["inputs"].get(name), str) and (node, name) not in self.claimed
        ]
        negative = [p for p in texts_found if re.search("negative|負", self.titles[p[0]], re.I)]
        positive = [p for p in texts_found if p not in negative]
        named = [p for p in positive if re.search("positive|prompt|正", self.titles[p[0]], re.I)]
        self._prompt("positive", (named or positive)[:1])
        self._prompt("negative", negative[:1])

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
            size = tuple(self._number((node, name)) for name in ("width", "height"))
            sized = re.match(r"Empty|.*ToVideo|.*Latent", body["class_type"])
            if sized and all(isinstance(n, int) and n > 0 for n in size):
                groups.setdefault((int(size[0] or 0), int(size[1] or 0)), []).append(node)
        for nodes in groups.values():
            for name in ("width", "height"):
                self._integer(name, [(node, name) for node in nodes], 16, 8192)
            for name, top in (("batch_size", 8), ("length", 1000)):
                places = [(n, name) for n in nodes if name in self.graph[n]["inputs"]]
                self._integer(name, places, 1, top)

    def _models(self) -> None:
        for node, body in self.graph.items():
            for name, value in body["inputs"].items():
                folder = _FOLDERS_OF_CLASS.get((body["class_type"], name)) or _FOLDERS.get(name)
                if folder and isinstance(value, str) and _MODEL.fullmatch(value):
                    plain = folder in _PLAIN_MODELS
                    short = {"loras": "lora", "checkpoints": "model", "diffusion_models": "model"}
                    more = {} if plain else {"advanced": True}
                    self._add(
                        short.get(folder, folder.removesuffix("s")),
                        "model",
                        [(node, name)],
                        folder=folder,
                        default=value,
                        **more,
                    )

    def _sampling(self) -> None:
        """Offer steps, guidance and strength where one sampler has them: of two, each is half."""
        for name, low, high in (("steps", 1, 200), ("cfg", 0.0, 30.0), ("denoise", 0.0, 1.0)):
            places = [
                (node, name)
                for node, body in self.graph.items()
                if isinstance(body["inputs"].get(name), (int, float))
                and not isinstance(body["inputs"][name], bool)
            ]
            if len(places) != 1:
                continue
            if name == "steps":
                self._integer(name, places, int(low), int(high), advanced=True)
            else:
                self._decimal(name, places, low, high, 0.1 if name == "cfg" else 0.01)

    def _seeds(self) -> None:
        places = [
            source
            for node, body in self.graph.items()
            for name in _SEEDS
            if name in body["inputs"] and (source := self._source((node, name)))
        ]
        whole = [p for p in dict.fromkeys(places) if 0 <= (self._number(p) or 0) <= SEED_MAX]
        if whole:
            self._add("seed", "seed", whole)

    def _primitives(self) -> None:
        for node, body in self.graph.items():
            kind, place = _PRIMITIVES.get(body["class_type"]), (node, "value")
            if kind is None or place in self.claimed or is_link(body["inputs"].get("value")):
                continue
            value, label = body["inputs"].get("value"), self._own_title(node)
            if kind in ("text", "switch"):
                self._add(kind, kind, [place], label=label, default=value)
            elif kind == "integer":
                self._integer("number", [place], -1_000_000, 1_000_000, label=label)
            else:
                self._decimal("number", [place], -1e6, 1e6, 0.01, label=label)

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
        value = float(self._number(places[0]) or 0)
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
        return "" if plain == self.graph[node]["class_type"].lower() else title

    def _at(self, place: Place) -> Any:
        return self.graph[place[0]]["inputs"].get(place[1])

    def _number(self, place: Place) -> int | float | None:
        value = self._at(place)
        return None if isinstance(value, bool) or not isinstance(value, (int, float)) else value


def _file_kind(class_type: str, name: str, value: object) -> str | None:
    """Tell which kind of file an input names, by its node's class or by its name's ending."""
    if is_link(value) or name in ("filename_prefix", *_TEXT_INPUTS):
        return None
    if FILE_INPUTS.get(class_type) == name:
        known = {"LoadImageMask": "mask", "LoadAudio": "audio", "LoadVideo": "video"}
        return known.get(class_type, "image")
    if not isinstance(value, str) or "\n" in value:
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
    category = "video" if "video" in kinds else "image" if _draws(parameters) else "tool"
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
