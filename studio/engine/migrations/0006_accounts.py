"""Accounts, logins, personal tokens, invitations, and what admins did.

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


def index(db: Any, model: Any, name: str, *fields: Any, unique: bool = False) -> None:
    """Make an index unless it is there."""
    if name not in {found.name for found in db.get_indexes(model._meta.table_name)}:
        db.execute(pw.ModelIndex(model, fields, unique=unique, safe=False, name=name))


def up(_migrator: object, db: Any) -> None:
    """Make the five tables and their indexes."""
    same = exact(db)

    class Account(pw.Model):
        person = pw.CharField(max_length=64, primary_key=True, constraints=same)
        email = pw.CharField(max_length=254, null=True, constraints=same)
        name = pw.CharField(max_length=80, default="")
        password = pw.CharField(max_length=255, default="", constraints=same)
        role = pw.CharField(max_length=16, constraints=same)
        created_us = pw.BigIntegerField()
        seen_us = pw.BigIntegerField(default=0)
        blocked_us = pw.BigIntegerField(default=0)
        closed_us = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "account"

    class Session(pw.Model):
        digest = pw.CharField(max_length=64, primary_key=True, constraints=same)
        person = pw.CharField(max_length=64, constraints=same)
        created_us = pw.BigIntegerField()
        seen_us = pw.BigIntegerField()

        class Meta:
            database = db
            table_name = "session"

    class Token(pw.Model):
        token_id = pw.CharField(max_length=32, primary_key=True, constraints=same)
        digest = pw.CharField(max_length=64, constraints=same)
        person = pw.CharField(max_length=64, constraints=same)
        name = pw.CharField(max_length=80)
        writes = pw.BooleanField()
        created_us = pw.BigIntegerField()
        used_us = pw.BigIntegerField(default=0)

        class Meta:
            database = db
            table_name = "token"

    class Invitation(pw.Model):
        digest = pw.CharField(max_length=64, primary_key=True, constraints=same)
        made_by = pw.CharField(max_length=64, constraints=same)
        created_us = pw.BigIntegerField()
        expires_us = pw.BigIntegerField()

        class Meta:
            database = db
            table_name = "invitation"

    class Audit(pw.Model):
        seq = pw.BigAutoField()
        at_us = pw.BigIntegerField()
        admin = pw.CharField(max_length=64, constraints=same)
        act = pw.CharField(max_length=32, constraints=same)
        about = pw.CharField(max_length=128, constraints=same)

        class Meta:
            database = db
            table_name = "audit"

    models: tuple[Any, ...] = (Account, Session, Token, Invitation, Audit)
    for model in models:
        if not model.table_exists():
            model._schema.create_table()
    index(db, Account, "account_email", Account.email, unique=True)
    index(db, Account, "account_created", Account.created_us)
    index(db, Session, "session_person", Session.person)
    index(db, Session, "session_seen", Session.seen_us)
    index(db, Token, "token_digest", Token.digest, unique=True)
    index(db, Token, "token_person", Token.person)
    index(db, Invitation, "invitation_expires", Invitation.expires_us)
