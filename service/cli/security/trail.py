"""What the audit trail tells about security, counted in one pass: who was refused, what was used, who let it.

Invariant: what is kept does not grow with the trail, only with the different callers, tools, rules and addresses in it,
and of each of these there are at most KEYS_MAX; what came after them is counted as others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

EVENTS_KEPT = 10
"""Of what was counted, so many events are named: the first ones."""
KEYS_MAX = 10_000
OTHERS = ("others",)

TYPES = (
    "authentication_failed",
    "request_denied",
    "submission_refused",
    "permission_checked",
    "step_denied",
    "input_rejected",
    "rate_limited",
    "address_blocked",
    "policy_proposed",
    "policy_applied",
    "credentials_revoked",
    "steps_added",
)
"""The events that are looked at, by the payload's field name in events.proto."""


_RECORDED_APART = ("permission", "revocation", "authority-age", "schema", "sanitizer", "rate_limit")
"""Guards whose denials are recorded in an event of their own, beside the step_denied."""


@dataclass(slots=True)
class Seen:
    """How often something was in the trail, where first, and when: times as the export writes them."""

    count: int = 0
    events: list[str] = field(default_factory=list)
    first_at: str = ""
    last_at: str = ""

    def add(self, line: Mapping[str, Any], count: int = 1) -> None:
        """Count an event of the trail, which may itself stand for several."""
        self.last_at = line["recorded_at"]
        self.first_at = self.first_at or self.last_at
        self.count += count
        if len(self.events) < EVENTS_KEPT:
            self.events.append(line["event"])


@dataclass(slots=True)
class TokenSeen:
    """A token that something was done with."""

    subject: str
    session_id: str
    seen: Seen = field(default_factory=Seen)
    issued_at_us: int = 0
    """0: nothing that was recorded says."""


Counts = dict[tuple[str, ...], Seen]


@dataclass(slots=True)
class Trail:
    """The counts, each by what is in its description."""

    failed_authentications: Counts = field(default_factory=dict)
    """address"""
    denied_calls: Counts = field(default_factory=dict)
    """subject, tool, rule"""
    denied_requests: Counts = field(default_factory=dict)
    """subject or address and whom it acts for, method, what was asked for, reason, rule"""
    refused_inputs: Counts = field(default_factory=dict)
    """guard, reason, subject or tool"""
    invalid_submissions: Counts = field(default_factory=dict)
    """reason, method, subject: no valid request, and no guard refused it"""
    limited: Counts = field(default_factory=dict)
    """limit, tool"""
    lockouts: Counts = field(default_factory=dict)
    """network"""
    allowed_calls: Counts = field(default_factory=dict)
    """tool"""
    used_roles: Counts = field(default_factory=dict)
    """role, tool, permission"""
    used_rules: Counts = field(default_factory=dict)
    """id of an allow rule"""
    lone_changes: Counts = field(default_factory=dict)
    """subject who changed the policy alone"""
    approved_own: Counts = field(default_factory=dict)
    """subject who approved what the same subject had proposed"""
    tokens: dict[str, TokenSeen] = field(default_factory=dict)
    """By the token's id."""
    revoked: set[str] = field(default_factory=set)
    """Token ids, session ids and subjects that were revoked."""
    lines: int = 0

    def add(self, line: Mapping[str, Any]) -> None:
        """Count a line of the trail's export."""
        self.lines += 1
        self._add_token(line)
        _ADD[line["type"]](self, line, line["details"] or {})

    def _add_token(self, line: Mapping[str, Any]) -> None:
        principal = line["principal"] or {}
        token_id = principal.get("token_id")
        if not token_id or (token_id not in self.tokens and len(self.tokens) >= KEYS_MAX):
            return
        token = self.tokens.setdefault(token_id, TokenSeen(principal["subject"] or "", principal["session_id"] or ""))
        token.seen.add(line)
        if issued_at_us := (line["details"] or {}).get("issued_at_us"):
            token.issued_at_us = issued_at_us


def count(counts: Counts, line: Mapping[str, Any], *key: object, times: int = 1) -> None:
    """Count a line under a key; under OTHERS when there are too many keys."""
    wanted = tuple(str(part or "") for part in key)
    if wanted not in counts and len(counts) >= KEYS_MAX:
        wanted = OTHERS
    counts.setdefault(wanted, Seen()).add(line, times)


def microseconds(text: str) -> int:
    """A time of the export, microseconds since the Unix epoch."""
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


def _who(line: Mapping[str, Any]) -> str:
    principal = line["principal"] or {}
    return principal.get("subject") or principal.get("address") or ""


def _authentication_failed(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    count(trail.failed_authentications, line, details["address"] or "an unknown address", times=details["count"])


def _request_denied(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    who, human = _who(line), (line["principal"] or {}).get("on_behalf_of")
    method = str(details["method"]).rpartition("/")[2]
    asked = " ".join(filter(None, (details["required"], details["resource"])))
    key = (f"{who} for {human}" if human else who, method, asked, details["reason"], line["rule"])
    count(trail.denied_requests, line, *key, times=details["count"])


def _submission_refused(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    who, times = _who(line), details["count"]
    if details["guard"]:
        reason = details.get("sanitizer_reason") or details["reason"]
        count(trail.refused_inputs, line, details["guard"], reason, who, times=times)
    elif details["reason"] == "INPUT_REJECTED":
        # Of a flood with more kinds than are told apart, the reason alone is left.
        count(trail.refused_inputs, line, "a sanitizer", details["reason"], who, times=times)
    else:
        # What no guard refused is most often a mistake in a request.
        method = str(details["method"]).rpartition("/")[2]
        count(trail.invalid_submissions, line, details["reason"], method, who, times=times)


def _permission_checked(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    if line["decision"] != "allow":
        count(trail.denied_calls, line, _who(line), line["tool"], line["rule"])
        return
    count(trail.allowed_calls, line, line["tool"])
    for part in str(line["rule"] or "").split(","):
        kind, _, names = part.partition(":")
        if kind == "rule":
            for rule in names.split("+"):
                count(trail.used_rules, line, rule)
        elif kind == "role":
            for role in names.split("+"):
                for permission in details["required"]:
                    count(trail.used_roles, line, role, line["tool"], permission)


def _step_denied(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    # A guard that could not decide left no event of its own, whichever it is.
    if details["guard"] not in _RECORDED_APART or details["reason"] == "GUARD_ERROR":
        count(trail.denied_calls, line, _who(line) or "someone", line["tool"], details["reason"])


def _input_rejected(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    count(trail.refused_inputs, line, details["guard"], details.get("reason") or "INVALID_ARGUMENTS", line["tool"])


def _rate_limited(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    count(trail.limited, line, details["limit"], line["tool"])


def _address_blocked(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    if details["failures"]:
        count(trail.lockouts, line, details["network"])


def _policy_applied(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    if not details["proposal_id"]:
        count(trail.lone_changes, line, _who(line))
    elif details.get("proposer") == _who(line):
        count(trail.approved_own, line, _who(line))


def _credentials_revoked(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    del line
    trail.revoked.update(map(str, details.values()))


def _nothing_more(trail: Trail, line: Mapping[str, Any], details: Mapping[str, Any]) -> None:
    """Its principal and its token are all that is wanted of it."""


_ADD = {
    "authentication_failed": _authentication_failed,
    "request_denied": _request_denied,
    "submission_refused": _submission_refused,
    "permission_checked": _permission_checked,
    "step_denied": _step_denied,
    "input_rejected": _input_rejected,
    "rate_limited": _rate_limited,
    "address_blocked": _address_blocked,
    "policy_proposed": _nothing_more,
    "policy_applied": _policy_applied,
    "credentials_revoked": _credentials_revoked,
    "steps_added": _nothing_more,
}
