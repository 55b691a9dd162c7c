"""Links to one result each: made by its owner, open to who has them, until they end.

A link's token is the share's id, signed; the row decides whether it still opens anything. Forged,
expired, revoked, and of a deleted job: all are the same `share_unknown`. What a link gives is a
copy without metadata and without our names. Knows no route and no page.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from itsdangerous import BadSignature, URLSafeSerializer

from studio.engine import stripped
from studio.engine.darkroom import Darkroom
from studio.engine.database import Database
from studio.engine.jobs import Job, Output
from studio.engine.ledger import Ledger
from studio.errors import StudioError

log = logging.getLogger("studio.shares")

LISTED_AT_MOST: Final = 500
KEPT_ENDED_S: Final = 30 * 86_400.0
"""How long an ended link stays in its owner's list."""

_DAY_US: Final = 86_400_000_000
_SHOWN: Final = ("image", "video", "audio")
_ID: Final = re.compile(r"[A-Za-z0-9_-]{16,32}")


class Standing(StrEnum):
    """How a link stands. `hidden`: its job is deleted, and may still be restored."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Share:
    """One link as its owner sees it. Times are UTC epoch microseconds."""

    share_id: str
    token: str
    job_id: str
    name: str
    created_us: int
    expires_us: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class Shared:
    """What an open link leads to. `file_name` is what the file is called there: no name of ours."""

    share: Share
    output: Output
    file_name: str


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One file of an open link."""

    path: Path
    mime: str


class Shares:
    """The links of one studio. Methods block on the database, `file` also on the disk.

    Links last `days` unless asked otherwise, and `max_days` at most.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        darkroom: Darkroom,
        secret: str,
        *,
        days: int = 7,
        max_days: int = 90,
        now: Callable[[], int] | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_urlsafe(15),
    ) -> None:
        self._db = database
        self._rows = database.tables
        self._ledger = ledger
        self._darkroom = darkroom
        self._signer = URLSafeSerializer(secret, salt="studio.share")
        self._now = now or database.now_us
        self._new_id = new_id
        self.days = days
        self.max_days = max_days

    # The owner's side ---------------------------------------------------------------------

    def make(
        self, person: str, job_id: str, name: str | None = None, *, days: int | None = None
    ) -> Share:
        """Share one file of a person's job, its first unless named.

        A result has one link at a time: asked again, it is the same with a new end. The copy
        without metadata is made now. Raises `job_unknown`, `file_unknown`, `share_unsupported`, and
        `field_out_of_range` for `days`.
        """
        days = self.days if days is None else days
        if not 1 <= days <= self.max_days:
            raise StudioError(
                "field_out_of_range", field="days", value=days, min=1, max=self.max_days, step=1
            )
        output = _picked(self._ledger.get(job_id, person=person), name)
        if not shareable(output):
            raise StudioError("share_unsupported", details=output.mime)
        self._darkroom.bare(output)
        return self._db.tx(lambda: self._make(person, job_id, output.name, days))

    def listing(self, person: str, *, job_id: str | None = None) -> Sequence[Share]:
        """List a person's links, the newest first, ended ones of the last month too."""
        share, job = self._rows.share, self._rows.job
        query: Any = (
            share.select(share, job.deleted_us.alias("hidden_us"))
            .join(job, on=(job.job_id == share.job_id))
            .where(share.person == person)
            .order_by(share.created_us.desc(), share.share_id)
            .limit(LISTED_AT_MOST)
        )
        if job_id is not None:
            query = query.where(share.job_id == job_id)
        return self._db.read(lambda: [self._share(row) for row in query.dicts()])

    def revoke(self, person: str, share_id: str) -> None:
        """End a link at once; ended before is as good. Raises `share_unknown` for another's."""
        share = self._rows.share
        mine = (share.share_id == share_id) & (share.person == person)

        def end() -> None:
            if not share.select(share.share_id).where(mine).exists():
                raise StudioError("share_unknown")
            share.update(revoked_us=self._now()).where(mine, share.revoked_us == 0).execute()

        self._db.tx(end)

    # The side of who has the link ---------------------------------------------------------

    def open(self, token: str) -> Shared:
        """Give what a link leads to. Raises `share_unknown` for any that leads to nothing."""
        share_id = self._read(token)
        share, job = self._rows.share, self._rows.job
        query = (
            share.select(share, job.deleted_us.alias("hidden_us"))
            .join(job, on=((job.job_id == share.job_id) & (job.person == share.person)))
            .where(share.share_id == share_id)
        )
        row = self._db.read(lambda: query.dicts().first())
        if row is None or (found := self._share(row)).standing is not Standing.ACTIVE:
            raise StudioError("share_unknown")
        try:
            output = _picked(self._ledger.get(found.job_id), found.name)
        except StudioError as error:
            if error.code not in ("job_unknown", "file_unknown"):
                raise
            raise StudioError("share_unknown") from error
        suffix = Path(output.name).suffix
        return Shared(found, output, f"{_NAMES[output.kind]}{suffix}")

    def file(self, token: str, name: str) -> SharedFile:
        """Give a file of an open link: the result, `play.mp4` to see it, `small.webp` for its look.

        Raises `share_unknown` also for a name that is none of these.
        """
        shared = self.open(token)
        output = shared.output
        try:
            if name == shared.file_name:
                return SharedFile(self._darkroom.bare(output), output.mime)
            if name == PLAYED and output.kind == "video":
                return self._played(output)
            if name == SMALL and output.kind != "image":  # drawn from frames and waves: all bare
                return SharedFile(self._darkroom.small(output), "image/webp")
        except StudioError as error:
            if error.code not in ("file_unknown", "file_broken"):
                raise
            raise StudioError("share_unknown") from error
        raise StudioError("share_unknown")

    def _played(self, output: Output) -> SharedFile:
        """Give what a browser plays: the copy made for it, which has no metadata, or the film."""
        found = self._darkroom.play(output)
        if found.original:
            return SharedFile(self._darkroom.bare(output), output.mime)
        return SharedFile(found.path, found.mime)

    # The house's side ---------------------------------------------------------------------

    def sweep(self, ended_for_s: float = KEPT_ENDED_S) -> int:
        """Forget links that ended so long ago, and count them."""
        share, before = self._rows.share, self._now() - round(ended_for_s * 1e6)
        revoked = (share.revoked_us > 0) & (share.revoked_us < before)
        old = share.delete().where((share.expires_us < before) | revoked)
        return self._db.tx(lambda: int(old.execute()))

    # Inside a transaction ------------------------------------------------------------------

    def _make(self, person: str, job_id: str, name: str, days: int) -> Share:
        share, job = self._rows.share, self._rows.job
        # The job's row is held: two presses at once make one link, and a purge waits or was first.
        held = self._db.for_update(
            job.select(job.job_id).where(
                job.job_id == job_id, job.person == person, job.deleted_us == 0
            )
        )
        if not list(held.tuples()):
            raise StudioError("job_unknown", job_id=job_id)
        now = self._now()
        expires_us = now + days * _DAY_US
        mine = (share.person == person) & (share.job_id == job_id) & (share.name == name)
        active = share.select().where(mine, share.revoked_us == 0, share.expires_us > now)
        row = active.dicts().first()
        if row is None:
            row = {
                "share_id": self._new_id(),
                "person": person,
                "job_id": job_id,
                "name": name,
                "created_us": now,
                "expires_us": expires_us,
                "revoked_us": 0,
            }
            share.insert(**row).execute()
        else:
            row["expires_us"] = expires_us
            share.update(expires_us=expires_us).where(share.share_id == row["share_id"]).execute()
        return self._share(row)

    def _share(self, row: dict[str, Any]) -> Share:
        share_id = str(row["share_id"])
        return Share(
            share_id=share_id,
            token=str(self._signer.dumps(share_id)),
            job_id=str(row["job_id"]),
            name=str(row["name"]),
            created_us=int(row["created_us"]),
            expires_us=int(row["expires_us"]),
            standing=self._standing(row),
        )

    def _standing(self, row: dict[str, Any]) -> Standing:
        if row["revoked_us"]:
            return Standing.REVOKED
        if int(row["expires_us"]) <= self._now():
            return Standing.EXPIRED
        return Standing.HIDDEN if row.get("hidden_us") else Standing.ACTIVE

    def _read(self, token: str) -> str:
        try:
            share_id = self._signer.loads(token)
        except BadSignature as error:
            raise StudioError("share_unknown") from error
        if not isinstance(share_id, str) or not _ID.fullmatch(share_id):
            raise StudioError("share_unknown")
        return share_id


PLAYED: Final = "play.mp4"
SMALL: Final = "small.webp"
_NAMES: Final = {"image": "picture", "video": "film", "audio": "sound"}


def shareable(output: Output) -> bool:
    """Tell whether a file is of a kind that can be shared."""
    return output.kind in _SHOWN and stripped.supports(output.mime)


def _picked(job: Job, name: str | None) -> Output:
    for output in job.outputs:
        if name in (None, output.name):
            return output
    raise StudioError("file_unknown", name=name or "")
