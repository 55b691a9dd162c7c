"""The host's commands about people, each a process of its own as a host would run it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from studio.engine.database import open_database
from studio.engine.jobs import State
from studio.engine.people import People, Registration, Role
from studio.errors import StudioError
from studio.practice import PracticeServer
from studio.settings import PROJECT
from tests.chain.house import opened
from tests.servers import MariaDB

WORD = "correct horse battery"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("data", "outputs", "log"):
        folder = {"log": "logs"}.get(name, name)
        monkeypatch.setenv(f"{name.upper()}_DIR", str(tmp_path / folder))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "studio", "user", *words],
            cwd=PROJECT, input=said, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return call


def people_in(url: str) -> People:
    return People(open_database(url), registration=Registration.INVITATION)


def test_people_are_made_listed_and_changed(run: Run, tmp_path: Path) -> None:
    made = run("add", "ann@example.com", "--admin", "--name", "小安", said=f"{WORD}\n")
    other = run("add", "ben@example.com", "--password-stdin", "--lang", "zh-TW", said=WORD)
    again = run("add", "Ann@Example.com", said=f"{WORD}\n")
    listed = run("list")
    changed = run("password", "ben@example.com", "--password-stdin", said="an entirely new one")
    last = run("admin", "ann@example.com", "--off")
    admin = run("admin", "ben@example.com")
    off = run("admin", "ann@example.com", "--off")

    assert made.returncode == other.returncode == 0, made.stderr + other.stderr
    assert "admin" in made.stdout
    assert "現在可以登入" in other.stdout
    assert again.returncode == 1
    assert "ann@example.com" in again.stderr
    assert re.search(r"ann@example.com +小安 +admin", listed.stdout)
    assert changed.returncode == 0
    assert last.returncode == 1
    assert "only admin" in last.stderr
    assert (admin.returncode, off.returncode) == (0, 0)
    database = open_database(tmp_path / "data" / "studio.db")
    with closing(database):
        people = People(database)
        account, _ = people.login("ben@example.com", "an entirely new one")
        assert account.role is Role.ADMIN
        assert [one.act for one in people.deeds()] == [
            "make_member", "make_admin", "password", "add", "add",
        ]  # fmt: skip
    everything = "".join(one.stdout + one.stderr for one in (made, other, again, changed))
    logged = "".join(path.read_text() for path in (tmp_path / "logs").iterdir())
    assert WORD not in everything + logged
    assert "an admin did: add" in logged


def test_a_password_is_asked_for_twice_and_not_shown(run: Run) -> None:
    told = on_a_terminal("add", "ann@example.com", answers=[WORD, WORD])
    differ = on_a_terminal("password", "ann@example.com", answers=[WORD, "another long one"])

    assert "can log in now" in told
    assert WORD not in told
    assert "not the same" in differ


def on_a_terminal(*words: str, answers: list[str]) -> str:
    """Run a command at a terminal of its own, answer each question, and give all it wrote."""
    command = [sys.executable, "-m", "studio", "user", *words, "--lang", "en"]
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover  (another process)
        os.chdir(PROJECT)
        os.execv(sys.executable, command)  # noqa: S606  (a fork has no shell)
    told, left = "", list(answers)
    try:
        while True:
            try:
                told += os.read(terminal, 4096).decode()
            except OSError:  # the other end was closed
                return told
            if left and told.count(": ") > len(answers) - len(left):
                os.write(terminal, f"{left.pop(0)}\n".encode())
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def test_blocking_and_deleting_reach_jobs_and_files(run: Run, tmp_path: Path) -> None:
    run("add", "ann@example.com", said=f"{WORD}\n")
    with (
        PracticeServer(pace_s=0.01) as practice,
        opened(tmp_path, comfy_urls=(practice.url,)) as house,
    ):
        person = house.studio.people.find("ann@example.com").person
        kept = house.ended(house.order(person))
        [path] = house.paths(kept)
        practice.faults.hold("VAEDecode")
        waiting = [house.order(person, seed=str(n)) for n in range(4)][-1]

        blocked = run("block", "ann@example.com")
        stopped = house.studio.ledger.get(waiting.job_id).state
        practice.faults.release()
        free = run("unblock", "ann@example.com")
        unsure = run("delete", "ann@example.com", said="n\n")
        still_there = path.exists()
        gone = run("delete", "ann@example.com", said="y\n")

        assert blocked.returncode == free.returncode == gone.returncode == 0, blocked.stderr
        assert stopped is State.CANCELLED
        assert (unsure.returncode, still_there) == (1, True)
        assert not path.exists()
        with pytest.raises(StudioError, match="job_unknown"):
            house.studio.desk.job(person, kept.job_id)


def test_an_invitation_on_mariadb_lets_one_person_register(
    run: Run, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mariadb.new_database()
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("STUDIO_REGISTRATION", "invitation")
    monkeypatch.setenv("STUDIO_ROOT_PATH", "/studio")

    made = run("invite", "--days", "3")
    added = run("add", "root@example.com", "--admin", said=f"{WORD}\n")
    listed = run("list")

    assert made.returncode == added.returncode == 0, made.stderr + added.stderr
    link = re.search(
        r"http://127\.0\.0\.1:7860/studio/account/register\?invitation=(\S+)", made.stdout
    )
    assert link
    assert "3 days" in made.stdout
    assert "root@example.com" in listed.stdout
    people = people_in(url)
    with closing(people._db):
        people.register("ann@example.com", WORD, invitation=link[1])
        with pytest.raises(StudioError, match="invitation_invalid"):
            people.register("ben@example.com", WORD, invitation=link[1])


def test_what_cannot_be_done_is_said_in_one_sentence(run: Run) -> None:
    for words, said, sentence in (
        (("block", "nobody@example.com"), "", "no such account"),
        (("add", "not an address"), WORD, "not an e-mail address"),
        (("add", "ann@example.com"), "short", "8 to 200"),
    ):
        done = run(*words, "--lang", "en", said=said)

        assert done.returncode == 1
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
