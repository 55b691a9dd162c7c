"""A stand-in ComfyUI that speaks the recorded wire: first-run default and test double.

Shares no code with `studio.engine`: a double that shared our parser would share its faults.
"""

from studio.practice.faults import Faults
from studio.practice.server import PracticeServer, Profile

__all__ = ["Faults", "PracticeServer", "Profile"]
