"""The settings of where the service keeps its log and its keys, and what is wrong with them; service.config reads them.

Invariant: what is set as the database is not repeated: it may hold a password, as may any part of what cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from service.settings.ports import ENCODED, PORT_MAX, host_port, is_port

_PLAIN_PATH = re.compile(r"[^\s:=@?/]+(/[^\s=@?]*)?")
"""Nothing that addresses have: a colon before the first slash, two slashes first, a user, parameters, words."""
_MEANT_PATH = re.compile(r"(\.{1,2}/|/(?!/))[^?]*", re.DOTALL)
"""What nobody would begin an address with. Without a question mark: a file's address would end there."""
_ADDRESS = re.compile(r"(sqlite(\+\w+)?:///|postgresql(\+\w+)?://)")
_OF_SERVER = "postgresql://USER@HOST/NAME"


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the service keeps what it must not lose."""

    database_url: str = field(default="sqlite:///podium.db", repr=False)
    """sqlite:///path or postgresql://user:password@host/database, or the path of a SQLite file, which begins with / or
    ./ where it has a space or any of : = @ in it."""
    state_directory: Path = Path(".podium")
    """Keys and lock files."""

    def at(self, database: str) -> Storage:
        """The same with this database: an address, or the path of a SQLite file.

        What may be meant as an address is left as it is, and `storage_problems` refuses it: as a path it would begin a
        new log, under a name that may hold a password.
        """
        is_path = _MEANT_PATH.fullmatch(database) or _PLAIN_PATH.fullmatch(database)
        return replace(self, database_url=f"sqlite:///{database}" if is_path else database)


def storage_problems(storage: Storage) -> Iterator[str]:
    """What is wrong with the settings, a line each."""
    database = storage.database_url
    if not _ADDRESS.match(database):
        if "://" in database or database.startswith("postgres"):
            yield (
                "PODIUM_DATABASE_URL begins with neither sqlite:/// nor postgresql://: an address is written "
                f"{_OF_SERVER}, or sqlite:/// and the path of a file"
            )
        else:
            yield (
                f"PODIUM_DATABASE_URL is neither an address, which is written {_OF_SERVER}, nor plainly the path of a "
                "file: one that has a space or any of : = @ in it is written ./ and the path, and ? in one as %3F "
                "behind sqlite:///"
            )
    elif database.startswith("postgresql"):
        ports = _ports(database)
        if ports is None or not all(port.isdecimal() for port in ports):
            yield f"PODIUM_DATABASE_URL is no address: {ENCODED}"
        elif not all(map(is_port, ports)):
            yield f"PODIUM_DATABASE_URL has a port that is none: a port is from 1 to {PORT_MAX}"


def _ports(url: str) -> list[str] | None:
    """What stands for the ports of an address; None: it cannot be read."""
    try:
        hosts = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return None
    return [port for host in hosts.split(",") if (port := host_port(host))]
