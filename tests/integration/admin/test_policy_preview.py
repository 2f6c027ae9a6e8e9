"""What another policy would have decided: recorded calls are decided again, and nothing is changed by it."""

import json

import pytest

from podium.v1 import access_service_pb2 as pb
from podium.v1 import definition_pb2, events_pb2
from tests.integration.rig import policies as p
from tests.integration.rig.caller import step
from tests.integration.rig.history import payload
from tests.integration.rig.refusal import refusal_of

pytestmark = pytest.mark.both_databases


async def test_the_same_policy_changes_nothing(caller, agent):
    await agent.call("echo", {"value": 1})
    await agent.call("pay", {"cents": 1})
    async with caller.recording_nothing():
        changes, last = await p.preview(caller, (await p.in_force(caller)).policy)
    assert changes == []
    assert (last.decided, last.changed, last.undecidable, last.done) == (2, 0, 0, True)


async def test_changed_calls_are_told_with_both_rules(caller, agent):
    small = (await agent.call("pay", {"cents": 5})).workflow_id
    await agent.call("pay", {"cents": 500})
    stopped = (await agent.call("echo", {"value": "stop"})).workflow_id
    candidate = p.policy(
        p.allow("small", "financial_operations", condition="arguments.cents < 10"),
        p.forbid("halt", condition='tool == "echo" && arguments.value == "stop"'),
    )
    changes, last = await p.preview(caller, candidate)
    assert (last.decided, last.changed, last.undecidable) == (3, 2, 0)
    told = {each.workflow_id: each for each in changes}
    assert set(told) == {small, stopped}
    allowed, denied = told[small], told[stopped]
    assert (allowed.before, allowed.after) == (events_pb2.DECISION_DENY, events_pb2.DECISION_ALLOW)
    assert (allowed.rule_before, allowed.rule_after) == ("default-deny", "rule:small")
    assert (denied.rule_before, denied.rule_after) == ("no-permission-required", "forbid:halt")
    assert (allowed.tool, allowed.step_id, allowed.principal.subject) == ("pay", "step_1", "bob")
    recorded = await caller.history(stopped)
    [checked] = [each for each in recorded if each.HasField("permission_checked")]
    assert (denied.event, denied.recorded_at_us) == (f"0:{checked.position}", checked.recorded_at_us)


async def test_arguments_are_those_that_the_steps_before_had_made(caller, tools):
    workflow_id = await caller.start(
        step("add", {"a": 1, "b": 2}),
        step("echo", {"value": "${steps.step_1.output}"}),
        step("echo", {"value": "${item}"}, for_each=definition_pb2.ForEach(items_json="[1, 3]")),
        step("echo", {"value": "x" * 100_000}),
        step("echo", {"value": "${steps.step_4.output}"}),
    )
    await caller.ended(workflow_id)
    candidate = p.policy(p.forbid("three", tools=["echo"], condition="arguments.value == 3"))
    changes, last = await p.preview(caller, candidate)
    rules = {each.step_id: each.rule_after for each in changes}
    large = {"step_4": "error:three", "step_5": "error:three"}
    assert rules == {"step_2": "forbid:three", "step_3[1]": "forbid:three", **large}, "too large to be read: an error"
    assert (last.decided, last.undecidable) == (6, 0)


async def test_only_calls_since_a_time_are_decided_and_only_so_many_are_told(caller, agent):
    await agent.call("echo", {"value": 0})
    later = [(await agent.call("echo", {"value": value})).workflow_id for value in range(4)]
    started = [event.recorded_at_us for event in await caller.history(later[0])]
    none = p.policy(p.forbid("none", tools=["*"]))
    changes, last = await p.preview(caller, none, since_us=started[0], max_changes=2)
    assert (last.decided, last.changed, len(changes)) == (4, 4, 2)
    _, last = await p.preview(caller, none, since_us=started[0] + 10**12)
    assert (last.decided, last.done) == (0, True)


MARKED = {"type": "object", "properties": {"value": {"type": "string", "x-podium-sensitive": True}}}


async def test_what_is_sealed_is_not_shown_to_a_candidates_conditions(caller, agent):
    await caller.register("hush", MARKED, permissions=["financial_operations"])
    await agent.call("hush", {"value": "canary"})
    guess = p.policy(p.allow("guess", "financial_operations", condition='arguments.value == "canary"'))
    changes, last = await p.preview(caller, guess)
    assert (changes, last.decided, last.undecidable) == ([], 0, 1)
    [change], last = await p.preview(caller, p.policy(p.allow("all", "financial_operations", tools=["hush"])))
    assert (change.rule_after, last.decided, last.undecidable) == ("rule:all", 1, 0)


async def test_a_condition_over_sealed_arguments_denies_the_call(caller):
    await caller.register("hush", MARKED)
    await p.apply(caller, p.policy(p.forbid("guess", tools=["hush"], condition='arguments.value == "other"')))
    answer = await caller.call("hush", {"value": "canary"})
    checked = payload(await caller.history(answer.workflow_id), "permission_checked")
    assert (checked.decision, checked.rule) == (events_pb2.DECISION_DENY, "error:guess")


async def test_who_may_not_read_the_log_may_not_preview(caller, admit):
    await p.apply(caller, p.policy(roles=[p.role("looker", "policies.read")]))
    looker = admit("eve", roles=["looker"])
    refusal = await refusal_of(p.preview(looker, p.policy()))
    assert (refusal.code, "events.read" in refusal.message) == ("PERMISSION_DENIED", True)


async def test_a_candidate_that_is_none_is_refused(caller):
    refusal = await refusal_of(p.preview(caller, p.policy(p.allow("x", "tools.call", condition="1 +"))))
    assert (refusal.code, refusal.fields) == ("INVALID_ARGUMENT", {"rules[0].condition"})
    request = pb.PreviewPolicyRequest(policy=p.policy(), max_changes=10_001)

    async def ask():
        async for _ in caller.access.PreviewPolicy(request):
            pass

    assert (await refusal_of(ask())).fields == {"max_changes"}


async def test_the_other_tenants_calls_are_not_looked_at(caller, admit, agent):
    await agent.call("echo", {"value": json.dumps("x")})
    _, last = await p.preview(admit("mallory", tenant="other-previews"), p.policy())
    assert last.decided == 0
