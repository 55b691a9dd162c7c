"""From settings to a real test job: what is well, what is not, and how to mend it.

Yields findings as they are found, so that a host sees at once where it hangs. The test job runs
in a temporary house of its own on the real ComfyUI: it touches nobody's records and files.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from PIL import Image
from redis.exceptions import RedisError

from studio import texts
from studio.build import Studio, build
from studio.engine.bus_redis import connect
from studio.engine.census import Census
from studio.engine.comfy.client import ComfyClient
from studio.engine.database import Database, migrate, open_database
from studio.engine.jobs import Failure, Job, State
from studio.engine.ledger import Ledger
from studio.engine.roster import Roster, mark_of, strangers
from studio.engine.workflow import catalog as catalogs
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.preflight import (
    MissingModel,
    MissingNode,
    OldVersion,
    Preflight,
    Stock,
)
from studio.errors import StudioError
from studio.settings import DEFAULT_COMFY, Settings

JOB_S: Final = 60.0
"""How long the test job may take, in seconds."""

LOW_DISK_BYTES: Final = 2_000_000_000
_TEST_TAB: Final = "image_blend"
_TEST_WORKFLOW: Final = "image_blend_pixel"
_PERSON: Final = "doctor"
_GB: Final = 1e9
_DB_PATIENCE_S: Final = 3.0


class Grade(StrEnum):
    """How well something is."""

    WELL = "well"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: a text key, its parameters, and a key that says the cure."""

    grade: Grade
    key: str
    params: Mapping[str, object] = field(default_factory=dict)
    cure: str = ""

    def sentence(self, language: str = texts.DEFAULT) -> str:
        """Say what was found."""
        return texts.text(self.key, language, **self._said(language))

    def mend(self, language: str = texts.DEFAULT) -> str:
        """Say how to mend it; empty where nothing is to be mended."""
        return texts.text(self.cure, language, **self._said(language)) if self.cure else ""

    def _said(self, language: str) -> dict[str, object]:
        return {name: _words(value, language) for name, value in self.params.items()}


def _words(value: object, language: str) -> object:
    """Write an error or a lack among the parameters as people read it."""
    if isinstance(value, StudioError):
        return " ".join(texts.explain(value, language))
    if isinstance(value, Failure):
        return " ".join(texts.explain_code(value.code, value.params, language))
    if isinstance(value, (MissingNode, MissingModel, OldVersion)):
        return value.sentence(language)
    if isinstance(value, Mapping):
        return texts.local(value, language)
    return value


def examine(
    load: Callable[[], Settings], *, job: bool = True, job_s: float = JOB_S
) -> Iterator[Finding]:
    """Look at everything in order; what a broken part would need afterwards is left out."""
    try:
        settings = load()
    except StudioError as error:
        yield Finding(Grade.BROKEN, "doctor.settings.bad", {"error": error}, "doctor.settings.mend")
        return
    yield Finding(Grade.WELL, "doctor.settings.well")
    yield from _folders(settings)
    catalog = catalogs.load(settings.workflows_dir)
    yield from _workflows(catalog)
    yield from _database(settings)
    if settings.redis_url:
        yield _redis(settings)
    yield from _servers(settings, catalog, job, job_s)


def _folders(settings: Settings) -> Iterator[Finding]:
    for name in ("data_dir", "outputs_dir", "log_dir"):
        folder: Path = getattr(settings, name)
        said = {"setting": name.upper(), "folder": folder}
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
            free = shutil.disk_usage(folder).free
        except OSError as exc:
            said["reason"] = exc.strerror or str(exc)
            yield Finding(Grade.BROKEN, "doctor.folder.bad", said, "doctor.folder.mend")
            continue
        said["free"] = f"{free / _GB:.1f}"
        if free < LOW_DISK_BYTES:
            yield Finding(Grade.BROKEN, "doctor.disk.low", said, "doctor.disk.mend")
        else:
            yield Finding(Grade.WELL, "doctor.folder.well", said)


def _workflows(catalog: Catalog) -> Iterator[Finding]:
    count = {"workflows": len(catalog.workflows), "tabs": len(catalog.tabs)}
    if catalog.workflows:
        yield Finding(Grade.WELL, "doctor.workflows.well", count)
    else:
        yield Finding(Grade.BROKEN, "doctor.workflows.none", count, "doctor.workflows.mend")
    for one in catalog.broken:
        said = {"file": one.file, "line": one.line, "reason": one.said}
        key = "doctor.workflow.bad" if one.line else "doctor.workflow.whole"
        yield Finding(Grade.BROKEN, key, said, "doctor.workflow.mend" if one.line else "")
    yield from _titles(catalog)


def _titles(catalog: Catalog) -> Iterator[Finding]:
    """Tell of workflows that call their tab otherwise than the page does."""
    for tab in catalog.tabs:
        for workflow in tab.workflows:
            other = workflow.manifest.tab_title
            if other and other != tab.title:
                said = {"tab": tab.name, "title": tab.title}
                said |= {"file": f"{workflow.name}.yaml", "other": other}
                yield Finding(Grade.NOTE, "doctor.tab.titles", said, "doctor.tab.titles.mend")


def _database(settings: Settings) -> Iterator[Finding]:
    """Open the records as a start would, and write a row that means nothing."""
    kind = settings.database_url.split(":", 1)[0]
    try:
        database = open_database(settings.database_url, patience_s=_DB_PATIENCE_S)
    except StudioError as error:
        said: dict[str, object] = {"kind": kind, "error": error}
        yield Finding(Grade.BROKEN, "doctor.database.bad", said, "doctor.database.mend")
        return
    try:
        migrate(database)
        Ledger(database).take_chore("doctor", 0)
        waiting = Census(database).waiting()
    except StudioError as error:
        said = {"kind": kind, "error": error}
        yield Finding(Grade.BROKEN, "doctor.database.bad", said, "doctor.database.mend")
    else:
        yield Finding(Grade.WELL, "doctor.database.well", {"kind": kind, "waiting": waiting})
        yield from _workers(settings, database)
    finally:
        database.close()


def _workers(settings: Settings, database: Database) -> Iterator[Finding]:
    """Say which workers answer, and which of them have another secret than this process."""
    roster = Roster(database, "doctor", places=0, running=lambda: 0, servers=lambda: ())
    there = [one for one in roster.workers() if one.online]
    said: dict[str, object] = {"count": len(there)}
    if there:
        yield Finding(Grade.WELL, "doctor.workers.well", said)
    else:
        yield Finding(Grade.NOTE, "doctor.workers.none", said, "doctor.workers.none.mend")
    for one in strangers(there, mark_of(settings.studio_secret.get_secret_value())):
        other = {"worker": one.name, "host": one.host}
        yield Finding(Grade.BROKEN, "doctor.secret.other", other, "doctor.secret.mend")


def _redis(settings: Settings) -> Finding:
    client = connect(settings.redis_url)
    try:
        version = client.info("server").get("redis_version", "?")
    except (RedisError, OSError) as exc:
        said = {"reason": type(exc).__name__}
        return Finding(Grade.BROKEN, "doctor.redis.bad", said, "doctor.redis.mend")
    finally:
        client.close()
    return Finding(Grade.WELL, "doctor.redis.well", {"version": version})


def _servers(settings: Settings, catalog: Catalog, job: bool, job_s: float) -> Iterator[Finding]:
    reached: list[str] = []
    for url in settings.comfy_urls or (DEFAULT_COMFY,):
        client = ComfyClient(url, headers=settings.headers_for(url))
        try:
            stock = _stock(client, catalog)
        except StudioError as error:
            yield _away(settings, url, error)
            continue
        finally:
            client.close()
        reached.append(url)
        said = {"server": url, "version": stock.version or "?", "nodes": len(stock.nodes)}
        yield Finding(Grade.WELL, "doctor.server.well", said)
        yield from _lacks(url, stock, catalog)
    if not job:
        return
    targets = reached or ([] if settings.comfy_urls else [""])
    if not targets:
        yield Finding(Grade.NOTE, "doctor.job.no_server")
    for url in targets:
        yield from _job(settings, catalog, url, job_s)


def _away(settings: Settings, url: str, error: StudioError) -> Finding:
    said = {"server": url, "error": error}
    if not settings.comfy_urls:
        return Finding(Grade.NOTE, "doctor.server.practice", said, "doctor.server.practice.mend")
    return Finding(Grade.BROKEN, "doctor.server.bad", said, "doctor.server.mend")


def _stock(client: ComfyClient, catalog: Catalog) -> Stock:
    folders = {f for w in catalog.workflows.values() for f in Preflight(w).folders}
    return Stock(
        version=client.system().version,
        nodes=frozenset(client.definitions()),
        models={folder: client.models(folder) for folder in sorted(folders)},
    )


def _lacks(url: str, stock: Stock, catalog: Catalog) -> Iterator[Finding]:
    """Say of each workflow whether it runs there, and what it would need."""
    fit = []
    for name, workflow in catalog.workflows.items():
        report = Preflight(workflow).report(stock)
        if report.fit:
            fit.append(name)
        for lack in report.lacks:
            key = "doctor.lack.needed" if lack.needed else "doctor.lack.optional"
            fetchable = lack.needed and isinstance(lack, MissingModel)
            cure = "doctor.lack.mend" if fetchable else ""
            yield Finding(Grade.NOTE, key, {"workflow": name, "lack": lack, "server": url}, cure)
    names = ", ".join(fit) or "-"
    grade = Grade.WELL if fit else Grade.NOTE
    yield Finding(grade, "doctor.fit", {"server": url, "workflows": names})


# --- the test job ---


def _job(settings: Settings, catalog: Catalog, url: str, job_s: float) -> Iterator[Finding]:
    said: dict[str, object] = {
        "server": url or texts.text("doctor.practice"),
        "workflow": _TEST_TAB,
    }
    if _TEST_WORKFLOW not in catalog.workflows:
        yield Finding(Grade.NOTE, "doctor.job.no_workflow", said | {"workflow": _TEST_WORKFLOW})
        return
    with tempfile.TemporaryDirectory(prefix="studio-doctor-") as place:
        try:
            job = _run(_house(settings, url, Path(place)), Path(place), job_s)
        except StudioError as error:
            yield Finding(
                Grade.BROKEN, "doctor.job.bad", said | {"error": error}, "doctor.job.mend"
            )
            return
        except TimeoutError:
            late = said | {"seconds": f"{job_s:g}"}
            yield Finding(Grade.BROKEN, "doctor.job.late", late, "doctor.job.late.mend")
            return
    if job.state is State.COMPLETED and job.outputs:
        seconds = f"{job.seconds or 0:.1f}"
        yield Finding(Grade.WELL, "doctor.job.well", said | {"seconds": seconds})
        return
    failed = said | {"error": job.failure or Failure("no_outputs")}
    yield Finding(Grade.BROKEN, "doctor.job.bad", failed, "doctor.job.mend")


def _house(settings: Settings, url: str, place: Path) -> Settings:
    """Give the same settings with records, files and queue in a place of their own."""
    return settings.model_copy(
        update={
            "comfy_urls": (url,) if url else (),
            "data_dir": place / "data",
            "outputs_dir": place / "outputs",
            "database_url": f"sqlite:///{place / 'studio.db'}",
            "redis_url": "",
            "studio_workers": 1,
        }
    )


def _run(settings: Settings, place: Path, job_s: float) -> Job:
    """Order a pixel blend of two small pictures and follow it to its end."""
    settings.data_dir.mkdir(parents=True)
    settings.outputs_dir.mkdir(parents=True)
    pictures = [place / f"{colour}.png" for colour in ("red", "blue")]
    for picture in pictures:
        Image.new("RGB", (64, 64), picture.stem).save(picture)
    studio = build(settings)
    studio.start()
    try:
        job = studio.desk.submit(_PERSON, _TEST_WORKFLOW, {"images": pictures})
        return asyncio.run(_ended(studio, job, job_s))
    finally:
        studio.stop()


async def _ended(studio: Studio, job: Job, job_s: float) -> Job:
    """Follow like a page does. Cancels what takes too long; raises TimeoutError."""
    try:
        async with asyncio.timeout(job_s):
            async for news in studio.desk.follow(_PERSON, job.job_id):
                if news.state.ended:
                    break
    except TimeoutError:
        await asyncio.to_thread(studio.desk.cancel, _PERSON, job.job_id)
        raise
    return await asyncio.to_thread(studio.desk.job, _PERSON, job.job_id)
