"""The tables, as Peewee models bound to one database. Holds no rules.

Times are UTC epoch microseconds in BIGINT, 0 = not yet: they sort, page and compare the same on
SQLite and MariaDB, where DATETIME would lose the zone and the microseconds. Seeds are text, since
2^64-1 fits no BIGINT. There are no foreign keys: they would lock a person's row on every insert.
The tables themselves are made by `migrations/`, where ids compare exactly on every database.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import TypeVar, cast

import peewee as pw

Row = TypeVar("Row", bound=pw.Model)


class LongText(pw.TextField):
    """Text that may outgrow MariaDB's TEXT of 64 kB."""

    field_type = "LONGTEXT"


class LongBlob(pw.BlobField):
    """Bytes that may outgrow MariaDB's BLOB of 64 kB."""

    field_type = "LONGBLOB"


class PersonRow(pw.Model):
    """Somebody who has jobs. `last_served_us` decides whose turn is next.

    `kept_bytes` is what their output rows add up to: each transaction that writes or takes away
    such rows keeps it true.

    Jobs created until `shelved_us` stand on shelves; `reshelved` counts how often one was changed.
    `hook_keys` counts how often the key of the person's webhooks was made anew.
    """

    person = pw.CharField(max_length=64, primary_key=True)
    created_us = pw.BigIntegerField()
    last_served_us = pw.BigIntegerField(default=0)
    kept_bytes = pw.BigIntegerField(default=0)
    shelved_us = pw.BigIntegerField(default=0)
    reshelved = pw.BigIntegerField(default=0)
    hook_keys = pw.IntegerField(default=0)


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
    made = pw.JSONField(null=True)
    favourite = pw.BooleanField(default=False)
    deleted_us = pw.BigIntegerField(default=0)


class WordsRow(pw.Model):
    """What a search finds a job by, folded; apart from the job, so that it is read quickly."""

    person = pw.CharField(max_length=64)
    created_us = pw.BigIntegerField()
    seq = pw.BigIntegerField()
    words = LongText()


class ShelfRow(pw.Model):
    """A run of a person's older jobs, when each came and its seq; `stale` counts those gone."""

    shelf_id = pw.BigAutoField()
    person = pw.CharField(max_length=64)
    oldest_us = pw.BigIntegerField()
    newest_us = pw.BigIntegerField()
    jobs = pw.IntegerField()
    moments = LongBlob()
    seqs = LongBlob()
    stale = pw.BigIntegerField(default=0)


class MarkRow(pw.Model):
    """Where on a shelf the jobs are that have something in common."""

    shelf_id = pw.BigIntegerField()
    mark = pw.BigIntegerField()
    places = LongBlob()


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


class AccountRow(pw.Model):
    """Somebody who can log in, or whose guest's cookie proves nothing any more.

    `person` is the guest's id it began as, or one of its own. `email` is folded, and None once the
    account is closed: the row stays, so that the guest's old cookie does not open it again.
    """

    person = pw.CharField(max_length=64, primary_key=True)
    email = pw.CharField(max_length=254, null=True)
    name = pw.CharField(max_length=80, default="")
    password = pw.CharField(max_length=255, default="")
    role = pw.CharField(max_length=16)
    created_us = pw.BigIntegerField()
    seen_us = pw.BigIntegerField(default=0)
    blocked_us = pw.BigIntegerField(default=0)
    closed_us = pw.BigIntegerField(default=0)


class SessionRow(pw.Model):
    """A login, by the hash of its cookie."""

    digest = pw.CharField(max_length=64, primary_key=True)
    person = pw.CharField(max_length=64)
    created_us = pw.BigIntegerField()
    seen_us = pw.BigIntegerField()


class TokenRow(pw.Model):
    """A personal token of a program, by its hash."""

    token_id = pw.CharField(max_length=32, primary_key=True)
    digest = pw.CharField(max_length=64)
    person = pw.CharField(max_length=64)
    name = pw.CharField(max_length=80)
    writes = pw.BooleanField()
    created_us = pw.BigIntegerField()
    used_us = pw.BigIntegerField(default=0)


class InvitationRow(pw.Model):
    """A code by which one person may register, by its hash."""

    digest = pw.CharField(max_length=64, primary_key=True)
    made_by = pw.CharField(max_length=64)
    created_us = pw.BigIntegerField()
    expires_us = pw.BigIntegerField()


class AuditRow(pw.Model):
    """What an admin did that touches another person."""

    seq = pw.BigAutoField()
    at_us = pw.BigIntegerField()
    admin = pw.CharField(max_length=64)
    act = pw.CharField(max_length=32)
    about = pw.CharField(max_length=128)


class WebhookRow(pw.Model):
    """What an order asked to be told at its end, written with it, and how that delivery stands."""

    job_id = pw.CharField(max_length=64, primary_key=True)
    url = pw.TextField()
    base = pw.CharField(max_length=512, default="")
    language = pw.CharField(max_length=16)
    state = pw.CharField(max_length=16)
    attempts = pw.IntegerField(default=0)
    last_status = pw.IntegerField(null=True)
    next_us = pw.BigIntegerField(default=0)


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
    shelf: type[ShelfRow]
    mark: type[MarkRow]
    webhook: type[WebhookRow]
    chore: type[ChoreRow]
    worker: type[WorkerRow]
    stock: type[StockRow]
    abandoned: type[AbandonedRow]
    account: type[AccountRow]
    session: type[SessionRow]
    token: type[TokenRow]
    invitation: type[InvitationRow]
    audit: type[AuditRow]


def tables(database: pw.Database) -> Tables:
    """Bind the models to `database`, each as a class of its own."""
    words_key = pw.CompositeKey("person", "created_us", "seq")
    return Tables(
        person=_bound(database, PersonRow, "person"),
        job=_bound(database, JobRow, "job"),
        output=_bound(database, OutputRow, "output"),
        share=_bound(database, ShareRow, "share"),
        words=_bound(database, WordsRow, "job_words", primary_key=words_key),
        webhook=_bound(database, WebhookRow, "webhook"),
        chore=_bound(database, ChoreRow, "chore"),
        worker=_bound(database, WorkerRow, "worker"),
        shelf=_bound(database, ShelfRow, "shelf"),
        mark=_bound(
            database, MarkRow, "shelf_mark", primary_key=pw.CompositeKey("shelf_id", "mark")
        ),
        stock=_bound(database, StockRow, "stock"),
        abandoned=_bound(
            database,
            AbandonedRow,
            "abandoned",
            primary_key=pw.CompositeKey("server", "prompt_id"),
        ),
        account=_bound(database, AccountRow, "account"),
        session=_bound(database, SessionRow, "session"),
        token=_bound(database, TokenRow, "token"),
        invitation=_bound(database, InvitationRow, "invitation"),
        audit=_bound(database, AuditRow, "audit"),
    )


def _bound(database: pw.Database, row: type[Row], table: str, **meta: object) -> type[Row]:
    """Make a class of `row` for one table of one database."""
    inner = type("Meta", (), {"database": database, "table_name": table, **meta})
    name = row.__name__.removesuffix("Row")
    made = types.new_class(name, (row,), exec_body=lambda body: body.update(Meta=inner))
    return cast("type[Row]", made)
