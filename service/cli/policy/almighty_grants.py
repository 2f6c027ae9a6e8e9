"""Who is granted everything by a policy, however it is written: by a role, with what it inherits, or by a rule.

Everything is every permission of the API that counts in a tenant, also when it is limited to names: the names of tools
that will ever come fit a glob, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from podium.v1 import policy_pb2
from service.domain.permissions import API_PERMISSIONS, grants, is_operators
from service.domain.policy_compiling import effective_roles
from service.domain.policy_rules import any_names

_EVERYTHING = tuple(permission for permission in API_PERMISSIONS if not is_operators(permission))
_CHANGES = tuple(permission for permission in API_PERMISSIONS if permission.endswith((".change", ".approve")))


def almighty(policy: policy_pb2.Policy) -> Iterator[str]:
    """Yield the roles, and the rules for everyone, that grant everything."""
    for name, granted in effective_roles(policy).items():
        if _is_everything(granted):
            yield f"the role {name}"
    for rule in policy.rules:
        if rule.effect == policy_pb2.EFFECT_ALLOW and not rule.roles and _is_everything(rule.permissions):
            yield f"the rule {rule.id}, to everyone" + (" on a condition" if rule.condition else "")


def auditors_alone(policy: policy_pb2.Policy) -> Iterator[str]:
    """Yield the roles that may read the audit trail and change nothing that it tells of."""
    for name, granted in effective_roles(policy).items():
        if _gives(granted, "audit.read") and not any(_gives(granted, each) for each in _CHANGES):
            yield name


def _is_everything(granted: Iterable[str]) -> bool:
    patterns = [grant.partition(":")[0] for grant in granted]
    return all(any_names(patterns, permission) for permission in _EVERYTHING)


def _gives(granted: Iterable[str], permission: str) -> bool:
    return any(grants(grant, permission, "") for grant in granted)
