"""Static words of the page, in the form Gradio translates in the browser.

`gr.I18n` serves labels, tab names, buttons, placeholders and choice names only. Toasts, errors and
whatever our own HTML says is translated in Python, by `studio.texts`: Gradio breaks on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr
from gradio.i18n import I18nData

from studio import texts


class Words:
    """Collects the words of one page while it is drawn; `table` then goes to `launch()`."""

    def __init__(self) -> None:
        self._i18n = gr.I18n()
        self._table: dict[str, dict[str, str]] = {language: {} for language in texts.LANGUAGES}

    def page(self, key: str) -> I18nData:
        """Give one of the page's own texts."""
        return self.of(key, {language: texts.text(key, language) for language in texts.LANGUAGES})

    def of(self, key: str, words: Mapping[str, str]) -> I18nData:
        """Give a manifest's words under a key of the page."""
        for language, table in self._table.items():
            table[key] = texts.local(words, language)
        return self._i18n(key)

    @property
    def i18n(self) -> gr.I18n:
        """Give all words said so far.

        Every Chinese is named, for browsers that reach the page without our first script.
        """
        chinese = dict.fromkeys(("zh", "zh-TW", "zh-HK", "zh-CN"), self._table["zh-TW"])
        return gr.I18n(en=self._table["en"], **chinese)
