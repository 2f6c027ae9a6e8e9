"""Clients under fire: each asks until it is answered, always with the same request id, and writes down what it is told.

The stubs are raw, so that every try is an entry of its own: "sent", then "answered" or "unanswered".
"""

import asyncio
import itertools

import grpc
import grpc.aio

from podium.v1 import (
    definition_pb2,
    replay_service_pb2,
    replay_service_pb2_grpc,
    tool_service_pb2,
    tool_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

ANSWER_WITHIN_S = 30.0
OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
]
ENDINGS = {"workflow_succeeded", "workflow_failed", "workflow_canceled"}
AWAY = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN}


class Refused(Exception):
    """The service answered with an error."""


class Client:
    """Asks the service, and writes every try into the ledger."""

    def __init__(self, field, ledger):
        self._channel = grpc.aio.insecure_channel(field.address, options=OPTIONS)
        self._metadata = (("authorization", f"Bearer {field.token}"),)
        self._ledger = ledger
        self._tries = itertools.count(1)
        self.workflows = workflow_service_pb2_grpc.WorkflowServiceStub(self._channel)
        self.tools = tool_service_pb2_grpc.ToolServiceStub(self._channel)
        self._replays = replay_service_pb2_grpc.ReplayServiceStub(self._channel)
        self.in_flight = {}
        """request id → try, of what has no answer yet."""
        self._started = []

    async def close(self):
        await self._channel.close()

    async def ask(self, method, request, told):
        """Ask until there is an answer; `told` says what of it goes into the ledger."""
        kind = type(request).__name__
        while True:
            number = next(self._tries)
            about = {"call": kind, "request_id": request.request_id, "try": number}
            self._ledger.write(event="sent", **about)
            self.in_flight[request.request_id] = number
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answer = await method(request, metadata=self._metadata, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                self._ledger.write(event="unanswered", code=error.code().name, details=error.details(), **about)
                if error.code() not in AWAY:
                    raise Refused(f"{kind} {request.request_id}: {error.code().name} {error.details()}") from error
                continue
            finally:
                self.in_flight.pop(request.request_id, None)
            self._ledger.write(event="answered", **about, **told(answer))
            return answer

    async def ask_once(self, method, request):
        """Ask what changes nothing, and do not write it down."""
        return await method(request, metadata=self._metadata, wait_for_ready=True, timeout=ANSWER_WITHIN_S)

    async def start(self, request_id, steps, *, is_open=False):
        request = workflow_service_pb2.StartWorkflowRequest(request_id=request_id, steps=steps, open=is_open)
        answer = await self.ask(self.workflows.StartWorkflow, request, lambda told: {"workflow": told.workflow_id})
        self._started.append(answer.workflow_id)
        return answer.workflow_id

    def newest(self, count):
        """The workflows that were started last."""
        return list(dict.fromkeys(self._started))[-count:]

    async def add(self, workflow_id, request_id, steps):
        request = workflow_service_pb2.AddStepsRequest(workflow_id=workflow_id, request_id=request_id, steps=steps)
        answer = await self.ask(
            self.workflows.AddSteps, request, lambda told: {"workflow": workflow_id, "steps": list(told.step_ids)}
        )
        return list(answer.step_ids)

    async def finish(self, workflow_id, request_id):
        request = workflow_service_pb2.FinishWorkflowRequest(workflow_id=workflow_id, request_id=request_id)
        await self.ask(self.workflows.FinishWorkflow, request, lambda told: {"workflow": workflow_id})

    async def call(self, request_id, tool, arguments_json="{}"):
        call = tool_service_pb2.ToolCall(tool=tool, arguments_json=arguments_json)
        request = tool_service_pb2.CallToolRequest(request_id=request_id, call=call)

        def told(answer):
            outcome = answer.outcome
            return {"workflow": answer.workflow_id, "output": outcome.output_json, "outcome": outcome.event}

        return await self.ask(self.tools.CallTool, request, told)

    async def watch(self, workflow_id):
        """Follow a workflow to its end, over as many streams as it takes. Writes down every event it is shown."""
        cursor = ""
        while True:
            request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=workflow_id, cursor=cursor)
            stream = self.workflows.WatchWorkflow(
                request, metadata=self._metadata, wait_for_ready=True, timeout=ANSWER_WITHIN_S
            )
            try:
                async for response in stream:
                    cursor = response.cursor
                    events = [item.event for item in response.items if item.HasField("event")]
                    for event in events:
                        record = event.SerializeToString(deterministic=True).hex()
                        self._ledger.write(event="shown", workflow=workflow_id, record=record)
                    if any(event.WhichOneof("payload") in ENDINGS for event in events):
                        return
            except grpc.aio.AioRpcError as error:
                if error.code() not in AWAY:
                    raise Refused(f"watching {workflow_id}: {error.code().name} {error.details()}") from error
            finally:
                stream.cancel()

    async def replay(self, workflow_id):
        """Ask for the state that the service works with, and write it down."""
        request = replay_service_pb2.ReplayRequest(workflow_id=workflow_id)
        read = f"read-{next(self._tries)}"
        self._ledger.write(event="asked", read=read)
        answer = await self.ask_once(self._replays.Replay, request)
        self._ledger.write(
            event="replayed",
            read=read,
            workflow=workflow_id,
            version=answer.stream_version,
            live=answer.live_state_digest.hex(),
            matches=answer.matches,
        )
        return answer


def step(step_id, tool, arguments_json, *needs):
    return definition_pb2.StepDefinition(id=step_id, tool=tool, arguments_json=arguments_json, depends_on=needs)


CHAIN = [
    step("first", "quick", '{"text": "one"}'),
    step("beside", "quick", '{"text": "two"}'),
    step("streamed", "pieces", '{"count": 3}', "first"),
    step("last", "unsteady", '{"text": "${steps.first.output}"}', "streamed", "beside"),
]


class Load:
    """What runs all the while: workflows, growing runs, direct calls, and one call that is held."""

    def __init__(self, client):
        self._client = client
        self._numbers = itertools.count(1)
        self._stopping = False
        self.refusals = []
        """What clients were told that a client should never be told."""

    def stop(self):
        """Begin nothing new."""
        self._stopping = True

    async def run(self):
        """Run until stopped and everything has come to its end."""
        async with asyncio.TaskGroup() as group:
            for one in (self._chain, self._chain, self._grown, self._call, self._hold):
                group.create_task(self._repeat(one))

    async def _repeat(self, one):
        while not self._stopping:
            try:
                await one(f"{one.__name__.strip('_')}-{next(self._numbers)}")
            except Refused as refusal:
                self.refusals.append(str(refusal))

    async def _chain(self, name):
        workflow_id = await self._client.start(name, CHAIN)
        # The answer may have been lost on the way, so a client asks again: it must hear the same.
        await self._client.start(name, CHAIN)
        await self._client.watch(workflow_id)

    async def _grown(self, name):
        workflow_id = await self._client.start(name, [], is_open=True)
        for number in range(2):
            steps = [step("", "quick", '{"text": "more"}'), step("", "pieces", '{"count": 2}')]
            added = await self._client.add(workflow_id, f"{name}-add-{number}", steps)
            if await self._client.add(workflow_id, f"{name}-add-{number}", steps) != added:
                raise Refused(f"{name}: the same request was answered differently")
        await self._client.finish(workflow_id, f"{name}-finish")
        await self._client.watch(workflow_id)

    async def _call(self, name):
        await self._client.call(name, "quick", '{"text": "now"}')

    async def _hold(self, name):
        await self._client.call(name, "hold")
