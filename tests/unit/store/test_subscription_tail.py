"""The memory of the newest events: bounded, shared, and never the reason that something is skipped."""

import asyncio

import pytest

from store.contract import Append
from store.subscription import BATCH_EVENTS, WHOLE_BATCH_EVENTS, Subscription, Tail
from tests.contract.events import TENANT, append_to, to_stream
from tests.contract.model import ModelDatabase, ModelStore


class CountingStore(ModelStore):
    """Counts how often the database is asked."""

    reads = 0

    async def read_all(self, after_position=0, limit=1000, tenant=None):
        self.reads += 1
        return await super().read_all(after_position, limit, tenant)


async def store_and_tail(clock, **bounds):
    store = CountingStore(ModelDatabase(), clock)
    await store.open()
    return store, Tail(0, **bounds)


async def published(store, tail, append):
    tail.publish((await store.append(append)).events)


async def test_close_followers_never_ask_the_database(clock):
    store, tail = await store_and_tail(clock)
    followers = [Subscription(store, tail, 0, tenant) for tenant in [None, "acme", "other"] for _ in range(300)]
    seen = [0] * len(followers)
    all_seen = asyncio.Event()

    async def follow(index):
        async for batch in followers[index]:
            seen[index] += len(batch.events)
            if sum(seen) == 300 * 20 * 6:
                all_seen.set()

    tasks = [asyncio.ensure_future(follow(index)) for index in range(len(followers))]
    for version in range(20):
        await published(
            store, tail, Append([to_stream("a", at=version), to_stream("b", 2, at=2 * version, tenant="other")])
        )
    await all_seen.wait()
    assert seen == [60] * 300 + [20] * 300 + [40] * 300
    assert store.reads == 0
    tail.close()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_close_followers_share_one_batch(clock):
    store, tail = await store_and_tail(clock)
    await published(store, tail, append_to("a", 3))
    first, second = [await anext(Subscription(store, tail, 0, None)) for _ in range(2)]
    assert first is second


async def test_a_slow_follower_reads_the_database_until_it_has_caught_up(clock):
    store, tail = await store_and_tail(clock, max_events=10)
    slow = Subscription(store, tail, 0, None)
    await anext(slow)
    for version in range(0, 100, 5):
        await published(store, tail, append_to("a", 5, at=version))
    batch = await anext(slow)
    assert [event.position for event in batch.events] == list(range(1, 101))
    assert batch.caught_up
    assert store.reads == 1
    await published(store, tail, append_to("b"))
    assert [event.position for event in (await anext(slow)).events] == [101]
    assert store.reads == 1


async def test_the_memory_is_bounded_in_events_and_in_bytes(clock):
    for bounds in ({"max_events": 10}, {"max_bytes": 10 * 70}):
        store, tail = await store_and_tail(clock, **bounds)
        for version in range(0, 100, 5):
            await published(store, tail, append_to("a", 5, at=version))
        assert tail.since(0, None) is None
        assert tail.since(79, None) is None
        assert tail.since(95, None).position == 100


async def test_a_group_beyond_the_bounds_is_not_kept(clock):
    store, tail = await store_and_tail(clock, max_events=10)
    follower = Subscription(store, tail, 0, None)
    await anext(follower)
    await published(store, tail, append_to("a", 50))
    assert len((await anext(follower)).events) == 50
    assert store.reads == 1


@pytest.mark.parametrize(("tenant", "limit"), [(TENANT, BATCH_EVENTS), (None, WHOLE_BATCH_EVENTS)])
async def test_a_batch_is_bounded(clock, tenant, limit):
    store, tail = await store_and_tail(clock)
    await published(store, tail, append_to("a", limit + 10))
    await published(store, tail, append_to("b", 5))
    follower = Subscription(store, tail, 3, tenant)
    first, second = await anext(follower), await anext(follower)
    assert (len(first.events), first.position, first.caught_up) == (limit, limit + 3, False)
    assert (len(second.events), second.position, second.caught_up) == (12, limit + 15, True)


async def test_an_idle_tenant_costs_nothing_between_reports(clock):
    store, tail = await store_and_tail(clock, report_every=10)
    idle = Subscription(store, tail, 0, "idle")
    await anext(idle)
    waiting = asyncio.ensure_future(anext(idle))
    for version in range(9):
        await published(store, tail, append_to("a", at=version))
        await asyncio.sleep(0)
    assert not waiting.done()
    await published(store, tail, append_to("a", at=9))
    batch = await waiting
    assert (list(batch.events), batch.position) == ([], 10)
    assert store.reads == 0


async def test_a_commit_that_a_reader_saw_first_is_not_delivered_twice(clock):
    store, tail = await store_and_tail(clock)
    committed = await store.append(append_to("a", 2))
    early = Subscription(store, tail, 2, None)
    assert (await anext(early)).position == 2
    waiting = asyncio.ensure_future(anext(early))
    await asyncio.sleep(0)
    tail.publish(committed.events)
    assert list((await waiting).events) == []
    await published(store, tail, append_to("b"))
    assert [event.position for event in (await anext(early)).events] == [3]
