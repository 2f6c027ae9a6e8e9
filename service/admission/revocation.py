"""Whether the authority recorded with the step still counts at this moment: it is neither revoked nor too old.

Both come before what is asked of permissions: whoever's credentials were taken back is told nothing more.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.v1 import events_pb2, value_pb2
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, Allowed, Denied
from service.domain.permissions import Policy
from service.domain.revocations import Revocations


class RevocationGuard:
    """Denies a call whose authority was revoked. Nothing is remembered: what it asks is in memory."""

    name = "revocation"

    def __init__(self, revocations: Revocations, policy_of: Callable[[str], Policy]) -> None:
        """`policy_of` finds the policy of a tenant, which is named in the record."""
        self._revocations = revocations
        self._policy_of = policy_of

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:  # noqa: ARG002 - a guard's signature
        """Decide from memory; see service.admission.pipeline.Guard."""
        hit = self._revocations.find_with_coming(request.tenant, request.authority)
        if hit is None:
            return ALLOWED
        problem = f"the {hit.kind} under which the step was submitted has been revoked"
        return _denied(self.name, request, self._policy_of, hit.rule, "CREDENTIAL_REVOKED", problem)


class AuthorityAgeGuard:
    """Denies a call whose authority was granted too long ago. One that does not say when is too old."""

    name = "authority-age"

    def __init__(self, max_s: int, policy_of: Callable[[str], Policy]) -> None:
        """`policy_of` gives a tenant's current policy, for the record."""
        self._max_us = max_s * 1_000_000
        self._policy_of = policy_of

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:
        """Decide from memory; see service.admission.pipeline.Guard."""
        if now_us - request.authority.granted_at_us <= self._max_us:
            return ALLOWED
        problem = f"the step was submitted more than {self._max_us // 1_000_000} s ago: submit it again"
        return _denied(self.name, request, self._policy_of, "authority-expired", "AUTHORITY_EXPIRED", problem)


def _denied(
    guard: str, request: ToolRequest, policy_of: Callable[[str], Policy], rule: str, reason: str, problem: str
) -> Denied:
    policy = policy_of(request.tenant)
    check = events_pb2.PermissionChecked(
        step_id=request.step_id,
        attempt=request.attempt,
        tool=request.tool.name,
        decision=events_pb2.DECISION_DENY,
        required=request.tool.permissions,
        rule=rule,
        policy=policy.name,
        policy_revision=policy.revision,
        principal=request.authority.principal,
        arguments_digest=request.arguments_digest,
    )
    failure = value_pb2.Failure(reason=reason, message=f"{problem} (rule {rule})", retryable=False)
    return Denied(guard, failure, check=check)
