"""The networks that are blocked, by somebody or after too many failures: a stream a tenant, folded at start.

A block is in force once it is durable. One that expires ends by itself, without an event.
"""

from __future__ import annotations

from typing import NamedTuple

from podium.v1 import events_pb2
from service.domain.addresses import LOCAL_SOCKET, Network, first_holding, parse_address, parse_network
from service.domain.errors import InvalidInput, NotFound
from service.engine.journal import Journal
from service.engine.resident import Cause
from service.engine.timers import Clock
from store.contract import EventReader, RecordedEvent
from store.records import decode_record, known_payload

STREAM_ID = "addresses"
_US_PER_MS = 1000
_REMEMBERED = 4096
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


class AddressBlocks:
    """All blocks of all tenants, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._journal: Journal | None = None
        self._blocks: dict[str, dict[Network, Block]] = {}
        self._holding: dict[tuple[str, str], list[Block]] = {}
        """By tenant and address: the blocks that hold it, expired ones among them. Forgotten with every change."""

    async def load(self, reader: EventReader, journal: Journal) -> None:
        """Fold the streams."""
        self._journal = journal
        for tenant, stream_id in await reader.list_streams(STREAM_ID):
            if stream_id == STREAM_ID:
                for recorded in await reader.read_stream(tenant, stream_id):
                    self._fold(recorded)

    def blocking(self, tenant: str, address: str, now_us: int) -> str:
        """The network in force that holds an address; empty: none does."""
        if not self._blocks.get(tenant) or address == LOCAL_SOCKET:
            return ""
        holding = self._holding.get((tenant, address))
        if holding is None:
            holding = self._look_up(tenant, address)
        return next((str(block.network) for block in holding if block.in_force(now_us)), "")

    def listed(self, tenant: str) -> list[Block]:
        """The blocks in force, by network."""
        now_us = self._clock.now_us()
        blocks = [block for block in self._blocks.get(tenant, {}).values() if block.in_force(now_us)]
        return sorted(blocks, key=lambda block: (block.network.version, block.network))

    async def block(
        self,
        tenant: str,
        network: Network,
        *,
        reason: str,
        duration_ms: int = 0,
        failures: int = 0,
        cause: Cause | None = None,
    ) -> int:
        """Block a network, for a time or (0) until it is taken back. Returns the event's position."""
        expires_at_us = self._clock.now_us() + min(duration_ms, _DURATION_MAX_MS) * _US_PER_MS if duration_ms else 0
        event = events_pb2.AddressBlocked(
            network=str(network), reason=reason, expires_at_us=expires_at_us, failures=failures
        )
        return await self._record(tenant, event, cause)

    async def unblock(self, tenant: str, network: Network, cause: Cause | None = None) -> int:
        """Take a block back. Raises NotFound. Returns the event's position."""
        block = self._blocks.get(tenant, {}).get(network)
        if block is None or not block.in_force(self._clock.now_us()):
            raise NotFound("ADDRESS_NOT_BLOCKED", f"{network} is not blocked as such; the list tells what is")
        return await self._record(tenant, events_pb2.AddressUnblocked(network=str(network)), cause)

    async def _record(
        self, tenant: str, event: events_pb2.AddressBlocked | events_pb2.AddressUnblocked, cause: Cause | None
    ) -> int:
        assert self._journal is not None, "load comes first"
        recorded = await self._journal.record(tenant, STREAM_ID, event, cause)
        self._fold(recorded)
        return recorded.position

    def _fold(self, recorded: RecordedEvent) -> None:
        event = known_payload(decode_record(recorded.record))
        blocks = self._blocks.setdefault(recorded.tenant, {})
        now_us = self._clock.now_us()
        for expired in [block.network for block in blocks.values() if not block.in_force(now_us)]:
            del blocks[expired]
        if isinstance(event, events_pb2.AddressBlocked):
            network = parse_network(event.network)
            blocks[network] = Block(network, event.reason, recorded.recorded_at_us, event.expires_at_us, event.failures)
        elif isinstance(event, events_pb2.AddressUnblocked):
            blocks.pop(parse_network(event.network), None)
        self._holding.clear()

    def _look_up(self, tenant: str, address: str) -> list[Block]:
        parsed = parse_address(address)
        blocks = self._blocks[tenant].values()
        holding = [block for block in blocks if parsed is not None and first_holding([block.network], parsed)]
        if len(self._holding) >= _REMEMBERED:
            self._holding.clear()
        self._holding[tenant, address] = holding
        return holding


def network_named(text: str, field: str) -> Network:
    """The network that a request names. Raises InvalidInput."""
    try:
        return parse_network(text)
    except ValueError:
        problem = "is no address and no network such as 203.0.113.0/24, with no bits set beside its mask"
        raise InvalidInput("INVALID_NETWORK", f"{field} {problem}", violations=[(field, problem)]) from None
