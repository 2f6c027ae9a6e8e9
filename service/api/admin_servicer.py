"""AdminService: what an operator looks at and sets right while the service runs."""

from __future__ import annotations

from collections.abc import AsyncIterator

from podium.v1 import admin_service_pb2 as pb
from podium.v1 import admin_service_pb2_grpc as grpc_stubs
from service.api.admin_projections import ProjectionsAdmin
from service.api.handlers import Context


class AdminServicer(grpc_stubs.AdminServiceServicer):
    """Serves AdminService. Method names are those of the contract."""

    def __init__(self, projections: ProjectionsAdmin) -> None:
        self._projections = projections

    async def ListProjections(self, request: pb.ListProjectionsRequest, context: Context) -> pb.ListProjectionsResponse:
        """The read models, and how far each has come."""
        return await self._projections.list_projections()

    async def RebuildProjection(
        self, request: pb.RebuildProjectionRequest, context: Context
    ) -> AsyncIterator[pb.RebuildProjectionResponse]:
        """Build a read model anew beside the one that is read."""
        async for progress in self._projections.rebuild_projection(request.name):
            yield progress
