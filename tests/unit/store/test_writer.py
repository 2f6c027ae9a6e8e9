"""The group commit when things go wrong: faults, full queues, callbacks that raise."""

import asyncio

import pytest

from store.contract import Committed, QueueFullError, StoreClosedError, StoreError
from store.event_log import EventLog
from store.limits import StoreLimits
from store.sqlite import SqliteBackend, sqlite_log
from store.sqlite_reader import SqliteReader
from store.writer import GroupCommitWriter
from tests.contract.events import TENANT, append_to, chunks


class Fault:
    """Raises at a point, as a disk would."""

    def __init__(self, at):
        self.at = at
        self.passed = []

    def __call__(self, point):
        self.passed.append(point)
        if point == self.at:
            raise OSError("disk I/O error")


class EagerWriter(GroupCommitWriter):
    """Acknowledges before it commits: what the tests of durability must be able to tell apart."""

    async def _commit(self, group):
        self._acknowledge(group)
        await self._backend.commit(group.batch)


class EagerLog(EventLog):
    writer_class = EagerWriter


async def failed_log(log, appends=3):
    """Open the log, submit appends into a commit that fails, and return their outcomes."""
    await log.open()
    outcomes = []
    for number in range(appends):
        log.submit(append_to(f"stream {number}"), outcomes.append)
    await log.failed()
    return outcomes


async def test_the_points_are_passed_in_order(database, clock):
    passed = Fault(at=None)
    log = sqlite_log(database, clock=clock, on_point=passed)
    await log.open()
    await log.append(append_to("a"))
    await log.close()
    assert passed.passed == ["committing", "written", "committed", "acknowledged"]


@pytest.mark.parametrize(("at", "durable"), [("committing", 0), ("written", 0), ("committed", 3)])
async def test_a_fault_fails_everything_and_the_store_until_it_is_opened_again(database, clock, at, durable):
    fault = Fault(at)
    log = sqlite_log(database, clock=clock, on_point=fault)
    outcomes = await failed_log(log)
    assert [type(outcome) for outcome in outcomes] == [StoreClosedError] * 3
    assert "disk I/O error" in str(outcomes[0])
    for attempt in (log.append(append_to("late")), log.read_all(), log.write_payload(TENANT, b"late")):
        with pytest.raises(StoreClosedError):
            await attempt
    assert log.head == 0

    fault.at = None
    await log.close()
    await log.open()
    assert log.head == durable
    assert len(await log.read_all()) == durable
    await log.append(append_to("late"))
    await log.close()


async def test_what_queues_behind_a_fault_fails_with_it(database, clock):
    limits = StoreLimits(group_events=1)
    log = sqlite_log(database, clock=clock, limits=limits, on_point=Fault("written"))
    outcomes = await failed_log(log, appends=10)
    assert [type(outcome) for outcome in outcomes] == [StoreClosedError] * 10
    await log.close()


async def test_followers_are_told_of_a_fault(database, clock):
    log = sqlite_log(database, clock=clock, on_point=Fault("written"))
    await log.open()
    subscription = log.subscribe()
    await anext(subscription)
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    with pytest.raises(StoreClosedError):
        await log.append(append_to("a"))
    with pytest.raises(StoreClosedError):
        await waiting
    await log.close()


async def test_a_writer_that_acknowledges_too_early_is_found_out(database, clock):
    limits = StoreLimits()
    fault = Fault("written")
    log = EagerLog(SqliteBackend(database, on_point=fault), SqliteReader(database), clock=clock, limits=limits)
    outcomes = await failed_log(log)
    assert [type(outcome) for outcome in outcomes] == [Committed] * 3
    await log.close()
    async with SqliteReader(database) as reader:
        assert await reader.read_all() == [], "acknowledged, and lost"


async def test_a_full_queue_refuses_at_once_and_recovers(database, clock):
    log = sqlite_log(database, clock=clock, limits=StoreLimits(queue_length=3))
    await log.open()
    outcomes = []
    for number in range(5):
        log.submit(append_to(f"stream {number}"), lambda outcome, number=number: outcomes.append((number, outcome)))
    assert outcomes == []
    await asyncio.sleep(0)
    assert [(number, type(outcome)) for number, outcome in outcomes] == [(3, QueueFullError), (4, QueueFullError)]
    assert outcomes[0][1].reason == "QUEUE_FULL"
    await log.close()
    assert sorted(number for number, outcome in outcomes if isinstance(outcome, Committed)) == [0, 1, 2]


async def test_the_queue_is_bounded_in_bytes_too(database, clock):
    log = sqlite_log(database, clock=clock, limits=StoreLimits(queue_bytes=1_000))
    await log.open()
    written = [asyncio.ensure_future(log.write_payload(TENANT, bytes([number]) * 900)) for number in range(3)]
    outcomes = await asyncio.gather(*written, return_exceptions=True)
    assert [isinstance(outcome, QueueFullError) for outcome in outcomes] == [False, False, True]
    await log.write_payload(TENANT, b"x" * 900)
    await log.close()


async def test_a_group_is_bounded_in_events_and_in_bytes(database, clock):
    passed = Fault(at=None)
    limits = StoreLimits(group_events=4, group_bytes=100)
    log = sqlite_log(database, clock=clock, limits=limits, on_point=passed)
    await log.open()
    outcomes = []
    for number in range(4):
        log.submit(append_to(f"stream {number}", 2), outcomes.append)
    log.submit(append_to("large", 9), outcomes.append)
    await log.append(append_to("last"))
    assert passed.passed.count("committed") == 4
    passed.passed.clear()
    await asyncio.gather(*(log.write_payload(TENANT, bytes([number]) * 60) for number in range(3)))
    assert passed.passed.count("committed") == 3
    await log.close()


async def test_a_callback_that_raises_harms_nobody_else(log):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context["exception"]))
    outcomes = []

    def broken(_outcome):
        raise RuntimeError("a bug")

    log.submit(append_to("a"), outcomes.append)
    log.submit(append_to("b"), broken)
    log.submit(append_to("c"), outcomes.append)
    await log.append(append_to("d"))
    assert [outcome.first_position for outcome in outcomes] == [1, 3]
    assert [str(error) for error in reported] == ["a bug"]


async def test_streams_that_were_forgotten_are_looked_up_again(database, clock):
    log = sqlite_log(database, clock=clock, limits=StoreLimits(cached_streams=2))
    await log.open()
    for version in range(3):
        await asyncio.gather(*(log.append(append_to(f"stream {number}", at=version)) for number in range(10)))
        for number in range(10):
            await log.append_chunks(chunks(f"stream {number}", [version + 1]))
    with pytest.raises(StoreError):
        await log.append(append_to("stream 0", at=2))
    assert log.head == 30
    await log.close()


def test_a_loop_that_ends_fails_what_waits(database, clock):
    outcomes = []

    async def abandon():
        log = sqlite_log(database, clock=clock)
        await log.open()
        log.submit(append_to("a"), outcomes.append)

    asyncio.run(abandon())
    assert [type(outcome) for outcome in outcomes] == [StoreClosedError]


async def test_an_append_that_is_submitted_from_a_callback_is_committed(log):
    done = asyncio.get_running_loop().create_future()
    log.submit(append_to("a"), lambda _: log.submit(append_to("a", at=1), done.set_result))
    assert (await done).last_position == 2


class Expecting:
    """Says how many more are coming, and submits one itself as soon as the writer has asked."""

    def __init__(self, log, coming):
        self._log = log
        self._coming = coming
        self.outcomes = []

    def __call__(self):
        if not self.outcomes:
            self.outcomes.append(None)
            # The writer has taken what is queued by then, unless it waits.
            asyncio.get_running_loop().call_later(0, self._log.submit, append_to("b"), self.outcomes.append)
        return self._coming


@pytest.mark.parametrize(("coming", "commits"), [(100, 1), (8, 2), (0, 2)])
async def test_a_group_waits_for_more_only_when_much_is_expected(database, clock, coming, commits):
    passed = Fault(at=None)
    log = sqlite_log(database, clock=clock, limits=StoreLimits(linger_s=0.1), on_point=passed)
    await log.open()
    expecting = Expecting(log, coming)
    log.expect(expecting)
    await log.append(append_to("a"))
    # Whatever the writer did, what it was told of is durable when it stops.
    await log.close()
    assert passed.passed.count("committing") == commits
    assert [type(outcome) for outcome in expecting.outcomes[1:]] == [Committed]


async def test_a_log_that_closes_waits_for_nothing(database, clock):
    log = sqlite_log(database, clock=clock, limits=StoreLimits(linger_s=3600))
    await log.open()
    log.expect(lambda: 100)
    outcomes = []
    log.submit(append_to("a"), outcomes.append)
    async with asyncio.timeout(30):
        await log.close()
    assert [type(outcome) for outcome in outcomes] == [Committed]


async def test_nothing_is_waited_for_while_the_queue_is_half_full(database, clock):
    log = sqlite_log(database, clock=clock, limits=StoreLimits(linger_s=3600, queue_length=2))
    await log.open()
    log.expect(lambda: 100)
    async with asyncio.timeout(30):
        await log.append(append_to("a"))
    await log.close()
