"""`podium call`: calls one tool and prints its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.options import Address, Json, OnBehalfOf, Priority, Token

if TYPE_CHECKING:
    from podium import Outcome
    from service.cli.connecting import Service


EXAMPLE = example(
    'podium call search query="retry with backoff" limit=3',
    'podium call search --arguments \'{"query": "retry", "limit": 3}\' --json',
)


def call(
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")],
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Arguments; a value that is JSON is meant as JSON."),
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
    from service.cli.connecting import with_service
    from service.cli.failures import failure_of
    from service.cli.json_options import arguments_option
    from service.cli.output import print_json, print_value

    values = arguments_option(arguments, pairs or [])
    limit = _checked(timeout)

    async def ask(service: Service) -> Outcome:
        return await service.client.try_call(
            tool,
            values,
            timeout=limit,
            request_id=request_id or None,
            on_behalf_of=on_behalf_of,
            priority=priority,
        )

    outcome = with_service(address, token, ask)
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


def _checked(timeout: str | None) -> str | None:
    from podium.durations import milliseconds
    from service.cli.failures import CommandFailed, ExitCode

    try:
        milliseconds(timeout)
    except ValueError as error:
        raise CommandFailed(f"--timeout: {error}", ExitCode.BAD_INPUT, "INVALID_ARGUMENT") from None
    return timeout
