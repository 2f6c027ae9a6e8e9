"""`podium tools`: which tools there are, what they need, who serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import tool_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(help="Look at the registered tools.", no_args_is_help=True, rich_markup_mode=None)


@app.command(
    "list",
    epilog=example(
        "podium tools list",
        "podium tools list --all --json | jq -r .name",
    ),
)
def list_tools(
    everything: Annotated[
        bool, typer.Option("--all", help="Also the tools that you may not use; needs tools.administer.")
    ] = False,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the tools that you may use."""
    from podium.listing import list_tools as pages
    from podium.v1 import tool_service_pb2
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, table
    from service.cli.status_json import tool_dict

    async def read(service: Service) -> list[tool_service_pb2.Tool]:
        request = tool_service_pb2.ListToolsRequest(include_denied=everything)
        return [tool async for tool in pages(service.connection, request)]

    tools = with_service(address, token, read)
    if as_json:
        for tool in tools:
            print_json(tool_dict(tool))
    elif not tools:
        note("there are no tools that you may use; `podium executor MODULE` serves some")
    else:
        table(("tool", "version", "sessions", "permissions", "kind", "description"), [_row(tool) for tool in tools])


@app.command(
    "show",
    epilog=example(
        "podium tools show search",
        "podium tools show search --json | jq .input_schema",
    ),
)
def show_tool(
    name: Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")],
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show a tool with the schemas of its arguments and of its output."""
    from podium.v1 import tool_service_pb2, tool_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import print_json, print_value, say
    from service.cli.status_json import resilience_dict, tool_dict

    async def read(service: Service) -> tool_service_pb2.Tool:
        stub = tool_service_pb2_grpc.ToolServiceStub(service.connection.channel)
        answer = await service.connection.call(stub.GetTool, tool_service_pb2.GetToolRequest(name=name))
        return answer.tool

    tool = with_service(address, token, read)
    if as_json:
        print_json(tool_dict(tool))
        return
    labels = ("tool", "version", "sessions", "permissions", "kind", "description")
    for label, value in zip(labels, _row(tool), strict=True):
        say(f"{label:<12} {value}")
    for label, declared in resilience_dict(tool.definition).items():
        say(f"{label:<12} {', '.join(f'{name} {value}' for name, value in declared.items())}")
    content = tool_dict(tool)
    for label, schema in (("arguments", content["input_schema"]), ("output", content["output_schema"])):
        if schema:
            say(f"\n{label}:")
            print_value(schema)


def _row(tool: tool_service_pb2.Tool) -> tuple[str, ...]:
    definition = tool.definition
    kind = "read-only" if definition.read_only else "idempotent" if definition.idempotent else ""
    needs = ", ".join(definition.permissions) or "none"
    return definition.name, str(tool.version), str(tool.sessions), needs, kind, definition.description
