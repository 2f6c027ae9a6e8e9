"""`podium projections`: how far the read models have come, and building one anew."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import admin_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(help="Look after the read models.", no_args_is_help=True, rich_markup_mode=None)

COLUMNS = ("projection", "state", "position", "behind", "behind for", "looked", "rebuild", "problem")

Report = Callable[["admin_service_pb2.RebuildProjectionResponse"], None]


@app.command(
    "list",
    epilog=example(
        "podium projections list",
        "podium projections list --json | jq -r 'select(.lag_events > 0).name'",
    ),
)
def list_projections(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """List the read models: what each does, how far it is behind the log, and when it last looked at it.

    One that is up to date looks once a second; one that has not for long is stuck, and its problem says why.
    """
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, table
    from service.clock import SystemClock

    async def read(service: Service) -> list[admin_service_pb2.Projection]:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        answer = await service.connection.call(stub.ListProjections, admin_service_pb2.ListProjectionsRequest())
        return list(answer.projections)

    projections = with_service(address, token, read)
    if as_json:
        for projection in projections:
            print_json(projection_dict(projection))
    else:
        now_us = SystemClock().now_us()
        table(COLUMNS, [projection_row(projection, now_us) for projection in projections])


@app.command(
    "rebuild",
    epilog=example(
        "podium projections rebuild audit",
        "podium projections rebuild audit --json | tail -1",
    ),
)
def rebuild(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The projection, see `podium projections list`.")],
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Build a read model anew, beside the one that is read and in its place once it has caught up.

    Reads go on meanwhile and nothing is done but writing tables. It goes on when this command is interrupted; the
    same command then joins it, or after a restart of the service goes on where it was.
    """
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import told, with_service
    from service.cli.output import note, print_json

    async def watch(service: Service) -> admin_service_pb2.RebuildProjectionResponse:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        request = admin_service_pb2.RebuildProjectionRequest(name=name)
        last = admin_service_pb2.RebuildProjectionResponse()
        with _progress(name) as report:
            async for last in told(stub.RebuildProjection(request, metadata=service.connection.metadata())):
                report(last)
                if as_json:
                    print_json({"projection": name, "position": last.position, "head": last.head, "done": last.done})
        return last

    last = with_service(address, token, watch)
    if not as_json:
        note(f"{name} is read from its new tables, which hold the log up to position {last.position}")


def projection_dict(projection: admin_service_pb2.Projection) -> dict[str, Any]:
    """Return a projection as JSON."""
    from service.cli.output import moment

    return {
        "name": projection.name,
        "state": state_name(projection.state),
        "position": projection.position,
        "head": projection.head,
        "lag_events": projection.lag_events,
        "lag_us": projection.lag_us,
        "heartbeat_at": moment(projection.heartbeat_at_us),
        "heartbeat_at_us": projection.heartbeat_at_us,
        "problem": projection.problem,
        "rebuild_position": projection.rebuild_position if projection.HasField("rebuild_position") else None,
    }


def projection_row(projection: admin_service_pb2.Projection, now_us: int) -> tuple[str, ...]:
    """Return a projection as a row under COLUMNS."""
    age_us = max(0, now_us - projection.heartbeat_at_us)
    rebuilt = f"{projection.rebuild_position}" if projection.HasField("rebuild_position") else ""
    return (
        projection.name,
        state_name(projection.state),
        f"{projection.position} of {projection.head}",
        f"{projection.lag_events} events",
        _seconds(projection.lag_us),
        f"{_seconds(age_us)} ago" if projection.heartbeat_at_us else "never",
        rebuilt,
        projection.problem,
    )


def state_name(state: int) -> str:
    """Return a state in lower case: catching_up, live, failed, stopped."""
    from podium.v1 import admin_service_pb2 as pb

    return pb.ProjectionState.Name(pb.ProjectionState.ValueType(state)).removeprefix("PROJECTION_STATE_").lower()


def _seconds(microseconds: int) -> str:
    return f"{microseconds / 1e6:.1f} s"


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    """Show a bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _response: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True, markup=False)) as bar:
        task = bar.add_task(f"rebuilding {name}")
        yield lambda response: bar.update(task, completed=response.position, total=response.head)
