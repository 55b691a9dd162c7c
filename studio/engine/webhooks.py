"""Webhooks: a program is told when its job has ended, at least once, though anything may crash.

The rows say what is to be sent; no memory does. An order writes its row together with its job; any
worker process finds the rows whose job has ended, claims each by one conditional UPDATE and sends.
A claim holds for two minutes: a process that dies meanwhile has its try repeated by another, under
the same delivery id. Knows no widget and no route.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

from studio.engine.database import Database
from studio.engine.jobs import Hook, Job, State
from studio.engine.ledger import Ledger
from studio.engine.outside import Outside, Reply
from studio.engine.rounds import Rounds
from studio.errors import StudioError

log = logging.getLogger("studio.webhooks")

TRIES: Final = 8
FIRST_WAIT_S: Final = 10.0
GROWTH: Final = 4.3
"""10 s, 43 s, 3 min, 13 min, 57 min, 4 h, 18 h: the eighth try comes 23 hours after the first."""

JITTER: Final = 0.2
LOOK_S: Final = 1.0
AT_ONCE: Final = 8
PER_PERSON: Final = 2
"""Of so many posts at once in one process: one slow receiver must not hold up all others."""

_CLAIM_US: Final = 120_000_000
_DAY_S: Final = 86_400.0
_GONE: Final = 410
GRACE_S: Final = 2.0
"""How long posts that are under way may take when the studio stops."""

_ENDED: Final = tuple(str(state) for state in State if state.ended)


class Stand(StrEnum):
    """How a delivery stands."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an order asked for and what became of it. `next_us` is 0 when no try is planned.

    `last_status` is the HTTP status of the last answer; None where none came.
    """

    url: str
    state: Stand
    attempts: int
    last_status: int | None
    next_us: int


@dataclass(frozen=True, slots=True)
class Try:
    """The right to send one try: of many processes one has it."""

    job_id: str
    person: str
    number: int
    hook: Hook

    @property
    def delivery_id(self) -> str:
        """Give what stays the same over all tries."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"studio-webhook:{self.job_id}"))


Tell = Callable[[Job, Hook, Delivery], Mapping[str, Any]]
"""Writes a job as `/api/status` shows it, for a hook's language and address."""


class Webhooks:
    """The desk's side: what may be asked, and how it stands. Blocks on database and names.

    `outside` is None where the host wants no webhooks; `secret` is the studio's.
    """

    def __init__(self, database: Database, outside: Outside | None, secret: str) -> None:
        self._db = database
        self._rows = database.tables.webhook
        self._who = database.tables.person
        self._outside = outside
        self._secret = secret.encode()

    def check(self, hook: Hook) -> None:
        """Raise `url_refused` or `urls_off` for what cannot be posted to now."""
        try:
            if self._outside is None:
                raise StudioError("urls_off")
            self._outside.check(hook.url)
        except StudioError as error:
            error.field = "webhook"
            raise

    def secret_of(self, person: str) -> str:
        """Give the key that a person's webhooks are signed with; the same until it is renewed.

        Or until the studio's own secret changes.
        """
        query = self._who.select(self._who.hook_keys).where(self._who.person == person)
        renewed = int(self._db.read(query.scalar) or 0)
        what = f"studio.webhook:{person}:{renewed}" if renewed else f"studio.webhook:{person}"
        key = hmac.new(self._secret, what.encode(), hashlib.sha256)
        return "whsec_" + base64.urlsafe_b64encode(key.digest()).decode().rstrip("=")

    def renew_secret(self, person: str) -> str:
        """Make a new key and give it: from now on nothing is signed with the one before."""
        who = self._who
        new = {"person": person, "created_us": self._db.now_us()}

        def write() -> None:
            who.insert(**new).on_conflict_ignore().execute()
            who.update(hook_keys=who.hook_keys + 1).where(who.person == person).execute()

        self._db.tx(write)
        return self.secret_of(person)

    def of(self, job_ids: Collection[str]) -> dict[str, Delivery]:
        """Tell of those of these jobs that have a webhook. Whose they are is not asked here."""
        row = self._rows
        query = row.select().where(row.job_id.in_(list(job_ids)))
        found = self._db.read(lambda: list(query)) if job_ids else []
        return {
            str(one.job_id): Delivery(
                url=str(one.url),
                state=Stand(one.state),
                attempts=int(one.attempts),
                last_status=None if one.last_status is None else int(one.last_status),
                next_us=int(one.next_us) if one.state == Stand.WAITING else 0,
            )
            for one in found
        }


class Sender:
    """The worker's side: one thread that looks for what is due, and a few short ones that post."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        webhooks: Webhooks,
        outside: Outside,
        tell: Tell,
        *,
        now: Callable[[], int] | None = None,
        rng: random.Random | None = None,
        look_s: float = LOOK_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self._db = database
        self._rows = database.tables
        self._ledger = ledger
        self._webhooks = webhooks
        self._outside = outside
        self._tell = tell
        self._now = now or database.now_us
        self._rng = rng or random.Random()  # noqa: S311  (spreads retries, no secret)
        self._grace_s = grace_s
        trouble = "webhooks could not be looked for"
        self._rounds = Rounds(
            self._round, "studio-webhooks", every_s=look_s, trouble=trouble, log=log
        )
        self._busy: dict[threading.Thread, str] = {}
        self._lock = threading.Lock()

    # Life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for what is due."""
        self._rounds.start()

    def stop(self) -> None:
        """End within seconds; what is under way then is cut off, and tried again by who comes."""
        if not self._rounds.stop():
            return
        with self._lock:
            busy = list(self._busy)
        for thread in busy:
            thread.join(timeout=self._grace_s / len(busy))
        if any(thread.is_alive() for thread in busy):
            self._outside.stop()
        for thread in busy:
            thread.join(timeout=5)

    def send_due(self) -> int:
        """Send all that is due, one after the other, and count the tries."""
        sent = 0
        while claimed := self._claim(1, Counter()):
            for one in claimed:
                self._send(one)
            sent += len(claimed)
        return sent

    def _round(self) -> None:
        with self._lock:
            busy = Counter(self._busy.values())
        for one in self._claim(AT_ONCE - busy.total(), busy):
            thread = threading.Thread(
                target=self._run, args=(one,), name="studio-webhook", daemon=True
            )
            with self._lock:
                self._busy[thread] = one.person
            thread.start()

    def _run(self, one: Try) -> None:
        try:
            self._send(one)
        except Exception:
            # The thread's edge: the claim runs out, and the try is repeated.
            log.exception("a webhook could not be sent", extra={"job": one.job_id})
        finally:
            with self._lock:
                del self._busy[threading.current_thread()]
            self._rounds.soon()

    # One try ------------------------------------------------------------------------------

    def _send(self, one: Try) -> None:
        try:
            job = self._ledger.get(one.job_id)
        except StudioError as error:
            if error.code != "job_unknown":
                raise
            return  # it was taken away meanwhile, and its row with it
        delivery = Delivery(one.hook.url, Stand.WAITING, one.number, None, 0)
        told = self._tell(job, one.hook, delivery)
        body = json.dumps(told, ensure_ascii=False).encode()
        stamp = str(self._now() // 1_000_000)
        key = self._webhooks.secret_of(job.person)
        headers = {
            "Content-Type": "application/json",
            "Studio-Event": f"job.{job.state}",
            "Studio-Delivery": one.delivery_id,
            "Studio-Timestamp": stamp,
            "Studio-Signature": f"sha256={signature(key, stamp, body)}",
        }
        self._note(one, self._posted(one, body, headers))

    def _posted(self, one: Try, body: bytes, headers: Mapping[str, str]) -> Reply | None:
        try:
            return self._outside.post(one.hook.url, body, headers)
        except StudioError as error:
            # Every kind of trouble is the receiver's here; which one stands in the log already.
            if error.code != "url_refused":
                raise
            return None

    def _note(self, one: Try, reply: Reply | None) -> None:
        """Write down what came of a try, unless another process has claimed the next."""
        status = reply.status if reply else None
        row = self._rows.webhook
        columns: dict[str, object] = {"last_status": status, "next_us": 0}
        if status is not None and 200 <= status < 300:
            columns["state"] = Stand.DELIVERED
        elif status == _GONE or one.number >= TRIES:
            columns["state"] = Stand.FAILED
        else:
            pause_s = max(wait_s(one.number, self._rng), self._asked_s(reply))
            columns["next_us"] = self._now() + round(pause_s * 1e6)
        mine = (row.job_id == one.job_id) & (row.attempts == one.number)
        waiting = row.state == Stand.WAITING
        self._db.tx(row.update(**columns).where(mine, waiting).execute)
        log.info(
            "webhook to %s, try %d: %s",
            urlsplit(one.hook.url).hostname,
            one.number,
            status or "no answer",
            extra={"job": one.job_id},
        )

    def _asked_s(self, reply: Reply | None) -> float:
        """Read how long a receiver asks to wait, at most a day."""
        said = reply.retry_after.strip() if reply else ""
        if said.isascii() and said.isdigit():
            return min(float(said[:9]), _DAY_S)
        try:
            moment = parsedate_to_datetime(said)
        except ValueError:
            return 0.0
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max(aware.timestamp() - self._now() / 1e6, 0.0), _DAY_S)

    # Claiming -----------------------------------------------------------------------------

    def _claim(self, most: int, busy: Counter[str]) -> list[Try]:
        """Take up to `most` tries that are due, of each person no more than may be at once."""
        claimed: list[Try] = []
        for one in self._due(most, [who for who, n in busy.items() if n >= PER_PERSON]):
            if busy[one.person] < PER_PERSON and self._take(one):
                busy[one.person] += 1
                claimed.append(one)
        return claimed

    def _due(self, most: int, full: Collection[str]) -> list[Try]:
        if most <= 0:
            return []
        row, job = self._rows.webhook, self._rows.job
        query = (
            row.select(row, job.person)
            .join(job, on=(job.job_id == row.job_id))
            .where(
                row.state == Stand.WAITING,
                row.next_us <= self._now(),
                job.state.in_(_ENDED),
                job.deleted_us == 0,
            )
            .order_by(row.next_us)
            .limit(most)
        )
        if full:
            query = query.where(job.person.not_in(list(full)))
        return [
            Try(
                job_id=str(one["job_id"]),
                person=str(one["person"]),
                number=int(one["attempts"]) + 1,
                hook=Hook(str(one["url"]), str(one["base"]), str(one["language"])),
            )
            for one in self._db.read(lambda: _dicts(query))
        ]

    def _take(self, one: Try) -> bool:
        """Claim a try; the last one's process may have died, which ends it all."""
        row, now = self._rows.webhook, self._now()
        mine = row.update(attempts=one.number, next_us=now + _CLAIM_US).where(
            row.job_id == one.job_id,
            row.state == Stand.WAITING,
            row.attempts == one.number - 1,
            row.next_us <= now,
        )
        if one.number <= TRIES:
            return int(self._db.tx(mine.execute)) == 1
        over = row.update(state=Stand.FAILED, next_us=0).where(
            row.job_id == one.job_id, row.state == Stand.WAITING, row.next_us <= now
        )
        self._db.tx(over.execute)
        return False


def _dicts(query: Any) -> list[dict[str, Any]]:
    return list(query.dicts())


def signature(key: str, stamp: str, body: bytes) -> str:
    """Sign a body and the moment it is sent at, as `Studio-Signature` has it behind `sha256=`."""
    return hmac.new(key.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def wait_s(number: int, rng: random.Random) -> float:
    """Give the seconds from try `number` (the first is 1) to the next."""
    return FIRST_WAIT_S * GROWTH ** (number - 1) * rng.uniform(1 - JITTER, 1 + JITTER)
