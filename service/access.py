"""The parts of access put together: whose word counts, what it allows, how often, and from where.

Made before the log is open, because the address to listen on is taken first; until `load` has folded the streams of
access, the built-in policy is in force and no request gets past the guard of ownership.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from service.admission.addresses import AddressBook
from service.admission.tokens import Tokens
from service.api.authentication import Authentication
from service.api.handlers import Context, Guard
from service.api.open_streams import OpenStreams
from service.api.peers import Peers
from service.api.refusals import Refusals
from service.api.request_limits import Door, RequestLimits
from service.api.standing import Standing
from service.config import AccessSettings
from service.domain.errors import DomainError
from service.domain.permissions import Policy
from service.domain.revocations import Revocations
from service.engine.address_blocks import AddressBlocks
from service.engine.journal import Journal
from service.engine.lockouts import Lockouts
from service.engine.policies import Policies
from service.engine.policy_expressions import PolicyExpressions
from service.engine.refusal_log import RefusalLog
from service.engine.revoking import load_revocations
from service.engine.tenants import Tenants
from service.engine.timers import Clock
from store.contract import EventStore


class Access:
    """What decides about callers. Its streams are `policy`, `credentials`, `addresses`, `requests` and `tenant`."""

    def __init__(
        self,
        settings: AccessSettings,
        clock: Clock,
        spawn: Callable[[Coroutine[Any, Any, object]], None],
        *,
        condition_bytes: int,
        token_leeway_s: int,
    ) -> None:
        """`condition_bytes` bounds a condition of a policy, `token_leeway_s` how far issuers' clocks may differ."""
        self._settings = settings
        self.policies = Policies(PolicyExpressions(text_limit_bytes=condition_bytes))
        self.revocations = Revocations(token_leeway_s * 1_000_000)
        self._clock = clock
        self._spawn = spawn
        self.peers = Peers(settings.trusted_proxies)
        self.blocks = AddressBlocks(clock)
        self.tenants = Tenants()
        self.addresses = AddressBook(self.policy_of, self.blocks.blocking, settings.operator_tenant)
        self.standing = Standing(self.revocations, self.blocks, self.addresses, clock)
        self.streams = OpenStreams(self.standing, clock)
        self.door = Door(self.addresses, self.peers, clock)
        self.request_limits = RequestLimits(
            self.policy_of,
            self.tenants,
            self.addresses,
            clock,
            operator_tenant=settings.operator_tenant,
            tenants_must_exist=settings.tenants_must_exist,
        )
        self._refusal_log: RefusalLog | None = None
        self._refusals: Refusals | None = None

    async def load(self, store: EventStore) -> None:
        """Fold what is recorded about access."""
        await self.policies.load(store)
        await load_revocations(store, self.revocations)
        journal = Journal(store)
        await self.blocks.load(store, journal)
        self.blocks.on_block(self.streams.end_blocked)
        await self.tenants.load(store, journal)
        self._refusal_log = RefusalLog(journal, self._clock, self._spawn)
        self._refusals = Refusals(
            self._refusal_log,
            Lockouts(self.policy_of),
            self.blocks,
            peers=self.peers,
            clock=self._clock,
            operator_tenant=self._settings.operator_tenant,
        )

    def policy_of(self, tenant: str) -> Policy:
        """The policy of a tenant."""
        return self.policies.policy_of(tenant)

    def guards(self, tokens: Tokens) -> list[Guard]:
        """What every RPC passes, in order: the door, who calls, and whether that caller may call the method."""
        authentication = Authentication(
            tokens,
            self._clock,
            self.policy_of,
            self.revocations,
            peers=self.peers,
            check_caller=self.request_limits,
            operator_tenant=self._settings.operator_tenant,
        )
        return [self.door, authentication]

    async def refused(self, method: str, context: Context, error: DomainError) -> None:
        """Record a refusal, once there is a log. Before that nothing is served."""
        if self._refusals is not None:
            await self._refusals(method, context, error)

    async def drain(self) -> None:
        """Record the refusals that were only counted so far."""
        if self._refusal_log is not None:
            await self._refusal_log.flush()
