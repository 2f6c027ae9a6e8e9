"""What a workflow costs: one commit a sequential step; and thousands of steps work, page by page."""

import json

import pytest

from podium.v1 import definition_pb2, value_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import check_allowed_before_started, check_versions, payloads
from tests.integration.rig.refusal import invalid
from tests.integration.rig.toolbox import toolbox

SUCCEEDED = value_pb2.WORKFLOW_STATE_SUCCEEDED
MANY = 2000


@pytest.fixture
async def tools(connect):
    app = toolbox(max_parallel=64)
    await connect(app)
    return app


async def test_ten_sequential_steps_cost_at_most_twelve_commits(service, caller, tools):
    steps = [step("echo", {"value": "${input}"})]
    steps += [step("echo", {"value": f"${{steps.step_{n}.output}}"}) for n in range(1, 10)]
    before = service.commits()
    workflow_id = await caller.start(*steps, input_json="1")
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    commits = service.commits() - before
    events = await caller.history(workflow_id)
    assert commits <= 12
    groups = sorted({event.recorded_at_us for event in events})
    assert len(groups) == commits, "the log tells the same: each group commit has its own time"
    check_allowed_before_started(events)


async def test_two_thousand_steps_run_and_are_listed_page_by_page(caller, tools):
    chained = [step("echo", {"value": n}, depends_on=[f"step_{n - 9}"] if n > 9 else []) for n in range(1, MANY + 1)]
    workflow_id = await caller.start(*chained, max_parallel=50)
    summary = await caller.ended(workflow_id)
    assert summary.state == SUCCEEDED
    assert [(each.state, each.count) for each in summary.step_counts] == [(value_pb2.STEP_STATE_SUCCEEDED, MANY)]
    request = workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id, page_size=300)
    pages = []
    while True:
        page = await caller.workflows.ListSteps(request)
        pages.append([(each.step_id, each.output_json) for each in page.steps])
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    assert [len(page) for page in pages] == [300] * 6 + [200]
    assert [each for page in pages for each in page] == [(f"step_{n}", str(n)) for n in range(1, MANY + 1)]
    events = await caller.history(workflow_id)
    check_versions(events)
    assert [len(each.steps) for each in payloads(events, "steps_added")] == [500] * 4
    assert (await caller.replay(workflow_id)).matches


async def test_the_last_of_two_thousand_steps_is_validated_as_the_first(caller):
    await caller.register("note")
    steps = [step("note", depends_on=[f"step_{n - 1}"] if n > 1 else []) for n in range(1, MANY + 1)]
    steps[0].depends_on.append(f"step_{MANY}")
    async with caller.recording_nothing():
        refusal = await invalid(caller.start(*steps))
    assert refusal.reason == "INVALID_WORKFLOW"
    assert f"step_{MANY}" in refusal.message
    steps[0].depends_on.pop()
    steps[-1].tool = "gone"
    assert (await invalid(caller.start(*steps))).fields == {f"steps[{MANY - 1}].tool"}


async def test_a_for_each_over_two_thousand_items_collects_all_outputs(caller, tools):
    items = definition_pb2.ForEach(items_json='"${input}"', max_parallel=40)
    workflow_id = await caller.start(
        step("echo", {"value": "${item}"}, id="all", for_each=items), input_json=json.dumps(list(range(MANY)))
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    request = workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id, step_ids=["all", "all[1999]"])
    whole, last = (await caller.workflows.ListSteps(request)).steps
    assert json.loads(whole.output_json) == list(range(MANY))
    assert (last.step_id, last.output_json) == ("all[1999]", "1999")


async def test_a_page_of_large_outputs_ends_early_and_the_next_goes_on(caller, tools):
    text = "x" * 1_500_000
    workflow_id = await caller.start(
        *[step("echo", {"value": "${input}"}) for _ in range(8)], input_json=json.dumps(text)
    )
    await caller.ended(workflow_id)
    request = workflow_service_pb2.ListStepsRequest(workflow_id=workflow_id)
    first = await caller.workflows.ListSteps(request)
    assert 1 <= len(first.steps) < 8
    steps = await caller.steps(workflow_id)
    assert [len(each.output_json) for each in steps.values()] == [len(text) + 2] * 8
    request.without_outputs = True
    assert len((await caller.workflows.ListSteps(request)).steps) == 8
