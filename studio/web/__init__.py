"""Routes beside the page on the same port: files, identity, language, health.

Knows no SQL, no Huey, no ComfyUI and no widgets.
"""
