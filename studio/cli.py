"""The host's commands: `python -m studio worker | doctor | monitor | models | import | version`.

Each only reads its arguments and calls one room; rooms are imported when their command runs, so
that `--help` and `version` are quick. No command imports Gradio.
"""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from studio import texts
from studio.errors import StudioError

if TYPE_CHECKING:
    from studio.doctor import Finding
    from studio.settings import Settings

app = typer.Typer(
    help="The host's tools of ComfyUI Studio.", no_args_is_help=True, pretty_exceptions_enable=False
)
models_app = typer.Typer(help="Model files of the workflows.", no_args_is_help=True)
app.add_typer(models_app, name="models")

_MARKS = {"well": "[green]✓[/]", "note": "[yellow]![/]", "broken": "[red]✗[/]"}


class Language(StrEnum):
    """What `--lang` takes."""

    EN = "en"
    ZH_TW = "zh-TW"


Lang = Annotated[
    Language | None, typer.Option("--lang", help="Language; unset: that of the terminal.")
]


@app.command()
def version() -> None:
    """Print the version."""
    from studio import __version__

    typer.echo(__version__)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="Graph of Export (API), or a picture of ComfyUI.")],
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


@models_app.command(name="list")
def list_models(
    workflow: Annotated[str | None, typer.Argument(help="Only this workflow's.")] = None,
    lang: Lang = None,
) -> None:
    """List the model files of all workflows, or of one."""
    from studio.fetching import listing

    with _told(lang):
        Console().print(listing(_settings().workflows_dir, workflow, _language(lang)))


@models_app.command(name="get")
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


def _settings() -> Settings:
    from studio.settings import load

    return load()


def _language(asked: Language | None) -> str:
    """Choose the language: as asked, else as the terminal's."""
    if asked is not None:
        return asked.value
    told = os.environ.get("LC_ALL") or os.environ.get("LANG") or locale.getlocale()[0]
    return texts.pick((told or "").replace("_", "-"))


@contextmanager
def _told(lang: Language | None) -> Iterator[None]:
    """Say an error as people read it, and end with 1."""
    try:
        yield
    except StudioError as error:
        typer.secho(" ".join(texts.explain(error, _language(lang))), fg="red", err=True)
        raise typer.Exit(1) from error
