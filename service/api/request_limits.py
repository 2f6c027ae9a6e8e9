"""What stands between a caller who is known and a method: its tenant, its address, and how often it may ask."""

from __future__ import annotations

from collections.abc import Callable

from podium.v1 import policy_pb2
from service.admission.addresses import AddressBook
from service.admission.limits import Limit, Limits
from service.admission.tokens import Caller
from service.api.handlers import Context
from service.api.peers import Peers
from service.domain.errors import Basis, Denied, LimitExceeded, Unauthenticated
from service.domain.permissions import Policy
from service.domain.rate_limit import allowed_at_us
from service.engine.tenants import Tenants
from service.engine.timers import Clock

_MINUTE_MS = 60_000
_US_PER_MS = 1000


class Door:
    """A guard before authentication: whoever calls from an address that the operator blocks is not listened to.

    Nor is one whose address cannot be read: no rule could be held against it.
    """

    def __init__(self, book: AddressBook, peers: Peers, clock: Clock) -> None:
        self._book = book
        self._peers = peers
        self._clock = clock

    def __call__(self, method: str, context: Context) -> None:
        """See service.api.handlers.Guard."""
        address = self._peers.address_of(context)
        if not address:
            raise Denied("ADDRESS_UNKNOWN", "where this call comes from cannot be read")
        rule = self._book.refusing_at_the_door(address, self._clock.now_us())
        if rule:
            raise Denied("ADDRESS_BLOCKED", "this address may not call", basis=Basis(rule=rule))


class RequestLimits:
    """Checks a caller whose token was verified, before anything is decided about the method.

    Requests are counted in memory alone: after a restart every limit of them begins anew.
    """

    def __init__(
        self,
        policy_of: Callable[[str], Policy],
        tenants: Tenants,
        book: AddressBook,
        clock: Clock,
        *,
        operator_tenant: str,
        tenants_must_exist: bool,
    ) -> None:
        self._policy_of = policy_of
        self._tenants = tenants
        self._book = book
        self._clock = clock
        self._operator_tenant = operator_tenant
        self._must_exist = tenants_must_exist
        self._limits: dict[str, Limits] = {}
        self._quotas: dict[str, tuple[int, Limit]] = {}

    def __call__(self, caller: Caller) -> None:
        """Raise what refuses the caller, or count its request."""
        tenant, now_us = caller.tenant, self._clock.now_us()
        if self._must_exist and tenant not in self._tenants and tenant != self._operator_tenant:
            raise Unauthenticated("TENANT_UNKNOWN", "the token is for a tenant that does not exist")
        principal = caller.authority.principal
        policy = self._policy_of(tenant)
        rule = self._book.refusing(tenant, principal.address, now_us)
        if rule:
            basis = Basis(rule=rule, policy=policy.name, policy_revision=policy.revision)
            raise Denied("ADDRESS_BLOCKED", "this address may not call for this tenant", basis=basis)
        quota = self._quota(tenant)
        if quota is None and not policy.limits:
            return
        counting = [
            (limit, limit.key_of(principal.subject, "", principal.address)) for limit in self._of(caller, policy)
        ]
        if quota is not None:
            counting.append((quota, ()))
        for limit, key in counting:
            at_us = allowed_at_us(limit.rate, limit.arrival_ticks(key), 1)
            if at_us > now_us:
                raise _limited(limit, policy, -(-(at_us - now_us) // _US_PER_MS), is_quota=limit is quota)
        for limit, key in counting:
            limit.count(key, 1, now_us)

    def _of(self, caller: Caller, policy: Policy) -> list[Limit]:
        limits = self._limits.get(caller.tenant)
        if limits is None or limits.policy is not policy:
            limits = self._limits[caller.tenant] = Limits(
                caller.tenant, policy, policy_pb2.LIMIT_SCOPE_REQUESTS, limits
            )
        return [limit for limit, _ in limits.of("", caller.authority.roles)]

    def _quota(self, tenant: str) -> Limit | None:
        """The tenant's quota of requests as a limit; None: it has none."""
        count = self._tenants.quotas_of(tenant).requests_per_minute
        if not count:
            return None
        known = self._quotas.get(tenant)
        if known is None or known[0] != count:
            message = policy_pb2.RateLimit(id="requests_per_minute", count=count, period_ms=_MINUTE_MS)
            known = self._quotas[tenant] = count, Limit(tenant, message, 0)
        return known[1]


def _limited(limit: Limit, policy: Policy, retry_after_ms: int, *, is_quota: bool) -> LimitExceeded:
    name, problem = limit.message.id, f"{limit.rate.events} in {limit.message.period_ms} ms"
    if is_quota:
        message = f"the tenant's quota of requests is used up: {problem}"
        return LimitExceeded("QUOTA_EXCEEDED", message, [(name, problem)], retry_after_ms, basis=Basis(rule=name))
    basis = Basis(rule=name, policy=policy.name, policy_revision=policy.revision)
    return LimitExceeded("RATE_LIMITED", f"the limit {name}: {problem}", [(name, problem)], retry_after_ms, basis=basis)
