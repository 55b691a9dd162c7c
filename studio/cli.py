"""The host's commands: `python -m studio worker | doctor | monitor | jobs | user | models | …`.

Each only reads its arguments and calls one room; rooms are imported when their command runs, so
that `--help` and `version` are quick. No command imports Gradio.
"""

from __future__ import annotations

import getpass
import locale
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer import rich_utils
from typer.core import TyperCommand, TyperGroup

from studio import texts
from studio.errors import StudioError

if TYPE_CHECKING:
    from studio.doctor import Finding
    from studio.settings import Settings


class Language(StrEnum):
    """What `--lang` takes."""

    EN = "en"
    ZH_TW = "zh-TW"


def _language(asked: Language | None) -> str:
    """Choose the language: as asked, else as the terminal's."""
    if asked is not None:
        return asked.value
    told = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0]
    return texts.pick((told or "").replace("_", "-"))


def _speak(command: TyperCommand | TyperGroup, ctx: Any) -> None:
    """Put a command's help into the terminal's language; the code's own is for who reads code."""
    language = _language(None)
    called = command.name or "studio"
    if isinstance(command, TyperCommand):
        called = getattr(command.callback, "__name__", "").strip("_")
    command.help = texts.text(f"cli.{called}", language)
    for param in command.get_params(ctx):
        for key in (f"cli.{called}.{param.name}", f"cli.option.{param.name}"):
            if texts.has(key):
                setattr(param, "help", texts.text(key, language))  # noqa: B010 - two kinds have it
                break
    for title in ("options", "arguments", "commands"):
        setattr(rich_utils, f"{title.upper()}_PANEL_TITLE", texts.text(f"cli.{title}", language))


class _Command(TyperCommand):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        _speak(self, ctx)
        super().format_help(ctx, formatter)


class _Group(TyperGroup):
    def format_help(self, ctx: Any, formatter: Any) -> None:
        for command in (self, *self.commands.values()):
            if isinstance(command, (TyperCommand, TyperGroup)):
                _speak(command, ctx)
        super().format_help(ctx, formatter)


app = typer.Typer(
    cls=_Group,
    help="The host's tools of ComfyUI Studio.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(cls=_Group, help="Model files of the workflows.", no_args_is_help=True)
app.add_typer(models_app, name="models")
user_app = typer.Typer(cls=_Group, help="People who log in.", no_args_is_help=True)
app.add_typer(user_app, name="user")
jobs_app = typer.Typer(cls=_Group, help="Everybody's jobs.", no_args_is_help=True)
app.add_typer(jobs_app, name="jobs")

_MARKS = {"well": "[green]✓[/]", "note": "[yellow]![/]", "broken": "[red]✗[/]"}


JobId = Annotated[str, typer.Argument(help="The id, as `jobs list` tells it.")]
Lang = Annotated[
    Language | None, typer.Option("--lang", help="Language; unset: that of the terminal.")
]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")]
Stdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@app.command(cls=_Command)
def version() -> None:
    """Print the version."""
    from studio import __version__

    typer.echo(__version__)


@app.command(cls=_Command)
def worker(lang: Lang = None) -> None:
    """Run jobs without a page, until SIGTERM or Ctrl+C."""
    from studio import log
    from studio.worker import run_worker

    with _told(lang):
        settings = _settings()
        stop = log.start(
            settings.log_dir,
            name="worker",
            level=settings.log_level,
            hide=settings.secret_values,
        )
        try:
            run_worker(settings)
        finally:
            stop()


@app.command(cls=_Command)
def doctor(
    job: Annotated[bool, typer.Option(help="Also run a test job on each ComfyUI.")] = True,
    job_seconds: Annotated[float, typer.Option(min=1, help="Longest time of a test job.")] = 60,
    lang: Lang = None,
) -> None:
    """Look at everything from the settings to a real test job, and say how to mend it."""
    from studio.doctor import Grade, examine

    language, console = _language(lang), Console(highlight=False)
    broken = 0
    for finding in examine(_settings, job=job, job_s=job_seconds):
        _print(console, finding, language)
        broken += finding.grade is Grade.BROKEN
    if broken:
        console.print(f"\n[red]{texts.text('doctor.some_broken', language, count=broken)}[/]")
        raise typer.Exit(1)
    console.print(f"\n[green]{texts.text('doctor.all_well', language)}[/]")


def _print(console: Console, finding: Finding, language: str) -> None:
    mark = _MARKS[finding.grade]
    console.print(f"{mark} {escape(finding.sentence(language))}", soft_wrap=True)
    mend = finding.mend(language)
    if mend:
        console.print(f"  [dim]→[/] {escape(mend)}", soft_wrap=True)


@app.command(cls=_Command)
def monitor(
    once: Annotated[bool, typer.Option(help="Print one picture and end.")] = False,
    lang: Lang = None,
) -> None:
    """Show servers, workers, queue and running jobs, live, above the log."""
    from studio.monitor import Monitor, picture, watch

    language, console = _language(lang), Console()
    with _told(lang):
        watcher = Monitor(_settings())
        watcher.start()
        try:
            if once or not console.is_terminal:
                watcher.settle()
                console.print(picture(watcher.look(), language))
            else:
                watch(watcher, console, language)
        except KeyboardInterrupt:
            pass
        finally:
            watcher.stop()


@app.command(cls=_Command, name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="Graph of Export (API), or what ComfyUI saved.")],
    name: Annotated[str | None, typer.Option(help="Name of the workflow.")] = None,
    lang: Lang = None,
) -> None:
    """Draft a workflow from an exported graph: NAME.yaml and NAME.json in `workflows/`."""
    from studio.importing import bring_in

    language = _language(lang)
    with _told(lang):
        made = bring_in(file, _settings().workflows_dir, name)
        said = {"manifest": made.manifest, "graph": made.graph, "name": made.name}
        typer.echo(texts.text("import.done", language, **said))
        for note in made.notes:
            typer.echo(note.sentence(language))
        typer.echo(texts.text("import.next", language, **said))


@models_app.command(cls=_Command, name="list")
def list_models(
    workflow: Annotated[str | None, typer.Argument(help="Only this workflow's.")] = None,
    lang: Lang = None,
) -> None:
    """List the model files of all workflows, or of one."""
    from studio.fetching import listing

    with _told(lang):
        Console().print(listing(_settings().workflows_dir, workflow, _language(lang)))


@models_app.command(cls=_Command, name="get")
def get_models(
    workflow: Annotated[str, typer.Argument(help="Whose files to fetch.")],
    into: Annotated[Path, typer.Option(help="The `models` folder of a ComfyUI.")],
    optional: Annotated[bool, typer.Option(help="Also files that only some settings use.")] = True,
    lang: Lang = None,
) -> None:
    """Fetch the model files of a workflow; run again, it goes on where it stopped."""
    from studio.fetching import fetch_all

    language = _language(lang)
    with _told(lang):
        fetch_all(_settings().workflows_dir, workflow, into, language, optional=optional)


@jobs_app.command(cls=_Command, name="list")
def list_jobs(
    ended: Annotated[bool, typer.Option("--all", help="Also what has ended.")] = False,
    lang: Lang = None,
) -> None:
    """List what runs and what waits, without what was asked for."""
    from studio import overseeing

    with _told(lang):
        Console().print(
            overseeing.table(overseeing.jobs(_settings(), ended=ended), _language(lang))
        )


@jobs_app.command(cls=_Command, name="priority")
def set_priority(
    job: JobId,
    priority: Annotated[
        int | None, typer.Argument(min=0, max=1_000_000, help="Unset: before all that wait.")
    ] = None,
    lang: Lang = None,
) -> None:
    """Let a waiting job start before all of a lower priority; 0 is everybody's."""
    from studio import overseeing

    with _told(lang):
        line = overseeing.let_first(_settings(), job, priority)
        said = {"job": line.job_id, "priority": line.priority}
        typer.echo(texts.text("jobs.priority_set", _language(lang), **said))


@jobs_app.command(cls=_Command, name="cancel")
def cancel_job(job: JobId, lang: Lang = None) -> None:
    """Stop a job, wherever it is."""
    from studio import overseeing

    with _told(lang):
        line = overseeing.cancel(_settings(), job)
        key = "jobs.is_cancelled" if line.state.ended else "jobs.will_be_cancelled"
        typer.echo(texts.text(key, _language(lang), job=line.job_id))


@user_app.command(cls=_Command, name="add")
def add_user(
    email: Email,
    admin: Annotated[bool, typer.Option("--admin", help="Make an admin.")] = False,
    name: Annotated[str, typer.Option(help="The name to show.")] = "",
    password_stdin: Stdin = False,
    lang: Lang = None,
) -> None:
    """Make an account. The password is asked for, twice."""
    from studio import enrolling

    language = _language(lang)
    with _told(lang):
        word = _password(password_stdin, language)
        account = enrolling.add(_settings(), email, word, name=name, admin=admin)
        typer.echo(texts.text(f"user.added_{account.role}", language, email=account.email))


@user_app.command(cls=_Command, name="list")
def list_users(lang: Lang = None) -> None:
    """List all accounts, the newest first."""
    from studio import enrolling

    with _told(lang):
        Console().print(enrolling.table(enrolling.accounts(_settings()), _language(lang)))


@user_app.command(cls=_Command, name="password")
def set_password(email: Email, password_stdin: Stdin = False, lang: Lang = None) -> None:
    """Set somebody's password; every login of theirs ends."""
    from studio import enrolling

    language = _language(lang)
    with _told(lang):
        enrolling.find(_settings(), email)  # before anything is asked
        account = enrolling.reset(_settings(), email, _password(password_stdin, language))
        typer.echo(texts.text("user.password_set", language, email=account.email))


@user_app.command(cls=_Command, name="block")
def block_user(email: Email, lang: Lang = None) -> None:
    """Keep somebody out, and stop what they have waiting and running."""
    from studio import enrolling

    with _told(lang):
        account = enrolling.block(_settings(), email)
        typer.echo(texts.text("user.blocked", _language(lang), email=account.email))


@user_app.command(cls=_Command, name="unblock")
def unblock_user(email: Email, lang: Lang = None) -> None:
    """Let somebody in again."""
    from studio import enrolling

    with _told(lang):
        account = enrolling.unblock(_settings(), email)
        typer.echo(texts.text("user.unblocked", _language(lang), email=account.email))


@user_app.command(cls=_Command, name="admin")
def set_admin(
    email: Email,
    off: Annotated[bool, typer.Option("--off", help="Make a member again.")] = False,
    lang: Lang = None,
) -> None:
    """Make somebody admin."""
    from studio import enrolling

    with _told(lang):
        account = enrolling.set_admin(_settings(), email, not off)
        said = {"email": account.email}
        typer.echo(texts.text(f"user.is_{account.role}", _language(lang), **said))


@user_app.command(cls=_Command, name="invite")
def invite_user(
    days: Annotated[int, typer.Option(min=1, max=365, help="Days it is good for.")] = 7,
    lang: Lang = None,
) -> None:
    """Make an invitation, by which one person may register."""
    from studio import enrolling

    language = _language(lang)
    with _told(lang):
        made = enrolling.invite(_settings(), days=days)
        typer.echo(texts.text("user.invited", language, days=days))
        typer.echo(made.url)
        typer.echo(texts.text("user.invited_code", language, code=made.code))


@user_app.command(cls=_Command, name="delete")
def delete_user(
    email: Email,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    lang: Lang = None,
) -> None:
    """Take somebody away for good: account, works and files."""
    from studio import enrolling

    language = _language(lang)
    with _told(lang):
        account = enrolling.find(_settings(), email)
        asked = texts.text("user.delete_sure", language, email=account.email)
        if not yes and not typer.confirm(asked):
            raise typer.Exit(1)
        enrolling.delete(_settings(), email)
        typer.echo(texts.text("user.deleted", language, email=account.email))


def _password(from_stdin: bool, language: str) -> str:
    """Ask for a password twice, unseen; or read it as the first line of standard input."""
    if from_stdin or not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    word = getpass.getpass(texts.text("user.password", language))
    if getpass.getpass(texts.text("user.password_again", language)) != word:
        raise StudioError("passwords_differ", field="password")
    return word


def _settings() -> Settings:
    from studio.settings import load

    return load()


@contextmanager
def _told(lang: Language | None) -> Iterator[None]:
    """Say an error as people read it, and end with 1."""
    try:
        yield
    except StudioError as error:
        typer.secho(" ".join(texts.explain(error, _language(lang))), fg="red", err=True)
        raise typer.Exit(1) from error
