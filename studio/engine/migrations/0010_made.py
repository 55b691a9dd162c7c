"""What the runs that go before a job's main one made, so that no worker has them made again.

MariaDB commits each DDL statement by itself, so it asks first whether its work is there already.
"""

from typing import Any


def up(_migrator: object, db: Any) -> None:
    """Add the column."""
    if "made" not in {found.name for found in db.get_columns("job")}:
        db.execute_sql("ALTER TABLE job ADD COLUMN made JSON NULL")
