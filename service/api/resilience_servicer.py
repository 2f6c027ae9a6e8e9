"""ResilienceService: breakers and the cache, looked at and set."""

from __future__ import annotations

from podium.v1 import resilience_service_pb2 as pb
from podium.v1 import resilience_service_pb2_grpc as grpc_stubs
from service.api import breakers_access, cache_requests
from service.api.handlers import Context
from service.api.parts import ApiParts


class ResilienceServicer(grpc_stubs.ResilienceServiceServicer):
    """Serves ResilienceService. Method names are those of the contract."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    async def ListBreakers(self, request: pb.ListBreakersRequest, context: Context) -> pb.ListBreakersResponse:
        """Lists the breakers of tools that were called or set."""
        return breakers_access.listed(self._parts, request)

    async def GetBreaker(self, request: pb.GetBreakerRequest, context: Context) -> pb.GetBreakerResponse:
        """Reads the breaker of a tool."""
        return breakers_access.read(self._parts, request)

    async def SetBreaker(self, request: pb.SetBreakerRequest, context: Context) -> pb.SetBreakerResponse:
        """Opens, closes or resets the breaker of a tool."""
        return await breakers_access.change(self._parts, request)

    async def GetCacheStatistics(
        self, request: pb.GetCacheStatisticsRequest, context: Context
    ) -> pb.GetCacheStatisticsResponse:
        """Reads what the cache did, by tool."""
        return cache_requests.statistics(self._parts, request)

    async def ListCacheEntries(
        self, request: pb.ListCacheEntriesRequest, context: Context
    ) -> pb.ListCacheEntriesResponse:
        """Lists what is cached in memory."""
        return cache_requests.listed(self._parts, request)

    async def InvalidateCache(self, request: pb.InvalidateCacheRequest, context: Context) -> pb.InvalidateCacheResponse:
        """Ends the use of cached results."""
        return await cache_requests.invalidate(self._parts, request)
