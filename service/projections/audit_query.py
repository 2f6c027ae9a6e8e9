"""Reads the audit trail: in pages, and whole as JSON Lines.

Both walk the trail by position, and stop at a fixed place or at a full page, so that neither keeps more than a few
hundred lines in memory however long the trail is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Integer, Row, ScalarSelect, Select, func, or_, select

from podium.v1 import events_pb2
from podium.v1.audit_service_pb2 import AuditEntry, AuditFilter
from podium.v1.value_pb2 import Principal
from service.projections import checkpoints
from service.projections.audit import AUDIT, WALKS_ALL, AuditTrail
from service.projections.database import ProjectionsDatabase
from service.projections.paging import Page, Paging, first_of
from store.contract import SHARD
from store.records import TYPE_NAMES, TYPE_NUMBERS

EXPORT_LINES = 256
"""How many lines the export reads, and yields, at a time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DECISIONS = {events_pb2.DECISION_ALLOW: "allow", events_pb2.DECISION_DENY: "deny"}
_PRINCIPAL_FIELDS = tuple(field.name for field in Principal.DESCRIPTOR.fields)


class AuditFilterError(ValueError):
    """The filter names what there is not. `field` is the field at fault."""

    field = "filter.types"


class AuditQuery:
    """Answers from the projection `AuditTrail`."""

    def __init__(self, database: ProjectionsDatabase) -> None:
        self._database = database

    async def page(
        self, tenant: str, audit_filter: AuditFilter, *, page_size: int = 0, page_token: str = ""
    ) -> Page[AuditEntry]:
        """Read a page of a tenant's trail, in the order of the log. Pages stay in step while the trail grows.

        Raises:
            PageTokenError: The token is not from a page with this filter.
            PageSizeError: The size is out of bounds.
            AuditFilterError: The filter names a type that does not exist.
        """
        asked = _canonical(audit_filter).SerializeToString(deterministic=True)
        paging = Paging.of("audit", tenant, asked, page_size=page_size, page_token=page_token)
        statement = _statement(tenant, audit_filter, paging.after or 0, paging.limit + 1)

        def read(connection: Connection) -> Page[AuditEntry]:
            rows = connection.execute(statement).all()
            return paging.page([_entry(row) for row in rows], [row.position for row in rows])

        return await self._database.read(read)

    async def export(self, tenant: str, audit_filter: AuditFilter) -> AsyncIterator[bytes]:
        """Yield the trail as JSON Lines, some whole lines at a time, up to where it was when the export began.

        Raises:
            AuditFilterError: The filter names a type that does not exist.
        """
        end = await self._database.read(lambda connection: checkpoints.position_of(connection, AuditTrail()))
        position = 0
        while position < end:
            data, position = await self._export_block(tenant, audit_filter, position, end)
            if data:
                yield data

    async def _export_block(self, tenant: str, audit_filter: AuditFilter, after: int, end: int) -> tuple[bytes, int]:
        """Read the next lines, and the position they reach; it is `end` when there are no more."""
        statement = _statement(tenant, audit_filter, after, EXPORT_LINES, end)

        def read(connection: Connection) -> tuple[bytes, int]:
            rows = connection.execute(statement).all()
            reached = rows[-1].position if len(rows) == EXPORT_LINES else end
            return b"".join(_json_line(row) for row in rows), reached

        return await self._database.read(read)


def _canonical(audit_filter: AuditFilter) -> AuditFilter:
    canonical = AuditFilter()
    canonical.CopyFrom(audit_filter)
    canonical.types[:] = sorted(set(audit_filter.types))
    return canonical


def _statement(tenant: str, wanted: AuditFilter, after: int, limit: int, end: int | None = None) -> Select[Any]:
    # One bound at each end: of two, SQLite seeks to the first that is written and checks the other line by line.
    lower: ColumnElement[bool] = AUDIT.c.position > after
    if wanted.from_us and not after:
        lower = AUDIT.c.position >= _first_at(tenant, wanted.from_us)
    query = select(AUDIT).where(AUDIT.c.tenant == tenant, lower)
    if wanted.until_us:
        # Beyond the end of the trail there is no such line, and every position is before it.
        query = query.where(AUDIT.c.position < func.coalesce(_first_at(tenant, wanted.until_us), (1 << 63) - 1))
    if end is not None:
        query = query.where((_unindexed(AUDIT.c.position) if wanted.until_us else AUDIT.c.position) <= end)
    conditions = _conditions(wanted)
    if not conditions:
        return first_of([query.where(WALKS_ALL)], "position", limit)
    (columns, values), *others = conditions
    for other_columns, other_values in others:
        query = query.where(or_(*(_unindexed(column).in_(other_values) for column in other_columns)))
    return first_of([query.where(column == value) for column in columns for value in values], "position", limit)


def _conditions(wanted: AuditFilter) -> list[tuple[tuple[Column[Any], ...], list[Any]]]:
    """The conditions of a filter: one of the columns has one of the values. The one that fewest lines meet leads.

    The leading one is looked up in its index, which is in the order of the log, and the others are checked line by
    line. Left to itself SQLite, which has no statistics here, may walk all lines of a type to find one workflow's.
    """
    denials = wanted.decision == events_pb2.DECISION_DENY
    conditions: list[tuple[tuple[Column[Any], ...], list[Any]]] = [
        ((AUDIT.c.stream_id,), [wanted.stream_id] if wanted.stream_id else []),
        ((AUDIT.c.decision,), [wanted.decision] if denials else []),
        ((AUDIT.c.subject, AUDIT.c.caller), [wanted.subject] if wanted.subject else []),
        ((AUDIT.c.tool,), [wanted.tool] if wanted.tool else []),
        ((AUDIT.c.type,), _type_numbers(wanted)),
        ((AUDIT.c.decision,), [wanted.decision] if wanted.decision and not denials else []),
    ]
    return [(columns, values) for columns, values in conditions if values]


def _unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """The column's value as an expression, for which no index can be chosen."""
    return column + 0 if isinstance(column.type, Integer) else column.concat("")


def _first_at(tenant: str, time_us: int) -> ScalarSelect[int]:
    """The position of a tenant's first line at a time or later. Times never decrease, so it bounds a range of both."""
    lines = AUDIT.alias()
    return (
        select(lines.c.position)
        .where(lines.c.tenant == tenant, lines.c.recorded_at_us >= time_us)
        .order_by(lines.c.recorded_at_us, lines.c.position)
        .limit(1)
        .scalar_subquery()
    )


def _type_numbers(wanted: AuditFilter) -> list[int]:
    if unknown := sorted(set(wanted.types) - TYPE_NUMBERS.keys()):
        raise AuditFilterError(f"there is no type of event named {', '.join(unknown)}")
    return sorted({TYPE_NUMBERS[name] for name in wanted.types})


def _type_name(number: int) -> str:
    return TYPE_NAMES.get(number, f"unknown_{number}")


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        event=f"{SHARD}:{row.position}",
        tenant_sequence=row.tenant_sequence,
        recorded_at_us=row.recorded_at_us,
        stream_id=row.stream_id,
        type=_type_name(row.type),
        step_id=row.step_id or "",
        tool=row.tool or "",
        principal=None if row.principal is None else Principal.FromString(row.principal),
        decision=row.decision or events_pb2.DECISION_UNSPECIFIED,
        rule=row.rule or "",
        policy=row.policy or "",
        summary=row.summary,
    )


def _json_line(row: Row[Any]) -> bytes:
    """One line of the export. Every line has every field; null says that there is none."""
    principal = None if row.principal is None else Principal.FromString(row.principal)
    line = {
        "event": f"{SHARD}:{row.position}",
        "tenant_sequence": row.tenant_sequence,
        "recorded_at": _iso(row.recorded_at_us),
        "stream_id": row.stream_id,
        "type": _type_name(row.type),
        "step_id": row.step_id,
        "tool": row.tool,
        "principal": principal and {name: getattr(principal, name) or None for name in _PRINCIPAL_FIELDS},
        "decision": _DECISIONS.get(row.decision),
        "rule": row.rule,
        "policy": row.policy,
        "summary": row.summary,
        "details": None if row.details is None else orjson.Fragment(row.details),
    }
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _iso(time_us: int) -> str:
    time = _EPOCH + timedelta(microseconds=time_us)
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"
