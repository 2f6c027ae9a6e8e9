"""The networks that are blocked, by somebody or after too many failures: a stream a tenant, folded at start.

A block is in force once it is durable. One that expires ends by itself, without an event. Of lockouts a tenant has so
many at once, and the oldest makes room: whoever changes addresses all the time costs bounded memory, and gets nobody's
block by hand out of the way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from podium.v1 import events_pb2, policy_pb2
from service.domain.addresses import LOCAL_SOCKET, Network, NetworkTable, parse_address, parse_network
from service.domain.errors import InvalidInput, NotFound
from service.engine.journal import Journal
from service.engine.resident import Cause
from service.engine.timers import Clock
from store.contract import EventReader, RecordedEvent
from store.records import decode_record, known_payload

STREAM_ID = "addresses"
_US_PER_MS = 1000
LOCKOUTS_MAX = 10_000
"""Lockouts of a tenant that may be in force at once."""
_DURATION_MAX_MS = 10 * 365 * 86_400_000


class Block(NamedTuple):
    """A network that may not call."""

    network: Network
    reason: str
    blocked_at_us: int
    expires_at_us: int
    failures: int

    def in_force(self, now_us: int) -> bool:
        """Whether it has not expired."""
        return not self.expires_at_us or now_us < self.expires_at_us


class _TenantBlocks:
    """The blocks of one tenant. Somebody may block a network that is locked out too, and both are in force."""

    def __init__(self) -> None:
        self.by_hand: NetworkTable[Block] = NetworkTable()
        self.lockouts: NetworkTable[Block] = NetworkTable()

    def add(self, block: Block) -> None:
        """Add a block, and forget what has ended by the time it was made."""
        if not block.failures:
            _drop_expired(self.by_hand, block.blocked_at_us)
            self.by_hand.put(block.network, block)
            return
        # They last equally long under one policy: the oldest end first.
        while (oldest := next(iter(self.lockouts.values()), None)) is not None:
            if len(self.lockouts) < LOCKOUTS_MAX and oldest.in_force(block.blocked_at_us):
                break
            self.lockouts.remove(oldest.network)
        self.lockouts.put(block.network, block)

    def remove(self, network: Network) -> None:
        """Forget a network."""
        self.by_hand.remove(network)
        self.lockouts.remove(network)

    def of_network(self, network: Network, now_us: int) -> Block | None:
        """The block in force of exactly this network."""
        for table in (self.by_hand, self.lockouts):
            block = table.get(network)
            if block is not None and block.in_force(now_us):
                return block
        return None

    def in_force(self, now_us: int) -> Iterator[Block]:
        """The blocks in force, one a network."""
        yield from (block for block in self.by_hand.values() if block.in_force(now_us))
        for block in self.lockouts.values():
            if self.of_network(block.network, now_us) is block:
                yield block


def _drop_expired(table: NetworkTable[Block], now_us: int) -> None:
    for expired in [block.network for block in table.values() if not block.in_force(now_us)]:
        table.remove(expired)


class AddressBlocks:
    """All blocks of all tenants, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._journal: Journal | None = None
        self._blocks: dict[str, _TenantBlocks] = {}
        self._on_block: Callable[[Network], object] | None = None
        self.revision = 0
        """How many blocks came into force."""

    def on_block(self, told: Callable[[Network], object]) -> None:
        """Have somebody told of each network that is blocked from now on, whoever blocks it."""
        self._on_block = told

    async def load(self, reader: EventReader, journal: Journal) -> None:
        """Fold the streams."""
        self._journal = journal
        for tenant, stream_id in await reader.list_streams(STREAM_ID):
            if stream_id == STREAM_ID:
                for recorded in await reader.read_stream(tenant, stream_id):
                    self._fold(recorded)

    def blocking(self, tenant: str, address: str, now_us: int) -> str:
        """The network in force that holds an address; empty: none does."""
        blocks = self._blocks.get(tenant)
        if blocks is None or address == LOCAL_SOCKET:
            return ""
        parsed = parse_address(address)
        if parsed is None:
            return ""
        for table in (blocks.by_hand, blocks.lockouts):
            for block in table.holding(parsed):
                if block.in_force(now_us):
                    return str(block.network)
        return ""

    def listed(self, tenant: str) -> list[Block]:
        """The blocks in force, by network."""
        blocks = self._blocks.get(tenant)
        found = blocks.in_force(self._clock.now_us()) if blocks is not None else ()
        return sorted(found, key=lambda block: network_order(block.network))

    async def block(
        self, tenant: str, network: Network, *, reason: str, duration_ms: int = 0, cause: Cause | None = None
    ) -> int:
        """Block a network, for a time or (0) until it is taken back. Returns the event's position."""
        event = events_pb2.AddressBlocked(
            network=str(network), reason=reason, expires_at_us=self._end_us(duration_ms) if duration_ms else 0
        )
        return (await self._submit(tenant, event, cause)).position

    def lock_out(self, tenant: str, network: Network, rule: policy_pb2.Lockout) -> asyncio.Future[RecordedEvent]:
        """Block a network after too many failures. It will be, whether or not somebody waits for what is returned."""
        event = events_pb2.AddressBlocked(
            network=str(network),
            reason=f"{rule.failures} failures within {rule.within_ms} ms",
            expires_at_us=self._end_us(max(1, rule.block_ms)),
            failures=rule.failures,
        )
        return self._submit(tenant, event)

    async def unblock(self, tenant: str, network: Network, cause: Cause | None = None) -> int:
        """Take a block back. Raises NotFound. Returns the event's position."""
        blocks = self._blocks.get(tenant)
        if blocks is None or blocks.of_network(network, self._clock.now_us()) is None:
            raise NotFound("ADDRESS_NOT_BLOCKED", f"{network} is not blocked as such; the list tells what is")
        return (await self._submit(tenant, events_pb2.AddressUnblocked(network=str(network)), cause)).position

    def _end_us(self, duration_ms: int) -> int:
        return self._clock.now_us() + min(duration_ms, _DURATION_MAX_MS) * _US_PER_MS

    def _submit(
        self, tenant: str, event: events_pb2.AddressBlocked | events_pb2.AddressUnblocked, cause: Cause | None = None
    ) -> asyncio.Future[RecordedEvent]:
        assert self._journal is not None, "load comes first"
        return self._journal.submit(tenant, STREAM_ID, event, cause, self._fold)

    def _fold(self, recorded: RecordedEvent) -> None:
        event = known_payload(decode_record(recorded.record))
        blocks = self._blocks.setdefault(recorded.tenant, _TenantBlocks())
        if isinstance(event, events_pb2.AddressBlocked):
            network = parse_network(event.network)
            blocks.add(Block(network, event.reason, recorded.recorded_at_us, event.expires_at_us, event.failures))
            self.revision += 1
            if self._on_block is not None:
                self._on_block(network)
        elif isinstance(event, events_pb2.AddressUnblocked):
            blocks.remove(parse_network(event.network))


def network_order(network: Network) -> tuple[int, int, int]:
    """By what networks are listed."""
    return network.version, int(network.network_address), network.prefixlen


def network_named(text: str, field: str) -> Network:
    """The network that a request names. Raises InvalidInput."""
    try:
        return parse_network(text)
    except ValueError:
        problem = "is no address and no network such as 203.0.113.0/24, with no bits set beside its mask"
        raise InvalidInput("INVALID_NETWORK", f"{field} {problem}", violations=[(field, problem)]) from None
