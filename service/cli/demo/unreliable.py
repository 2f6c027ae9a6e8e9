"""The demonstration of breakers: a loop over tools of which some fail, and what their breakers make of it.

Which calls fail is worked out from a seed, the tool and the number of the call, so that the same seed always leads to
the same transitions. What is printed about them at the end is read from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import podium
from service.cli.child_processes import cancelled_when_asked_to_end
from service.cli.connecting import Service, reached, told
from service.cli.demo.research_demo import minter, server_process
from service.cli.operation.breakers_commands import state_name
from service.cli.output import note, print_json, say, table

if TYPE_CHECKING:
    from podium.v1 import events_pb2

FAILING_PERCENT = {"clock": 0, "weather": 40, "stocks": 40, "news": 40}
FAILURE_THRESHOLD, SUCCESS_THRESHOLD, RECOVERY_MS, TIMEOUT_MS = 3, 2, 200, 2_000
_LINE = {"succeeded": ".", "failed": "x", "rejected": "!"}


@dataclass(slots=True)
class Run:
    """What was called, and what came of it."""

    seed: int
    lines: dict[str, str] = field(default_factory=lambda: dict.fromkeys(FAILING_PERCENT, ""))
    """Of each tool, a character a call."""
    transitions: list[events_pb2.BreakerTransitioned] = field(default_factory=list)

    @property
    def went_round(self) -> bool:
        """Whether a breaker opened, was half-open and closed again."""
        return any(
            "open,half_open,closed"
            in ",".join(state_name(each.to_state) for each in self.transitions if each.tool == tool)
            for tool in FAILING_PERCENT
        )


async def run_breakers(seed: int, calls: int, state: Path, *, as_json: bool) -> bool:
    """Run the demonstration and print it. Returns whether a breaker went all the way round."""
    cancelled_when_asked_to_end()
    run = Run(seed)
    async with _stage(seed, state) as service:
        for _ in range(calls):
            for tool in FAILING_PERCENT:
                await _call(service, run, tool)
        for tool in FAILING_PERCENT:
            run.transitions += await _transitions(service, tool)
    _print(run, as_json=as_json)
    return run.went_round


def unreliable_tools(seed: int) -> podium.Executor:
    """An executor whose tools fail as often as they shall, always at the same calls."""
    app = podium.Executor("unreliable")

    def add(name: str, percent: int) -> None:
        made = 0

        async def work() -> str:
            """Answer, or fail."""
            nonlocal made
            made += 1
            drawn = int.from_bytes(sha256(f"{seed}/{name}/{made}".encode()).digest()[:4], "big") % 100
            if drawn < percent:
                raise podium.ToolFailed(f"{name} does not answer", reason="UNAVAILABLE", retryable=False)
            return f"{name} {made}"

        app.tool(name=name)(work)

    for name, percent in FAILING_PERCENT.items():
        add(name, percent)
    return app


@asynccontextmanager
async def _stage(seed: int, state: Path) -> AsyncGenerator[Service, None]:
    async with AsyncExitStack() as stack:
        note("Starting the service, and an executor with four tools, of which three fail at 40 % of their calls …")
        server = await stack.enter_async_context(server_process(state))
        said, mint = await asyncio.gather(server.ready(), asyncio.to_thread(minter, state))
        address = str(said["address"])
        await stack.enter_async_context(
            podium.connect(address, mint("executor", "executor"), serve=unreliable_tools(seed))
        )
        service = await stack.enter_async_context(reached(address, mint("demo", "admin")))
        await _apply_rule(service)
        yield service


async def _apply_rule(service: Service) -> None:
    from podium.v1 import access_service_pb2 as pb
    from podium.v1 import access_service_pb2_grpc

    stub = access_service_pb2_grpc.AccessServiceStub(service.connection.channel)
    policy = (await service.connection.call(stub.GetPolicy, pb.GetPolicyRequest())).policy.policy
    policy.breakers.add(
        id="simple",
        failure_threshold=FAILURE_THRESHOLD,
        success_threshold=SUCCESS_THRESHOLD,
        recovery_timeout_ms=RECOVERY_MS,
        timeout_ms=TIMEOUT_MS,
    )
    await service.connection.call(stub.ApplyPolicy, pb.ApplyPolicyRequest(policy=policy))


async def _call(service: Service, run: Run, tool: str) -> None:
    """Call a tool once; at an open breaker, wait for the time that it tells and try again."""
    from podium.v1 import tool_service_pb2 as pb
    from podium.v1 import tool_service_pb2_grpc, value_pb2

    stub = tool_service_pb2_grpc.ToolServiceStub(service.connection.channel)
    while True:
        request = pb.CallToolRequest(call=pb.ToolCall(tool=tool))
        outcome = (await service.connection.call(stub.CallTool, request)).outcome
        rejected = outcome.failure.reason == "BREAKER_OPEN"
        succeeded = outcome.state == value_pb2.STEP_STATE_SUCCEEDED
        run.lines[tool] += _LINE["rejected" if rejected else "succeeded" if succeeded else "failed"]
        if not rejected:
            return
        await asyncio.sleep(outcome.failure.retry_after_ms / 1000)


async def _transitions(service: Service, tool: str) -> list[events_pb2.BreakerTransitioned]:
    from podium.v1 import event_service_pb2 as pb
    from podium.v1 import event_service_pb2_grpc

    stub = event_service_pb2_grpc.EventServiceStub(service.connection.channel)
    frames = told(
        stub.ReadStream(pb.ReadStreamRequest(stream_id=f"breaker/{tool}"), metadata=service.connection.metadata())
    )
    return [event.breaker_transitioned async for frame in frames for event in frame.events]


def _print(run: Run, *, as_json: bool) -> None:
    if as_json:
        print_json(_run_dict(run))
        return
    say("\nThe calls, one after the other: . succeeded, x failed, ! was not made because the breaker was open\n")
    for tool, line in run.lines.items():
        say(f"  {tool:8} {line}")
    say("\nWhat the log says of their breakers\n")
    columns = ("tool", "from", "to", "why", "failed in a row", "caused by")
    table(
        columns,
        [
            (
                each.tool,
                state_name(each.from_state),
                state_name(each.to_state),
                each.reason,
                each.figures.failures_in_a_row,
                each.workflow_id,
            )
            for each in run.transitions
        ],
    )
    made = sum(len(line.replace("!", "")) for line in run.lines.values())
    rejected = sum(line.count("!") for line in run.lines.values())
    say(f"\n{made} calls were made, {rejected} were not; {len(run.transitions)} transitions with seed {run.seed}")


def _run_dict(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "went_round": run.went_round,
        "calls": run.lines,
        "transitions": [
            {
                "tool": each.tool,
                "from": state_name(each.from_state),
                "to": state_name(each.to_state),
                "reason": each.reason,
                "caused_by": each.workflow_id,
            }
            for each in run.transitions
        ],
    }
