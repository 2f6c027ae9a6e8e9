"""Databases through the service: they are read, and every way to write, to reach a file or to go on for ever fails."""

import asyncio
import sqlite3

import pytest

import podium
from service.tools.settings import Database
from service.tools.sqlite_connections import SqliteConnections
from tests.ports import free_port
from tests.postgres import operator

WRITES = [
    "INSERT INTO items (name, cents) VALUES ('x', 1)",
    "UPDATE items SET cents = 0",
    "DELETE FROM items",
    "DROP TABLE items",
    "SELECT 1; DELETE FROM items",
    "CREATE TABLE other (id INTEGER)",
    "WITH gone AS (DELETE FROM items RETURNING id) SELECT id FROM gone",
    "COMMIT",
    "VACUUM INTO '/tmp/podium-stolen.db'",
    "ATTACH DATABASE '/tmp/podium-other.db' AS other",
    "PRAGMA writable_schema = ON",
    "EXPLAIN DELETE FROM items",
]
POSTGRES_WRITES = [
    *WRITES,
    "SET TRANSACTION READ WRITE",
    "SELECT set_config('transaction_read_only', 'off', true)",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT query_to_xml('delete from items', true, true, '')",
    "SELECT nextval('items_id_seq')",
    "COPY items TO '/tmp/podium-stolen'",
    "COPY items FROM PROGRAM 'id'",
    "DO $$ BEGIN DELETE FROM items; END $$",
    "SELECT * FROM items FOR UPDATE",
    "SELECT id INTO copied FROM items",
    "LOCK TABLE items",
    "RESET ROLE",
]


@pytest.fixture
async def shop_url(postgres):
    """A database with a role that may do more than read: the transaction must hold it."""
    url = await postgres.create_database(migrated=False)
    async with operator(url) as connection:
        await connection.execute(
            "CREATE TABLE items (id SERIAL PRIMARY KEY, name TEXT, cents INTEGER);"
            "INSERT INTO items (name, cents) SELECT 'item ' || n, 100 * n FROM generate_series(1, 300) n;"
            "CREATE TABLE hidden (word TEXT); INSERT INTO hidden VALUES ('hidden word')"
        )
    yield url
    await postgres.drop_database(url)


@pytest.fixture
def sqlite(ground, serve):
    def start(**more):
        return serve(ground.file(tools=["sql_query"], databases={"shop": {"path": "shop.db", **more}}))

    return start


@pytest.fixture
def on_postgres(ground, serve, shop_url):
    def start(**more):
        database = {"url_variable": "SHOP_URL", **more}
        return serve(ground.file(tools=["sql_query"], databases={"shop": database}), SHOP_URL=shop_url)

    return start


@pytest.fixture(params=["sqlite", "postgres"])
def start(request):
    return request.getfixturevalue("sqlite" if request.param == "sqlite" else "on_postgres")


async def query(client, statement, parameters=None, **more):
    return await client.call("sql_query", database="shop", statement=statement, parameters=parameters or {}, **more)


async def test_a_statement_with_bound_values_is_answered(start, client):
    start()
    found = await query(client, "SELECT name, cents FROM items WHERE cents > :least ORDER BY id", {"least": 29_800})
    assert found == {
        "columns": ["name", "cents"],
        "rows": [["item 299", 29_900], ["item 300", 30_000]],
        "row_count": 2,
        "truncated": False,
        "affected": None,
    }
    by_name = await query(client, "SELECT id FROM items WHERE name = :name", {"name": "x' OR '1'='1"})
    assert by_name["rows"] == []


async def test_rows_beyond_the_limit_are_left_out_and_that_is_told(start, client):
    start(max_rows=10)
    found = await query(client, "SELECT id FROM items ORDER BY id")
    assert (found["row_count"], found["truncated"]) == (10, True)
    exactly = await query(client, "SELECT id FROM items WHERE id <= :last ORDER BY id", {"last": 10})
    assert (exactly["row_count"], exactly["truncated"]) == (10, False)


async def test_a_result_is_bounded_in_bytes(start, client):
    start(max_result="1KiB", max_rows=1000)
    found = await query(client, "SELECT id, name FROM items ORDER BY id", max_rows=1000)
    assert found["truncated"]
    assert 0 < found["row_count"] < 100


@pytest.mark.parametrize("statement", WRITES)
async def test_sqlite_is_not_written(sqlite, client, ground, statement):
    sqlite()
    await refused(client, statement)
    with sqlite3.connect(ground.folder / "shop.db") as database:
        assert database.execute("SELECT count(*), sum(cents) FROM items").fetchone() == (300, 4_515_000)
    database.close()


async def test_postgres_is_not_written(on_postgres, client, shop_url):
    on_postgres()
    for statement in POSTGRES_WRITES:
        await refused(client, statement)
    async with operator(shop_url) as connection:
        assert tuple(await connection.fetchrow("SELECT count(*), sum(cents) FROM items")) == (300, 4_515_000)


async def test_what_takes_too_long_is_ended(start, client):
    start(timeout="1s")
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n AS a, n AS b"
    async with asyncio.timeout(15):
        with pytest.raises(podium.PodiumError) as ended:
            await query(client, endless)
    assert ended.value.reason == "TIMEOUT", ended.value
    assert (await query(client, "SELECT 1 AS one"))["rows"] == [[1]]


async def test_only_the_tables_that_are_listed_are_read(start, client):
    start(tables=["items"])
    assert (await query(client, "SELECT count(*) FROM items"))["rows"] == [[300]]
    await refused(client, "SELECT * FROM hidden")
    await refused(client, "SELECT * FROM sqlite_master")


async def test_queries_and_lists_that_a_statement_makes_itself_are_read(start, client):
    start(tables=["items"])
    numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < :most)"
    assert (await query(client, f"{numbers} SELECT count(*) FROM n", {"most": 4}))["rows"] == [[4]]
    assert (await query(client, "SELECT count(*) FROM (SELECT id FROM items) AS hidden"))["rows"] == [[300]]
    for counted in ("hidden", "(SELECT * FROM hidden) AS n", "items, hidden"):
        await refused(client, f"SELECT count(*) FROM {counted}")


@pytest.mark.parametrize("tables", [None, ["items"]])
async def test_sqlite_reads_lists_of_json(sqlite, client, tables):
    sqlite(**({} if tables is None else {"tables": tables}))
    listed = {"ids": "[1, 300]"}
    found = await query(client, "SELECT name FROM items WHERE id IN (SELECT value FROM json_each(:ids))", listed)
    assert found["rows"] == [["item 1"], ["item 300"]]
    assert (await query(client, "SELECT count(*) FROM json_tree(:ids)", listed))["rows"] == [[3]]


def test_the_authorizer_alone_refuses_what_is_not_listed(ground):
    """Of what the sanitizer would let through. Negative control: without a list it is read."""
    path = ground.folder / "shop.db"

    def make(table):
        with sqlite3.connect(path) as database:
            database.execute(f"CREATE TABLE {table} (word TEXT)")
        database.close()

    def reason(connections, statement):
        try:
            asyncio.run(connections.query(statement, {}, 10))
        except podium.ToolFailed as error:
            return error.reason
        return None

    for word, tables, denied in (("first", ("items",), "STATEMENT_DENIED"), ("second", None, None)):
        make(f"hidden_{word}")
        connections = SqliteConnections(Database(name="shop", url=f"sqlite:///{path}", tables=tables))
        for when in ("before", "later"):
            hidden = f"hidden_{word}" if when == "before" else f"late_{word}"
            assert reason(connections, f"SELECT count(*) FROM {hidden}") == denied
            assert reason(connections, f"SELECT EXISTS (SELECT 1 FROM {hidden.upper()})") == denied
            assert reason(connections, f"SELECT * FROM {hidden}") == denied
            if when == "before":
                # Another process makes it while the connection is open.
                make(f"late_{word}")
        asyncio.run(connections.close())


async def test_parameters_that_do_not_fit_are_told_in_plain_words(start, client):
    start()
    statement = "SELECT name FROM items WHERE id = :id"
    for parameters, problem in (
        ({}, "parameters hold no value for :id"),
        ({"id": 1, "more": 2}, "parameters hold a name that the statement does not use"),
        ({"id": 10**30}, "id does not fit 64 bits: give it as text, and cast it in the statement"),
        ({"id": -(2**63) - 1}, "id does not fit 64 bits: give it as text, and cast it in the statement"),
    ):
        with pytest.raises(podium.ToolFailed) as failed:
            await query(client, statement, parameters)
        assert (failed.value.reason, failed.value.message) == ("INPUT_REJECTED", problem)
    assert (await query(client, statement, {"id": -(2**63)}))["rows"] == []


CATALOGUE = (
    "WITH RECURSIVE t(n) AS (SELECT 16384 UNION ALL SELECT n + 1 FROM t) "
    "SELECT CAST(CAST(CAST(n AS oid) AS regclass) AS text) FROM t LIMIT 50"
)


async def test_no_cast_tells_what_other_tables_there_are(on_postgres, client, shop_url):
    on_postgres(tables=["items"])
    await refused(client, CATALOGUE)
    await refused(client, "SELECT 'hidden'::regclass")
    async with operator(shop_url) as connection:
        number = await connection.fetchval("SELECT CAST('hidden'::regclass AS oid)")
        assert "hidden" in [name for (name,) in await connection.fetch(CATALOGUE.replace("16384", str(number)))]
    found = await query(client, "SELECT CAST(:n AS numeric(9, 2)), substr(name, 1, 4) FROM items", {"n": 1}, max_rows=1)
    assert found["rows"] == [["1.00", "item"]]


async def test_a_table_is_the_one_that_the_database_takes_its_name_for(start, client):
    start(tables=["items"])
    assert (await query(client, "SELECT count(*) FROM iTems"))["rows"] == [[300]]
    await refused(client, "SELECT * FROM Hidden")


async def test_a_role_does_what_it_may(on_postgres, client, shop_url, tenant):
    role = f"reader_{tenant.replace('-', '_')}"
    async with operator(shop_url) as connection:
        await connection.execute(f"CREATE ROLE {role}; GRANT SELECT ON items TO {role}")
    try:
        on_postgres(role=role)
        assert (await query(client, "SELECT count(*) FROM items"))["rows"] == [[300]]
        with pytest.raises(podium.ToolFailed) as denied:
            await query(client, "SELECT word FROM hidden")
        assert denied.value.reason == "STATEMENT_DENIED"
    finally:
        async with operator(shop_url) as connection:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_where_writing_is_allowed_it_writes_and_needs_the_permission(start, client, admit, tenant, service):
    start(kinds=["select", "update"])
    changed = await query(client, "UPDATE items SET cents = :cents WHERE id = :id", {"cents": 7, "id": 1})
    assert (changed["affected"], changed["rows"]) == (1, [])
    assert (await query(client, "SELECT cents FROM items WHERE id = :id", {"id": 1}))["rows"] == [[7]]
    await refused(client, "DELETE FROM items")
    async with podium.connect(service.address, service.token("bob", roles=["agent"], tenant=tenant)) as agent:
        with pytest.raises(podium.PermissionDenied):
            await agent.call("sql_query", database="shop", statement="SELECT 1", parameters={})


async def test_an_error_names_no_address_and_no_value(on_postgres, client, ground, serve):
    on_postgres()
    with pytest.raises(podium.ToolFailed) as failed:
        await query(client, "SELECT cents / (cents - cents) FROM items WHERE name <> :word", {"word": "canary word"})
    assert "canary" not in str(failed.value)
    assert "SELECT" not in str(failed.value)
    with pytest.raises(podium.ToolFailed, match="no_such_column"):
        await query(client, "SELECT no_such_column FROM items")


async def test_a_database_that_is_away_is_told_without_its_address(ground, serve, client):
    serve(
        ground.file(tools=["sql_query"], databases={"shop": {"url_variable": "SHOP_URL"}}),
        SHOP_URL=f"postgresql://ana:hunter2@127.0.0.1:{free_port()}/shop",
    )
    with pytest.raises(podium.PodiumError) as failed:
        await query(client, "SELECT 1")
    assert failed.value.reason == "DATABASE_UNAVAILABLE"
    assert "hunter2" not in str(failed.value)


async def refused(client, statement):
    """Tries a statement, which does not succeed."""
    with pytest.raises(podium.PodiumError) as error:
        await query(client, statement)
    assert error.value.reason == "INPUT_REJECTED", error.value
