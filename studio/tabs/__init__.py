"""Gradio lives here and only here: one file a tab, fields from manifests, one Generate handler.

Knows no SQL, no Huey and no ComfyUI.
"""

from studio.tabs.app import StudioBlocks, make_demo

__all__ = ["StudioBlocks", "make_demo"]
