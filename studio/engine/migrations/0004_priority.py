"""Priority of a job, and the index by which a claim finds the few that have one.

MariaDB commits each DDL statement by itself, so each asks first whether its work is there already.
"""

from typing import Any


def up(_migrator: object, db: Any) -> None:
    """Add the column and its index."""
    if "priority" not in {found.name for found in db.get_columns("job")}:
        db.execute_sql("ALTER TABLE job ADD COLUMN priority INTEGER NOT NULL DEFAULT 0")
    if "job_state_priority" not in {found.name for found in db.get_indexes("job")}:
        db.execute_sql("CREATE INDEX job_state_priority ON job (state, priority)")
