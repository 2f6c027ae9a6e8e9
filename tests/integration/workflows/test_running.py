"""A workflow and its end in one request: RunWorkflow and AwaitWorkflow."""

import asyncio

from podium.v1 import value_pb2
from podium.v1 import workflow_service_pb2 as pb
from tests.integration.rig.caller import step
from tests.integration.rig.refusal import invalid, refusal_of

SUCCEEDED, FAILED = value_pb2.WORKFLOW_STATE_SUCCEEDED, value_pb2.WORKFLOW_STATE_FAILED


def asks(*steps, without_outputs=False, **fields):
    start = pb.StartWorkflowRequest(steps=steps, **fields)
    return pb.RunWorkflowRequest(workflow=start, without_outputs=without_outputs)


async def test_the_answer_holds_the_end_and_every_step(caller, tools):
    answer = await caller.workflows.RunWorkflow(
        asks(step("add", {"a": 1, "b": 2}, id="sum"), step("echo", {"value": "${steps.sum.output}"}))
    )
    assert answer.workflow.state == SUCCEEDED
    assert [(each.step_id, each.output_json) for each in answer.steps] == [("sum", "3"), ("step_2", "3")]
    assert answer.workflow == await caller.get(answer.workflow.workflow_id)
    listed = await caller.workflows.ListSteps(pb.ListStepsRequest(workflow_id=answer.workflow.workflow_id))
    assert list(answer.steps) == list(listed.steps)


async def test_outputs_can_be_left_out(caller, tools):
    answer = await caller.workflows.RunWorkflow(asks(step("add", {"a": 1, "b": 2}), without_outputs=True))
    assert (answer.workflow.state, answer.steps[0].output_json) == (SUCCEEDED, "")


async def test_a_workflow_that_fails_is_an_answer_too(caller, tools):
    answer = await caller.workflows.RunWorkflow(asks(step("careless")))
    assert (answer.workflow.state, answer.steps[0].failure.reason) == (FAILED, answer.workflow.failure.reason)


async def test_more_steps_than_a_page_holds_are_asked_for_by_token(caller, tools):
    answer = await caller.workflows.RunWorkflow(asks(*[step("echo", {"value": n}) for n in range(150)]))
    workflow_id = answer.workflow.workflow_id
    assert len(answer.steps) == 100
    rest = await caller.workflows.ListSteps(
        pb.ListStepsRequest(workflow_id=workflow_id, page_token=answer.next_page_token)
    )
    assert [each.output_json for each in (*answer.steps, *rest.steps)] == [str(n) for n in range(150)]


async def test_asked_again_with_the_same_id_it_runs_once(caller, tools):
    request = asks(step("echo", {"value": 1}), request_id="once")
    first, second = await asyncio.gather(*[caller.workflows.RunWorkflow(request) for _ in range(2)])
    third = await caller.workflows.RunWorkflow(request)
    assert first == second == third
    assert len(tools.calls) == 1


async def test_starting_and_running_share_their_ids(caller, tools):
    request = asks(step("echo", {"value": 1}), request_id="once")
    started = (await caller.workflows.StartWorkflow(request.workflow)).workflow_id
    assert (await caller.workflows.RunWorkflow(request)).workflow.workflow_id == started


async def test_a_caller_that_leaves_stops_nothing_and_can_wait_again(caller, tools):
    request = asks(step("gated", {"gate": "g"}), request_id="left")
    left = caller.workflows.RunWorkflow(request)
    await tools.entered["g"].wait()
    left.cancel()
    again = asyncio.ensure_future(caller.workflows.RunWorkflow(request))
    [workflow_id] = {event.stream_id for event in await caller.log() if event.HasField("workflow_started")}
    awaited = asyncio.ensure_future(caller.workflows.AwaitWorkflow(pb.AwaitWorkflowRequest(workflow_id=workflow_id)))
    tools.gates["g"].set()
    assert (await again).workflow.state == (await awaited).workflow.state == SUCCEEDED
    assert (await awaited).steps[0].output_json == '"g"'
    assert len(tools.calls) == 1


async def test_the_end_of_an_ended_workflow_is_answered_at_once(caller, tools):
    ran = await caller.workflows.RunWorkflow(asks(step("echo", {"value": 1})))
    request = pb.AwaitWorkflowRequest(workflow_id=ran.workflow.workflow_id)
    answer = await caller.workflows.AwaitWorkflow(request)
    assert (answer.workflow, list(answer.steps)) == (ran.workflow, list(ran.steps))


async def test_what_is_wrong_with_a_step_is_named_by_its_field(caller, tools):
    refused = await invalid(caller.workflows.RunWorkflow(asks(step("echo", {"value": "${steps.nowhere.output}"}))))
    assert "workflow.steps[0].arguments" in str(refused)
    assert "workflow.steps" in str(await invalid(caller.workflows.RunWorkflow(asks())))


async def test_a_workflow_that_is_not_there_is_not_waited_for(caller):
    refused = await refusal_of(caller.workflows.AwaitWorkflow(pb.AwaitWorkflowRequest(workflow_id="wf_none")))
    assert refused.reason == "WORKFLOW_NOT_FOUND"


async def test_running_needs_the_permission_to_read_as_well(admit, tools):
    starter = admit("bob", roles=["executor"])
    refused = await refusal_of(starter.workflows.RunWorkflow(asks(step("echo", {"value": 1}))))
    assert refused.reason == "PERMISSION_DENIED"


async def test_a_plan_that_was_sent_before_is_pinned_to_the_newest_tool(caller):
    await caller.register("late")
    request = asks(step("late"), open=True).workflow
    first = (await caller.workflows.StartWorkflow(request)).workflow_id
    await caller.register("late", description="changed")
    second = (await caller.workflows.StartWorkflow(request)).workflow_id
    versions = []
    for workflow_id in (first, second):
        [added] = [event for event in await caller.history(workflow_id) if event.HasField("steps_added")]
        versions.append(added.steps_added.steps[0].tool_version)
    assert versions == [1, 2]
