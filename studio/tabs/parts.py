"""What the page needs of the house, as a type: `studio.build` joins the real parts."""

from __future__ import annotations

from typing import Protocol

from studio.engine.accounts import Guests
from studio.engine.desk import Desk
from studio.engine.limits import Limits
from studio.engine.oversight import Oversight
from studio.engine.people import People
from studio.engine.shares import Shares
from studio.engine.workflow.catalog import Catalog
from studio.settings import Settings


class Parts(Protocol):
    """The parts of one studio, and its life."""

    @property
    def settings(self) -> Settings:
        """Give all settings."""

    @property
    def catalog(self) -> Catalog:
        """Give the workflows, grouped into tabs."""

    @property
    def desk(self) -> Desk:
        """Give the one door to jobs."""

    @property
    def shares(self) -> Shares:
        """Give the maker and opener of links to single results."""

    @property
    def guests(self) -> Guests:
        """Give the maker and reader of identities."""

    @property
    def people(self) -> People:
        """Give the accounts."""

    @property
    def oversight(self) -> Oversight:
        """Give the door for admins."""

    @property
    def limits(self) -> Limits:
        """Give the counter of who asks how often."""

    def start(self) -> None:
        """Open everything; blocks, called once before the first request."""

    def stop(self) -> None:
        """Close everything; blocks, called once at the end."""
