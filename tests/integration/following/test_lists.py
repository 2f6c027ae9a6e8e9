"""Lists page by key: nothing twice and nothing missing, whatever begins or ends in between."""

import asyncio

import pytest

from podium.v1 import tool_service_pb2, value_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.toolbox import toolbox

RUNNING, SUCCEEDED = value_pb2.WORKFLOW_STATE_RUNNING, value_pb2.WORKFLOW_STATE_SUCCEEDED


async def pages(caller, between=None, **fields):
    """The ids on each page of the list of workflows; `between` is awaited after each."""
    request = workflow_service_pb2.ListWorkflowsRequest(**fields)
    found = []
    while True:
        page = await caller.workflows.ListWorkflows(request)
        found.append([each.workflow_id for each in page.workflows])
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
        request.ClearField("consistency_token")
        if between:
            await between()


@pytest.fixture
async def ana(caller):
    await caller.register("note")
    return caller


async def started(caller, count, **fields):
    """Starts workflows one after the other; their ids, the newest first, and the last token."""
    ids, token = [], ""
    for _ in range(count):
        request = workflow_service_pb2.StartWorkflowRequest(steps=[step("note")], **fields)
        answer = await caller.workflows.StartWorkflow(request)
        ids.append(answer.workflow_id)
        token = answer.consistency_token
    return ids[::-1], token


async def test_workflows_are_listed_the_newest_first(ana):
    ids, token = await started(ana, 7)
    assert await pages(ana, page_size=3, consistency_token=token) == [ids[:3], ids[3:6], ids[6:]]


async def test_pages_stay_in_step_while_workflows_begin_and_end(ana):
    ids, token = await started(ana, 9)

    async def more():
        _, later = await started(ana, 2)
        await ana.cancel(ids[4])
        await ana.workflows.ListWorkflows(workflow_service_pb2.ListWorkflowsRequest(consistency_token=later))

    found = await pages(ana, more, page_size=2, consistency_token=token)
    assert [each for page in found for each in page] == ids


async def test_the_list_knows_what_its_token_names(ana):
    for _ in range(10):
        [newest], token = await started(ana, 1)
        [first, *_] = await pages(ana, page_size=1000, consistency_token=token)
        assert first[0] == newest


async def test_the_list_is_filtered_by_state_and_name(caller, connect):
    tools = toolbox()
    await connect(tools)
    done = [await caller.start(step("echo"), name=name) for name in ("a", "b", "a")]
    for each in done:
        await caller.ended(each)
    waiting = await caller.start(step("gated", {"gate": "g"}), name="a")
    await tools.entered["g"].wait()
    token = f"0:{(await caller.log())[-1].position}"

    async def listed(**fields):
        found = await pages(caller, consistency_token=token, **fields)
        return {each for page in found for each in page}

    assert await listed(states=[SUCCEEDED]) == set(done)
    assert await listed(states=[RUNNING]) == {waiting}
    assert await listed(name="a") == {done[0], done[2], waiting}
    assert await listed(name="a", states=[SUCCEEDED, RUNNING], page_size=1) == {done[0], done[2], waiting}
    assert await listed(name="c") == set()
    tools.gates["g"].set()
    await caller.ended(waiting)


async def test_a_listed_workflow_says_what_the_live_one_does_once_it_has_ended(caller, connect):
    await connect(toolbox())
    workflow_id = await caller.start(step("echo"), step("careless"), step("echo", depends_on=["step_2"]), name="mixed")
    live = await caller.ended(workflow_id)
    token = f"0:{(await caller.log())[-1].position}"
    request = workflow_service_pb2.ListWorkflowsRequest(consistency_token=token)
    [listed] = (await caller.workflows.ListWorkflows(request)).workflows
    assert listed == live


async def test_tools_are_listed_by_name_page_by_page(caller):
    names = [f"tool_{letter}" for letter in "cabed"]
    await asyncio.gather(*[caller.register(name) for name in names])
    request, found = tool_service_pb2.ListToolsRequest(page_size=2), []
    while True:
        page = await caller.tools.ListTools(request)
        found.append([each.definition.name for each in page.tools])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == [["tool_a", "tool_b"], ["tool_c", "tool_d"], ["tool_e"]]


async def test_steps_that_are_asked_for_by_name_come_alone_and_in_their_order(ana):
    workflow_id = await ana.start(*[step("note", id=f"s{n}") for n in range(6)])
    request = workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id, step_ids=["s4", "s1", "gone"], page_size=1)
    first = await ana.workflows.ListSteps(request)
    request.page_token = first.next_page_token
    second = await ana.workflows.ListSteps(request)
    assert [each.step_id for each in (*first.steps, *second.steps)] == ["s1", "s4"]
