"""What follows for every workflow from what the ComfyUI servers have. Asks nobody.

A server of which nothing is known yet is never held to lack anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from studio.engine.workflow.catalog import Catalog
from studio.engine.workflow.preflight import Lack, Preflight, Report, Stock


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What one online server lacks for one workflow."""

    server: str
    report: Report


@dataclass(frozen=True, slots=True)
class Known:
    """A server's stock, and what follows from it for every workflow."""

    stock: Stock
    reports: Mapping[str, Report]
    hopeless: frozenset[str]
    idle: Mapping[str, Mapping[str, str]]


Servers = Mapping[str, Known | None]
"""Every server that takes jobs now, by name; None: nothing is known of it yet."""


class Verdicts:
    """Holds servers against the workflows of one catalog. Safe to use from many threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._preflight = cache(lambda name: Preflight(catalog.workflow(name)))

    @property
    def folders(self) -> set[str]:
        """Name the folder kinds whose listing matters to some workflow."""
        return {f for name in self._catalog.workflows for f in self._preflight(name).folders}

    def known(self, stock: Stock) -> Known:
        """Say what a server lacks for each workflow."""
        reports = {name: self._preflight(name).report(stock) for name in self._catalog.workflows}
        hopeless = frozenset(name for name, report in reports.items() if not report.fit)
        idle = {name: self._preflight(name).idle(stock) for name in reports}
        return Known(stock, reports, hopeless, idle)

    def reports(self, servers: Servers, workflow: str) -> tuple[ServerReport, ...]:
        """Say for each server that is known what it lacks for a workflow."""
        return tuple(
            ServerReport(name, known.reports[workflow])
            for name, known in servers.items()
            if known is not None and workflow in known.reports
        )

    def idle(self, servers: Servers, workflow: str) -> dict[str, str]:
        """Name the fields that no server has the node for, with it.

        Those that can run the workflow are asked; where none can, all.
        """
        known = [one for one in servers.values() if one and workflow in one.idle]
        fit = [one for one in known if workflow not in one.hopeless]
        found = [one.idle[workflow] for one in fit or known]
        if not found:
            return {}
        return {name: node for name, node in found[0].items() if all(name in one for one in found)}

    def unfit(
        self, servers: Servers, workflow: str, values: Mapping[str, Any]
    ) -> dict[str, tuple[Lack, ...]]:
        """Give the servers that cannot run these checked values, and what they lack."""
        preflight = self._preflight(workflow)
        lacks = {
            name: ()
            if _complete(known.reports[workflow]) and preflight.chosen(values, known.stock)
            else preflight.job(values, known.stock)
            for name, known in servers.items()
            if known is not None
        }
        return {name: found for name, found in lacks.items() if found}

    def nobody(
        self, servers: Servers, workflow: str, values: Mapping[str, Any]
    ) -> tuple[Lack, ...]:
        """Give what is lacking where least is, when every server lacks something; else ()."""
        if workflow not in self._catalog.workflows or not servers:
            return ()
        unfit = self.unfit(servers, workflow, values)
        if any(name not in unfit for name in servers):
            return ()
        return min(unfit.values(), key=len)


def pack(stock: Stock) -> tuple[str, str]:
    """Write a stock as text, and the digest it goes by."""
    models = {folder: list(names) for folder, names in stock.models.items()}
    told = {"version": stock.version, "nodes": sorted(stock.nodes), "models": models}
    text = json.dumps(told, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest(), text


def unpack(text: str) -> Stock:
    """Read what `pack` wrote."""
    told = json.loads(text)
    models = {str(folder): tuple(names) for folder, names in told["models"].items()}
    return Stock(str(told["version"]), frozenset(told["nodes"]), models)


def _complete(report: Report) -> bool:
    """Tell whether not even an optional part is missing: then only chosen files can be."""
    return not report.nodes and not report.models
