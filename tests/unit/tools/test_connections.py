"""The walls behind the sanitizer: connections that are given a statement all the same refuse to write or to go on."""

import asyncio
import sqlite3

import pytest

import podium
from service.tools.postgres_connections import PostgresConnections
from service.tools.settings import Database
from service.tools.sql_connection import with_literal_colons
from service.tools.sqlite_connections import SqliteConnections
from tests.postgres import operator, postgres_for_tests

WRITES = [
    "INSERT INTO items VALUES (9)",
    "UPDATE items SET id = 9",
    "DELETE FROM items",
    "DROP TABLE items",
    "CREATE TABLE other (id INTEGER)",
    "ALTER TABLE items ADD COLUMN x INTEGER",
    "SELECT 1; DELETE FROM items",
]
SQLITE_WRITES = [
    *WRITES,
    "BEGIN IMMEDIATE",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "ATTACH DATABASE ':memory:' AS other",
    "VACUUM INTO '/tmp/podium-stolen.db'",
    "CREATE TEMP TABLE t (id INTEGER)",
    "SELECT load_extension('x')",
    "ANALYZE",
]
POSTGRES_WRITES = [
    *WRITES,
    "WITH gone AS (DELETE FROM items RETURNING id) SELECT id FROM gone",
    "SET TRANSACTION READ WRITE",
    "SET transaction_read_only = off",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT query_to_xml('delete from items', true, true, '')",
    "DO $$ BEGIN DELETE FROM items; END $$",
    "COPY items TO '/tmp/podium-stolen'",
    "COPY items FROM PROGRAM 'id'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_creat(-1)",
    "SELECT nextval('numbers')",
    "TRUNCATE items",
    "VACUUM",
    "CALL writes()",
]


@pytest.fixture
def file(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE items (id INTEGER)")
        database.executemany("INSERT INTO items VALUES (?)", [(n,) for n in range(3)])
    database.close()
    return tmp_path / "shop.db"


@pytest.fixture
async def sqlite(file):
    connections = SqliteConnections(Database(name="shop", url=f"sqlite:///{file}", timeout_s=1))
    yield connections
    await connections.close()


@pytest.fixture(scope="module")
def server():
    with postgres_for_tests() as each:
        yield each


@pytest.fixture
async def url(server):
    url = await server.create_database(migrated=False)
    async with operator(url) as connection:
        await connection.execute(
            "CREATE TABLE items (id INTEGER); INSERT INTO items SELECT * FROM generate_series(0, 2);"
            "CREATE SEQUENCE numbers;"
            "CREATE PROCEDURE writes() LANGUAGE sql AS 'DELETE FROM items';"
            "CREATE ROLE podium_reader; GRANT SELECT ON items TO podium_reader"
        )
    yield url
    async with operator(url) as connection:
        await connection.execute("DROP OWNED BY podium_reader; DROP ROLE podium_reader")
    await server.drop_database(url)


@pytest.fixture
async def postgres(url):
    connections = PostgresConnections(Database(name="shop", url=url, role="podium_reader", timeout_s=1))
    yield connections
    await connections.close()


@pytest.mark.parametrize("statement", SQLITE_WRITES)
async def test_sqlite_refuses_whatever_does_not_read(sqlite, file, statement):
    with pytest.raises(podium.PodiumError):
        await sqlite.query(statement, {}, 10)
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*), sum(id) FROM items").fetchone() == (3, 3)
    database.close()


async def test_without_the_walls_the_same_statements_write(file):
    """The control: most of them are statements that SQLite runs."""
    ran = 0
    for statement in SQLITE_WRITES:
        database = sqlite3.connect(file, isolation_level=None)
        try:
            database.execute(statement)
            ran += 1
        except (sqlite3.Error, sqlite3.Warning):
            continue
        finally:
            database.close()
    assert ran >= len(SQLITE_WRITES) - 6


async def test_postgres_refuses_whatever_does_not_read(postgres, url):
    for statement in POSTGRES_WRITES:
        try:
            await postgres.query(statement, {}, 10)
        except podium.PodiumError:
            continue
        # One that is no query and changes a setting of a transaction that is rolled back changes nothing.
        assert statement.startswith("SET "), statement
    async with operator(url) as connection:
        assert tuple(await connection.fetchrow("SELECT count(*), sum(id) FROM items")) == (3, 3)


async def test_the_bounds_of_one_statement_are_not_changed_by_the_one_before(postgres, url):
    for statement in (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "RESET ROLE",
        "SET statement_timeout = 0",
    ):
        try:
            await postgres.query(statement, {}, 10)
        except podium.PodiumError:
            continue
    found = await postgres.query(
        "SELECT current_user::text, current_setting('transaction_read_only'), current_setting('statement_timeout')",
        {},
        1,
    )
    assert found.rows == [["podium_reader", "on", "1s"]]


async def test_a_denial_names_nothing_of_the_table_that_is_not_listed(file):
    connections = SqliteConnections(Database(name="shop", url=f"sqlite:///{file}", tables=frozenset({"other"})))
    with pytest.raises(podium.ToolFailed) as denied:
        await connections.query("SELECT :x IN items", {"x": 1}, 10)
    await connections.close()
    assert denied.value.reason == "STATEMENT_DENIED"
    assert denied.value.message == "the database does not let this statement do that"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_statement_that_goes_on_is_ended_and_its_connection_is_good(kind, sqlite, postgres):
    connections = sqlite if kind == "sqlite" else postgres
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    async with asyncio.timeout(20):
        with pytest.raises(podium.PodiumError) as ended:
            await connections.query(endless, {}, 1)
    assert ended.value.reason == "TIMEOUT"
    assert (await connections.query("SELECT :a + :b AS total", {"a": 1, "b": 2}, 1)).rows == [[3]]


async def test_a_value_that_is_too_large_is_refused(file):
    connections = SqliteConnections(Database(name="shop", url=f"sqlite:///{file}", max_result_bytes=1000))
    for statement in ("SELECT hex(zeroblob(100000000))", "SELECT hex(zeroblob(900))"):
        with pytest.raises(podium.ToolFailed) as refused:
            await connections.query(statement, {}, 1)
        assert refused.value.reason == "TOO_LARGE"
    await connections.close()


@pytest.mark.parametrize(
    ("statement", "escaped"),
    [
        ("SELECT ':a', :b", r"SELECT '\:a', :b"),
        ("SELECT 'it''s :a' || :b", r"SELECT 'it''s \:a' || :b"),
        ('SELECT ":a"."b:c"', r'SELECT "\:a"."b\:c"'),
        ("SELECT $$ :a $$, $t$ :b $t$, :c", r"SELECT $$ \:a $$, $t$ \:b $t$, :c"),
        ("SELECT 1 -- :a\n, :b /* :c */", "SELECT 1 -- \\:a\n, :b /* \\:c */"),
        ("SELECT '2026-11-23'::date", "SELECT '2026-11-23'::date"),
    ],
)
def test_what_is_quoted_is_no_parameter(statement, escaped):
    assert with_literal_colons(statement) == escaped


def figures(pool):
    found = pool.statistics()
    return {each: getattr(found, each) for each in ("in_use", "waited", "opened", "reused")}


async def used(connections):
    """The figures after three queries in turn, one that fails, and then eight at once on two connections."""
    for _ in range(3):
        await connections.query("SELECT 1", {}, 1)
    with pytest.raises(podium.ToolFailed):
        await connections.query("SELECT nothing FROM nowhere", {}, 1)
    one_by_one = figures(connections)
    await asyncio.gather(*(connections.query("SELECT 1", {}, 1) for _ in range(8)))
    return one_by_one, figures(connections)


async def test_the_connections_to_a_sqlite_file_are_counted(file):
    connections = SqliteConnections(Database(name="shop", url=f"sqlite:///{file}", max_connections=2))
    one_by_one, at_once = await used(connections)
    await connections.close()
    assert one_by_one == {"in_use": 0, "waited": 0, "opened": 1, "reused": 3}
    assert (at_once["in_use"], at_once["opened"] + at_once["reused"]) == (0, 12)
    assert at_once["opened"] <= 2


async def test_the_connections_to_a_postgres_database_are_counted(url):
    connections = PostgresConnections(Database(name="shop", url=url, max_connections=2))
    one_by_one, at_once = await used(connections)
    await connections.close()
    assert one_by_one == {"in_use": 0, "waited": 0, "opened": 1, "reused": 3}
    assert (at_once["in_use"], at_once["opened"], at_once["reused"]) == (0, 2, 10)
