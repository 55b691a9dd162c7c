"""Links to single results; and of each person, how much their kept results add up to.

MariaDB commits each DDL statement by itself, so each asks first whether its work is there already.
"""

from typing import Any

import peewee as pw


def exact(db: Any) -> list[Any]:
    """Collation for what compares exactly; SQLite compares so by itself."""
    if isinstance(db, pw.SqliteDatabase):
        return []
    name = "utf8mb4_nopad_bin" if getattr(db, "mariadb", False) else "utf8mb4_0900_bin"
    return [pw.SQL(f"COLLATE {name}")]


def index(db: Any, model: Any, name: str, *fields: Any) -> None:
    """Make an index unless it is there."""
    if name not in {found.name for found in db.get_indexes(model._meta.table_name)}:
        db.execute(pw.ModelIndex(model, fields, safe=False, name=name))


def up(_migrator: object, db: Any) -> None:
    """Make the table, and add up what is kept."""
    same = exact(db)

    class Share(pw.Model):
        share_id = pw.CharField(max_length=32, primary_key=True, constraints=same)
        person = pw.CharField(max_length=64, constraints=same)
        job_id = pw.CharField(max_length=64, constraints=same)
        name = pw.CharField(max_length=255, constraints=same)
        created_us = pw.BigIntegerField()
        expires_us = pw.BigIntegerField()
        revoked_us = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "share"

    table: Any = Share
    if not table.table_exists():
        table._schema.create_table()
    index(db, table, "share_person_created", Share.person, Share.created_us)
    index(db, table, "share_job", Share.job_id)
    index(db, table, "share_expires", Share.expires_us)
    if "kept_bytes" not in {found.name for found in db.get_columns("person")}:
        db.execute_sql("ALTER TABLE person ADD COLUMN kept_bytes BIGINT NOT NULL DEFAULT 0")
    add_up(db)


def add_up(db: Any) -> None:
    """Write each person's sum in one statement; done twice, it is the same.

    Processes of an older version must not run meanwhile, as for every migration: what they
    completed later would be missing from the sum.
    """
    kept = (
        "SELECT COALESCE(SUM(output.size_bytes), 0) FROM output"
        " JOIN job ON job.job_id = output.job_id WHERE job.person = person.person"
    )
    db.execute_sql(f"UPDATE person SET kept_bytes = ({kept})")  # noqa: S608  (no value in it)
