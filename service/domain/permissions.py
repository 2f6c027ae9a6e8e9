"""Permission policies and their decisions: what roles grant, within the token's scopes, minus what is forbidden.

Nothing is allowed that no grant allows, and an error denies. The same policy, authority and question always give
the same decision, so a recorded decision can be checked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

from podium.v1 import policy_pb2, value_pb2

TOOL_PERMISSIONS = (
    "read_files",
    "write_files",
    "network_access",
    "system_commands",
    "user_data_access",
    "financial_operations",
    "email_send",
    "database_read",
    "database_write",
)
"""The built-in permissions a tool may require. An operator adds more by naming them in a policy and a tool."""

API_PERMISSIONS = (
    "workflows.start",
    "workflows.read",
    "workflows.change",
    "tools.read",
    "tools.call",
    "tools.register",
    "tools.serve",
    "tools.administer",
    "events.read",
    "audit.read",
    "replay",
    "projections.read",
    "projections.rebuild",
    "quarantine.read",
    "quarantine.release",
    "keys.read",
    "keys.rotate",
    "keys.destroy",
    "policies.read",
    "policies.change",
    "policies.approve",
    "credentials.read",
    "credentials.revoke",
    "addresses.read",
    "addresses.change",
    "tenants.read",
    "tenants.change",
)
"""What the methods of the API need."""


OPERATOR_PERMISSIONS = ("projections.*", "tenants.*")
"""Permissions over what all tenants share: they count in the operator's tenant alone, whatever a policy grants."""


ACT_ON_BEHALF = "act_on_behalf"
"""Needed to name somebody in a request on whose behalf the caller acts; the resource is who is named."""

USE_SECRET = "secrets.use"  # noqa: S105 - a permission's name
"""Needed by an executor to be given a secret; the resource is the secret's name."""


@dataclass(frozen=True, slots=True)
class Forbid:
    """Takes permissions away whatever grants them: from the named roles, or from everyone when there are none."""

    name: str
    permissions: frozenset[str]
    """Patterns, as in a grant."""
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """What roles grant, and what is forbidden in any case. A changed policy has a higher revision.

    A grant is a permission (`tools.read`), a prefix (`workflows.*`) or `*`; after a colon a glob may limit it to
    resources (`tools.serve:billing-*` is tools.serve for the tools of that name). Without a colon: any resource.
    """

    name: str
    revision: int
    roles: Mapping[str, frozenset[str]]
    forbids: tuple[Forbid, ...] = ()
    limits: tuple[policy_pb2.RateLimit, ...] = ()
    addresses: policy_pb2.AddressRules = field(default_factory=policy_pb2.AddressRules)
    patterns: tuple[policy_pb2.ContentPattern, ...] = ()


@dataclass(frozen=True, slots=True)
class PermissionDecision:
    """The outcome. `rule` is what decided it, `missing` the permissions that the authority lacks."""

    allowed: bool
    rule: str
    missing: tuple[str, ...] = ()


DEFAULT_POLICY = Policy(
    name="default",
    revision=1,
    roles=MappingProxyType(
        {
            "admin": frozenset({"*"}),
            "agent": frozenset(
                {"workflows.*", "tools.read", "tools.call", "replay", "read_files", "network_access", "database_read"}
            ),
            "executor": frozenset({"tools.serve", "tools.register"}),
            "auditor": frozenset({"workflows.read", "tools.read", "events.read", "audit.read", "replay"}),
            "viewer": frozenset({"workflows.read", "tools.read"}),
        }
    ),
)
"""The policy of a tenant that has none of its own."""


def decide(
    policy: Policy, authority: value_pb2.Authority, required: Sequence[str], resource: str | None
) -> PermissionDecision:
    """Decide whether `authority` has all of the `required` permissions for `resource`.

    `resource` is the tool's name, "" for what has no name, or None when the name is not known yet: then a grant for
    any resource will do, and whoever learns the name decides again. Never raises: an error is a denial.
    """
    try:
        return _decide(policy, authority, tuple(dict.fromkeys(required)), resource)
    except Exception:  # noqa: BLE001 - fail closed, whatever is wrong with the policy or the authority
        return PermissionDecision(allowed=False, rule="error")


def grants(grant: str, permission: str, resource: str | None) -> bool:
    """Whether one grant gives `permission` for `resource` (None: for any resource)."""
    pattern, colon, glob = grant.partition(":")
    return _names(pattern, permission) and (not colon or resource is None or fnmatchcase(resource, glob))


def is_operators(permission: str) -> bool:
    """Whether a permission is over what all tenants share."""
    return any(_names(pattern, permission) for pattern in OPERATOR_PERMISSIONS)


def narrow(authority: value_pb2.Authority, permissions: Sequence[str]) -> value_pb2.Authority:
    """A copy of `authority` limited to `permissions` as well, which are grants like those of a scope.

    Never gives more than either: where two globs overlap in part, nothing of the overlap is kept.
    """
    narrowed = value_pb2.Authority()
    narrowed.CopyFrom(authority)
    narrowed.limited = True
    del narrowed.scopes[:]
    scopes = list(authority.scopes) if authority.limited else ["*"]
    kept = [permission for permission in permissions if any(_covers(scope, permission) for scope in scopes)]
    kept += [scope for scope in scopes if any(_covers(permission, scope) for permission in permissions)]
    narrowed.scopes.extend(dict.fromkeys(kept))
    return narrowed


def _decide(
    policy: Policy, authority: value_pb2.Authority, required: tuple[str, ...], resource: str | None
) -> PermissionDecision:
    forbid = _first_forbid(policy, authority, required, resource)
    if forbid is not None:
        taken = tuple(p for p in required if any(grants(pattern, p, resource) for pattern in forbid.permissions))
        return PermissionDecision(allowed=False, rule=f"forbid:{forbid.name}", missing=taken)
    if not required:
        return PermissionDecision(allowed=True, rule="no-permission-required")
    scopes = tuple(authority.scopes) if authority.limited else ("*",)
    granting: dict[str, None] = {}
    missing: list[str] = []
    for permission in required:
        role = _granting_role(policy, authority, permission, resource)
        if role is None or not any(grants(scope, permission, resource) for scope in scopes):
            missing.append(permission)
        else:
            granting[role] = None
    if missing:
        return PermissionDecision(allowed=False, rule="default-deny", missing=tuple(missing))
    order = [role for role in dict.fromkeys(authority.roles) if role in granting]
    return PermissionDecision(allowed=True, rule=f"role:{'+'.join(order)}")


def _first_forbid(
    policy: Policy, authority: value_pb2.Authority, required: tuple[str, ...], resource: str | None
) -> Forbid | None:
    for forbid in policy.forbids:
        if (not forbid.roles or not forbid.roles.isdisjoint(authority.roles)) and any(
            grants(pattern, permission, resource) and not (resource is None and ":" in pattern)
            for pattern in forbid.permissions
            for permission in required
        ):
            return forbid
    return None


def _granting_role(policy: Policy, authority: value_pb2.Authority, permission: str, resource: str | None) -> str | None:
    for role in authority.roles:
        if any(grants(grant, permission, resource) for grant in policy.roles.get(role, ())):
            return role
    return None


def _covers(general: str, specific: str) -> bool:
    """Whether everything that the grant `specific` gives, the grant `general` gives too."""
    general_pattern, limited, general_glob = general.partition(":")
    pattern, colon, glob = specific.partition(":")
    if not _names(general_pattern, pattern):
        return False
    if not limited or general_glob == "*":
        return True
    if not colon:
        return False
    exact = not any(character in glob for character in "*?[")
    return glob == general_glob or (exact and fnmatchcase(glob, general_glob))


def _names(pattern: str, permission: str) -> bool:
    """Whether a grant's part before the colon names `permission`, which may be such a part itself."""
    return pattern in ("*", permission) or (pattern.endswith(".*") and permission.startswith(pattern[:-1]))
