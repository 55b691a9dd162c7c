"""Measurements: each module has `measure() -> list[Row]`; `python -m bench` runs them."""
