"""What a policy says of a tool: who is granted its permissions, what forbids it, how often it may be called."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from podium.v1 import policy_pb2
from service.cli.tools.facts import ToolFacts
from service.cli.tools.markdown_text import code
from service.domain.permissions import grants


def limits_of(tool: str, policy: policy_pb2.Policy) -> list[policy_pb2.RateLimit]:
    """Return the limits that count attempts of a tool."""
    of_attempts = (each for each in policy.limits if each.scope != policy_pb2.LIMIT_SCOPE_REQUESTS)
    return [each for each in of_attempts if not each.tools or any(fnmatchcase(tool, glob) for glob in each.tools)]


def granting(permission: str, tool: ToolFacts, policy: policy_pb2.Policy) -> str:
    """Tell the roles and rules that grant a permission for a tool, as Markdown."""
    roles = [f"role {code(role.name)}" for role in policy.roles if _role_grants(role.name, permission, tool, policy)]
    rules = [
        f"rule {code(rule.id)} for {_whom(rule)}" + (" on a condition" if rule.condition else "")
        for rule in policy.rules
        if rule.effect == policy_pb2.EFFECT_ALLOW
        and _concerns(rule, tool)
        and any(grants(pattern, permission, tool.name) for pattern in rule.permissions)
    ]
    return ", ".join(roles + rules) or "nobody"


def forbidding(tool: ToolFacts, policy: policy_pb2.Policy) -> Iterator[str]:
    """Yield the rules that forbid a tool, as Markdown."""
    for rule in policy.rules:
        taken = not rule.permissions or any(
            grants(pattern, each, tool.name) for pattern in rule.permissions for each in tool.permissions
        )
        if rule.effect == policy_pb2.EFFECT_FORBID and taken and _concerns(rule, tool):
            condition = f", when {code(rule.condition)}" if rule.condition else ""
            yield f"The rule {code(rule.id)} forbids it to {_whom(rule)}{condition}."


def _role_grants(name: str, permission: str, tool: ToolFacts, policy: policy_pb2.Policy) -> bool:
    """Whether a role grants it, itself or by what it inherits."""
    by_name = {role.name: role for role in policy.roles}
    reached: set[str] = set()
    pending = [name]
    while pending:
        role = by_name.get(pending.pop())
        if role is None or role.name in reached:
            continue
        reached.add(role.name)
        if any(grants(grant, permission, tool.name) for grant in role.grants):
            return True
        pending.extend(role.inherits)
    return False


def _concerns(rule: policy_pb2.Rule, tool: ToolFacts) -> bool:
    return not rule.tools or any(fnmatchcase(tool.name, glob) for glob in rule.tools)


def _whom(rule: policy_pb2.Rule) -> str:
    return ", ".join(code(role) for role in rule.roles) or "everyone"
