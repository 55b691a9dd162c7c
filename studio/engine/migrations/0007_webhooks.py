"""Webhooks: what an order asked to be told, and how that delivery stands.

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
    """Make the table, and the index by which a sender finds what is due."""

    class Webhook(pw.Model):
        job_id = pw.CharField(max_length=64, primary_key=True, constraints=exact(db))
        url = pw.TextField()
        base = pw.CharField(max_length=512, default="")
        language = pw.CharField(max_length=16)
        state = pw.CharField(max_length=16, constraints=exact(db))
        attempts = pw.IntegerField(default=0)
        last_status = pw.IntegerField(null=True)
        next_us = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "webhook"

    model: Any = Webhook
    if not model.table_exists():
        model._schema.create_table()
    if "webhook_state_next" not in {found.name for found in db.get_indexes("webhook")}:
        db.execute_sql("CREATE INDEX webhook_state_next ON webhook (state, next_us)")
