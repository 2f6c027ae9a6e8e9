"""The gauges of the pools of a real executor of built-in tools, as Prometheus gets them."""

import json
import sqlite3
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from podium.v1 import definition_pb2, executor_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.forked_process import ForkedProcess
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.tools.conftest import PIPES, BuiltinProcess

FIGURES = ("size", "in_use", "waited", "opened", "reused")
NAMED = "warehouse"


class Web(BaseHTTPRequestHandler):
    """Answers, /slow as soon as the gate is open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/slow":
            self.server.gate.wait(60)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def web():
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        server.daemon_threads = True
        server.gate = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.gate.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def builtin(observed, tenant, tmp_path, web):
    """An executor of built-in tools with a pool for HTTP and one for a database."""
    sqlite3.connect(tmp_path / "shop.db").close()
    file = tmp_path / "tools.yaml"
    database = {"path": f"{tmp_path}/shop.db", "health": True, "max_connections": 3}
    http = {"schemes": ["http"], "ports": [web.server_port], "networks": ["127.0.0.1/32"], "max_connections": 5}
    http["health_url"] = f"http://127.0.0.1:{web.server_port}/"
    process = {"probe_interval": "50ms"}
    tools = ["http_request", "sql_query"]
    content = {"tools": tools, "name": NAMED, "http": http, "databases": {"shop": database}, "process": process}
    file.write_text(json.dumps(content))
    service = observed.service
    token = service.token("builtin", roles=["executor"], tenant=tenant)
    made = BuiltinProcess(partial(ForkedProcess, **PIPES), file, service.address, token, tmp_path / "builtin.log")
    yield made
    if made.process.poll() is None:
        made.end()


async def test_the_pools_of_an_executor_are_told_until_it_is_gone(observed, calls, tenant, builtin, web):
    def told(scrape, figure):
        return scrape.sums(f"podium_executor_pool_{figure}", "executor", "pool", tenant=tenant)

    def is_whole(scrape):
        return told(scrape, "size") == {(NAMED, "http"): 5, (NAMED, "shop"): 3}

    scrape = await observed.scrape_until(is_whole)
    assert {figure for figure in FIGURES if told(scrape, figure).keys() == told(scrape, "size").keys()} == set(FIGURES)
    assert told(scrape, "in_use")[NAMED, "http"] == 0
    assert told(scrape, "opened")[NAMED, "http"] >= 1
    ana = calls()
    request = {"url": f"http://127.0.0.1:{web.server_port}/slow"}
    workflow_id = await ana.start(step("http_request", request))
    await observed.scrape_until(lambda scrape: told(scrape, "in_use").get((NAMED, "http")) == 1)
    web.gate.set()
    await ana.ended(workflow_id)
    await observed.scrape_until(lambda scrape: told(scrape, "in_use").get((NAMED, "http")) == 0)
    builtin.end()
    await observed.scrape_until(lambda scrape: all(told(scrape, figure) == {} for figure in FIGURES))


async def test_an_executor_tells_of_so_many_pools_and_nothing_that_looks_like_a_secret(observed, calls, tenant):
    probing = definition_pb2.Probing(interval_ms=500, timeout_ms=500, unhealthy_after=9)
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    names = [f"pool of {key}", "x" * 300, *(f"pool-{number}" for number in range(50))]

    def pools(scrape):
        told = scrape.sums("podium_executor_pool_in_use", "pool", tenant=tenant, executor="raw")
        return {pool for (pool,) in told}

    async with raw_executor(calls(), tool("work", read_only=True, probing=probing)) as executor:
        probe = await executor.expect("probe")
        figures = [executor_service_pb2.PoolFigures(name=name, size=2, in_use=1) for name in names]
        answer = executor_service_pb2.ToolProbed(probe=probe.probe, healthy=True, pools=figures)
        await executor.send(("probed", answer))
        told = pools(await observed.scrape_until(pools))
        assert told == {"pool of [redacted:aws-key]", "x" * 64, *(f"pool-{number}" for number in range(30))}
        # What is not answered in time tells nothing any more.
        await executor.expect("probe")
        await observed.scrape_until(lambda scrape: not pools(scrape))
