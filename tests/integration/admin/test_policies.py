"""A tenant's policy over its life: applied, proposed, approved, taken back, in force once it is durable."""

import asyncio

import pytest

from podium.v1 import access_service_pb2 as pb
from podium.v1 import tool_service_pb2, value_pb2
from tests.integration.rig import policies as p
from tests.integration.rig.history import payload
from tests.integration.rig.refusal import refusal_of
from tests.integration.rig.toolbox import toolbox

pytestmark = pytest.mark.both_databases

DENIED, SUCCEEDED = value_pb2.STEP_STATE_DENIED, value_pb2.STEP_STATE_SUCCEEDED


async def state_of(caller, tool, **arguments):
    return (await caller.call(tool, arguments)).outcome.state


async def test_a_tenant_begins_with_the_built_in_policy(caller):
    found = await p.in_force(caller)
    assert (found.revision, found.policy.name, found.applied_at_us, found.event) == (0, "default", 0, "")
    assert {role.name for role in found.policy.roles} == {"admin", "agent", "executor", "auditor", "viewer"}


async def test_an_applied_policy_decides_the_next_call_and_the_record_names_it(caller, agent):
    assert await state_of(agent, "pay", cents=5) == DENIED
    applied = await p.apply(
        caller, p.policy(p.allow("small", "financial_operations", condition="arguments.cents < 10"))
    )
    assert (applied.revision, applied.proposal_id) == (1, "")
    assert await state_of(agent, "pay", cents=5) == SUCCEEDED
    answer = await agent.call("pay", {"cents": 50})
    assert answer.outcome.state == DENIED
    checked = payload(await caller.history(answer.workflow_id), "permission_checked")
    assert (checked.rule, checked.policy, checked.policy_revision) == ("default-deny", "ours", 1)
    assert list(checked.missing) == ["financial_operations"]


async def test_a_forbid_overrides_and_an_error_in_a_condition_denies(caller, agent):
    await p.apply(caller, p.policy(p.forbid("no-big", tools=["ech*"], condition="arguments.value > 10")))
    assert await state_of(agent, "echo", value=1) == SUCCEEDED
    answer = await agent.call("echo", {"value": 11})
    assert payload(await caller.history(answer.workflow_id), "permission_checked").rule == "forbid:no-big"
    answer = await agent.call("echo", {"value": "x"})
    assert answer.outcome.state == DENIED
    assert payload(await caller.history(answer.workflow_id), "permission_checked").rule == "error:no-big"


async def test_a_change_is_an_event_that_says_who_and_why(caller):
    applied = await p.apply(caller, p.policy(), note="begin")
    [event] = await caller.history("policy")
    assert (event.principal.subject, event.policy_applied.note, event.policy_applied.revision) == ("ana", "begin", 1)
    assert event.policy_applied.policy == p.policy()
    found = await p.in_force(caller)
    assert (found.revision, found.applied_by.subject, found.note, found.event) == (1, "ana", "begin", applied.event)


async def test_of_two_that_replace_the_same_revision_one_is_refused(caller):
    answers = await asyncio.gather(
        *(p.apply(caller, p.policy(name=f"p{n}"), expected_revision=0) for n in range(8)), return_exceptions=True
    )
    assert sum(not isinstance(answer, Exception) for answer in answers) == 1
    refusal = await refusal_of(p.apply(caller, p.policy(), expected_revision=0))
    assert (refusal.code, refusal.reason) == ("ABORTED", "POLICY_CHANGED")
    assert (await p.in_force(caller)).revision == 1


async def test_concurrent_changes_without_an_expectation_are_all_applied_in_some_order(caller):
    answers = await asyncio.gather(*(p.apply(caller, p.policy(name=f"p{n}")) for n in range(8)))
    assert sorted(answer.revision for answer in answers) == list(range(1, 9))


async def test_a_repeated_request_has_the_same_answer_and_another_with_its_id_is_refused(caller):
    first = await p.apply(caller, p.policy(), request_id="r1", note="n")
    assert await p.apply(caller, p.policy(), request_id="r1", note="n") == first
    assert len(await caller.history("policy")) == 1
    refusal = await refusal_of(p.apply(caller, p.policy(name="other"), request_id="r1", note="n"))
    assert (refusal.code, refusal.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


async def test_revisions_are_listed_the_newest_first_page_by_page(caller):
    for number in range(5):
        await p.apply(caller, p.policy(name=f"p{number}"))
    names, token = [], ""
    while True:
        request = pb.ListPolicyRevisionsRequest(page_size=2, page_token=token)
        page = await caller.access.ListPolicyRevisions(request)
        names += [each.policy.name for each in page.revisions]
        token = page.next_page_token
        if not token:
            break
    assert names == ["p4", "p3", "p2", "p1", "p0"]
    assert (await p.in_force(caller, revision=2)).policy.name == "p1"
    assert (await refusal_of(p.in_force(caller, revision=6))).code == "NOT_FOUND"


async def test_an_earlier_revision_comes_back_as_a_new_one(caller, agent):
    await p.apply(caller, p.policy())
    await p.apply(caller, p.policy(p.forbid("frozen", tools=["*"])))
    assert await state_of(agent, "echo", value=1) == DENIED
    answer = await p.roll_back(caller, 1, expected_revision=2, note="too much")
    assert answer.revision == 3
    assert await state_of(agent, "echo", value=1) == SUCCEEDED
    found = await p.in_force(caller)
    assert (found.rolled_back_to, found.policy) == (1, p.policy())
    assert (await p.roll_back(caller, 0)).revision == 4
    assert (await p.in_force(caller)).policy.name == "default"
    assert (await refusal_of(p.roll_back(caller, 9))).code == "NOT_FOUND"


async def test_nobody_takes_the_change_of_policies_from_themselves(caller, admit):
    mine_not = p.policy(p.forbid("not-ana", "policies.*", condition='principal.subject == "ana"'))
    refusal = await refusal_of(p.apply(caller, mine_not))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "POLICY_LOCKS_OUT")
    assert "forbid:not-ana" in refusal.message
    # The last is a network of IPv4 in IPv6's clothes.
    for network in ("127.0.0.0/8", "::ffff:127.0.0.0/104"):
        shut = p.policy()
        shut.addresses.block.append(network)
        assert (await refusal_of(p.apply(caller, shut))).reason == "POLICY_LOCKS_OUT"
    assert (await p.in_force(caller)).revision == 0
    assert (await p.apply(admit("zoe"), mine_not)).revision == 1
    assert (await refusal_of(p.apply(caller, p.policy()))).code == "PERMISSION_DENIED"


async def test_a_policy_that_is_none_is_refused_with_its_fields(caller):
    broken = p.policy(
        p.allow("Bad Id"),
        p.forbid("x", "tools.call:pay", condition="argument.cents > 1"),
        roles=[p.role("a", inherits=["b"]), p.role("b", inherits=["a"])],
    )
    refusal = await refusal_of(p.apply(caller, broken))
    assert (refusal.code, refusal.reason) == ("INVALID_ARGUMENT", "INVALID_POLICY")
    assert refusal.fields >= {"rules[0].id", "rules[0].permissions", "rules[1].permissions[0]", "rules[1].condition"}
    assert any("->" in problem for problem in refusal.violations.values())
    assert await caller.history("policy") == []


async def test_with_a_second_person_a_change_waits_for_another_subject(caller, admit):
    await p.apply(caller, p.policy(changes_need_approval=True))
    answer = await p.apply(caller, p.policy(name="next"), note="please", request_id="r1")
    assert (answer.revision, bool(answer.proposal_id)) == (0, True)
    assert await p.apply(caller, p.policy(name="next"), note="please", request_id="r1") == answer
    [waiting] = await p.proposals(caller)
    assert (waiting.proposal_id, waiting.base_revision, waiting.proposed_by.subject) == (answer.proposal_id, 1, "ana")
    own = await refusal_of(p.approve(caller, answer.proposal_id))
    assert (own.code, own.reason) == ("PERMISSION_DENIED", "OWN_PROPOSAL")
    assert (await p.in_force(caller)).revision == 1
    zoe = admit("zoe")
    assert (await p.approve(zoe, answer.proposal_id)).revision == 2
    found = await p.in_force(caller)
    assert (found.applied_by.subject, found.proposed_by.subject, found.note) == ("zoe", "ana", "please")
    again = await refusal_of(p.approve(zoe, answer.proposal_id))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "PROPOSAL_ENDED")
    assert "revision 2" in again.message


async def test_a_rollback_waits_for_a_second_person_too_and_says_what_it_takes_back(caller, admit):
    await p.apply(caller, p.policy())
    await p.apply(caller, p.policy(changes_need_approval=True))
    answer = await p.roll_back(caller, 1)
    assert answer.revision == 0
    await p.approve(admit("zoe"), answer.proposal_id)
    assert (await p.in_force(caller)).rolled_back_to == 1


async def test_a_proposal_over_which_another_was_applied_is_stale(caller, admit):
    await p.apply(caller, p.policy(changes_need_approval=True))
    first, second = [await p.apply(caller, p.policy(name=name, changes_need_approval=True)) for name in ("a", "b")]
    zoe = admit("zoe")
    await p.approve(zoe, first.proposal_id)
    refusal = await refusal_of(p.approve(zoe, second.proposal_id))
    assert (refusal.reason, "stale" in refusal.message) == ("PROPOSAL_ENDED", True)
    assert await p.proposals(caller) == []


async def test_proposals_are_listed_in_pages_the_oldest_first(caller, admit):
    await p.apply(caller, p.policy(changes_need_approval=True))
    made = [(await p.apply(caller, p.policy(name=f"n{number}"))).proposal_id for number in range(5)]
    request, seen = pb.ListPolicyProposalsRequest(page_size=2), []
    for size in (2, 2):
        page = await caller.access.ListPolicyProposals(request)
        assert len(page.proposals) == size
        seen += [each.proposal_id for each in page.proposals]
        request.page_token = page.next_page_token
        # What is decided meanwhile moves no page.
        await p.reject(admit("zoe"), seen[0 if len(seen) == size else -1])
    page = await caller.access.ListPolicyProposals(request)
    assert [*seen, *(each.proposal_id for each in page.proposals)] == made
    assert page.next_page_token == ""


async def test_a_rejected_proposal_is_never_applied(caller, admit):
    await p.apply(caller, p.policy(changes_need_approval=True))
    answer = await p.apply(caller, p.policy(name="next"))
    zoe = admit("zoe")
    await p.reject(zoe, answer.proposal_id, "too wide")
    assert (await refusal_of(p.approve(zoe, answer.proposal_id))).reason == "PROPOSAL_ENDED"
    assert payload(await caller.history("policy"), "policy_rejected").reason == "too wide"
    assert (await refusal_of(p.reject(zoe, "pp_none"))).code == "NOT_FOUND"


async def test_who_proposes_may_not_approve_without_the_permission(caller, admit):
    await p.apply(
        caller, p.policy(changes_need_approval=True, roles=[p.role("author", "policies.change", "policies.read")])
    )
    answer = await p.apply(caller, p.policy(name="next"))
    assert (await refusal_of(p.approve(admit("eve", roles=["author"]), answer.proposal_id))).code == "PERMISSION_DENIED"


async def test_tenants_have_policies_of_their_own(caller, admit):
    await p.apply(caller, p.policy())
    other = admit("mallory", tenant="other-policies")
    assert (await p.in_force(other)).revision == 0
    assert (await refusal_of(p.in_force(other, revision=1))).code == "NOT_FOUND"


async def test_an_executor_that_may_not_serve_any_more_is_let_go(caller, admit, connect):
    app = toolbox()
    await connect(app, subject="worker", roles=["executor"])
    assert await state_of(caller, "echo", value=1) == SUCCEEDED
    stripped = p.policy()
    del stripped.roles[2]
    await p.apply(caller, stripped)

    async def sessions():
        return (await caller.tools.GetTool(tool_service_pb2.GetToolRequest(name="echo"))).tool.sessions

    async with asyncio.timeout(10):
        while await sessions():
            pass


async def test_a_tool_that_only_some_arguments_may_be_given_is_listed_and_one_that_none_may_is_not(caller, agent):
    async def names():
        answer = await agent.tools.ListTools(tool_service_pb2.ListToolsRequest())
        return {each.definition.name for each in answer.tools}

    assert "pay" not in await names()
    await p.apply(
        caller,
        p.policy(
            p.allow("small", "financial_operations", condition="arguments.cents < 10"),
            p.forbid("late", tools=["add"], condition='principal.subject == "bob"'),
        ),
    )
    assert "pay" in await names()
    assert "add" not in await names()


async def test_a_rule_over_the_time_decides_the_methods_of_the_api_at_each_request(caller, agent, admit):
    later = 'time > timestamp("2100-01-01T00:00:00Z")'
    await p.apply(caller, p.policy(p.allow("some-day", "policies.read", condition=later)))
    assert (await refusal_of(p.in_force(agent))).code == "PERMISSION_DENIED"
    earlier = later.replace(">", "<")
    await p.apply(caller, p.policy(p.allow("until-then", "policies.read", condition=earlier)))
    assert (await p.in_force(agent)).revision == 2
