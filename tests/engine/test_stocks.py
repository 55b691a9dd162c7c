from __future__ import annotations

from pathlib import Path

from studio.engine.comfy.client import ComfyClient
from studio.engine.comfy.fleet import Fleet
from studio.engine.stocks import Stocks
from studio.engine.verdicts import Verdicts
from studio.engine.workflow import catalog
from studio.practice import PracticeServer


def test_what_a_claim_learns_of_a_new_server_is_told_at_once(tmp_path: Path) -> None:
    """Nothing is another than before at the next round, so that one would tell nobody."""
    told: list[int] = []
    with PracticeServer(models={}) as server:
        fleet = Fleet([ComfyClient(server.url)], configured=True)
        stocks = Stocks(fleet, Verdicts(catalog.load(tmp_path)))
        stocks.on_change(lambda: told.append(len(stocks.known())))
        fleet.probe()

        stocks.hopeless(fleet.usable()[0])
        stocks.refresh()

        assert told == [1]
        fleet.stop()
