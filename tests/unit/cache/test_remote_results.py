"""Results on a real server: found after a restart and by nobody else, and a server that fails costs a miss."""

import asyncio
import dataclasses

import pytest

from service.admission.verdicts import ALLOWED, Wait
from tests.unit.cache.calls import cached_tool, step_of
from tests.unit.cache.remote import FORGETFUL


def client(calls):
    return calls.remote._cache.client  # noqa: SLF001 - the test looks at the server itself


async def test_what_one_life_of_the_service_kept_the_next_one_finds(remote):
    first, second = remote(), remote()
    assert await first.call() is None
    assert await second.call() == '"out"'
    # Now it is in memory, and the server is not asked again.
    assert second.answer() == '"out"'
    assert second.figures() == {"hits": 2, "stores": 1}
    [entry] = second.results.listed("default")
    assert (entry.source.workflow_id, entry.source.position, entry.stored_at_us) == ("wf_1", 1, first.now_us)


async def test_what_memory_forgot_is_found_on_the_server(remote):
    calls = remote(bounds=FORGETFUL)
    for value in "123":
        await calls.call(value, output=f'"{value}"')
    assert [await calls.call(value) for value in "123"] == ['"1"', '"2"', '"3"']


@pytest.mark.parametrize(
    "other",
    [{"tenant": "other"}, {"subject": "bob"}, {"on_behalf_of": "bob"}, {"tool_version": 2}, {"value": "2"}],
    ids=str,
)
async def test_the_server_gives_no_result_to_another_call(remote, other):
    await remote().call()
    assert await remote().call(**other) is None
    assert await remote().call() == '"out"'


async def test_a_service_with_another_master_key_is_believed_nothing(remote):
    await remote(secret=b"a" * 32).call(output='"theirs"')
    ours = remote(secret=b"b" * 32)
    assert await ours.call(output='"ours"') is None
    assert await remote(secret=b"b" * 32).call() == '"ours"'


async def test_what_was_altered_or_moved_on_the_server_is_a_miss(remote):
    calls = remote()
    await calls.call("1", output='"one"')
    await calls.call("2", output='"two"')
    keys = sorted(await client(calls).keys("*"))
    one, two = [await client(calls).get(key) for key in keys]
    await client(calls).set(keys[0], two)
    await client(calls).set(keys[1], two[:-1] + bytes([two[-1] ^ 1]))
    fresh = remote()
    assert [await fresh.call("1"), await fresh.call("2")] == [None, None]
    # What stands there as it was written is believed.
    await client(calls).set(keys[0], one)
    await client(calls).set(keys[1], two)
    fresh = remote()
    assert {await fresh.call("1"), await fresh.call("2")} == {'"one"', '"two"'}


async def test_keys_begin_with_their_tenant_and_tell_nothing_else(remote):
    calls = remote()
    await calls.call(tenant="a:b/c")
    [key] = await client(calls).keys("*")
    prefix, tenant, name = key.decode().split(":")
    assert (prefix, tenant, len(name)) == ("podium", "a%3Ab%2Fc", 64)


async def test_what_was_invalidated_is_not_found_by_a_later_life_either(remote):
    first = remote()
    await first.call()
    second = remote()
    second.invalidate(tool="quote")
    assert await second.call(output='"new"') is None
    third = remote()
    third.invalidate(tool="quote")
    assert await third.call() == '"new"'


async def test_an_expired_result_from_the_server_is_a_miss_and_serves_a_fallback(remote):
    tool = cached_tool(stale_ms=60_000)
    await remote().call(tool=tool)
    later = remote()
    later.tick(1_500)
    request = later.request(tool=tool)
    verdict = later.ask(request)
    verdict.join()
    await later.settled()
    assert later.ask(request) is ALLOWED
    assert later.guard.stale(request, 0, later.now_us).hit.stale


async def test_the_server_is_asked_once_for_many_and_then_one_calls_the_tool(remote):
    calls = remote()
    requests = [calls.request() for _ in range(100)]
    for each in requests:
        calls.follow(each)
    await calls.settled()
    assert calls.woken == [step_of(requests[0])]
    calls.start(requests[0])
    calls.succeed(requests[0])
    assert len(calls.woken) == 100
    assert {calls.ask(each).value.json for each in requests[1:]} == {'"out"'}


async def test_who_had_the_server_asked_and_ended_leaves_it_to_the_next(remote):
    calls = remote()
    first, second = calls.request(), calls.request()
    calls.follow(first)
    calls.follow(second)
    calls.end(first)
    await calls.settled()
    assert step_of(second) in calls.woken
    calls.start(second)


async def test_an_answer_that_comes_before_its_asker_stands_in_line_is_not_lost(remote):
    calls = remote()
    request = calls.request()
    wait = calls.ask(request)
    await calls.settled()
    assert calls.woken == []
    wait.join()
    assert calls.woken == [step_of(request)]
    calls.start(request)


async def test_some_time_after_a_result_that_was_not_kept_identical_calls_wait_for_each_other_again(remote):
    calls = remote()
    await calls.call(ttl_ms=0)
    calls.tick(10_000)
    leader, follower = calls.request(), calls.request()
    calls.follow(leader)
    calls.follow(follower)
    await calls.settled()
    calls.start(leader)
    calls.succeed(leader)
    await calls.settled()
    assert calls.woken == [step_of(leader), step_of(follower)]
    calls.tick(1_000)
    # Nothing is left of the flight that would hold up a later call.
    assert len(calls.guard.flights) == 0
    assert await calls.call() is None


async def test_by_another_policy_those_who_wait_for_the_server_ask_anew(remote):
    calls = remote()
    requests = [calls.request() for _ in range(5)]
    for each in requests:
        calls.follow(each)
    calls.policy = dataclasses.replace(calls.policy, revision=2)
    calls.guard.policy_changed("default")
    assert calls.woken == [step_of(each) for each in requests]
    for each in requests:
        calls.follow(each)
    await calls.settled()
    assert calls.woken[5:] == [step_of(requests[0])]
    calls.start(requests[0])
    calls.succeed(requests[0])
    assert {calls.ask(each).value.json for each in requests[1:]} == {'"out"'}


async def test_a_server_that_is_not_there_is_a_miss_and_is_left_alone_for_a_while(remote):
    calls = remote(url="redis://127.0.0.1:1/0")
    assert await calls.call("1") is None
    # Neither the next call waits for it, nor the next result.
    assert calls.ask(calls.request("2")) is ALLOWED
    [(tenant, stream_id, event)] = calls.journal.recorded
    assert (tenant, stream_id, event.operation, event.count) == ("default", "cache", "READ", 1)
    calls.tick(300)
    waiting = calls.request("3")
    calls.follow(waiting)
    # One tries it for all.
    assert calls.ask(calls.request("4")) is ALLOWED
    await calls.settled()
    calls.tick(300)
    # It failed again, and is left alone for longer.
    assert calls.ask(calls.request("5")) is ALLOWED
    calls.tick(300)
    assert isinstance(calls.ask(calls.request("6")), Wait)
    await calls.settled()
    assert calls.figures()["errors"] == 3


async def test_a_server_that_comes_back_is_used_again(own_valkey, remote):
    calls = remote(url=own_valkey.url)
    await calls.call("1")
    own_valkey.kill()
    assert await calls.call("2") is None
    own_valkey.start()
    calls.tick(60_000)
    await calls.call("3")
    later = remote(url=own_valkey.url)
    later.now_us = calls.now_us
    assert await later.call("3") == '"out"'


async def test_a_server_that_stands_still_costs_no_more_than_the_timeout(own_valkey, remote):
    calls = remote(url=own_valkey.url, timeout_ms=30)
    own_valkey.pause()
    began = asyncio.get_running_loop().time()
    requests = [calls.request(str(value)) for value in range(200)]
    for each in requests:
        calls.follow(each)
    await calls.settled()
    assert asyncio.get_running_loop().time() - began < 3
    for each in requests:
        calls.start(each)
    # It failed those who had a connection, and was not asked for the others.
    assert calls.figures()["errors"] == 8
    # The first is recorded at once, the others are counted and recorded once.
    assert [event.count for _, _, event in calls.journal.recorded] == [1]
    await calls.failures.flush()
    assert [event.count for _, _, event in calls.journal.recorded] == [1, 7]
    own_valkey.resume()


async def test_waiting_for_one_of_the_connections_is_no_failure_of_the_server(own_valkey, remote):
    calls = remote(url=own_valkey.url, timeout_ms=50)
    requests = [calls.request(str(value)) for value in range(1_000)]
    for each in requests:
        calls.follow(each)
    await calls.settled()
    assert len(calls.woken) == len(requests)
    assert "errors" not in calls.figures()
    assert calls.journal.recorded == []
    assert isinstance(calls.ask(calls.request("-1")), Wait)
    await calls.settled()
    # A failure is counted where there is one.
    own_valkey.kill()
    calls.follow(calls.request("-2"))
    await calls.settled()
    assert calls.figures()["errors"] == 1


async def test_a_wrong_password_is_a_miss_and_is_told_to_nobody(valkey, remote, caplog):
    calls = remote(url=f"redis://:wrong-secret@127.0.0.1:{valkey.port}/0")
    assert await calls.call() is None
    [(_, _, event)] = calls.journal.recorded
    assert event.problem == "the remote cache does not answer: AuthenticationError"
    assert "wrong-secret" not in caplog.text + repr(calls.remote.__dict__["_cache"])


async def test_what_is_no_result_of_ours_is_a_miss(remote):
    calls = remote()
    await calls.call()
    [key] = await client(calls).keys("*")
    for data in (b"", b"x" * 31, b"x" * 100, b"\xff" * 32 + b"[]\n"):
        await client(calls).set(key, data)
        assert await remote().call() is None
