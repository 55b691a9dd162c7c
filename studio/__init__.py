"""ComfyUI Studio: a shared creative studio on top of any ComfyUI."""

__version__ = "0.1.0"
