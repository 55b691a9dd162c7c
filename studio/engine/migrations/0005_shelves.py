"""Shelves: a person's older jobs in runs of a thousand or more, each with marks to search it by.

Only tables and columns, made in a moment: a chore fills them with the jobs from before, run by
run, and until then these are found by reading them. MariaDB commits each statement by itself, so
each asks first whether its work is there already.
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
    """Add the two columns of a person and the two tables."""

    class LongBlob(pw.BlobField):
        field_type = "LONGBLOB"

    class Shelf(pw.Model):
        shelf_id = pw.BigAutoField()
        person = pw.CharField(max_length=64, constraints=exact(db))
        oldest_us = pw.BigIntegerField()
        newest_us = pw.BigIntegerField()
        jobs = pw.IntegerField()
        moments = LongBlob()
        seqs = LongBlob()
        stale = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "shelf"

    class Mark(pw.Model):
        shelf_id = pw.BigIntegerField()
        mark = pw.BigIntegerField()
        places = LongBlob()

        class Meta:
            database = db
            table_name = "shelf_mark"
            primary_key = pw.CompositeKey("shelf_id", "mark")
            without_rowid = isinstance(db, pw.SqliteDatabase)

    there = {found.name for found in db.get_columns("person")}
    for name in ("shelved_us", "reshelved"):
        if name not in there:
            db.execute_sql(f"ALTER TABLE person ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0")
    for model in (Shelf, Mark):
        table: Any = model
        if not table.table_exists():
            table._schema.create_table()
    indexes = {found.name for found in db.get_indexes("shelf")}
    if "shelf_person" not in indexes:
        db.execute_sql("CREATE INDEX shelf_person ON shelf (person, oldest_us)")
    if "shelf_stale" not in indexes:
        db.execute_sql("CREATE INDEX shelf_stale ON shelf (stale)")
    if "shelf_jobs" not in indexes:
        db.execute_sql("CREATE INDEX shelf_jobs ON shelf (jobs, person)")
