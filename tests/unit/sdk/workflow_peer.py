"""The other side of WorkflowService and ToolService, played by a test: a real server that follows a small script.

A tool is a function from the step's arguments to the events that follow; nothing runs.
"""

# The contract names the methods.
# ruff: noqa: N802

import asyncio
import contextlib
import json

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from podium.v1 import (
    definition_pb2,
    events_pb2,
    tool_service_pb2,
    tool_service_pb2_grpc,
    value_pb2,
    workflow_service_pb2,
    workflow_service_pb2_grpc,
)

ENDINGS = {"workflow_succeeded", "workflow_failed", "workflow_canceled"}


def succeeds(output):
    return lambda step_id: [
        {"step_succeeded": events_pb2.StepSucceeded(step_id=step_id, output=value_pb2.Value(json=json.dumps(output)))}
    ]


def succeeds_with_a_payload(output):
    payload = value_pb2.PayloadReference(digest=b"d", size_bytes=9)

    def script(step_id):
        script.outputs[step_id] = json.dumps(output)
        return [{"step_succeeded": events_pb2.StepSucceeded(step_id=step_id, output=value_pb2.Value(payload=payload))}]

    script.outputs = {}
    return script


SEAL_BROKEN = value_pb2.Failure(reason="SEAL_BROKEN", message="its key was destroyed")


def succeeds_unreadably(step_id):
    output = value_pb2.Value(sealed=value_pb2.SealedValue(key_id="k"))
    return [{"step_succeeded": events_pb2.StepSucceeded(step_id=step_id, output=output)}]


def fails(message, reason="TOOL_ERROR"):
    failure = value_pb2.Failure(reason=reason, message=message)
    return lambda step_id: [{"step_failed": events_pb2.StepFailed(step_id=step_id, failure=failure)}]


def denied(tool, *missing, rule="default-deny"):
    return lambda step_id: [
        {
            "permission_checked": events_pb2.PermissionChecked(
                step_id=step_id, tool=tool, decision=events_pb2.DECISION_DENY, missing=missing, rule=rule
            )
        },
        {"step_denied": events_pb2.StepDenied(step_id=step_id, guard="permission")},
    ]


def limited(step_id):
    failure = value_pb2.Failure(reason="RATE_LIMITED", message="10 calls a minute")
    return [{"step_denied": events_pb2.StepDenied(step_id=step_id, guard="rate_limit", failure=failure)}]


def hangs(_step_id):
    return []


async def refuse(context, code, message, *details):
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))


class WorkflowPeer(workflow_service_pb2_grpc.WorkflowServiceServicer, tool_service_pb2_grpc.ToolServiceServicer):
    """A service that keeps one list of events."""

    def __init__(self, tools):
        self.address = ""
        self.tools = tools
        self.events = []
        self.requests = []
        self.metadata = []
        self.watches = 0
        self.cut_after = []
        self.unavailable = 0
        self.outcomes = {}
        self._added = {}
        self._changed = asyncio.Condition()

    def requests_of(self, kind):
        return [request for request in self.requests if isinstance(request, kind)]

    async def record(self, *payloads):
        async with self._changed:
            for payload in payloads:
                self.events.append(events_pb2.Event(shard=0, position=len(self.events) + 1, **payload))
            self._changed.notify_all()

    async def _called(self, request, context):
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.unavailable:
            self.unavailable -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the service restarts")

    async def StartWorkflow(self, request, context):
        await self._called(request, context)
        await self._start(request)
        return workflow_service_pb2.StartWorkflowResponse(
            workflow_id="wf", step_ids=[each.id for each in request.steps]
        )

    async def _start(self, request):
        await self.record({"workflow_started": events_pb2.WorkflowStarted(name=request.name, open=request.open)})
        for step in request.steps:
            await self.record(*self.tools[step.tool](step.id))
        if request.steps:
            await self.record({"workflow_succeeded": events_pb2.WorkflowSucceeded()})

    async def RunWorkflow(self, request, context):
        await self._called(request, context)
        await self._start(request.workflow)
        return workflow_service_pb2.RunWorkflowResponse(**self._ending())

    async def AwaitWorkflow(self, request, context):
        await self._called(request, context)
        return workflow_service_pb2.AwaitWorkflowResponse(**self._ending())

    def _ending(self):
        page = self._page(workflow_service_pb2.ListStepsRequest(workflow_id="wf"))
        summary = workflow_service_pb2.WorkflowSummary(workflow_id="wf", state=value_pb2.WORKFLOW_STATE_SUCCEEDED)
        return {"workflow": summary, "steps": page.steps, "next_page_token": page.next_page_token}

    async def GetWorkflow(self, request, context):
        await self._called(request, context)
        if request.workflow_id != "wf":
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no workflow {request.workflow_id}")
        summary = workflow_service_pb2.WorkflowSummary(workflow_id="wf", state=value_pb2.WORKFLOW_STATE_SUCCEEDED)
        return workflow_service_pb2.GetWorkflowResponse(workflow=summary)

    async def AddSteps(self, request, context):
        await self._called(request, context)
        [step] = request.steps
        if step.tool not in self.tools:
            violation = error_details_pb2.BadRequest.FieldViolation(field="steps[0].tool", description="is unknown")
            await refuse(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                f'unknown tool "{step.tool}"',
                error_details_pb2.ErrorInfo(reason="UNKNOWN_TOOL", domain="podium"),
                error_details_pb2.BadRequest(field_violations=[violation]),
            )
        if request.request_id not in self._added:
            step_id = self._added[request.request_id] = f"step_{len(self._added) + 1}"
            await self.record(*self.tools[step.tool](step_id))
        return workflow_service_pb2.AddStepsResponse(step_ids=[self._added[request.request_id]])

    async def WatchWorkflow(self, request, context):
        self.watches += 1
        position = int(request.cursor or 0)
        cut_after = self.cut_after.pop(0) if self.cut_after else None
        while True:
            async with self._changed:
                while len(self.events) <= position:
                    await self._changed.wait()
            event = self.events[position]
            position += 1
            item = workflow_service_pb2.WatchItem(event=event)
            yield workflow_service_pb2.WatchWorkflowResponse(cursor=str(position), items=[item])
            if event.WhichOneof("payload") in ENDINGS:
                return
            if position == cut_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")

    async def ListSteps(self, request, context):
        await self._called(request, context)
        return self._page(request)

    def _page(self, request):
        steps = []
        for event in self.events:
            if event.HasField("step_succeeded"):
                done = event.step_succeeded
                scripted = [tool.outputs[done.step_id] for tool in self.tools.values() if done.step_id in outputs(tool)]
                steps.append(
                    workflow_service_pb2.StepSummary(
                        step_id=done.step_id,
                        state=value_pb2.STEP_STATE_SUCCEEDED,
                        output_json=done.output.json or (scripted[0] if scripted else ""),
                        output_failure=None if done.output.json or scripted else SEAL_BROKEN,
                        event=f"0:{event.position}",
                    )
                )
            elif event.HasField("step_failed"):
                steps.append(
                    workflow_service_pb2.StepSummary(
                        step_id=event.step_failed.step_id,
                        state=value_pb2.STEP_STATE_FAILED,
                        failure=event.step_failed.failure,
                        event=f"0:{event.position}",
                    )
                )
        wanted = [step for step in steps if not request.step_ids or step.step_id in request.step_ids]
        # A page a step, so that every reader has to page.
        first = int(request.page_token or 0)
        more = str(first + 1) if first + 1 < len(wanted) else ""
        return workflow_service_pb2.ListStepsResponse(steps=wanted[first : first + 1], next_page_token=more)

    async def FinishWorkflow(self, request, context):
        await self._called(request, context)
        await self.record({"workflow_succeeded": events_pb2.WorkflowSucceeded()})
        return workflow_service_pb2.FinishWorkflowResponse()

    async def ListTools(self, request, context):
        await self._called(request, context)
        names = sorted(self.tools)
        first = int(request.page_token or 0)
        definition = definition_pb2.ToolDefinition(
            name=names[first], description="Does it.", input_schema_json='{"type":"object"}', read_only=True
        )
        more = str(first + 1) if first + 1 < len(names) else ""
        return tool_service_pb2.ListToolsResponse(
            tools=[tool_service_pb2.Tool(definition=definition)], next_page_token=more
        )

    async def CallTool(self, request, context):
        await self._called(request, context)
        return tool_service_pb2.CallToolResponse(outcome=self.outcomes[request.call.tool])

    async def CallToolBatch(self, request, context):
        await self._called(request, context)
        return tool_service_pb2.CallToolBatchResponse(outcomes=[self.outcomes[call.tool] for call in request.calls])


def outputs(tool):
    return getattr(tool, "outputs", {})


@contextlib.asynccontextmanager
async def running_workflow_peer(**tools):
    peer = WorkflowPeer(tools)
    server = grpc.aio.server()
    workflow_service_pb2_grpc.add_WorkflowServiceServicer_to_server(peer, server)
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(peer, server)
    peer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield peer
    finally:
        await server.stop(None)
