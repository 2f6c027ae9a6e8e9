"""Callers of the soaked service: runs, calls, watches and cancels, at a rate, whatever becomes of each."""

import asyncio
import itertools
from collections import Counter

import grpc.aio

from podium.v1 import definition_pb2, tool_service_pb2, workflow_service_pb2
from tests.faults.pauses import pass_time
from tests.integration.rig.caller import step
from tests.soak.guarding import KNOWN, MOODY, WARY

TICK_S = 0.02
AT_ONCE_MAX = 400
"""Calls in flight: beyond them none are begun, which is counted."""
MEASURING_WITH = 32
TIMEOUT_S = 60.0
DIFFERENT = 5
"""So many arguments does the cached tool get."""
ONCE = definition_pb2.RetryPolicy(max_attempts=1)
TWICE = definition_pb2.RetryPolicy(max_attempts=2)
KINDS = ("run", "run", "run", "call", "call", "watch", "cancel", "hang_up", "guarded") * 4 + ("odd", "wary", "wary")


class Callers:
    """Calls of all kinds over some connections."""

    def __init__(self, callers, chance):
        self._callers = itertools.cycle(callers)
        self._chance = chance
        self._tasks = set()
        self.outcomes = Counter()

    async def highest_rate(self, seconds):
        """Calls a second when a few callers call one after the other as fast as they are answered."""
        done = 0

        async def call_on():
            nonlocal done
            while True:
                await self._one()
                done += 1

        tasks = [asyncio.create_task(call_on()) for _ in range(MEASURING_WITH)]
        await pass_time(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.outcomes.clear()
        return done / seconds

    async def call_at(self, rate, seconds):
        """Begin so many calls a second, whether they are answered or not."""
        loop = asyncio.get_running_loop()
        began_s, begun = loop.time(), 0
        while (passed_s := loop.time() - began_s) < seconds:
            for _ in range(int(passed_s * rate) - begun):
                begun += 1
                if len(self._tasks) >= AT_ONCE_MAX:
                    self.outcomes["left out"] += 1
                    continue
                task = asyncio.create_task(self._one())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await pass_time(TICK_S)

    async def finish(self):
        """Wait for the calls in flight."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _one(self):
        kind = self._chance.choice(KINDS)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await getattr(self, f"_{kind}")()
            self.outcomes[kind] += 1
        except grpc.aio.AioRpcError as error:
            self.outcomes[f"{kind} {error.code().name}"] += 1
        except TimeoutError:
            self.outcomes[f"{kind} not answered"] += 1

    async def _run(self):
        workflow = workflow_service_pb2.StartWorkflowRequest(
            steps=[
                step("quick", {"value": 1}, id="first"),
                step("quick", {"value": "${steps.first.output}"}),
                step("slow", {"value": 2}),
            ]
        )
        caller = next(self._callers)
        await caller.workflows.RunWorkflow(workflow_service_pb2.RunWorkflowRequest(workflow=workflow))

    async def _call(self, tool="quick"):
        call = tool_service_pb2.ToolCall(tool=tool, arguments_json='{"value": 1}')
        return await next(self._callers).tools.CallTool(tool_service_pb2.CallToolRequest(call=call))

    async def _watch(self):
        caller = next(self._callers)
        workflow_id = await caller.start(step("quick", {"value": 1}))
        async for _ in caller.watch(workflow_id):
            pass

    async def _cancel(self):
        caller = next(self._callers)
        workflow_id = await caller.start(*(step("slow", {"value": number}) for number in range(3)))
        await caller.cancel(workflow_id)

    async def _hang_up(self):
        call = tool_service_pb2.ToolCall(tool="slow", arguments_json='{"value": 1}')
        rpc = next(self._callers).tools.CallTool(tool_service_pb2.CallToolRequest(call=call))
        await pass_time(0.05 * self._chance.random())
        rpc.cancel()

    async def _odd(self):
        bounds = definition_pb2.Timeouts(start_to_close_ms=1_000, schedule_to_start_ms=2_000)
        caller = next(self._callers)
        await caller.start(step("odd", timeouts=bounds, retry=TWICE))

    async def _guarded(self):
        """Identical calls of a cached tool that take an old result, and a moody one that has a chain to its end."""
        value = {"value": self._chance.randrange(DIFFERENT)}
        old = definition_pb2.Fallback(stale=definition_pb2.StaleFallback())
        other = definition_pb2.Fallback(on=["BREAKER_OPEN"], tool=definition_pb2.ToolFallback(tool=KNOWN))
        declared = definition_pb2.Fallback(on=["*"], value_json="0")
        workflow = workflow_service_pb2.StartWorkflowRequest(
            steps=[
                *(step(KNOWN, value, retry=ONCE, fallback=[old, declared]) for _ in range(2)),
                step(MOODY, value, retry=ONCE, fallback=[other, declared]),
            ]
        )
        await next(self._callers).workflows.RunWorkflow(workflow_service_pb2.RunWorkflowRequest(workflow=workflow))

    async def _wary(self):
        """Steps that wait in one line after the other, some until they may not wait any longer or are canceled."""
        bounds = definition_pb2.Timeouts(schedule_to_start_ms=2_000)
        caller = next(self._callers)
        workflow_id = await caller.start(
            *(step(WARY, {"value": number}, timeouts=bounds, retry=TWICE) for number in range(3))
        )
        if self._chance.random() < 0.2:
            await pass_time(0.2 * self._chance.random())
            await caller.cancel(workflow_id)
