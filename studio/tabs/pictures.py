"""The field for pictures: uploads in a visible order, each with a thumbnail to move or remove.

Gradio's Gallery shows no order one may change and copies what it shows into a public cache; this
field is `gr.HTML` with `studio.pictures` of `page.js`. Its value is a list of
`{"path", "name", "url"}` (an upload), `{"ref", "url"}` (an input of an earlier job),
`{"job_id", "name", "url"}` (a result) or `{"sample", "url"}` (one of ours);
a painted mask has `layers` beside. It comes from the browser: `Uploads` trusts none of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr

from studio import texts
from studio.engine.workflow.manifest import Kind
from studio.errors import StudioError

SAMPLES: Final = Path(__file__).parent / "assets" / "samples"
_PAINT_WORDS: Final = (
    "brush", "eraser", "size", "undo", "clear", "done", "cancel", "colour", "shape", "nothing",
    "first", "unshown",
)  # fmt: skip
_CLIP_WORDS: Final = (
    "add_audio", "add_video", "hint", "record", "stop", "remove", "uploading", "failed",
    "no_microphone", "recording",
)  # fmt: skip
_WORDS: Final = ("add", "hint", "remove", "earlier", "later", "uploading", "failed", "count")


def pictures(
    maximum: int, words: Mapping[str, str], *, draws: str = "", over: str = "", **kwargs: Any
) -> gr.HTML:
    """Draw the field for `maximum` pictures at most; `words` help, by language.

    `draws` says what the button for drawing is called (a text key); none without. `over` is the
    element of the picture that is drawn upon: what is drawn is then a mask of it.

    A function and no component class: Gradio writes a `.pyi` beside each class's source file.
    """
    facts = _facts(maximum, words, draws, over)
    return gr.HTML(
        value=[],
        container=True,
        show_label=True,
        html_template='<div class="studio-pictures"></div>',
        # Not as props of the component: an update of its visibility would wipe them.
        js_on_load=f"window.studio.pictures(element, props, watch, upload, {facts}, trigger);",
        apply_default_css=False,
        **kwargs,
    )


def clip(kind: Kind, words: Mapping[str, str], **kwargs: Any) -> gr.HTML:
    """Draw the field for one sound or film: upload, microphone for a sound, player and length.

    Its value is as that of `pictures`.
    """
    said = {
        language: {word: texts.text(f"page.clip.{word}", language) for word in _CLIP_WORDS}
        for language in texts.LANGUAGES
    }
    facts = json.dumps({"kind": str(kind), "words": said, "help": dict(words)}, ensure_ascii=False)
    return gr.HTML(
        value=[],
        container=True,
        show_label=True,
        html_template='<div class="studio-clip"></div>',
        js_on_load=f"window.studioClip(element, props, watch, upload, {facts});",
        apply_default_css=False,
        **kwargs,
    )


def _facts(maximum: int, help_words: Mapping[str, str], draws: str, over: str) -> str:
    only = {"add": "page.pictures.add_one"} if maximum == 1 else {}
    words = {
        language: {
            word: texts.text(only.get(word, f"page.pictures.{word}"), language) for word in _WORDS
        }
        | (_painting(draws, language) if draws else {})
        for language in texts.LANGUAGES
    }
    facts = {
        "maximum": maximum,
        "words": words,
        "help": dict(help_words),
        "draws": bool(draws),
        "over": over,
    }
    return json.dumps(facts, ensure_ascii=False)


def _painting(draws: str, language: str) -> dict[str, str]:
    words = {word: texts.text(f"page.paint.{word}", language) for word in _PAINT_WORDS}
    return words | {"draw": texts.text(draws, language)}


@dataclass(frozen=True, slots=True)
class Uploads:
    """The files a page or a program may name: uploads, a person's own inputs, our samples.

    `folder` is where Gradio puts uploads; `input_file` finds an input of this person by reference.
    """

    folder: Path
    input_file: Callable[[str], Path]

    def pictures(self, value: object, field: str) -> list[dict[str, Any]]:
        """Give each picture of a pictures field as the desk takes it, in order."""
        if not isinstance(value, (list, tuple)):
            raise StudioError("field_wrong_type", field=field, type="images")
        return [self.file(item, field) for item in value]

    def file(self, item: object, field: str) -> dict[str, Any]:
        """Give one file as the desk takes it, or raise `file_unknown`."""
        given: Mapping[str, Any] = item if isinstance(item, Mapping) else {"path": item}
        if isinstance(given.get("layers"), list):
            return {"layers": [self.file(layer, field) for layer in given["layers"]]}
        if isinstance(given.get("job_id"), str):  # a result: the desk asks whose it is
            return {"job_id": given["job_id"], "name": str(given.get("name"))}
        if isinstance(given.get("ref"), str):
            path = self.input_file(given["ref"])
        elif isinstance(given.get("sample"), str):
            path = sample(given["sample"])
        else:
            path = uploaded(given.get("path"), self.folder, field)
        name = given.get("name") or given.get("orig_name") or path.name
        return {"path": str(path), "orig_name": str(name)}


def uploaded(path: object, folder: Path, field: str) -> Path:
    """Give the path of an upload, or raise `file_unknown` when it lies anywhere else."""
    if isinstance(path, str) and path and "\x00" not in path:
        real = Path(path).resolve()
        if real.is_relative_to(folder.resolve()) and real.is_file():
            return real
    raise StudioError("file_unknown", field=field, file=Path(str(path)).name)


def sample(name: str) -> Path:
    """Give one of our own sample pictures."""
    if name not in {path.name for path in SAMPLES.iterdir()}:
        raise StudioError("file_unknown", file=name)
    return SAMPLES / name
