"""Makes a policy's message ready to decide by: roles with what they inherit, rules with their compiled conditions.

What was recorded is always made ready. A condition that does not compile any more fails every call it has a say in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from podium.v1 import policy_pb2
from service.domain.expression_scan import ExpressionError
from service.domain.permissions import DEFAULT_POLICY, Policy
from service.domain.policy_conditions import Conditions
from service.domain.policy_rules import FACTS, Condition, Rule


@dataclass(frozen=True, slots=True)
class _BrokenCondition:
    """Stands for a condition that does not compile."""

    text: str
    problem: str

    @property
    def reads(self) -> frozenset[str]:
        """Those that the text might read, so that a rule about tools does not close the API."""
        return frozenset(fact for fact in FACTS if fact in self.text)

    def holds(self, facts: Mapping[str, object]) -> bool:  # noqa: ARG002 - a condition's signature
        """Fail."""
        raise ExpressionError(self.problem)


def built_in_policy() -> policy_pb2.Policy:
    """The message of the policy of a tenant that has none of its own."""
    roles = [policy_pb2.Role(name=name, grants=sorted(grants)) for name, grants in DEFAULT_POLICY.roles.items()]
    return policy_pb2.Policy(name=DEFAULT_POLICY.name, roles=roles)


def compile_policy(message: policy_pb2.Policy, revision: int, conditions: Conditions) -> Policy:
    """Make a policy ready. Never raises for what a policy can hold."""
    return Policy(
        name=message.name,
        revision=revision,
        roles=effective_roles(message),
        rules=tuple(_rule(rule, conditions) for rule in message.rules),
        limits=tuple(message.limits),
        addresses=message.addresses,
        patterns=tuple(message.patterns),
        caches=tuple(message.caches),
        changes_need_approval=message.changes_need_approval,
        bulkheads=tuple(message.bulkheads),
        breakers=tuple(message.breakers),
    )


def effective_roles(message: policy_pb2.Policy, grants_max: int | None = None) -> dict[str, frozenset[str]]:
    """What each role grants, also through the roles it inherits. A cycle, which validation refuses, adds nothing.

    It ends early, with what it has, once that is more than `grants_max`.
    """
    roles = {role.name: role for role in message.roles}
    effective: dict[str, frozenset[str]] = {}
    left = grants_max
    for name in roles:
        reached: dict[str, None] = {}
        waiting = [name]
        while waiting:
            inherited = waiting.pop()
            if inherited in roles and inherited not in reached:
                reached[inherited] = None
                waiting.extend(roles[inherited].inherits)
        effective[name] = frozenset(grant for each in reached for grant in roles[each].grants)
        if left is not None:
            left -= len(effective[name])
            if left < 0:
                break
    return effective


def _rule(rule: policy_pb2.Rule, conditions: Conditions) -> Rule:
    condition: Condition | None = None
    if rule.condition:
        try:
            condition = conditions.compile(rule.condition)
        except ExpressionError as error:
            condition = _BrokenCondition(rule.condition, str(error))
    return Rule(
        id=rule.id,
        # Whatever is no allow takes away: an effect that is not known must not grant.
        allows=rule.effect == policy_pb2.EFFECT_ALLOW,
        permissions=frozenset(rule.permissions),
        roles=frozenset(rule.roles),
        tools=tuple(rule.tools),
        condition=condition,
    )
