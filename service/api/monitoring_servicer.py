"""MonitoringService: what tools did, and how the service is."""

from __future__ import annotations

from podium.v1 import monitoring_service_pb2 as pb
from podium.v1 import monitoring_service_pb2_grpc as grpc_stubs
from service.api.authentication import current_caller
from service.api.executor_list import executors_page
from service.api.handlers import Context
from service.api.parts import ApiParts
from service.api.status import Status
from service.api.tool_statistics import ToolStatisticsReader


class MonitoringServicer(grpc_stubs.MonitoringServiceServicer):
    """Serves MonitoringService. Method names are those of the contract."""

    def __init__(self, parts: ApiParts, statistics: ToolStatisticsReader, status: Status) -> None:
        self._parts = parts
        self._statistics = statistics
        self._status = status

    async def GetToolStatistics(
        self, request: pb.GetToolStatisticsRequest, context: Context
    ) -> pb.GetToolStatisticsResponse:
        """Reads what the tools of the caller's tenant did in a time."""
        return await self._statistics.read(current_caller().tenant, request)

    async def ListExecutors(self, request: pb.ListExecutorsRequest, context: Context) -> pb.ListExecutorsResponse:
        """Lists the executors that are connected, and which of their tools are well."""
        return executors_page(self._parts, request)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """Reads how the service is, component by component."""
        return await self._status.report(current_caller().tenant)
