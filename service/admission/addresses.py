"""Who may call from where: a policy's rules and the blocks of the moment, and the guard that asks them for attempts."""

from __future__ import annotations

from collections.abc import Callable

from podium.v1 import value_pb2
from service.admission.tool_request import ToolRequest
from service.admission.verdicts import ALLOWED, Allowed, Denied
from service.domain.addresses import Rules
from service.domain.permissions import Policy

Blocked = Callable[[str, str, int], str]
"""(tenant, address, now_us) to the network that is blocked and holds the address; empty: none."""


class AddressBook:
    """Decides about addresses, from memory. `policy_of` gives a tenant's current policy."""

    def __init__(self, policy_of: Callable[[str], Policy], blocked: Blocked, operator_tenant: str) -> None:
        """What the operator's tenant blocks is blocked for everyone."""
        self._policy_of = policy_of
        self._blocked = blocked
        self._operator_tenant = operator_tenant
        self._rules: dict[str, tuple[Policy, Rules]] = {}

    def refusing_at_the_door(self, address: str, now_us: int) -> str:
        """The rule that refuses an address whoever calls from it; empty: none does."""
        tenant = self._operator_tenant
        return self._rules_of(tenant).refusing(address, blocks_only=True) or self._block(tenant, address, now_us)

    def refusing(self, tenant: str, address: str, now_us: int) -> str:
        """The rule of a tenant that refuses an address; empty: none does."""
        return self._rules_of(tenant).refusing(address) or self._block(tenant, address, now_us)

    def _block(self, tenant: str, address: str, now_us: int) -> str:
        network = self._blocked(tenant, address, now_us)
        return f"block:{network}" if network else ""

    def _rules_of(self, tenant: str) -> Rules:
        policy = self._policy_of(tenant)
        known = self._rules.get(tenant)
        if known is None or known[0] is not policy:
            known = self._rules[tenant] = policy, Rules(policy.addresses)
        return known[1]


class AddressGuard:
    """Denies the attempts of steps that were submitted from an address which may not call any more."""

    name = "address"

    def __init__(self, book: AddressBook) -> None:
        self._book = book

    def check(self, request: ToolRequest, now_us: int) -> Allowed | Denied:
        """Decide from memory; see service.admission.pipeline.Guard."""
        address = request.authority.principal.address
        rule = self._book.refusing_at_the_door(address, now_us) or self._book.refusing(request.tenant, address, now_us)
        if not rule:
            return ALLOWED
        failure = value_pb2.Failure(
            reason="ADDRESS_BLOCKED", message=f"the address {address or 'of its submitter'} may not call (rule {rule})"
        )
        return Denied(self.name, failure)
