"""Reading a log that has just grown, of whose tables Postgres knows nothing yet, costs what is read and no more."""

import json

import pytest
from sqlalchemy.dialects import postgresql

from store import queries
from store.contract import Append
from store.postgres import FIND_STREAMS, postgres_log
from tests.contract.events import TENANT, FakeClock, to_stream
from tests.postgres import operator

STREAMS = 800
EVENTS = 10
READ = 1000
LOOKED_UP = 50

JOINED = """
SELECT events.position, tenants.name, streams.stream_id, events.record FROM events
JOIN streams ON streams.shard = events.shard AND streams.stream_key = events.stream_key
  AND streams.tenant_key = events.tenant_key
JOIN tenants ON tenants.shard = events.shard AND tenants.tenant_key = events.tenant_key
WHERE events.shard = %(shard)s AND events.position > %(after_position)s ORDER BY events.position LIMIT %(limit)s
"""
"""The statement that one would write first."""


@pytest.fixture
async def grown(postgres_url):
    async with operator(postgres_url) as connection:
        for table in ("events", "streams", "tenants"):
            await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    log = postgres_log(postgres_url, clock=FakeClock(), reader_connections=1)
    await log.open()
    for first in range(0, STREAMS, 100):
        await log.append(Append([to_stream(f"wf_{number}", EVENTS) for number in range(first, first + 100)]))
    await log.close()
    return postgres_url


async def pages_read(url, statement):
    """How many pages of tables and indexes a statement looks at."""
    values = {"shard": "0", "after_position": str(READ), "limit": str(READ), "tenant": f"'{TENANT}'"}
    sql = str(statement if isinstance(statement, str) else statement.compile(dialect=postgresql.dialect())) % values
    async with operator(url) as connection:
        [plan] = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}"))
    assert plan["Plan"]["Actual Rows"] == READ
    return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]


async def streams_read(url, statement):
    """How many rows of streams a look-up of some of them goes through, where joins seem cheap to Postgres."""
    async with operator(url) as connection:
        # As it guesses when there are many more streams than here.
        await connection.execute("SET enable_nestloop = off")
        await connection.execute(f"PREPARE look_up AS {statement}")
        names = [f"wf_{number}" for number in range(LOOKED_UP)]
        executed = f"EXECUTE look_up (0, array_fill(1, ARRAY[{LOOKED_UP}]), ARRAY{names})"
        found = await connection.fetch(executed)
        [plan] = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {executed}"))
    assert [version for _, version in found] == [EVENTS] * LOOKED_UP
    return sum(node["Actual Rows"] * node["Actual Loops"] for node in nodes(plan["Plan"]) if node.get("Alias") == "s")


def nodes(plan):
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


JOINED_STREAMS = """
SELECT s.stream_key, (SELECT max(stream_version) FROM events e WHERE e.shard = s.shard AND e.stream_key = s.stream_key)
FROM unnest($2::int[], $3::text[]) WITH ORDINALITY AS n (tenant_key, stream_id, number)
LEFT JOIN streams s ON s.shard = $1 AND s.tenant_key = n.tenant_key AND s.stream_id = n.stream_id ORDER BY n.number
"""
"""The look-up that one would write first."""


async def test_streams_are_looked_up_by_their_keys_in_a_log_that_has_just_grown(grown):
    assert await streams_read(grown, FIND_STREAMS) == LOOKED_UP


async def test_a_look_up_that_goes_through_all_streams_would_be_found(grown):
    assert await streams_read(grown, JOINED_STREAMS) == STREAMS


@pytest.mark.parametrize("name", ["READ_ALL", "READ_TENANT"])
async def test_a_log_that_has_just_grown_is_read_by_its_keys(grown, name):
    # An event takes a few pages of two indexes and a table.
    assert await pages_read(grown, getattr(queries, name)) < 10 * READ


async def test_a_plan_that_goes_through_everything_would_be_found(grown):
    assert await pages_read(grown, JOINED) > 10 * READ
