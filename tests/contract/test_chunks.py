"""What streamed output promises: durable once, in order, placed among the events."""

import asyncio

import pytest

from store.contract import ChunkGapError, StreamMissingError
from tests.contract.events import TENANT, append_to, chunks


async def test_chunks_get_ordinals_in_commit_order(store):
    await store.append(append_to("a", 2))
    await store.append(append_to("b"))
    first = await store.append_chunks(chunks("a", [1, 2]))
    await store.append(append_to("a", at=2))
    second = await store.append_chunks(chunks("b", [1]))
    third = await store.append_chunks(chunks("a", [3]))
    assert [chunk.ordinal for chunk in first + second + third] == [1, 2, 3, 4]
    assert [chunk.position for chunk in first + second + third] == [3, 3, 4, 4]
    assert await store.read_chunks(TENANT, "a") == first + third
    assert await store.read_chunks(TENANT, "b") == second


async def test_a_chunk_that_is_sent_again_is_left_as_it_is(store):
    await store.append(append_to("a"))
    first = await store.append_chunks(chunks("a", [1, 2]))
    again = await store.append_chunks(chunks("a", [1, 2, 3]))
    assert again[:2] == first
    assert await store.read_attempt_chunks(TENANT, "a", "step_1", 1) == again


async def test_a_chunk_that_is_twice_in_one_call_is_recorded_once(store):
    await store.append(append_to("a"))
    one, two, one_again = await store.append_chunks(chunks("a", [1, 2, 1]))
    assert one == one_again
    assert await store.read_chunks(TENANT, "a") == [one, two]


async def test_attempts_are_numbered_apart(store):
    await store.append(append_to("a"))
    recorded = await store.append_chunks(
        [*chunks("a", [1]), *chunks("a", [1], attempt=2), *chunks("a", [1], step_id="step_2"), *chunks("a", [2])]
    )
    assert await store.read_attempt_chunks(TENANT, "a", "step_1", 1) == [recorded[0], recorded[3]]
    assert await store.read_attempt_chunks(TENANT, "a", "step_1", 2) == [recorded[1]]
    assert await store.read_attempt_chunks(TENANT, "a", "step_2", 1) == [recorded[2]]
    assert await store.read_attempt_chunks(TENANT, "a", "step_3", 1) == []
    for nowhere in (("a", "step_1", 2**32 - 1), ("a", "step\x00", 1), ("a\x00", "step_1", 1)):
        assert await store.read_attempt_chunks(TENANT, *nowhere) == []


async def test_a_gap_is_refused_and_nothing_of_the_call_is_recorded(store):
    await store.append(append_to("a"))
    with pytest.raises(ChunkGapError) as refused:
        await store.append_chunks(chunks("a", [1, 3]))
    assert (refused.value.expected, refused.value.actual) == (2, 3)
    assert await store.read_chunks(TENANT, "a") == []
    assert [chunk.ordinal for chunk in await store.append_chunks(chunks("a", [1]))] == [1]


async def test_a_chunk_of_a_workflow_that_is_not_recorded_is_refused(store):
    with pytest.raises(StreamMissingError):
        await store.append_chunks(chunks("a", [1]))


async def test_chunks_are_read_in_pages(store):
    await store.append(append_to("a"))
    recorded = await store.append_chunks(chunks("a", range(1, 6)))
    assert await store.read_chunks(TENANT, "a", limit=2) == recorded[:2]
    assert await store.read_chunks(TENANT, "a", after_ordinal=2, limit=2) == recorded[2:4]
    assert await store.read_chunks(TENANT, "a", after_ordinal=5) == []


async def test_chunks_are_placed_after_the_append_that_queued_before_them(store):
    submitted = []
    store.submit(append_to("a"), submitted.append)
    waiting = asyncio.ensure_future(store.append_chunks(chunks("a", [1])))
    await asyncio.sleep(0)
    store.submit(append_to("a", at=1), submitted.append)
    [chunk] = await waiting
    assert chunk.position == 1


async def test_chunks_continue_after_a_restart(make_store):
    store = make_store()
    await store.open()
    await store.append(append_to("a"))
    first = await store.append_chunks(chunks("a", [1, 2]))
    await store.close()
    store = make_store()
    await store.open()
    again = await store.append_chunks(chunks("a", [2, 3]))
    assert again[0] == first[1]
    assert again[1].ordinal == 3
    await store.close()
