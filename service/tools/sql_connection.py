"""What a query is and what comes back, whichever database answers.

Invariant: values reach a statement bound and never as text of it, and a failure names neither values nor addresses.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import sqlalchemy
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeEngine

from podium.json_text import to_json
from podium.pool_use import PoolStatistics, PoolUse
from service.tools.failures import INPUT_REJECTED, TOO_LARGE, failed

Scalar: TypeAlias = str | int | float | bool | None

_TYPES: dict[type, TypeEngine[Any]] = {
    bool: sqlalchemy.Boolean(),
    int: sqlalchemy.BigInteger(),
    float: sqlalchemy.Double(),
    str: sqlalchemy.String(),
}
_INT64 = range(-(2**63), 2**63)
_NEW = "new"
_QUOTED = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | (\$\w*\$).*?\1 | --[^\n]* | /\*.*?\*/""", re.VERBOSE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gave, or as much of it as the limits allow."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool
    affected: int | None
    """How many rows a statement changed; None for one that only reads."""


class Connections(Protocol):
    """The connections to one database."""

    async def query(self, statement: str, parameters: Mapping[str, Scalar], max_rows: int) -> Rows:
        """Run one statement and return its rows. Raises podium.ToolFailed."""

    def statistics(self) -> PoolStatistics:
        """How they are used."""

    async def close(self) -> None:
        """Close all of them."""


def count_use(engine: sqlalchemy.Engine, use: PoolUse) -> None:
    """Count what becomes of the connections of an engine's pool; `use.asked` is said where one is asked for."""

    def opened(_: object, record: ConnectionPoolEntry) -> None:
        record.info[_NEW] = True
        use.opened()

    def taken(_: object, record: ConnectionPoolEntry, __: object) -> None:
        use.taken()
        if not record.info.pop(_NEW, False):
            use.reused()

    sqlalchemy.event.listen(engine, "connect", opened)
    sqlalchemy.event.listen(engine, "checkout", taken)
    sqlalchemy.event.listen(engine, "checkin", lambda *_: use.given_back())


def bound(statement: str, parameters: Mapping[str, Scalar]) -> sqlalchemy.TextClause:
    """The statement with its values, each typed as JSON has it: no database guesses a type from where a value stands.

    Raises podium.ToolFailed for a value that the statement has no place for, a place without a value, and a number that
    no database holds.
    """
    text = sqlalchemy.text(with_literal_colons(statement))
    missing = [name for name in text.compile().params if name not in parameters]
    if missing:
        raise failed(INPUT_REJECTED, f"parameters hold no value for :{missing[0]}", field="parameters")
    for name, value in parameters.items():
        if isinstance(value, int) and value not in _INT64:
            message = f"{name} does not fit 64 bits: give it as text, and cast it in the statement"
            raise failed(INPUT_REJECTED, message, field="parameters")
    typed = [sqlalchemy.bindparam(name, value, _TYPES.get(type(value))) for name, value in parameters.items()]
    try:
        return text.bindparams(*typed)
    except sqlalchemy.exc.ArgumentError:
        message = "parameters hold a name that the statement does not use"
        raise failed(INPUT_REJECTED, message, field="parameters") from None


def with_literal_colons(statement: str) -> str:
    """The statement for `sqlalchemy.text`, which would take a `:word` inside of quotes for a parameter."""
    return _QUOTED.sub(lambda quoted: quoted[0].replace(":", r"\:"), statement)


class RowLimit:
    """Collects rows until there are too many, or they are too large."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self.rows: list[list[Any]] = []
        self.truncated = False
        self._max_rows = max_rows
        self._bytes_left = max_bytes

    def take(self, rows: Iterable[Sequence[object]]) -> bool:
        """Take rows; returns False when no more are wanted."""
        for row in rows:
            values = [plain(value) for value in row]
            self._bytes_left -= len(to_json(values).encode())
            if len(self.rows) >= self._max_rows or (self._bytes_left < 0 and self.rows):
                self.truncated = True
                return False
            if self._bytes_left < 0:
                raise failed(TOO_LARGE, "a single row of the result is larger than the limit of the database")
            self.rows.append(values)
        return True


def plain(value: object) -> object:
    """A database's value as JSON has it: numbers that JSON cannot hold exactly, times and others as text."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case bytes() | memoryview():
            return {"base64": base64.b64encode(value).decode()}
        case list() | tuple():
            return [plain(each) for each in value]
        case dict():
            return {str(name): plain(each) for name, each in value.items()}
        case _:
            return str(value)
