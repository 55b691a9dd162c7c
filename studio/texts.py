"""All words people read, by key and language. Knows no widgets and no jobs.

Words live in `locale/<language>/*.yaml` as flat `key: text` maps; the files of one language are
merged. Texts use `{name}` places, filled from parameters; a missing parameter stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from studio.errors import StudioError

LANGUAGES: Final = ("en", "zh-TW")
DEFAULT: Final = "en"
_HOME = Path(__file__).parent / "locale"
_QUICK: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as quick, and as safe; not every PyYAML has it."""


class _Kept(dict[str, str]):
    """Leave places without a parameter as they are, so that a slip is seen and nothing breaks."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


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


def text(key: str, language: str = DEFAULT, **params: object) -> str:
    """Give the words for `key`, filled. An unknown key raises KeyError: a test would have told."""
    table = words(pick(language))
    filled = _Kept({name: str(value) for name, value in params.items()})
    return table[key].format_map(filled)


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
