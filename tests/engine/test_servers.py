"""One process's view of all servers: its own, and what other workers tell of theirs."""

from __future__ import annotations

import pytest

from studio.engine.database import Database
from studio.engine.roster import Roster, ServerTold
from studio.engine.servers import Servers
from studio.engine.verdicts import Verdicts, pack
from studio.engine.workflow import catalog as catalogs
from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.preflight import Stock
from studio.errors import StudioError
from studio.settings import PROJECT

BLEND = "image_blend_pixel"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return catalogs.load(PROJECT / "workflows")


def stock(catalog: Catalog, *, lacks: str = "", checkpoints: tuple[str, ...] = ()) -> Stock:
    """A server with every node any workflow uses, but one."""
    nodes = {
        body["class_type"]
        for workflow in catalog.workflows.values()
        for body in workflow.graph.nodes.values()
    }
    return Stock("0.8.0", frozenset(nodes - {lacks}), {"checkpoints": checkpoints})


def worker(database: Database, name: str, *servers: tuple[ServerTold, Stock | None]) -> Roster:
    """A worker process elsewhere that has told of its servers."""
    packed = dict(pack(one) for _, one in servers if one is not None)
    digests = [pack(one)[0] if one is not None else "" for _, one in servers]
    told = [
        ServerTold(one.name, one.online, reason=one.reason, in_use=one.in_use, stock=digest)
        for (one, _), digest in zip(servers, digests, strict=True)
    ]
    roster = Roster(
        database, name, places=1, running=lambda: 0, servers=lambda: told, stocks=lambda: packed
    )
    roster.tell()
    return roster


@pytest.fixture
def web(database: Database, catalog: Catalog) -> Servers:
    """What a process without servers of its own knows; it asks each time."""
    roster = Roster(database, "web", places=0, running=lambda: 0, servers=lambda: ())
    return Servers(roster, Verdicts(catalog), None, me="web", keep_s=0.0)


UP = ServerTold("gpu", online=True)
DOWN = ServerTold("gpu", online=False, reason="server.reason.away")


def test_without_a_worker_nobody_works_and_nothing_is_refused(web: Servers) -> None:
    assert web.views() == ()
    assert web.nobody_works
    web.require(BLEND, {"images": ["a.png", "b.png"]})


def test_what_the_only_worker_lacks_is_refused_by_name(
    web: Servers, database: Database, catalog: Catalog
) -> None:
    worker(database, "one", (UP, stock(catalog, lacks="ImageBlend")))

    with pytest.raises(StudioError) as caught:
        web.require(BLEND, {"images": ["a.png", "b.png"]})

    assert (caught.value.code, caught.value.params["class_type"]) == ("missing_node", "ImageBlend")
    assert not any(one.report.fit for one in web.reports(BLEND))
    assert web.waits("j", BLEND, {"images": ["a.png", "b.png"]})


def test_what_one_worker_can_run_is_not_refused(
    web: Servers, database: Database, catalog: Catalog
) -> None:
    worker(database, "one", (UP, stock(catalog, lacks="ImageBlend")))
    worker(database, "two", (ServerTold("other", True), stock(catalog)))

    web.require(BLEND, {"images": ["a.png", "b.png"]})

    assert [view.name for view in web.views()] == ["gpu", "other"]
    assert not web.nobody_works


def test_a_server_of_which_nothing_is_known_yet_is_held_to_lack_nothing(
    web: Servers, database: Database, catalog: Catalog
) -> None:
    worker(database, "one", (UP, stock(catalog, lacks="ImageBlend")))
    worker(database, "two", (ServerTold("other", True), None))

    web.require(BLEND, {"images": ["a.png", "b.png"]})


def test_models_of_all_servers_can_be_chosen(
    web: Servers, database: Database, catalog: Catalog
) -> None:
    worker(database, "one", (UP, stock(catalog, checkpoints=("a", "b"))))
    worker(database, "two", (ServerTold("other", True), stock(catalog, checkpoints=("b", "c"))))

    assert web.choices("checkpoints") == ("a", "b", "c")


def test_a_server_is_there_when_one_of_two_workers_reaches_it(
    web: Servers, database: Database
) -> None:
    worker(database, "one", (DOWN, None))
    assert not web.any_there
    worker(database, "two", (ServerTold("gpu", True, in_use=2), None))

    (view,) = web.views()

    assert (view.online, view.reason, view.in_use) == (True, "", 2)
    assert web.any_there


def test_a_worker_unheard_of_speaks_for_no_server(web: Servers, database: Database) -> None:
    worker(database, "one", (UP, None))
    row = database.tables.worker
    database.tx(row.update(seen_us=row.seen_us - 60_000_000).execute)

    assert web.views() == ()
    assert web.nobody_works
