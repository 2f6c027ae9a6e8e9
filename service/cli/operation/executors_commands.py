"""`podium executors`: who is connected, and which tools they can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import monitoring_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(help="Look at the executors that are connected.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def executors() -> None:
    """Look at the executors that are connected."""


@app.command(
    "list", epilog=example("podium executors list --tool search", "podium executors list --json | jq -r .session_id")
)
def list_executors(
    tool: Annotated[str, typer.Option("--tool", metavar="TOOL", help="Only those that serve it.")] = "",
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the executors of your tenant: what they have to do, and which of their tools cannot be run now.

    Tools that are well may have said something too when they were last asked, as how their pools are used.
    """
    from podium.v1 import monitoring_service_pb2 as pb
    from podium.v1 import monitoring_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import note, table

    async def read(service: Service) -> list[pb.ExecutorStatus]:
        stub = monitoring_service_pb2_grpc.MonitoringServiceStub(service.connection.channel)
        request = pb.ListExecutorsRequest(tool=tool)
        found: list[pb.ExecutorStatus] = []
        while True:
            page = await service.connection.call(stub.ListExecutors, request)
            found += page.executors
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    connected = with_service(address, token, read)
    if as_json:
        for executor in connected:
            _print(executor)
    elif not connected:
        note(f"no executor that serves {tool} is connected" if tool else "no executor is connected")
    else:
        columns = ("executor", "session", "attempts", "state", "tools", "unhealthy", "said")
        table(columns, [_row(executor) for executor in connected])


def _row(executor: monitoring_service_pb2.ExecutorStatus) -> tuple[str, ...]:
    unhealthy = [_told(each) for each in executor.tools if not each.healthy]
    said = [_told(each) for each in executor.tools if each.healthy and each.message]
    return (
        executor.executor,
        executor.session_id,
        f"{executor.attempts}/{executor.max_attempts}",
        "leaving" if executor.leaving else "connected",
        str(len(executor.tools)),
        "; ".join(unhealthy) or "-",
        "; ".join(said) or "-",
    )


def _told(tool: monitoring_service_pb2.ServedTool) -> str:
    return f"{tool.tool}: {tool.message}" if tool.message else tool.tool


def _print(executor: monitoring_service_pb2.ExecutorStatus) -> None:
    from service.cli.output import moment, print_json

    tools = [
        {
            "tool": each.tool,
            "version": each.version,
            "healthy": each.healthy,
            "message": each.message,
            "probed_at": moment(each.probed_at_us),
        }
        for each in executor.tools
    ]
    print_json(
        {
            "session_id": executor.session_id,
            "executor": executor.executor,
            "labels": dict(executor.labels),
            "attempts": executor.attempts,
            "max_attempts": executor.max_attempts,
            "leaving": executor.leaving,
            "heard_at": moment(executor.heard_at_us),
            "tools": tools,
        }
    )
