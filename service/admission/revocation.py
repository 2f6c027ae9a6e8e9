"""The guard of revocations: the authority recorded with the step, against what has been revoked by this moment.

It comes before every other guard: whoever's credentials were taken back is told nothing more.
"""

from __future__ import annotations

from podium.v1 import events_pb2, value_pb2
from service.admission.pipeline import ALLOWED, Allowed, Denied, ToolRequest
from service.domain.revocations import Revocation, Revocations


class RevocationGuard:
    """Denies a call whose authority was revoked. Nothing is remembered: what it asks is in memory."""

    name = "revocation"

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:  # noqa: ARG002 - a guard's signature
        """Decide from memory; see service.admission.pipeline.Guard."""
        hit = self._revocations.find_with_coming(request.tenant, request.authority)
        return ALLOWED if hit is None else self._denied(request, hit)

    def _denied(self, request: ToolRequest, hit: Revocation) -> Denied:
        check = events_pb2.PermissionChecked(
            step_id=request.step_id,
            attempt=request.attempt,
            tool=request.tool.name,
            decision=events_pb2.DECISION_DENY,
            required=request.tool.permissions,
            rule=hit.rule,
            principal=request.authority.principal,
            arguments_digest=request.arguments_digest,
        )
        message = f"the {hit.kind} under which the step was submitted has been revoked (rule {hit.rule})"
        failure = value_pb2.Failure(reason="CREDENTIAL_REVOKED", message=message, retryable=False)
        return Denied(self.name, failure, check=check)
