"""The loads of `podium bench` that wait for answers: workflows, many and one at a time, and calls of a tool.

Invariant: every answer is read. A round in which a workflow did not succeed is no round.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from podium.v1 import definition_pb2, tool_service_pb2, value_pb2
from podium.v1 import workflow_service_pb2 as pb
from service.cli.bench.target import NOOP, Round, Target
from service.cli.failures import CommandFailed

RUN = "WorkflowService/RunWorkflow"


async def at_once(target: Target, *, workflows: int = 400, lanes: int = 50, steps: int = 10) -> Round:
    """(a) Many workflows of sequential steps, `lanes` of them at once: steps a second."""
    request = pb.RunWorkflowRequest(workflow=chain(target.name, steps)).SerializeToString()
    seconds, latencies_ms, answers = await closed_loop(target, target.method(RUN), request, workflows, lanes)
    cycles_ms = [cycle for answer in answers for cycle in _cycles_ms(answer, steps)]
    figures = {
        "steps_per_s": workflows * steps / seconds,
        "step_mean_ms": statistics.fmean(cycles_ms),
        "step_p99_ms": percentile(cycles_ms, 0.99),
        "step_mean_ms_at_client": statistics.fmean(latencies_ms) / steps,
    }
    return Round(seconds, workflows, workflows * steps, latencies_ms, figures)


async def one_at_a_time(target: Target, *, workflows: int = 50, steps: int = 10) -> Round:
    """(b) One workflow of sequential steps after the other: milliseconds each."""
    return await at_once(target, workflows=workflows, lanes=1, steps=steps)


async def fan_out(target: Target, *, workflows: int = 20, steps: int = 100) -> Round:
    """(c) One workflow after the other, all steps of each at once: milliseconds each."""
    request = pb.RunWorkflowRequest(workflow=fan(target.name, steps)).SerializeToString()
    seconds, latencies_ms, answers = await closed_loop(target, target.method(RUN), request, workflows, 1)
    for answer in answers:
        succeeded(answer, steps)
    return Round(seconds, workflows, workflows * steps, latencies_ms)


async def call(target: Target, *, calls: int = 200) -> Round:
    """(d) One direct call of a tool after the other: milliseconds each."""
    asked = tool_service_pb2.ToolCall(tool=NOOP, arguments_json='{"n": 1}')
    request = tool_service_pb2.CallToolRequest(call=asked).SerializeToString()
    seconds, latencies_ms, answers = await closed_loop(target, target.method("ToolService/CallTool"), request, calls, 1)
    for answer in answers:
        outcome = tool_service_pb2.CallToolResponse.FromString(answer).outcome
        if outcome.state != value_pb2.STEP_STATE_SUCCEEDED:
            raise CommandFailed(f"a call of {NOOP} did not succeed: {outcome.failure.message}")
    return Round(seconds, calls, calls, latencies_ms)


def chain(name: str, steps: int) -> pb.StartWorkflowRequest:
    """A workflow in which each step takes the output of the one before."""
    first = definition_pb2.StepDefinition(tool=NOOP, arguments_json='{"n": 1}')
    others = [
        definition_pb2.StepDefinition(tool=NOOP, arguments_json=json.dumps({"n": f"${{steps.step_{number}.output.n}}"}))
        for number in range(1, steps)
    ]
    return pb.StartWorkflowRequest(name=name, steps=[first, *others])


def fan(name: str, steps: int) -> pb.StartWorkflowRequest:
    """A workflow in which no step waits for another."""
    step = definition_pb2.StepDefinition(tool=NOOP, arguments_json='{"n": 1}')
    return pb.StartWorkflowRequest(name=name, steps=[step] * steps)


async def closed_loop(
    target: Target, ask: Callable[[bytes], Awaitable[bytes]], request: bytes, requests: int, lanes: int
) -> tuple[float, list[float], list[bytes]]:
    """Send a request many times, from each lane the next when its last is answered.

    Returns the seconds it took, the latency of each request in milliseconds, and the answers.
    """
    left = iter(range(requests))
    latencies_ms: list[float] = []
    answers: list[bytes] = []

    async def lane() -> None:
        for _ in left:
            sent = target.now_s()
            answers.append(await ask(request))
            latencies_ms.append((target.now_s() - sent) * 1e3)

    started = target.now_s()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(lanes):
            tasks.create_task(lane())
    return target.now_s() - started, latencies_ms, answers


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which a part of them lie, 0 to 1: the nearest rank."""
    ordered = sorted(values)
    return ordered[round(part * (len(ordered) - 1))]


def succeeded(answer: bytes, steps: int) -> pb.RunWorkflowResponse:
    """What a workflow ended with. Raises CommandFailed unless all of its steps succeeded."""
    ended = pb.RunWorkflowResponse.FromString(answer)
    counts = [(each.state, each.count) for each in ended.workflow.step_counts]
    if counts != [(value_pb2.STEP_STATE_SUCCEEDED, steps)]:
        message = ended.workflow.failure.message or "not all of its steps succeeded"
        raise CommandFailed(f"workflow {ended.workflow.workflow_id} did not succeed: {message}")
    return ended


def _cycles_ms(answer: bytes, steps: int) -> list[float]:
    """How long each sequential step took by the service's records: from the end of the one before to its own.

    Everything between is in it: the commit, the way to the executor and back, and every wait.
    """
    ended = succeeded(answer, steps)
    moments_us = [ended.workflow.started_at_us, *(step.ended_at_us for step in ended.steps)]
    return [(later - earlier) / 1e3 for earlier, later in pairwise(moments_us)]
