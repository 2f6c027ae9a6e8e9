"""What is kept in memory: its bounds, in what order it is forgotten, and what is counted."""

import pytest

from podium.v1 import value_pb2
from service.admission import cache, result_cache
from service.admission.result_cache import CacheBounds
from tests.unit.cache.calls import CachedCalls, cached_tool

ROOM = 1_000_000_000


def bounded(tenant_entries=ROOM, tenant_bytes=ROOM, entries=ROOM, size_bytes=ROOM):
    return CachedCalls(CacheBounds(tenant_entries, tenant_bytes, entries, size_bytes))


def test_over_the_bound_the_least_recently_used_result_is_forgotten():
    calls = bounded(tenant_entries=3)
    for value in "123":
        calls.produce(value)
    assert calls.answer("1") == '"out"'
    calls.produce("4")
    assert [calls.answer(value) is not None for value in "1234"] == [True, False, True, True]
    assert calls.figures()["evictions"] == 1


@pytest.mark.parametrize("bound", ["tenant_bytes", "size_bytes"])
def test_bytes_are_bounded_too(bound):
    calls = bounded(**{bound: 10_000})
    for value in range(1, 10):
        calls.produce(str(value), f'"{"x" * 2_000}"')
        _, size_bytes = calls.results.size("default")
        assert size_bytes <= 10_000
    assert calls.results.size("default")[0] == 3
    assert [calls.answer(str(value)) is not None for value in range(1, 10)] == [False] * 6 + [True] * 3


def test_without_a_bound_that_small_all_of_them_are_there():
    calls = bounded()
    for value in range(1, 10):
        calls.produce(str(value), f'"{"x" * 2_000}"')
    assert all(calls.answer(str(value)) is not None for value in range(1, 10))


def test_a_tenant_makes_room_among_its_own_and_leaves_others_alone():
    calls = bounded(tenant_entries=2)
    calls.produce("1", tenant="acme")
    for value in "12345":
        calls.produce(value, tenant="greedy")
    assert calls.answer("1", tenant="acme") == '"out"'
    assert calls.results.size("greedy")[0] == 2


def test_over_the_bound_of_all_the_least_recently_used_of_any_tenant_is_forgotten():
    calls = bounded(entries=3)
    calls.produce("1", tenant="acme")
    calls.produce("1", tenant="other")
    calls.produce("2", tenant="other")
    assert calls.answer("1", tenant="acme") == '"out"'
    calls.produce("3", tenant="other")
    assert calls.answer("1", tenant="acme") == '"out"'
    assert calls.answer("1", tenant="other") is None


def test_what_is_larger_than_the_bound_is_not_kept_and_nothing_makes_room_for_it():
    calls = bounded(tenant_bytes=5_000)
    calls.produce("1")
    calls.produce("2", f'"{"x" * 6_000}"')
    assert calls.answer("2") is None
    assert calls.answer("1") == '"out"'


def test_what_nobody_asks_for_any_more_is_forgotten_when_others_come():
    calls = bounded()
    calls.produce("1")
    calls.tick(1_001)
    calls.produce("2")
    assert [entry.arguments_digest for entry in calls.results.listed("default")] == [
        calls.request("2").arguments_digest
    ]
    assert calls.figures()["expirations"] == 1


def test_a_result_that_takes_the_place_of_another_frees_what_that_took():
    calls = bounded()
    for _ in range(5):
        calls.produce("1", f'"{"x" * 2_000}"')
        calls.tick(2_000)
    entries, size_bytes = calls.results.size("default")
    assert entries == 1
    assert size_bytes < 4_000


def test_hits_misses_and_the_use_of_each_entry_are_counted():
    calls = bounded()
    calls.produce("1")
    calls.tick(10)
    calls.answer("1")
    calls.tick(10)
    calls.answer("1")
    assert calls.figures() == {"hits": 2, "misses": 1, "stores": 1}
    [entry] = calls.results.listed("default")
    assert (entry.hits, entry.used_at_us) == (2, calls.now_us)
    # Asking for what must call the tool is a miss once it does, however often it is asked for.
    again = calls.request("2")
    for _ in range(3):
        calls.ask(again)
    assert calls.figures()["misses"] == 1
    calls.start(again)
    assert calls.figures()["misses"] == 2


def test_what_is_kept_changes_with_nothing_that_it_was_made_of():
    calls = bounded()
    request = calls.start(calls.request("1"))
    outcome = calls.succeed(request, '"first"')
    outcome.output.json = '"changed"'
    assert calls.answer("1") == '"first"'


def test_a_sealed_value_stays_sealed_and_a_stored_one_stays_a_reference():
    calls = bounded()
    tool = cached_tool()
    for value, kept in (
        ("1", value_pb2.Value(sealed=value_pb2.SealedValue(key_id="k", nonce=b"n", ciphertext=b"c"))),
        ("2", value_pb2.Value(payload=value_pb2.PayloadReference(digest=b"d" * 32, size_bytes=9))),
    ):
        request = calls.start(calls.request(value, tool=tool))
        outcome = calls.succeed(request, durable=False)
        outcome.output.CopyFrom(kept)
        calls.commit(request, outcome)
        assert calls.ask(calls.request(value, tool=tool)).value == kept


def test_figures_and_plans_of_tools_that_come_and_go_are_bounded(monkeypatch):
    monkeypatch.setattr(result_cache, "_FIGURES_MAX", 3)
    monkeypatch.setattr(cache, "_PLANS_MAX", 3)
    calls = bounded()
    calls.produce(tool=cached_tool("used"))
    for number in range(10):
        calls.produce(tool=cached_tool(f"tool{number}"), tenant=f"tenant{number}")
        assert calls.answer(tool=cached_tool("used")) == '"out"'
    assert calls.figures("used")["hits"] == 10
    assert [len(calls.results.tools(f"tenant{number}")) for number in range(10)] == [0] * 8 + [1] * 2
    assert len(calls.guard._plans) <= 3  # noqa: SLF001 - nothing else shows what is remembered


def test_a_tenant_whose_last_result_is_gone_leaves_nothing():
    calls = bounded()
    calls.produce()
    calls.guard.invalidate("default", "", b"")
    assert calls.results._tenants == {}  # noqa: SLF001 - nothing else shows it
    calls.produce()
    assert calls.answer() == '"out"'
