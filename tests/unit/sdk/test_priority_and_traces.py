"""What goes with a request beside it, and what a result says of where it came from."""

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import podium
from podium.outcomes import Outcome, Result, StepStatus, WorkflowStatus
from podium.v1 import definition_pb2, tool_service_pb2, value_pb2, workflow_service_pb2
from tests.unit.sdk.workflow_peer import running_workflow_peer, succeeds

HIGH, LOW = definition_pb2.PRIORITY_HIGH, definition_pb2.PRIORITY_LOW


@pytest.fixture
async def peer():
    async with running_workflow_peer(search=succeeds({"hits": [1]})) as running:
        yield running


@pytest.fixture
async def client(peer):
    async with podium.connect(peer.address, "t") as connected:
        yield connected


async def test_a_priority_goes_with_what_is_started_and_called(peer, client):
    workflow = podium.Workflow()
    workflow.step("search")
    done = tool_service_pb2.ToolOutcome(state=value_pb2.STEP_STATE_SUCCEEDED, output_json="1", cached=True)
    peer.outcomes["search"] = done
    await client.start(workflow, priority="high")
    await client.run(workflow, priority="low")
    await client.start(workflow)
    outcome = await client.try_call("search", priority="low")
    starts = peer.requests_of(workflow_service_pb2.StartWorkflowRequest)
    assert [each.priority for each in starts] == [HIGH, 0]
    assert peer.requests_of(workflow_service_pb2.RunWorkflowRequest)[0].workflow.priority == LOW
    assert peer.requests_of(tool_service_pb2.CallToolRequest)[0].priority == LOW
    assert (outcome.output, outcome.cached) == (1, True)
    with pytest.raises(podium.InvalidInput, match="low, normal or high"):
        await client.start(workflow, priority="urgent")


def test_a_result_says_which_steps_are_degraded_and_which_came_from_the_cache():
    succeeded = value_pb2.STEP_STATE_SUCCEEDED
    messages = [
        workflow_service_pb2.StepSummary(step_id="own", state=succeeded, output_json="1"),
        workflow_service_pb2.StepSummary(step_id="old", state=succeeded, output_json="2", degraded_by=2),
        workflow_service_pb2.StepSummary(step_id="kept", state=succeeded, output_json="3", cached=True),
    ]
    steps = {each.step_id: StepStatus.of(each) for each in messages}
    result = Result(
        WorkflowStatus.of(workflow_service_pb2.WorkflowSummary(state=value_pb2.WORKFLOW_STATE_SUCCEEDED)), steps
    )
    assert result.degraded == {"old": 2}
    assert [(each.degraded_by, each.cached) for each in result.steps.values()] == [(0, False), (2, False), (0, True)]
    assert not Outcome.of(tool_service_pb2.ToolOutcome(state=succeeded)).cached


async def test_a_call_inside_of_a_span_carries_its_trace_and_one_outside_none(peer, client):
    workflow = podium.Workflow()
    workflow.step("search")
    await client.start(workflow)
    with TracerProvider().get_tracer("test").start_as_current_span("agent") as span:
        await client.start(workflow)
        here = span.get_span_context()
    with trace.use_span(trace.INVALID_SPAN):
        await client.start(workflow)
    sent = [metadata.get("traceparent") for metadata in peer.metadata[-3:]]
    assert sent == [None, f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}", None]
    assert all(metadata["authorization"] == "Bearer t" for metadata in peer.metadata[-3:])
