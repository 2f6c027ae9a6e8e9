"""A policy, what waits for a second person and what was asked before outlive the service, on both databases."""

import asyncio

import pytest

from tests.integration.rig import policies as p
from tests.integration.rig.history import payloads
from tests.integration.rig.refusal import refusal_of


@pytest.fixture(params=["sqlite", "postgres"])
async def service(request, own_service):
    """A service of this test's own, to be killed."""
    database = None
    if request.param == "postgres":
        database = await request.getfixturevalue("postgres").create_database(migrated=False)
    return await asyncio.to_thread(own_service(database=database).start)


async def restart(service):
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)


async def test_what_was_applied_and_proposed_is_there_after_a_kill(service, admit):
    ana = admit()
    closed = p.policy(p.forbid("f", "network_access", condition="arguments.x == 1"), changes_need_approval=True)
    await p.apply(ana, p.policy(name="first"), request_id="r0")
    await p.apply(ana, closed, request_id="r1", note="why")
    waiting = await p.apply(ana, p.policy(name="next"), request_id="r2")
    rejected = await p.apply(ana, p.policy(name="never"))
    await p.reject(admit("zoe"), rejected.proposal_id)
    before = await p.in_force(ana), await p.proposals(ana)
    await restart(service)
    ana, zoe = admit(), admit("zoe")
    assert (await p.in_force(ana), await p.proposals(ana)) == before
    assert await p.apply(ana, p.policy(name="next"), request_id="r2") == waiting
    assert (await refusal_of(p.apply(ana, closed, request_id="r2"))).reason == "REQUEST_ID_REUSED"
    assert (await refusal_of(p.approve(ana, waiting.proposal_id))).reason == "OWN_PROPOSAL"
    assert (await refusal_of(p.approve(zoe, rejected.proposal_id))).reason == "PROPOSAL_ENDED"
    assert (await p.approve(zoe, waiting.proposal_id)).revision == 3
    assert (await p.roll_back(ana, 1)).revision == 4
    assert (await p.in_force(ana, revision=2)).note == "why"
    assert [each.revision for each in payloads(await ana.history("policy"), "policy_applied")] == [1, 2, 3, 4]


async def test_a_policy_decides_after_a_kill_as_before_and_past_calls_can_be_decided_again(service, admit):
    ana, bob = admit(), admit("bob", roles=["agent"])
    await ana.register("pay", permissions=["financial_operations"])
    await p.apply(ana, p.policy(p.forbid("big", tools=["pay"], condition="arguments.cents > 10")))
    rules = []
    for _ in range(2):
        answer = await bob.call("pay", {"cents": 50})
        rules.append(payloads(await ana.history(answer.workflow_id), "permission_checked")[0].rule)
        await restart(service)
        ana, bob = admit(), admit("bob", roles=["agent"])
    assert rules == ["forbid:big", "forbid:big"]
    some = p.policy(p.allow("some", "financial_operations", condition="arguments.cents == 50"))
    changes, last = await p.preview(ana, some)
    assert ([each.rule_after for each in changes], last.decided) == (["rule:some", "rule:some"], 2)
