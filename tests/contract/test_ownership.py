"""What opening and closing promise: one owner, nothing lost, nothing invented."""

import asyncio

import pytest

from store.contract import DatabaseInUseError, OwnershipLostError, StoreClosedError
from store.records import decode_record
from tests.contract.events import TENANT, append_to, chunks, opening


async def test_of_two_who_open_it_one_alone_can_append(store, make_store):
    """A file is locked, so the second is refused; a Postgres is taken over, so the first is fenced off."""
    second = make_store()
    try:
        await second.open()
    except DatabaseInUseError:
        owner, other = store, second
    else:
        owner, other = second, store
    with pytest.raises((OwnershipLostError, StoreClosedError)):
        await other.append(append_to("a"))
    await owner.append(append_to("a"))
    assert owner.is_current
    assert not other.is_current
    assert [event.stream_version for event in await owner.read_stream(TENANT, "a")] == [1]
    await second.close()


async def test_a_database_that_was_closed_can_be_owned_again(store, make_store):
    await store.close()
    second = make_store()
    await second.open()
    await second.close()


async def test_a_store_goes_on_where_it_was_closed(make_store, clock):
    store = make_store()
    await store.open()
    await store.append(append_to("a", 2))
    await store.append(opening("b", wake_at_us=5))
    digest = await store.write_payload("new", b"kept")
    before = await store.read_all()
    await store.close()

    clock.now -= 60_000_000
    store = make_store()
    await store.open()
    assert store.head == 3
    assert await store.read_all() == before
    assert [entry.wake_at_us for entry in await store.open_workflows()] == [5]
    assert await store.read_payload("new", digest) == b"kept"
    committed = await store.append(append_to("a", at=2))
    [event] = committed.events
    assert (event.position, event.stream_version, event.recorded_at_us) == (4, 3, before[-1].recorded_at_us)
    assert decode_record(event.record).tenant_sequence == 4
    await store.append(append_to("c", tenant="new"))
    await store.close()


async def test_the_same_store_can_be_opened_again(store):
    await store.append(append_to("a"))
    await store.close()
    await store.open()
    await store.append(append_to("a", at=1))
    assert store.head == 2


async def test_closing_commits_what_was_submitted(store, make_store):
    outcomes = []
    for number in range(50):
        store.submit(append_to(f"stream {number}"), outcomes.append)
    await store.close()
    assert [outcome.last_position for outcome in outcomes] == list(range(1, 51))
    second = make_store()
    await second.open()
    assert second.head == 50
    await second.close()


async def test_closing_twice_is_harmless(store):
    await store.close()
    await store.close()


async def test_a_closed_store_does_nothing(store):
    await store.append(append_to("a"))
    await store.close()
    with pytest.raises(StoreClosedError):
        await store.append(append_to("b"))
    with pytest.raises(StoreClosedError):
        await store.append_chunks(chunks("a", [1]))
    with pytest.raises(StoreClosedError):
        await store.write_payload(TENANT, b"late")
    with pytest.raises(StoreClosedError):
        await store.read_all()
    refused = asyncio.get_running_loop().create_future()
    store.submit(append_to("b"), refused.set_result)
    assert isinstance(await refused, StoreClosedError)
