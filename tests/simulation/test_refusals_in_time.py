"""The log of refusals on virtual time: windows, bounds, and a store that does not answer."""

import asyncio
import contextlib

import pytest

from podium.v1 import events_pb2, value_pb2
from service.engine.journal import Journal
from service.engine.refusal_log import (
    CALLER_KINDS_MAX,
    KINDS_MAX,
    STREAM_ID,
    WAIT_S,
    WINDOW_US,
    Refusal,
    RefusalLog,
)
from service.tasks import Tasks
from store.contract import StoreError
from store.records import decode_record, known_payload
from tests.contract.model import ModelDatabase, ModelStore
from tests.simulation.deaf_store import DeafStore
from tests.simulation.virtual_time import VirtualClock, elapse, run_virtually

WINDOW_S = WINDOW_US / 1_000_000
TENANT = "acme"


CALL = "/podium.v1.ToolService/CallTool"


def denied(subject="victor", tenant=TENANT, reason="PERMISSION_DENIED", principal=None, **fields):
    who = value_pb2.Principal(subject=subject, **(principal or {}))
    return Refusal(tenant, events_pb2.RequestDenied(**{"reason": reason, "method": CALL, "principal": who, **fields}))


def refused(subject="victor", **fields):
    who = value_pb2.Principal(subject=subject)
    return Refusal(TENANT, events_pb2.SubmissionRefused(reason="INVALID_WORKFLOW", principal=who, **fields))


def unauthenticated(address, method=CALL):
    return Refusal(TENANT, events_pb2.AuthenticationFailed(reason="TOKEN_INVALID", address=address, method=method))


class Stage:
    def __init__(self, loop):
        self.loop = loop
        self.clock = VirtualClock(loop)
        self.database = ModelDatabase()
        self.store = ModelStore(self.database, self.clock)
        self.tasks = Tasks()
        self.log = None

    async def begin(self):
        await self.store.open()
        self.log = RefusalLog(Journal(self.store), self.clock, self.tasks.spawn)

    async def recorded(self, tenant=TENANT):
        events = await self.store.read_stream(tenant, STREAM_ID)
        return [known_payload(decode_record(event.record)) for event in events]


def play(scene):
    async def main(loop):
        stage = Stage(loop)
        await stage.begin()
        try:
            await scene(stage)
        finally:
            await stage.tasks.close()

    run_virtually(main)


def test_the_first_is_durable_when_its_caller_hears_of_it():
    async def scene(stage):
        event = await stage.log.record(denied())
        (found,) = await stage.recorded()
        assert (event, found.count) == ("0:1", 1)
        assert found.first_at_us == stage.clock.now_us()

    play(scene)


def test_what_follows_within_the_window_is_counted_and_written_at_its_end():
    async def scene(stage):
        first = await stage.log.record(denied())
        for _ in range(500):
            assert await stage.log.record(denied()) == first
        assert len(await stage.recorded()) == 1
        await elapse(WINDOW_S + 0.1)
        assert [each.count for each in await stage.recorded()] == [1, 500]

    play(scene)


def test_a_flood_costs_one_event_a_window_and_its_end_begins_anew():
    async def scene(stage):
        for _ in range(100):
            await stage.log.record(denied())
            await elapse(WINDOW_S / 10)
        await elapse(2 * WINDOW_S)
        counts = [each.count for each in await stage.recorded()]
        assert sum(counts) == 100
        assert len(counts) <= 12
        await stage.log.record(denied())
        assert len(await stage.recorded()) == len(counts) + 1
        await elapse(2 * WINDOW_S)
        assert len(await stage.recorded()) == len(counts) + 1

    play(scene)


def test_kinds_beyond_the_bound_share_one_and_none_is_lost():
    async def scene(stage):
        for number in range(10_000):
            await stage.log.record(denied(f"fake-{number}"))
        await stage.log.flush()
        events = await stage.recorded()
        assert sum(each.count for each in events) == 10_000
        assert len(events) <= KINDS_MAX + 2
        assert {each.principal.subject for each in events[KINDS_MAX:]} == {""}
        # Another tenant is not in their way.
        await stage.log.record(denied("bob", tenant="other"))
        assert [each.principal.subject for each in await stage.recorded("other")] == ["bob"]

    play(scene)


DIFFERENT = [
    *[denied(principal={name: "x"}) for name in ("agent", "on_behalf_of", "session_id", "token_id", "address")],
    denied(),
    denied("eve"),
    denied(reason="ADDRESS_BLOCKED"),
    denied(method="/podium.v1.WorkflowService/StartWorkflow"),
    *[denied(**{name: "x"}) for name in ("required", "resource", "rule", "policy")],
    denied(policy_revision=7),
    refused(),
    *[refused(**{name: "x"}) for name in ("method", "field", "guard", "sanitizer_reason")],
    unauthenticated("192.0.2.1"),
    unauthenticated("192.0.2.2"),
]


def test_only_what_is_alike_in_all_that_is_told_is_counted_together():
    play(each_on_record_by_itself)


@pytest.mark.parametrize("left_out", ["resource", "principal", "policy_revision", "guard"])
def test_a_log_that_leaves_a_field_out_of_what_it_counts_by_is_found_out(monkeypatch, left_out):
    def kind(refusal):
        event = type(refusal.event)()
        event.CopyFrom(refusal.event)
        if left_out in event.DESCRIPTOR.fields_by_name:
            event.ClearField(left_out)
        return type(event).__name__, event.SerializeToString(deterministic=True)

    monkeypatch.setattr(Refusal, "kind", property(kind))
    with pytest.raises(AssertionError):
        play(each_on_record_by_itself)


async def each_on_record_by_itself(stage):
    events = [await stage.log.record(each) for each in DIFFERENT]
    assert len(set(events)) == len(DIFFERENT)
    assert [await stage.log.record(each) for each in DIFFERENT] == events
    await stage.log.flush()
    told = [comparable(each) for each in await stage.recorded()]
    assert sorted(told) == sorted(2 * [comparable(each.event) for each in DIFFERENT])


def comparable(event):
    bare = type(event)()
    bare.CopyFrom(event)
    bare.ClearField("count")
    bare.ClearField("first_at_us")
    return str(type(event)), bare.SerializeToString(deterministic=True)


def test_every_field_of_a_refusal_is_among_those_that_tell_them_apart():
    """A field that comes later is looked at as well: the kind is the whole record."""
    told = {name.name for each in DIFFERENT for name, _ in each.event.ListFields()}
    fields = {
        field.name
        for kind in (events_pb2.RequestDenied, events_pb2.SubmissionRefused)
        for field in kind.DESCRIPTOR.fields
    }
    assert fields - told == {"count", "first_at_us"}
    named = {
        name.name
        for each in DIFFERENT
        if hasattr(each.event, "principal")
        for name, _ in each.event.principal.ListFields()
    }
    assert named == {field.name for field in value_pb2.Principal.DESCRIPTOR.fields}


def test_a_stranger_who_tries_many_methods_is_told_of_once_with_the_last_of_them():
    async def scene(stage):
        for number in range(100):
            await stage.log.record(unauthenticated("192.0.2.1", f"/m/{number}"))
        await stage.log.flush()
        assert [(each.method, each.count) for each in await stage.recorded()] == [("/m/0", 1), ("/m/99", 99)]

    play(scene)


def test_a_caller_who_asks_for_things_without_end_is_counted_by_name_and_hides_nobody_else():
    async def scene(stage):
        for number in range(10_000):
            await stage.log.record(denied("mallory", resource=f"tool-{number}", principal={"agent": f"a{number}"}))
        await stage.log.record(denied("bob", resource="refund"))
        await stage.log.flush()
        events = await stage.recorded()
        assert sum(each.count for each in events) == 10_001
        assert [each.resource for each in events[:CALLER_KINDS_MAX]] == [f"tool-{n}" for n in range(CALLER_KINDS_MAX)]
        [of_bob] = [each for each in events if each.principal.subject == "bob"]
        assert (of_bob.resource, of_bob.count) == ("refund", 1)
        shared = [each for each in events[CALLER_KINDS_MAX:] if each is not of_bob]
        assert [each.count for each in shared] == [1, 10_000 - CALLER_KINDS_MAX - 1]
        for each in shared:
            each.ClearField("count")
            each.ClearField("first_at_us")
            # Nothing is told of it in which those that it counts differ.
            assert each == events_pb2.RequestDenied(
                reason="PERMISSION_DENIED", principal=value_pb2.Principal(subject="mallory")
            )

    play(scene)


def test_where_only_an_address_is_known_it_is_that_which_a_flood_is_counted_by():
    async def scene(stage):
        for number in range(CALLER_KINDS_MAX + 5):
            await stage.log.record(denied("", principal={"address": "192.0.2.1"}, rule=f"r{number}"))
        await stage.log.flush()
        *_, last = await stage.recorded()
        assert (last.principal.address, last.principal.subject, last.rule, last.count) == ("192.0.2.1", "", "", 4)

    play(scene)


def test_after_a_quiet_window_nothing_is_left_in_memory():
    async def scene(stage):
        for number in range(KINDS_MAX + 10):
            await stage.log.record(denied(f"fake-{number % 4}", resource=f"r{number}"))
        for number in range(KINDS_MAX + 10):
            await stage.log.record(denied(f"fake-{number}"))
        await elapse(3 * WINDOW_S)
        assert (stage.log._windows, stage.log._kinds) == ({}, {})  # noqa: SLF001 - a leak is seen nowhere else

    play(scene)


def test_a_store_that_does_not_answer_delays_the_refusal_for_a_bounded_time():
    async def scene(stage):
        deaf = DeafStore(stage.store)
        log = RefusalLog(Journal(deaf), stage.clock, stage.tasks.spawn)
        began_s = stage.loop.time()
        assert await log.record(denied()) == ""
        assert stage.loop.time() - began_s <= WAIT_S + 0.1
        deaf.answer()
        await elapse(1)
        assert [each.count for each in await stage.recorded()] == [1]

    play(scene)


def test_a_store_that_refuses_changes_nothing_about_the_refusal_and_the_count_comes_later():
    async def scene(stage):
        deaf = DeafStore(stage.store, refusing=True)
        log = RefusalLog(Journal(deaf), stage.clock, stage.tasks.spawn)
        assert await log.record(denied()) == ""
        deaf.refusing = False
        deaf.answer()
        await log.record(denied())
        await elapse(WINDOW_S + 1)
        assert [each.count for each in await stage.recorded()] == [2]

    play(scene)


def test_what_is_refused_after_its_window_was_over_is_counted_again():
    async def scene(stage):
        deaf = DeafStore(stage.store)
        log = RefusalLog(Journal(deaf), stage.clock, stage.tasks.spawn)
        await log.record(denied())
        await elapse(2.5 * WINDOW_S)
        await log.record(denied())
        await elapse(2 * WINDOW_S)
        deaf.answer(StoreError("the disk is full"))
        await elapse(WINDOW_S + 1)
        assert sum(each.count for each in await stage.recorded()) == 2
        await elapse(2 * WINDOW_S)
        assert (log._windows, log._kinds) == ({}, {})  # noqa: SLF001 - a leak is seen nowhere else

    play(scene)


def test_a_flush_writes_what_is_counted_behind_a_record_that_is_on_its_way():
    async def scene(stage):
        deaf = DeafStore(stage.store)
        log = RefusalLog(Journal(deaf), stage.clock, stage.tasks.spawn)
        for _ in range(3):
            await log.record(denied())
        stage.tasks.spawn(log.flush())
        await elapse(1)
        deaf.answer()
        await elapse(1)
        assert [each.count for each in await stage.recorded()] == [1, 2]

    play(scene)


def test_a_caller_who_leaves_does_not_take_the_record_along():
    async def scene(stage):
        leaving = asyncio.ensure_future(stage.log.record(denied()))
        await asyncio.sleep(0)
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
        await elapse(1)
        assert [each.count for each in await stage.recorded()] == [1]

    play(scene)


def test_a_journal_goes_on_with_a_stream_that_is_there_already():
    async def scene(stage):
        await stage.log.record(denied())
        later = RefusalLog(Journal(stage.store), stage.clock, stage.tasks.spawn)
        await later.record(denied("eve"))
        await later.record(denied("bob"))
        assert [each.principal.subject for each in await stage.recorded()] == ["victor", "eve", "bob"]

    play(scene)
