"""Reads the list of workflows in pages, the newest first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, select

from podium.v1 import value_pb2
from podium.v1.workflow_service_pb2 import ListWorkflowsRequest, StepCount, WorkflowSummary
from service.projections.database import storable
from service.projections.paging import Page, Paging, first_of
from service.projections.read_model import ReadModel
from service.projections.workflows import COUNTED, WorkflowList

_ENDED = (value_pb2.WORKFLOW_STATE_SUCCEEDED, value_pb2.WORKFLOW_STATE_FAILED, value_pb2.WORKFLOW_STATE_CANCELED)


class WorkflowQuery:
    """Answers from the projection `WorkflowList`."""

    def __init__(self, model: ReadModel[WorkflowList]) -> None:
        self._model = model

    async def page(
        self,
        tenant: str,
        *,
        states: Iterable[value_pb2.WorkflowState.ValueType] = (),
        name: str = "",
        page_size: int = 0,
        page_token: str = "",
    ) -> Page[WorkflowSummary]:
        """Read a page of a tenant's workflows, the newest first. Pages stay in step while new workflows start.

        A summary counts the steps that ended by their state, and those that have not ended under
        STEP_STATE_UNSPECIFIED.

        Args:
            tenant: Whose workflows.
            states: Only those in one of these states; none: all.
            name: Only those with this name; empty: all.
            page_size: At most this many; 0: the default.
            page_token: From the last page; empty: the first page.

        Raises:
            PageTokenError: The token is not from such a page.
            PageSizeError: The size is out of bounds.
        """
        wanted = sorted(set(states))
        asked = ListWorkflowsRequest(states=wanted, name=name).SerializeToString(deterministic=True)
        paging = Paging.of("workflows", tenant, asked, page_size=page_size, page_token=page_token)

        def read(connection: Connection, listed: WorkflowList) -> Page[WorkflowSummary]:
            rows = connection.execute(_statement(listed.workflows, tenant, wanted, storable(name), paging)).all()
            return paging.page([_summary(row) for row in rows], [row.position for row in rows])

        return await self._model.read(read)


def _statement(
    workflows: Table, tenant: str, states: list[value_pb2.WorkflowState.ValueType], name: str, paging: Paging
) -> Select[Any]:
    query = select(workflows).where(workflows.c.tenant == tenant)
    if name:
        query = query.where(workflows.c.name == name)
        # The index by name is in order only within a state.
        states = states or [*value_pb2.WorkflowState.values()]
    if paging.after is not None:
        query = query.where(workflows.c.position < paging.after)
    branches = [query.where(workflows.c.state == state) for state in states] or [query]
    return first_of(branches, "position", paging.limit + 1, descending=True)


def _summary(row: Row[Any]) -> WorkflowSummary:
    summary = WorkflowSummary(
        workflow_id=row.workflow_id,
        name=row.name,
        kind=row.kind,
        state=row.state,
        open=row.open,
        step_counts=_step_counts(row),
        started_at_us=row.started_at_us,
        ended_at_us=row.ended_at_us,
        stream_version=row.stream_version,
        principal=value_pb2.Principal.FromString(row.principal),
        degraded_steps=row.degraded,
    )
    if row.failure is not None:
        summary.failure.ParseFromString(row.failure)
    return summary


def _step_counts(row: Row[Any]) -> list[StepCount]:
    counts: dict[value_pb2.StepState.ValueType, int] = {
        state: getattr(row, column) for column, state in COUNTED.items()
    }
    rest = row.steps - sum(counts.values())
    # A workflow that ends cancels what has not ended without an event for each step.
    unended = value_pb2.STEP_STATE_CANCELED if row.state in _ENDED else value_pb2.STEP_STATE_UNSPECIFIED
    counts[unended] = counts.get(unended, 0) + rest
    return [StepCount(state=state, count=count) for state, count in sorted(counts.items()) if count > 0]
