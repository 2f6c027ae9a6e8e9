"""What no database could hold is refused alone, on every store alike, and costs nobody else anything."""

import asyncio

import pytest

from store.contract import Append, DataKey, InvalidAppendError, OpenWorkflow, OutputChunk, Snapshot, StreamAppend
from store.units import NAME_BYTES
from tests.contract.events import TENANT, append_to, new_events, to_stream

NAMES = ["", "nul\0", "half \ud83d", "x" * (NAME_BYTES + 1), "é" * NAME_BYTES]


def named(stream_id, *, tenant=TENANT):
    # The envelope is another stream's: some of these names could not even be encoded.
    return Append([StreamAppend(tenant, stream_id, 0, new_events("a"))])


def chunk(step_id="s", attempt=1):
    return [OutputChunk(TENANT, "a", step_id, attempt, 1, b"data")]


async def refused_beside(store, call):
    """The refusal of a call that shares its group with appends, which are recorded."""
    calls = [store.append(append_to("before")), call, store.append(append_to("after"))]
    _, refusal, _ = await asyncio.gather(*calls, return_exceptions=True)
    assert [event.stream_id for event in await store.read_all()] == ["a", "before", "after"]
    return refusal


@pytest.fixture
async def store(store):
    await store.append(append_to("a"))
    return store


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_cannot_be_stored(store, name):
    for number, call in enumerate(
        [
            store.append(named(name)),
            store.append(named("a", tenant=name)),
            store.append_chunks(chunk(step_id=name)),
            store.write_payload(name, b"data"),
            store.write_data_key(DataKey(name, b"wrapped")),
            store.write_snapshot(Snapshot(TENANT, name, 1, b"fold", b"state")),
        ]
    ):
        with pytest.raises(InvalidAppendError, match="cannot be stored"):
            await call
        await store.append(append_to("a", at=number + 1))


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_cannot_be_stored_is_refused_alone(store, name):
    assert isinstance(await refused_beside(store, store.append(named(name))), InvalidAppendError)


@pytest.mark.parametrize("attempt", [0, -1, 2**31, 2**63])
async def test_an_attempt_that_cannot_be_stored_is_refused_alone(store, attempt):
    assert isinstance(await refused_beside(store, store.append_chunks(chunk(attempt=attempt))), InvalidAppendError)


@pytest.mark.parametrize("wake_at_us", [-1, 2**63])
async def test_a_time_that_cannot_be_stored_is_refused_alone(store, wake_at_us):
    opening = Append([to_stream("b")], opened=[OpenWorkflow(TENANT, "b", wake_at_us)])
    assert isinstance(await refused_beside(store, store.append(opening)), InvalidAppendError)


async def test_the_longest_name_is_stored(store):
    name = "é" * (NAME_BYTES // 2)
    await store.append(append_to(name, tenant=name))
    assert await store.list_streams("é") == [(name, name)]


@pytest.mark.parametrize("name", NAMES)
async def test_what_cannot_be_stored_is_read_as_nothing(store, name):
    assert await store.read_stream(TENANT, name) == []
    assert await store.read_chunks(TENANT, name) == []
