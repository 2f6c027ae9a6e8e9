"""The breakers of all tenants in memory, by tool, each with the rule of the policy that it follows.

Invariant: a breaker outlives every change of the policy. What a change means for it is worked out when it is asked for
the next time, in a turn that can record it, and until then nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from podium.v1 import events_pb2, policy_pb2
from service.admission.breaker_line import BreakerLine
from service.domain.breaker import ANY_NUMBER, Breaker, Transition
from service.domain.breaker_settings import SETTINGS_OF_NO_RULE, BreakerSettings, settings_of
from service.domain.permissions import Policy
from service.domain.tool_globs import first_that_fits

STREAM_PREFIX = "breaker/"


class ToolBreaker:
    """The breaker of a tool, and what is known about it beside its state."""

    __slots__ = ("_book", "breaker", "is_owed", "last", "line", "policy", "tenant", "tool")

    def __init__(self, book: BreakerBook, tenant: str, tool: str, settings: BreakerSettings) -> None:
        self._book = book
        self.tenant = tenant
        self.tool = tool
        self.breaker = Breaker(settings)
        self.policy: Policy | None = None
        """The policy that it has adopted; None: it was found in the log, and has adopted none."""
        self.last: events_pb2.BreakerTransitioned | None = None
        """Its last transition."""
        self.is_owed = False
        """The last transition is not on record, because the append that it was in failed."""
        self.line = BreakerLine(self.room_for_those_who_wait, lambda: self.breaker.over_at_us)

    @property
    def stream_id(self) -> str:
        """The stream of its transitions."""
        return f"{STREAM_PREFIX}{self.tool}"

    @property
    def is_current(self) -> bool:
        """Whether it has adopted the policy in force."""
        return self.policy is self._book.policy_of(self.tenant)

    @property
    def settings_in_force(self) -> BreakerSettings:
        """What the policy in force says of it."""
        return self._book.settings(self.tenant, self.tool)

    def message(self, transition: Transition, cause: events_pb2.BreakerTransitioned) -> events_pb2.BreakerTransitioned:
        """The message of a transition: what caused it, filled in with what it is."""
        cause.tool = self.tool
        cause.from_state = transition.from_state  # type: ignore[assignment]  # the stubs want their NewType
        cause.to_state = transition.to_state  # type: ignore[assignment]  # as above
        cause.reason = transition.reason
        cause.figures.CopyFrom(transition.figures)
        cause.open_until_us = transition.open_until_us
        cause.reopened = transition.reopened
        cause.rule = self.breaker.settings.rule
        cause.policy_revision = self._book.policy_of(self.tenant).revision
        return cause

    def room_for_those_who_wait(self, now_us: int) -> int:
        """How many of those who wait are to ask now."""
        if not self.is_current or self.breaker.is_overdue(now_us):
            # One of them asks, in a turn that records what the policy, or the time, means for the others.
            return 1
        return self.breaker.room(now_us) if self.breaker.settings.waits else ANY_NUMBER


class _Tenant:
    """The breakers of a tenant, and the rules in force."""

    __slots__ = ("by_tool", "policy", "settings")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.by_tool: dict[str, ToolBreaker] = {}
        self.settings: dict[str, BreakerSettings] = {}
        """By tool, as far as they were asked for."""

    def settings_of(self, tool: str) -> BreakerSettings:
        found = self.settings.get(tool)
        if found is None:
            found = self.settings[tool] = _settings(self.policy, tool)
        return found


def rule_of(policy: Policy | policy_pb2.Policy, tool: str) -> policy_pb2.BreakerRule | None:
    """The rule for a tool: the first whose globs fit; None: there is none."""
    return first_that_fits(policy.breakers, tool)


def _settings(policy: Policy, tool: str) -> BreakerSettings:
    rule = rule_of(policy, tool)
    return settings_of(rule) if rule is not None else SETTINGS_OF_NO_RULE


class BreakerBook:
    """All breakers. Of a tool that has no rule, and never had one, there is none."""

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        """`policy_of` gives a tenant's current policy."""
        self.policy_of = policy_of
        self._tenants: dict[str, _Tenant] = {}

    def of(self, tenant: str, tool: str) -> ToolBreaker | None:
        """The breaker that has a say in calls of a tool; None: there is none."""
        mine = self._current(tenant)
        kept = mine.by_tool.get(tool)
        if kept is None and mine.policy.breakers and mine.settings_of(tool) is not SETTINGS_OF_NO_RULE:
            kept = self.kept(tenant, tool)
            kept.policy = mine.policy
        return kept

    def has_any(self, tenant: str) -> bool:
        """Whether any call of a tenant can be a breaker's business."""
        mine = self._current(tenant)
        return bool(mine.by_tool or mine.policy.breakers)

    def kept(self, tenant: str, tool: str) -> ToolBreaker:
        """The breaker of a tool, made when there is none, also without a rule."""
        mine = self._current(tenant)
        kept = mine.by_tool.get(tool)
        if kept is None:
            kept = mine.by_tool[tool] = ToolBreaker(self, tenant, tool, mine.settings_of(tool))
        return kept

    def known(self, tenant: str, tool: str) -> ToolBreaker:
        """The breaker of a tool to look at. One that there was not is not kept."""
        found = self._current(tenant).by_tool.get(tool)
        return found or ToolBreaker(self, tenant, tool, self.settings(tenant, tool))

    def settings(self, tenant: str, tool: str) -> BreakerSettings:
        """What the policy in force says of a tool."""
        return self._current(tenant).settings_of(tool)

    def of_tenant(self, tenant: str) -> Iterator[ToolBreaker]:
        """The breakers that there are, by tool."""
        by_tool = self._current(tenant).by_tool
        return (by_tool[tool] for tool in sorted(by_tool))

    def states(self) -> Iterator[tuple[str, str, int]]:
        """(tenant, tool, state) of every breaker, by the policies in force. May be called by any thread."""
        for tenant, mine in list(self._tenants.items()):
            policy = self.policy_of(tenant)
            for tool, kept in list(mine.by_tool.items()):
                # Settings of another policy are left for whoever decides by them to replace.
                known = mine.settings.get(tool) if mine.policy is policy else None
                yield tenant, tool, kept.breaker.adopted_state(known or _settings(policy, tool))

    def __iter__(self) -> Iterator[ToolBreaker]:
        """Every breaker of every tenant."""
        return (kept for mine in self._tenants.values() for kept in mine.by_tool.values())

    def _current(self, tenant: str) -> _Tenant:
        policy = self.policy_of(tenant)
        mine = self._tenants.get(tenant)
        if mine is None:
            mine = self._tenants[tenant] = _Tenant(policy)
        elif mine.policy is not policy:
            # In this order: `states` reads them in another thread, the other way round.
            mine.settings = {}
            mine.policy = policy
        return mine
