"""Somebody who calls the service over gRPC with a token, without the SDK: in the contract's own words."""

import contextlib
import json

import grpc.aio

from podium.v1 import (
    access_service_pb2_grpc,
    admin_service_pb2_grpc,
    audit_service_pb2_grpc,
    definition_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    executor_service_pb2_grpc,
    monitoring_service_pb2_grpc,
    replay_service_pb2,
    replay_service_pb2_grpc,
    resilience_service_pb2_grpc,
    tool_service_pb2,
    tool_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

CALL_TIMEOUT_S = 30.0
MESSAGE_BYTES = 16 * 1024 * 1024
ANY_OBJECT = {"type": "object"}
REFUSALS = "requests"
"""The stream of refused requests."""

_OPTIONS = [
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    # A connection of its own, which does not wait because another caller found the service away.
    ("grpc.use_local_subchannel_pool", 1),
]


def step(tool, arguments=None, /, **fields):
    """A step as it is submitted: its arguments as JSON text in which strings may hold references."""
    return definition_pb2.StepDefinition(tool=tool, arguments_json=json.dumps(arguments or {}), **fields)


class _Bound:
    """A stub whose every call carries the caller's metadata and has an end."""

    def __init__(self, stub, metadata):
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, name):
        method = getattr(self._stub, name)

        def call(*request, timeout=CALL_TIMEOUT_S):
            return method(*request, metadata=self._metadata, timeout=timeout)

        return call


class Caller:
    """One caller on a channel of its own."""

    def __init__(self, address, token=None, *, metadata=None, credentials=None):
        self.token = token
        if credentials is None:
            self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        else:
            self.channel = grpc.aio.secure_channel(address, credentials, options=_OPTIONS)
        if metadata is None:
            metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self.metadata = metadata
        self.workflows = self._bound(workflow_service_pb2_grpc.WorkflowServiceStub)
        self.tools = self._bound(tool_service_pb2_grpc.ToolServiceStub)
        self.events = self._bound(event_service_pb2_grpc.EventServiceStub)
        self.executors = self._bound(executor_service_pb2_grpc.ExecutorServiceStub)
        self.replays = self._bound(replay_service_pb2_grpc.ReplayServiceStub)
        self.access = self._bound(access_service_pb2_grpc.AccessServiceStub)
        self.admin = self._bound(admin_service_pb2_grpc.AdminServiceStub)
        self.monitoring = self._bound(monitoring_service_pb2_grpc.MonitoringServiceStub)
        self.audit = self._bound(audit_service_pb2_grpc.AuditServiceStub)
        self.resilience = self._bound(resilience_service_pb2_grpc.ResilienceServiceStub)

    def _bound(self, stub):
        return _Bound(stub(self.channel), self.metadata)

    async def register(self, name, schema=None, **fields):
        """Registers a tool that nobody serves, and returns its version."""
        definition = definition_pb2.ToolDefinition(
            name=name, input_schema_json=json.dumps(schema or ANY_OBJECT), **fields
        )
        request = tool_service_pb2.RegisterToolRequest(definition=definition)
        return (await self.tools.RegisterTool(request)).version

    async def start(self, *steps, **fields):
        """Starts a workflow and returns its id."""
        request = workflow_service_pb2.StartWorkflowRequest(steps=steps, **fields)
        return (await self.workflows.StartWorkflow(request)).workflow_id

    async def token_of_start(self, *steps, **fields):
        """Starts a workflow and returns the consistency token for reads that shall see it."""
        request = workflow_service_pb2.StartWorkflowRequest(steps=steps, **fields)
        return (await self.workflows.StartWorkflow(request)).consistency_token

    async def add(self, workflow_id, *steps, **fields):
        """Adds steps and returns their ids."""
        request = workflow_service_pb2.AddStepsRequest(workflow_id=workflow_id, steps=steps, **fields)
        return list((await self.workflows.AddSteps(request)).step_ids)

    async def finish(self, workflow_id, **fields):
        """Finishes an open workflow."""
        await self.workflows.FinishWorkflow(
            workflow_service_pb2.FinishWorkflowRequest(workflow_id=workflow_id, **fields)
        )

    async def cancel(self, workflow_id, **fields):
        """Cancels a workflow."""
        await self.workflows.CancelWorkflow(
            workflow_service_pb2.CancelWorkflowRequest(workflow_id=workflow_id, **fields)
        )

    async def get(self, workflow_id):
        """The workflow's summary."""
        request = workflow_service_pb2.GetWorkflowRequest(workflow_id=workflow_id)
        return (await self.workflows.GetWorkflow(request)).workflow

    async def call(self, tool, arguments=None, **fields):
        """Calls a tool and returns the answer."""
        call = tool_service_pb2.ToolCall(tool=tool, arguments_json=json.dumps(arguments or {}))
        return await self.tools.CallTool(tool_service_pb2.CallToolRequest(call=call, **fields))

    def watch(self, workflow_id, **fields):
        """The stream of what happens to a workflow."""
        request = workflow_service_pb2.WatchWorkflowRequest(workflow_id=workflow_id, **fields)
        return self.workflows.WatchWorkflow(request)

    async def ended(self, workflow_id):
        """Waits until a workflow has ended, and returns its summary."""
        async for _ in self.watch(workflow_id, without_chunks=True):
            pass
        return await self.get(workflow_id)

    async def history(self, stream_id):
        """All events of a stream."""
        frames = self.events.ReadStream(event_service_pb2.ReadStreamRequest(stream_id=stream_id))
        return [event async for frame in frames for event in frame.events]

    async def log(self, **fields):
        """All events of the caller's tenant."""
        frames = self.events.ReadAll(event_service_pb2.ReadAllRequest(**fields))
        return [event async for frame in frames for event in frame.events]

    async def steps(self, workflow_id):
        """The steps of a workflow by their ids, all pages of them."""
        found = {}
        request = workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id, page_size=1000)
        while True:
            page = await self.workflows.ListSteps(request)
            found |= {each.step_id: each for each in page.steps}
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def replay(self, workflow_id):
        """What a replay of the workflow finds."""
        return await self.replays.Replay(replay_service_pb2.ReplayRequest(workflow_id=workflow_id))

    @contextlib.asynccontextmanager
    async def recording_nothing(self):
        """The block changes nothing in the log of the caller's tenant but the record of what was refused."""
        before = await self._log_of_what_was_done()
        yield
        assert await self._log_of_what_was_done() == before, "something was recorded"

    async def _log_of_what_was_done(self):
        return [(event.stream_id, event.stream_version) for event in await self.log() if event.stream_id != REFUSALS]

    async def refusals(self):
        """What was refused to the tenant's callers, as recorded, the oldest first."""
        return [getattr(event, event.WhichOneof("payload")) for event in await self.history(REFUSALS)]

    async def close(self):
        """Closes the channel."""
        await self.channel.close()
