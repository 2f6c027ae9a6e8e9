"""What a caller may not do is denied before anything runs, with a record that says who, what, by which rule."""

import json

import pytest

from podium.v1 import (
    access_service_pb2,
    definition_pb2,
    events_pb2,
    policy_pb2,
    tool_service_pb2,
    value_pb2,
    workflow_service_pb2,
)
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, of_step, payload, payloads, place
from tests.integration.rig.refusal import refusal_if_any, refusal_of

pytestmark = pytest.mark.both_databases

DENIED = value_pb2.STEP_STATE_DENIED
FAILED, SUCCEEDED = value_pb2.WORKFLOW_STATE_FAILED, value_pb2.WORKFLOW_STATE_SUCCEEDED


@pytest.fixture
def agent(admit, tools):
    """An agent, whose role gives no financial operations."""
    return admit("bob", roles=["agent"], agent="assistant", on_behalf_of="carla")


@pytest.fixture
def watched(caller):
    """Ana, who may read the log."""
    return caller


async def test_a_denied_step_leaves_its_record_and_nothing_runs(agent, watched, tools):
    workflow_id = await agent.start(step("pay", {"cents": 5}), step("echo", depends_on=["step_1"]))
    summary = await agent.ended(workflow_id)
    events = await watched.history(workflow_id)
    assert kinds(events) == [
        "workflow_started",
        "steps_added",
        "permission_checked",
        "step_denied",
        "step_skipped",
        "workflow_failed",
    ]
    checked = payload(events, "permission_checked")
    assert (checked.step_id, checked.attempt, checked.tool) == ("step_1", 1, "pay")
    assert checked.decision == events_pb2.DECISION_DENY
    assert (list(checked.required), list(checked.missing)) == (["financial_operations"], ["financial_operations"])
    assert (checked.rule, checked.policy, checked.policy_revision) == ("default-deny", "default", 0)
    who = checked.principal
    assert (who.subject, who.agent, who.on_behalf_of, who.address) == ("bob", "assistant", "carla", "127.0.0.1")
    assert who.token_id
    assert len(checked.arguments_digest) == 32
    denied = payload(events, "step_denied")
    assert (denied.guard, denied.failure.reason) == ("permission", "PERMISSION_DENIED")
    assert denied.failure.message == "pay needs financial_operations (rule default-deny)"
    assert summary.state == FAILED
    assert tools.ran() == []


async def test_a_denied_call_is_an_outcome_that_names_its_event(agent, watched, tools):
    answer = await agent.call("pay", {"cents": 5})
    outcome = answer.outcome
    assert (outcome.state, outcome.failure.reason, outcome.attempts) == (DENIED, "PERMISSION_DENIED", 0)
    [event] = [each for each in await watched.history(answer.workflow_id) if each.HasField("step_denied")]
    assert outcome.event == place(event)
    assert tools.ran() == []


async def test_a_denied_step_that_may_be_passed_over_lets_the_workflow_succeed(agent, tools):
    workflow_id = await agent.start(
        step("pay", {"cents": 5}, on_failure=definition_pb2.ON_FAILURE_CONTINUE),
        step("echo", {"value": "${steps.step_1.state}"}, join=definition_pb2.JOIN_DONE),
    )
    assert (await agent.ended(workflow_id)).state == SUCCEEDED
    assert (await agent.steps(workflow_id))["step_2"].output_json == '"denied"'


async def test_who_may_is_allowed_by_the_role_that_grants_it(watched, tools):
    workflow_id = await watched.start(step("pay", {"cents": 5}))
    assert (await watched.ended(workflow_id)).state == SUCCEEDED
    checked = payload(await watched.history(workflow_id), "permission_checked")
    assert (checked.decision, checked.rule) == (events_pb2.DECISION_ALLOW, "role:admin")


async def test_a_workflow_may_be_narrowed_to_less_than_its_caller_may(watched, tools):
    workflow_id = await watched.start(
        step("pay", {"cents": 5}), step("echo"), narrowed=True, permissions=["database_read"], open=True
    )
    await watched.add(workflow_id, step("pay", {"cents": 6}))
    await watched.finish(workflow_id)
    await watched.ended(workflow_id)
    states = [each.state for each in (await watched.steps(workflow_id)).values()]
    assert states == [DENIED, value_pb2.STEP_STATE_SUCCEEDED, DENIED], "what is added later is narrowed too"
    [authority] = {
        each.authority.SerializeToString() for each in payloads(await watched.history(workflow_id), "steps_added")
    } and [payloads(await watched.history(workflow_id), "steps_added")[0].authority]
    assert (authority.limited, list(authority.scopes)) == (True, ["database_read"])


async def test_a_workflow_cannot_be_narrowed_to_more_than_its_caller_may(agent, tools):
    workflow_id = await agent.start(step("pay", {"cents": 5}), narrowed=True, permissions=["*"])
    await agent.ended(workflow_id)
    assert (await agent.steps(workflow_id))["step_1"].state == DENIED


async def test_each_step_runs_under_the_authority_of_who_added_it(watched, agent, tools):
    workflow_id = await watched.start(step("pay", {"cents": 1}), open=True)
    await agent.add(workflow_id, step("pay", {"cents": 2}, on_failure=definition_pb2.ON_FAILURE_CONTINUE))
    await watched.finish(workflow_id)
    await watched.ended(workflow_id)
    checks = payloads(await watched.history(workflow_id), "permission_checked")
    assert {(each.step_id, each.principal.subject, each.decision) for each in checks} == {
        ("step_1", "ana", events_pb2.DECISION_ALLOW),
        ("step_2", "bob", events_pb2.DECISION_DENY),
    }


async def test_every_item_of_a_denied_step_is_denied(agent, watched, tools):
    items = definition_pb2.ForEach(items_json="[1, 2]")
    workflow_id = await agent.start(step("pay", {"cents": "${item}"}, for_each=items))
    assert (await agent.ended(workflow_id)).state == FAILED
    events = await watched.history(workflow_id)
    assert of_step(events, "step_1[0]") == of_step(events, "step_1[1]") == ["permission_checked", "step_denied"]
    assert tools.ran() == []


async def names(caller, **fields):
    answer = await caller.tools.ListTools(tool_service_pb2.ListToolsRequest(**fields))
    return [each.definition.name for each in answer.tools]


async def test_a_tool_that_may_not_be_used_is_not_listed_and_cannot_be_looked_at(agent, watched, tools):
    free = ["add", "careless", "echo", "flaky", "gated"]
    assert await names(agent) == free
    assert await names(watched) == sorted([*free, "pay"])
    refusal = await refusal_of(agent.tools.GetTool(tool_service_pb2.GetToolRequest(name="pay")))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "TOOL_NOT_FOUND")
    assert refusal.message == (
        await refusal_of(agent.tools.GetTool(tool_service_pb2.GetToolRequest(name="gone")))
    ).message.replace("gone", "pay")


async def test_the_list_for_a_narrowed_run_has_what_that_run_may_use(watched, tools):
    assert "pay" not in await names(watched, narrowed=True, permissions=["database_read"])
    assert "pay" in await names(watched, narrowed=True, permissions=["financial_operations"])


async def test_only_an_administrator_lists_what_it_may_not_use(agent, watched, tools):
    assert "pay" in await names(watched, include_denied=True, narrowed=True, permissions=[])
    refusal = await refusal_of(agent.tools.ListTools(tool_service_pb2.ListToolsRequest(include_denied=True)))
    assert refusal.code == "PERMISSION_DENIED"
    assert "tools.administer" in refusal.message


async def test_the_address_in_the_record_is_the_callers_and_not_what_it_claims(watched, tools):
    liar = workflow_service_pb2.StartWorkflowRequest(steps=[step("echo")], on_behalf_of="dora")
    workflow_id = (await watched.workflows.StartWorkflow(liar)).workflow_id
    await watched.ended(workflow_id)
    started = (await watched.history(workflow_id))[0]
    assert (started.principal.subject, started.principal.address) == ("ana", "127.0.0.1")
    checked = payload(await watched.history(workflow_id), "permission_checked")
    assert (checked.principal.subject, checked.principal.on_behalf_of) == ("ana", "dora")


async def test_nobody_acts_on_behalf_of_another_without_the_permission(admit, watched, tools):
    """In all requests that name somebody; the negative control is ana, whose role grants everything."""
    bob = admit("bob", roles=["agent"])
    call = tool_service_pb2.ToolCall(tool="echo", arguments_json="{}")
    start = workflow_service_pb2.StartWorkflowRequest(steps=[step("echo")], on_behalf_of="dora")

    def requests(by):
        return (
            by.workflows.StartWorkflow(start),
            by.workflows.RunWorkflow(workflow_service_pb2.RunWorkflowRequest(workflow=start)),
            by.tools.CallTool(tool_service_pb2.CallToolRequest(call=call, on_behalf_of="dora")),
            by.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=[call], on_behalf_of="dora")),
        )

    async with watched.recording_nothing():
        for request in requests(bob):
            refusal = await refusal_of(request)
            assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
            assert refusal.message == "acting on behalf of dora needs act_on_behalf (rule default-deny)"
    for request in requests(watched):
        await request


async def test_a_scope_without_the_permission_takes_it_away_and_one_for_some_people_names_them(admit, watched, tools):
    everyone = ["workflows.start", "workflows.read", "workflows.change"]
    without = admit("bob", scopes=everyone)
    some = admit("bob", scopes=[*everyone, "act_on_behalf:*@example.org"])
    start = workflow_service_pb2.StartWorkflowRequest
    for name, refused in (("dora@example.org", False), ("dora@example.com", True), ("example.org", True)):
        call = some.workflows.StartWorkflow(start(open=True, on_behalf_of=name))
        assert (await refusal_if_any(call) is not None) == refused, name
    refusal = await refusal_of(without.workflows.StartWorkflow(start(open=True, on_behalf_of="dora@example.org")))
    assert refusal.reason == "PERMISSION_DENIED"


async def test_a_token_that_is_bound_to_somebody_needs_no_permission_and_names_nobody_else(agent, watched, tools):
    start = workflow_service_pb2.StartWorkflowRequest
    for name in ("", "carla"):
        workflow_id = (await agent.workflows.StartWorkflow(start(steps=[step("echo")], on_behalf_of=name))).workflow_id
        await agent.ended(workflow_id)
        events = await watched.history(workflow_id)
        assert {e.principal.on_behalf_of for e in events if e.principal.subject == "bob"} == {"carla"}
    refusal = await refusal_of(agent.workflows.StartWorkflow(start(steps=[step("echo")], on_behalf_of="dora")))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "ON_BEHALF_OF_BOUND")
    denied = payload(await watched.history("requests"), "request_denied")
    assert (denied.required, denied.resource, denied.rule) == ("act_on_behalf", "dora", "on-behalf-of-bound")


async def test_a_rule_over_the_time_lets_somebody_act_for_others_at_that_time_alone(admit, watched):
    """The negative control is the same rule before its time, and the refusal is recorded with what it rests on."""
    start = workflow_service_pb2.StartWorkflowRequest(open=True, on_behalf_of="dora")
    bob = admit("bob")
    for year, rule in ((2020, "role:admin"), (9999, "forbid:later")):
        forbid = {"id": "later", "effect": policy_pb2.EFFECT_FORBID, "permissions": ["act_on_behalf"]}
        condition = f'time < timestamp("{year}-01-01T00:00:00Z")'
        roles = [policy_pb2.Role(name="admin", grants=["*"])]
        policy = policy_pb2.Policy(name="p", roles=roles, rules=[policy_pb2.Rule(condition=condition, **forbid)])
        await watched.access.ApplyPolicy(access_service_pb2.ApplyPolicyRequest(policy=policy))
        refusal = await refusal_if_any(bob.workflows.StartWorkflow(start))
        assert (refusal is None) == rule.startswith("role"), refusal
    denied = payload(await watched.history("requests"), "request_denied")
    assert (denied.required, denied.resource, denied.rule) == ("act_on_behalf", "dora", "forbid:later")


async def test_a_name_that_is_too_long_is_no_name(watched):
    start = workflow_service_pb2.StartWorkflowRequest
    assert await refusal_if_any(watched.workflows.StartWorkflow(start(open=True, on_behalf_of="d" * 256))) is None
    refusal = await refusal_of(watched.workflows.StartWorkflow(start(open=True, on_behalf_of="d" * 257)))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_ON_BEHALF_OF")


async def test_whom_a_request_names_is_in_every_event_it_causes(watched, tools):
    start = workflow_service_pb2.StartWorkflowRequest(steps=[step("echo")], on_behalf_of="dora")
    workflow_id = (await watched.workflows.StartWorkflow(start)).workflow_id
    await watched.ended(workflow_id)
    caused = [event for event in await watched.history(workflow_id) if event.principal.subject == "ana"]
    assert kinds(caused)[:2] == ["workflow_started", "steps_added"]
    assert [event.principal.on_behalf_of for event in caused[:2]] == ["dora", "dora"]
    assert payload(caused, "steps_added").authority.principal.on_behalf_of == "dora"


async def test_nobody_adds_steps_on_behalf_of_another_without_the_permission(admit, watched, tools):
    start = workflow_service_pb2.StartWorkflowRequest(open=True, on_behalf_of="dora")
    workflow_id = (await watched.workflows.StartWorkflow(start)).workflow_id
    bob = admit("bob", roles=["agent"])
    async with watched.recording_nothing():
        request = workflow_service_pb2.AddStepsRequest(workflow_id=workflow_id, steps=[step("echo")])
        assert (await refusal_of(bob.workflows.AddSteps(request))).message.startswith("acting on behalf of dora needs")
    await admit("bob", roles=["agent"], on_behalf_of="dora").add(workflow_id, step("echo"))


async def test_no_argument_is_copied_into_a_decision(agent, watched, tools):
    secret = "4111111111111111"
    workflow_id = await agent.start(step("echo", {"value": secret}), step("pay", {"cents": "${steps.step_1.output}"}))
    await agent.ended(workflow_id)
    for event in await watched.history(workflow_id):
        if event.HasField("permission_checked") or event.HasField("step_denied"):
            assert secret not in str(event)
    assert json.loads((await agent.steps(workflow_id))["step_1"].output_json) == secret
