"""Settings: what a host may write, what it becomes, and the one line when it cannot be used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from studio import settings, texts
from studio.errors import StudioError
from studio.settings import Settings

Load = Callable[..., Settings]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {settings.env_name(field) for field in Settings.model_fields}
    for name in [name for name in os.environ if name.upper() in fields]:
        monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    folders = {name: tmp_path / name for name in ("data_dir", "outputs_dir", "log_dir")}

    def make(env_file: Path | None = None, **overrides: object) -> Settings:
        return settings.load(env_file, **{**folders, **overrides})

    return make


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / ".env"
        path.write_text(text, "utf-8")
        return path

    return write


def test_everything_has_a_default(load: Load) -> None:
    made = load()

    assert (made.studio_host, made.studio_port, made.studio_share) == ("127.0.0.1", 7860, False)
    assert made.comfy_urls == ()
    assert made.comfy_slots == 2


def test_the_environment_wins_over_the_file_and_the_caller_over_both(
    load: Load, env_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = env_file("STUDIO_PORT=1001\nCOMFY_SLOTS=3\nMAX_UPLOAD_MB=7\n")
    monkeypatch.setenv("STUDIO_PORT", "1002")
    monkeypatch.setenv("COMFY_SLOTS", "4")

    made = load(path, comfy_slots=5)

    assert (made.max_upload_mb, made.studio_port, made.comfy_slots) == (7, 1002, 5)


def test_no_file_is_read_when_asked(
    env_file: Callable[[str], Path], load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(env_file("STUDIO_PORT=1001\n").parent)

    assert load(None).studio_port == 7860


def test_an_empty_value_is_as_good_as_none(
    load: Load, env_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "")
    path = env_file("COMFY_URLS=\nSTUDIO_PORT=\nSTUDIO_SECRET=\nDB_HOST=\n")

    assert load(path).studio_port == 7860


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"COMFY_URLS": "http://a:8188"}, ("http://a:8188",)),
        ({"COMFY_URLS": "http://a:8188/, b:1,https://c/comfy/ ,"},
         ("http://a:8188", "http://b:1", "https://c/comfy")),
        ({"COMFY_URLS": "http://a:1,http://a:1/"}, ("http://a:1",)),
        ({"COMFY_HOST": "gpu"}, ("http://gpu:8188",)),
        ({"COMFY_PORT": "8190"}, ("http://127.0.0.1:8190",)),
        ({"COMFY_HOST": "gpu", "COMFY_PORT": "8190"}, ("http://gpu:8190",)),
        ({"COMFY_HOST": "[::1]", "COMFY_PORT": "8190"}, ("http://[::1]:8190",)),
        ({"COMFY_HOST": "gpu", "COMFY_URLS": "http://gpu:8188,http://b:1"},
         ("http://gpu:8188", "http://b:1")),
    ],
    ids=["one", "list", "twice", "host", "port", "both", "ipv6", "host-is-in-list"],
)  # fmt: skip
def test_comfyui_addresses_come_in_the_original_and_the_new_names(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    expected: tuple[str, ...],
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert load().comfy_urls == expected


def test_hosts_that_may_be_private_are_listed_with_or_without_a_port(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTSIDE_HOSTS", "Hooks.Internal:8443, 10.0.0.5,[fd00::1]:80,")

    assert load().outside_hosts == ("hooks.internal:8443", "10.0.0.5", "[fd00::1]:80")


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("STUDIO_PORT", "http", "a whole number from 1 to 65535"),
        ("STUDIO_PORT", "70000", "a whole number from 1 to 65535"),
        ("STUDIO_SHARE", "perhaps", "true or false"),
        ("STUDIO_LANGUAGE", "fr", "en, zh-TW"),
        ("STUDIO_ROOT_PATH", "studio", "empty, or a path like /studio"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error"),
        ("COMFY_PORT", "tcp://10.0.0.1:8188", "a whole number from 1 to 65535"),
        ("COMFY_HOST", "http://gpu", "a host name or IP address"),
        ("COMFY_HOST", "gpu:8188", "a host name or IP address"),
        ("COMFY_URLS", "ftp://gpu", "addresses like http://127.0.0.1:8188"),
        ("COMFY_URLS", "http://gpu:99999", "addresses like http://127.0.0.1:8188"),
        ("COMFY_URLS", "http://", "addresses like http://127.0.0.1:8188"),
        ("COMFY_SLOTS", "0", "a whole number from 1 to 16"),
        ("PRACTICE_PACE", "-1", "a number from 0 to 60"),
        ("OUTSIDE_HOSTS", "http://hooks.internal", "hosts like hooks.internal"),
        ("OUTSIDE_HOSTS", "hooks.internal/path", "hosts like hooks.internal"),
        ("OUTSIDE_HOSTS", "hooks.internal:99999", "hosts like hooks.internal"),
        ("OUTSIDE_HOSTS", "*.internal", "hosts like hooks.internal"),
        ("OUTSIDE_HOSTS", "me@hooks.internal", "hosts like hooks.internal"),
        ("WORKFLOWS_DIR", "no/such/folder", "a folder that is there"),
        ("DATABASE_URL", "postgres://h/db", "unset, sqlite:///FILE, or mysql://"),
        ("DATABASE_URL", "mysql://h:3306", "unset, sqlite:///FILE, or mysql://"),
        ("DATABASE_URL", "mysql://h:1/db?charset=x", "unset, sqlite:///FILE, or mysql://"),
        ("REDIS_URL", "http://h:6379/0", "unset, or redis://"),
        ("REDIS_URL", "redis://h:6379/0?decode_responses=true", "unset, or redis://"),
        ("REDIS_URL", "redis://h:6379/first", "unset, or redis://"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "a whole number from 1 to 65535"),
        ("REDIS_HOST", "redis://h", "a host name or IP address"),
        ("DB_HOST", "h:3306", "a host name or IP address"),
        ("STUDIO_GRACE_S", "-1", "a number from 0 to 3600"),
        ("STUDIO_ACCOUNTS", "some", "off, guests, required"),
        ("STUDIO_REGISTRATION", "all", "open, invitation, closed"),
    ],
)
def test_a_bad_value_is_one_line_with_setting_value_and_what_is_allowed(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(StudioError) as caught:
        load()

    sentence, hint = texts.explain(caught.value)
    assert sentence.startswith(f"{name}={value} ")
    assert allowed in sentence
    assert "\n" not in sentence
    assert name in hint


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STUDIO_SECRET", "pa55word"),
        ("COMFY_HEADERS", '{"http://gpu:8188": "pa55word"}'),
        ("COMFY_HEADERS", '{"http://elsewhere:1": {"X-Key": "pa55word"}}'),
        ("COMFY_URLS", "http://me:pa55word@gpu:8188"),
        ("COMFY_URLS", "http://gpu:1,http://me:pa55/w@ord@gpu:8188"),
        ("DATABASE_URL", "mysql://me:pa55word@h:x/db"),
        ("DATABASE_URL", "mysql://me:pa55/w@ord@h/"),
        ("REDIS_URL", "redis://:pa55word@h:6379/0?x=1"),
    ],
)
def test_a_refused_secret_is_not_repeated(
    load: Load, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(StudioError) as caught:
        load()

    assert caught.value.params["name"] == name
    assert "pa55" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_two_ways_to_name_the_server_that_disagree_are_refused(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFY_HOST", "gpu")
    monkeypatch.setenv("COMFY_URLS", "http://other:8188")

    with pytest.raises(StudioError, match="not both"):
        load()


@pytest.mark.parametrize(
    ("given", "database", "redis"),
    [
        ({"DATABASE_URL": "mysql://me:p%40ss@h/db"}, "mysql://me:p%40ss@h/db", ""),
        ({"DB_HOST": "db"}, "mysql://studio@db:3306/studio", ""),
        ({"DB_HOST": "db", "DB_PORT": "3307", "DB_USER": "me", "DB_PASSWORD": "p@s/s: %",
          "DB_NAME": "art"}, "mysql://me:p%40s%2Fs%3A%20%25@db:3307/art", ""),
        ({"DB_NAME": "art"}, "mysql://studio@127.0.0.1:3306/art", ""),
        ({"REDIS_URL": "redis://h"}, None, "redis://h"),
        ({"REDIS_URL": "rediss://:pw@h:6380/3"}, None, "rediss://:pw@h:6380/3"),
        ({"REDIS_HOST": "r"}, None, "redis://r:6379/0"),
        ({"REDIS_PORT": "6380", "REDIS_PASSWORD": "a/b"}, None, "redis://:a%2Fb@127.0.0.1:6380/0"),
        ({"REDIS_HOST": "r", "REDIS_URL": "redis://r:6379/0"}, None, "redis://r:6379/0"),
    ],
    ids=["mysql-url", "db-host", "db-all", "db-name", "redis-url", "rediss", "redis-host",
         "redis-parts", "redis-both-agree"],
)  # fmt: skip
def test_database_and_redis_come_as_addresses_or_in_parts(
    load: Load,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    database: str | None,
    redis: str,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    made = load()

    assert made.redis_url == redis
    assert database is None or made.database_url == database


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("DB_HOST", "a"), ("DATABASE_URL", "mysql://me:pa55word@b/db")),
        (("REDIS_HOST", "a"), ("REDIS_URL", "redis://:pa55word@b:6379/0")),
    ],
)
def test_an_address_and_parts_that_disagree_are_refused(
    load: Load, monkeypatch: pytest.MonkeyPatch, one: tuple[str, str], other: tuple[str, str]
) -> None:
    monkeypatch.setenv(*one)
    monkeypatch.setenv(*other)

    with pytest.raises(StudioError, match="not both") as caught:
        load()

    assert "pa55" not in str(caught.value)


def test_passwords_of_database_and_redis_show_nowhere(load: Load) -> None:
    made = load(db_host="db", db_password="pa55/db-word", redis_url="redis://:pa55-redis@h:6379/0")

    assert "pa55" not in repr(made) + str(made)
    assert {"pa55/db-word", "pa55%2Fdb-word", "pa55-redis"} <= set(made.secret_values)


def test_a_slip_in_the_file_is_told(load: Load, env_file: Callable[[str], Path]) -> None:
    with pytest.raises(StudioError, match="STUDIO_PROT"):
        load(env_file("STUDIO_PROT=7861\n"))


def test_names_of_other_programs_in_the_file_are_let_be(
    load: Load, env_file: Callable[[str], Path]
) -> None:
    assert load(env_file("HF_TOKEN=abc\nEDITOR=vi\n")).studio_port == 7860


def test_the_token_goes_to_every_server_and_a_servers_own_header_wins(load: Load) -> None:
    made = load(
        comfy_urls="http://a:1,http://b:2",
        comfy_token="for-all-servers",
        comfy_headers='{"http://b:2/": {"authorization": "Basic xyz", "X-Key": "k"}}',
    )

    assert made.headers_for("http://a:1") == {"Authorization": "Bearer for-all-servers"}
    assert made.headers_for("http://b:2") == {"authorization": "Basic xyz", "X-Key": "k"}


def test_headers_may_be_given_for_the_default_address(load: Load) -> None:
    made = load(comfy_headers={settings.DEFAULT_COMFY: {"X-Key": "k"}})

    assert made.headers_for(settings.DEFAULT_COMFY) == {"X-Key": "k"}


def test_secrets_show_in_no_repr(load: Load) -> None:
    made = load(
        comfy_urls="http://a:1",
        comfy_token="pa55-token",
        studio_secret="pa55-secret-long-enough",
        comfy_headers={"http://a:1": {"X-Key": "pa55-header"}},
    )

    assert "pa55" not in repr(made) + str(made)
    assert set(made.secret_values) == {"pa55-token", "pa55-secret-long-enough", "pa55-header"}


def test_relative_folders_are_in_the_project_wherever_the_app_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    made = Settings(_env_file=None, outputs_dir=Path("pictures"))

    assert made.data_dir == settings.PROJECT / "data"
    assert made.outputs_dir == settings.PROJECT / "pictures"
    assert made.workflows_dir == settings.PROJECT / "workflows"
    assert made.database_url == f"sqlite:///{settings.PROJECT}/data/studio.db"


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("sqlite:///records.db", f"sqlite:///{settings.PROJECT}/records.db"),
        ("sqlite:////srv/studio/records.db", "sqlite:////srv/studio/records.db"),
    ],
)
def test_the_records_lie_where_the_database_url_says(load: Load, url: str, whole: str) -> None:
    assert load(database_url=url).database_url == whole


def test_in_a_space_the_page_is_reachable_from_outside_unless_told_otherwise(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", "somebody/studio")

    assert load().studio_host == "0.0.0.0"  # noqa: S104
    assert load(studio_host="127.0.0.1").studio_host == "127.0.0.1"


def test_the_records_lie_in_the_data_folder_by_default(load: Load, tmp_path: Path) -> None:
    assert load().database_url == f"sqlite:///{tmp_path}/data_dir/studio.db"


def test_a_secret_is_made_on_the_first_start_and_kept_for_this_user_only(
    load: Load, tmp_path: Path
) -> None:
    first = load().studio_secret.get_secret_value()
    second = load().studio_secret.get_secret_value()

    assert first == second
    assert len(first) >= 32
    assert stat.S_IMODE((tmp_path / "data_dir" / "secret").stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "data_dir").iterdir()] == ["secret"]


def test_two_first_starts_at_once_agree_on_one_secret(load: Load) -> None:
    gate = threading.Barrier(8)
    found: list[str] = []

    def start() -> None:
        gate.wait(10)
        found.append(load().studio_secret.get_secret_value())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_spoilt_secret_file_is_told_and_not_used(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data_dir").mkdir()
    (tmp_path / "data_dir" / "secret").write_text("abc")

    with pytest.raises(StudioError, match="STUDIO_SECRET"):
        load()


def test_a_folder_that_cannot_be_made_is_named(load: Load, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StudioError, match="OUTPUTS_DIR") as caught:
        load(outputs_dir=tmp_path / "file" / "outputs")

    assert "write into" in caught.value.params["allowed"]


def test_settings_cannot_be_changed_after_the_start(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().studio_port = 1


def test_reading_settings_is_quick_and_loads_no_page() -> None:
    code = "import sys, studio.settings; assert 'gradio' not in sys.modules"

    done = subprocess.run([sys.executable, "-c", code], cwd=settings.PROJECT, timeout=60)

    assert done.returncode == 0


def test_the_command_line_asks_for_a_public_link_and_for_nothing_unknown() -> None:
    assert settings.arguments([]) == {}
    assert settings.arguments(["--share"]) == {"studio_share": True}
    with pytest.raises(SystemExit):
        settings.arguments(["--sahre"])


def test_a_link_never_lasts_longer_than_the_longest(load: Load) -> None:
    with pytest.raises(StudioError) as refused:
        load(None, share_days=8, share_max_days=7)

    assert refused.value.params["name"] == "SHARE_DAYS"
    assert "SHARE_MAX_DAYS" in refused.value.params["allowed"]


def test_what_is_allowed_is_said_in_the_readers_language(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUDIO_PORT", "70000")

    with pytest.raises(StudioError) as caught:
        load()

    sentence, _ = texts.explain(caught.value, "zh-TW")
    assert sentence == "STUDIO_PORT=70000 無法使用。可用的值：1 到 65535 的整數。"
