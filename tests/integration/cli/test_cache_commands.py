"""`podium cache` on a running service: what was saved, what is kept, and the end of its use."""

import asyncio

import pytest

import podium
from tests.integration.rig.caller import Caller

TENANT = "cached"


@pytest.fixture
def ask(service, podium_command):
    """Runs a command as an administrator: `ask("cache", "list")`."""

    def run(*words):
        token = service.token("ana", tenant=TENANT)
        return podium_command(*words, PODIUM_ADDRESS=service.address, PODIUM_TOKEN=token)

    return run


@pytest.fixture
def two_results(service):
    """Results for two symbols, one of them used again."""
    app = podium.Executor("quotes")

    @app.tool(read_only=True)
    async def quote(symbol: str) -> str:
        """Look up a quote."""
        return symbol

    app.tools["quote"].definition.caching.ttl_ms = 600_000

    async def produce():
        token = service.token("ana", tenant=TENANT)
        async with podium.connect(service.address, token, serve=app):
            caller = Caller(service.address, token)
            for symbol in ("AAPL", "MSFT", "AAPL"):
                await caller.call("quote", {"symbol": symbol})
            await caller.close()

    asyncio.run(produce())


def test_the_cache_is_looked_at_and_ended(ask, two_results):
    figures = ask("cache", "stats", "--json").json
    assert (figures["tool"], figures["hits"], figures["misses"], figures["entries"]) == ("quote", 1, 2, 2)
    shown = ask("cache", "stats", "quote")
    assert (shown.code, "33 %" in shown.out) == (0, True)
    assert "at most 10000 entries" in shown.err

    first, second = ask("cache", "list", "--json").lines
    assert (first["hits"], second["hits"], first["subject"]) == (1, 0, "ana")
    assert first["source_step_id"]
    listed = ask("cache", "list", "--tool", "quote").out
    assert "quote v1" in listed
    assert listed.count(f"  {first['size_bytes'] / 1024:.1f} KiB\n") == 2

    ended = ask("cache", "invalidate", "quote", "--arguments", '{"symbol": "AAPL"}', "--reason", "split")
    assert ended.out == "cached results of quote for these arguments are not used any more (1 were in memory)\n"
    assert ask("cache", "invalidate", "--all", "--json").json == {"tool": "", "entries": 1}
    assert ask("cache", "list").err == "nothing is cached\n"


def test_an_invalidation_says_of_what(ask):
    assert ask("cache", "invalidate").code == 2
    assert ask("cache", "invalidate", "quote", "--all").code == 2
    assert ask("cache", "invalidate", "nothing_like_it").code == 4
