"""The guard of permissions: the authority recorded with the step, against the policy of this moment.

Allowed and denied calls alike leave a complete PermissionChecked.
"""

from __future__ import annotations

from collections.abc import Callable

from podium.v1 import events_pb2, value_pb2
from service.admission.pipeline import Allowed, Denied, ToolRequest
from service.domain.permissions import PermissionDecision, Policy, decide

_REMEMBERED = 10_000
"""How many decisions are remembered before all are forgotten; forgetting costs time only."""

_Key = tuple[str, str, int, str, int, tuple[str, ...], tuple[str, ...] | None]


class PermissionGuard:
    """Denies a call unless its authority has every permission the tool requires.

    `policy_of` gives a tenant's current policy. A policy that changes must raise its revision: decisions are
    remembered by it, by the content of the authority and by the version of the tool.
    """

    name = "permission"

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        self._policy_of = policy_of
        self._remembered: dict[_Key, tuple[PermissionDecision, events_pb2.PermissionChecked]] = {}

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:  # noqa: ARG002 - a guard's signature
        """Decide from memory; see service.admission.pipeline.Guard."""
        decision, record = self._decision(request)
        check = events_pb2.PermissionChecked()
        check.CopyFrom(record)
        check.step_id = request.step_id
        check.attempt = request.attempt
        check.principal.CopyFrom(request.authority.principal)
        check.arguments_digest = request.arguments_digest
        if decision.allowed:
            return Allowed(check)
        return Denied(self.name, _failure(check), check=check)

    def _decision(self, request: ToolRequest) -> tuple[PermissionDecision, events_pb2.PermissionChecked]:
        try:
            policy = self._policy_of(request.tenant)
        except Exception:  # noqa: BLE001 - fail closed: without a policy nothing is allowed, and that is on record
            return _record(request, "", 0, PermissionDecision(allowed=False, rule="error"))
        authority = request.authority
        key = (
            request.tenant,
            policy.name,
            policy.revision,
            request.tool.name,
            request.tool_version,
            tuple(authority.roles),
            tuple(authority.scopes) if authority.limited else None,
        )
        found = self._remembered.get(key)
        if found is None:
            tool = request.tool
            found = _record(
                request, policy.name, policy.revision, decide(policy, authority, tool.permissions, tool.name)
            )
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        return found


def _record(
    request: ToolRequest, policy: str, revision: int, decision: PermissionDecision
) -> tuple[PermissionDecision, events_pb2.PermissionChecked]:
    """The decision with what its record says about every call alike."""
    return decision, events_pb2.PermissionChecked(
        tool=request.tool.name,
        decision=events_pb2.DECISION_ALLOW if decision.allowed else events_pb2.DECISION_DENY,
        required=request.tool.permissions,
        missing=decision.missing,
        rule=decision.rule,
        policy=policy,
        policy_revision=revision,
    )


def _failure(check: events_pb2.PermissionChecked) -> value_pb2.Failure:
    needs = f"needs {', '.join(check.missing)}" if check.missing else "could not be checked"
    return value_pb2.Failure(
        reason="PERMISSION_DENIED", message=f"{check.tool} {needs} (rule {check.rule})", retryable=False
    )
