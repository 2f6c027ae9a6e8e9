"""What is wrong with a policy before it can decide anything: each violation with its field and what would mend it.

A policy from a file and one from a request are looked at by the same words. What passes compiles, is bounded in size
and in what it can cost a call, and means what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import chain, islice

from podium.v1 import policy_pb2
from service.domain.errors import Violation
from service.domain.expression_scan import ExpressionError
from service.domain.permissions import (
    ACT_ON_BEHALF,
    API_PERMISSIONS,
    NAMED_PERMISSIONS,
    TOOL_PERMISSIONS,
    USE_SECRET,
    grants,
)
from service.domain.policy_bounds import bound_violations
from service.domain.policy_compiling import effective_roles
from service.domain.policy_conditions import Conditions
from service.domain.policy_names import (
    description_violations,
    glob_violations,
    id_violations,
    list_violations,
    role_name_violations,
    role_violations,
)

POLICY_BYTES_MAX = 256 * 1024
ROLES_MAX = 200
INHERITS_MAX = 20
EFFECTIVE_GRANTS_MAX = 20_000
"""Of all roles together, with what they inherit: a chain of roles repeats the grants at its end."""
RULES_MAX = 1_000
RULE_ENTRIES_MAX = 5_000
"""Tools and permissions in all rules together: each question looks at them once."""
VIOLATIONS_MAX = 100
CONDITIONS_MAX = 100
"""Each condition that has a say in a call costs it some microseconds."""
_NAME_MAX = 128

_PERMISSION = re.compile(r"\*|[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*(?:\.\*)?")
_RESOURCE = re.compile(r"[!-~]{1,256}")
_NAMELESS_PERMISSIONS = tuple(each for each in API_PERMISSIONS if each not in NAMED_PERMISSIONS)
_WITH_NAMES = (*sorted(NAMED_PERMISSIONS), ACT_ON_BEHALF, USE_SECRET)
KNOWN_PERMISSIONS = (*TOOL_PERMISSIONS, *API_PERMISSIONS, ACT_ON_BEHALF, USE_SECRET)

_PERMISSION_PROBLEM = "must be a permission (tools.read), a prefix (workflows.*) or *"


def policy_violations(policy: policy_pb2.Policy, conditions: Conditions) -> list[Violation]:
    """Everything that keeps a policy from being applied."""
    if policy.ByteSize() > POLICY_BYTES_MAX:
        return [("policy", f"is larger than {POLICY_BYTES_MAX // 1024} KiB")]
    too_many = list(_counts(policy))
    if too_many:
        return too_many
    return list(islice(_violations(policy, conditions), VIOLATIONS_MAX))


def _violations(policy: policy_pb2.Policy, conditions: Conditions) -> Iterator[Violation]:
    if not policy.name.strip() or len(policy.name) > _NAME_MAX or not policy.name.isprintable():
        yield "name", f"must be a name for people of at most {_NAME_MAX} printable characters"
    yield from _role_violations(policy.roles)
    yield from _rule_violations(policy.rules, conditions)
    yield from bound_violations(policy, conditions)
    if policy.changes_need_approval and not _grants_somewhere(policy, "policies.approve"):
        yield "changes_need_approval", "needs a role or rule that grants policies.approve, or nobody can approve"


def policy_warnings(policy: policy_pb2.Policy) -> list[Violation]:
    """What is allowed and looks like a mistake: permissions that nothing needs, and roles that are not defined."""
    return list(islice(chain(_unknown_permissions(policy), _unknown_roles(policy)), VIOLATIONS_MAX))


def _counts(policy: policy_pb2.Policy) -> Iterator[Violation]:
    """What there is too much of, before anything is looked at that would then cost too much."""
    inherits = max((len(role.inherits) for role in policy.roles), default=0)
    for field, what, count, limit in (
        ("roles", "roles", len(policy.roles), ROLES_MAX),
        ("roles", "roles in one role's inherits", inherits, INHERITS_MAX),
        ("rules", "rules", len(policy.rules), RULES_MAX),
        ("rules", "conditions", sum(bool(rule.condition) for rule in policy.rules), CONDITIONS_MAX),
        (
            "rules",
            "tools and permissions in all",
            sum(len(rule.tools) + len(rule.permissions) for rule in policy.rules),
            RULE_ENTRIES_MAX,
        ),
    ):
        if count > limit:
            yield field, f"has {count} {what}; at most {limit} are allowed"
            return
    effective = sum(len(grants_of_all) for grants_of_all in effective_roles(policy, EFFECTIVE_GRANTS_MAX).values())
    if effective > EFFECTIVE_GRANTS_MAX:
        yield "roles", f"has more than {EFFECTIVE_GRANTS_MAX} grants in all, each counted again where it is inherited"


def _role_violations(roles: Sequence[policy_pb2.Role]) -> Iterator[Violation]:
    names = {role.name for role in roles}
    seen: set[str] = set()
    for index, role in enumerate(roles):
        path = f"roles[{index}]"
        yield from role_name_violations(f"{path}.name", role.name)
        if role.name in seen:
            yield f"{path}.name", f"is {role.name} a second time: put the grants of both together"
        seen.add(role.name)
        yield from description_violations(path, role.description)
        yield from list_violations(f"{path}.grants", role.grants)
        for number, grant in enumerate(role.grants):
            problem = _grant_problem(grant)
            if problem:
                yield f"{path}.grants[{number}]", problem
        for number, inherited in enumerate(role.inherits):
            if inherited not in names:
                near = _meant(inherited, names)
                yield f"{path}.inherits[{number}]", f"names {inherited[:80]!r}, which is no role of this policy{near}"
    yield from _cycles(roles)


def _grant_problem(grant: str) -> str:
    permission, colon, resource = grant.partition(":")
    if len(permission) > _NAME_MAX or not _PERMISSION.fullmatch(permission):
        return f"is {grant[:80]!r}; it {_PERMISSION_PROBLEM}, and may be followed by a colon and a glob of resources"
    if colon and not _RESOURCE.fullmatch(resource):
        return "needs a glob of resources of 1 to 256 printable characters after the colon"
    # What names others too, as * does, counts for those; what Podium does not know is a tool's.
    nameless = any(grants(permission, each, "") for each in _NAMELESS_PERMISSIONS)
    if colon and nameless and not any(grants(permission, each, "") for each in _WITH_NAMES):
        return (
            f"is {grant[:80]!r}; {permission} has no resources: only {', '.join(_WITH_NAMES)} and tools' permissions do"
        )
    return ""


def _cycles(roles: Sequence[policy_pb2.Role]) -> Iterator[Violation]:
    """The first circle of roles that inherit each other, with the way round."""
    try:
        TopologicalSorter({role.name: role.inherits for role in roles}).prepare()
    except CycleError as error:
        # It names each role before the one that inherits it.
        circle: list[str] = error.args[1][::-1]
        index = next(index for index, role in enumerate(roles) if role.name == circle[0])
        yield f"roles[{index}].inherits", f"goes in a circle: {' -> '.join(circle)}"


def _rule_violations(rules: Sequence[policy_pb2.Rule], conditions: Conditions) -> Iterator[Violation]:
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        path = f"rules[{index}]"
        yield from id_violations(path, rule.id, seen)
        yield from description_violations(path, rule.description)
        if rule.effect not in (policy_pb2.EFFECT_ALLOW, policy_pb2.EFFECT_FORBID):
            yield f"{path}.effect", "must be allow or forbid"
        if rule.effect == policy_pb2.EFFECT_ALLOW and not rule.permissions:
            yield f"{path}.permissions", "is empty: an allow names the permissions it grants"
        yield from glob_violations(f"{path}.tools", rule.tools)
        yield from list_violations(f"{path}.permissions", rule.permissions)
        for number, permission in enumerate(rule.permissions):
            if len(permission) > _NAME_MAX or not _PERMISSION.fullmatch(permission):
                remedy = "; name tools in the rule's tools" if ":" in permission else ""
                yield f"{path}.permissions[{number}]", f"is {permission[:80]!r}; it {_PERMISSION_PROBLEM}{remedy}"
        yield from role_violations(f"{path}.roles", rule.roles)
        if rule.condition:
            try:
                conditions.compile(rule.condition)
            except ExpressionError as error:
                yield f"{path}.condition", str(error)


def _grants_somewhere(policy: policy_pb2.Policy, permission: str) -> bool:
    by_role = any(grants(grant, permission, "") for role in policy.roles for grant in role.grants)
    return by_role or any(
        grants(pattern, permission, "")
        for rule in policy.rules
        if rule.effect == policy_pb2.EFFECT_ALLOW and not rule.tools
        for pattern in rule.permissions
    )


def _unknown_permissions(policy: policy_pb2.Policy) -> Iterator[Violation]:
    named = [
        *(
            (f"roles[{i}].grants[{j}]", grant)
            for i, role in enumerate(policy.roles)
            for j, grant in enumerate(role.grants)
        ),
        *(
            (f"rules[{i}].permissions[{j}]", p)
            for i, rule in enumerate(policy.rules)
            for j, p in enumerate(rule.permissions)
        ),
    ]
    for path, grant in named:
        permission = grant.partition(":")[0]
        if not any(grants(permission, known, "") for known in KNOWN_PERMISSIONS):
            near = _meant(permission, KNOWN_PERMISSIONS)
            yield path, f"is {grant[:80]!r}, which is no permission of Podium's own{near}"


def _unknown_roles(policy: policy_pb2.Policy) -> Iterator[Violation]:
    defined = {role.name for role in policy.roles}
    limited = [
        *((f"rules[{index}]", rule.roles) for index, rule in enumerate(policy.rules)),
        *((f"limits[{index}]", limit.roles) for index, limit in enumerate(policy.limits)),
    ]
    for path, roles in limited:
        for number, role in enumerate(roles):
            if role not in defined:
                near = _meant(role, defined)
                yield f"{path}.roles[{number}]", f"names {role!r}, which this policy does not define{near}"


def _meant(name: str, names: Iterable[str]) -> str:
    # Looking for a near name costs milliseconds among many.
    known = sorted(names)[:50]
    close = get_close_matches(name[:_NAME_MAX], known, n=1)
    return f"; do you mean {close[0]}?" if close else ""
