"""How often a person asked for a new key of their webhooks.

MariaDB commits each DDL statement by itself, so it asks first whether its work is there already.
"""

from typing import Any


def up(_migrator: object, db: Any) -> None:
    """Add the column."""
    if "hook_keys" not in {found.name for found in db.get_columns("person")}:
        db.execute_sql("ALTER TABLE person ADD COLUMN hook_keys INTEGER NOT NULL DEFAULT 0")
