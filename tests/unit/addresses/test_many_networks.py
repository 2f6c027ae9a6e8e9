"""What it costs to look an address up among many networks, and how many are kept."""

import asyncio
import random
import sys
from ipaddress import ip_address, ip_network

from podium.v1 import policy_pb2
from service.domain.addresses import NetworkTable, Rules, parse_address
from service.engine.address_blocks import LOCKOUTS_MAX, AddressBlocks
from service.engine.journal import Journal
from tests.contract.model import ModelDatabase, ModelStore

SECOND_US = 1_000_000
HOUR_MS = 3_600_000
LOCKOUT = policy_pb2.Lockout(failures=3, within_ms=60_000, block_ms=HOUR_MS)


def calls_of(question):
    """How many functions are called to answer."""
    count = 0

    def profile(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    # As for an address that nobody has called from yet.
    parse_address.cache_clear()
    sys.setprofile(profile)
    try:
        question()
    finally:
        sys.setprofile(None)
    return count


def network(number):
    """One /64 of many."""
    return ip_network((0x20010DB8 << 96 | number << 64, 64))


def few_bits(chance, octets):
    """An address of which few bits are set, so that networks often hold each other."""
    return bytes([chance.getrandbits(8) & 0xE0]) + bytes(octets - 2) + bytes([chance.getrandbits(1)])


class HandClock:
    def __init__(self):
        self.us = 1_700_000_000 * SECOND_US

    def now_us(self):
        return self.us


async def some_blocks(clock, count):
    store = ModelStore(ModelDatabase(), clock)
    await store.open()
    blocks = AddressBlocks(clock)
    await blocks.load(store, Journal(store))
    for number in range(count):
        await blocks.lock_out("acme", network(number), LOCKOUT)
    return store, blocks


def test_a_table_finds_what_a_look_at_each_network_finds():
    chance = random.Random(7)
    for _ in range(200):
        octets = chance.choice([4, 16])
        table, networks = NetworkTable(), {}
        for _ in range(30):
            each = ip_network((few_bits(chance, octets), chance.randint(0, 8 * octets)), strict=False)
            table.put(each, each)
            networks[each] = None
        for each in chance.sample(list(networks), len(networks) // 3):
            table.remove(each)
            table.remove(each)
            del networks[each]
        for _ in range(20):
            address = ip_address(few_bits(chance, octets))
            assert set(table.holding(address)) == {each for each in networks if address in each}
        other = ip_address(bytes(20 - octets))
        assert list(table.holding(other)) == []


def test_an_address_costs_no_more_among_ten_thousand_networks_than_among_ten():
    def cost(count):
        rules = Rules(policy_pb2.AddressRules(block=[str(network(number)) for number in range(count)]))
        assert rules.refusing(str(network(3)[5])) == f"block:{network(3)}"
        address = str(network(1 << 20)[1])
        return calls_of(lambda: rules.refusing(address))

    assert cost(10_000) == cost(10)


def test_an_address_costs_no_more_among_thousands_of_blocks_than_among_ten():
    async def cost(count):
        clock = HandClock()
        _, blocks = await some_blocks(clock, count)
        address = str(network(1 << 20)[1])
        return calls_of(lambda: blocks.blocking("acme", address, clock.us))

    assert asyncio.run(cost(5_000)) == asyncio.run(cost(10))


def test_of_too_many_lockouts_the_oldest_makes_room_and_a_block_by_hand_never_does():
    async def scene():
        clock = HandClock()
        store, blocks = await some_blocks(clock, 2)
        await blocks.block("acme", ip_network("203.0.113.0/24"), reason="scans", duration_ms=HOUR_MS)
        for number in range(2, LOCKOUTS_MAX + 1):
            await blocks.lock_out("acme", network(number), LOCKOUT)
        again = AddressBlocks(clock)
        await again.load(store, Journal(store))
        for each in (blocks, again):
            assert len(each.listed("acme")) == LOCKOUTS_MAX + 1
            assert each.blocking("acme", str(network(0)[1]), clock.us) == ""
            assert each.blocking("acme", str(network(1)[1]), clock.us) == str(network(1))
            assert each.blocking("acme", "203.0.113.9", clock.us) == "203.0.113.0/24"

    asyncio.run(scene())


def test_lockouts_that_have_ended_make_room_first_and_cost_no_memory():
    async def scene():
        clock = HandClock()
        _, blocks = await some_blocks(clock, 100)
        clock.us += 2 * HOUR_MS * 1000
        assert blocks.listed("acme") == []
        await blocks.lock_out("acme", network(500), LOCKOUT)
        assert len(blocks._blocks["acme"].lockouts) == 1  # noqa: SLF001 - a leak is seen nowhere else

    asyncio.run(scene())


def test_a_lockout_does_not_shorten_a_block_by_hand():
    async def scene():
        clock = HandClock()
        _, blocks = await some_blocks(clock, 0)
        await blocks.block("acme", network(1), reason="for good")
        await blocks.lock_out("acme", network(1), LOCKOUT)
        [listed] = blocks.listed("acme")
        assert (listed.reason, listed.expires_at_us) == ("for good", 0)
        clock.us += 2 * HOUR_MS * 1000
        assert blocks.blocking("acme", str(network(1)[1]), clock.us) == str(network(1))
        await blocks.unblock("acme", network(1))
        assert blocks.blocking("acme", str(network(1)[1]), clock.us) == ""

    asyncio.run(scene())
