"""The server's folders: input, output, temp, models; names in, names out, nothing outside."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import string
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

KINDS: Final = ("input", "output", "temp")
PICTURES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"}
)
SOUNDS: Final = frozenset({".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac"})
VIDEOS: Final = frozenset({".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"})

RECORDED_MODELS: Final[Mapping[str, Sequence[str]]] = {
    "checkpoints": ("broken.safetensors", "random-sd15.safetensors"),
    "vae": ("pixel_space",),
}
"""What the recorded machine had. `pixel_space` is no file: the server always offers it."""

MODEL_FOLDERS: Final = (
    "checkpoints",
    "configs",
    "loras",
    "vae",
    "text_encoders",
    "diffusion_models",
    "clip_vision",
    "style_models",
    "embeddings",
    "diffusers",
    "vae_approx",
    "controlnet",
    "gligen",
    "upscale_models",
    "latent_upscale_models",
    "custom_nodes",
    "hypernetworks",
    "photomaker",
    "classifiers",
    "model_patches",
    "audio_encoders",
)


@dataclass(slots=True)
class Folders:
    """The tree under `root`, and the model names shown beside real files in `root/models`."""

    root: Path
    models: Mapping[str, Sequence[str]] = field(default_factory=lambda: RECORDED_MODELS)
    temp_word: str = field(default_factory=lambda: _letters(5))

    def make(self) -> None:
        """Create the three folders."""
        for kind in KINDS:
            self.of(kind).mkdir(parents=True, exist_ok=True)

    def wipe_temp(self) -> None:
        """Empty the temp folder, as a restart does (`crash_and_restart.json`)."""
        shutil.rmtree(self.of("temp"), ignore_errors=True)
        self.of("temp").mkdir(parents=True, exist_ok=True)

    def of(self, kind: str) -> Path:
        """Give the folder of a kind. Raises KeyError for another word."""
        if kind not in KINDS:
            raise KeyError(kind)
        return self.root / kind

    def listed(self, folder: str) -> list[str] | None:
        """List the models of a folder kind, real files included; None = no such folder."""
        if folder not in MODEL_FOLDERS and folder not in self.models:
            return None
        place = self.root / "models" / folder
        found = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
        return sorted(found | set(self.models.get(folder, ())))

    def inputs(self, endings: frozenset[str]) -> list[str]:
        """List top-level input files of these endings, as the upload combos show them."""
        place = self.of("input")
        return sorted(p.name for p in place.iterdir() if p.is_file() and _ending(p) in endings)

    def annotated(self, name: str, default: str = "input") -> Path | None:
        """Find the file a graph or `/view` names: `name`, `sub/name`, `name [temp]`.

        None when it leads outside its folder.
        """
        name, kind = split_annotation(name, default)
        base = self.of(kind)
        path = Path(os.path.normpath(base / name))
        return path if inside(path, base) else None


def split_annotation(name: str, default: str) -> tuple[str, str]:
    """Cut ` [input]`, ` [output]` or ` [temp]` off a name and say which folder it means."""
    for kind in KINDS:
        if name.endswith(f"[{kind}]"):
            return name[: -len(kind) - 2].rstrip(), kind
    return name, default


def inside(path: Path, base: Path) -> bool:
    """Tell whether `path` (normalised, links not followed) lies in `base`."""
    return path == base or base in path.parents


def digest(path: Path) -> str:
    """Give the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class OutsideError(Exception):
    """A file name prefix leads out of the output folder. Told at run time only."""


@dataclass(frozen=True, slots=True)
class Naming:
    """Where a save node writes next: `name(i)` for the i-th file, counter going up."""

    folder: Path
    subfolder: str
    stem: str
    first: int

    def name(self, index: int, ending: str) -> str:
        """Give the i-th file name; `%batch_num%` becomes the index."""
        stem = self.stem.replace("%batch_num%", str(index))
        return f"{stem}_{self.first + index:05}_.{ending}"


def naming(base: Path, prefix: str, *, width: int = 0, height: int = 0) -> Naming:
    """Work out names for a prefix (`save_image_naming.json`). Raises `OutsideError`."""
    filled = os.path.normpath(_tokens(prefix, width, height))
    subfolder, stem = os.path.dirname(filled), os.path.basename(filled)  # noqa: PTH119, PTH120
    folder = Path(os.path.normpath(base / subfolder))
    if not inside(folder, base):
        raise OutsideError(
            "**** ERROR: Saving image outside the output folder is not allowed."
            f"\n full_output_folder: {folder}"
            f"\n         output_dir: {base}"
            f"\n         commonpath: {os.path.commonpath([folder, base])}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return Naming(folder, subfolder, stem, max(_taken(folder, stem), default=0) + 1)


def _taken(folder: Path, stem: str) -> Iterator[int]:
    """Yield the counters in use: one series per prefix, whatever the endings."""
    pattern = re.compile(re.escape(stem) + r"_(\d+)_")
    for entry in folder.iterdir():
        if match := pattern.match(entry.name):
            yield int(match[1])


def _tokens(prefix: str, width: int, height: int) -> str:
    """Fill `%width%`, `%height%` and the time words; `%date:...%` is the web page's matter."""
    now = time.localtime()
    words = {
        "width": str(width),
        "height": str(height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for word, value in words.items():
        prefix = prefix.replace(f"%{word}%", value)
    return prefix


def _ending(path: Path) -> str:
    # ".hidden.png" has an ending, ".png" alone has none.
    return path.suffix.lower()


def _letters(count: int) -> str:
    return "".join(random.choices(string.ascii_lowercase, k=count))  # noqa: S311 - a file name
