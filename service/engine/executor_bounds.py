"""How many attempts the executors of a name may have at once, by the bulkheads of their tenant's policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podium.v1 import policy_pb2
from service.domain.permissions import Policy
from service.domain.tool_globs import fits


class NameBounds:
    """The bounds that one policy sets."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.bulkheads: Sequence[policy_pb2.Bulkhead] = [each for each in policy.bulkheads if each.executors]
        """Those that speak of executors."""
        self._known: dict[str, int | None] = {}

    def of(self, executor: str) -> int | None:
        """The bound on all executors of a name together; None: there is none."""
        try:
            return self._known[executor]
        except KeyError:
            # Remembered for as many names as connect before the policy changes.
            fitting = [each.max_concurrent for each in self.bulkheads if fits(executor, each.executors)]
            found = self._known[executor] = min(fitting, default=None)
            return found


class ExecutorBounds:
    """The bounds of all tenants."""

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        self._policy_of = policy_of
        self._bounds: dict[str, NameBounds] = {}

    def __call__(self, tenant: str) -> Callable[[str], int | None] | None:
        """See service.engine.dispatch.Bounds."""
        policy = self._policy_of(tenant)
        if not policy.bulkheads:
            return None
        bounds = self._bounds.get(tenant)
        if bounds is None or bounds.policy is not policy:
            bounds = self._bounds[tenant] = NameBounds(policy)
        return bounds.of if bounds.bulkheads else None
