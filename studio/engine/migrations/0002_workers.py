"""Who works: a table of worker processes, and the socket under which a prompt was posted.

MariaDB commits each DDL statement by itself, so each asks first whether its work is there already.
"""

from typing import Any

import peewee as pw


def exact(db: Any) -> list[Any]:
    """Collation for ids; SQLite compares exactly by itself."""
    if isinstance(db, pw.SqliteDatabase):
        return []
    name = "utf8mb4_nopad_bin" if getattr(db, "mariadb", False) else "utf8mb4_0900_bin"
    return [pw.SQL(f"COLLATE {name}")]


def up(_migrator: object, db: Any) -> None:
    """Make the table, and add the column."""

    class Worker(pw.Model):
        worker = pw.CharField(max_length=255, primary_key=True, constraints=exact(db))
        host = pw.CharField(max_length=255)
        pid = pw.BigIntegerField()
        started_us = pw.BigIntegerField()
        seen_us = pw.BigIntegerField()
        places = pw.IntegerField()
        running = pw.IntegerField()
        servers = pw.JSONField()

        class Meta:
            database = db
            table_name = "worker"

    model: Any = Worker
    if not model.table_exists():
        model._schema.create_table()
    if "client_id" not in {found.name for found in db.get_columns("job")}:
        db.execute_sql("ALTER TABLE job ADD COLUMN client_id VARCHAR(64) NOT NULL DEFAULT ''")
