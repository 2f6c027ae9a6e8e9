"""What the projections need of a database, and statements that cost little.

Nothing in it is the truth: it is built from the log whenever it does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, Protocol, TypeVar

from sqlalchemy import ClauseElement, Connection, Dialect
from sqlalchemy.sql.compiler import SQLCompiler

READERS = 4
"""How many reads run at a time; the others wait for their turn."""

Result = TypeVar("Result")


class DatabaseError(Exception):
    """The database did not do what it was asked for, whatever the rows. `reason` is stable, in upper snake case."""

    reason = "PROJECTIONS_ERROR"


class DatabaseUnavailableError(DatabaseError):
    """It is locked, full, read-only or out of reach. The same may succeed later; a write may have committed."""

    reason = "PROJECTIONS_UNAVAILABLE"


class DatabaseFencedError(DatabaseError):
    """Another process has taken over the projections. Nothing was written, and this process writes no more."""

    reason = "PROJECTIONS_FENCED"


class ProjectionsDatabase(Protocol):
    """A database with one writer. One process writes it: the one that owns the log."""

    async def prepare(self) -> None:
        """Make sure that it can be opened, while another process may still own it. Raises DatabaseError."""

    async def open(self, epoch: int) -> None:
        """Connect and make it ready, for whoever owns the log under this epoch. Raises DatabaseError.

        Where several processes can reach it, one of a lower epoch is refused from then on (DatabaseFencedError).
        """

    async def close(self) -> None:
        """Finish what runs, then disconnect."""

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in one transaction, after the writes before it. An error in it undoes it.

        Raises DatabaseError when it is not the work that failed.
        """

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` on one unchanging view of what is committed. It cannot write. Raises DatabaseError."""


def storable(text: str) -> str:
    """A caller's text as every database can keep it: Postgres has no NUL in a text."""
    return text.replace("\0", "\ufffd")


class PreparedStatement:
    """A statement that is executed all the time, compiled once for each kind of database.

    SQLAlchemy looks up a statement at each `execute`, and binds each row by name and type: this costs more than SQLite
    takes to write it, and holds up the event loop meanwhile. The values are given to the driver as they are.
    """

    def __init__(self, statement: ClauseElement, columns: Iterable[str] | None = None) -> None:
        self._statement = statement
        self._keys = None if columns is None else list(columns)
        self._compiled: dict[str, tuple[str, Callable[[Mapping[str, object]], Any]]] = {}

    def execute(self, connection: Connection, row: Mapping[str, object]) -> int:
        """Execute it for one row, which holds a value for each of its parameters; returns how many rows it changed."""
        text, in_order = self._in(connection.dialect)
        return connection.exec_driver_sql(text, in_order(row)).rowcount

    def execute_many(self, connection: Connection, rows: Iterable[Mapping[str, object]]) -> None:
        """Execute it for each row."""
        text, in_order = self._in(connection.dialect)
        if values := [in_order(row) for row in rows]:
            connection.exec_driver_sql(text, values)

    def _in(self, dialect: Dialect) -> tuple[str, Callable[[Mapping[str, object]], Any]]:
        return self._compiled.get(dialect.name) or self._compile(dialect)

    def _compile(self, dialect: Dialect) -> tuple[str, Callable[[Mapping[str, object]], Any]]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._keys)
        assert isinstance(compiled, SQLCompiler)
        assert compiled.positiontup is not None
        self._compiled[dialect.name] = made = str(compiled), itemgetter(*compiled.positiontup)
        return made
