"""What a person reads of a fault in a handler."""

from __future__ import annotations

import asyncio

import gradio as gr
import pytest

from studio import texts
from studio.errors import StudioError
from studio.tabs.asking import Asker, Speaks, spoken


class Page(Speaks):
    """A page part of one handler, which fails."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def asker(self, request: gr.Request) -> Asker:
        """Read who asks."""
        return Asker("ann", "zh-TW", "s")

    @spoken
    async def press(self, request: gr.Request) -> None:
        """Fail."""
        raise self._fault


def told(fault: Exception) -> str:
    with pytest.raises(gr.Error) as raised:
        asyncio.run(Page(fault).press(gr.Request()))
    return str(raised.value.message)


def test_a_person_reads_sentence_and_hint_in_their_language() -> None:
    sentence, hint = texts.explain_code("job_unknown", {}, "zh-TW")

    assert told(StudioError("job_unknown")) == f"{sentence}{hint}"


def test_a_fault_of_ours_is_a_sentence_and_its_trace_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = told(KeyError("/data/secret"))

    assert said == "".join(texts.explain_code("internal", {}, "zh-TW"))
    assert "secret" in caplog.text
