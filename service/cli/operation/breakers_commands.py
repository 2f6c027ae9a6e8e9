"""`podium breakers`: what the breakers of tools do, and what an operator tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.examples import example
from service.cli.failures import CommandFailed, ExitCode
from service.cli.options import Address, Json, Token

if TYPE_CHECKING:
    from podium.v1 import resilience_service_pb2
    from service.cli.connecting import Service

app = typer.Typer(
    help="Look at the circuit breakers of tools, and open, close or reset them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

STATES = ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")
_COLOURS = {"closed": "green", "open": "red", "forced_open": "red", "half_open": "yellow"}

Tool = Annotated[str, typer.Argument(metavar="TOOL", help="The tool's name.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, for the log.")]


@app.command(
    "list",
    epilog=example(
        "podium breakers list",
        "podium breakers list --state open --state half_open",
        "podium breakers list --json | jq -r 'select(.figures.failed > 0) | .tool'",
    ),
)
def list_breakers(
    state: Annotated[
        list[str] | None, typer.Option("--state", metavar="STATE", help=f"Only these: {', '.join(STATES)}.")
    ] = None,
    address: Address = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List the breakers of tools that were called or set."""
    from podium.v1 import resilience_service_pb2 as pb
    from podium.v1 import resilience_service_pb2_grpc
    from service.cli.connecting import with_service
    from service.cli.output import note, print_json, table

    request = pb.ListBreakersRequest(states=[_state(name) for name in state or ()], page_size=1000)

    async def read(service: Service) -> list[pb.Breaker]:
        stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
        found: list[pb.Breaker] = []
        while True:
            page = await service.connection.call(stub.ListBreakers, request)
            found += page.breakers
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    breakers = with_service(address, token, read)
    if as_json:
        for each in breakers:
            print_json(breaker_dict(each))
    elif not breakers:
        note("no breaker was needed yet: none of the tools that a rule speaks of was called")
    else:
        columns = ("tool", "state", "calls", "failed", "slow", "in a row", "rejected", "tries again", "rule")
        table(columns, [_row(each) for each in breakers], colours={"state": _COLOURS})


@app.command("show", epilog=example("podium breakers show web_search", "podium breakers show web_search --json"))
def show(tool: Tool, address: Address = None, token: Token = None, as_json: Json = False) -> None:
    """Show the breaker of a tool, with its rule and its last transition."""
    from podium.v1 import resilience_service_pb2 as pb
    from podium.v1 import resilience_service_pb2_grpc
    from service.cli.connecting import with_service

    async def read(service: Service) -> pb.Breaker:
        stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
        return (await service.connection.call(stub.GetBreaker, pb.GetBreakerRequest(tool=tool))).breaker

    _print(with_service(address, token, read), as_json=as_json)


@app.command("open", epilog=example("podium breakers open web_search --reason 'the vendor is down'"))
def open_breaker(
    tool: Tool, reason: Reason = "", address: Address = None, token: Token = None, as_json: Json = False
) -> None:
    """Hold a breaker open until it is closed or reset: the tool is not called, whatever the policy says."""
    _set("OPEN", tool, reason, (address, token), as_json=as_json)


@app.command("close", epilog=example("podium breakers close web_search --reason 'the vendor is back'"))
def close_breaker(
    tool: Tool, reason: Reason = "", address: Address = None, token: Token = None, as_json: Json = False
) -> None:
    """Close a breaker; its counts begin anew."""
    _set("CLOSE", tool, reason, (address, token), as_json=as_json)


@app.command("reset", epilog=example("podium breakers reset web_search"))
def reset_breaker(
    tool: Tool, reason: Reason = "", address: Address = None, token: Token = None, as_json: Json = False
) -> None:
    """Let a breaker forget everything, and begin with the state that its rule begins with."""
    _set("RESET", tool, reason, (address, token), as_json=as_json)


def _set(action: str, tool: str, reason: str, where: tuple[str | None, str | None], *, as_json: bool) -> None:
    from podium.v1 import resilience_service_pb2 as pb
    from podium.v1 import resilience_service_pb2_grpc
    from service.cli.connecting import with_service

    request = pb.SetBreakerRequest(tool=tool, action=pb.BreakerAction.Value(f"BREAKER_ACTION_{action}"), reason=reason)

    async def change(service: Service) -> pb.Breaker:
        stub = resilience_service_pb2_grpc.ResilienceServiceStub(service.connection.channel)
        return (await service.connection.call(stub.SetBreaker, request)).breaker

    _print(with_service(*where, change), as_json=as_json)


def _print(breaker: resilience_service_pb2.Breaker, *, as_json: bool) -> None:
    from service.cli.output import moment, print_json, say

    if as_json:
        print_json(breaker_dict(breaker))
        return
    figures, last = breaker.figures, breaker.last_transition
    say(f"{breaker.tool}: {state_name(breaker.state)}")
    if breaker.open_until_us:
        say(f"  tries again at {moment(breaker.open_until_us)}")
    if state_name(breaker.state) == "half_open":
        say(f"  {breaker.permits_taken} of {breaker.permits} permits are taken")
    in_a_row = f"{figures.failures_in_a_row} failures and {figures.successes_in_a_row} successes in a row"
    say(f"  counted: {figures.calls} calls, {figures.failed} failed, {figures.slow} slow; {in_a_row}")
    if figures.rejected:
        say(f"  rejected since it opened: {figures.rejected}")
    if breaker.HasField("rule"):
        from service.cli.policy.text import breaker_text

        say("  rule:")
        for line in breaker_text(breaker.rule).splitlines():
            say(f"    {line}")
    else:
        say("  no rule of the policy speaks of it")
    if last.reason:
        cause = f" because of {last.workflow_id}/{last.step_id}" if last.workflow_id else ""
        note = f": {last.note}" if last.note else ""
        ways = f"{state_name(last.from_state)} to {state_name(last.to_state)}"
        say(f"  last: {moment(breaker.changed_at_us)} from {ways}, {last.reason}{cause}{note}")


def _row(breaker: resilience_service_pb2.Breaker) -> tuple[object, ...]:
    from service.cli.output import moment

    figures = breaker.figures
    rates = [_percent(figures.failed, figures.failure_rate), _percent(figures.slow, figures.slow_call_rate)]
    return (
        breaker.tool,
        state_name(breaker.state),
        figures.calls,
        *rates,
        figures.failures_in_a_row,
        figures.rejected,
        moment(breaker.open_until_us),
        breaker.rule.id,
    )


def _percent(count: int, rate: float) -> str:
    return f"{count} ({rate:.0f} %)" if rate >= 0 and count else str(count)


def breaker_dict(breaker: resilience_service_pb2.Breaker) -> dict[str, Any]:
    """A breaker as JSON, with the contract's names and states in lower case."""
    from service.cli.output import message_dict

    content = message_dict(breaker)
    content["state"] = state_name(breaker.state)
    return content


def state_name(state: int) -> str:
    """The name of a state, in lower case."""
    from podium.v1 import events_pb2

    return events_pb2.BreakerState.Name(state).removeprefix("BREAKER_STATE_").lower()  # type: ignore[arg-type]  # the stubs want their NewType


def _state(name: str) -> Any:  # noqa: ANN401 -- an enum of the contract
    from podium.v1 import events_pb2

    if name not in STATES:
        raise CommandFailed(f"--state is one of {', '.join(STATES)}, not {name!r}", ExitCode.BAD_INPUT)
    return events_pb2.BreakerState.Value(f"BREAKER_STATE_{name.upper()}")
