"""What becomes of an append when the connection breaks at the worst moment: it is in the log once, or known absent."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg
import pytest

from store.contract import Append, OutcomeUnknownError, OwnershipLostError, StoreClosedError, StoreError, StoreLimits
from store.event_log import EventLog
from store.postgres import PostgresBackend, postgres_log
from store.postgres_lease import LeaseTimes
from store.postgres_reader import PostgresReader
from tests.cable import Cable
from tests.contract.events import TENANT, FakeClock, append_to, chunks, to_stream

WITHIN_S = 30
QUICK = LeaseTimes(duration_s=1.2, margin_s=0.4, statement_s=0.5, away_s=1.0)


@pytest.fixture
async def cable(postgres_url):
    async with Cable(postgres_url) as cable:
        yield cable


@asynccontextmanager
async def opened(url, **options):
    log = postgres_log(url, clock=FakeClock(), reader_connections=2, **options)
    await log.open()
    try:
        async with asyncio.timeout(WITHIN_S):
            yield log
    finally:
        await log.close()


async def positions(log):
    return [(event.position, event.stream_id) for event in await log.read_all()]


async def test_a_reply_that_was_lost_is_found_in_the_log(cable):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        lost = cable.lose_next_reply()
        committed = await log.append(append_to("b"))
        assert lost.done()
        assert committed.last_position == 2
        await log.append(append_to("a", at=1))
        assert await positions(log) == [(1, "a"), (2, "b"), (3, "a")]


async def test_a_statement_that_never_arrived_is_sent_again(cable):
    async with opened(cable.url) as log:
        held = cable.hold_next_statement()
        await log.append(append_to("a"))
        assert held.done()
        assert await positions(log) == [(1, "a")]


async def test_a_statement_that_arrives_after_its_connection_was_cut_changes_nothing(cable):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        held = cable.hold_next_statement()
        await log.append(append_to("b"))
        await log.append(append_to("c"))
        await (await held).release()
        await log.append(append_to("d"))
        assert await positions(log) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


async def test_chunks_and_payloads_are_recorded_once_whatever_breaks(cable):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        for interfere in (cable.lose_next_reply, cable.hold_next_statement):
            first = len(await log.read_chunks(TENANT, "a")) + 1
            happened = interfere()
            await log.append_chunks(chunks("a", [first, first + 1]))
            assert happened.done()
            happened = interfere()
            digest = await log.write_payload(TENANT, b"kept")
            assert happened.done()
            assert await log.read_payload(TENANT, digest) == b"kept"
        assert [chunk.sequence for chunk in await log.read_attempt_chunks(TENANT, "a", "step_1", 1)] == [1, 2, 3, 4]


async def test_a_look_up_survives_a_cut(cable):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        cable.cut()
        await log.append(append_to("b"))
        assert await positions(log) == [(1, "a"), (2, "b")]


async def test_a_server_that_says_nothing_is_left(cable):
    async with opened(cable.url, times=QUICK) as log:
        await log.append(append_to("a"))
        swallowed = cable.swallow_next_statement()
        await log.append(append_to("b"))
        await (await swallowed).release()
        await log.append(append_to("c"))
        assert await positions(log) == [(1, "a"), (2, "b"), (3, "c")]


async def test_a_fence_of_its_own_that_arrives_late_does_not_cost_the_ownership(cable):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        cable.cut()
        held = cable.hold_next_statement()
        await log.append(append_to("b"))
        await (await held).release()
        await log.append(append_to("c"))
        assert await positions(log) == [(1, "a"), (2, "b"), (3, "c")]


async def test_a_backend_that_is_terminated_costs_nothing(cable, postgres_url):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name LIKE 'podium %'"
        )
        await connection.close()
        await log.append(append_to("b"))
        assert await positions(log) == [(1, "a"), (2, "b")]


async def test_appends_wait_for_a_database_that_comes_back(cable):
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        cable.unplug()
        waiting = asyncio.ensure_future(log.append(append_to("b")))
        later = asyncio.ensure_future(log.append(append_to("c")))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        cable.plug()
        await waiting
        await later
        assert await positions(log) == [(1, "a"), (2, "b"), (3, "c")]


async def test_an_append_whose_database_does_not_come_back_is_unknown_and_those_behind_it_are_refused(cable):
    async with opened(cable.url, times=QUICK) as log:
        await log.append(append_to("a"))
        # Nothing is sent to find the stream, so that it is the append that is in flight.
        cable.lose_next_reply()
        unknown = asyncio.ensure_future(log.append(append_to("a", at=1)))
        behind = asyncio.ensure_future(after_a_moment(log))
        cable.is_plugged = False
        with pytest.raises(OutcomeUnknownError):
            await unknown
        with pytest.raises(StoreClosedError):
            await behind
        assert isinstance(await log.failed(), OutcomeUnknownError)
        assert not log.is_current
    cable.plug()
    async with opened(cable.url) as log:
        assert await positions(log) == [(1, "a"), (2, "a")]


async def after_a_moment(log):
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return await log.append(append_to("b"))


class Unfenced(PostgresBackend):
    """Reads the head instead of raising the epoch, and believes it."""

    async def _fence(self, cause, batch=None):
        await self._discard()
        self._connection = await self._connect()
        head = await self._connection.fetchval("SELECT head_position FROM shards")
        if batch is not None and head == batch.old_head:
            raise StoreError("the append is not in the log")
        return batch is not None


async def failed_and_yet_there(cable, backend):
    """Whether an append that was said to have failed is in the log after all."""
    log = EventLog(backend(cable.url), PostgresReader(cable.url), clock=FakeClock(), limits=StoreLimits())
    await log.open()
    await log.append(append_to("a"))
    held = cable.hold_next_statement()
    try:
        await log.append(append_to("a", at=1))
        has_failed = False
    except StoreError:
        has_failed = True
    await (await held).release()
    await log.close()
    async with opened(cable.url) as log:
        return has_failed and len(await log.read_stream(TENANT, "a")) == 2


async def test_reading_the_head_without_a_fence_believes_what_is_not_so(cable):
    assert await failed_and_yet_there(cable, Unfenced)


async def test_with_the_fence_it_does_not(cable):
    assert not await failed_and_yet_there(cable, PostgresBackend)


async def test_what_the_database_refuses_for_good_ends_the_ownership(postgres_url):
    async with opened(postgres_url) as log:
        await log.append(append_to("a"))
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("ALTER TABLE events ADD CONSTRAINT no_more CHECK (position < 2) NOT VALID")
        with pytest.raises(StoreClosedError, match="no_more"):
            await log.append(append_to("b"))
        with pytest.raises(StoreClosedError):
            await log.append(append_to("c"))
        await connection.execute("ALTER TABLE events DROP CONSTRAINT no_more")
        await connection.close()
        await log.close()
        await log.open()
        await log.append(append_to("b"))
        assert await positions(log) == [(1, "a"), (2, "b")]


async def test_an_append_over_streams_is_all_or_nothing_in_the_statement(postgres_url):
    async with opened(postgres_url) as log:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute("ALTER TABLE events ADD CONSTRAINT no_second CHECK (stream_key <> 2) NOT VALID")
        await connection.close()
        with pytest.raises((StoreClosedError, OwnershipLostError)):
            await log.append(Append([to_stream("a"), to_stream("b")]))
    async with opened(postgres_url) as log:
        assert log.head == 0
        assert await log.list_streams("") == []


class Asking(PostgresBackend):
    """Asks, after each commit, whether commits on its connection wait for the disk."""

    answers = ()

    async def commit(self, batch):
        await super().commit(batch)
        self.answers = (*self.answers, await self._connection.fetchval("SHOW synchronous_commit"))


@pytest.mark.parametrize(("setting", "used"), [("off", "on"), ("local", "local")])
async def test_commits_wait_for_the_disk_on_every_connection(cable, postgres_url, setting, used):
    """Else an acknowledged event would be lost with the server's memory. What is stricter than that is kept."""
    connection = await asyncpg.connect(postgres_url)
    name = postgres_url.partition("?")[0].rpartition("/")[2]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {setting}")
    await connection.close()
    backend = Asking(cable.url, times=QUICK)
    log = EventLog(backend, PostgresReader(cable.url), clock=FakeClock(), limits=StoreLimits())
    await log.open()
    await log.append(append_to("a"))
    cable.cut()
    await log.append(append_to("b"))
    await log.close()
    assert backend.answers == (used, used)
