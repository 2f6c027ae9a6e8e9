"""What aiocache 0.12 gets wrong, each tried on our cache: in memory, on a server, or on both."""

import asyncio

import pytest

from podium.v1 import value_pb2
from service.admission.cache_flights import Call
from service.admission.result_cache import CacheBounds
from service.domain.caching import Plan
from tests.unit.cache.calls import CachedCalls, answer_of, cached_tool
from tests.unit.cache.remote import FORGETFUL


def test_it_has_no_bound_and_ours_has():
    calls = CachedCalls(CacheBounds(tenant_entries=10, tenant_bytes=10**9, entries=10**9, size_bytes=10**9))
    for value in range(100):
        calls.produce(str(value))
    assert calls.results.size("default")[0] == 10


def test_it_forgets_nothing_by_use_and_ours_the_least_recently_used():
    calls = CachedCalls(CacheBounds(tenant_entries=2, tenant_bytes=10**9, entries=10**9, size_bytes=10**9))
    calls.produce("1")
    calls.produce("2")
    calls.answer("1")
    calls.produce("3")
    assert [calls.answer(value) for value in "123"] == ['"out"', None, '"out"']


def test_clearing_leaves_nothing_behind_that_deletes_what_is_set_again():
    calls = CachedCalls()
    calls.produce("1", ttl_ms=100)
    calls.guard.invalidate("default", "", b"")
    calls.produce("1", '"again"', ttl_ms=10_000)
    calls.tick(5_000)
    assert calls.answer("1") == '"again"'


async def test_a_lifetime_of_zero_is_never_and_not_for_ever(remote):
    calls = remote()
    assert await calls.call(ttl_ms=0) is None
    assert await calls.remote._cache.client.keys("*") == []  # noqa: SLF001 - the test looks at the server itself
    assert await remote().call(ttl_ms=0) is None


async def test_whatever_is_on_the_server_has_an_end(remote):
    calls = remote()
    await calls.call("1", ttl_ms=1_000)
    await calls.call("2", ttl_ms=2_500)
    client = calls.remote._cache.client  # noqa: SLF001 - the test looks at the server itself
    lifetimes_ms = sorted([await client.pttl(key) for key in await client.keys("*")])
    assert 0 < lifetimes_ms[0] <= 1_000 < lifetimes_ms[1] <= 2_500


async def test_clearing_a_tenant_leaves_those_whose_names_begin_alike(remote):
    calls = remote()
    for tenant in ("t1", "t10", "t1:x"):
        await calls.call(tenant=tenant)
    calls.invalidate("t1")
    assert await calls.call(tenant="t1") is None
    assert [calls.answer(tenant=tenant) for tenant in ("t10", "t1:x")] == ['"out"', '"out"']
    later = remote()
    later.invalidate("t1")
    assert [await later.call(tenant=tenant) for tenant in ("t10", "t1:x", "t1")] == ['"out"', '"out"', None]


def test_what_is_stored_is_no_alias_of_what_was_given():
    calls = CachedCalls()
    request = calls.start(calls.request())
    outcome = calls.succeed(request, '["a"]')
    outcome.output.json = '["a", "b"]'
    assert calls.answer() == '["a"]'


@pytest.mark.parametrize("output", ["null", "false", "0", '""', "[]"])
async def test_nothing_is_a_result_too(remote, output):
    first = remote()
    assert await first.call(output=output) is None
    assert first.answer() == output
    assert await remote(bounds=FORGETFUL).call() == output


def test_a_result_without_an_output_is_a_result():
    calls = CachedCalls()
    request = calls.start(calls.request())
    outcome = calls.succeed(request, durable=False)
    outcome.ClearField("output")
    calls.commit(request, outcome)
    assert calls.ask(calls.request()).value == value_pb2.Value()


def test_one_calls_the_tool_however_long_that_takes():
    calls = CachedCalls()
    leader = calls.start(calls.request(tool=cached_tool(ttl_ms=10)))
    followers = [calls.request(tool=cached_tool(ttl_ms=10)) for _ in range(20)]
    for each in followers:
        line = calls.follow(each)
        calls.tick(3_600_000)
        assert line.let_through(calls.now_us)[0] == []
    calls.succeed(leader)
    calls.tick(60_000)
    # They waited for this very result, and get it although it has expired by now.
    assert {answer_of(calls.ask(each)) for each in followers} == {'"out"'}


async def test_what_was_begun_and_canceled_frees_its_connection(remote):
    calls = remote()
    plan = Plan(1_000, 0, shared=False)
    call = Call(b"k" * 32, "default", "quote", 1, b"d", "ana", plan, 0)
    found = []
    for _ in range(100):
        calls.remote.ask(call, found.append)
    await calls.tasks.close()
    await asyncio.wait_for(calls.call(), 5)
    assert calls.figures() == {"misses": 1, "stores": 1}
