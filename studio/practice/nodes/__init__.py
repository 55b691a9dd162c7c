"""What nodes do: a function per class_type, and rules by kind for all that need a model."""
