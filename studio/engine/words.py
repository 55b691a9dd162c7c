"""What a job is found by: words of its texts, made alike however they were typed. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

TERMS_AT_MOST = 8
"""Of a search, the first so many words count."""
_IDEOGRAPHS: Final = "\u2e80"
"""From here on characters are words or parts of them, and no letters."""


def folded(text: str) -> str:
    """Make a text fit for comparing: full-width forms, case and runs of blanks count no more.

    Chinese is left as it is, so that a part of it, of one character or more, is found in it.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def terms(query: str) -> list[str]:
    """Part a search into words; a job is found when it has each of them, in any order."""
    return list(dict.fromkeys(folded(query).split()))[:TERMS_AT_MOST]


def pieces(text: str) -> set[str]:
    """Cut a folded text into what its parts are found by: the one rule on every database.

    Each character, each pair inside a word, and each three of a script that spells words out: a
    pair of Chinese characters says enough, and three of them would be as many as there are texts.
    """
    found: set[str] = set()
    for word in text.split(" "):
        found.update(word)
        found.update(map(str.__add__, word, word[1:]))
        found.update(
            three for at in range(len(word) - 2) if max(three := word[at : at + 3]) < _IDEOGRAPHS
        )
    return found


def needed(term: str) -> list[str]:
    """Give pieces that every text which holds `term` has, those that say most first."""
    if len(term) == 1:
        return [term]
    threes = [at for at in range(len(term) - 2) if max(term[at : at + 3]) < _IDEOGRAPHS]
    covered = {pair for at in threes for pair in (at, at + 1)}
    pairs = [at for at in range(len(term) - 1) if at not in covered]
    said = [term[at : at + 2] for at in pairs] + [term[at : at + 3] for at in threes]
    return list(dict.fromkeys(said))
