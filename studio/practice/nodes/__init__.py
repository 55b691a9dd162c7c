"""What nodes do: a function per class_type, and rules by kind for all that need a model."""

from studio.practice.nodes import layout, masks, media, models, pixels, saving, sizes, words

__all__ = ["layout", "masks", "media", "models", "pixels", "saving", "sizes", "words"]
