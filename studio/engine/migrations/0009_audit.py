"""An index to tell quickly whether an admin opened a job a short while ago.

MariaDB commits each DDL statement by itself, so it asks first whether its work is there already.
"""

from typing import Any


def up(_migrator: object, db: Any) -> None:
    """Make the index."""
    if "audit_admin_at" not in {found.name for found in db.get_indexes("audit")}:
        db.execute_sql("CREATE INDEX audit_admin_at ON audit (admin, at_us)")
