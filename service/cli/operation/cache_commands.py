"""`podium cache`: results of read-only tools that are kept, what that saves, and the end of their use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import resilience_service_pb2 as pb
    from service.cli.connecting import Service

app = typer.Typer(
    help="Look at cached results of read-only tools, and end their use.", no_args_is_help=True, rich_markup_mode=None
)

_COUNTS = ("hits", "misses", "coalesced", "stale", "stores", "evictions", "expirations", "invalidations", "errors")


@app.command(
    "stats",
    epilog=example("podium cache stats", "podium cache stats quote --json | jq .hits"),
)
def stats(
    tools: Annotated[list[str] | None, typer.Argument(metavar="TOOL", help="Only of these tools.")] = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what the cache did for each tool since the service started."""
    from podium.v1 import resilience_service_pb2 as pb
    from podium.v1 import resilience_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, table

    async def read(service: Service) -> pb.GetCacheStatisticsResponse:
        stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
        request = pb.GetCacheStatisticsRequest(tools=tools or [])
        return await service.connection.call(stub.GetCacheStatistics, request)

    answer = with_service(address, token, read)
    if as_json:
        for each in answer.tools:
            print_json(
                {"tool": each.tool} | {name: getattr(each, name) for name in (*_COUNTS, "entries", "size_bytes")}
            )
        return
    if answer.tools:
        rows = [
            (
                each.tool,
                _answered(each),
                *(str(getattr(each, name)) for name in _COUNTS),
                str(each.entries),
                short_size(each.size_bytes),
            )
            for each in answer.tools
        ]
        table(("tool", "answered", *_COUNTS, "entries", "size"), rows)
    else:
        note("no call was cached since the service started")
    beside = f", and beside memory in {answer.remote}" if answer.remote else ""
    note(f"at most {answer.entries_limit} entries and {answer.size_limit_bytes // 1024} KiB in memory{beside}")


@app.command(
    "list",
    epilog=example("podium cache list", "podium cache list --tool quote --json | jq -r .source_workflow_id"),
)
def list_entries(
    tool: Annotated[str, typer.Option("--tool", metavar="TOOL", help="Only of this tool.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the cached results in memory, the last used first, without their values."""
    from podium.v1 import resilience_service_pb2 as pb
    from podium.v1 import resilience_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import moment, note, print_json, table

    async def read(service: Service) -> list[pb.CacheEntry]:
        stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
        request = pb.ListCacheEntriesRequest(tool=tool, page_size=1000)
        found: list[pb.CacheEntry] = []
        while True:
            page = await service.connection.call(stub.ListCacheEntries, request)
            found += page.entries
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    entries = with_service(address, token, read)
    if as_json:
        for each in entries:
            print_json(_entry_dict(each))
    elif not entries:
        note("nothing is cached")
    else:
        rows = [
            (
                f"{each.tool} v{each.tool_version}",
                each.arguments_digest.hex()[:12],
                each.subject or "everyone",
                f"{each.source_workflow_id}/{each.source_step_id}",
                moment(each.fresh_until_us),
                str(each.hits),
                moment(each.used_at_us) or "never",
                short_size(each.size_bytes),
            )
            for each in entries
        ]
        table(("tool", "arguments", "for", "produced by", "fresh until", "hits", "last used", "size"), rows)


@app.command(
    "invalidate",
    epilog=example(
        "podium cache invalidate quote --reason 'the market closed'",
        """podium cache invalidate quote --arguments '{"symbol": "AAPL"}'""",
        "podium cache invalidate --all",
    ),
)
def invalidate(
    tool: Annotated[str, typer.Argument(metavar="[TOOL]", help="The tool.")] = "",
    arguments: Annotated[
        str, typer.Option("--arguments", metavar="JSON", help="Only results for exactly these arguments.")
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="Results of all tools of your tenant.")] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the log.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """End the use of cached results, also of those that are kept beside memory."""
    from podium.v1 import resilience_service_pb2 as pb
    from podium.v1 import resilience_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.failures import CommandFailed, ExitCode
    from service.cli.output import print_json, say

    if bool(tool) == everything:
        raise CommandFailed("name a tool, or say --all", ExitCode.BAD_INPUT, "INVALID_INVALIDATION")
    request = pb.InvalidateCacheRequest(tool=tool, arguments_json=arguments, reason=reason)

    async def change(service: Service) -> pb.InvalidateCacheResponse:
        stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
        return await service.connection.call(stub.InvalidateCache, request)

    count = with_service(address, token, change).entries
    if as_json:
        print_json({"tool": tool, "entries": count})
    else:
        of = f"of {tool}" if tool else "of all tools"
        exactly = " for these arguments" if arguments else ""
        say(f"cached results {of}{exactly} are not used any more ({count} were in memory)")


def _answered(figures: pb.CacheStatistics) -> str:
    answered = figures.hits + figures.coalesced
    calls = answered + figures.misses
    return f"{100 * answered / calls:.0f} %" if calls else ""


def short_size(size_bytes: int) -> str:
    """Return a size to the nearest KiB, or tenth of one where it is small."""
    size = size_bytes / 1024
    digits = 1 if 0 < size < 9.95 else 0  # noqa: PLR2004 -- more is 10, to one decimal
    return f"{size:.{digits}f} KiB"


def _entry_dict(entry: pb.CacheEntry) -> dict[str, Any]:
    from service.cli.output import moment

    return {
        "key": entry.key.hex(),
        "tool": entry.tool,
        "tool_version": entry.tool_version,
        "arguments_digest": entry.arguments_digest.hex(),
        "subject": entry.subject or None,
        "source_workflow_id": entry.source_workflow_id,
        "source_step_id": entry.source_step_id,
        "stored_at": moment(entry.stored_at_us),
        "fresh_until": moment(entry.fresh_until_us),
        "stale_until": moment(entry.stale_until_us),
        "hits": entry.hits,
        "used_at": moment(entry.used_at_us) or None,
        "size_bytes": entry.size_bytes,
    }
