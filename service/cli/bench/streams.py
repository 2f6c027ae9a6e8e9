"""The loads of `podium bench` that watch: streamed output, and what many watchers cost those who do not watch."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from podium.v1 import definition_pb2
from podium.v1 import workflow_service_pb2 as pb
from service.cli.bench.load import at_once, chain, closed_loop
from service.cli.bench.target import STAMP_BYTES, STREAM, Round, Target
from service.cli.failures import CommandFailed

START = "WorkflowService/StartWorkflow"
ADD = "WorkflowService/AddSteps"
FINISH = "WorkflowService/FinishWorkflow"
_MEGABYTE = 1e6
_STARTERS = 50
_OPEN_MAX_MS = 600_000
"""What is open ends by itself when a run was killed."""


async def stream(target: Target, *, chunks: int = 800, firsts: int = 20) -> Round:
    """(e) Output of 64 KiB a chunk to a watcher at the same time: megabytes a second, and the way of a first chunk."""
    first_ms = await _first_chunks_ms(target, firsts)
    started = target.now_s()
    workflow_id = await _started(target, pb.StartWorkflowRequest(name=target.name, steps=[_streaming(chunks)]))
    messages = [message async for message in target.watched(workflow_id, chunks=True)]
    seconds = target.now_s() - started
    received = [chunk for message in messages for chunk in _chunks(message)]
    if [chunk.sequence for chunk in received] != list(range(1, chunks + 1)):
        raise CommandFailed(f"of {chunks} chunks of {workflow_id} the watcher got {len(received)}, or another order")
    _succeeded(messages[-1])
    size = sum(len(chunk.data) for chunk in received)
    figures = {"mb_per_s": size / _MEGABYTE / seconds, "first_chunk_ms": statistics.median(first_ms)}
    return Round(seconds, workflows=2, steps=1 + firsts, latencies_ms=first_ms, figures=figures)


async def watchers(target: Target, *, watchers: int = 1000, workflows: int = 400, lanes: int = 50) -> Round:
    """(j) What watchers cost the workflows of (a): of idle workflows, and of those that run.

    Without them before and after, so that a machine that becomes slower is not mistaken for a cost.
    """
    parts: list[Round] = []

    async def steps_per_s() -> float:
        parts.append(await at_once(target, workflows=workflows, lanes=lanes))
        return parts[-1].figures["steps_per_s"]

    plain = [await steps_per_s()]
    async with _idle_watchers(target, watchers):
        idle = await steps_per_s()
    plain.append(await steps_per_s())
    parts.append(await _watched_workflows(target, workflows, lanes))
    busy = parts[-1].figures["steps_per_s"]
    unwatched = statistics.fmean(plain)
    figures = {
        "steps_per_s": unwatched,
        "steps_per_s_idle_watched": idle,
        "steps_per_s_busy_watched": busy,
        "idle_cost_percent": (1 - idle / unwatched) * 100,
        "busy_cost_percent": (1 - busy / unwatched) * 100,
    }
    ran = sum(part.workflows for part in parts)
    return Round(
        sum(part.seconds for part in parts), watchers + ran, sum(part.steps for part in parts), figures=figures
    )


async def _first_chunks_ms(target: Target, count: int) -> list[float]:
    """How long the first chunk of each of some streams took, one after the other, from the tool to who watches."""
    workflow_id = await _started(target, _open(target))
    add, finish = target.method(ADD), target.method(FINISH)
    request = pb.AddStepsRequest(workflow_id=workflow_id, steps=[_streaming(1)]).SerializeToString()
    taken: list[float] = []
    async with aclosing(target.watched(workflow_id, chunks=True)) as messages:
        # It says how the workflow began, and so it is there before the first step is.
        await anext(messages)
        for _ in range(count):
            await add(request)
            while not (chunks := _chunks(await anext(messages))):
                pass
            now_us = target.now_us()
            taken.append((now_us - int.from_bytes(chunks[0].data[:STAMP_BYTES])) / 1e3)
        await finish(pb.FinishWorkflowRequest(workflow_id=workflow_id).SerializeToString())
        async for _ in messages:
            pass
    return taken


@asynccontextmanager
async def _idle_watchers(target: Target, count: int) -> AsyncGenerator[None, None]:
    """Workflows in which nothing happens, and a watcher of each, for as long as the block lasts."""
    request = _open(target).SerializeToString()
    _, _, answers = await closed_loop(target, target.method(START), request, count, _STARTERS)
    workflow_ids = [pb.StartWorkflowResponse.FromString(answer).workflow_id for answer in answers]
    try:
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            streams = [await stack.enter_async_context(aclosing(target.watched(each))) for each in workflow_ids]
            # Each has been told how its workflow began, and now waits.
            for each in streams:
                await anext(each)
            waiting = [tasks.create_task(_drain(each)) for each in streams]
            yield
            for task in waiting:
                task.cancel()
    finally:
        await _finish(target, workflow_ids)


async def _watched_workflows(target: Target, workflows: int, lanes: int, steps: int = 10) -> Round:
    """The load of (a), with a watcher of each workflow from its start to its end."""
    request = chain(target.name, steps).SerializeToString()
    start = target.method(START)

    async def watch_one(asked: bytes) -> bytes:
        answer = await start(asked)
        workflow_id = pb.StartWorkflowResponse.FromString(answer).workflow_id
        return [message async for message in target.watched(workflow_id)][-1]

    seconds, latencies_ms, endings = await closed_loop(target, watch_one, request, workflows, lanes)
    for ending in endings:
        _succeeded(ending)
    figures = {"steps_per_s": workflows * steps / seconds}
    return Round(seconds, workflows, workflows * steps, latencies_ms, figures)


async def _finish(target: Target, workflow_ids: Sequence[str]) -> None:
    finish = target.method(FINISH)
    for first in range(0, len(workflow_ids), _STARTERS):
        some = workflow_ids[first : first + _STARTERS]
        await asyncio.gather(*(finish(pb.FinishWorkflowRequest(workflow_id=each).SerializeToString()) for each in some))


async def _started(target: Target, request: pb.StartWorkflowRequest) -> str:
    answer = await target.method(START)(request.SerializeToString())
    return pb.StartWorkflowResponse.FromString(answer).workflow_id


async def _drain(messages: AsyncGenerator[bytes, None]) -> None:
    async for _ in messages:
        pass


def _open(target: Target) -> pb.StartWorkflowRequest:
    return pb.StartWorkflowRequest(name=target.name, open=True, timeout_ms=_OPEN_MAX_MS)


def _streaming(chunks: int) -> definition_pb2.StepDefinition:
    return definition_pb2.StepDefinition(tool=STREAM, arguments_json=json.dumps({"chunks": chunks}))


def _succeeded(message: bytes) -> None:
    """Raise CommandFailed unless the last message about a workflow says that it succeeded."""
    event = pb.WatchWorkflowResponse.FromString(message).items[-1].event
    if event.WhichOneof("payload") != "workflow_succeeded":
        raise CommandFailed(f"workflow {event.stream_id} did not succeed: {event.WhichOneof('payload')}")


def _chunks(message: bytes) -> list[pb.OutputChunk]:
    items = pb.WatchWorkflowResponse.FromString(message).items
    return [item.chunk for item in items if item.HasField("chunk")]
