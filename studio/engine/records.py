"""The tables, as Peewee models bound to one database. Holds no rules.

Times are UTC epoch microseconds in BIGINT, 0 = not yet: they sort, page and compare the same on
SQLite and MariaDB, where DATETIME would lose the zone and the microseconds. Seeds are text, since
2^64-1 fits no BIGINT. There are no foreign keys: they would lock a person's row on every insert.
The tables themselves are made by `migrations/`, where ids compare exactly on every database.
"""

from __future__ import annotations

from dataclasses import dataclass

import peewee as pw


class LongText(pw.TextField):
    """Text that may outgrow MariaDB's TEXT of 64 kB."""

    field_type = "LONGTEXT"


class PersonRow(pw.Model):
    """Somebody who has jobs. `last_served_us` decides whose turn is next."""

    person = pw.CharField(max_length=64, primary_key=True)
    created_us = pw.BigIntegerField()
    last_served_us = pw.BigIntegerField(default=0)
    kept_bytes = pw.BigIntegerField(default=0)


class JobRow(pw.Model):
    """One job. `seq` is its age; `fence` counts its claims, `attempt` the prompts begun for it."""

    seq = pw.BigAutoField()
    job_id = pw.CharField(max_length=64)
    person = pw.CharField(max_length=64)
    tab = pw.CharField(max_length=100)
    workflow = pw.CharField(max_length=100)
    form = pw.JSONField()
    seed = pw.CharField(max_length=32, null=True)
    inputs = pw.JSONField()
    state = pw.CharField(max_length=16)
    attempt = pw.IntegerField(default=0)
    adoptions = pw.IntegerField(default=0)
    fence = pw.BigIntegerField(default=0)
    lease_us = pw.BigIntegerField(default=0)
    due_us = pw.BigIntegerField(default=0)
    worker = pw.CharField(max_length=255, default="")
    server = pw.CharField(max_length=255, default="")
    prompt_id = pw.CharField(max_length=64, default="")
    client_id = pw.CharField(max_length=64, default="")
    cancel_wanted = pw.BooleanField(default=False)
    priority = pw.IntegerField(default=0)
    failure_code = pw.CharField(max_length=64, null=True)
    failure_params = pw.JSONField(null=True)
    failure_details = LongText(null=True)
    created_us = pw.BigIntegerField()
    started_us = pw.BigIntegerField(default=0)
    ended_us = pw.BigIntegerField(default=0)
    given = pw.JSONField(null=True)
    favourite = pw.BooleanField(default=False)
    deleted_us = pw.BigIntegerField(default=0)


class WordsRow(pw.Model):
    """What a search finds a job by, folded; apart from the job, so that it is read quickly."""

    person = pw.CharField(max_length=64)
    created_us = pw.BigIntegerField()
    seq = pw.BigIntegerField()
    words = LongText()


class OutputRow(pw.Model):
    """One kept file of a completed job, written in the transaction that completes it."""

    job_id = pw.CharField(max_length=64)
    fence = pw.BigIntegerField()
    position = pw.IntegerField()
    node = pw.CharField(max_length=255)
    kind = pw.CharField(max_length=16)
    name = pw.CharField(max_length=255)
    path = pw.CharField(max_length=512)
    mime = pw.CharField(max_length=128)
    size_bytes = pw.BigIntegerField()
    width_px = pw.IntegerField(default=0)
    height_px = pw.IntegerField(default=0)
    seconds = pw.DoubleField(default=0.0)


class ShareRow(pw.Model):
    """A link to one result, by which who has it sees it until it expires or is revoked."""

    share_id = pw.CharField(max_length=32, primary_key=True)
    person = pw.CharField(max_length=64)
    job_id = pw.CharField(max_length=64)
    name = pw.CharField(max_length=255)
    created_us = pw.BigIntegerField()
    expires_us = pw.BigIntegerField()
    revoked_us = pw.BigIntegerField(default=0)


class WorkerRow(pw.Model):
    """A process that runs jobs, as it last told. `servers` is what it says of its ComfyUIs.

    `secret_mark` is the same for all who have the same STUDIO_SECRET.
    """

    worker = pw.CharField(max_length=255, primary_key=True)
    host = pw.CharField(max_length=255)
    pid = pw.BigIntegerField()
    started_us = pw.BigIntegerField()
    seen_us = pw.BigIntegerField()
    places = pw.IntegerField()
    running = pw.IntegerField()
    servers = pw.JSONField()
    secret_mark = pw.CharField(max_length=16, default="")


class StockRow(pw.Model):
    """What a ComfyUI has, as JSON, under the digest of it; `seen_us`: when it was last told."""

    digest = pw.CharField(max_length=64, primary_key=True)
    told = LongText()
    seen_us = pw.BigIntegerField()


class AbandonedRow(pw.Model):
    """A prompt that no job's row names any more: on its server it must not run."""

    server = pw.CharField(max_length=255)
    prompt_id = pw.CharField(max_length=64)
    since_us = pw.BigIntegerField()


class ChoreRow(pw.Model):
    """When a chore is due next, so that of many processes one does it."""

    name = pw.CharField(max_length=64, primary_key=True)
    due_us = pw.BigIntegerField()


@dataclass(frozen=True, slots=True)
class Tables:
    """The models of one database: two databases in one process never mix."""

    person: type[PersonRow]
    job: type[JobRow]
    output: type[OutputRow]
    share: type[ShareRow]
    words: type[WordsRow]
    chore: type[ChoreRow]
    worker: type[WorkerRow]
    stock: type[StockRow]
    abandoned: type[AbandonedRow]


def tables(database: pw.Database) -> Tables:
    """Bind the models to `database`, each as a class of its own."""

    class Person(PersonRow):
        class Meta:
            table_name = "person"

    class Job(JobRow):
        class Meta:
            table_name = "job"

    class Output(OutputRow):
        class Meta:
            table_name = "output"

    class Share(ShareRow):
        class Meta:
            table_name = "share"

    class Words(WordsRow):
        class Meta:
            table_name = "job_words"
            primary_key = pw.CompositeKey("person", "created_us", "seq")

    class Chore(ChoreRow):
        class Meta:
            table_name = "chore"

    class Worker(WorkerRow):
        class Meta:
            table_name = "worker"

    class Stock(StockRow):
        class Meta:
            table_name = "stock"

    class Abandoned(AbandonedRow):
        class Meta:
            table_name = "abandoned"
            primary_key = pw.CompositeKey("server", "prompt_id")

    database.bind([Person, Job, Output, Share, Words, Chore, Worker, Stock, Abandoned])
    return Tables(
        person=Person,
        job=Job,
        output=Output,
        share=Share,
        words=Words,
        chore=Chore,
        worker=Worker,
        stock=Stock,
        abandoned=Abandoned,
    )
