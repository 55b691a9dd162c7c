"""Gradio lives here and only here: one file a tab, fields from manifests, one Generate handler.

Knows no SQL, no Huey and no ComfyUI.
"""
