"""`sql_query`: one statement with bound parameters, on a database that the configuration names."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

import podium
from podium.marks import SANITIZE
from podium.sanitizers.rejection import Rejected
from podium.sanitizers.sql import SqlSanitizer
from service.tools.failures import failed, rejected
from service.tools.pools import health_of
from service.tools.postgres_connections import PostgresConnections
from service.tools.settings import Database
from service.tools.sql_connection import Connections, Scalar
from service.tools.sqlite_connections import SqliteConnections

_PARAMETERS_MAX = 200


class QueryResult(TypedDict):
    """The rows, each a list in the order of the columns. `affected` is null for a statement that only reads."""

    columns: list[str]
    rows: list[list[Any]]
    row_count: int
    truncated: bool
    affected: int | None


def connections_of(settings: Database) -> Connections:
    """The connections to a database. Whoever makes them closes them."""
    return SqliteConnections(settings) if settings.dialect == "sqlite" else PostgresConnections(settings)


def options_of(settings: Database) -> dict[str, Any]:
    """What the sanitizer is told."""
    options: dict[str, Any] = {"dialect": settings.dialect, "kinds": list(settings.kinds)}
    for name in ("functions", "tables", "types"):
        values = getattr(settings, name)
        if values is not None:
            options[name] = list(values)
    return options


def add_sql_query(
    app: podium.Executor,
    databases: Mapping[str, tuple[Database, Connections]],
    probe: podium.Probe | None = None,
) -> None:
    """Serve the tool."""
    settings = [each for each, _ in databases.values()]
    asked = {name: connections for name, (each, connections) in databases.items() if each.health}
    sanitizers = {each.name: SqlSanitizer(options_of(each)) for each in settings}
    writes = any(each.writes for each in settings)

    async def health() -> podium.Health:
        return await health_of(lambda: _ask(asked), lambda: [each.statistics() for _, each in databases.values()])

    @app.tool(
        health=health if asked else None,
        probe=probe if asked else None,
        permissions=["database_read", "database_write"] if writes else ["database_read"],
        read_only=not writes,
        idempotent=not writes,
        timeout=max(each.timeout_s for each in settings) + 15,
    )
    async def sql_query(
        database: Annotated[str, {"enum": sorted(databases)}],
        statement: Annotated[
            str, "One statement; its values are written :name and given in parameters.", *_declared(settings)
        ],
        parameters: Annotated[dict[str, Scalar] | None, {"maxProperties": _PARAMETERS_MAX}] = None,
        max_rows: Annotated[
            int, "How many rows to return at most.", {"minimum": 1, "maximum": max(each.max_rows for each in settings)}
        ] = min(100, *(each.max_rows for each in settings), 100),
    ) -> QueryResult:
        """Query a database. Rows beyond the limits are left out, which `truncated` tells."""
        limits, connections = databases[database]
        try:
            sanitizers[database].check(statement)
        except Rejected as error:
            raise rejected(error, "statement") from None
        found = await connections.query(statement, parameters or {}, min(max_rows, limits.max_rows))
        return QueryResult(
            columns=found.columns,
            rows=found.rows,
            row_count=len(found.rows),
            truncated=found.truncated,
            affected=found.affected,
        )


async def _ask(databases: Mapping[str, Connections]) -> None:
    for name, connections in databases.items():
        statistics = connections.statistics()
        # One more would wait for those that work.
        if statistics.in_use < statistics.size:
            try:
                await connections.query("SELECT 1", {}, 1)
            except podium.ToolFailed as error:
                raise failed(error.reason, f"{name}: {error.message}") from None


def _declared(settings: list[Database]) -> list[Mapping[str, Any]]:
    """The statement's sanitizer, for the schema. Where databases differ in it, only this executor can apply it."""
    distinct = {json.dumps(options_of(each)): options_of(each) for each in settings}
    return [{SANITIZE: {"sql": each}} for each in distinct.values()] if len(distinct) == 1 else []
