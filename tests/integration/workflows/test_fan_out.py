"""A for_each step runs its tool once for each item, so many at once as it may and no more: the log alone proves it."""

import asyncio
import json
from collections import Counter

import pytest

import podium
from podium.v1 import definition_pb2, value_pb2
from service.domain.values import ALLOWANCE
from service.engine.turn_taker import ADMISSIONS_PER_TURN
from tests.integration.rig.caller import step
from tests.integration.rig.history import check_allowed_before_started, concurrency, kinds, of_step, payload, payloads
from tests.integration.rig.toolbox import toolbox

SUCCEEDED, FAILED = value_pb2.WORKFLOW_STATE_SUCCEEDED, value_pb2.WORKFLOW_STATE_FAILED
CONTINUE = definition_pb2.ON_FAILURE_CONTINUE
LIMIT = 3
DOCUMENTS = 12


def over(items_json, max_parallel=0):
    return definition_pb2.ForEach(items_json=items_json, max_parallel=max_parallel)


@pytest.fixture
async def extraction(connect):
    """A tool that returns only when as many documents are extracted at once as the limit allows."""
    app = podium.Executor("extraction", max_parallel=DOCUMENTS)
    together = asyncio.Barrier(LIMIT)

    @app.tool
    async def extract(document: int, index: int) -> dict:
        """Extract."""
        await together.wait()
        return {"document": document, "index": index}

    await connect(app)


async def test_extractions_overlap_and_never_exceed_their_limit(caller, extraction):
    documents = list(range(100, 100 + DOCUMENTS))
    workflow_id = await caller.start(
        step("extract", {"document": "${item}", "index": "${index}"}, id="all", for_each=over('"${input}"', LIMIT)),
        input_json=json.dumps(documents),
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    events = await caller.history(workflow_id)
    running = concurrency(events, "all[")
    assert max(running) == LIMIT
    assert running.count(LIMIT) >= DOCUMENTS // LIMIT
    check_allowed_before_started(events)
    assert payload(events, "for_each_expanded").count == DOCUMENTS
    assert payloads(events, "step_succeeded")[-1].output.collected.count == DOCUMENTS
    expected = [{"document": document, "index": index} for index, document in enumerate(documents)]
    steps = await caller.steps(workflow_id)
    assert json.loads(steps["all"].output_json) == expected, "the outputs are in the order of the items"
    assert json.loads(steps["all[7]"].output_json) == expected[7]
    assert {each.parent for name, each in steps.items() if name.startswith("all[")} == {"all"}


async def test_the_limit_of_the_workflow_holds_for_items_too(caller, connect):
    tools = toolbox()
    await connect(tools)
    workflow_id = await caller.start(
        step("gated", {"gate": "${item}"}, id="all", for_each=over('["a", "b", "c"]')), max_parallel=2
    )
    await tools.entered["a"].wait()
    await tools.entered["b"].wait()
    for gate in ("b", "c", "a"):
        tools.gates[gate].set()
    await caller.ended(workflow_id)
    assert max(concurrency(await caller.history(workflow_id), "all[")) == 2


async def test_the_items_may_come_from_a_step_and_the_outputs_go_to_the_next(caller, tools):
    workflow_id = await caller.start(
        step("echo", {"value": {"hits": [{"n": 1}, {"n": 2}]}}),
        step("add", {"a": "${item.n}", "b": "${index}"}, for_each=over('"${steps.step_1.output.hits}"')),
        step("echo", {"value": ["${steps.step_2.output}", "${steps.step_2.output[1]}"]}),
    )
    await caller.ended(workflow_id)
    assert (await caller.steps(workflow_id))["step_3"].output_json == "[[1,3],3]"


async def test_no_items_are_an_empty_list(caller, tools):
    workflow_id = await caller.start(step("echo", {"value": "${item}"}, for_each=over("[]")))
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert (await caller.steps(workflow_id))["step_1"].output_json == "[]"
    assert tools.ran() == []


async def test_what_is_no_list_fails_the_step(caller, tools):
    workflow_id = await caller.start(
        step("echo", {"value": "${item}"}, for_each=over('"${input}"')), input_json='{"a": 1}'
    )
    assert (await caller.ended(workflow_id)).state == FAILED
    assert (await caller.steps(workflow_id))["step_1"].failure.reason == "REFERENCE_ERROR"


async def test_an_item_that_fails_fails_the_step_when_the_others_have_ended(caller, tools):
    workflow_id = await caller.start(
        step("flaky", {"failures": "${item}", "retryable": False}, id="all", for_each=over("[0, 9, 0, 9]")),
        step("echo", depends_on=["all"]),
    )
    assert (await caller.ended(workflow_id)).state == FAILED
    steps = await caller.steps(workflow_id)
    assert steps["all"].failure.reason == "ITEMS_FAILED"
    assert steps["all"].failure.message.startswith("2 of 4 items failed, the first all[1]: failure 1")
    assert steps["step_2"].state == value_pb2.STEP_STATE_SKIPPED
    assert sorted(tools.ran()) == ["all[0]", "all[1]", "all[2]", "all[3]"]


async def test_an_item_that_may_fail_leaves_a_gap(caller, tools):
    workflow_id = await caller.start(
        step(
            "flaky",
            {"failures": "${item}", "retryable": False},
            for_each=over("[0, 9, 0]"),
            on_failure=definition_pb2.ON_FAILURE_CONTINUE,
        )
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert (await caller.steps(workflow_id))["step_1"].output_json == "[1,null,1]"


async def test_an_item_is_repeated_alone(caller, tools):
    retry = definition_pb2.RetryPolicy(initial_backoff_ms=1)
    workflow_id = await caller.start(
        step("flaky", {"failures": "${item}"}, id="all", for_each=over("[0, 2]"), retry=retry)
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    events = await caller.history(workflow_id)
    assert of_step(events, "all[1]").count("attempt_started") == 3
    assert of_step(events, "all[0]").count("attempt_started") == 1


async def test_a_condition_is_asked_once_for_all_items(caller, tools):
    workflow_id = await caller.start(
        step("echo", {"value": "${item}"}, for_each=over("[1, 2]"), condition="input.go"), input_json='{"go": false}'
    )
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert kinds(await caller.history(workflow_id)) == [
        "workflow_started",
        "steps_added",
        "step_skipped",
        "workflow_succeeded",
    ]


async def test_items_beyond_what_one_turn_admits_are_admitted_in_their_order_in_the_next(caller, admit):
    items = 3 * ADMISSIONS_PER_TURN
    await caller.register("pay", permissions=["financial_operations"])
    agent = admit("agent", roles=["agent"])
    each = step("pay", {"n": "${item}"}, id="all", for_each=over('"${input}"'), on_failure=CONTINUE)
    workflow_id = await agent.start(each, input_json=json.dumps(list(range(items))))
    await agent.ended(workflow_id)
    events = await caller.history(workflow_id)
    denied = [event for event in events if event.HasField("step_denied")]
    assert [event.step_denied.step_id for event in denied] == [f"all[{number}]" for number in range(items)]
    # An append has one stamp, and an item's admission is in one append.
    times = Counter(event.recorded_at_us for event in denied)
    assert max(times.values()) <= ADMISSIONS_PER_TURN
    assert len(times) >= items / ADMISSIONS_PER_TURN
    assert (await caller.replay(workflow_id)).matches


async def test_steps_that_read_a_large_value_are_fewer_a_turn(caller, admit):
    await caller.register("pay", permissions=["financial_operations"])
    agent = admit("agent", roles=["agent"])
    steps, size = 24, ALLOWANCE // 4
    reads = [step("pay", {"n": "${input.n}"}, on_failure=CONTINUE) for _ in range(steps)]
    workflow_id = await agent.start(*reads, input_json=json.dumps({"n": 1, "rest": "x" * size}))
    await agent.ended(workflow_id)
    times = Counter(
        event.recorded_at_us for event in await caller.history(workflow_id) if event.HasField("step_denied")
    )
    assert (sum(times.values()), max(times.values())) == (steps, ALLOWANCE // size)
    assert (await caller.replay(workflow_id)).matches


async def test_items_whose_arguments_take_long_to_fill_are_fewer_a_turn(caller, admit):
    await caller.register("pay", permissions=["financial_operations"])
    agent = admit("agent", roles=["agent"])
    each = step("pay", {"n": ["${index}"] * 2_000}, id="all", for_each=over(json.dumps([0] * 60)), on_failure=CONTINUE)
    workflow_id = await agent.start(each)
    await agent.ended(workflow_id)
    denied = [event for event in await caller.history(workflow_id) if event.HasField("step_denied")]
    assert len(denied) == 60
    # An append has one stamp. All of them take several times as long as a turn may.
    assert max(Counter(event.recorded_at_us for event in denied).values()) < len(denied)
