"""The methods of AccessService about policies.

Nobody locks a tenant out by accident: whoever changes the policy must be able to change it back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from podium.v1 import access_service_pb2 as pb
from podium.v1 import policy_pb2
from service.api import parts as p
from service.api.authentication import current_caller
from service.api.page_tokens import page_begins, page_begins_at, page_token
from service.domain import permissions
from service.domain.addresses import Rules
from service.domain.errors import InvalidInput, Violation
from service.domain.policy_compiling import built_in_policy, compile_policy
from service.domain.policy_validation import policy_violations
from service.engine.policies import Policies, applied_in
from service.engine.policy_book import Change, Proposal
from service.engine.policy_preview import Preview, Previews

NOTE_LENGTH_MAX = 4_096
PAGE_BYTES = 2 * 1024 * 1024
"""A page of revisions ends behind the one that takes it over this."""
CHANGES_MAX = 10_000
CHANGES_DEFAULT = 100


class PolicyAccess:
    """Answers for AccessServicer. Method names are those of the contract in lower case."""

    def __init__(self, parts: p.ApiParts, policies: Policies) -> None:
        self._parts = parts
        self._policies = policies
        self._previews = Previews(parts.store)

    # Reading

    async def get_policy(self, request: pb.GetPolicyRequest) -> pb.GetPolicyResponse:
        """Read a revision."""
        tenant = current_caller().tenant
        revision = request.revision if request.HasField("revision") else self._policies.newest(tenant)
        return pb.GetPolicyResponse(policy=await self._revision(tenant, revision))

    async def list_revisions(self, request: pb.ListPolicyRevisionsRequest) -> pb.ListPolicyRevisionsResponse:
        """Read a page of revisions, the newest first."""
        tenant, size = current_caller().tenant, p.page_size(request.page_size)
        newest = self._policies.newest(tenant)
        response = pb.ListPolicyRevisionsResponse()
        left = page_begins_at("revisions", request.page_token, first=newest, last=newest)
        while left > 0 and len(response.revisions) < size and response.ByteSize() < PAGE_BYTES:
            response.revisions.append(await self._revision(tenant, left))
            left -= 1
        response.next_page_token = page_token("revisions", left) if left else ""
        return response

    async def _revision(self, tenant: str, revision: int) -> pb.PolicyRevision:
        if revision == 0:
            return pb.PolicyRevision(policy=built_in_policy())
        recorded = await self._policies.revision(tenant, revision)
        event, applied = applied_in(recorded)
        return pb.PolicyRevision(
            revision=applied.revision,
            policy=applied.policy,
            applied_at_us=recorded.recorded_at_us,
            applied_by=event.principal,
            proposed_by=applied.proposer if applied.HasField("proposer") else None,
            note=applied.note,
            rolled_back_to=applied.rolled_back_to,
            event=p.event_name(recorded.position),
        )

    async def list_proposals(self, request: pb.ListPolicyProposalsRequest) -> pb.ListPolicyProposalsResponse:
        """List a page of what waits for a second person, the oldest first."""
        size, last = p.page_size(request.page_size), page_begins("proposals", request.page_token)
        response = pb.ListPolicyProposalsResponse()
        # Named by the last before it, so that what is decided meanwhile does not move the pages.
        waiting = {_place(each): each for each in self._policies.proposals(current_caller().tenant)}
        ended = last
        for place in sorted(place for place in waiting if place > last):
            if len(response.proposals) == size or response.ByteSize() > PAGE_BYTES:
                response.next_page_token = page_token("proposals", ended)
                break
            response.proposals.append(_message(waiting[place]))
            ended = place
        return response

    # Changing

    async def apply(self, request: pb.ApplyPolicyRequest) -> pb.ApplyPolicyResponse:
        """Apply a policy, or propose it."""
        self._check(request.policy)
        _check_note("note", request.note)
        expected = request.expected_revision if request.HasField("expected_revision") else None
        change = Change(request.policy, request.note, expected_revision=expected)
        revision, proposal_id, position = await self._change(change, request.request_id)
        return pb.ApplyPolicyResponse(revision=revision, proposal_id=proposal_id, event=p.event_name(position))

    async def roll_back(self, request: pb.RollBackPolicyRequest) -> pb.RollBackPolicyResponse:
        """Apply an earlier revision again, or propose that."""
        policy = (await self._revision(current_caller().tenant, request.revision)).policy
        self._check(policy)
        _check_note("note", request.note)
        expected = request.expected_revision if request.HasField("expected_revision") else None
        change = Change(policy, request.note, request.revision, expected)
        revision, proposal_id, position = await self._change(change, request.request_id)
        return pb.RollBackPolicyResponse(revision=revision, proposal_id=proposal_id, event=p.event_name(position))

    async def _change(self, change: Change, request_id: str) -> tuple[int, str, int]:
        p.check_request_id(request_id)
        tenant, cause = current_caller().tenant, p.cause_of_request(request_id)
        return await self._policies.apply(tenant, change, cause, f"pp_{self._parts.tokens.token()}")

    async def approve(self, request: pb.ApprovePolicyRequest) -> pb.ApprovePolicyResponse:
        """Apply a proposal of somebody else."""
        tenant = current_caller().tenant
        proposed = self._policies.proposal(tenant, request.proposal_id).event.policy
        if proposed.changes_need_approval:
            self._check_keeps(proposed, "policies.approve")
        outcome = await self._policies.approve(tenant, request.proposal_id, p.cause_of_request())
        return pb.ApprovePolicyResponse(revision=outcome.revision, event=p.event_name(outcome.position))

    async def reject(self, request: pb.RejectPolicyRequest) -> pb.RejectPolicyResponse:
        """End a proposal."""
        _check_note("reason", request.reason)
        tenant, cause = current_caller().tenant, p.cause_of_request()
        outcome = await self._policies.reject(tenant, request.proposal_id, request.reason, cause)
        return pb.RejectPolicyResponse(event=p.event_name(outcome.position))

    def _check(self, policy: policy_pb2.Policy) -> None:
        """Raise InvalidInput for a policy that is none, or that would lock its author out."""
        self._check_valid(policy)
        self._check_keeps(policy, "policies.change")

    def _check_valid(self, policy: policy_pb2.Policy) -> None:
        violations = policy_violations(policy, self._policies.conditions)
        if violations:
            field, problem = violations[0]
            raise InvalidInput("INVALID_POLICY", f"{field} {problem}", violations=violations)

    def _check_keeps(self, policy: policy_pb2.Policy, permission: str) -> None:
        authority, now_us = current_caller().authority, self._parts.clock.now_us()
        compiled = compile_policy(policy, 0, self._policies.conditions)
        decision = permissions.decide(compiled, authority, [permission], "", now_us=now_us)
        violations: list[Violation] = []
        if not decision.allowed:
            problem = f"would take {permission} from you (rule {decision.rule}); let another who keeps it apply this"
            violations.append(("policy", problem))
        elif Rules(policy.addresses).refusing(authority.principal.address):
            problem = f"would shut out {authority.principal.address}, where you call from"
            violations.append(("policy.addresses", problem))
        if violations:
            field, problem = violations[0]
            raise InvalidInput("POLICY_LOCKS_OUT", f"{field} {problem}", violations=violations)

    # Looking ahead

    async def preview(self, request: pb.PreviewPolicyRequest) -> AsyncIterator[pb.PreviewPolicyResponse]:
        """Decide recorded calls again under another policy."""
        # What it tells is of the log.
        p.require(self._parts, "events.read", "", why="PreviewPolicy")
        self._check_valid(request.policy)
        if request.since_us < 0 or request.max_changes > CHANGES_MAX:
            field = "since_us" if request.since_us < 0 else "max_changes"
            problem = "must be a time since 1970" if request.since_us < 0 else f"must be at most {CHANGES_MAX}"
            raise InvalidInput("INVALID_PREVIEW", f"{field} {problem}", violations=[(field, problem)])
        candidate = compile_policy(request.policy, 0, self._policies.conditions)
        changes = request.max_changes or CHANGES_DEFAULT
        preview = Preview(current_caller().tenant, candidate, request.since_us, changes)
        async with aclosing(self._previews.run(preview)) as messages:
            async for progress in messages:
                yield progress


def _place(proposal: Proposal) -> str:
    """Where a proposal is in the list: texts of one length, by when it was made."""
    return f"{proposal.proposed_at_us:020}.{proposal.event.proposal_id}"


def _message(proposal: Proposal) -> pb.PolicyProposal:
    return pb.PolicyProposal(
        proposal_id=proposal.event.proposal_id,
        policy=proposal.event.policy,
        base_revision=proposal.event.base_revision,
        proposed_by=proposal.proposer,
        proposed_at_us=proposal.proposed_at_us,
        note=proposal.event.note,
    )


def _check_note(field: str, text: str) -> None:
    if len(text) > NOTE_LENGTH_MAX:
        problem = f"is longer than {NOTE_LENGTH_MAX} characters"
        raise InvalidInput("NOTE_TOO_LONG", f"{field} {problem}", violations=[(field, problem)])
