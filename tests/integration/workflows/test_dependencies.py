"""Steps run when what they depend on allows it: chains, joins, conditions, and failures that matter or do not."""

import pytest

from podium.v1 import definition_pb2, events_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import (
    check_allowed_before_started,
    check_versions,
    kinds,
    of_step,
    payload,
    payloads,
)

SUCCEEDED, FAILED = value_pb2.WORKFLOW_STATE_SUCCEEDED, value_pb2.WORKFLOW_STATE_FAILED
DONE, ANY, N_OF = definition_pb2.JOIN_DONE, definition_pb2.JOIN_ANY, definition_pb2.JOIN_N_OF
CONTINUE = definition_pb2.ON_FAILURE_CONTINUE


async def run(caller, *steps, **fields):
    """Runs a workflow and returns its summary, its steps and its history."""
    workflow_id = await caller.start(*steps, **fields)
    summary = await caller.ended(workflow_id)
    events = await caller.history(workflow_id)
    check_versions(events)
    check_allowed_before_started(events)
    assert (await caller.replay(workflow_id)).matches
    return summary, await caller.steps(workflow_id), events


def states(steps):
    return {
        name: value_pb2.StepState.Name(each.state).removeprefix("STEP_STATE_").lower() for name, each in steps.items()
    }


async def test_a_chain_hands_each_output_to_the_next(caller, tools):
    summary, steps, events = await run(
        caller,
        step("echo", {"value": "${input}"}),
        step("add", {"a": "${steps.step_1.output.n}", "b": 1}),
        step("echo", {"value": {"text": "it is ${steps.step_2.output}", "list": ["${steps.step_1.output.list[-1]}"]}}),
        input_json='{"n": 41, "list": [1, {"deep": null}]}',
    )
    assert summary.state == SUCCEEDED
    assert steps["step_3"].output_json == '{"text":"it is 42","list":[{"deep":null}]}'
    assert tools.ran() == ["step_1", "step_2", "step_3"]
    assert kinds(events) == [
        "workflow_started",
        "steps_added",
        *["permission_checked", "attempt_started", "step_succeeded"] * 3,
        "workflow_succeeded",
    ]


async def test_steps_without_dependencies_run_at_once(caller, tools):
    workflow_id = await caller.start(*[step("gated", {"gate": f"g{n}"}) for n in range(3)])
    for n in range(3):
        await tools.entered[f"g{n}"].wait()
    for n in range(3):
        tools.gates[f"g{n}"].set()
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_no_more_steps_run_at_once_than_the_workflow_allows(caller, tools):
    workflow_id = await caller.start(*[step("gated", {"gate": f"g{n}"}) for n in range(3)], max_parallel=2)
    await tools.entered["g0"].wait()
    await tools.entered["g1"].wait()
    held = (await caller.steps(workflow_id))["step_3"]
    assert held.state == value_pb2.STEP_STATE_READY
    tools.gates["g1"].set()
    await tools.entered["g2"].wait()
    tools.gates["g0"].set()
    tools.gates["g2"].set()
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_text_that_looks_like_a_reference_is_only_text_once_it_is_a_value(caller, tools):
    trap = "${steps.step_1.output} $${x} step_1"
    _, steps, _ = await run(
        caller,
        step("echo", {"value": "${input}"}),
        step("echo", {"value": "${steps.step_1.output}"}),
        step("echo", {"value": "<${steps.step_2.output}>"}),
        step("echo", {"value": "$${steps.step_1.output}"}),
        input_json=f'"{trap}"',
    )
    assert steps["step_2"].output_json == f'"{trap}"'
    assert steps["step_3"].output_json == f'"<{trap}>"'
    assert steps["step_4"].output_json == '"${steps.step_1.output}"'


async def test_a_path_that_leads_nowhere_fails_the_step(caller, tools):
    summary, steps, _ = await run(
        caller, step("echo", {"value": {"a": 1}}), step("echo", {"value": "${steps.step_1.output.b}"})
    )
    assert steps["step_2"].failure.reason == "REFERENCE_ERROR"
    assert summary.state == FAILED
    assert tools.ran() == ["step_1"]


async def test_a_reference_that_does_not_fit_the_schema_denies_the_step_with_its_field(caller, tools):
    _, steps, events = await run(
        caller, step("echo", {"value": "seven"}), step("add", {"a": "${steps.step_1.output}", "b": 1})
    )
    assert states(steps)["step_2"] == "denied"
    assert steps["step_2"].failure.reason == "INVALID_ARGUMENTS"
    rejected = payload(events, "input_rejected")
    assert (rejected.step_id, rejected.field, rejected.guard) == ("step_2", "arguments.a", "schema")
    assert "seven" not in rejected.message, "the refused value is not repeated"
    assert of_step(events, "step_2") == ["permission_checked", "input_rejected", "step_denied"]


JOINS = {
    "all of them": ({}, False, False),
    "done": ({"join": DONE}, True, True),
    "any of them": ({"join": ANY}, True, False),
    "one of them": ({"join": N_OF, "join_count": 1}, True, False),
    "two of them": ({"join": N_OF, "join_count": 2}, False, False),
}


@pytest.mark.parametrize(("join", "with_one", "with_none"), JOINS.values(), ids=JOINS)
async def test_a_join_on(caller, tools, join, with_one, with_none):
    bad = step("flaky", {"failures": 9, "retryable": False}, on_failure=CONTINUE)
    for first, expected in ((step("echo"), with_one), (bad, with_none)):
        _, steps, _ = await run(caller, first, bad, step("echo", depends_on=["step_1", "step_2"], **join))
        assert states(steps)["step_3"] == ("succeeded" if expected else "skipped")
        if not expected:
            assert steps["step_3"].skip_reason == events_pb2.SKIP_REASON_JOIN


async def test_a_join_on_any_does_not_wait_for_the_others(caller, tools):
    workflow_id = await caller.start(
        step("gated", {"gate": "late"}),
        step("echo"),
        step("gated", {"gate": "joined"}, depends_on=["step_1", "step_2"], join=ANY),
    )
    await tools.entered["joined"].wait()
    assert (await caller.steps(workflow_id))["step_1"].state == value_pb2.STEP_STATE_RUNNING
    tools.gates["joined"].set()
    tools.gates["late"].set()
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_a_failure_ends_the_workflow_once_all_other_work_has_ended(caller, tools):
    workflow_id = await caller.start(
        step("flaky", {"failures": 9, "retryable": False}, id="bad"),
        step("echo", depends_on=["bad"], id="behind"),
        step("gated", {"gate": "g"}, id="beside"),
        step("echo", depends_on=["beside"], id="after"),
    )
    await tools.entered["g"].wait()
    assert (await caller.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_RUNNING
    tools.gates["g"].set()
    summary = await caller.ended(workflow_id)
    assert states(await caller.steps(workflow_id)) == {
        "bad": "failed",
        "behind": "skipped",
        "beside": "succeeded",
        "after": "succeeded",
    }
    assert (summary.state, summary.failure.reason, summary.failure.message) == (FAILED, "TOOL_ERROR", "failure 1")
    assert payload(await caller.history(workflow_id), "workflow_failed").step_id == "bad"


async def test_a_failure_that_may_be_passed_over_lets_the_workflow_succeed(caller, tools):
    summary, steps, _ = await run(
        caller,
        step("careless", on_failure=CONTINUE),
        step("echo", {"value": "${steps.step_1.state}"}, join=DONE),
        step("echo", {"value": ["${steps.step_1.output}", "${steps.step_1.output.a.b}"]}, join=DONE),
    )
    assert summary.state == SUCCEEDED
    assert steps["step_1"].failure.message == "ValueError: it broke"
    assert steps["step_2"].output_json == '"failed"'
    assert steps["step_3"].output_json == "[null,null]"


CONDITIONS = {
    "steps.step_1.output.n > 1": True,
    "steps.step_1.output.n > 2 || input.go": True,
    "steps.step_1.state == 'succeeded'": True,
    "steps.step_1.output.list.exists(x, x == 'b')": True,
    "size(steps.step_1.output.list) == 3": False,
    "steps.step_1.output == null": False,
    "has(steps.step_1.output.nothing)": False,
}


@pytest.mark.parametrize(("condition", "met"), CONDITIONS.items())
async def test_a_condition_decides_whether_a_step_runs(caller, tools, condition, met):
    _, steps, events = await run(
        caller,
        step("echo", {"value": {"n": 2, "list": ["a", "b"]}}),
        step("echo", {"value": "ran"}, condition=condition, depends_on=["step_1"]),
        step("echo", {"value": "${steps.step_2.output}"}, join=DONE),
        step("echo", depends_on=["step_2"]),
        input_json='{"go": true}',
    )
    assert states(steps)["step_2"] == ("succeeded" if met else "skipped")
    assert steps["step_3"].output_json == ('"ran"' if met else "null"), "the output of a skipped step is null"
    assert states(steps)["step_4"] == ("succeeded" if met else "skipped")
    assert len(payloads(events, "condition_met")) == met


async def test_a_condition_that_cannot_be_evaluated_fails_its_step(caller, tools):
    _, steps, _ = await run(
        caller, step("echo", {"value": "text"}), step("echo", condition="steps.step_1.output.n > 1")
    )
    assert steps["step_2"].failure.reason == "CONDITION_ERROR"
    assert tools.ran() == ["step_1"]


async def test_nobody_is_asked_for_a_permission_for_a_step_that_is_skipped(caller, tools):
    _, _, events = await run(caller, step("pay", {"cents": 1}, condition="false"))
    assert kinds(events) == ["workflow_started", "steps_added", "step_skipped", "workflow_succeeded"]
