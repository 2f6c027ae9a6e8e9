"""The pools of the built-in tools: how they are counted, and how a tool's health tells of them."""

import asyncio
import logging
import sqlite3

import pytest

import podium
from podium.pool_use import PoolStatistics
from podium.sanitizers.pinned_client import RequestFailed
from service.tools.http_request import add_http_request, client_of
from service.tools.settings import Database, Http
from service.tools.sql_query import add_sql_query
from service.tools.sqlite_connections import SqliteConnections

WITHIN_S = 10.0


def figures(pool):
    found = pool.statistics()
    return {each: getattr(found, each) for each in ("in_use", "waited", "opened", "reused")}


class Web:
    """A server that keeps its connections, and answers when it is let."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Semaphore(0)
        self.status = "200 OK"
        self.port = 0

    async def serve(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked.release()
                await self.gate.wait()
                writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 2\r\n\r\nok".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def settings(self, **more):
        return Http(schemes=("http",), ports=(self.port,), networks=("127.0.0.1/32",), **more)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
async def web():
    web = Web()
    async with await asyncio.start_server(web.serve, "127.0.0.1", 0) as server:
        web.port = server.sockets[0].getsockname()[1]
        yield web


async def test_requests_share_connections_and_those_that_wait_for_one_are_counted(web):
    async with client_of(web.settings(max_connections=2)) as client:
        for _ in range(3):
            await client.request("GET", web.url, max_bytes=10, timeout=WITHIN_S)
        assert figures(client) == {"in_use": 0, "waited": 0, "opened": 1, "reused": 2}
        web.gate.clear()
        requests = [
            asyncio.create_task(client.request("GET", web.url, max_bytes=10, timeout=WITHIN_S)) for _ in range(5)
        ]
        for _ in range(5):  # Three before, and the two that have a connection.
            await web.asked.acquire()
        assert figures(client) == {"in_use": 2, "waited": 3, "opened": 2, "reused": 3}
        web.gate.set()
        assert [(await request).status for request in requests] == [200] * 5
        assert figures(client) == {"in_use": 0, "waited": 3, "opened": 2, "reused": 6}


async def test_a_place_is_given_back_however_a_request_ends(web):
    async with client_of(web.settings(max_connections=1)) as client:
        web.gate.clear()
        with pytest.raises(RequestFailed, match="no whole answer"):
            await client.request("GET", web.url, max_bytes=10, timeout=0.05)
        waits = asyncio.create_task(client.request("GET", web.url, max_bytes=10, timeout=WITHIN_S))
        await web.asked.acquire()
        await web.asked.acquire()
        waits.cancel()
        await asyncio.wait({waits})
        assert client.statistics().in_use == 0
        web.gate.set()
        assert (await client.request("GET", web.url, max_bytes=10, timeout=WITHIN_S)).status == 200


@pytest.fixture
def file(tmp_path):
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE items (id INTEGER)")
    database.close()
    return tmp_path / "shop.db"


async def test_sql_query_is_healthy_while_its_databases_answer(file, caplog):
    settings = Database(name="shop", url=f"sqlite:///{file}", health=True, max_connections=2)
    connections = SqliteConnections(settings)
    app = podium.Executor("test")
    add_sql_query(app, {"shop": (settings, connections)}, podium.Probe(interval="5s"))
    tool = app.tools["sql_query"]
    assert tool.definition.probing.interval_ms == 5000
    with caplog.at_level(logging.INFO, "service.tools.pools"):
        health = await tool.health()
    told = "pool shop: 0 of 2 in use, 0 waited, 1 opened, 0 reused"
    assert (health.healthy, health.message) == (True, told)
    assert health.pools == [PoolStatistics("shop", 2, 0, 0, 1, 0)]
    assert caplog.messages == [told]
    await connections.close()
    file.rename(file.with_suffix(".gone"))
    health = await tool.health()
    assert not health.healthy
    assert health.message.startswith("shop: the database")
    assert str(file.parent) not in health.message


async def test_http_request_is_healthy_while_its_address_answers(web):
    settings = web.settings(health_url=web.url)
    app = podium.Executor("test")
    async with client_of(settings) as client:
        add_http_request(app, client, settings, podium.Probe())
        health = app.tools["http_request"].health
        told = "pool http: 0 of 32 in use, 0 waited, 1 opened, 0 reused"
        assert await health() == podium.Health(True, told, [PoolStatistics("http", 32, 0, 0, 1, 0)])
        web.status = "503 Down"
        failed = await health()
    assert (failed.healthy, failed.message.partition(";")[0]) == (False, "the health address answers 503")
    assert [pool.reused for pool in failed.pools] == [1]


async def test_without_a_health_configured_nobody_asks(web, file):
    database = Database(name="shop", url=f"sqlite:///{file}")
    connections = SqliteConnections(database)
    app = podium.Executor("test")
    async with client_of(web.settings()) as client:
        add_http_request(app, client, web.settings(), podium.Probe())
        add_sql_query(app, {"shop": (database, connections)}, podium.Probe())
    await connections.close()
    assert [tool.definition.HasField("probing") for tool in app.tools.values()] == [False, False]


async def test_a_pool_that_is_full_is_at_work_and_not_ill(file):
    class Full(SqliteConnections):
        def statistics(self):
            return PoolStatistics("shop", 2, 2, 9, 2, 40)

        async def query(self, statement, parameters, max_rows):
            raise AssertionError("one more would wait for those that work")

    settings = Database(name="shop", url=f"sqlite:///{file}", health=True, max_connections=2)
    app = podium.Executor("test")
    add_sql_query(app, {"shop": (settings, Full(settings))})
    assert (await app.tools["sql_query"].health()).message == "pool shop: 2 of 2 in use, 9 waited, 2 opened, 40 reused"
