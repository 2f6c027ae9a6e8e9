"""A real server whose servicers do what a test tells them, behind the real interceptors."""

# ruff: noqa: N802 - the contract names the methods

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from podium.v1 import (
    event_service_pb2,
    event_service_pb2_grpc,
    executor_service_pb2,
    executor_service_pb2_grpc,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)
from service.admission.token_keys import TokenKey
from service.admission.tokens import Tokens
from service.api.authentication import Authentication, current_caller
from service.api.handlers import EdgeInterceptor
from service.api.peers import Peers
from service.domain.permissions import DEFAULT_POLICY, Policy
from service.domain.revocations import Revocations


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self):
        self.us = 1_800_000_000_000_000

    def now_us(self):
        return self.us


class Script:
    """What the servicers do, and whom they saw."""

    def __init__(self):
        self.error = None
        self.abort = None
        self.seen = []
        self.ended = asyncio.Event()
        self.hold = None
        self.refusals = []

    async def refused(self, method, context, error):
        self.refusals.append((method, error.reason))

    def run(self):
        self.seen.append(current_caller())
        if self.error is not None:
            raise self.error


class Workflows(workflow_service_pb2_grpc.WorkflowServiceServicer):
    def __init__(self, script):
        self.script = script

    async def GetWorkflow(self, request, context):
        if self.script.hold is not None:
            await self.script.hold.wait()
        if self.script.abort is not None:
            await context.abort(*self.script.abort)
        self.script.run()
        return workflow_service_pb2.GetWorkflowResponse(
            workflow=workflow_service_pb2.WorkflowSummary(workflow_id=request.workflow_id)
        )

    async def StartWorkflow(self, request, context):
        self.script.run()
        return workflow_service_pb2.StartWorkflowResponse()

    async def WatchWorkflow(self, request, context):
        # This style writes to the context instead of yielding.
        self.script.run()
        await context.write(workflow_service_pb2.WatchWorkflowResponse(cursor="1"))


class Events(event_service_pb2_grpc.EventServiceServicer):
    def __init__(self, script):
        self.script = script

    async def ReadStream(self, request, context):
        yield event_service_pb2.ReadStreamResponse()
        self.script.run()
        yield event_service_pb2.ReadStreamResponse()

    async def Subscribe(self, request, context):
        try:
            yield event_service_pb2.SubscribeResponse()
            await asyncio.get_running_loop().create_future()
        finally:
            self.script.ended.set()


class Executors(executor_service_pb2_grpc.ExecutorServiceServicer):
    def __init__(self, script):
        self.script = script

    async def Session(self, request_iterator, context):
        async for _ in request_iterator:
            self.script.run()
            yield executor_service_pb2.SessionResponse()

    async def Upload(self, request_iterator, context):
        async for _ in request_iterator:
            pass
        self.script.run()
        return executor_service_pb2.UploadResponse()


class Edge:
    """A running server and a channel to it."""

    def __init__(self, channel, tokens, clock, script, interceptor, policies, address):
        self.channel = channel
        self.tokens = tokens
        self.clock = clock
        self.script = script
        self.interceptor = interceptor
        self.policies = policies
        self.revocations = interceptor._revocations  # noqa: SLF001 - those it was made with
        self.address = address
        self.workflows = workflow_service_pb2_grpc.WorkflowServiceStub(channel)
        self.events = event_service_pb2_grpc.EventServiceStub(channel)
        self.executors = executor_service_pb2_grpc.ExecutorServiceStub(channel)

    def bearer(self, *roles, **claims):
        """Metadata with a token."""
        given = {"now_us": self.clock.us, "lifetime_s": 60, "subject": "alice", "token_id": "t1", "roles": roles}
        return [("authorization", f"Bearer {self.tokens.mint(**{**given, **claims})}")]

    async def get(self, metadata=None, workflow_id="wf"):
        request = workflow_service_pb2.GetWorkflowRequest(workflow_id=workflow_id)
        return await self.workflows.GetWorkflow(request, metadata=metadata)


@pytest.fixture
async def edge():
    clock, script = Clock(), Script()
    tokens = Tokens([TokenKey("podium", "HS256", bytes(range(32)))])
    policies = {"default": DEFAULT_POLICY, "closed": Policy("closed", 1, {})}
    authentication = Authentication(
        tokens,
        clock,
        policies.__getitem__,
        Revocations(),
        peers=Peers(),
        check_caller=lambda caller: None,
        remembered=8,
    )
    server = grpc.aio.server(interceptors=[EdgeInterceptor([authentication], script.refused)])
    workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(Workflows(script), server)
    event_service_pb2_grpc.add_EventServiceServicer_to_server(Events(script), server)
    executor_service_pb2_grpc.add_ExecutorServiceServicer_to_server(Executors(script), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection(["podium.v1.WorkflowService"], server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Edge(channel, tokens, clock, script, authentication, policies, f"127.0.0.1:{port}")
    await server.stop(0)
