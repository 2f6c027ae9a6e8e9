"""AuditService: the trail of who was allowed what, by which rule, and what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from podium.v1 import audit_service_pb2 as pb
from podium.v1 import audit_service_pb2_grpc as grpc_stubs
from podium.v1 import workflow_service_pb2
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.handlers import Context
from service.domain.errors import InvalidInput, Unavailable
from service.projections.audit_query import AuditFilterError, AuditQuery
from service.projections.generation import ProjectionError
from service.projections.paging import PageSizeError, PageTokenError
from service.projections.runner import ProjectionRunner
from service.projections.workflow_query import WorkflowQuery
from store.contract import EventStore

WAIT_S = 5.0
"""How long a read waits for its projection to come as far as its consistency token."""


async def wait_for(runner: ProjectionRunner, token: str) -> None:
    """Wait until a projection knows what a consistency token names. Raises InvalidInput and Unavailable."""
    position = p.position_of(token, "consistency_token") if token else 0
    try:
        await runner.wait_for(position, WAIT_S)
    except ProjectionError as error:
        raise Unavailable(error.reason, str(error), retry_after_ms=1000) from None


class WorkflowLister:
    """Answers ListWorkflows from the projection."""

    def __init__(self, query: WorkflowQuery, runner: ProjectionRunner) -> None:
        self._query = query
        self._runner = runner

    async def list_workflows(
        self, tenant: str, request: workflow_service_pb2.ListWorkflowsRequest
    ) -> workflow_service_pb2.ListWorkflowsResponse:
        """Read a page."""
        await wait_for(self._runner, request.consistency_token)
        try:
            page = await self._query.page(
                tenant,
                states=request.states,
                name=request.name,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        except (PageTokenError, PageSizeError) as error:
            raise _invalid(error) from None
        return workflow_service_pb2.ListWorkflowsResponse(workflows=page.items, next_page_token=page.next_page_token)


class AuditServicer(grpc_stubs.AuditServiceServicer):
    """Serves AuditService. Method names are those of the contract."""

    def __init__(self, query: AuditQuery, runner: ProjectionRunner, store: EventStore) -> None:
        self._query = query
        self._runner = runner
        self._store = store

    async def QueryAudit(self, request: pb.QueryAuditRequest, context: Context) -> pb.QueryAuditResponse:
        """Read a page of the trail, in the order of the log."""
        await wait_for(self._runner, request.consistency_token)
        try:
            page = await self._query.page(
                current_caller().tenant, request.filter, page_size=request.page_size, page_token=request.page_token
            )
        except (PageTokenError, PageSizeError, AuditFilterError) as error:
            raise _invalid(error) from None
        return pb.QueryAuditResponse(entries=page.items, next_page_token=page.next_page_token)

    async def ExportAudit(
        self, request: pb.ExportAuditRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditResponse]:
        """Stream the trail as JSON Lines."""
        # What is exported is complete up to this moment, whoever asks.
        await wait_for(self._runner, request.consistency_token or p.consistency_token(self._store.head))
        try:
            async for data in self._query.export(current_caller().tenant, request.filter):
                yield pb.ExportAuditResponse(data=data)
        except AuditFilterError as error:
            raise _invalid(error) from None


def _invalid(error: PageTokenError | PageSizeError | AuditFilterError) -> InvalidInput:
    return InvalidInput("INVALID_QUERY", f"{error.field} {error}", violations=[(error.field, str(error))])
