"""`podium audit`: who was allowed what, by which rule, and what became of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.moments import moment_option
from service.cli.options import Address, Json, Token, WaitFor

if TYPE_CHECKING:
    from podium.v1 import audit_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(help="Who was allowed what, by which rule.", no_args_is_help=True, rich_markup_mode=None)

Stream = Annotated[str, typer.Option("--stream", metavar="STREAM", help="Only this stream, a workflow's id.")]
Subject = Annotated[str, typer.Option(metavar="NAME", help="Only this caller.")]
Tool = Annotated[str, typer.Option(metavar="TOOL", help="Only this tool.")]
DecisionOption = Annotated[str, typer.Option(metavar="allow|deny", help="Only decisions that ended so.")]
From = Annotated[str, typer.Option("--from", metavar="TIME", help="Only from this time on, ISO 8601.")]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Only before this time, ISO 8601.")]
Types = Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this type; may be repeated.")]

_PAGE_MAX = 1000
COLUMNS = ("event", "time", "decision", "who", "tool", "step", "rule", "policy", "summary")


@app.command(
    "query",
    epilog=example(
        "podium audit query --stream WORKFLOW",
        "podium audit query --decision deny --from 2026-01-01 --json",
    ),
)
def query(
    *,
    stream: Stream = "",
    subject: Subject = "",
    tool: Tool = "",
    decision: DecisionOption = "",
    from_time: From = "",
    until_time: Until = "",
    types: Types = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many entries.")] = 100,
    wait_for: WaitFor = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Print entries of the audit trail, in the order of the log."""
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, table

    wanted = _filter(stream, subject, tool, decision, from_time, until_time, types)

    async def read(service: Service) -> list[audit_service_pb2.AuditEntry]:
        known = wait_for or await newest_event(service, stream)
        return await audit_entries(service, wanted, limit=limit, consistency_token=known)

    entries = with_service(address, token, read)
    if as_json:
        for entry in entries:
            print_json(entry_dict(entry))
    elif entries:
        table(COLUMNS, [entry_row(entry) for entry in entries])
    else:
        note("there are no such entries")


@app.command(
    "export",
    epilog=example(
        "podium audit export --output trail.jsonl",
        "podium audit export --stream WORKFLOW | jq -r .summary",
    ),
)
def export(
    *,
    stream: Stream = "",
    subject: Subject = "",
    tool: Tool = "",
    decision: DecisionOption = "",
    from_time: From = "",
    until_time: Until = "",
    types: Types = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file; - is standard output.")
    ] = None,
    wait_for: WaitFor = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Export the audit trail as JSON Lines, with or without --json."""
    from podium.v1 import audit_service_pb2
    from service.cli.connecting import with_service
    from service.cli.output import note

    del as_json  # an export is JSON in any case
    wanted = _filter(stream, subject, tool, decision, from_time, until_time, types)

    async def write(service: Service) -> int:
        request = audit_service_pb2.ExportAuditRequest(
            filter=wanted, consistency_token=wait_for or await newest_event(service, stream)
        )
        if output is None or str(output) == "-":
            return await _export(service, request, sys.stdout.buffer)
        try:
            # It is written while it arrives; a file of somebody else's is not read by the way.
            with output.open("wb") as file:
                return await _export(service, request, file)
        except OSError as error:
            message = f"{output} cannot be written: {error.strerror}"
            raise CommandFailed(message, ExitCode.BAD_INPUT, "UNWRITABLE_FILE") from None

    count = with_service(address, token, write)
    if output is not None:
        note(f"{count} entries are in {output}")


async def audit_entries(
    service: Service, wanted: audit_service_pb2.AuditFilter, *, limit: int, consistency_token: str = ""
) -> list[audit_service_pb2.AuditEntry]:
    """Read entries of the trail, page by page. Raises podium.PodiumError."""
    from podium.v1 import audit_service_pb2 as pb
    from podium.v1 import audit_service_pb2_grpc

    stub = audit_service_pb2_grpc.AuditServiceStub(service.connection.channel)
    entries: list[audit_service_pb2.AuditEntry] = []
    request = pb.QueryAuditRequest(filter=wanted, consistency_token=consistency_token)
    while len(entries) < limit:
        request.page_size = min(_PAGE_MAX, limit - len(entries))
        page = await service.connection.call(stub.QueryAudit, request)
        entries += page.entries
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    return entries


async def newest_event(service: Service, stream: str) -> str:
    """Return the name of a workflow's newest event, so that a read can wait until the trail knows it.

    Empty when the stream is no workflow, or the caller may not look at it: then the trail is read as it is.
    """
    from podium import NotFound, PermissionDenied
    from podium.v1 import event_service_pb2, event_service_pb2_grpc
    from service.cli.connecting import told

    if not stream:
        return ""
    stub = event_service_pb2_grpc.EventServiceStub(service.connection.channel)
    try:
        version = (await service.client.get(stream)).stream_version
        request = event_service_pb2.ReadStreamRequest(stream_id=stream, after_version=version - 1)
        events = [
            event
            async for answer in told(stub.ReadStream(request, metadata=service.connection.metadata()))
            for event in answer.events
        ]
    except (NotFound, PermissionDenied):
        return ""
    return f"{events[-1].shard}:{events[-1].position}" if events else ""


def entry_dict(entry: audit_service_pb2.AuditEntry) -> dict[str, Any]:
    """Return an entry as JSON."""
    from service.cli.output import message_dict, moment

    return {
        "event": entry.event,
        "tenant_sequence": entry.tenant_sequence,
        "recorded_at": moment(entry.recorded_at_us),
        "recorded_at_us": entry.recorded_at_us,
        "stream_id": entry.stream_id,
        "type": entry.type,
        "step_id": entry.step_id,
        "tool": entry.tool,
        "principal": message_dict(entry.principal),
        "decision": decision_name(entry.decision),
        "rule": entry.rule,
        "policy": entry.policy,
        "summary": entry.summary,
    }


def entry_row(entry: audit_service_pb2.AuditEntry) -> tuple[str, ...]:
    """Return an entry as a row under COLUMNS."""
    from service.cli.output import moment

    principal = entry.principal
    who = f"{principal.subject} for {principal.on_behalf_of}" if principal.on_behalf_of else principal.subject
    return (
        entry.event,
        moment(entry.recorded_at_us),
        decision_name(entry.decision),
        who,
        entry.tool,
        entry.step_id,
        entry.rule,
        entry.policy,
        entry.summary,
    )


def decision_name(decision: int) -> str:
    """Return "allow" or "deny"; empty for what is no decision."""
    from podium.v1 import events_pb2

    name = events_pb2.Decision.Name(events_pb2.Decision.ValueType(decision)).removeprefix("DECISION_").lower()
    return "" if name == "unspecified" else name


async def _export(service: Service, request: audit_service_pb2.ExportAuditRequest, file: BinaryIO) -> int:
    from podium.v1 import audit_service_pb2_grpc
    from service.cli.connecting import told

    stub = audit_service_pb2_grpc.AuditServiceStub(service.connection.channel)
    count = 0
    async for answer in told(stub.ExportAudit(request, metadata=service.connection.metadata())):
        file.write(answer.data)
        count += answer.data.count(b"\n")
    file.flush()
    return count


def _filter(
    stream: str, subject: str, tool: str, decision: str, from_time: str, until_time: str, types: list[str] | None
) -> audit_service_pb2.AuditFilter:
    from podium.v1 import audit_service_pb2, events_pb2

    decisions = {"": events_pb2.DECISION_UNSPECIFIED, "allow": events_pb2.DECISION_ALLOW}
    decisions["deny"] = events_pb2.DECISION_DENY
    if decision not in decisions:
        message = f"--decision is allow or deny, not {decision!r}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    return audit_service_pb2.AuditFilter(
        stream_id=stream,
        subject=subject,
        tool=tool,
        decision=decisions[decision],
        from_us=moment_option(from_time, "--from"),
        until_us=moment_option(until_time, "--until"),
        types=types or (),
    )
