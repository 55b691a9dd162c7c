"""Every error a person can meet: one class, one registry of codes.

A code `c` has a sentence at text key `error.c` and a hint at `error.c.hint`, in every language,
and an HTTP status. Foreign errors become a `StudioError` in the room that imports their library,
`raise ... from exc`. What is technical goes to `details`, for the log and the host only.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

CODES: Final[dict[str, int]] = {
    # what a person sent
    "field_required": 422,
    "field_wrong_type": 422,
    "field_too_long": 422,
    "field_out_of_range": 422,
    "field_not_a_choice": 422,
    "field_unknown": 422,
    "field_count": 422,
    "seed_invalid": 422,
    "field_idle": 422,
    "field_off": 422,
    "text_too_long_to_say": 422,
    "speech_too_long": 422,
    "speech_unusable": 500,
    "derived_out_of_range": 422,
    "file_unmeasured": 422,
    "file_too_long": 422,
    "mask_other_size": 422,
    "picture_too_thin": 422,
    "file_type_unsupported": 422,
    "file_broken": 422,
    "file_too_large": 413,
    "picture_too_large": 413,
    "media_empty": 422,
    "sound_missing": 422,
    "media_too_long": 422,
    "nothing_painted": 422,
    "file_kind": 422,
    "file_unknown": 404,
    "url_refused": 422,
    "urls_off": 422,
    # what is not there, or not theirs: the same answer for both
    "workflow_unknown": 404,
    "job_unknown": 404,
    "person_unknown": 401,
    # who may come in, and what they may do
    "login_needed": 401,
    "login_ended": 401,
    "login_failed": 401,
    "account_blocked": 403,
    "account_unknown": 404,
    "account_exists": 409,
    "registration_closed": 403,
    "invitation_invalid": 422,
    "email_invalid": 422,
    "password_length": 422,
    "password_weak": 422,
    "passwords_differ": 422,
    "session_needed": 403,
    "token_read_only": 403,
    "token_unknown": 404,
    "too_many_tokens": 409,
    "admin_needed": 403,
    "last_admin": 409,
    "guest_fleeting": 409,
    # how it was asked
    "cross_site": 403,
    "host_unknown": 403,
    "route_unknown": 404,
    "method_wrong": 405,
    "body_invalid": 400,
    "body_too_large": 413,
    "key_reused": 409,
    "too_often": 429,
    "too_many_streams": 429,
    # what ComfyUI answered
    "server_away": 503,
    "server_refused": 502,
    "server_forbidden": 502,
    "server_answer": 502,
    "upload_too_large": 413,
    "prompt_refused": 422,
    "missing_node": 422,
    "missing_model": 422,
    "run_failed": 500,
    "out_of_memory": 500,
    "run_lost": 500,
    "run_silent": 504,
    "time_limit": 504,
    "no_outputs": 500,
    "output_missing": 500,
    # what a host fetches
    "fetch_failed": 502,
    # the house itself
    "graph_invalid": 422,
    "import_failed": 422,
    "manifest_invalid": 422,
    "queue_full": 429,
    "job_ended": 409,
    "job_not_ended": 409,
    "too_many_at_once": 422,
    # what is shared, and how much one may keep
    "share_unknown": 404,
    "share_unsupported": 422,
    "share_refused": 500,
    "quota_full": 409,
    "quota_promised": 409,
    "disk_full": 503,
    "database_away": 503,
    "settings_invalid": 500,
    "attempts_spent": 500,
    "internal": 500,
}
"""Code -> HTTP status. Tests hold it against what is raised and against the locale files."""


@runtime_checkable
class Spoken(Protocol):
    """A parameter that is a sentence itself (see `texts.Sentence`), said in each language."""

    def flat(self, name: str) -> dict[str, str]:
        """Write it as parameters of plain text, under `name` and names below it."""


class StudioError(Exception):
    """A fault with a code, the parameters of its sentence, and details that people never see.

    `field` names the parameter at fault, for the page and REST. `retryable` says whether the same
    job may do better on another try or another server.
    """

    def __init__(
        self,
        code: str,
        *,
        field: str | None = None,
        details: str = "",
        retryable: bool = False,
        **params: object,
    ) -> None:
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        self.code = code
        self.field = field
        self.details = details
        self.retryable = retryable
        self.params: dict[str, str] = {}
        for name, value in params.items():
            self.params |= value.flat(name) if isinstance(value, Spoken) else {name: str(value)}
        if field is not None:
            self.params.setdefault("field", field)
        super().__init__(code, self.params)

    @property
    def status(self) -> int:
        """Give the HTTP status of this code."""
        return CODES[self.code]

    def __str__(self) -> str:
        shown = " ".join(
            f"{name}={value!r}" for name, value in sorted(self.params.items()) if "." not in name
        )
        return f"{self.code} {shown}".strip() + (f" ({self.details})" if self.details else "")
