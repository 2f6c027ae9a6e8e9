"""The guard of permissions: the authority recorded with the step, against the policy of this moment.

Allowed and denied calls alike leave a complete PermissionChecked.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from podium.v1 import events_pb2, value_pb2
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import Allowed, Denied
from service.domain.permissions import Case, PermissionDecision, Policy, case_of
from service.domain.policy_rules import facts_of, time_fact

_REMEMBERED = 10_000
"""How many decisions are remembered before all are forgotten; forgetting costs time only."""

_RECORDS = 64
"""How many records, one for each outcome of the conditions, are remembered of a question; likewise."""

_Question = tuple[str, str, int, str, int, tuple[str, ...], tuple[str, ...] | None]


class _Remembered:
    """The question an authority asks with a tool, and what its records say of every call alike."""

    __slots__ = ("authority", "case", "facts", "policy", "records", "revision", "settled")

    def __init__(self, request: ToolRequest, policy: Policy, case: Case) -> None:
        self.authority = request.authority
        self.policy = policy.name
        self.revision = policy.revision
        self.case = case
        self.settled: events_pb2.PermissionChecked | None = None
        """The record, where no condition has a say."""
        if case.settled is not None:
            self.settled = _record(request, policy.name, policy.revision, case.settled)
            return
        self.facts = facts_of(request.authority, case.needs, tool=request.tool.name)
        self.records: dict[PermissionDecision, events_pb2.PermissionChecked] = {}

    def record(self, request: ToolRequest, now_us: int) -> events_pb2.PermissionChecked:
        """Decide this call by the conditions that have a say in it."""
        facts = dict(self.facts)
        if "time" in self.case.needs:
            facts["time"] = time_fact(now_us)
        # What a condition reads can be told from the record: nothing that is sealed is shown to it.
        if "arguments" in self.case.needs and not request.holds_secrets:
            with suppress(ValueError):
                facts["arguments"] = request.arguments
        decision = self.case.decide(facts)
        record = self.records.get(decision)
        if record is None:
            if len(self.records) >= _RECORDS:
                self.records.clear()
            record = self.records[decision] = _record(request, self.policy, self.revision, decision)
        return record


class PermissionGuard:
    """Denies a call unless its authority has every permission the tool requires.

    `policy_of` gives a tenant's current policy. A policy that changes must raise its revision: decisions are
    remembered by it, by the authority recorded with the step, which nobody changes, and by the version of the tool.
    Conditions, where any have a say, are evaluated for each call.
    """

    name = "permission"

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        self._policy_of = policy_of
        # By identity, which holds for as long as what is remembered holds the authority itself.
        self._remembered: dict[tuple[int, str, str, int], _Remembered] = {}
        self._cases: dict[_Question, Case] = {}

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:
        """Decide from memory; see service.admission.pipeline.Guard."""
        record = self._decision(request, now_us)
        check = events_pb2.PermissionChecked()
        check.CopyFrom(record)
        check.step_id = request.step_id
        check.attempt = request.attempt
        check.arguments_digest = request.arguments_digest
        if record.decision == events_pb2.DECISION_ALLOW:
            return Allowed(check)
        return Denied(self.name, _failure(check), check=check)

    def _decision(self, request: ToolRequest, now_us: int) -> events_pb2.PermissionChecked:
        try:
            policy = self._policy_of(request.tenant)
            found = self._find(request, policy)
        except Exception:  # noqa: BLE001 - fail closed: without a policy nothing is allowed, and that is on record
            return _record(request, "", 0, PermissionDecision(allowed=False, rule="error"))
        return found.settled or found.record(request, now_us)

    def _find(self, request: ToolRequest, policy: Policy) -> _Remembered:
        authority = request.authority
        key = (id(authority), request.tenant, request.tool.name, request.tool_version)
        found = self._remembered.get(key)
        if (
            found is None
            or found.authority is not authority
            or found.revision != policy.revision
            or found.policy != policy.name
        ):
            found = _Remembered(request, policy, self._case(request, policy))
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = found
        return found

    def _case(self, request: ToolRequest, policy: Policy) -> Case:
        authority, tool = request.authority, request.tool
        scopes = tuple(authority.scopes) if authority.limited else None
        version = (tool.name, request.tool_version)
        question = (request.tenant, policy.name, policy.revision, *version, tuple(authority.roles), scopes)
        case = self._cases.get(question)
        if case is None:
            case = case_of(policy, authority, tool.permissions, tool.name, is_call=True)
            if len(self._cases) >= _REMEMBERED:
                self._cases.clear()
            self._cases[question] = case
        return case


def _record(
    request: ToolRequest, policy: str, revision: int, decision: PermissionDecision
) -> events_pb2.PermissionChecked:
    return events_pb2.PermissionChecked(
        tool=request.tool.name,
        decision=events_pb2.DECISION_ALLOW if decision.allowed else events_pb2.DECISION_DENY,
        required=request.tool.permissions,
        missing=decision.missing,
        rule=decision.rule,
        policy=policy,
        policy_revision=revision,
        principal=request.authority.principal,
    )


def _failure(check: events_pb2.PermissionChecked) -> value_pb2.Failure:
    if check.missing:
        problem = f"needs {', '.join(check.missing)}"
    else:
        problem = "is forbidden" if check.rule.startswith("forbid:") else "could not be checked"
    return value_pb2.Failure(
        reason="PERMISSION_DENIED", message=f"{check.tool} {problem} (rule {check.rule})", retryable=False
    )
