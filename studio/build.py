"""The one place where parts are made and joined. Web and worker processes both use it.

Holds no logic of its own, and nobody below imports it.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from studio.engine.abandoned import Abandoned
from studio.engine.accounts import Guests
from studio.engine.bus import Bus, MemoryBus
from studio.engine.bus_redis import RedisBus
from studio.engine.census import Census
from studio.engine.comfy.address import is_loopback
from studio.engine.comfy.client import ComfyClient
from studio.engine.comfy.fleet import Fleet
from studio.engine.darkroom import Darkroom
from studio.engine.database import Database, migrate, open_database
from studio.engine.desk import Desk
from studio.engine.disk import DiskFloor
from studio.engine.health import Pulse, lag_histogram
from studio.engine.heart import Heart, Lease
from studio.engine.history import History
from studio.engine.jobs import Hook, Job
from studio.engine.ledger import Ledger
from studio.engine.limits import Limits, Rate
from studio.engine.live import Live
from studio.engine.media import Media
from studio.engine.outside import Outside
from studio.engine.oversight import Oversight
from studio.engine.people import People, Registration
from studio.engine.places import Places
from studio.engine.proofs import Proofs
from studio.engine.quota import Quota
from studio.engine.roster import Roster, mark_of, name_of_this_process, strangers
from studio.engine.runner import Runner
from studio.engine.servers import Servers
from studio.engine.shares import Shares
from studio.engine.sole import SoleUse
from studio.engine.stocks import Stocks
from studio.engine.store import Store
from studio.engine.tasks import Doorbell
from studio.engine.verdicts import Verdicts
from studio.engine.watcher import Pace
from studio.engine.webhooks import Delivery, Sender, Webhooks
from studio.engine.workflow import catalog as catalogs
from studio.engine.workflow.catalog import Catalog
from studio.settings import DEFAULT_COMFY, Settings
from studio.web.schemas import job_view

if TYPE_CHECKING:
    from studio.practice import PracticeServer

log = logging.getLogger("studio.build")

MB: Final = 1_000_000
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
SHELVES_EVERY_S: Final = 20.0
SHELVING_S: Final = 3.0
"""How long one process works on shelves at a time: after an update there may be a million jobs."""


@dataclass(frozen=True, slots=True)
class Studio:
    """All parts of one process, joined. `start` before use, `stop` once at the end."""

    settings: Settings
    database: Database
    hurried: Database
    catalog: Catalog
    ledger: Ledger
    census: Census
    bus: Bus
    media: Media
    store: Store
    outside: Outside
    sender: Sender
    darkroom: Darkroom
    fleet: Fleet
    stocks: Stocks
    runner: Runner
    abandoned: Abandoned
    doorbell: Doorbell
    roster: Roster
    servers: Servers
    live: Live
    desk: Desk
    shares: Shares
    guests: Guests
    people: People
    oversight: Oversight
    limits: Limits
    practice: PracticeServer | None
    sole_use: SoleUse | None

    def start(self) -> None:
        """Open sockets and start threads: ComfyUI clients, workers, heartbeat, sweeper."""
        if self.practice is not None:
            self.practice.start()
        self.bus.start()
        if self.settings.studio_workers and self.sole_use is not None:
            # A killed process left its leases: alone here, we know that nobody else has them.
            self.sole_use.join(lambda: self.ledger.reap(even_live=True))
        if self.settings.studio_workers:
            self.fleet.start()
            self.stocks.start()
            self.runner.start()
            self.abandoned.start()
            self.roster.start()
            self.live.start()
            self.sender.start()
            self.doorbell.start(self.settings.studio_workers)
            self.doorbell.ring()
        mark = mark_of(self.settings.studio_secret.get_secret_value())
        for other in strangers(self.servers.workers(), mark):
            log.warning(
                "worker %s has another STUDIO_SECRET: what one signs the other refuses", other.name
            )

    def stop(self, grace_s: float = 0.0) -> None:
        """Let jobs end for so many seconds, hand over those that still run, close everything."""
        if grace_s:
            self.doorbell.stop(grace_s)
        self.sender.stop()
        self.outside.stop()
        self.runner.stop()
        self.doorbell.stop(grace_s=5)
        self.abandoned.stop()
        self.darkroom.stop()
        self.live.stop()
        self.roster.stop()
        self.stocks.stop()
        self.fleet.stop()
        if self.practice is not None:
            self.practice.stop()
        self.bus.stop()
        self.hurried.close()
        self.database.close()
        if self.sole_use is not None:
            self.sole_use.leave()


def build(settings: Settings, *, pace: Pace | None = None, lease: Lease | None = None) -> Studio:
    """Make and join all parts. Nothing runs, and no socket is open, before `start`.

    `pace` is how patient the watchers are; its time limit is the settings'.
    """
    database = open_database(settings.database_url)
    migrate(database)
    secret = settings.studio_secret.get_secret_value()
    proofs = Proofs(settings.data_dir / "proofs.json")
    catalog = catalogs.load(settings.workflows_dir, proofs)
    proofs.save()
    hurried = database.hurried()
    ledger = Ledger(
        database,
        max_pending=settings.max_pending_per_person,
        max_running=settings.max_running_per_person,
    )
    census = Census(database)
    bus: Bus = RedisBus(settings.redis_url) if settings.redis_url else MemoryBus()
    name = name_of_this_process()
    media = Media(
        settings.data_dir / "inputs",
        max_bytes=settings.max_upload_mb * MB,
        max_pixels=settings.max_pixels,
        max_seconds=settings.max_media_minutes * 60.0,
    )
    store = Store(settings.outputs_dir)
    outside = Outside(allowed=settings.outside_hosts, house=_house(settings))
    darkroom = Darkroom(store)
    port = None if settings.comfy_urls or not settings.studio_workers else _free_port()
    practice = None if port is None else _practice(settings, catalog, port)
    fleet = _fleet(settings, port)
    verdicts = Verdicts(catalog)
    stocks = Stocks(fleet, verdicts)
    lease = lease or Lease()
    heart = Heart(ledger, bus, lease)
    abandoned = Abandoned(Ledger(hurried), fleet)
    runner = Runner(
        ledger=ledger,
        census=census,
        heart=heart,
        places=Places(fleet, stocks),
        catalog=catalog,
        store=store,
        media=media,
        kept=darkroom.develop,
        left=abandoned.look_soon,
        worker=name,
        lease_s=lease.lease_s,
        pace=replace(pace or Pace(), time_limit_s=settings.time_limit_s),
    )
    doorbell = Doorbell(
        settings.redis_url or settings.data_dir / "queue.db",
        runner.pump,
        waiting=census.waiting,
        free_slots=lambda: fleet.free_slots,
        reap=ledger.reap,
        take_chore=ledger.take_chore,
        secret=secret,
    )
    fleet.on_change(doorbell.ring)
    stocks.on_change(doorbell.ring)
    history = History(database, ledger, census)
    _add_chores(doorbell, store, media, ledger, census, history, settings)
    sender = Sender(
        database, ledger, Webhooks(database, outside, secret), outside, _told_by_webhook
    )
    roster = Roster(
        hurried,
        name,
        places=settings.studio_workers,
        running=lambda: heart.running,
        servers=stocks.told,
        stocks=stocks.packed,
        secret_mark=mark_of(secret),
    )
    fleet.on_change(roster.tell_soon)
    stocks.on_change(roster.tell_soon)
    own = (fleet, stocks) if settings.studio_workers else None
    servers = Servers(roster, verdicts, own, me=name)
    desks = Ledger(
        hurried,
        max_pending=settings.max_pending_per_person,
        max_running=settings.max_running_per_person,
    )
    counting = Census(hurried)
    floor = DiskFloor((settings.data_dir, settings.outputs_dir), settings.min_free_mb * MB)
    lags = lag_histogram()
    desk = Desk(
        catalog=catalog,
        ledger=desks,
        census=counting,
        media=media,
        bus=bus,
        servers=servers,
        store=store,
        history=History(hurried, desks, counting),
        darkroom=darkroom,
        doorbell=doorbell,
        pulse=Pulse(counting, servers, floor, workflows=catalog.workflows.keys(), lags=lags),
        floor=floor,
        quota=Quota(hurried, counting, media, settings.quota_mb * MB),
        lags=lags,
        prompt_max_chars=settings.prompt_max_chars,
        outside=outside if settings.studio_fetch_urls else None,
        webhooks=Webhooks(hurried, outside if settings.studio_webhooks else None, secret),
    )
    shares = Shares(
        hurried,
        desks,
        darkroom,
        secret,
        days=settings.share_days,
        max_days=settings.share_max_days,
    )
    doorbell.add_chore("links", DAY_S, shares.sweep)
    people = People(
        hurried,
        registration=Registration(settings.studio_registration),
        session_days=settings.session_days,
    )
    doorbell.add_chore("logins", DAY_S, people.sweep)
    for broken in catalog.broken:
        log.warning("workflow left out: %s", broken.error())
    return Studio(
        settings=settings,
        database=database,
        hurried=hurried,
        catalog=catalog,
        ledger=ledger,
        census=census,
        bus=bus,
        media=media,
        store=store,
        outside=outside,
        sender=sender,
        darkroom=darkroom,
        fleet=fleet,
        stocks=stocks,
        runner=runner,
        abandoned=abandoned,
        live=Live(settings.data_dir / "live", heart.standing),
        doorbell=doorbell,
        roster=roster,
        servers=servers,
        desk=desk,
        shares=shares,
        guests=Guests(secret),
        people=people,
        oversight=Oversight(hurried, people, desk, desks, limits=settings.limits),
        limits=_limits(settings),
        practice=practice,
        sole_use=_sole_use(settings.database_url),
    )


def _limits(settings: Settings) -> Limits:
    rates = {
        Rate.GENERATE: settings.rate_generate,
        Rate.PAGE: settings.rate_generate_page,
        Rate.STATUS: settings.rate_status,
        Rate.UPLOAD: settings.rate_upload,
        Rate.GUEST: settings.rate_guest,
        Rate.LOGIN: settings.rate_login,
        Rate.REGISTER: settings.rate_register,
    }
    return Limits(rates, settings.redis_url)


def _told_by_webhook(job: Job, hook: Hook, delivery: Delivery) -> dict[str, Any]:
    """Write what a webhook is sent: how the job stands, as `/api/status` tells it."""
    view = job_view(job, None, root=hook.base, language=hook.language, webhook=delivery)
    return view.model_dump(mode="json")


def _house(settings: Settings) -> list[str]:
    """Name the hosts of our own servers, which nobody may reach through us."""
    urls = (*settings.comfy_urls, settings.database_url, settings.redis_url)
    return [host for url in urls if (host := urlsplit(url).hostname)]


def _sole_use(database_url: str) -> SoleUse | None:
    """Tell who else works on this database: only a file's users are all on this machine."""
    kind, _, path = database_url.partition(":///")
    return SoleUse(Path(path).parent) if kind == "sqlite" else None


def _practice(settings: Settings, catalog: Catalog, port: int) -> PracticeServer:
    """Make the stand-in for a studio that no ComfyUI is configured for; it has every model."""
    from studio.practice import PracticeServer  # 11 MB, which other studios need not have

    models: dict[str, list[str]] = {}
    for model in catalog.models.values():
        models.setdefault(model.folder, []).append(model.file)
    for folder, file in _named(catalog):
        models.setdefault(folder, []).append(file)
    return PracticeServer(
        port=port,
        pace_s=settings.practice_pace,
        folder=settings.data_dir / "practice",
        models=models,
    )


def _named(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Give folder and file of models that a host's own manifests name and `models.yaml` does not.

    Such a manifest can be tried before its models are anywhere.
    """
    for workflow in catalog.workflows.values():
        for p in workflow.manifest.parameters:
            if p.folder and isinstance(p.default, str):
                yield p.folder, p.default


def _fleet(settings: Settings, practice_port: int | None) -> Fleet:
    urls = settings.comfy_urls or (DEFAULT_COMFY,)
    return Fleet(
        [
            ComfyClient(url, headers=settings.headers_for(url), name=_server_name(settings, url))
            for url in urls
        ],
        stand_in=ComfyClient(f"http://127.0.0.1:{practice_port}") if practice_port else None,
        configured=bool(settings.comfy_urls),
        slots=settings.comfy_slots,
    )


def _server_name(settings: Settings, url: str) -> str:
    """Tell this machine's own ComfyUI from another machine's, where several share the records.

    To a worker elsewhere, 127.0.0.1 is a different server: it must not look for our prompts there.
    """
    host = urlsplit(url).hostname or ""
    if settings.database_url.startswith("sqlite:") or not is_loopback(host):
        return ""
    return f"{socket.gethostname()} {urlsplit(url).netloc}"


def _add_chores(
    doorbell: Doorbell,
    store: Store,
    media: Media,
    ledger: Ledger,
    census: Census,
    history: History,
    settings: Settings,
) -> None:
    """Name what is tidied now and then, by one process of all."""
    doorbell.add_chore("deleted jobs", HOUR_S, lambda: history.purge(DAY_S, store.remove))
    doorbell.add_chore("shelves", SHELVES_EVERY_S, lambda: history.tidy(SHELVING_S))
    doorbell.add_chore("drafts", HOUR_S, lambda: store.sweep_drafts(DAY_S))
    doorbell.add_chore("unknown outputs", DAY_S, lambda: store.sweep_unknown(census.kept, DAY_S))
    keep_s = settings.input_hours * HOUR_S

    def sweep_inputs() -> int:
        """Take away what no job needs. Of ended jobs' files Use again can do without."""
        needed = census.inputs_in_use(ended_within_s=keep_s) if keep_s else history.inputs()
        return media.sweep(needed, keep_s or DAY_S, time.time())

    doorbell.add_chore("inputs", HOUR_S, sweep_inputs)
    doorbell.add_chore("abandoned prompts", DAY_S, lambda: ledger.forget_abandoned(DAY_S))
    if settings.output_days:
        age_s = settings.output_days * DAY_S
        doorbell.add_chore("old outputs", HOUR_S, lambda: history.expire(age_s, store.remove))


def _free_port() -> int:
    """Find a free loopback port, so that the practice server's address is known before it runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
