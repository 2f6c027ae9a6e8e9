"""Answers GetToolStatistics from its read model."""

from __future__ import annotations

from podium.v1 import monitoring_service_pb2 as pb
from service.api.audit_servicer import wait_for
from service.api.sizes import ANSWER_BYTES
from service.domain.errors import InvalidInput, NotFound
from service.engine.catalog import Catalog
from service.engine.timers import Clock
from service.projections.runner import ProjectionRunner
from service.projections.statistics_query import StatisticsQuery, Stretch, Window, WindowError
from service.projections.tool_statistics import HOUR_MINUTES, MINUTE_US

BUCKETS_MAX = 1000
TOOLS_MAX = 1000
"""How many tools may be named in a request."""
_YEAR_10000_US = 253_402_300_800 * 1_000_000


class ToolStatisticsReader:
    """Reads the statistics of tools as the contract tells them."""

    def __init__(self, query: StatisticsQuery, runner: ProjectionRunner, catalog: Catalog, clock: Clock) -> None:
        self._query = query
        self._runner = runner
        self._catalog = catalog
        self._clock = clock

    async def read(self, tenant: str, request: pb.GetToolStatisticsRequest) -> pb.GetToolStatisticsResponse:
        """Read what the tools of a tenant did.

        Raises InvalidInput, NotFound for a tool there is not, and Unavailable.
        """
        window = _window(request, self._clock.now_us())
        if len(request.tools) > TOOLS_MAX:
            raise _invalid("tools", f"are more than {TOOLS_MAX}")
        await wait_for(self._runner, request.consistency_token)
        try:
            found = await self._query.read(tenant, window, request.tools)
        except WindowError as error:
            raise _invalid(error.field, str(error)) from None
        for tool in request.tools:
            if tool not in found.total.tools and self._catalog.newest(tenant, tool) is None:
                raise NotFound("TOOL_NOT_FOUND", f"there is no tool {tool[:100]!r}")
        response = pb.GetToolStatisticsResponse(total=_bucket(found.total), position=found.position)
        size = response.ByteSize()
        for stretch in found.buckets:
            bucket = _bucket(stretch)
            size += bucket.ByteSize()
            if size > ANSWER_BYTES:
                raise _invalid("bucket_minutes", "makes too large an answer: ask for fewer tools or longer stretches")
            response.buckets.append(bucket)
        return response


def _window(request: pb.GetToolStatisticsRequest, now_us: int) -> Window:
    for name, at_us in (("from_us", request.from_us), ("to_us", request.to_us)):
        if at_us < 0:
            raise _invalid(name, "is before the Unix epoch")
        if at_us >= _YEAR_10000_US:
            raise _invalid(name, "is after the year 9999")
    before = -(-(request.to_us or now_us) // MINUTE_US)
    first = request.from_us // MINUTE_US if request.from_us else max(0, before - HOUR_MINUTES)
    if first >= before:
        raise _invalid("from_us", "is not before to_us")
    cut = request.bucket_minutes
    if cut and -(-(before - first) // cut) > BUCKETS_MAX:
        raise _invalid("bucket_minutes", f"makes more than {BUCKETS_MAX} stretches: make them longer")
    return Window(first, before, cut)


def _bucket(stretch: Stretch) -> pb.StatisticsBucket:
    tools = [tally.message(tool) for tool, tally in sorted(stretch.tools.items())]
    return pb.StatisticsBucket(from_us=stretch.first * MINUTE_US, to_us=stretch.before * MINUTE_US, tools=tools)


def _invalid(field: str, problem: str) -> InvalidInput:
    return InvalidInput("INVALID_QUERY", f"{field} {problem}", violations=[(field, problem)])
