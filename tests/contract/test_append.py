"""What an append promises: places without gaps, expected versions, all or nothing."""

import asyncio

import pytest

from podium.v1 import value_pb2
from store.contract import (
    ANY_VERSION,
    Append,
    Committed,
    InvalidAppendError,
    NewEvent,
    OpenWorkflow,
    StreamConflictError,
)
from store.records import TYPE_NUMBERS, decode_record
from tests.contract.events import TENANT, append_to, new_events, to_stream


async def submitted(store, *appends):
    """Submit at once, so that all are in one group commit, and return the outcomes in the order of the callbacks."""
    outcomes = []
    told = asyncio.get_running_loop().create_future()

    def done(number, outcome):
        outcomes.append((number, outcome))
        if len(outcomes) == len(appends):
            told.set_result(None)

    for number, append in enumerate(appends):
        store.submit(append, lambda outcome, number=number: done(number, outcome))
    assert outcomes == [], "a callback must not be called before submit has returned"
    await told
    assert [number for number, _ in outcomes] == list(range(len(appends)))
    return [outcome for _, outcome in outcomes]


async def test_positions_and_versions_have_no_gaps(store):
    await store.append(append_to("a", 2))
    await store.append(append_to("b", 3))
    await store.append(append_to("a", 1, at=2))
    events = await store.read_all()
    assert [event.position for event in events] == [1, 2, 3, 4, 5, 6]
    assert [(event.stream_id, event.stream_version) for event in events] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
        ("b", 2),
        ("b", 3),
        ("a", 3),
    ]
    assert store.head == 6


async def test_the_outcome_holds_the_events_as_they_are_stored(store):
    committed = await store.append(Append([to_stream("a", 2), to_stream("b", 1)]))
    assert (committed.first_position, committed.last_position) == (1, 3)
    assert list(committed.events) == await store.read_all()


async def test_the_columns_say_what_the_record_says(store, clock):
    clock.now = 1_234_567
    await store.append(Append([to_stream("a", 2), to_stream("b", 2, tenant="other")]))
    for recorded in await store.read_all():
        event = decode_record(recorded.record)
        assert event.position == recorded.position
        assert event.tenant == recorded.tenant
        assert event.stream_id == recorded.stream_id
        assert event.stream_version == recorded.stream_version
        assert event.type == recorded.type == TYPE_NUMBERS["step_skipped"]
        assert event.recorded_at_us == recorded.recorded_at_us == 1_234_567
        assert event.correlation_id == "a test"
        assert event.step_skipped.step_id == "step_1"


async def test_a_stream_that_must_not_exist_but_does_is_refused(store):
    await store.append(append_to("a"))
    with pytest.raises(StreamConflictError) as refused:
        await store.append(append_to("a"))
    assert (refused.value.stream_id, refused.value.expected, refused.value.actual) == ("a", 0, 1)
    assert store.head == 1


async def test_a_stream_that_must_exist_but_does_not_is_refused(store):
    with pytest.raises(StreamConflictError):
        await store.append(append_to("a", at=1))
    assert await store.read_all() == []


async def test_of_two_conflicting_appends_in_one_group_the_second_is_refused_alone(store):
    await store.append(append_to("a"))
    outcomes = await submitted(
        store, append_to("b"), append_to("a", 2, at=1), append_to("a", 1, at=1), append_to("c"), append_to("a", 1, at=3)
    )
    assert [type(outcome) for outcome in outcomes] == [Committed, Committed, StreamConflictError, Committed, Committed]
    assert outcomes[2].actual == 3
    events = await store.read_all()
    assert [event.stream_id for event in events] == ["a", "b", "a", "a", "c", "a"]
    assert [event.position for event in events] == [1, 2, 3, 4, 5, 6]


async def test_an_append_over_several_streams_is_all_or_nothing(store):
    await store.append(append_to("b"))
    with pytest.raises(StreamConflictError):
        await store.append(Append([to_stream("a"), to_stream("b"), to_stream("c")]))
    assert await store.read_stream(TENANT, "a") == []
    assert await store.read_stream(TENANT, "c") == []
    committed = await store.append(Append([to_stream("a"), to_stream("b", at=1), to_stream("c")]))
    assert [event.position for event in committed.events] == [2, 3, 4]


async def test_a_refused_append_leaves_no_gap_in_a_tenants_sequence(store):
    await store.append(append_to("b"))
    outcomes = await submitted(store, Append([to_stream("a", 2), to_stream("b")]), append_to("c"))
    assert isinstance(outcomes[0], StreamConflictError)
    sequences = [decode_record(event.record).tenant_sequence for event in await store.read_all()]
    assert sequences == [1, 2]


async def test_each_tenant_counts_its_own_events(store):
    await store.append(append_to("a", 2, tenant="one"))
    await store.append(append_to("a", 1, tenant="two"))
    await store.append(append_to("b", 2, tenant="one"))
    await store.append(Append([to_stream("c", 1, tenant="two"), to_stream("c", 1, tenant="one")]))
    sequences = {"one": [], "two": []}
    for event in await store.read_all():
        sequences[event.tenant].append(decode_record(event.record).tenant_sequence)
    assert sequences == {"one": [1, 2, 3, 4, 5], "two": [1, 2]}


async def test_the_same_stream_id_of_two_tenants_is_two_streams(store):
    await store.append(append_to("a", 2, tenant="one"))
    await store.append(append_to("a", 1, tenant="two"))
    assert len(await store.read_stream("one", "a")) == 2
    assert len(await store.read_stream("two", "a")) == 1


async def test_the_time_recorded_never_decreases(store, clock):
    start = clock.now
    for now in (start, start - 5_000_000, start + 1, start):
        clock.now = now
        await store.append(append_to(f"at {now} {store.head}"))
    times = [event.recorded_at_us for event in await store.read_all()]
    assert times == [start, start, start + 1, start + 1]


async def test_an_append_may_name_a_stream_twice_when_the_versions_follow(store):
    await store.append(Append([to_stream("a", 2), to_stream("b"), to_stream("a", 1, at=2)]))
    assert [event.position for event in await store.read_stream(TENANT, "a")] == [1, 2, 4]
    with pytest.raises(StreamConflictError):
        await store.append(Append([to_stream("a", 1, at=3), to_stream("a", 1, at=3)]))
    assert store.head == 4


async def test_an_append_without_events_checks_versions_and_records_nothing(store):
    await store.append(append_to("a"))
    committed = await store.append(append_to("a", 0, at=1))
    assert (committed.first_position, committed.last_position, list(committed.events)) == (2, 1, [])
    with pytest.raises(StreamConflictError):
        await store.append(append_to("a", 0, at=2))
    assert store.head == 1


async def test_what_is_no_event_is_refused_alone(store):
    envelope = new_events("a")[0].envelope
    broken = to_stream("a", 2)
    broken.events.append(NewEvent(value_pb2.Principal(subject="nobody"), envelope))
    outcomes = await submitted(store, append_to("b"), Append([to_stream("c"), broken]), append_to("a"))
    assert [type(outcome) for outcome in outcomes] == [Committed, InvalidAppendError, Committed]
    assert [event.stream_id for event in await store.read_all()] == ["b", "a"]


async def test_an_append_whose_caller_is_cancelled_commits_all_the_same(store):
    waiting = asyncio.ensure_future(store.append(append_to("a")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await store.append(append_to("b"))
    assert [event.stream_id for event in await store.read_all()] == ["a", "b"]


async def test_the_head_is_not_ahead_of_the_callback(store):
    heads = []
    told = asyncio.get_running_loop().create_future()
    store.submit(append_to("a", 3), lambda outcome: (heads.append(store.head), told.set_result(outcome)))
    assert store.head == 0
    assert (await told).last_position == 3
    assert heads == [3]


async def test_many_appenders_at_once_lose_nothing(store):
    async def work(name):
        for version in range(5):
            await store.append(append_to(name, at=version))

    await asyncio.gather(*(work(f"stream {number}") for number in range(40)))
    events = await store.read_all()
    assert [event.position for event in events] == list(range(1, 201))
    for number in range(40):
        versions = [event.stream_version for event in await store.read_stream(TENANT, f"stream {number}")]
        assert versions == [1, 2, 3, 4, 5]


async def test_an_open_workflow_must_exist(store):
    outcomes = await submitted(
        store, Append([to_stream("a")], opened=[OpenWorkflow(TENANT, "elsewhere")]), append_to("b")
    )
    assert outcomes[0].reason == "STREAM_MISSING"
    assert [event.stream_id for event in await store.read_all()] == ["b"]


async def test_an_append_that_expects_any_version_follows_what_is_there(store):
    for _ in range(2):
        committed = await store.append(append_to("a", 2, at=ANY_VERSION))
    assert [event.stream_version for event in committed.events] == [3, 4]


async def test_an_append_that_expects_any_version_of_one_stream_is_still_refused_for_another(store):
    await store.append(append_to("a"))
    with pytest.raises(StreamConflictError):
        await store.append(Append([to_stream("b", at=ANY_VERSION), to_stream("a")]))
    assert await store.read_stream(TENANT, "b") == []
