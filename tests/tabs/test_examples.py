from __future__ import annotations

import asyncio

import gradio as gr
import pytest

from studio.engine.workflow.catalog import Tab
from studio.engine.workflow.manifest import Kind
from studio.tabs import examples
from studio.tabs.form import Form, draw
from studio.tabs.words import Words
from tests.shipped import CATALOG

TABS = CATALOG.tabs


def start_fields(tab: Tab) -> dict[str, Kind]:
    return {p.name: p.type for p in tab.pick({}).manifest.parameters if p.required}


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
def test_an_example_fills_all_that_a_tab_needs_to_start(tab: Tab) -> None:
    titles = examples.titles(tab, "en")

    for example in titles:
        given = examples.values(tab, example.number, "en")
        assert set(start_fields(tab)) <= set(given)
    if not titles:
        assert {Kind.AUDIO, Kind.VIDEO} & set(start_fields(tab).values())


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
def test_no_two_examples_of_a_tab_are_called_alike(tab: Tab) -> None:
    for language in ("en", "zh-TW"):
        titles = [example.title for example in examples.titles(tab, language)]
        assert len(set(titles)) == len(titles)


async def drawn(tab: Tab) -> Form:
    """Draw inside a running loop: else Gradio makes loops of its own, never closed."""
    with gr.Blocks(analytics_enabled=False):
        return draw(
            tab,
            Words(),
            lambda name: tab.model_choices(lambda _folder: ["a.safetensors"], name=name),
        )


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.name)
def test_a_picking_field_offers_every_workflow_of_its_tab(tab: Tab) -> None:
    form = asyncio.run(drawn(tab))

    offered = {
        field.name: {value for _, value in field.component.choices}  # type: ignore[attr-defined]
        for field in form.fields
        if field.parameter.picks
    }
    for workflow in tab.workflows:
        for parameter in workflow.manifest.parameters:
            if parameter.picks and parameter.choices:
                assert set(parameter.choices) <= offered[parameter.name]
