"""A read model: which generation of its tables is read, and who still reads the one before.

Invariant: a read sees one generation whole. It takes the one that is served when it begins, and the tables of that one
are dropped only when its last reader has ended; so a switch stops no reader, and none finds its tables gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol

from sqlalchemy import Connection, MetaData, Table, inspect

from service.projections import checkpoints
from service.projections.checkpoints import Stored
from service.projections.database import DatabaseUnavailableError, ProjectionsDatabase, Result
from service.projections.generation import Generation, P
from store.contract import EventReader

_logger = logging.getLogger(__name__)


class LogWithHead(EventReader, Protocol):
    """The log, and how long it is."""

    @property
    def head(self) -> int:
        """The position of the last committed event; 0: none."""


class ReadModel(Generic[P]):
    """A projection's tables, served from `open` on."""

    def __init__(self, make: Callable[[int], P], database: ProjectionsDatabase) -> None:
        """`make` makes the projection over the tables of the generation with this number."""
        self._make = make
        self._database = database
        self._served: _Lent[P] | None = None
        shape = make(0)
        self.name = shape.name
        self.schema_version = shape.schema_version
        self.turn = asyncio.Lock()
        """Held by whoever writes the generation that is served, or puts another one in its place."""

    @property
    def served(self) -> Generation[P]:
        """The generation that is read."""
        return self._lent.generation

    async def open(self, log: LogWithHead) -> None:
        """Make the tables ready to be read: as they were left, or empty when they do not fit. Raises DatabaseError."""
        found = await self._database.write(self._found)
        served = next((stored for stored in found if stored.is_served), None)
        why = "it has no tables" if served is None else await checkpoints.misfit(log, served, self.schema_version)
        if served is None or why:
            _logger.info("projection %s is built from the beginning of the log: %s", self.name, why)
            served = Stored(
                self.name, _next(found), is_served=True, schema_version=self.schema_version, whole_at=log.head
            )
            await self._database.write(lambda connection: self._begin_anew(connection, served))
        else:
            await self._database.write(self._sweep)
        self._served = _Lent(Generation(self._make(served.generation), served, self._database))

    async def read(self, work: Callable[[Connection, P], Result]) -> Result:
        """Run `work` over the generation that is served, on one view of what is committed. Raises DatabaseError."""
        lent = self._lent
        with lent:
            return await self._database.read(lambda connection: work(connection, lent.generation.projection))

    async def next_generation(self, log: LogWithHead) -> Generation[P]:
        """The generation beside the one that is served: one whose building was interrupted, or an empty one."""
        found = await self.served.write(self._found)
        for stored in found:
            if not stored.is_served and not await checkpoints.misfit(log, stored, self.schema_version):
                return Generation(self._make(stored.generation), stored, self._database)
        stored = Stored(self.name, _next(found), is_served=False, schema_version=self.schema_version, whole_at=log.head)
        await self.served.write(lambda connection: self._begin_beside(connection, stored))
        return Generation(self._make(stored.generation), stored, self._database)

    async def switch_to(self, generation: Generation[P]) -> None:
        """Serve another generation, which must not be behind the one that is served. The caller holds `turn`."""
        assert self.turn.locked()
        assert generation.position >= max(self.served.position, generation.whole_at)
        await generation.write(lambda connection: checkpoints.serve(connection, self.name, generation.number))
        self._served = _Lent(generation, before=self._lent)

    async def drop_unserved(self) -> None:
        """Drop the tables of the generation before, once nobody reads them. What cannot be dropped is left."""
        if (before := self._lent.before) is not None:
            await before.unread()
            self._lent.before = None
        try:
            await self._database.write(self._sweep)
        except DatabaseUnavailableError as error:
            _logger.warning("the old tables of projection %s stay until it is opened again: %s", self.name, error)

    @property
    def _lent(self) -> _Lent[P]:
        assert self._served is not None, "the read model is not open"
        return self._served

    def _found(self, connection: Connection) -> list[Stored]:
        checkpoints.prepare(connection)
        return checkpoints.load(connection, self.name)

    def _begin_anew(self, connection: Connection, stored: Stored) -> None:
        for old in checkpoints.load(connection, self.name):
            checkpoints.remove(connection, self.name, old.generation)
        self._begin(connection, stored)

    def _begin_beside(self, connection: Connection, stored: Stored) -> None:
        for old in checkpoints.load(connection, self.name):
            if not old.is_served:
                checkpoints.remove(connection, self.name, old.generation)
        self._begin(connection, stored)

    def _begin(self, connection: Connection, stored: Stored) -> None:
        # A try before this one may have committed after all.
        checkpoints.remove(connection, self.name, stored.generation)
        checkpoints.add(connection, stored)
        self._sweep(connection)
        self._make(stored.generation).metadata.create_all(connection)

    def _sweep(self, connection: Connection) -> None:
        """Drop the projection's tables that belong to no generation, of whatever version they are."""
        kept = [f"{self.name}_{stored.generation}" for stored in checkpoints.load(connection, self.name)]
        for name in inspect(connection).get_table_names():
            if _is_of(name, self.name) and not any(_is_of(name, generation) for generation in kept):
                Table(name, MetaData()).drop(connection)


class _Lent(Generic[P]):
    """A generation that is served, or was, and how many read it."""

    def __init__(self, generation: Generation[P], before: _Lent[P] | None = None) -> None:
        self.generation = generation
        self.before = before
        self._readers = 0
        self._unread = asyncio.Event()
        self._unread.set()

    def __enter__(self) -> None:
        self._readers += 1
        self._unread.clear()

    def __exit__(self, *_: object) -> None:
        self._readers -= 1
        if not self._readers:
            self._unread.set()

    async def unread(self) -> None:
        """Wait until nobody reads it. Whoever begins after the switch reads another."""
        await self._unread.wait()


def _is_of(table: str, owner: str) -> bool:
    return table == owner or table.startswith(f"{owner}_")


def _next(found: list[Stored]) -> int:
    return 1 + max((stored.generation for stored in found), default=0)
