"""Lockouts: an address that failed too often is blocked for a while, as the policy says."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from podium.v1 import policy_pb2
from service.domain.addresses import Network, network_of_host, parse_address
from service.domain.permissions import Policy

HOSTS_MAX = 10_000
"""Hosts whose failures are counted; the one that failed longest ago is forgotten first."""
FAILURES_MAX = 10_000
_US_PER_MS = 1000


class Lockouts:
    """Counts failures by tenant and host, in a window that slides. Only what was blocked survives a restart."""

    def __init__(self, policy_of: Callable[[str], Policy]) -> None:
        self._policy_of = policy_of
        self._failures: OrderedDict[tuple[str, Network], deque[int]] = OrderedDict()

    def rule_of(self, tenant: str) -> policy_pb2.Lockout | None:
        """The lockout in a tenant's policy; None: it has none."""
        rules = self._policy_of(tenant).addresses
        return rules.lockout if rules.HasField("lockout") and rules.lockout.failures else None

    def failed(self, tenant: str, address: str, now_us: int) -> Network | None:
        """A caller at an address failed. The network that is to be blocked now; None: not yet, or never."""
        rule = self.rule_of(tenant)
        parsed = parse_address(address)
        if rule is None or parsed is None:
            return None
        key = (tenant, network_of_host(parsed))
        allowed = min(rule.failures, FAILURES_MAX)
        times = self._failures.get(key)
        if times is None or times.maxlen != allowed:
            times = self._failures[key] = deque(times or (), maxlen=allowed)
        times.append(now_us)
        self._failures.move_to_end(key)
        if len(self._failures) > HOSTS_MAX:
            self._failures.popitem(last=False)
        if len(times) < allowed or now_us - times[0] > rule.within_ms * _US_PER_MS:
            return None
        del self._failures[key]
        return key[1]
