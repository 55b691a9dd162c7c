"""The health check of a worker: `python -m studio.alive` fails when none of this host is heard.

A worker has no page to ask. It tells the database every ten seconds that it is there; a container
has a host name of its own, so what is told under it is told by its one worker.
"""

from __future__ import annotations

import socket
import sys

from studio.engine.database import open_database
from studio.engine.roster import Roster
from studio.errors import StudioError
from studio.settings import load

PATIENCE_S = 3.0


def alive() -> bool:
    """Tell whether a worker of this host was heard within 30 s. Raises StudioError."""
    database = open_database(load().database_url, patience_s=PATIENCE_S)
    try:
        roster = Roster(database, "", places=0, running=lambda: 0, servers=lambda: ())
        host = socket.gethostname()[:255]
        return any(one.online and one.host == host for one in roster.workers())
    finally:
        database.close()


def main() -> int:
    """Give the exit code, and say on stderr what is wrong."""
    try:
        found = alive()
    except StudioError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not found:
        sys.stderr.write("no worker of this host was heard within 30 s\n")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
