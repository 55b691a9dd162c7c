"""The gallery: favourites, deleted jobs, what was given, lengths, and words to search.

`job_gallery` holds all that the gallery filters by, so that a page is chosen from the index alone;
favourites, being rare, have one of their own. Every statement asks first whether its work is there
already: MariaDB commits each by itself. The words of jobs from before are their prompts.
"""

import json
import unicodedata
from typing import Any

import peewee as pw

BATCH = 500


def exact(db: Any) -> list[Any]:
    """Collation for what compares exactly; SQLite compares so by itself."""
    if isinstance(db, pw.SqliteDatabase):
        return []
    name = "utf8mb4_nopad_bin" if getattr(db, "mariadb", False) else "utf8mb4_0900_bin"
    return [pw.SQL(f"COLLATE {name}")]


def add_column(db: Any, table: str, name: str, definition: str) -> None:
    """Add a column unless it is there."""
    if name not in {found.name for found in db.get_columns(table)}:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {name} {definition}")


def add_index(db: Any, table: str, name: str, columns: str) -> None:
    """Make an index unless it is there."""
    if name not in {found.name for found in db.get_indexes(table)}:
        db.execute_sql(f"CREATE INDEX {name} ON {table} ({columns})")


def up(_migrator: object, db: Any) -> None:
    """Add the columns, the table of words with those of earlier jobs, and the index."""
    same = exact(db)

    class LongText(pw.TextField):
        field_type = "LONGTEXT"

    class Words(pw.Model):
        person = pw.CharField(max_length=64, constraints=same)
        created_us = pw.BigIntegerField()
        seq = pw.BigIntegerField()
        words = LongText(constraints=same)

        class Meta:
            database = db
            table_name = "job_words"
            primary_key = pw.CompositeKey("person", "created_us", "seq")
            without_rowid = isinstance(db, pw.SqliteDatabase)

    add_column(db, "job", "given", "JSON NULL")
    add_column(db, "job", "favourite", "BOOL NOT NULL DEFAULT 0")
    add_column(db, "job", "deleted_us", "BIGINT NOT NULL DEFAULT 0")
    add_column(db, "output", "seconds", "DOUBLE NOT NULL DEFAULT 0")
    asked = "state, deleted_us, tab, workflow"
    add_index(db, "job", "job_gallery", f"person, created_us, seq, favourite, {asked}")
    add_index(db, "job", "job_favourite", f"person, favourite, created_us, seq, {asked}")
    add_index(db, "job", "job_deleted", "deleted_us")
    table: Any = Words
    if not table.table_exists():
        table._schema.create_table()
    fill_words(db, table)


def fill_words(db: Any, words: Any) -> None:
    """Give the jobs from before their words, those that have some already left out."""
    at = 0
    while True:
        rows = db.execute_sql(
            f"SELECT seq, person, created_us, form FROM job WHERE seq > {at}"  # noqa: S608
            f" ORDER BY seq LIMIT {BATCH}"
        ).fetchall()
        if not rows:
            return
        at = int(rows[-1][0])
        found = [
            {"seq": seq, "person": person, "created_us": created_us, "words": text}
            for seq, person, created_us, form in rows
            if (text := prompts(form))
        ]
        if found:
            words.insert_many(found).on_conflict_ignore().execute()


def prompts(form: Any) -> str:
    """Give the texts under names like `prompt`, `negative_prompt`, `text`, folded."""
    values = json.loads(form) if isinstance(form, (str, bytes)) else form
    said = [
        value
        for name, value in sorted(values.items())
        if isinstance(value, str) and ("prompt" in name or "text" in name)
    ]
    return " ".join(unicodedata.normalize("NFKC", " ".join(said)).casefold().split())
