"""Our colours in Gradio's own variables; everything else of the look is in `assets/page.css`."""

from __future__ import annotations

import gradio as gr
from gradio.themes import colors, sizes

FONT = ("Inter", "Noto Sans TC", "Noto Sans CJK TC", "system-ui", "sans-serif")
"""Fonts of the reader's machine: none is fetched."""

_VIOLET = colors.Color(
    name="studio",
    c50="#f4f1ff",
    c100="#ebe5ff",
    c200="#d9ceff",
    c300="#bca8ff",
    c400="#9a7bff",
    c500="#7550fb",
    c600="#6332ef",
    c700="#5424d0",
    c800="#451fa8",
    c900="#3a1d86",
    c950="#221055",
)
_INK = colors.Color(
    name="studio-ink",
    c50="#f7f8fc",
    c100="#eef0f7",
    c200="#d9ddeb",
    c300="#b9c0d6",
    c400="#8d96b3",
    c500="#687194",
    c600="#4a5270",
    c700="#2c3450",
    c800="#1b2034",
    c900="#0c101d",
    c950="#0b0e1a",
)


def theme() -> gr.themes.Base:
    """Make the theme of the page."""
    base = gr.themes.Base(
        primary_hue=_VIOLET,
        secondary_hue=_VIOLET,
        neutral_hue=_INK,
        radius_size=sizes.radius_md,
        text_size=sizes.text_md,
        font=FONT,
        font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "Noto Sans Mono CJK TC", "monospace"),
    )
    return base.set(
        body_background_fill="#f3f4fa",
        body_background_fill_dark="#0b0e1a",
        body_text_color="#22283d",
        body_text_color_dark="#e8ebf7",
        body_text_color_subdued="#4a5270",
        body_text_color_subdued_dark="#b9c0d6",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#171d33",
        border_color_primary="#d9ddeb",
        border_color_primary_dark="#2c3450",
        border_color_accent="#7550fb",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_shadow_dark="none",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_title_text_color="#22283d",
        block_title_text_color_dark="#e8ebf7",
        block_title_text_weight="600",
        block_title_text_size="14px",
        block_info_text_color="#4a5270",
        block_info_text_color_dark="#b9c0d6",
        block_info_text_size="13px",
        input_background_fill="rgb(255 255 255 / .9)",
        input_background_fill_dark="rgb(12 16 29 / .75)",
        input_border_color="#d9ddeb",
        input_border_color_dark="#2c3450",
        input_border_width="1px",
        input_radius="8px",
        input_shadow="none",
        input_shadow_dark="none",
        input_shadow_focus="0 0 0 3px rgb(117 80 251 / .22)",
        input_shadow_focus_dark="0 0 0 3px rgb(154 123 255 / .3)",
        input_border_color_focus="#7550fb",
        input_border_color_focus_dark="#9a7bff",
        input_text_size="16px",
        button_primary_background_fill="linear-gradient(135deg, #7550fb, #4f7dff)",
        button_primary_background_fill_dark="linear-gradient(135deg, #7550fb, #4f7dff)",
        button_primary_background_fill_hover="linear-gradient(135deg, #6a45f2, #4372f6)",
        button_primary_background_fill_hover_dark="linear-gradient(135deg, #8161ff, #5f8aff)",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_secondary_background_fill="#e7eaf4",
        button_secondary_background_fill_dark="#2a3150",
        button_secondary_background_fill_hover="#dde1ef",
        button_secondary_background_fill_hover_dark="#343c60",
        button_secondary_border_color="transparent",
        button_secondary_border_color_dark="transparent",
        slider_color="#7550fb",
        slider_color_dark="#9a7bff",
        link_text_color="#6332ef",
        link_text_color_dark="#b8a9ff",
    )
