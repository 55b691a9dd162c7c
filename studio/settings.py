"""Every setting: its name, unit, default and what is allowed. Knows not who reads it.

Values come from the environment and from `.env` in the project folder; the environment wins. An
environment name is the field's name in capitals (`studio_port` -> `STUDIO_PORT`). Relative folders
are relative to the project folder, so that the app may be started from anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin
from urllib.parse import quote, unquote, urlsplit

from annotated_types import Ge, Le
from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from studio.errors import StudioError
from studio.texts import Sentence

PROJECT: Final = Path(__file__).resolve().parent.parent
"""The folder where `studio_app.py` lies."""

ENV_FILE: Final = PROJECT / ".env"
DEFAULT_COMFY: Final = "http://127.0.0.1:8188"
"""Where a ComfyUI is looked for when none is configured."""

HIDDEN: Final = "********"
_SECRET_MIN_CHARS: Final = 16
_SPACE_PROXIES: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
_SHOWN_CHARS: Final = 120
_URLS: Final = "allowed.urls"
_HEADERS: Final = "allowed.headers"
_ROOT_PATH: Final = "allowed.root_path"
_DATABASE: Final = "allowed.database"
_REDIS: Final = "allowed.redis"
_PROXIES: Final = "allowed.proxies"
_HOSTS: Final = "allowed.hosts"
_ORIGINS: Final = "allowed.origins"
_OFF: Final = "allowed.off"

_SECRETS: Final = frozenset(
    {"STUDIO_SECRET", "COMFY_TOKEN", "COMFY_HEADERS", "DB_PASSWORD", "REDIS_PASSWORD"}
)
_LIMITS: Final = (
    "studio_accounts",
    "studio_registration",
    "session_days",
    "rate_generate",
    "rate_generate_page",
    "rate_status",
    "rate_upload",
    "rate_guest",
    "rate_login",
    "rate_register",
    "max_pending_per_person",
    "max_running_per_person",
    "comfy_slots",
    "time_limit_s",
    "prompt_max_chars",
    "max_upload_mb",
    "max_body_mb",
    "max_pixels",
    "max_media_minutes",
    "quota_mb",
    "output_days",
    "input_hours",
    "share_days",
    "share_max_days",
    "min_free_mb",
)
_PASSWORD: Final = re.compile(r"//.*@")


def _refuse(key: str, **params: object) -> PydanticCustomError:
    """Make the error of a rule of ours: the text `key` says what would do."""
    return PydanticCustomError("not_allowed", "not allowed", {"allowed": Sentence(key, params)})


def _address(value: str) -> str:
    """Write one ComfyUI address in one way: scheme, host, port, no slash at the end."""
    text = value.strip()
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        valid = parts.port != 0
    except ValueError:
        valid = False
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        valid = False
    if not valid or parts.query or parts.fragment or any(mark.isspace() for mark in text):
        raise _refuse(_URLS)
    return parts.geturl().rstrip("/")


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _addresses(value: object) -> object:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
        raise _refuse(_URLS)
    return tuple(dict.fromkeys(_address(part) for part in value))


def _listed(value: object) -> list[str]:
    """Read a comma separated list; raises ValueError for anything else."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError
    return [part.strip() for part in parts if part.strip()]


def _proxies(value: object) -> object:
    try:
        return tuple(str(ip_network(part, strict=False)) for part in _listed(value))
    except ValueError as exc:
        raise _refuse(_PROXIES) from exc


def _origins(value: object) -> object:
    try:
        found = [urlsplit(part.rstrip("/").lower()) for part in _listed(value)]
    except ValueError as exc:
        raise _refuse(_ORIGINS) from exc
    for origin in found:
        if origin.scheme not in ("http", "https") or not origin.netloc or "@" in origin.netloc:
            raise _refuse(_ORIGINS)
        if origin.path or origin.query or origin.fragment or "*" in origin.netloc:
            raise _refuse(_ORIGINS)
    return tuple(origin.geturl() for origin in found)


def _hosts(value: object) -> object:
    try:
        found = [urlsplit(f"//{part.lower()}") for part in _listed(value)]
        ports = [host.port for host in found]
    except ValueError as exc:
        raise _refuse(_HOSTS) from exc
    for host in found:
        if not host.hostname or host.path or host.query or host.fragment or "@" in host.netloc:
            raise _refuse(_HOSTS)
        if any(mark.isspace() or mark == "*" for mark in host.netloc) or 0 in ports:
            raise _refuse(_HOSTS)
    return tuple(host.netloc for host in found)


def _headers(value: object) -> object:
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError as exc:
        raise _refuse(_HEADERS) from exc
    if not isinstance(found, Mapping) or not all(isinstance(m, Mapping) for m in found.values()):
        raise _refuse(_HEADERS)
    return {_address(str(url)): dict(pairs) for url, pairs in found.items()}


def _is_server(url: str, kinds: tuple[str, ...], *, path: bool) -> bool:
    """Tell whether a URL names a server of one of these kinds; `path`: it must name a database."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in kinds or not parts.hostname or port == 0:
        return False
    if parts.query or parts.fragment or any(mark.isspace() for mark in url):
        return False
    name = parts.path.strip("/")
    return bool(name) if path else not name or (name.isascii() and name.isdigit())


def _mysql_of(given: Mapping[str, Any]) -> str:
    """Write DB_HOST and its like as one URL; empty when none of them is given."""
    parts = [given.get(f"db_{part}") for part in ("host", "port", "user", "password", "name")]
    if not any(parts):
        return ""
    host, port, user, password, name = parts
    word = f":{quote(password.get_secret_value(), safe='')}" if password else ""
    who = quote(user or "studio", safe="")
    where = f"{host or '127.0.0.1'}:{port or 3306}"
    return f"mysql://{who}{word}@{where}/{quote(name or 'studio', safe='')}"


def _redis_of(given: Mapping[str, Any]) -> str:
    """Write REDIS_HOST and its like as one URL; empty when none of them is given."""
    host, port, password = (given.get(f"redis_{part}") for part in ("host", "port", "password"))
    if not host and not port and not password:
        return ""
    word = f":{quote(password.get_secret_value(), safe='')}@" if password else ""
    return f"redis://{word}{host or '127.0.0.1'}:{port or 6379}/0"


def _folder(value: Path) -> Path:
    return PROJECT / value.expanduser()


Addresses = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_addresses)]
Headers = Annotated[dict[str, dict[str, str]], NoDecode, BeforeValidator(_headers)]
Proxies = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_proxies)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)]
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
Folder = Annotated[Path, AfterValidator(_folder)]


class Settings(BaseSettings):
    """All settings of one process, checked and complete. Secrets never show in its repr."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    comfy_host: str | None = None
    """Host name of the one ComfyUI, in place of COMFY_URLS."""

    comfy_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the one ComfyUI, in place of COMFY_URLS. 8188 when only COMFY_HOST is given."""

    comfy_urls: Addresses = ()
    """Addresses of the ComfyUI servers, comma separated. Empty = look at 127.0.0.1:8188, and draw
    practice pictures while none answers there."""

    comfy_token: SecretStr | None = None
    """Token sent to every ComfyUI as `Authorization: Bearer ...`."""

    comfy_headers: Headers = Field(default_factory=dict, repr=False)
    """HTTP headers per ComfyUI address, as JSON. A header named here wins over COMFY_TOKEN."""

    comfy_slots: int = Field(default=2, ge=1, le=16)
    """Prompts kept in each ComfyUI's own queue. 2 = one runs, one waits, so the GPU never does."""

    studio_host: str = Field(default="127.0.0.1", min_length=1)
    """Address the page is served on. 0.0.0.0 = every network this machine is in, and the default in
    a Hugging Face Space, which is reached from outside only so."""

    studio_port: int = Field(default=7860, ge=1, le=65535)
    """Port the page is served on."""

    studio_share: bool = False
    """Also open a public Gradio share link. Needs STUDIO_ACCOUNTS to be set, so that the host has
    said who may come in by it."""

    studio_root_path: str = ""
    """Path under which a proxy serves the page, such as /studio. Empty = at the root."""

    trusted_proxies: Proxies = ()
    """Addresses or networks of proxies whose X-Forwarded-For and -Host are believed. In a Hugging
    Face Space the private networks are the default."""

    cors_origins: Origins = ()
    """Other sites whose pages may call the API, with a token."""

    studio_fetch_urls: bool = True
    """Whether programs may name files by their public http or https address, to be fetched."""

    studio_webhooks: bool = True
    """Whether programs may have an address told when their job has ended."""

    outside_hosts: Hosts = ()
    """Hosts in a private network that persons may name in such addresses, comma separated, each
    with its port or for every port. All others must be public."""

    studio_language: Literal["en", "zh-TW"] = "en"
    """Language for browsers that ask for neither English nor Chinese."""

    studio_secret: SecretStr = SecretStr("")
    """Key that signs each browser's identity, at least 16 characters. Made on the first start and
    kept in DATA_DIR/secret when unset."""

    studio_accounts: Literal["off", "guests", "required"] = "guests"
    """Who may come in. off = one person, without any login, on this machine only. guests = each
    browser is a guest with its own gallery, and may make an account. required = log in first."""

    studio_registration: Literal["open", "invitation", "closed"] = "open"
    """Who may make an account: anybody, who has an invitation, or nobody (the host adds people with
    `python -m studio user add`)."""

    studio_workers: int = Field(default=2, ge=0, le=64)
    """Jobs this process follows at once. 0 = it only takes jobs and shows the page."""

    data_dir: Folder = Path("data")
    """Folder of records, queue, uploads and the secret."""

    outputs_dir: Folder = Path("outputs")
    """Folder of what people made."""

    workflows_dir: Folder = Path("workflows")
    """Folder of the workflow graphs and manifests."""

    log_dir: Folder = Path("logs")
    """Folder of the log files: `studio.log` to read, `studio.jsonl` for programs."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important kind of line that is logged."""

    db_host: str | None = None
    """Host name of the MySQL or MariaDB server, in place of DATABASE_URL."""

    db_port: int | None = Field(default=None, ge=1, le=65535)
    """Its port. 3306 when only DB_HOST is given."""

    db_user: str | None = None
    """User at the database. `studio` when only DB_HOST is given."""

    db_password: SecretStr | None = None
    """The user's password at the database."""

    db_name: str | None = None
    """Name of the database. `studio` when only DB_HOST is given."""

    database_url: str = Field(default="", repr=False)
    """Where the records are: sqlite:///FILE, or mysql://USER:PASSWORD@HOST:PORT/NAME for MySQL 8 or
    MariaDB. Unset = DATA_DIR/studio.db."""

    redis_host: str | None = None
    """Host name of the Redis server, in place of REDIS_URL."""

    redis_port: int | None = Field(default=None, ge=1, le=65535)
    """Its port. 6379 when only REDIS_HOST is given."""

    redis_password: SecretStr | None = None
    """The password of the Redis server."""

    redis_url: str = Field(default="", repr=False)
    """The Redis (6 or later) through which web and worker processes wake and hear each other, as
    redis://:PASSWORD@HOST:PORT/NUMBER. Unset = all is in one process, or woken by a file."""

    max_pending_per_person: int = Field(default=50, ge=1, le=10_000)
    """Jobs one person may have waiting at once."""

    max_running_per_person: int = Field(default=0, ge=0, le=10_000)
    """Jobs one person may have running at once; the others wait. 0 = no limit."""

    min_free_mb: int = Field(default=500, ge=0, le=100_000_000)
    """Free disk space below which no new job is taken, in MB (1,000,000 bytes). 0 = no floor."""

    output_days: int = Field(default=30, ge=0, le=36_500)
    """Days after which an ended job goes, with its files, unless it is a favourite. 0 = never."""

    input_hours: int = Field(default=24, ge=0, le=876_000)
    """Hours after the end of their last job after which given files go. 0 = as it goes itself."""

    quota_mb: int = Field(default=20_000, ge=0, le=100_000_000)
    """Disk space that one person's results and uploads may take, in MB. 0 = no limit."""

    share_max_days: int = Field(default=90, ge=1, le=3650)
    """Longest time a link to a single result may be made for, in days."""

    share_days: int = Field(default=7, ge=1, le=3650)
    """Days after which such a link ends unless its maker said otherwise."""

    max_upload_mb: int = Field(default=100, ge=1, le=4096)
    """Largest file a person may upload, in MB (1,000,000 bytes)."""

    max_pixels: int = Field(default=64_000_000, ge=65_536, le=1_000_000_000)
    """Largest picture a person may upload, width times height, in pixels."""

    max_media_minutes: int = Field(default=30, ge=1, le=600)
    """Longest sound or video a person may upload, in minutes: it is decoded to be measured."""

    prompt_max_chars: int = Field(default=1000, ge=1, le=100_000)
    """Longest prompt, in characters."""

    max_body_mb: int = Field(default=64, ge=1, le=4096)
    """Largest request other than an upload, such as an order with files inside, in MB."""

    rate_generate: int = Field(default=10, ge=0, le=100_000)
    """Orders one person may send over REST in a minute. 0 = no limit, as for all rates."""

    rate_generate_page: int = Field(default=60, ge=0, le=100_000)
    """Orders one person may send in a minute in all: page, gradio_client and REST."""

    rate_status: int = Field(default=2, ge=0, le=100_000)
    """How often one person may ask for a job's status over REST in a second."""

    rate_upload: int = Field(default=30, ge=0, le=100_000)
    """Files one person may upload in a minute."""

    rate_guest: int = Field(default=30, ge=0, le=100_000)
    """Tokens one address may get in a minute."""

    rate_login: int = Field(default=10, ge=0, le=100_000)
    """Times one address may try to log in, and times one account may be tried, in a minute."""

    rate_register: int = Field(default=5, ge=0, le=100_000)
    """Times one address may register in a minute."""

    session_days: int = Field(default=30, ge=1, le=400)
    """Days after which a login ends that is not used."""

    time_limit_s: int = Field(default=3600, ge=1, le=604_800)
    """Longest time one job may run on a ComfyUI, in seconds; then it is stopped and fails."""

    studio_grace_s: float = Field(default=8.0, ge=0, le=3600)
    """How long a worker that is told to stop lets its jobs end, in seconds. What still runs then is
    handed over: its ComfyUI goes on, and the next worker follows it."""

    practice_pace: float = Field(default=0.35, ge=0, le=60)
    """Seconds per sampler step in practice mode."""

    @field_validator("comfy_host")
    @classmethod
    def _host_is_a_name(cls, value: str | None) -> str | None:
        if value and (set("/,@? ") & set(value) or (":" in value and value[0] != "[")):
            raise _refuse("allowed.host")
        return value

    @field_validator("comfy_urls")
    @classmethod
    def _the_one_server_is_one(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        host, port = info.data.get("comfy_host"), info.data.get("comfy_port")
        if host is None and port is None:
            return value
        one = f"http://{host or '127.0.0.1'}:{port or 8188}"
        if value and one not in value:
            raise _refuse("allowed.one_comfy", address=one)
        return value or (one,)

    @field_validator("comfy_headers")
    @classmethod
    def _headers_have_a_server(
        cls, value: dict[str, dict[str, str]], info: ValidationInfo
    ) -> dict[str, dict[str, str]]:
        if not set(info.data.get("comfy_urls") or (DEFAULT_COMFY,)).issuperset(value):
            raise _refuse(_HEADERS)
        return value

    @field_validator("studio_root_path")
    @classmethod
    def _root_path_is_a_path(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and (not value.startswith("/") or "//" in value or " " in value):
            raise _refuse(_ROOT_PATH)
        return value

    @field_validator("studio_accounts")
    @classmethod
    def _off_is_for_one_machine(cls, value: str, info: ValidationInfo) -> str:
        host = str(info.data.get("studio_host", ""))
        shared = bool(info.data.get("studio_share")) or bool(os.environ.get("SPACE_ID"))
        if value == "off" and (shared or not _is_this_machine(host)):
            raise _refuse(_OFF)
        return value

    @field_validator("studio_secret")
    @classmethod
    def _secret_is_long(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < _SECRET_MIN_CHARS:
            raise _refuse("allowed.secret", chars=_SECRET_MIN_CHARS)
        return value

    @field_validator("share_days")
    @classmethod
    def _links_end_in_time(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("share_max_days", value)
        if value > most:
            raise _refuse("allowed.share_days", days=most)
        return value

    @field_validator("workflows_dir")
    @classmethod
    def _workflows_are_there(cls, value: Path) -> Path:
        if not value.is_dir():
            raise _refuse("allowed.folder")
        return value

    @field_validator("db_host", "redis_host")
    @classmethod
    def _server_is_a_name(cls, value: str | None) -> str | None:
        return cls._host_is_a_name(value)

    @field_validator("database_url")
    @classmethod
    def _database_is_one(cls, value: str, info: ValidationInfo) -> str:
        one = _mysql_of(info.data)
        if one and value and value != one:
            raise _refuse("allowed.one_database")
        value = one or value
        if not value:
            return f"sqlite:///{info.data.get('data_dir', _folder(Path('data'))) / 'studio.db'}"
        kind, mark, file = value.partition(":///")
        if kind == "sqlite" and mark and file:
            return f"sqlite:///{_folder(Path(file))}"
        if not _is_server(value, ("mysql", "mariadb", "mysql+pymysql"), path=True):
            raise _refuse(_DATABASE)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_is_one(cls, value: str, info: ValidationInfo) -> str:
        one = _redis_of(info.data)
        if one and value and value != one:
            raise _refuse("allowed.one_redis")
        value = one or value
        if value and not _is_server(value, ("redis", "rediss"), path=False):
            raise _refuse(_REDIS)
        return value

    @property
    def secret_values(self) -> tuple[str, ...]:
        """Give everything that must never be seen, for the log to take out."""
        kept = [self.studio_secret.get_secret_value()]
        if self.comfy_token is not None:
            kept.append(self.comfy_token.get_secret_value())
        kept += [value for headers in self.comfy_headers.values() for value in headers.values()]
        for url in (self.database_url, self.redis_url):
            word = urlsplit(url).password or ""
            kept += [found for found in dict.fromkeys((word, unquote(word))) if found]
        return tuple(kept)

    @property
    def limits(self) -> dict[str, object]:
        """Give what bounds people, by the setting's name: for admins to look at."""
        return {env_name(field): getattr(self, field) for field in _LIMITS}

    def headers_for(self, url: str) -> dict[str, str]:
        """Give the HTTP headers to send to one ComfyUI. They hold secrets: never log them."""
        headers = dict(self.comfy_headers.get(url, {}))
        named = {name.lower() for name in headers}
        if self.comfy_token is not None and "authorization" not in named:
            headers["Authorization"] = f"Bearer {self.comfy_token.get_secret_value()}"
        return headers


def load(env_file: Path | None = ENV_FILE, **overrides: Any) -> Settings:
    """Read all settings, make the folders and the secret; `overrides` win over everything.

    Raises `settings_invalid`, whose sentence is one line: the setting, the value, what is allowed.
    """
    _refuse_misleading_names(env_file)
    try:
        settings = Settings(_env_file=env_file, **overrides)
    except ValidationError as exc:
        raise _first(exc) from None  # its chain would hold the value, which may be a secret
    if os.environ.get("SPACE_ID") and "studio_host" not in settings.model_fields_set:
        settings = settings.model_copy(update={"studio_host": "0.0.0.0"})  # noqa: S104  (a container)
    if os.environ.get("SPACE_ID") and "trusted_proxies" not in settings.model_fields_set:
        settings = settings.model_copy(update={"trusted_proxies": _SPACE_PROXIES})
    for name in ("data_dir", "outputs_dir", "log_dir"):
        _make_folder(name, getattr(settings, name))
    if settings.studio_secret.get_secret_value():
        return settings
    return settings.model_copy(update={"studio_secret": SecretStr(_kept_secret(settings.data_dir))})


def arguments(given: Sequence[str]) -> dict[str, Any]:
    """Read what stands behind `studio_app.py` on the command line, as overrides for `load`."""
    parser = argparse.ArgumentParser(
        prog="studio_app.py", description="Everything else is a setting: see .env.example."
    )
    parser.add_argument(
        "--share", action="store_true", help="open a public share link, as STUDIO_SHARE=true does"
    )
    return {"studio_share": True} if parser.parse_args(given).share else {}


def env_name(field: str) -> str:
    """Give the environment's name of a field."""
    return field.upper()


def shown(name: str, value: object) -> str:
    """Write a setting's value on one line for the host, without what is secret in it."""
    if name in _SECRETS:
        return HIDDEN
    text = " ".join(_PASSWORD.sub(f"//{HIDDEN}@", str(value)).split())
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def _invalid(name: str, value: object, allowed: Sentence | str) -> StudioError:
    return StudioError("settings_invalid", name=name, value=shown(name, value), allowed=allowed)


def _refuse_misleading_names(env_file: Path | None) -> None:
    from_file = {
        name.upper(): value
        for name, value in dotenv_values(
            env_file if env_file and env_file.is_file() else None
        ).items()
    }
    for name, value in from_file.items():
        if name.startswith(("STUDIO_", "COMFY_")) and name.lower() not in Settings.model_fields:
            raise _invalid(name, value, Sentence("allowed.no_setting"))


def _first(exc: ValidationError) -> StudioError:
    error = exc.errors(include_url=False)[0]
    field = str(error["loc"][0])
    return _invalid(env_name(field), error["input"], _allowed(error, field))


def _allowed(error: ErrorDetails, field: str) -> Sentence | str:
    """Say what a field takes, from its type and bounds."""
    if error["type"] == "not_allowed":
        said: Sentence = error["ctx"]["allowed"]
        return said
    info = Settings.model_fields[field]
    if info.annotation is bool:
        return Sentence("allowed.switch")
    if get_origin(info.annotation) is Literal:
        return ", ".join(get_args(info.annotation))
    bounds = {type(rule): rule for rule in info.metadata}
    if Ge in bounds and Le in bounds:
        key = "allowed.number" if info.annotation is float else "allowed.whole"
        return Sentence(key, {"low": bounds[Ge].ge, "high": bounds[Le].le})
    text = info.annotation in (str, str | None)
    return Sentence("allowed.text") if text else error["msg"]


def _make_folder(field: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise _invalid(env_name(field), folder, Sentence("allowed.writable")) from exc


def _kept_secret(folder: Path) -> str:
    """Read the secret kept in `folder`, made on the first start. Two first starts agree on one."""
    path = folder / "secret"
    if not path.exists():
        handle, draft = tempfile.mkstemp(dir=folder, prefix="secret-")  # mode 0600 from the start
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(draft, path)
        except FileExistsError:
            Path(draft).unlink()
        except OSError:  # a file system without hard links
            Path(draft).replace(path)
        else:
            Path(draft).unlink()
    kept = path.read_text("ascii").strip()
    if len(kept) < _SECRET_MIN_CHARS:
        raise _invalid("STUDIO_SECRET", kept, Sentence("allowed.kept_secret", {"path": path}))
    return kept
