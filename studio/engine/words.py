"""What a job is found by: words of its texts, made alike however they were typed. Pure."""

from __future__ import annotations

import unicodedata

TERMS_AT_MOST = 8
"""Of a search, the first so many words count."""


def folded(text: str) -> str:
    """Make a text fit for comparing: full-width forms, case and runs of blanks count no more.

    Chinese is left as it is, so that a part of it, of one character or more, is found in it.
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def terms(query: str) -> list[str]:
    """Part a search into words; a job is found when it has each of them, in any order."""
    return list(dict.fromkeys(folded(query).split()))[:TERMS_AT_MOST]
