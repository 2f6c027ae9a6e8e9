"""Blocks and tenants on virtual time: callers that go away before what they caused is durable."""

import asyncio
import dataclasses
from ipaddress import ip_network

import pytest

from podium.v1 import events_pb2, policy_pb2, value_pb2
from service.api.peers import Peers
from service.api.refusals import Refusals
from service.domain.errors import AlreadyExists, Unauthenticated
from service.domain.permissions import DEFAULT_POLICY
from service.engine.address_blocks import AddressBlocks
from service.engine.journal import Journal
from service.engine.lockouts import Lockouts
from service.engine.refusal_log import WAIT_S, RefusalLog
from service.engine.resident import Cause
from service.engine.tenants import NO_QUOTAS, Tenants
from service.tasks import Tasks
from store.contract import StoreError
from tests.contract.model import ModelDatabase, ModelStore
from tests.simulation.deaf_store import DeafStore
from tests.simulation.virtual_time import VirtualClock, elapse, run_virtually

FAILURES = 3
OPERATOR = "operators"
BLOCK = events_pb2.AddressBlocked(network="203.0.113.0/24")
CAUSE = Cause(value_pb2.Principal(subject="ana"), "")


class Context:
    """An RPC of a caller at 192.0.2.1."""

    def peer(self):
        return "ipv4:192.0.2.1:5000"

    def invocation_metadata(self):
        return ()


class Stage:
    """What refuses and blocks, over a store that answers when the test says so."""

    def __init__(self, loop):
        self.clock = VirtualClock(loop)
        self.store = ModelStore(ModelDatabase(), self.clock)
        self.deaf = DeafStore(self.store)
        self.tasks = Tasks()
        self.blocks = AddressBlocks(self.clock)
        self.tenants = Tenants()
        self.refusals = None

    async def begin(self):
        await self.store.open()
        journal = Journal(self.deaf)
        await self.blocks.load(self.store, journal)
        await self.tenants.load(self.store, journal)
        lockout = policy_pb2.Lockout(failures=FAILURES, within_ms=60_000, block_ms=60_000)
        policy = dataclasses.replace(DEFAULT_POLICY, addresses=policy_pb2.AddressRules(lockout=lockout))
        self.refusals = Refusals(
            RefusalLog(journal, self.clock, self.tasks.spawn),
            Lockouts(lambda _tenant: policy),
            self.blocks,
            peers=Peers(),
            clock=self.clock,
            operator_tenant=OPERATOR,
        )

    def fail(self):
        """Begins an RPC that does not authenticate."""
        error = Unauthenticated("TOKEN_INVALID", "no")
        return asyncio.ensure_future(self.refusals("/podium.v1.ToolService/ListTools", Context(), error))

    def blocked(self):
        return self.blocks.blocking(OPERATOR, "192.0.2.1", self.clock.now_us())


def play(scene):
    async def main(loop):
        stage = Stage(loop)
        await stage.begin()
        try:
            await scene(stage)
        finally:
            await stage.tasks.close()

    run_virtually(main)


async def cancel_soon(task):
    """Lets a task run until it waits, and cancels it."""
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def test_who_resets_every_rpc_is_locked_out_all_the_same():
    async def scene(stage):
        for _ in range(FAILURES):
            await cancel_soon(stage.fail())
        assert stage.blocked() == ""
        stage.deaf.answer()
        await elapse(1)
        assert stage.blocked() == "192.0.2.1/32"

    play(scene)


def test_fewer_failures_than_the_policy_allows_lock_nobody_out():
    async def scene(stage):
        for _ in range(FAILURES - 1):
            await cancel_soon(stage.fail())
        stage.deaf.answer()
        await elapse(1)
        assert stage.blocked() == ""

    play(scene)


def test_the_block_is_in_force_when_the_caller_hears_of_its_last_failure():
    async def scene(stage):
        stage.deaf.answer()
        for _ in range(FAILURES):
            assert stage.blocked() == ""
            await stage.fail()
        assert stage.blocked() == "192.0.2.1/32"

    play(scene)


@pytest.mark.parametrize("outcome", [None, StoreError("the disk is full")], ids=["silent", "refusing"])
def test_a_block_that_cannot_be_recorded_delays_a_refusal_for_a_bounded_time(outcome):
    async def scene(stage):
        began_us = stage.clock.now_us()
        callers = [stage.fail() for _ in range(FAILURES)]
        await asyncio.sleep(0)
        if outcome is not None:
            stage.deaf.answer(outcome)
        await asyncio.gather(*callers)
        assert stage.clock.now_us() - began_us <= (2 * WAIT_S + 0.1) * 1_000_000
        if outcome is None:
            stage.deaf.answer()

    play(scene)


def test_a_block_whose_caller_went_away_is_in_force_once_it_is_durable():
    async def scene(stage):
        network = ip_network("203.0.113.0/24")
        await cancel_soon(asyncio.ensure_future(stage.blocks.block("acme", network, reason="scans", cause=CAUSE)))
        stage.deaf.answer()
        await elapse(1)
        assert stage.blocks.blocking("acme", "203.0.113.9", stage.clock.now_us()) == "203.0.113.0/24"
        await cancel_soon(asyncio.ensure_future(stage.blocks.unblock("acme", network, CAUSE)))
        await elapse(1)
        assert stage.blocks.blocking("acme", "203.0.113.9", stage.clock.now_us()) == ""

    play(scene)


def test_a_tenant_whose_maker_went_away_is_there_and_is_not_made_again():
    async def scene(stage):
        def make():
            return asyncio.ensure_future(stage.tenants.configure("acme", "Acme", NO_QUOTAS, CAUSE, create=True))

        first = make()
        await asyncio.sleep(0)
        first.cancel()
        second = make()
        await elapse(1)
        stage.deaf.answer()
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert isinstance(second.exception(), AlreadyExists)
        assert "acme" in stage.tenants
        assert len(await stage.store.read_stream("acme", "tenant")) == 1

    play(scene)


def test_events_that_were_submitted_at_once_are_recorded_in_order():
    async def scene(stage):
        stage.deaf.answer()
        earlier = Journal(stage.store)
        await earlier.record("acme", "addresses", BLOCK)
        journal, folded = Journal(stage.store), []
        waits = [journal.submit("acme", "addresses", BLOCK, None, folded.append) for _ in range(4)]
        waits[1].cancel()
        await asyncio.wait(waits)
        assert [each.stream_version for each in folded] == [2, 3, 4, 5]

    play(scene)
