"""The first schema: persons, jobs, outputs, chores.

MariaDB commits each DDL statement by itself, so a crash may leave half of this file done: every
statement asks first whether its work is there already. The models are frozen copies on purpose.
"""

from typing import Any

import peewee as pw


def exact(db: Any) -> list[Any]:
    """Collation for ids: case, trailing blanks and emoji count. SQLite compares so by itself."""
    if isinstance(db, pw.SqliteDatabase):
        return []
    name = "utf8mb4_nopad_bin" if getattr(db, "mariadb", False) else "utf8mb4_0900_bin"
    return [pw.SQL(f"COLLATE {name}")]


def index(db: Any, model: Any, name: str, *fields: Any, unique: bool = False) -> None:
    """Make an index unless it is there."""
    table = model._meta.table_name
    if name not in {found.name for found in db.get_indexes(table)}:
        db.execute(pw.ModelIndex(model, fields, unique=unique, safe=False, name=name))


def up(_migrator: object, db: Any) -> None:
    """Make the four tables and their indexes."""
    same = exact(db)

    class LongText(pw.TextField):
        field_type = "LONGTEXT"

    class Person(pw.Model):
        person = pw.CharField(max_length=64, primary_key=True, constraints=same)
        created_us = pw.BigIntegerField()
        last_served_us = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "person"

    class Job(pw.Model):
        seq = pw.BigAutoField()
        job_id = pw.CharField(max_length=64, constraints=same)
        person = pw.CharField(max_length=64, constraints=same)
        tab = pw.CharField(max_length=100, constraints=same)
        workflow = pw.CharField(max_length=100, constraints=same)
        form = pw.JSONField()
        seed = pw.CharField(max_length=32, null=True)
        inputs = pw.JSONField()
        state = pw.CharField(max_length=16, constraints=same)
        attempt = pw.IntegerField(default=0)
        adoptions = pw.IntegerField(default=0)
        fence = pw.BigIntegerField(default=0)
        lease_us = pw.BigIntegerField(default=0)
        due_us = pw.BigIntegerField(default=0)
        worker = pw.CharField(max_length=255, default="", constraints=same)
        server = pw.CharField(max_length=255, default="", constraints=same)
        prompt_id = pw.CharField(max_length=64, default="", constraints=same)
        cancel_wanted = pw.BooleanField(default=False)
        failure_code = pw.CharField(max_length=64, null=True)
        failure_params = pw.JSONField(null=True)
        failure_details = LongText(null=True)
        created_us = pw.BigIntegerField()
        started_us = pw.BigIntegerField(default=0)
        ended_us = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "job"

    class Output(pw.Model):
        job_id = pw.CharField(max_length=64, constraints=same)
        fence = pw.BigIntegerField()
        position = pw.IntegerField()
        node = pw.CharField(max_length=255)
        kind = pw.CharField(max_length=16)
        name = pw.CharField(max_length=255, constraints=same)
        path = pw.CharField(max_length=512, constraints=same)
        mime = pw.CharField(max_length=128)
        size_bytes = pw.BigIntegerField()
        width_px = pw.IntegerField(default=0)
        height_px = pw.IntegerField(default=0)

        class Meta:
            database = db
            table_name = "output"

    class Chore(pw.Model):
        name = pw.CharField(max_length=64, primary_key=True, constraints=same)
        due_us = pw.BigIntegerField()

        class Meta:
            database = db
            table_name = "chore"

    models: tuple[Any, ...] = (Person, Job, Output, Chore)
    for model in models:
        if not model.table_exists():
            model._schema.create_table()

    index(db, Job, "job_job_id", Job.job_id, unique=True)
    # A person's due rows in order of age; and, by its first columns, who waits and who runs.
    index(db, Job, "job_state_person_due", Job.state, Job.person, Job.due_us, Job.seq)
    index(db, Job, "job_state_lease", Job.state, Job.lease_us)
    index(db, Job, "job_state_prompt", Job.state, Job.prompt_id)
    index(db, Job, "job_person_ended", Job.person, Job.ended_us, Job.seq)
    index(db, Job, "job_workflow_state_ended", Job.workflow, Job.state, Job.ended_us)
    index(db, Output, "output_job_position", Output.job_id, Output.position, unique=True)
