"""Who is asking: signed identities of browsers and programs.

In this edition every person is a guest: a random id, carried by a browser in a signed cookie.
Accounts come to stand beside them; the ids of guests stay what they are.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

from itsdangerous import BadSignature, URLSafeSerializer

COOKIE: Final = "studio_person"
COOKIE_AGE_S: Final = 400 * 24 * 3600
"""Browsers keep a cookie for at most 400 days."""

TOKEN_MARK: Final = "st_"  # noqa: S105  (no secret: how each begins)
"""Begins every token of ours, so that another's (a Space's own) is told apart."""


def _random_id() -> str:
    return secrets.token_hex(16)


class Guests:
    """Make and read the signed identity of a guest. A changed `secret` makes all guests new."""

    def __init__(self, secret: str, *, new_id: Callable[[], str] = _random_id) -> None:
        self._secret = secret.encode()
        self._signer = URLSafeSerializer(secret, salt="studio.person")
        self._tokens = URLSafeSerializer(secret, salt="studio.token")
        self._new_id = new_id

    def new(self) -> tuple[str, str]:
        """Make a guest: the person's id (`g-` and 32 hex digits) and the cookie that proves it."""
        person = f"g-{self._new_id()}"
        return person, self.cookie(person)

    def cookie(self, person: str) -> str:
        """Sign a person's id into a cookie value."""
        return str(self._signer.dumps(person))

    def read(self, cookie: str | None) -> str | None:
        """Give the person a cookie proves, or None when it is absent, forged or of another key."""
        return _signed(self._signer, cookie) if cookie else None

    def token(self, person: str) -> str:
        """Sign a person's id into a token for a program. A cookie is none, nor it a cookie."""
        return TOKEN_MARK + str(self._tokens.dumps(person))

    def read_token(self, token: str) -> str | None:
        """Give the person a token proves, or None when it is forged or of another key."""
        if not token.startswith(TOKEN_MARK):
            return None
        return _signed(self._tokens, token.removeprefix(TOKEN_MARK))

    def of_session(self, session_hash: str | None) -> str:
        """Give the guest behind a program's session, which sends no cookie.

        The hash is the program's own secret; it is mixed with ours, so that knowing a person's id
        never tells the session. Without a session every call is a guest of its own.
        """
        if not session_hash:
            return f"s-{self._new_id()}"
        digest = hmac.new(self._secret, session_hash.encode(), hashlib.sha256)
        return f"s-{digest.hexdigest()[:32]}"


def _signed(signer: URLSafeSerializer, text: str) -> str | None:
    try:
        person = signer.loads(text)
    except BadSignature:
        return None
    return person if isinstance(person, str) else None
