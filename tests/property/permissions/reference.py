"""A second evaluator of policies, written from the contract's words alone: naive, slow, and sharing no code.

It reads the policy's message as it is, and looks a condition's text up among the trees that it was written from.
"""

from podium.v1 import policy_pb2
from tests.property.permissions.conditions import ERROR, evaluate, reads_arguments


def glob_matches(glob, text):
    """Globbing with * and ?, one character at a time."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(glob_matches(glob[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and glob_matches(glob[1:], text[1:])


def names(pattern, permission):
    """Whether a pattern without a colon names a permission."""
    return pattern in ("*", permission) or (pattern[-2:] == ".*" and permission.startswith(pattern[:-1]))


def gives(grant, permission, resource):
    """Whether a grant gives a permission for a resource; None: for any."""
    pattern, colon, glob = grant.partition(":")
    return names(pattern, permission) and (not colon or resource is None or glob_matches(glob, resource))


def all_grants(policy, role_name, above=()):
    """The grants of a role and of those it inherits."""
    found = []
    for role in policy.roles:
        if role.name == role_name and role_name not in above:
            found += role.grants
            for inherited in role.inherits:
                found += all_grants(policy, inherited, (*above, role_name))
    return found


def relevant(rule, question, trees):
    """Whether a rule has a say, whatever its condition."""
    about_tools = bool(rule.tools) or (bool(rule.condition) and reads_arguments(trees[rule.condition]))
    if about_tools and not question.is_call:
        return False
    if rule.tools and not any(glob_matches(glob, question.resource) for glob in rule.tools):
        return False
    if rule.roles and not set(rule.roles) & set(question.roles):
        return False
    if rule.effect == policy_pb2.EFFECT_FORBID and not rule.permissions:
        return True
    return any(names(pattern, permission) for pattern in rule.permissions for permission in question.required)


def decide(policy, question, trees):
    """(allowed, rule, missing)."""
    holding = []
    for rule in policy.rules:
        if relevant(rule, question, trees):
            outcome = evaluate(trees[rule.condition], question.facts) if rule.condition else True
            if outcome is ERROR:
                return False, f"error:{rule.id}", []
            if outcome:
                holding.append(rule)
    required = list(dict.fromkeys(question.required))
    for rule in holding:
        if rule.effect == policy_pb2.EFFECT_FORBID:
            taken = [each for each in required if not rule.permissions or any(names(n, each) for n in rule.permissions)]
            return False, f"forbid:{rule.id}", taken
    if not required:
        return True, "no-permission-required", []
    return _granted(policy, question, required, [rule for rule in holding if rule.effect == policy_pb2.EFFECT_ALLOW])


def _granted(policy, question, required, allowing):
    roles, rules, missing = set(), set(), []
    for permission in required:
        by_role = [
            name
            for name in question.roles
            if any(gives(grant, permission, question.resource) for grant in all_grants(policy, name))
        ]
        by_rule = [rule.id for rule in allowing if any(names(each, permission) for each in rule.permissions)]
        scoped = question.scopes is None or any(gives(s, permission, question.resource) for s in question.scopes)
        if not scoped or not (by_role or by_rule):
            missing.append(permission)
        elif by_role:
            roles.add(by_role[0])
        else:
            rules.add(by_rule[0])
    if missing:
        return False, "default-deny", missing
    named_roles = "+".join(name for name in dict.fromkeys(question.roles) if name in roles)
    named_rules = "+".join(rule.id for rule in policy.rules if rule.id in rules)
    parts = ([f"role:{named_roles}"] if roles else []) + ([f"rule:{named_rules}"] if rules else [])
    return True, ",".join(parts), []
