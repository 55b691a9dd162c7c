"""What is wrong in a file of `workflows/`: a sentence in each language, and its line."""

from __future__ import annotations

from studio.texts import DEFAULT, Sentence


class FaultError(Exception):
    """A fault in a file of `workflows/`: its reason, and its line counted from 1 (0 = unknown).

    The reason is a `Sentence`, so that it speaks each language.
    """

    def __init__(self, said: Sentence, line: int = 0) -> None:
        super().__init__(said)
        self.said = said
        self.line = line

    @classmethod
    def of(cls, key: str, line: int = 0, **params: object) -> FaultError:
        """Make a fault of a text and its parameters."""
        return cls(Sentence(key, params), line)

    @property
    def reason(self) -> str:
        """Say the reason in English, as the log does."""
        return self.said.said()

    def at(self, line: int) -> FaultError:
        """Give the same fault at a line."""
        return FaultError(self.said, line)

    def sentence(self, language: str = DEFAULT) -> str:
        """Say the reason in a language."""
        return self.said.said(language)


class MisfitError(ValueError):
    """What Pydantic's types cannot tell of a value; its chain becomes a `FaultError`."""

    def __init__(self, key: str, **params: object) -> None:
        self.said = Sentence(key, params)
        super().__init__(self.said)
