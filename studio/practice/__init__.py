"""A stand-in ComfyUI that speaks the recorded wire: first-run default and test double.

Shares no code with `studio.engine`: a double that shared our parser would share its faults.
"""
