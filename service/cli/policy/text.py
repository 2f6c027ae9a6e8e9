"""A policy as the text of a file: what `podium policy show` prints, `podium policy apply` takes."""

from __future__ import annotations

from typing import Any

from podium.v1 import policy_pb2
from service.cli.policy.breakers import breaker_content
from service.cli.policy.bulkheads import bulkhead_content
from service.cli.policy.caches import cache_content
from service.cli.policy.durations import duration_text
from service.cli.policy.file import EFFECTS, KEYS, PERIODS_MS, SCOPES

_EFFECT_NAMES = {number: name for name, number in EFFECTS.items()}
_SCOPE_NAMES = {number: name for name, number in SCOPES.items()}
_KEY_NAMES = {number: name for name, number in KEYS.items()}
_PERIOD_NAMES = {ms: name for name, ms in PERIODS_MS.items()}


def policy_text(policy: policy_pb2.Policy) -> str:
    """The policy in YAML."""
    import yaml

    text: str = yaml.safe_dump(policy_content(policy), sort_keys=False, allow_unicode=True, width=110)
    return text


def breaker_text(rule: policy_pb2.BreakerRule) -> str:
    """A rule for breakers in YAML."""
    import yaml

    text: str = yaml.safe_dump(breaker_content(rule), sort_keys=False, allow_unicode=True, width=110)
    return text


def policy_content(policy: policy_pb2.Policy) -> dict[str, Any]:
    """The policy as the values that are in a file of it. What is empty is left out."""
    return _present(
        name=policy.name,
        changes_need_approval=policy.changes_need_approval,
        roles={
            role.name: _present(description=role.description, grants=list(role.grants), inherits=list(role.inherits))
            for role in policy.roles
        },
        rules=[_rule(rule) for rule in policy.rules],
        limits=[_limit(limit) for limit in policy.limits],
        addresses=_addresses(policy.addresses),
        patterns=[
            _present(
                id=pattern.id,
                expression=pattern.expression,
                refuse_input=pattern.refuse_input,
                redact_output=pattern.redact_output,
            )
            for pattern in policy.patterns
        ],
        caches=[cache_content(rule) for rule in policy.caches],
        bulkheads=[bulkhead_content(bulkhead) for bulkhead in policy.bulkheads],
        breakers=[breaker_content(rule) for rule in policy.breakers],
    )


def _rule(rule: policy_pb2.Rule) -> dict[str, Any]:
    return _present(
        id=rule.id,
        effect=_EFFECT_NAMES[rule.effect],
        description=rule.description,
        tools=list(rule.tools),
        permissions=list(rule.permissions),
        roles=list(rule.roles),
        condition=rule.condition,
    )


def _limit(limit: policy_pb2.RateLimit) -> dict[str, Any]:
    period = _PERIOD_NAMES.get(limit.period_ms) or duration_text(limit.period_ms)
    return _present(
        id=limit.id,
        scope=_SCOPE_NAMES[limit.scope],
        tools=list(limit.tools),
        roles=list(limit.roles),
        per=[_KEY_NAMES[key] for key in limit.per],
        rate=f"{limit.count}/{period}",
        burst=limit.burst,
        weights={weight.tools: weight.weight for weight in limit.weights},
    )


def _addresses(addresses: policy_pb2.AddressRules) -> dict[str, Any]:
    lockout: dict[str, Any] = {}
    if addresses.HasField("lockout"):
        lockout = {
            "failures": addresses.lockout.failures,
            "within": duration_text(addresses.lockout.within_ms),
            "block": duration_text(addresses.lockout.block_ms),
        }
    return _present(block=list(addresses.block), allow=list(addresses.allow), lockout=lockout)


def _present(**members: object) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
