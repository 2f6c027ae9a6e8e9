"""What becomes of an append when the connection breaks at the worst moment: it is in the log once, or known absent."""

import asyncio
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from store import postgres_reader
from store.contract import Append, OutcomeUnknownError, OwnershipLostError, StoreClosedError, StoreError
from store.event_log import EventLog
from store.limits import StoreLimits
from store.postgres import PostgresBackend, postgres_log
from store.postgres_lease import LeaseTimes
from store.postgres_reader import PostgresReader
from tests.cable import Cable
from tests.contract.events import TENANT, FakeClock, append_to, chunks, to_stream
from tests.faults.postgres_outcomes import UnfencedBackend

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
    assert await failed_and_yet_there(cable, UnfencedBackend)


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


async def note_setting(url, name):
    """Have every append write down what its own session has for a setting."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS seen (value TEXT)")
        await connection.execute(
            "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN INSERT INTO seen VALUES (current_setting('{name}')); RETURN NULL; END $$"
        )
        await connection.execute(
            "CREATE OR REPLACE TRIGGER note AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION note()"
        )
    finally:
        await connection.close()


async def seen(url):
    connection = await asyncpg.connect(url)
    try:
        return [value for (value,) in await connection.fetch("SELECT value FROM seen")]
    finally:
        await connection.close()


async def set_default(url, name, value):
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET {name} = '{value}'")
    finally:
        await connection.close()


async def test_every_connection_of_the_writer_waits_for_the_disk(postgres_url, cable):
    """Not only the first: what is acknowledged after a reconnection is to survive a crash as well."""
    await set_default(postgres_url, "synchronous_commit", "off")
    await note_setting(postgres_url, "synchronous_commit")
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        cable.cut()
        await log.append(append_to("a", at=1))
        cable.lose_next_reply()
        await log.append(append_to("a", at=2))
        await log.append(append_to("a", at=3))
    assert set(await seen(postgres_url)) == {"on"}


async def test_a_stricter_setting_stays(postgres_url, cable):
    await set_default(postgres_url, "synchronous_commit", "remote_apply")
    await note_setting(postgres_url, "synchronous_commit")
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        cable.cut()
        await log.append(append_to("a", at=1))
    assert await seen(postgres_url) == ["remote_apply", "remote_apply"]


@asynccontextmanager
async def shard_locked(url):
    """Somebody else's transaction holds the shard's row, and is given to hold it for as long as it sleeps."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT * FROM shards FOR UPDATE")
            yield connection
    finally:
        await connection.close()


async def waiting(url):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
    finally:
        await connection.close()


async def test_a_row_that_is_locked_for_long_leaves_no_connections_behind(postgres_url):
    async with opened(postgres_url, times=QUICK) as log:
        async with shard_locked(postgres_url) as holder:
            await holder.execute("SELECT pg_sleep(4)")
            # One renewal waits, or two while a try ends.
            assert await waiting(postgres_url) <= 2
        await log.append(append_to("a"))
        assert log.is_current


async def test_a_row_that_is_locked_for_a_while_does_not_end_the_store(postgres_url):
    """Also when the operator has lock waits end early."""
    await set_default(postgres_url, "lock_timeout", "20ms")
    async with opened(postgres_url, times=QUICK) as log:
        async with shard_locked(postgres_url) as holder:
            appending = asyncio.create_task(log.append(append_to("a")))
            await holder.execute("SELECT pg_sleep(0.7)")
        assert (await appending).last_position == 1


async def test_a_store_whose_row_stays_locked_is_not_opened_and_says_so(postgres_url):
    async with opened(postgres_url, times=QUICK):
        pass
    async with shard_locked(postgres_url):
        log = postgres_log(postgres_url, clock=FakeClock(), reader_connections=1, times=QUICK)
        with pytest.raises(StoreError, match="cannot open"):
            await log.open()


async def test_a_default_of_serializable_transactions_does_not_end_the_store(postgres_url):
    await set_default(postgres_url, "default_transaction_isolation", "serializable")

    async def touch():
        connection = await asyncpg.connect(postgres_url)
        try:
            while True:
                with suppress(asyncpg.SerializationError):
                    await connection.execute("UPDATE shards SET lease_expires_at_us = lease_expires_at_us + 1")
        finally:
            connection.terminate()

    async with opened(postgres_url) as log:
        touching = asyncio.create_task(touch())
        for version in range(200):
            await log.append(append_to("a", at=version))
        touching.cancel()
        await asyncio.wait([touching])


async def test_a_read_that_is_never_answered_is_given_up_and_its_connection_with_it(cable, monkeypatch):
    monkeypatch.setattr(postgres_reader, "READ_WITHIN_S", 0.3)
    async with opened(cable.url) as log:
        await log.append(append_to("a"))
        swallowed = cable.swallow_next_statement(of=b"podium reader")
        with pytest.raises(StoreError, match="no answer in time"):
            await log.read_all()
        assert swallowed.done()
        assert await positions(log) == [(1, "a")]
