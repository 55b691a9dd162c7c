"""Everything between a pressed button and a kept file.

Knows no Gradio and no HTTP framework.
"""
