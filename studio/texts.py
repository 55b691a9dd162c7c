"""All words people read, by key and language. Knows no widgets and no jobs.

Words live in `locale/<language>/*.yaml` as flat `key: text` maps; the files of one language are
merged. Texts use `{name}` places, filled from parameters; a missing parameter stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from studio.errors import StudioError

LANGUAGES: Final = ("en", "zh-TW")
DEFAULT: Final = "en"
_KEY: Final = ".key"
_HOME = Path(__file__).parent / "locale"
_QUICK: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as quick, and as safe; not every PyYAML has it."""


class _Kept(dict[str, str]):
    """Leave places without a parameter as they are, so that a slip is seen and nothing breaks."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text and its parameters, said once its reader's language is known; they may nest."""

    key: str
    params: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.said()

    def said(self, language: str = DEFAULT) -> str:
        """Say it in a language."""
        return text(self.key, language, **self.params)

    def flat(self, name: str) -> dict[str, str]:
        """Write it as parameters of texts alone, as they are stored; `text` reads them back."""
        written = {name: str(self), f"{name}{_KEY}": self.key}
        for inner, value in self.params.items():
            if isinstance(value, Sentence):
                written |= value.flat(f"{name}.{inner}")
            else:
                written[f"{name}.{inner}"] = str(value)
        return written


@cache
def words(language: str) -> Mapping[str, str]:
    """Load every text of one language. Raises ValueError when one key stands in two files."""
    merged: dict[str, str] = {}
    for path in sorted((_HOME / language).glob("*.yaml")):
        for key, value in (yaml.load(path.read_text("utf-8"), _QUICK) or {}).items():  # noqa: S506
            if key in merged:
                raise ValueError(f"text key {key!r} stands twice, the second time in {path.name}")
            merged[key] = str(value)
    return merged


def text(key: str, language: str = DEFAULT, /, **params: object) -> str:
    """Give the words for `key`, filled. An unknown key raises KeyError: a test would have told."""
    table = words(pick(language))
    return table[key].format_map(_Kept(_filled(params, language)))


def _filled(params: Mapping[str, object], language: str) -> dict[str, str]:
    """Write parameters as texts, the sentences among them in the reader's language."""
    filled = {
        name: value.said(language) if isinstance(value, Sentence) else str(value)
        for name, value in params.items()
    }
    for name in [name for name in filled if name.endswith(_KEY) and has(filled[name])]:
        stem = name.removesuffix(_KEY)
        inner = {
            n.removeprefix(f"{stem}."): v for n, v in filled.items() if n.startswith(f"{stem}.")
        }
        filled[stem] = text(inner.pop("key"), language, **inner)
    return filled


def has(key: str) -> bool:
    """Tell whether `key` is a known text."""
    return key in words(DEFAULT)


def pick(wanted: str | None) -> str:
    """Choose our language for a browser's `Accept-Language` or a bare tag.

    Every Chinese (`zh`, `zh-HK`, `zh-Hant`, `zh-CN`) gets zh-TW: nearer to its reader than English.
    """
    for part in (wanted or "").split(","):
        tag = part.split(";")[0].strip().lower()
        if tag.startswith("zh"):
            return "zh-TW"
        if tag.startswith("en"):
            return "en"
    return DEFAULT


def local(words_by_language: Mapping[str, str], language: str) -> str:
    """Choose from a manifest's own `{en: ..., zh-TW: ...}`; falls back to English, then to any."""
    if language in words_by_language:
        return words_by_language[language]
    return words_by_language.get(DEFAULT) or next(iter(words_by_language.values()), "")


def explain(error: StudioError, language: str = DEFAULT) -> tuple[str, str]:
    """Give the sentence and the hint a person reads for an error."""
    return explain_code(error.code, error.params, language)


def explain_code(code: str, params: Mapping[str, str], language: str = DEFAULT) -> tuple[str, str]:
    """Give sentence and hint for a stored code, such as a `Failure`'s."""
    sentence = text(f"error.{code}", language, **params)
    return sentence, text(f"error.{code}.hint", language, **params)
