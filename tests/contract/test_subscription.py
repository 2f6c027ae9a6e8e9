"""What a subscription promises: every event once and in order, from any position, whatever the pace."""

import asyncio
from contextlib import suppress

import pytest

from store.contract import CursorAheadError, StoreClosedError
from tests.contract.events import append_to


async def taken(subscription, count):
    """Take batches until `count` events have come; the positions, and the last batch."""
    positions = []
    async for batch in subscription:
        positions.extend(event.position for event in batch.events)
        assert not batch.events or batch.position >= batch.events[-1].position
        if len(positions) >= count:
            return positions, batch
    pytest.fail("the subscription ended")


async def test_what_is_stored_comes_first_and_then_what_commits(store):
    await store.append(append_to("a", 3))
    subscription = store.subscribe()
    positions, batch = await taken(subscription, 3)
    assert positions == [1, 2, 3]
    assert (batch.position, batch.caught_up) == (3, True)
    await store.append(append_to("b", 2))
    positions, batch = await taken(subscription, 2)
    assert positions == [4, 5]
    assert batch.caught_up


async def test_an_empty_log_is_caught_up_at_once(store):
    batch = await anext(store.subscribe())
    assert (list(batch.events), batch.position, batch.caught_up) == ([], 0, True)


async def test_a_follower_waits_for_the_next_commit(store):
    subscription = store.subscribe()
    await anext(subscription)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    assert not waiting.done()
    await store.append(append_to("a"))
    assert [event.position for event in (await waiting).events] == [1]


@pytest.mark.parametrize("position", [0, 1, 4, 9])
async def test_a_follower_resumes_from_any_position(store, position):
    for version in range(0, 9, 3):
        await store.append(append_to("a", 3, at=version))
    subscription = store.subscribe(position)
    await store.append(append_to("b"))
    positions, _ = await taken(subscription, 10 - position)
    assert positions == list(range(position + 1, 11))


async def test_a_position_beyond_the_log_is_refused(store):
    await store.append(append_to("a"))
    with pytest.raises(CursorAheadError):
        await anext(store.subscribe(2))


async def test_followers_of_every_pace_see_every_event_once(store):
    async def follow(start, pause):
        positions = []
        async for batch in store.subscribe(start):
            positions.extend(event.position for event in batch.events)
            if batch.position == 310:
                break
            for _ in range(pause):
                await asyncio.sleep(0)
        return positions

    async def write(name):
        for version in range(0, 100, 2):
            await store.append(append_to(name, 2, at=version))

    await store.append(append_to("before", 10))
    followers = [asyncio.ensure_future(follow(start, pause)) for start in (0, 7) for pause in (0, 1, 50)]
    await asyncio.gather(*(write(name) for name in "abc"))
    followers.append(asyncio.ensure_future(follow(123, 0)))
    for start, positions in zip([0, 0, 0, 7, 7, 7, 123], await asyncio.gather(*followers), strict=True):
        assert positions == list(range(start + 1, 311))


async def test_a_follower_of_one_tenant_sees_only_its_events(store):
    await store.append(append_to("a", 2, tenant="one"))
    await store.append(append_to("a", 2, tenant="two"))
    subscription = store.subscribe(tenant="two")
    assert (await taken(subscription, 2))[0] == [3, 4]
    await store.append(append_to("b", tenant="one"))
    await store.append(append_to("b", tenant="two"))
    positions, batch = await taken(subscription, 1)
    assert positions == [6]
    assert batch.position == 6


async def test_a_follower_of_an_idle_tenant_hears_how_far_the_log_has_come(store):
    subscription = store.subscribe(tenant="idle")
    await anext(subscription)
    waiting = asyncio.ensure_future(anext(subscription))
    version = 0
    while not waiting.done():
        await store.append(append_to("a", 500, at=version))
        version += 500
        assert version < 10_000
    batch = await waiting
    assert list(batch.events) == []
    assert 0 < batch.position <= store.head


async def test_a_follower_that_stops_waiting_leaves_nothing_behind(store):
    subscription = store.subscribe()
    await anext(subscription)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    await store.append(append_to("a"))
    assert (await taken(store.subscribe(), 1))[0] == [1]


async def test_followers_are_told_when_the_store_closes(store):
    subscription = store.subscribe()
    await anext(subscription)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(StoreClosedError):
        await waiting
