"""What proves who one is never reaches a log, a row, a result or an error: over a whole life."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.engine.people import Role
from studio.practice import PracticeServer
from tests.tabs.site import CHECKPOINT, MODELS, Site, served
from tests.web.conftest import UNLIMITED, events

OLD, NEW = "correct horse battery staple", "an entirely new one 漢字"
WRONG = "no such horse at all"
EMAIL = "ann.of.the.life@example.com"
PROMPT = "a lighthouse nobody else has dreamt of"
TOKEN_NAME = "reader of the life"
STUDIO_SECRET = "the-studios-own-secret-of-this-test"
OF_THE_TEST = ("httpx", "httpcore")
"""Loggers of the client in this test's own process, not of the studio."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("life")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    practice = PracticeServer(pace_s=0.01, models=MODELS)
    ways: dict[str, Any] = {"studio_secret": STUDIO_SECRET, "log_level": "debug"}
    with practice, served(folder, practice, **UNLIMITED, **ways) as site:
        yield site


class Life:
    """One account from the first page to the last, with all secrets and all errors noted."""

    def __init__(self, site: Site) -> None:
        self.secrets = {"studio secret": STUDIO_SECRET, "old password": OLD, "new password": NEW}
        self.secrets["wrong password"] = WRONG
        self.errors: list[str] = []
        self._site = site

    def live(self) -> None:
        with httpx.Client(base_url=self._site.url, timeout=20, trust_env=False) as client:
            client.event_hooks["response"].append(self._note)
            client.get("/").raise_for_status()
            self._come_in(client)
            self._work(client)
            self._go_wrong(client)
            self._leave(client)

    def _come_in(self, client: httpx.Client) -> None:
        self._keep("guest cookie", client.cookies["studio_person"])
        self._keep("guest token", client.post("/api/guest").json()["token"])
        self._keep("invitation", self._site.studio.people.invite("host"))
        said = {"email": EMAIL, "password": OLD}
        joined = client.post(
            "/api/register", json=said | {"invitation": self.secrets["invitation"]}
        )
        joined.raise_for_status()
        client.post("/api/login", json=said | {"password": WRONG})
        client.post("/api/login", json=said).raise_for_status()
        self._keep("first session", client.cookies["studio_session"])
        changed = client.put("/api/user/password", json={"old_password": OLD, "new_password": NEW})
        changed.raise_for_status()
        self._keep("session", client.cookies["studio_session"])

    def _work(self, client: httpx.Client) -> None:
        token = client.post("/api/tokens", json={"name": TOKEN_NAME}).json()["token"]
        self._keep("personal token", token)
        self._keep("webhook secret", client.post("/api/webhooks/secret").json()["secret"])
        body = {"workflow": "text_to_image", "prompt": PROMPT, "model": CHECKPOINT}
        with httpx.Client(
            base_url=self._site.url, timeout=20, trust_env=False,
            headers={"Authorization": f"Bearer {token}"},
        ) as program:  # fmt: skip
            program.event_hooks["response"].append(self._note)
            job_id = program.post("/api/generate", json=body | {"steps": 1}).json()["job_id"]
            events(program, job_id)
        share = client.post("/api/shares", json={"job_id": job_id}).json()
        self._keep("shared link", share["url"].rpartition("/")[2])
        client.get(f"/shared/{self.secrets['shared link']}").raise_for_status()

    def _go_wrong(self, client: httpx.Client) -> None:
        """Send each secret where it does not belong: an error may quote what was sent."""
        for name, secret in self.secrets.items():
            client.post("/api/login", content=f'{{"email": "{secret}", "password": "{secret}"')
            client.post("/api/login", json={"email": [secret], "password": [secret]})
            client.put("/api/user/password", json={"old_password": {"x": secret}})
            client.post("/api/tokens", json={"name": "x", "scopes": [secret]})
            client.get(f"/shared/{secret}x")
            if secret.isascii():
                client.get("/api/me", headers={"Authorization": f"Bearer {secret}"})
            assert name

    def _leave(self, client: httpx.Client) -> None:
        client.post("/api/logout").raise_for_status()
        said = {"email": EMAIL, "password": NEW}
        client.post("/api/login", json=said).raise_for_status()
        self._keep("last session", client.cookies["studio_session"])

    def delete_me(self) -> None:
        """Log in once more, and take everything away."""
        with httpx.Client(base_url=self._site.url, timeout=20, trust_env=False) as client:
            client.event_hooks["response"].append(self._note)
            client.post("/api/login", json={"email": EMAIL, "password": NEW}).raise_for_status()
            self._keep("session of the end", client.cookies["studio_session"])
            gone = client.request("DELETE", "/api/user/delete", json={"password": NEW})
            gone.raise_for_status()

    def _keep(self, name: str, secret: str) -> None:
        assert len(secret) >= 16, name
        self.secrets[name] = secret

    def _note(self, answer: httpx.Response) -> None:
        if answer.status_code >= 400:
            self.errors.append(f"{answer.headers} {answer.read().decode()}")


def test_no_secret_is_told_or_kept_over_a_whole_life(
    site: Site, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site.studio.people.add("root@example.com", "the admin's own long one", role=Role.ADMIN)
    caplog.set_level(logging.DEBUG)
    life = Life(site)

    life.live()

    kept = _files(folder)
    assert any(path.suffix == ".png" for path in kept)
    assert any(path.name == "studio.db" for path in kept)
    assert any(PROMPT in row for row in _rows(site))
    assert len(life.errors) > 30
    _told_nowhere(life.secrets, _logged(caplog), life.errors, kept)

    life.delete_me()
    # The journal holds old pages until its next turn: taken now.
    with closing(sqlite3.connect(folder / "data" / "studio.db", timeout=20)) as journal:
        journal.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    logged, kept = _logged(caplog), _files(folder)
    assert len(logged) > 20
    _told_nowhere(life.secrets, logged, life.errors, kept)
    for word in (EMAIL, PROMPT, TOKEN_NAME):
        assert [row for row in _rows(site) if word in row] == [], word
        assert [line for line in _logged(caplog, written=True) if word in line] == [], word
        assert [path for path, held in kept.items() if word.encode() in held] == [], word
    assert [path for path in kept if path.is_relative_to(site.studio.settings.outputs_dir)] == []
    assert (
        site.studio.database.read(lambda: site.studio.database.tables.output.select().count()) == 0
    )


def _told_nowhere(
    secrets: dict[str, str], logged: list[str], errors: list[str], kept: dict[Path, bytes]
) -> None:
    for name, secret in secrets.items():
        assert [line for line in logged if secret in line] == [], name
        assert [line for line in errors if secret in line] == [], name
        assert [path for path, held in kept.items() if secret.encode() in held] == [], name


def _logged(caplog: pytest.LogCaptureFixture, *, written: bool = False) -> list[str]:
    """Give what was logged; `written`: only what a studio at `debug` would write to its file."""
    return [
        record.getMessage() + str(record.exc_text or "") + repr(record.args)
        for record in caplog.records
        if not record.name.startswith(OF_THE_TEST)
        and (not written or record.name.startswith("studio") or record.levelno >= logging.WARNING)
    ]


def _files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _rows(site: Site) -> list[str]:
    """Write every row of every table as text."""
    database = site.studio.database
    models = [getattr(database.tables, field.name) for field in fields(database.tables)]
    return database.read(lambda: [repr(row) for one in models for row in one.select().dicts()])
