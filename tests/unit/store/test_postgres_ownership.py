"""Who owns a shard in Postgres: one takes over at once, the other learns it and is believed until its lease ends."""

import asyncio
import contextlib

import pytest

from store.backend import Batch
from store.contract import OwnershipLostError, StoreClosedError
from store.postgres import PostgresBackend, postgres_log
from store.postgres_lease import LeaseTimes
from tests.cable import Cable
from tests.contract.events import FakeClock, append_to, opening
from tests.postgres import operator

WITHIN_S = 20
LONG = LeaseTimes(duration_s=3600, margin_s=1)
SHORT = LeaseTimes(duration_s=0.9, margin_s=0.3, statement_s=0.3)


def log_on(url, times=LONG):
    return postgres_log(url, clock=FakeClock(), reader_connections=1, times=times)


@pytest.fixture
async def owner(postgres_url):
    log = log_on(postgres_url)
    await log.open()
    yield log
    await log.close()


async def test_a_replacement_takes_over_at_once_and_the_first_learns_it_at_once(owner, postgres_url):
    """The first has a lease for another hour, so it is told: it does not find out by itself."""
    await owner.append(append_to("a"))
    following = owner.subscribe(1)
    await anext(following)
    second = log_on(postgres_url)
    async with asyncio.timeout(WITHIN_S):
        await second.open()
        assert isinstance(await owner.failed(), OwnershipLostError)
        assert not owner.is_current
        with pytest.raises(OwnershipLostError):
            await owner.append(append_to("b"))
        with pytest.raises(StoreClosedError):
            await owner.read_all()
        with pytest.raises(StoreClosedError):
            await anext(following)
        await second.append(append_to("a", at=1))
        assert [event.position for event in await second.read_all()] == [1, 2]
    await second.close()


async def test_who_missed_the_hint_finds_out_by_the_next_renewal(postgres_url):
    log = log_on(postgres_url, SHORT)
    await log.open()
    async with operator(postgres_url) as connection:
        await connection.execute("UPDATE shards SET epoch = epoch + 1, owner = 'somebody'")
    async with asyncio.timeout(WITHIN_S):
        assert isinstance(await log.failed(), OwnershipLostError)
    await log.close()


async def test_who_has_no_answer_from_the_database_is_not_current_when_the_lease_has_ended(postgres_url):
    async with Cable(postgres_url) as cable:
        log = log_on(cable.url, SHORT)
        await log.open()
        assert log.is_current
        cable.unplug()
        async with asyncio.timeout(WITHIN_S):
            while log.is_current:  # noqa: ASYNC110 - a lease ends without anybody being told
                await asyncio.sleep(0)
        lost_at = asyncio.get_running_loop().time()
        assert not log.is_current
        cable.plug()
        async with asyncio.timeout(WITHIN_S):
            await log.append(append_to("a"))
        assert log.is_current
        assert asyncio.get_running_loop().time() > lost_at
        await log.close()


async def test_the_lease_is_renewed_while_nothing_is_appended(postgres_url):
    log = log_on(postgres_url, SHORT)
    await log.open()
    async with operator(postgres_url) as connection, asyncio.timeout(WITHIN_S):
        ends = before = await connection.fetchval("SELECT lease_expires_at_us FROM shards")
        while ends < before + 2 * SHORT.duration_us:
            assert log.is_current
            ends = await connection.fetchval("SELECT lease_expires_at_us FROM shards")
    await log.close()


async def test_who_lets_go_leaves_no_lease(owner, postgres_url):
    await owner.close()
    async with operator(postgres_url) as connection:
        assert await connection.fetchval("SELECT lease_expires_at_us FROM shards") == 0


async def test_the_epoch_only_grows_however_often_the_shard_is_taken(postgres_url):
    """A lease whose epoch began anew when it was reclaimed would let an old owner in."""
    epochs = []
    for _ in range(4):
        backend = PostgresBackend(postgres_url, times=LONG)
        epochs.append((await backend.open(lambda reason: None)).epoch)
        await backend.close()
    assert epochs == sorted(set(epochs))
    async with operator(postgres_url) as connection:
        await connection.execute("UPDATE shards SET lease_expires_at_us = NULL, owner = NULL")
    backend = PostgresBackend(postgres_url, times=LONG)
    assert (await backend.open(lambda reason: None)).epoch > epochs[-1]
    await backend.close()


def everything_of(state):
    """A batch that touches every table."""
    head = state.head
    return Batch(
        old_head=head,
        new_head=head + 1,
        old_ordinal=state.last_ordinal,
        last_ordinal=state.last_ordinal + 1,
        recorded_at_us=1,
        tenants={9: "intruder"},
        sequences={1: 99, 9: 1},
        streams=[(0, 99, 9, "theirs")],
        events=[(head + 1, 99, 1, 34, 9, b"record")],
        closed={1},
        opened={2: (5, 7)},
        chunks=[(0, state.last_ordinal + 1, 1, "s", 1, 1, head, b"data")],
        payloads=[(0, 1, b"digest", 4, 1, b"data")],
        data_keys=[("key", b"wrapped", None, None)],
        snapshots=[(0, 1, 1, b"schema", b"data")],
        tiles=[(0, 0, 0, b"hashes")],
        checkpoints=[(0, 1, b"root", "note")],
    )


TABLES = (
    "events",
    "tenants",
    "streams",
    "open_workflows",
    "output_chunks",
    "payloads",
    "data_keys",
    "snapshots",
    "tiles",
    "checkpoints",
)


async def contents(connection):
    return {table: await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}


async def commit_after(postgres_url, theft):
    """Commit a batch that touches every table after a theft; what was in the tables before and after."""
    log = log_on(postgres_url)
    await log.open()
    for name in "abc":
        await log.append(opening(name, wake_at_us=5))
    await log.close()
    backend = PostgresBackend(postgres_url, times=LONG)
    state = await backend.open(lambda reason: None)
    async with operator(postgres_url) as connection:
        before = await contents(connection)
        if theft:
            await connection.execute(theft)
        with contextlib.suppress(OwnershipLostError):
            await backend.commit(everything_of(state))
        after = await contents(connection)
    await backend.close()
    return before, after


@pytest.mark.parametrize(
    "theft",
    ["UPDATE shards SET epoch = epoch + 1, owner = 'somebody'", "UPDATE shards SET head_position = head_position + 1"],
)
async def test_the_statement_of_a_stale_owner_touches_nothing_at_all(postgres_url, theft):
    """Above all not the wake-up times of its successor's workflows."""
    before, after = await commit_after(postgres_url, theft)
    assert before == after


async def test_the_statement_of_the_owner_touches_every_table(postgres_url):
    before, after = await commit_after(postgres_url, "")
    assert [table for table in TABLES if before[table] == after[table]] == []


async def followed(log, after, until):
    """The positions that a follower gets until it is cut off or has come so far."""
    positions = []
    with contextlib.suppress(StoreClosedError):
        async for batch in log.subscribe(after):
            positions += [event.position for event in batch.events]
            if batch.position >= until:
                break
    return positions


async def test_a_follower_over_takeovers_under_load_sees_every_position_once_and_in_order(postgres_url):
    """Each owner is deposed in the middle of its appends; the follower goes on with its cursor at the next."""
    positions = []
    for life in range(6):
        log = log_on(postgres_url)
        await log.open()
        after = positions[-1] if positions else 0

        async def append(name, log=log):
            with contextlib.suppress(OwnershipLostError, StoreClosedError):
                for version in range(1000):
                    await log.append(append_to(name, at=version))

        following = asyncio.ensure_future(followed(log, after, log.head + 10_000))
        writing = [asyncio.ensure_future(append(f"{life}.{writer}")) for writer in range(4)]
        await followed(log, after, after + 40)
        successor = log_on(postgres_url)
        await successor.open()
        async with asyncio.timeout(WITHIN_S):
            positions += await following
            await asyncio.gather(*writing)
        await log.close()
        await successor.close()
    last = log_on(postgres_url)
    await last.open()
    positions += await followed(last, positions[-1], last.head)
    assert positions == list(range(1, last.head + 1))
    await last.close()
