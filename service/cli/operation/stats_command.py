"""`podium stats`: what tools did in a past time, in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token, WaitFor

if TYPE_CHECKING:
    from podium.v1 import monitoring_service_pb2 as pb
    from service.cli.connecting import Service
    from service.cli.operation.tool_figures import ToolFigures

EXAMPLE = example(
    "podium stats",
    "podium stats search --from 2026-01-31T12:00 --to 2026-01-31T18:00 --every 1h",
    "podium stats --json | jq -r '[.tool, .calls, .latency.p99_us] | @tsv'",
)
COLUMNS = ("tool", "succeeded", "failed", "denied", "attempts", "errors", "p50", "p90", "p99", "longest", "queued")
MORE_COLUMNS = ("cached", "stale", "degraded", "limited", "rejected", "opened", "abandoned")


def stats(
    *,
    tool: Annotated[str, typer.Argument(metavar="[TOOL]", help="Only this tool; without it, all.")] = "",
    from_time: Annotated[
        str, typer.Option("--from", metavar="TIME", help="From when, ISO 8601. Without it: an hour before the end.")
    ] = "",
    to_time: Annotated[str, typer.Option("--to", metavar="TIME", help="Until when. Without it: now.")] = "",
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="Tell it by stretches of this length as well, for example 10m.")
    ] = "",
    wait_for: WaitFor = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Print what tools did in a time: calls, errors, latencies, cache and breaker figures.

    Times are whole minutes; of more than two weeks ago, whole hours. Calls count in the time in which they ended. With
    --json a tool is a line, and with --every a tool in a stretch is one.
    """
    from podium.v1 import monitoring_service_pb2 as pb
    from service.cli.connecting import with_service
    from service.cli.moments import minutes_option, moment_option
    from service.cli.operation.tool_figures import read_statistics

    request = pb.GetToolStatisticsRequest(
        from_us=moment_option(from_time, "--from"),
        to_us=moment_option(to_time, "--to"),
        bucket_minutes=minutes_option(every, "--every") if every else 0,
        tools=[tool] if tool else [],
        consistency_token=wait_for,
    )

    async def read(service: Service) -> pb.GetToolStatisticsResponse:
        return await read_statistics(service, request)

    answer = with_service(address, token, read)
    for stretch in answer.buckets or [answer.total]:
        _print_stretch(stretch, as_json=as_json)


def _print_stretch(stretch: pb.StatisticsBucket, *, as_json: bool) -> None:
    from podium.v1 import monitoring_service_pb2
    from service.cli.operation.tool_figures import figures_of
    from service.cli.output import moment, note, print_json, table
    from service.clock import SystemClock

    answer = monitoring_service_pb2.GetToolStatisticsResponse(total=stretch)
    figures = figures_of(answer, SystemClock().now_us())
    times = {"from": moment(stretch.from_us), "to": moment(stretch.to_us)}
    if as_json:
        for each in figures:
            print_json({**times, **_without_live_parts(each)})
        return
    note(f"{times['from']} to {times['to']}" + ("" if figures else ": no tool was called"))
    if figures:
        table((*COLUMNS, *MORE_COLUMNS), [_row(each) for each in figures])


def _without_live_parts(figures: ToolFigures) -> dict[str, Any]:
    return {name: value for name, value in figures.as_dict().items() if name not in ("breaker", "trend")}


def _row(figures: ToolFigures) -> tuple[str, ...]:
    from service.cli.operation.tool_figures import short_time

    told = figures.statistics
    latency = told.latency
    counts = (told.succeeded, told.failed, told.denied, told.attempts)
    rejected = told.breaker_rejected + told.bulkhead_rejected
    more = (told.cache_hits, told.cache_stale, told.degraded, told.rate_limited, rejected, told.breaker_opened)
    return (
        figures.tool,
        *map(str, counts),
        f"{figures.errors} ({figures.errors_percent:.1f} %)",
        *map(short_time, (latency.p50_us, latency.p90_us, latency.p99_us, latency.max_us, told.queue_time.p90_us)),
        *map(str, (*more, told.abandoned)),
    )
