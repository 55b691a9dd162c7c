"""What `python -m bench NAME --save` writes, and what it leaves alone."""

from __future__ import annotations

from bench.__main__ import kept


def test_a_saved_table_takes_the_place_of_its_own_last_one_only() -> None:
    results = kept(kept("# Measured\n\nby hand\n", "tax", "| old |"), "gap", "| gap |")

    renewed = kept(results, "tax", "| new |")

    assert renewed == results.replace("| old |", "| new |")
    assert "by hand" in renewed
    assert "| gap |" in renewed
