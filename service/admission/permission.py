"""The guard of permissions: the authority recorded with the step, against the policy of this moment.

Allowed and denied calls alike leave a complete PermissionChecked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from podium.v1 import events_pb2, value_pb2
from service.admission.pipeline import Allowed, Denied, ToolRequest
from service.domain.permissions import PermissionDecision, Policy, decide

_REMEMBERED = 10_000
"""How many decisions are remembered before all are forgotten; forgetting costs time only."""

_Question = tuple[str, str, int, str, int, tuple[str, ...], tuple[str, ...] | None]


class _Remembered(NamedTuple):
    """A decision and what its record says of every call alike."""

    authority: value_pb2.Authority
    policy: str
    revision: int
    allowed: bool
    record: events_pb2.PermissionChecked


class PermissionGuard:
    """Denies a call unless its authority has every permission the tool requires.

    `policy_of` gives a tenant's current policy. A policy that changes must raise its revision: decisions are
    remembered by it, by the authority recorded with the step, which nobody changes, and by the version of the tool.
    """

    name = "permission"

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        self._policy_of = policy_of
        # By identity, which holds for as long as what is remembered holds the authority itself.
        self._remembered: dict[tuple[int, str, str, int], _Remembered] = {}
        self._decided: dict[_Question, PermissionDecision] = {}

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:  # noqa: ARG002 - a guard's signature
        """Decide from memory; see service.admission.pipeline.Guard."""
        decision = self._decision(request)
        check = events_pb2.PermissionChecked()
        check.CopyFrom(decision.record)
        check.step_id = request.step_id
        check.attempt = request.attempt
        check.arguments_digest = request.arguments_digest
        if decision.allowed:
            return Allowed(check)
        return Denied(self.name, _failure(check), check=check)

    def _decision(self, request: ToolRequest) -> _Remembered:
        try:
            policy = self._policy_of(request.tenant)
        except Exception:  # noqa: BLE001 - fail closed: without a policy nothing is allowed, and that is on record
            return _record(request, "", 0, PermissionDecision(allowed=False, rule="error"))
        authority, tool = request.authority, request.tool
        key = (id(authority), request.tenant, tool.name, request.tool_version)
        found = self._remembered.get(key)
        if (
            found is None
            or (found.authority is not authority)
            or (found.revision, found.policy)
            != (
                policy.revision,
                policy.name,
            )
        ):
            found = _record(request, policy.name, policy.revision, self._decide(request, policy))
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        return found

    def _decide(self, request: ToolRequest, policy: Policy) -> PermissionDecision:
        authority, tool = request.authority, request.tool
        scopes = tuple(authority.scopes) if authority.limited else None
        version = (tool.name, request.tool_version)
        question = (request.tenant, policy.name, policy.revision, *version, tuple(authority.roles), scopes)
        decision = self._decided.get(question)
        if decision is None:
            decision = decide(policy, authority, tool.permissions, tool.name)
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            self._decided[question] = decision
        return decision


def _record(request: ToolRequest, policy: str, revision: int, decision: PermissionDecision) -> _Remembered:
    record = events_pb2.PermissionChecked(
        tool=request.tool.name,
        decision=events_pb2.DECISION_ALLOW if decision.allowed else events_pb2.DECISION_DENY,
        required=request.tool.permissions,
        missing=decision.missing,
        rule=decision.rule,
        policy=policy,
        policy_revision=revision,
        principal=request.authority.principal,
    )
    return _Remembered(request.authority, policy, revision, decision.allowed, record)


def _failure(check: events_pb2.PermissionChecked) -> value_pb2.Failure:
    needs = f"needs {', '.join(check.missing)}" if check.missing else "could not be checked"
    return value_pb2.Failure(
        reason="PERMISSION_DENIED", message=f"{check.tool} {needs} (rule {check.rule})", retryable=False
    )
