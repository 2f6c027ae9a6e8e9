"""Events in Postgres stay what they are: by triggers, whoever asks, and by the rights of the service's role."""

import asyncpg
import pytest

from service.projections.database import DatabaseError
from service.projections.postgres_database import PostgresProjections
from store.contract import StoreError
from store.description import describe, grants_for
from store.migrate import check, migrate
from store.postgres import postgres_log
from tests.contract.events import TENANT, FakeClock, append_to, chunks, closing, opening
from tests.postgres import operator

CHANGES = ["UPDATE events SET type = 1", "DELETE FROM events", "TRUNCATE events"]
ROLE = "podium_service"
DISARMED = """
CREATE OR REPLACE FUNCTION events_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$
"""


@pytest.fixture
async def filled(postgres_url):
    log = postgres_log(postgres_url, clock=FakeClock(), reader_connections=1)
    await log.open()
    await log.append(append_to("a", 3))
    await log.close()
    return postgres_url


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("session", ["SET session_replication_role = origin", "SET session_replication_role = replica"])
async def test_a_superuser_cannot_change_events(filled, change, session):
    """Not even in a session that calls itself a replica, which ordinary triggers do not see."""
    async with operator(filled) as connection:
        await connection.execute(session)
        with pytest.raises(asyncpg.RaiseError, match="events are immutable"):
            await connection.execute(change)
        assert await connection.fetchval("SELECT count(*) FROM events") == 3


@pytest.mark.parametrize("change", CHANGES)
async def test_without_the_trigger_they_could_be(filled, change):
    async with operator(filled) as connection:
        await connection.execute("DROP TRIGGER events_refuse_change ON events")
        await connection.execute(change)


@pytest.mark.parametrize(
    "difference",
    [
        "DROP TRIGGER events_refuse_change ON events",
        "ALTER TABLE events DISABLE TRIGGER events_refuse_change",
        "ALTER TABLE events ENABLE TRIGGER events_refuse_change",
        "ALTER TABLE streams ADD COLUMN color TEXT",
        "ALTER TABLE payloads DROP COLUMN touched_at_us",
        "DROP INDEX events_by_tenant",
        "DROP TABLE data_keys",
        "DROP TABLE events",
        "ALTER TABLE tiles DROP CONSTRAINT tiles_pkey",
        "UPDATE alembic_version SET version_num = '9999'",
        DISARMED,
    ],
)
async def test_a_difference_is_found(postgres_url, difference):
    assert check(postgres_url) == []
    async with operator(postgres_url) as connection:
        await connection.execute(difference)
    assert check(postgres_url) != []


@pytest.fixture
async def restricted(postgres_url):
    """The database as a role that may only run the service sees it."""
    async with operator(postgres_url) as connection:
        await connection.execute(
            f"DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        await connection.execute("\n".join(grants_for(ROLE)))
    scheme, _, rest = postgres_url.partition("://")
    return f"{scheme}://{ROLE}:secret@{rest.rpartition('@')[2]}"


async def test_the_services_role_runs_the_service(restricted):
    migrate(restricted)
    log = postgres_log(restricted, clock=FakeClock(), reader_connections=1)
    await log.open()
    await log.append(opening("a"))
    await log.append_chunks(chunks("a", [1, 2]))
    await log.write_payload(TENANT, b"kept")
    await log.append(closing("a", at=1))
    assert len(await log.read_all()) == 2
    await log.close()


@pytest.mark.parametrize("change", CHANGES)
async def test_the_services_role_cannot_change_events(restricted, change):
    async with operator(restricted) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(change)


async def test_the_services_role_cannot_take_the_trigger_away(restricted):
    async with operator(restricted) as connection:
        for removal in ("DROP TRIGGER events_refuse_change ON events", "ALTER TABLE events DISABLE TRIGGER ALL"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(removal)


async def test_a_database_tells_what_is_in_it_and_no_password(restricted, filled):
    described = describe(restricted)
    assert "secret" not in repr(described)
    [shard] = described.shards
    assert (shard.head, described.streams, described.tenants) == (3, 1, 1)
    assert described.revision == described.wanted_revision


async def test_a_database_tells_whether_who_asks_could_change_events(restricted, filled):
    assert describe(restricted).may_change_events is False
    assert describe(filled).may_change_events is True


async def test_a_database_that_is_not_there_is_told_without_the_password(postgres_url):
    nowhere = (
        postgres_url.rpartition("/")[0].replace("://", "://u:hidden-word@", 1).replace("@postgres@", "@") + "/none"
    )
    with pytest.raises(StoreError) as refused:
        migrate(nowhere)
    assert "hidden-word" not in str(refused.value)


async def test_what_another_role_served_with_before_becomes_the_services(postgres_url, restricted):
    """The projections' tables are dropped and made by whoever serves, so that one has to own them."""
    owner = PostgresProjections(postgres_url)
    async with operator(postgres_url) as connection:
        await connection.execute("ALTER SCHEMA podium_projections OWNER TO CURRENT_USER")
        await owner.open(1)
        await owner.write(lambda connection: connection.exec_driver_sql("CREATE TABLE audit_1 (x INTEGER)"))
        await owner.close()
        services = PostgresProjections(restricted)
        with pytest.raises(DatabaseError):
            await services.open(2)
        await connection.execute("\n".join(grants_for(ROLE)))
    await services.open(2)
    await services.write(lambda connection: connection.exec_driver_sql("DROP TABLE audit_1"))
    await services.close()
