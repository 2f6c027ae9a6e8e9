"""Policies in the words of the contract, for tests that change what a tenant's callers may do."""

from podium.v1 import access_service_pb2 as pb
from podium.v1 import policy_pb2

ALLOW, FORBID = policy_pb2.EFFECT_ALLOW, policy_pb2.EFFECT_FORBID


def role(name, *grants, **fields):
    return policy_pb2.Role(name=name, grants=grants, **fields)


def allow(name, *permissions, **fields):
    return policy_pb2.Rule(id=name, effect=ALLOW, permissions=permissions, **fields)


def forbid(name, *permissions, **fields):
    return policy_pb2.Rule(id=name, effect=FORBID, permissions=permissions, **fields)


def policy(*rules, name="ours", roles=(), **fields):
    """A policy in which admin may everything and agent may call tools."""
    given = [
        role("admin", "*"),
        role("agent", "workflows.*", "tools.read", "tools.call", "network_access"),
        role("executor", "tools.serve", "tools.register"),
        *roles,
    ]
    return policy_pb2.Policy(name=name, roles=given, rules=rules, **fields)


async def apply(caller, changed, **fields):
    return await caller.access.ApplyPolicy(pb.ApplyPolicyRequest(policy=changed, **fields))


async def in_force(caller, **fields):
    return (await caller.access.GetPolicy(pb.GetPolicyRequest(**fields))).policy


async def roll_back(caller, revision, **fields):
    return await caller.access.RollBackPolicy(pb.RollBackPolicyRequest(revision=revision, **fields))


async def approve(caller, proposal_id):
    return await caller.access.ApprovePolicy(pb.ApprovePolicyRequest(proposal_id=proposal_id))


async def reject(caller, proposal_id, reason=""):
    return await caller.access.RejectPolicy(pb.RejectPolicyRequest(proposal_id=proposal_id, reason=reason))


async def proposals(caller):
    return list((await caller.access.ListPolicyProposals(pb.ListPolicyProposalsRequest())).proposals)


async def preview(caller, changed, **fields):
    """All changes that a preview tells, and its last message."""
    changes, last = [], None
    async for last in caller.access.PreviewPolicy(pb.PreviewPolicyRequest(policy=changed, **fields)):
        changes += last.changes
    return changes, last
