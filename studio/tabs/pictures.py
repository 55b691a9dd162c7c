"""The field for pictures: several uploads in a visible order, each with a thumbnail to move or drop.

Gradio's Gallery shows no order one may change and copies what it shows into a public cache; this
field is `gr.HTML` with `studio.pictures` of `page.js`. Its value is a list of
`{"path", "name", "url"}` (an upload), `{"ref", "url"}` (an input of an earlier job) or
`{"sample", "url"}` (one of ours). It comes from the browser: `files` trusts none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio.utils import get_upload_folder

from studio import texts
from studio.errors import StudioError

SAMPLES: Final = Path(__file__).parent / "assets" / "samples"
_WORDS: Final = ("add", "hint", "remove", "earlier", "later", "uploading", "failed", "count")


class Pictures(gr.HTML):
    """Takes `maximum` pictures at most. Its value is described in the module."""

    def __init__(self, *, maximum: int, **kwargs: Any) -> None:
        """Take what `gr.HTML` takes; Gradio builds the component anew from it on updates."""
        kwargs.setdefault("value", [])
        super().__init__(
            container=True,
            show_label=True,
            html_template='<div class="studio-pictures"></div>',
            js_on_load="window.studio.pictures(element, props, watch, upload);",
            apply_default_css=False,
            maximum=maximum,
            words={
                language: {word: texts.text(f"page.pictures.{word}", language) for word in _WORDS}
                for language in texts.LANGUAGES
            },
            **kwargs,
        )

    def get_block_name(self) -> str:
        """Use Gradio's own HTML component in the browser."""
        return "html"


def files(
    value: object, *, field: str, input_file: Callable[[str], Path], folder: Path | None = None
) -> list[dict[str, str]]:
    """Give `{"path", "orig_name"}` for each picture the browser names, in order.

    Only files of Gradio's upload folder, the person's own inputs and our samples are reachable;
    anything else is `file_unknown`.
    """
    if not isinstance(value, (list, tuple)):
        raise StudioError("field_wrong_type", field=field, type="images")
    return [_file(item, field, input_file, folder or upload_folder()) for item in value]


def _file(
    item: object, field: str, input_file: Callable[[str], Path], folder: Path
) -> dict[str, str]:
    if not isinstance(item, Mapping):
        raise StudioError("field_wrong_type", field=field, type="images")
    if isinstance(item.get("ref"), str):
        path = input_file(item["ref"])
    elif isinstance(item.get("sample"), str):
        path = sample(item["sample"])
    else:
        path = uploaded(item.get("path"), folder, field)
    name = item.get("name") or item.get("orig_name") or path.name
    return {"path": str(path), "orig_name": str(name)}


def upload_folder() -> Path:
    """Give the folder into which Gradio puts uploads."""
    return Path(get_upload_folder())


def uploaded(path: object, folder: Path, field: str) -> Path:
    """Give the path of an upload, or raise `file_unknown` when it lies anywhere else."""
    if isinstance(path, str) and path and "\x00" not in path:
        real = Path(path).resolve()
        if real.is_relative_to(folder.resolve()) and real.is_file():
            return real
    raise StudioError("file_unknown", field=field, name=Path(str(path)).name)


def sample(name: str) -> Path:
    """Give one of our own sample pictures."""
    if name not in {path.name for path in SAMPLES.iterdir()}:
        raise StudioError("file_unknown", name=name)
    return SAMPLES / name

