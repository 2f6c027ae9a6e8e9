"""How a tool's results are cached under a policy, and the key of a call.

Invariant: two calls have one key only if they are of one tenant, one identity (unless the results are shared), one
revision of the policy, one version of one tool and the same arguments.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from podium.v1 import definition_pb2, policy_pb2, value_pb2
from service.domain.errors import Violation
from service.domain.policy_names import glob_violations, id_violations
from service.domain.tool_globs import first_that_fits

CACHES_MAX = 100
"""Rules of a policy about caching."""
LIFETIME_MAX_MS = 30 * 86_400_000


class Plan(NamedTuple):
    """How the results of a tool are cached."""

    ttl_ms: int
    stale_ms: int
    shared: bool
    is_bound: bool = False
    """The policy says how long: a result may ask for less, and not for more."""

    def lifetime_ms(self, result_ttl_ms: int | None) -> int:
        """How long a result is fresh, of which its tool said `result_ttl_ms` (None: nothing); 0: it is not kept."""
        if result_ttl_ms is None:
            return self.ttl_ms
        return min(result_ttl_ms, self.ttl_ms if self.is_bound else LIFETIME_MAX_MS)


def plan_of(rules: Sequence[policy_pb2.CacheRule], tool: definition_pb2.ToolDefinition) -> Plan | None:
    """How a tool's results are cached; None: not at all. What changes something is never cached, whoever says so."""
    if not tool.read_only:
        return None
    declared = tool.caching if tool.HasField("caching") else None
    # A rule that names no tools speaks of those that declare caching.
    rule = first_that_fits((each for each in rules if each.tools or declared is not None), tool.name)
    if rule is not None and rule.disabled:
        return None
    if rule is not None and rule.HasField("caching"):
        return _plan(rule.caching, is_bound=True)
    return None if declared is None else _plan(declared, is_bound=False)


def _plan(caching: definition_pb2.Caching, *, is_bound: bool) -> Plan | None:
    if not caching.ttl_ms:
        return None
    return Plan(min(caching.ttl_ms, LIFETIME_MAX_MS), min(caching.stale_ms, LIFETIME_MAX_MS), caching.shared, is_bound)


def call_key(
    tenant: str,
    principal: value_pb2.Principal | None,
    policy_revision: int,
    tool: str,
    tool_version: int,
    arguments_digest: bytes,
) -> bytes:
    """The key of a call, by a principal or (None) by any of the tenant. It tells nothing of what it is made of."""
    parts = [tenant.encode(), tool.encode(), b"%d/%d" % (policy_revision, tool_version), arguments_digest]
    if principal is not None:
        parts += [principal.subject.encode(), principal.on_behalf_of.encode()]
    # Each with its length, so that no two lists of parts are one text.
    return hashlib.sha256(b"".join([len(part).to_bytes(4, "big") + part for part in parts])).digest()


def caching_violations(path: str, caching: definition_pb2.Caching) -> Iterator[Violation]:
    """What is wrong with how results are to be cached."""
    if not 1 <= caching.ttl_ms <= LIFETIME_MAX_MS:
        yield f"{path}.ttl_ms", "must be from 1 millisecond to 30 days"
    if caching.stale_ms > LIFETIME_MAX_MS:
        yield f"{path}.stale_ms", "is longer than 30 days"


def cache_violations(rules: Sequence[policy_pb2.CacheRule]) -> Iterator[Violation]:
    """What is wrong with a policy's rules about caching."""
    if len(rules) > CACHES_MAX:
        yield "caches", f"has {len(rules)} rules; at most {CACHES_MAX} are allowed"
        return
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        path = f"caches[{index}]"
        yield from id_violations(path, rule.id, seen)
        yield from glob_violations(f"{path}.tools", rule.tools)
        if rule.disabled and rule.HasField("caching"):
            yield f"{path}.caching", "cannot go with disabled: leave one of them out"
        elif rule.HasField("caching"):
            yield from caching_violations(f"{path}.caching", rule.caching)
        elif not rule.disabled:
            yield path, "does nothing: set caching or disabled"
