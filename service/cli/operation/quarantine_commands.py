"""`podium quarantine`: workflows whose events could not be folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import admin_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(
    help="Look at workflows that could not be folded, and release them.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(
    "list",
    epilog=example(
        "podium quarantine list",
        "podium quarantine list --json | jq -r .workflow_id",
    ),
)
def list_quarantined(address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """List your tenant's quarantined workflows and what is wrong with each."""
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, table

    async def read(service: Service) -> admin_service_pb2.ListQuarantinedResponse:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        return await service.connection.call(stub.ListQuarantined, admin_service_pb2.ListQuarantinedRequest())

    workflows = with_service(address, token, read).workflows
    if as_json:
        for workflow in workflows:
            print_json({"workflow_id": workflow.workflow_id, "problem": workflow.problem})
    elif not workflows:
        note("no workflow is quarantined")
    else:
        table(("workflow", "problem"), [(workflow.workflow_id, workflow.problem) for workflow in workflows])


@app.command("release", epilog=example("podium quarantine release wf_3k7q"))
def release(
    workflow_id: Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's id.")],
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Fold a quarantined workflow again, and go on with it when that succeeds."""
    from podium.v1 import admin_service_pb2, admin_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, say

    async def change(service: Service) -> admin_service_pb2.ReleaseQuarantinedResponse:
        stub = admin_service_pb2_grpc.AdminServiceStub(service.connection.channel)
        request = admin_service_pb2.ReleaseQuarantinedRequest(workflow_id=workflow_id)
        return await service.connection.call(stub.ReleaseQuarantined, request)

    answer = with_service(address, token, change)
    if not answer.released:
        raise CommandFailed(f"{workflow_id} stays quarantined: {answer.problem}", reason="STREAM_QUARANTINED")
    if as_json:
        print_json({"workflow_id": workflow_id, "released": True})
    else:
        say(f"{workflow_id} was folded and goes on")
