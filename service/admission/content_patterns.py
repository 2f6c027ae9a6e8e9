"""An operator's content patterns, compiled once for each revision of a tenant's policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from service.admission.linear_regex import Expression, compile_expression
from service.domain.permissions import Policy


class TenantPatterns(Mapping[str, Expression]):
    """By id, the patterns of the policy in force that refuse input. A new policy counts from the next look."""

    def __init__(self, tenant: str, policy_of: Callable[[str], Policy]) -> None:
        self._tenant = tenant
        self._policy_of = policy_of
        self._policy: Policy | None = None
        self._compiled: dict[str, Expression] = {}

    def _current(self) -> dict[str, Expression]:
        policy = self._policy_of(self._tenant)
        if policy is not self._policy:
            self._compiled = {
                each.id: compile_expression(each.expression) for each in policy.patterns if each.refuse_input
            }
            self._policy = policy
        return self._compiled

    def __getitem__(self, name: str) -> Expression:
        return self._current()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())
