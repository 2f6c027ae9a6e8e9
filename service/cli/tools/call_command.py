"""`podium call`: calls one tool and prints its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, OnBehalfOf, Priority, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from podium import InvalidInput, Outcome
    from service.cli.connecting import Service
    from service.cli.failures import CommandFailed

EXAMPLE = example(
    'podium call search query="retry with backoff" limit=3',
    'podium call search --arguments \'{"query": "retry", "limit": 3}\' --json',
)


def call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")],
    pairs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...",
            help="Arguments; a value that is JSON is meant as JSON, unless the tool's schema says that it is a string.",
        ),
    ] = None,
    *,
    arguments: Annotated[
        str | None, typer.Option("--arguments", metavar="JSON", help="All arguments as an object; @FILE, or - .")
    ] = None,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION", help="How long it may take: 30s, 5m.")] = None,
    request_id: Annotated[str, typer.Option(metavar="ID", help="The same id calls the tool only once.")] = "",
    on_behalf_of: OnBehalfOf = "",
    priority: Priority = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Call TOOL and print its output."""
    from podium import InvalidInput
    from service.cli.connecting import with_service
    from service.cli.failures import failure_of
    from service.cli.json_options import arguments_option, read_as_json
    from service.cli.output import print_json, print_value

    values, typed = arguments_option(arguments, pairs or []), read_as_json(pairs or [])
    limit = _checked(timeout)

    async def ask(service: Service) -> Outcome:
        if typed:
            values.update(await _texts(service, tool, typed))
        return await service.client.try_call(
            tool,
            values,
            timeout=limit,
            request_id=request_id or None,
            on_behalf_of=on_behalf_of,
            priority=priority,
        )

    try:
        outcome = with_service(address, token, ask)
    except InvalidInput as error:
        raise _refusal(tool, typed, error) from error
    if as_json:
        print_json(_outcome_dict(tool, outcome))
        raise typer.Exit(0 if outcome.error is None else failure_of(outcome.error).code)
    if outcome.error is not None:
        failure = failure_of(outcome.error)
        failure.context = f"{tool} {outcome.state}"
        raise failure
    print_value(outcome.output)


def _outcome_dict(tool: str, outcome: Outcome) -> dict[str, Any]:
    from service.cli.status_json import failure_dict

    return {
        "tool": tool,
        "state": outcome.state,
        "output": outcome.output,
        "failure": failure_dict(outcome.error),
        "event": outcome.event,
        "attempts": outcome.attempts,
    }


async def _texts(service: Service, tool: str, typed: Mapping[str, str]) -> dict[str, str]:
    """Return those of the values that the tool's schema says are strings, where the caller may see it."""
    from podium import NotFound, PermissionDenied
    from podium.v1 import tool_service_pb2, tool_service_pb2_grpc
    from service.cli.tools.facts import tool_facts

    stub = tool_service_pb2_grpc.ToolServiceStub(service.connection.channel)
    try:
        answer = await service.connection.call(stub.GetTool, tool_service_pb2.GetToolRequest(name=tool))
    except (NotFound, PermissionDenied):
        return {}
    strings = {each.name for each in tool_facts(answer.tool).parameters if each.schema.get("type") == "string"}
    return {name: value for name, value in typed.items() if name in strings}


def _refusal(tool: str, typed: Mapping[str, str], error: InvalidInput) -> CommandFailed:
    """Return how it is told that the call is not accepted: a tool that is not there is not found, as everywhere."""
    from service.cli.failures import CommandFailed, ExitCode, failure_of
    from service.domain.call_reading import TOOL_NAME

    fields = [field for field, _ in error.violations]
    if fields == ["call.tool"] and TOOL_NAME.fullmatch(tool):
        message = f"there is no tool {tool!r}"
        hint = "`podium tools list` names those that you may use; an executor that serves it registers one"
        return CommandFailed(message, ExitCode.NOT_FOUND, "TOOL_NOT_FOUND", hint=hint)
    failure = failure_of(error)
    at_fault = [name for name in typed if f"call.arguments.{name}" in fields]
    if at_fault:
        name = at_fault[0]
        failure.hint = f"{name}={typed[name]} was read as JSON; as text it is {name}='\"{typed[name]}\"'"
    return failure


def _checked(timeout: str | None) -> str | None:
    from podium.durations import milliseconds
    from service.cli.failures import CommandFailed, ExitCode

    try:
        milliseconds(timeout)
    except ValueError as error:
        raise CommandFailed(f"--timeout: {error}", ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
    return timeout
