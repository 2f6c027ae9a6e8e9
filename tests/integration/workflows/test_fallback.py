"""A step whose tool fails goes on with its fallback chain, through the real service and onto another executor."""

import json

import pytest

from podium.v1 import definition_pb2, policy_pb2, value_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import check_allowed_before_started, of_step, payload, payloads
from tests.integration.rig.policies import apply, policy
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import invalid, refusal_of

pytestmark = pytest.mark.both_databases

SUCCEEDED, FAILED = value_pb2.WORKFLOW_STATE_SUCCEEDED, value_pb2.WORKFLOW_STATE_FAILED
ATTEMPT = ["permission_checked", "attempt_started"]


def other(name, arguments=None, *, on=(), **fields):
    """The link that calls another tool."""
    link = definition_pb2.Fallback(on=on, tool=definition_pb2.ToolFallback(tool=name, **fields))
    if arguments is not None:
        link.tool.arguments_json = json.dumps(arguments)
    return link


def declared(content, *on):
    """The link that declares a value."""
    return definition_pb2.Fallback(on=on, value_json=json.dumps(content))


def old(*on):
    """The link that takes an old result."""
    return definition_pb2.Fallback(on=on, stale=definition_pb2.StaleFallback())


def broken(*links, **fields):
    """A step whose own tool always fails."""
    once = definition_pb2.RetryPolicy(max_attempts=1)
    return step("flaky", {"failures": 9, "reason": "BUSY"}, fallback=links, **{"retry": once, **fields})


async def test_another_tool_takes_over_with_its_own_arguments_and_a_key_of_its_own(caller, tools):
    workflow_id = await caller.start(
        broken(other("echo", {"value": [7]})), step("echo", {"value": "${steps.step_1.output}"})
    )
    summary = await caller.ended(workflow_id)
    assert (summary.state, summary.degraded_steps) == (SUCCEEDED, 1)
    events = await caller.history(workflow_id)
    check_allowed_before_started(events)
    assert of_step(events, "step_1") == [*ATTEMPT, "attempt_failed", "fallback_tried", *ATTEMPT, "step_succeeded"]
    assert [checked.tool for checked in payloads(events, "permission_checked")][:2] == ["flaky", "echo"]
    succeeded = payloads(events, "step_succeeded")[0]
    assert (succeeded.attempt, succeeded.degraded_by) == (2, 1)
    assert [(name, attempt, key) for name, step_id, attempt, key in tools.calls if step_id == "step_1"] == [
        ("flaky", 1, f"{workflow_id}/step_1"),
        ("echo", 2, f"{workflow_id}/step_1/link1"),
    ]
    found = await caller.steps(workflow_id)
    assert (found["step_1"].tool, found["step_1"].degraded_by, found["step_1"].output_json) == ("echo", 1, "[7]")
    assert found["step_2"].output_json == "[7]"
    assert found["step_2"].degraded_by == 0
    assert (await caller.replay(workflow_id)).matches


async def test_each_link_is_tried_in_its_order_and_every_try_is_recorded(caller, tools):
    links = [other("careless", {}, on=["BUSY"]), old("*"), declared({"none": True}, "STALE_MISS")]
    workflow_id = await caller.start(broken(*links))
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    events = await caller.history(workflow_id)
    tries = payloads(events, "fallback_tried")
    assert [(each.link, each.failure.reason, each.tool) for each in tries] == [
        (1, "BUSY", "careless"),
        (2, "TOOL_ERROR", ""),
        (3, "STALE_MISS", ""),
    ]
    succeeded = payload(events, "step_succeeded")
    assert (succeeded.attempt, succeeded.degraded_by, succeeded.output.json) == (0, 3, '{"none":true}')
    found = (await caller.steps(workflow_id))["step_1"]
    assert (found.tool, found.attempts, found.output_json) == ("flaky", 2, '{"none":true}')


async def test_without_a_link_for_its_failure_a_step_fails_as_without_a_chain(caller, tools):
    workflow_id = await caller.start(broken(declared(1, "TIMEOUT")))
    summary = await caller.ended(workflow_id)
    assert (summary.state, summary.degraded_steps) == (FAILED, 0)
    assert (await caller.steps(workflow_id))["step_1"].failure.reason == "BUSY"


async def test_a_refused_tool_is_fallen_back_from_and_the_refusal_stays_on_record(admit, caller, tools):
    agent = admit("bob", roles=["agent"])
    workflow_id = await agent.start(step("pay", {"cents": 5}, fallback=[other("echo", {"value": 1}, on=["DENIED"])]))
    assert (await agent.ended(workflow_id)).state == SUCCEEDED
    events = await caller.history(workflow_id)
    assert of_step(events, "step_1") == ["permission_checked", "fallback_tried", *ATTEMPT, "step_succeeded"]
    assert payload(events, "fallback_tried").guard == "permission"
    assert tools.ran() == ["step_1"]


async def test_the_tool_of_a_link_is_refused_to_those_who_may_not_call_it(admit, caller, tools):
    agent = admit("bob", roles=["agent"])
    workflow_id = await agent.start(broken(other("pay", {"cents": 5})))
    assert (await agent.ended(workflow_id)).state == FAILED
    assert (await caller.steps(workflow_id))["step_1"].state == value_pb2.STEP_STATE_DENIED
    assert [name for name, *_ in tools.calls] == ["flaky"]


async def test_a_step_that_waited_for_one_tool_is_run_by_another_ones_executor(caller, tools):
    await caller.register("absent")
    bounds = definition_pb2.Timeouts(schedule_to_start_ms=30)
    links = [other("echo", {"value": 3}, on=["SCHEDULE_TO_START_TIMEOUT"])]
    workflow_id = await caller.start(step("absent", timeouts=bounds, fallback=links))
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert (await caller.steps(workflow_id))["step_1"].output_json == "3"


async def test_a_list_counts_the_items_that_fell_back(caller, tools):
    one = broken(declared(0))
    one.arguments_json = '{"failures": "${item}"}'
    one.for_each.items_json = "[0, 9]"
    workflow_id = await caller.start(one)
    summary = await caller.ended(workflow_id)
    assert (summary.state, summary.degraded_steps) == (SUCCEEDED, 1)
    later = await caller.token_of_start(step("echo"))
    request = workflow_service_pb2.ListWorkflowsRequest(consistency_token=later)
    listed = {each.workflow_id: each for each in (await caller.workflows.ListWorkflows(request)).workflows}
    assert listed[workflow_id].degraded_steps == 1


async def test_what_is_wrong_with_a_chain_is_refused_before_anything_is_recorded(caller, tools):
    links = [
        other("nowhere"),
        other("add", {"a": "one", "b": 2}),
        other("echo", {"value": "${steps.later.output}"}),
        definition_pb2.Fallback(value_json='{"a": '),
        declared(1, "no reason"),
        definition_pb2.Fallback(),
        definition_pb2.Fallback(value_json='"${input.x}"'),
        definition_pb2.Fallback(value=value_pb2.Value(payload=value_pb2.PayloadReference(digest=b"x"))),
    ]
    async with caller.recording_nothing():
        found = (await refusal_of(caller.start(broken(*links)))).violations
    assert list(found) == [
        "steps[0].fallback[0].tool.tool",
        "steps[0].fallback[1].tool.arguments.a",
        "steps[0].fallback[3].value_json",
        "steps[0].fallback[4].on[0]",
        "steps[0].fallback[5]",
        "steps[0].fallback[6].value_json",
        "steps[0].fallback[7].value",
        "steps[0].fallback[2].tool.arguments",
    ]


async def test_an_old_result_of_the_cache_serves_when_its_tool_does_not_answer(caller):
    kept = definition_pb2.Caching(ttl_ms=1, stale_ms=600_000)
    quotes = tool("quotes", read_only=True, caching=kept)
    once = definition_pb2.RetryPolicy(max_attempts=1)
    async with raw_executor(caller, quotes) as executor:
        first = await caller.start(step("quotes", {"of": "ACME"}))
        await executor.succeed((await executor.work()).attempt, 17)
        await caller.ended(first)
        wanted = [step("quotes", {"of": of}, retry=once, fallback=[old("BUSY")], on_failure=2) for of in ("ACME", "B")]
        second = await caller.start(*wanted)
        for _ in wanted:
            await executor.fail((await executor.work()).attempt, "BUSY")
        await caller.ended(second)
    found = await caller.steps(second)
    assert (found["step_1"].output_json, found["step_1"].degraded_by) == ("17", 1)
    # Of other arguments there is none.
    assert found["step_2"].failure.reason == "STALE_MISS"
    hit = payload(await caller.history(second), "cache_hit")
    assert (hit.stale, hit.source_workflow_id, hit.source_step_id) == (True, first, "step_1")


async def test_an_open_breaker_is_fallen_back_from_without_a_call(caller, tools):
    rule = policy_pb2.BreakerRule(id="first", tools=["careless"], failure_threshold=1, recovery_timeout_ms=600_000)
    await apply(caller, policy(breakers=[rule]))
    await caller.ended(await caller.start(step("careless")))
    links = [other("echo", {"value": 2}, on=["BREAKER_OPEN"])]
    workflow_id = await caller.start(step("careless", fallback=links))
    assert (await caller.ended(workflow_id)).degraded_steps == 1
    events = await caller.history(workflow_id)
    assert of_step(events, "step_1") == [
        "permission_checked",
        "attempt_rejected",
        "fallback_tried",
        *ATTEMPT,
        "step_succeeded",
    ]
    assert [name for name, *_ in tools.calls] == ["careless", "echo"]


async def test_the_priority_of_every_kind_of_run_is_on_record(caller, tools):
    high = definition_pb2.PRIORITY_HIGH
    started = await caller.start(step("echo"), priority=high)
    called = (await caller.call("echo", priority=high)).workflow_id
    for workflow_id in (started, called):
        assert payload(await caller.history(workflow_id), "workflow_started").priority == high
    refused = await invalid(caller.start(step("echo"), priority=9))
    assert refused.fields == {"priority"}
