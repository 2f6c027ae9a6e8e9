"""The rules of a policy, and the facts that their conditions read.

A rule that names tools, or whose condition reads arguments, has a say in calls of tools alone and none in the methods
of the API.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol

from podium.v1 import value_pb2

PRINCIPAL_MEMBERS = ("subject", "agent", "on_behalf_of", "session_id", "token_id", "address", "roles")
"""What a condition sees of who asks."""

FACTS = ("principal", "claims", "arguments", "tool", "address", "time")
"""What a condition may read."""


class Condition(Protocol):
    """A compiled condition."""

    @property
    def reads(self) -> frozenset[str]:
        """Those of FACTS that it reads."""

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Evaluate it over at least the facts that it reads. Raises for anything that keeps it from a bool."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Grants permissions, or takes them away whatever grants them. See podium.v1.Rule."""

    id: str
    allows: bool
    permissions: frozenset[str] = frozenset()
    """Patterns, as in a grant and without a colon. Empty: a forbid speaks of every call."""
    roles: frozenset[str] = frozenset()
    """Of whom it speaks; empty: of everyone."""
    tools: tuple[str, ...] = ()
    """Globs of the tools it speaks of; empty: of every tool, and of the API's methods."""
    condition: Condition | None = None

    def concerns(self, roles: Sequence[str], required: Sequence[str], tool: str | None) -> bool:
        """Whether it has a say in a call of `tool`, or of a method when that is None, whatever its condition."""
        if tool is None and (self.tools or (self.condition is not None and "arguments" in self.condition.reads)):
            return False
        if self.roles and self.roles.isdisjoint(roles):
            return False
        if self.tools and not any(fnmatchcase(tool or "", glob) for glob in self.tools):
            return False
        if not self.permissions:
            return not self.allows
        return any(any_names(self.permissions, permission) for permission in required)


def names(pattern: str, permission: str) -> bool:
    """Whether a grant's part before the colon names `permission`, which may be such a part itself."""
    return pattern in ("*", permission) or (pattern.endswith(".*") and permission.startswith(pattern[:-1]))


def any_names(patterns: Iterable[str], permission: str) -> bool:
    """Whether one of the patterns names `permission`."""
    return any(names(pattern, permission) for pattern in patterns)


def facts_of(
    authority: value_pb2.Authority, needs: frozenset[str], *, tool: str = "", now_us: int | None = None
) -> dict[str, object]:
    """Those facts of `needs` that an authority, a tool and a time give. What cannot be read is left out."""
    principal = authority.principal
    facts: dict[str, object] = {"tool": tool, "address": principal.address}
    if "principal" in needs:
        facts["principal"] = {
            **{name: getattr(principal, name) for name in PRINCIPAL_MEMBERS if name != "roles"},
            "roles": list(authority.roles),
        }
    if "claims" in needs:
        with suppress(ValueError, RecursionError):
            facts["claims"] = {claim.name: json.loads(claim.value_json) for claim in authority.claims}
    if now_us is not None and "time" in needs:
        facts["time"] = time_fact(now_us)
    return facts


def time_fact(now_us: int) -> datetime:
    """The time as conditions read it."""
    return datetime.fromtimestamp(now_us / 1_000_000, UTC)
