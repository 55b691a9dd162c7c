"""What workers tell of their servers, and the prompts that must not run any more.

`stock` is what a ComfyUI has, under the digest of itself, so that many workers on one server keep
it once. MariaDB commits each DDL statement by itself, so each asks first whether its work is there.
"""

from typing import Any

import peewee as pw


def exact(db: Any) -> list[Any]:
    """Collation for what compares exactly; SQLite compares so by itself."""
    if isinstance(db, pw.SqliteDatabase):
        return []
    name = "utf8mb4_nopad_bin" if getattr(db, "mariadb", False) else "utf8mb4_0900_bin"
    return [pw.SQL(f"COLLATE {name}")]


def up(_migrator: object, db: Any) -> None:
    """Make the tables, and add the column."""
    same = exact(db)

    class LongText(pw.TextField):
        field_type = "LONGTEXT"

    class Stock(pw.Model):
        digest = pw.CharField(max_length=64, primary_key=True, constraints=same)
        told = LongText()
        seen_us = pw.BigIntegerField()

        class Meta:
            database = db
            table_name = "stock"

    class Abandoned(pw.Model):
        server = pw.CharField(max_length=255, constraints=same)
        prompt_id = pw.CharField(max_length=64, constraints=same)
        since_us = pw.BigIntegerField()

        class Meta:
            database = db
            table_name = "abandoned"
            primary_key = pw.CompositeKey("server", "prompt_id")

    for model in (Stock, Abandoned):
        table: Any = model
        if not table.table_exists():
            table._schema.create_table()
    if "secret_mark" not in {found.name for found in db.get_columns("worker")}:
        db.execute_sql("ALTER TABLE worker ADD COLUMN secret_mark VARCHAR(16) NOT NULL DEFAULT ''")
