"""Reads the audit trail: in pages, and whole as JSON Lines.

Both walk the trail by position, and stop at a fixed place or at a full page, so that neither keeps more than a few
hundred lines in memory however long the trail is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Connection, Integer, Row, ScalarSelect, Select, Table, func, or_, select

from podium.v1 import events_pb2
from podium.v1.audit_service_pb2 import AuditEntry, AuditFilter
from podium.v1.value_pb2 import Principal
from service.projections import checkpoints
from service.projections.audit import AuditTrail, walks_all
from service.projections.database import storable
from service.projections.paging import Page, Paging, first_of
from service.projections.read_model import ReadModel
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

    def __init__(self, model: ReadModel[AuditTrail]) -> None:
        self._model = model

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

        def read(connection: Connection, trail: AuditTrail) -> Page[AuditEntry]:
            rows = connection.execute(
                _statement(trail.lines, tenant, audit_filter, paging.after or 0, paging.limit + 1)
            ).all()
            return paging.page([_entry(row) for row in rows], [row.position for row in rows])

        return await self._model.read(read)

    async def export(self, tenant: str, audit_filter: AuditFilter) -> AsyncIterator[bytes]:
        """Yield the trail as JSON Lines, some whole lines at a time, up to where it was when the export began.

        Raises:
            AuditFilterError: The filter names a type that does not exist.
        """
        end = await self._model.read(lambda connection, trail: checkpoints.served_position(connection, trail.name))
        position = 0
        while position < end:
            data, position = await self._export_block(tenant, audit_filter, position, end)
            if data:
                yield data

    async def _export_block(self, tenant: str, audit_filter: AuditFilter, after: int, end: int) -> tuple[bytes, int]:
        """Read the next lines, and the position they reach; it is `end` when there are no more."""

        def read(connection: Connection, trail: AuditTrail) -> tuple[bytes, int]:
            rows = connection.execute(_statement(trail.lines, tenant, audit_filter, after, EXPORT_LINES, end)).all()
            reached = rows[-1].position if len(rows) == EXPORT_LINES else end
            return b"".join(_json_line(row) for row in rows), reached

        return await self._model.read(read)


def _canonical(audit_filter: AuditFilter) -> AuditFilter:
    canonical = AuditFilter()
    canonical.CopyFrom(audit_filter)
    canonical.types[:] = sorted(set(audit_filter.types))
    return canonical


def _statement(
    lines: Table, tenant: str, wanted: AuditFilter, after: int, limit: int, end: int | None = None
) -> Select[Any]:
    # One bound at each end: of two, SQLite seeks to the first that is written and checks the other line by line.
    lower: ColumnElement[bool] = lines.c.position > after
    if wanted.from_us and not after:
        lower = lines.c.position >= _first_at(lines, tenant, wanted.from_us)
    query = select(lines).where(lines.c.tenant == tenant, lower)
    if wanted.until_us:
        # Beyond the end of the trail there is no such line, and every position is before it.
        query = query.where(lines.c.position < func.coalesce(_first_at(lines, tenant, wanted.until_us), (1 << 63) - 1))
    if end is not None:
        query = query.where((_unindexed(lines.c.position) if wanted.until_us else lines.c.position) <= end)
    conditions = _conditions(lines, wanted)
    if not conditions:
        return first_of([query.where(walks_all(lines))], "position", limit)
    (columns, values), *others = conditions
    for other_columns, other_values in others:
        query = query.where(or_(*(_unindexed(column).in_(other_values) for column in other_columns)))
    return first_of([query.where(column == value) for column in columns for value in values], "position", limit)


def _conditions(lines: Table, wanted: AuditFilter) -> list[tuple[tuple[Column[Any], ...], list[Any]]]:
    """The conditions of a filter: one of the columns has one of the values. The one that fewest lines meet leads.

    The leading one is looked up in its index, which is in the order of the log, and the others are checked line by
    line. Left to itself SQLite, which has no statistics here, may walk all lines of a type to find one workflow's.
    """
    denials = wanted.decision == events_pb2.DECISION_DENY
    conditions: list[tuple[tuple[Column[Any], ...], list[Any]]] = [
        ((lines.c.stream_id,), [storable(wanted.stream_id)] if wanted.stream_id else []),
        ((lines.c.decision,), [wanted.decision] if denials else []),
        ((lines.c.subject, lines.c.caller), [storable(wanted.subject)] if wanted.subject else []),
        ((lines.c.tool,), [storable(wanted.tool)] if wanted.tool else []),
        ((lines.c.type,), _type_numbers(wanted)),
        ((lines.c.decision,), [wanted.decision] if wanted.decision and not denials else []),
    ]
    return [(columns, values) for columns, values in conditions if values]


def _unindexed(column: Column[Any]) -> ColumnElement[Any]:
    """The column's value as an expression, for which no index can be chosen."""
    return column + 0 if isinstance(column.type, Integer) else column.concat("")


def _first_at(trail: Table, tenant: str, time_us: int) -> ScalarSelect[int]:
    """The position of a tenant's first line at a time or later. Times never decrease, so it bounds a range of both."""
    lines = trail.alias()
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
