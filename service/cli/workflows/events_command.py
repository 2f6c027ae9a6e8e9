"""`podium events`: reads the log, or follows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import events_pb2
    from service.cli.connecting import Service


EXAMPLE = example(
    "podium events WORKFLOW",
    "podium events --follow --type permission_checked --json",
)


def events(
    stream: Annotated[
        str | None, typer.Argument(metavar="[STREAM]", help="A workflow's id, or another stream; without it, all.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and print what comes.")] = False,
    after: Annotated[
        str, typer.Option(metavar="EVENT", help="Begin after this event, SHARD:POSITION; of a stream, a version too.")
    ] = "",
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only this type; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=0, help="At most so many; 0: all.")] = 0,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Print events in their order: those of STREAM, or the whole log's.

    With --json each event is a line, in proto3's JSON mapping of podium.v1.Event.
    """
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say
    from service.cli.status_json import event_dict

    wanted = frozenset(types or ())
    _check_types(wanted)

    async def read(service: Service) -> None:
        count = 0
        async with aclosing(_events(service, stream or "", after, follow, wanted)) as found:
            async for event in found:
                if wanted and event.WhichOneof("payload") not in wanted:
                    continue
                if as_json:
                    print_json(event_dict(event))
                else:
                    say(event_line(event))
                count += 1
                if count == limit:
                    return
        if stream and not count and not follow and not after and not wanted:
            raise CommandFailed(f"there is no stream {stream}", ExitCode.NOT_FOUND, "STREAM_NOT_FOUND")

    try:
        with_service(address, token, read)
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def event_line(event: events_pb2.Event) -> str:
    """Return an event as a line for a person."""
    from service.cli.output import moment

    kind = event.WhichOneof("payload") or f"type {event.type}"
    place = f"{event.shard}:{event.position}"
    at = moment(event.recorded_at_us)
    stream = f"{event.stream_id}@{event.stream_version}"
    return f"{place:>8}  {at}  {stream:<34}  {kind:<26} {_details(getattr(event, kind, None))}".rstrip()


def _details(payload: Any) -> str:  # noqa: ANN401 -- any of the payloads
    """What tells one event of a kind from another: its step, its attempt, its decision, its reason."""
    from podium.v1 import events_pb2
    from service.cli.terminal_text import one_line

    parts: list[str] = [str(getattr(payload, "step_id", ""))]
    if attempt := getattr(payload, "attempt", 0):
        parts.append(f"attempt {attempt}")
    if isinstance(payload, events_pb2.PermissionChecked):
        word = events_pb2.Decision.Name(payload.decision).removeprefix("DECISION_").lower()
        parts.append(f"{word} {payload.principal.subject} {payload.tool} by {payload.rule}")
    if executor := getattr(payload, "executor", ""):
        parts.append(f"on {executor}")
    if name := getattr(payload, "name", ""):
        parts.append(name)
    if isinstance(payload, events_pb2.StepsAdded):
        parts.append(", ".join(step.id for step in payload.steps))
    if isinstance(payload, events_pb2.ToolRegistered):
        parts.append(f"{payload.definition.name} version {payload.version}")
    if (failure := getattr(payload, "failure", None)) is not None and failure.reason:
        parts.append(f"{failure.reason}: {failure.message}")
    return one_line("  ".join(filter(None, parts)), 200)


def _check_types(wanted: frozenset[str]) -> None:
    from podium.v1 import events_pb2

    known = [field.name for field in events_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields]
    for name in sorted(wanted.difference(known)):
        message = f"--type {name} is no type of event; there are {', '.join(known)}"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "UNKNOWN_TYPE")


async def _events(
    service: Service, stream: str, after: str, follow: bool, wanted: frozenset[str]
) -> AsyncGenerator[events_pb2.Event, None]:
    """Yield the events that are asked for. Raises podium.PodiumError."""
    version = int(after) if stream and after.isdecimal() else 0
    cursor = "" if version else after
    position = _position(cursor)
    batches = _followed(service, stream, cursor, wanted) if follow else _read(service, stream, cursor, version)
    async with aclosing(batches):
        async for batch in batches:
            for event in batch.events:
                # A prefix also names the streams whose ids only begin like this one's.
                meant = not stream or (event.stream_id == stream and event.stream_version > version)
                if meant and event.position > position:
                    yield event


async def _read(service: Service, stream: str, cursor: str, version: int) -> AsyncGenerator[Any, None]:
    from podium.v1 import event_service_pb2 as pb
    from podium.v1 import event_service_pb2_grpc
    from service.cli.connecting import told

    stub = event_service_pb2_grpc.EventServiceStub(service.connection.channel)
    metadata = service.connection.metadata()
    answers: AsyncIterable[Any]
    if stream:
        answers = stub.ReadStream(pb.ReadStreamRequest(stream_id=stream, after_version=version), metadata=metadata)
    else:
        answers = stub.ReadAll(pb.ReadAllRequest(cursor=cursor), metadata=metadata)
    async for answer in told(answers):
        yield answer


async def _followed(service: Service, stream: str, cursor: str, wanted: frozenset[str]) -> AsyncGenerator[Any, None]:
    """Follow the log, over as many subscriptions as it takes."""
    from podium import Unavailable
    from podium.v1 import event_service_pb2 as pb
    from podium.v1 import event_service_pb2_grpc
    from service.cli.connecting import told

    stub = event_service_pb2_grpc.EventServiceStub(service.connection.channel)
    while True:
        request = pb.SubscribeRequest(cursor=cursor, stream_prefix=stream, types=sorted(wanted))
        try:
            async for answer in told(stub.Subscribe(request, metadata=service.connection.metadata())):
                cursor = answer.cursor or cursor
                yield answer
        except Unavailable:
            # It waits for a service that starts again, and gives up on one that stays away.
            await service.connection.reach()


def _position(cursor: str) -> int:
    """The position in an event's name. Raises CommandFailed."""
    if not cursor:
        return 0
    shard, colon, position = cursor.partition(":")
    if not (colon and shard.isdecimal() and position.isdecimal()):
        message = f"--after {cursor} is neither an event, SHARD:POSITION, nor a version of the stream"
        raise CommandFailed(message, ExitCode.BAD_INPUT, "INVALID_ARGUMENT")
    return int(position)
