"""What the events of access say in the audit trail: refused requests, policies, credentials, addresses, tenants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from podium.v1 import events_pb2
from podium.v1.value_pb2 import Principal
from service.projections.audit_words import Line, quoted, who


def _times(count: int) -> str:
    return f" {count} times" if count > 1 else ""


_SEVERAL = "several callers"
"""Of a flood with more kinds than are told apart."""


def _method(name: str) -> str:
    """A method as people name it: the last word of its path."""
    return quoted(name.rpartition("/")[2]) or "a request"


def _authentication_failed(event: events_pb2.AuthenticationFailed, _actor: Principal) -> Line:
    source = quoted(event.address) or "an unknown address"
    summary = f"someone at {source} could not authenticate{_times(event.count)}: {quoted(event.reason)}"
    details = {"address": event.address, "method": event.method, "count": event.count, "first_at_us": event.first_at_us}
    return Line(summary, details=details)


def _request_denied(event: events_pb2.RequestDenied, _actor: Principal) -> Line:
    policy = f"{event.policy}@{event.policy_revision}" if event.policy else ""
    caller = who(event.principal) if event.principal.subject else quoted(event.principal.address) or _SEVERAL
    needs = f" needs {quoted(event.required)}" if event.required else ""
    on = f" for {quoted(event.resource)}" if event.resource else ""
    rule = f" (rule {quoted(event.rule)})" if event.rule else ""
    what = f"{_method(event.method)}{needs}{on}: {quoted(event.reason)}"
    details = {"reason": event.reason, "method": event.method, "required": event.required, "resource": event.resource}
    return Line(
        f"denied to {caller}{_times(event.count)}: {what}{rule}",
        decision=events_pb2.DECISION_DENY,
        rule=event.rule,
        policy=policy,
        authority=event.principal if event.principal.subject else None,
        details={**details, "count": event.count, "first_at_us": event.first_at_us},
    )


def _submission_refused(event: events_pb2.SubmissionRefused, _actor: Principal) -> Line:
    at = f" at {quoted(event.field)}" if event.field else ""
    guard = f" by {quoted(event.guard)}" if event.guard else ""
    caller = who(event.principal) if event.principal.subject else quoted(event.principal.address) or _SEVERAL
    what = f"{_method(event.method)} of {caller} was refused"
    why = f" ({quoted(event.sanitizer_reason)})" if event.sanitizer_reason else ""
    summary = f"{what}{guard}{at}{_times(event.count)}: {quoted(event.reason)}{why}"
    details = {"reason": event.reason, "method": event.method, "field": event.field, "guard": event.guard}
    counted = {"count": event.count, "first_at_us": event.first_at_us}
    return Line(
        summary,
        authority=event.principal if event.principal.subject else None,
        details={**details, "sanitizer_reason": event.sanitizer_reason, **counted},
    )


def _because(note: str) -> str:
    return f": {quoted(note)}" if note else ""


def _policy_proposed(event: events_pb2.PolicyProposed, actor: Principal) -> Line:
    summary = f"{who(actor)} proposed a policy in the place of revision {event.base_revision}{_because(event.note)}"
    return Line(summary, details={"proposal_id": event.proposal_id, "base_revision": event.base_revision})


def _policy_applied(event: events_pb2.PolicyApplied, actor: Principal) -> Line:
    verb = f"approved the policy that {who(event.proposer)} proposed" if event.proposal_id else "applied a policy"
    back = f", which is revision {event.rolled_back_to} again" if event.rolled_back_to else ""
    details = {
        "revision": event.revision,
        "roles": len(event.policy.roles),
        "rules": len(event.policy.rules),
        "limits": len(event.policy.limits),
        "proposal_id": event.proposal_id,
        "proposer": event.proposer.subject,
        "rolled_back_to": event.rolled_back_to,
    }
    summary = f"{who(actor)} {verb}: revision {event.revision}{back}{_because(event.note)}"
    return Line(summary, policy=f"{event.policy.name}@{event.revision}", details=details)


def _policy_rejected(event: events_pb2.PolicyRejected, actor: Principal) -> Line:
    summary = f"{who(actor)} rejected the proposal {quoted(event.proposal_id)}{_because(event.reason)}"
    return Line(summary, details={"proposal_id": event.proposal_id})


def _credentials_revoked(event: events_pb2.CredentialsRevoked, actor: Principal) -> Line:
    kind = event.WhichOneof("credential") or ""
    name = quoted(getattr(event, kind)) if kind else "nothing"
    words = {"token_id": "the token", "session_id": "the session", "subject": "all tokens of"}
    summary = f"{who(actor)} revoked {words.get(kind, '')} {name}{_because(event.reason)}"
    return Line(summary, details={kind: getattr(event, kind)} if kind else None)


def _address_blocked(event: events_pb2.AddressBlocked, actor: Principal) -> Line:
    by = f"after {event.failures} failures" if event.failures else f"by {who(actor)}"
    details = {"network": event.network, "expires_at_us": event.expires_at_us, "failures": event.failures}
    return Line(f"{quoted(event.network)} was blocked {by}{_because(event.reason)}", details=details)


def _address_unblocked(event: events_pb2.AddressUnblocked, actor: Principal) -> Line:
    return Line(f"{who(actor)} took back the block of {quoted(event.network)}", details={"network": event.network})


def _tenant_configured(event: events_pb2.TenantConfigured, actor: Principal) -> Line:
    quotas = event.quotas
    details = {
        "open_workflows": quotas.open_workflows,
        "tools": quotas.tools,
        "executors": quotas.executors,
        "requests_per_minute": quotas.requests_per_minute,
    }
    named = f" {quoted(event.display_name)}" if event.display_name else ""
    return Line(f"{who(actor)} configured the tenant{named}", details=details)


ACCESS_LINES: dict[str, Callable[[Any, Principal], Line]] = {
    "authentication_failed": _authentication_failed,
    "request_denied": _request_denied,
    "submission_refused": _submission_refused,
    "policy_proposed": _policy_proposed,
    "policy_applied": _policy_applied,
    "policy_rejected": _policy_rejected,
    "credentials_revoked": _credentials_revoked,
    "address_blocked": _address_blocked,
    "address_unblocked": _address_unblocked,
    "tenant_configured": _tenant_configured,
}
"""The line of each event of access, by the payload's field name in events.proto."""
