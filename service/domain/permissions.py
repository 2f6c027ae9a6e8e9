"""Policies and their decisions: what roles and rules grant, within the token's scopes, minus what is forbidden.

Nothing is allowed that nothing grants, and an error denies. The same policy, question and facts always give the same
decision, so a recorded decision can be checked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

from podium.v1 import policy_pb2, value_pb2
from service.domain.policy_rules import Rule, any_names, facts_of, names

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
    "breakers.read",
    "breakers.change",
    "cache.read",
    "cache.invalidate",
    "statistics.read",
    "executors.read",
    "status.read",
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


NAMED_PERMISSIONS = frozenset({"tools.read", "tools.call", "tools.register", "tools.serve", "tools.administer"})
"""Of the API's, those for a tool of a name. A grant of another that is limited to names gives nothing."""


OPERATOR_PERMISSIONS = ("projections.*", "tenants.*")
"""Permissions over what all tenants share: they count in the operator's tenant alone, whatever a policy grants."""


ACT_ON_BEHALF = "act_on_behalf"
"""Needed to name somebody in a request on whose behalf the caller acts; the resource is who is named."""

USE_SECRET = "secrets.use"  # noqa: S105 - a permission's name
"""Needed by an executor to be given a secret; the resource is the secret's name."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What roles grant, and what rules add and forbid. A changed policy has a higher revision.

    A grant is a permission (`tools.read`), a prefix (`workflows.*`) or `*`; after a colon a glob may limit it to
    resources (`tools.serve:billing-*` is tools.serve for the tools of that name). Without a colon: any resource. What
    has no name, as most methods of the API, a limited grant does not give.
    """

    name: str
    revision: int
    roles: Mapping[str, frozenset[str]]
    """What each role grants, with what it inherits."""
    rules: tuple[Rule, ...] = ()
    limits: tuple[policy_pb2.RateLimit, ...] = ()
    addresses: policy_pb2.AddressRules = field(default_factory=policy_pb2.AddressRules)
    patterns: tuple[policy_pb2.ContentPattern, ...] = ()
    caches: tuple[policy_pb2.CacheRule, ...] = ()
    changes_need_approval: bool = False
    bulkheads: tuple[policy_pb2.Bulkhead, ...] = ()
    breakers: tuple[policy_pb2.BreakerRule, ...] = ()


_REMEMBERED = 64
"""How many outcomes of its conditions a case remembers before it forgets them; forgetting costs time only."""


@dataclass(frozen=True, slots=True)
class PermissionDecision:
    """The outcome. `rule` is what decided it, `missing` the permissions that the authority lacks."""

    allowed: bool
    rule: str
    missing: tuple[str, ...] = ()


DEFAULT_POLICY = Policy(
    name="default",
    revision=0,
    roles=MappingProxyType(
        {
            "admin": frozenset({"*"}),
            "agent": frozenset(
                {"workflows.*", "tools.read", "tools.call", "replay", "read_files", "network_access", "database_read"}
            ),
            "executor": frozenset({"tools.serve", "tools.register"}),
            "auditor": frozenset({"workflows.read", "tools.read", "events.read", "audit.read", "replay"}),
            "viewer": frozenset(
                {
                    "workflows.read",
                    "tools.read",
                    "statistics.read",
                    "status.read",
                    "executors.read",
                    "breakers.read",
                    "cache.read",
                    "quarantine.read",
                }
            ),
        }
    ),
)
"""The policy of a tenant that has none of its own."""


class Case:
    """A question to a policy, with all of it settled that no condition has a say in.

    `resource` is the tool's name, "" for what has no name, or None when the name is not known yet: then a grant for
    any resource will do, and whoever learns the name decides again. Rules about tools speak of calls of tools alone.
    """

    __slots__ = (
        "_conditional",
        "_decided",
        "_policy",
        "_relevant",
        "_required",
        "_resource",
        "_roles",
        "_scopes",
        "needs",
        "settled",
    )

    def __init__(
        self,
        policy: Policy,
        roles: Sequence[str],
        scopes: Sequence[str] | None,
        required: Sequence[str],
        resource: str | None,
        *,
        is_call: bool = False,
    ) -> None:
        """`scopes` of None limit nothing."""
        self._policy = policy
        self._roles = tuple(dict.fromkeys(roles))
        self._scopes = ("*",) if scopes is None else tuple(scopes)
        self._required = tuple(dict.fromkeys(required))
        self._resource = resource
        tool = resource if is_call else None
        self._relevant = [rule for rule in policy.rules if rule.concerns(self._roles, self._required, tool)]
        self._conditional = [(rule.id, rule.condition) for rule in self._relevant if rule.condition is not None]
        self._decided: dict[tuple[bool, ...], PermissionDecision] = {}
        self.needs: frozenset[str] = frozenset().union(*(condition.reads for _, condition in self._conditional))
        """The facts that its conditions read."""
        self.settled = None if self._conditional else self._decide(())
        """The decision, where no condition has a say."""

    def decide(self, facts: Mapping[str, object]) -> PermissionDecision:
        """Decide over facts, of which one that is missing fails the conditions that read it. Never raises."""
        if self.settled is not None:
            return self.settled
        outcomes: list[bool] = []
        for rule_id, condition in self._conditional:
            try:
                outcomes.append(condition.holds(facts))
            except Exception:  # noqa: BLE001 - fail closed, whatever is wrong with the condition or the facts
                return PermissionDecision(allowed=False, rule=f"error:{rule_id}")
        return self._remembered(tuple(outcomes))

    def might_allow(self, facts: Mapping[str, object]) -> bool:
        """Whether some arguments could be allowed: a condition over arguments is taken to come out as it should."""
        outcomes: list[bool] = []
        for rule in self._relevant:
            if rule.condition is None:
                continue
            if "arguments" in rule.condition.reads:
                outcomes.append(rule.allows)
                continue
            try:
                outcomes.append(rule.condition.holds(facts))
            except Exception:  # noqa: BLE001 - as in decide
                return False
        return self._remembered(tuple(outcomes)).allowed

    def _remembered(self, outcomes: tuple[bool, ...]) -> PermissionDecision:
        decision = self._decided.get(outcomes)
        if decision is None:
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            decision = self._decided[outcomes] = self._decide(outcomes)
        return decision

    def _decide(self, outcomes: tuple[bool, ...]) -> PermissionDecision:
        """Decide by what the conditions came to, in the policy's order."""
        left = iter(outcomes)
        holding = [rule for rule in self._relevant if rule.condition is None or next(left)]
        forbid = next((rule for rule in holding if not rule.allows), None)
        if forbid is not None:
            taken = [p for p in self._required if not forbid.permissions or any_names(forbid.permissions, p)]
            return PermissionDecision(allowed=False, rule=f"forbid:{forbid.id}", missing=tuple(taken))
        if not self._required:
            return PermissionDecision(allowed=True, rule="no-permission-required")
        by_role: set[str] = set()
        by_rule: set[str] = set()
        missing: list[str] = []
        for permission in self._required:
            if not any(grants(scope, permission, self._resource) for scope in self._scopes):
                missing.append(permission)
            elif (role := self._granting_role(permission)) is not None:
                by_role.add(role)
            elif (rule := next((r for r in holding if any_names(r.permissions, permission)), None)) is not None:
                by_rule.add(rule.id)
            else:
                missing.append(permission)
        if missing:
            return PermissionDecision(allowed=False, rule="default-deny", missing=tuple(missing))
        named = (
            "+".join(role for role in self._roles if role in by_role),
            "+".join(r.id for r in holding if r.id in by_rule),
        )
        parts = [f"{kind}:{names}" for kind, names in zip(("role", "rule"), named, strict=True) if names]
        return PermissionDecision(allowed=True, rule=",".join(parts))

    def _granting_role(self, permission: str) -> str | None:
        for role in self._roles:
            if any(grants(grant, permission, self._resource) for grant in self._policy.roles.get(role, ())):
                return role
        return None


def decide(
    policy: Policy,
    authority: value_pb2.Authority,
    required: Sequence[str],
    resource: str | None,
    *,
    now_us: int | None = None,
) -> PermissionDecision:
    """Decide whether `authority` has all of the `required` permissions for `resource`, as a method of the API needs.

    See Case. Without `now_us` a condition that reads the time denies. Never raises: an error is a denial.
    """
    try:
        case = case_of(policy, authority, required, resource)
        return case.decide(facts_of(authority, case.needs, now_us=now_us))
    except Exception:  # noqa: BLE001 - fail closed, whatever is wrong with the policy or the authority
        return PermissionDecision(allowed=False, rule="error")


def case_of(
    policy: Policy,
    authority: value_pb2.Authority,
    required: Sequence[str],
    resource: str | None,
    *,
    is_call: bool = False,
) -> Case:
    """The question that an authority asks."""
    scopes = authority.scopes if authority.limited else None
    return Case(policy, authority.roles, scopes, required, resource, is_call=is_call)


def grants(grant: str, permission: str, resource: str | None) -> bool:
    """Whether one grant gives `permission` for `resource` (None: for any resource)."""
    pattern, colon, glob = grant.partition(":")
    return names(pattern, permission) and (not colon or resource is None or fnmatchcase(resource, glob))


def is_operators(permission: str) -> bool:
    """Whether a permission is over what all tenants share."""
    return any(names(pattern, permission) for pattern in OPERATOR_PERMISSIONS)


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


def _covers(general: str, specific: str) -> bool:
    """Whether everything that the grant `specific` gives, the grant `general` gives too."""
    general_pattern, limited, general_glob = general.partition(":")
    pattern, colon, glob = specific.partition(":")
    if not names(general_pattern, pattern):
        return False
    if not limited or general_glob == "*":
        return True
    if not colon:
        return False
    exact = not any(character in glob for character in "*?[")
    return glob == general_glob or (exact and fnmatchcase(glob, general_glob))
