"""The result cache of the running service: what is answered, what is on record, and what ends it."""

import asyncio
import json
from typing import Annotated

import pytest

import podium
from podium.v1 import admin_service_pb2, executor_service_pb2, policy_pb2, tool_service_pb2, value_pb2
from podium.v1 import resilience_service_pb2 as pb
from podium.v1.monitoring_service_pb2 import GetStatusRequest
from tests.integration.rig import policies
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, payload, payloads
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import refusal_of
from tests.valkey import PASSWORD, QUOTED_PASSWORD, ValkeyServer

SUCCEEDED = value_pb2.STEP_STATE_SUCCEEDED


class Quotes(podium.Executor):
    """An executor with cached tools, which counts how often they are called and can be held back."""

    def __init__(self, ttl_ms=600_000, shared=False, **settings):
        super().__init__("quotes", **settings)
        self.calls = []
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures = 0

        @self.tool(read_only=True)
        async def quote(symbol: str) -> str:
            """Look up a quote."""
            self.calls.append(symbol)
            self.entered.set()
            await self.gate.wait()
            if len(self.calls) <= self.failures:
                raise podium.ToolFailed("the market is closed", reason="CLOSED", retryable=False)
            return f"{symbol} {len(self.calls)}"

        definition = self.tools["quote"].definition
        definition.caching.ttl_ms, definition.caching.shared = ttl_ms, shared


async def statistics(caller):
    [figures] = (await caller.resilience.GetCacheStatistics(pb.GetCacheStatisticsRequest())).tools
    return figures


async def entries(caller, **fields):
    return list((await caller.resilience.ListCacheEntries(pb.ListCacheEntriesRequest(**fields))).entries)


async def invalidate(caller, **fields):
    return (await caller.resilience.InvalidateCache(pb.InvalidateCacheRequest(**fields))).entries


async def held_back(app, caller, count):
    """So many calls at once, of which one is at the tool."""
    app.gate.clear()
    calls = [asyncio.ensure_future(caller.call("quote", {"symbol": "AAPL"})) for _ in range(count)]
    await app.entered.wait()
    return calls


@pytest.mark.both_databases
class TestOnBothDatabases:
    async def test_a_hit_is_an_event_that_names_who_produced_the_value(self, connect, caller):
        app = Quotes()
        await connect(app)
        first = await caller.call("quote", {"symbol": "AAPL"})
        again = await caller.call("quote", {"symbol": "AAPL"})
        assert [first.outcome.output_json, again.outcome.output_json] == ['"AAPL 1"'] * 2
        assert [first.outcome.cached, again.outcome.cached] == [False, True]
        assert app.calls == ["AAPL"]
        produced = await caller.history(first.workflow_id)
        events = await caller.history(again.workflow_id)
        assert kinds(events)[2:] == ["permission_checked", "cache_hit", "step_succeeded", "workflow_succeeded"]
        hit = payload(events, "cache_hit")
        [position] = [event.position for event in produced if event.HasField("step_succeeded")]
        assert (hit.source_workflow_id, hit.source_position) == (first.workflow_id, position)
        assert (hit.stale, hit.coalesced) == (False, False)
        assert payload(events, "step_succeeded").attempt == 0
        [summary] = (await caller.steps(again.workflow_id)).values()
        assert summary.cached
        assert (await caller.replay(again.workflow_id)).matches

    async def test_a_thousand_identical_calls_at_once_call_the_tool_once(self, connect, caller):
        app = Quotes(max_parallel=64)
        await connect(app)
        calls = await held_back(app, caller, 999)
        workflow_id = await caller.start(*(step("quote", {"symbol": "AAPL"}, id=f"s{n}") for n in range(2)))
        app.gate.set()
        answers = await asyncio.gather(*calls)
        assert {answer.outcome.output_json for answer in answers} == {'"AAPL 1"'}
        assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        assert app.calls == ["AAPL"]
        figures = await statistics(caller)
        assert (figures.misses, figures.hits + figures.coalesced) == (1, 1_000)
        hits = payloads(await caller.log(), "cache_hit")
        assert len(hits) == 1_000
        assert sum(hit.coalesced for hit in hits) == figures.coalesced

    async def test_different_calls_at_once_all_call_the_tool(self, connect, caller):
        app = Quotes(max_parallel=64)
        await connect(app)
        await asyncio.gather(*(caller.call("quote", {"symbol": f"s{number}"}) for number in range(50)))
        assert sorted(app.calls) == sorted(f"s{number}" for number in range(50))

    async def test_when_the_leader_fails_all_others_call_the_tool_at_once(self, connect, caller):
        app = Quotes(max_parallel=64)
        app.failures = 1
        await connect(app)
        calls = await held_back(app, caller, 50)
        leaders_gate, app.gate = app.gate, asyncio.Event()
        leaders_gate.set()
        while len(app.calls) < 50:
            app.entered.clear()
            await app.entered.wait()
        app.gate.set()
        answers = await asyncio.gather(*calls)
        outputs = [answer.outcome.output_json for answer in answers]
        assert (outputs.count(""), outputs.count('"AAPL 50"')) == (1, 49)


async def test_a_leader_that_is_canceled_hands_over(connect, caller):
    app = Quotes()
    await connect(app)
    app.gate.clear()
    leading = await caller.start(step("quote", {"symbol": "AAPL"}, id="lead"))
    await app.entered.wait()
    app.entered.clear()
    following = await caller.start(*(step("quote", {"symbol": "AAPL"}, id=f"s{number}") for number in range(5)))
    await caller.cancel(leading)
    await app.entered.wait()
    app.gate.set()
    assert (await caller.ended(following)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    assert app.calls == ["AAPL"] * 2


CACHED = tool("quote", read_only=True, caching={"ttl_ms": 600_000})


async def test_a_leader_whose_executor_dies_hands_over(caller):
    async with raw_executor(caller, CACHED, instance_id="dies") as dying:
        await caller.start(step("quote", id="lead", retry={"max_attempts": 1}))
        await dying.work()
        follower = await caller.start(step("quote", id="follow"))
    async with raw_executor(caller, CACHED, instance_id="lives") as living:
        assigned = await living.work()
        assert assigned.attempt.workflow_id == follower
        await living.succeed(assigned.attempt, "late")
        assert (await caller.call("quote")).outcome.output_json == '"late"'


async def test_a_tool_may_say_of_a_result_that_it_is_not_to_be_cached(caller):
    async with raw_executor(caller, CACHED) as executor:
        for number in range(2):
            workflow_id = await caller.start(step("quote", id="s"))
            attempt = (await executor.work()).attempt
            output = value_pb2.Value(json=str(number))
            result = executor_service_pb2.AttemptResult(attempt=attempt, output=output, cache_ttl_ms=0)
            await executor.send(("result", result))
            await caller.ended(workflow_id)
            succeeded = payload(await caller.history(workflow_id), "step_succeeded")
            assert (succeeded.HasField("cache_ttl_ms"), succeeded.cache_ttl_ms) == (True, 0)
    assert await entries(caller) == []


async def test_a_follower_waits_no_longer_than_its_schedule_to_start(connect, caller):
    app = Quotes()
    await connect(app)
    [leader] = await held_back(app, caller, 1)
    impatient = await caller.start(step("quote", {"symbol": "AAPL"}, id="s", timeouts={"schedule_to_start_ms": 100}))
    assert (await caller.ended(impatient)).failure.reason == "SCHEDULE_TO_START_TIMEOUT"
    app.gate.set()
    assert (await leader).outcome.output_json == '"AAPL 1"'
    assert app.calls == ["AAPL"]


async def test_no_result_crosses_a_subject_or_a_tenant_or_a_revision_of_the_policy(connect, caller, admit, tenant):
    ours, theirs = Quotes(), Quotes()
    await connect(ours)
    await connect(theirs, tenant=f"{tenant}-2")
    asked = ("quote", {"symbol": "AAPL"})
    await caller.call(*asked)
    assert not (await admit("bob").call(*asked)).outcome.cached
    assert not (await admit(tenant=f"{tenant}-2").call(*asked)).outcome.cached
    assert (len(ours.calls), len(theirs.calls)) == (2, 1)
    await policies.apply(caller, policies.policy())
    assert not (await caller.call(*asked)).outcome.cached
    # The same caller, under the same policy, gets it.
    assert (await caller.call(*asked)).outcome.cached


async def test_what_may_not_be_called_is_not_answered_either(connect, caller, admit):
    app = Quotes(shared=True)
    app.tools["quote"].definition.permissions.append("financial_operations")
    await connect(app)
    await caller.call("quote", {"symbol": "AAPL"})
    denied = await admit("bob", roles=["agent"]).call("quote", {"symbol": "AAPL"})
    assert (denied.outcome.state, denied.outcome.cached) == (value_pb2.STEP_STATE_DENIED, False)
    assert (await admit("eve").call("quote", {"symbol": "AAPL"})).outcome.cached


async def test_large_numbers_that_differ_are_different_calls(connect, caller):
    app = Quotes()

    @app.tool(read_only=True)
    async def token(number: int) -> int:
        """Look up a token by a number of 256 bits."""
        return number

    app.tools["token"].definition.caching.ttl_ms = 600_000
    await connect(app)
    numbers = [2**255 + 1, 2**255 + 2, 2**255 + 1]
    answers = [(await caller.call("token", {"number": number})).outcome for number in numbers]
    assert [json.loads(each.output_json) for each in answers] == numbers
    assert [each.cached for each in answers] == [False, False, True]
    assert await invalidate(caller, tool="token", arguments_json=f'{{"number":{numbers[1]}}}') == 1
    assert [(await caller.call("token", {"number": number})).outcome.cached for number in numbers[:2]] == [True, False]


async def test_an_invalidation_is_an_event_of_whoever_asked_for_it(connect, caller, admit):
    app = Quotes()
    await connect(app)
    for symbol in ("AAPL", "MSFT"):
        await caller.call("quote", {"symbol": symbol})
    assert await invalidate(admit("olga"), tool="quote", arguments_json='{"symbol":"AAPL"}', reason="split") == 1
    assert (await caller.call("quote", {"symbol": "MSFT"})).outcome.cached
    assert not (await caller.call("quote", {"symbol": "AAPL"})).outcome.cached
    assert await invalidate(caller) == 2
    assert await entries(caller) == []
    [first, second] = await caller.history("cache")
    assert (first.principal.subject, first.cache_invalidated.tool, first.cache_invalidated.reason) == (
        "olga",
        "quote",
        "split",
    )
    assert len(first.cache_invalidated.arguments_digest) == 32
    assert (second.cache_invalidated.tool, second.cache_invalidated.entries) == ("", 2)


async def test_what_was_under_way_when_it_was_invalidated_is_not_kept(connect, caller):
    app = Quotes()
    await connect(app)
    [before] = await held_back(app, caller, 1)
    await invalidate(caller, tool="quote")
    app.gate.set()
    assert (await before).outcome.output_json == '"AAPL 1"'
    assert (await caller.call("quote", {"symbol": "AAPL"})).outcome.output_json == '"AAPL 2"'


async def test_arguments_that_came_from_a_sealed_output_are_invalidated_too(connect, caller):
    """The digest of such arguments is keyed, and that of the same arguments given openly is not."""
    app = Quotes()

    @app.tool(read_only=True)
    async def account() -> Annotated[str, podium.Sensitive]:
        """Look up what is confidential."""
        return "AAPL"

    await connect(app)

    async def output():
        symbol = "${steps.account.output}"
        workflow_id = await caller.start(step("account", id="account"), step("quote", {"symbol": symbol}, id="quote"))
        assert (await caller.ended(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
        return (await caller.steps(workflow_id))["quote"].cached

    assert not await output()
    assert not (await caller.call("quote", {"symbol": "AAPL"})).outcome.cached
    assert await output()
    assert await invalidate(caller, tool="quote", arguments_json='{"symbol": "MSFT"}') == 0
    assert await output()
    assert await invalidate(caller, tool="quote", arguments_json='{"symbol": "AAPL"}') == 2
    assert not await output()
    assert not (await caller.call("quote", {"symbol": "AAPL"})).outcome.cached


async def test_a_policy_applied_while_identical_calls_wait_keeps_none_of_them_waiting(connect, caller):
    app = Quotes(max_parallel=64)
    await connect(app)
    calls = await held_back(app, caller, 5)
    app.entered.clear()
    while len(payloads(await caller.log(), "step_queued")) < 4:
        pass
    await policies.apply(caller, policies.policy())
    # One of those who waited calls the tool, and nobody waits for who called it before.
    async with asyncio.timeout(10):
        await app.entered.wait()
    app.gate.set()
    answers = await asyncio.gather(*calls)
    assert {answer.outcome.output_json for answer in answers} == {'"AAPL 2"'}
    assert app.calls == ["AAPL"] * 2


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tool": "nothing"}, "TOOL_NOT_FOUND"),
        ({"arguments_json": "{}"}, "INVALID_INVALIDATION"),
        ({"tool": "quote", "arguments_json": "[1]"}, "INVALID_INVALIDATION"),
        ({"tool": "quote", "arguments_json": "{"}, "INVALID_INVALIDATION"),
    ],
)
async def test_an_invalidation_of_nothing_that_there_is_is_refused(connect, caller, fields, reason):
    await connect(Quotes())
    request = pb.InvalidateCacheRequest(**fields)
    assert (await refusal_of(caller.resilience.InvalidateCache(request))).reason == reason


async def test_who_may_look_may_not_invalidate_and_nobody_sees_another_tenants(connect, caller, admit, tenant):
    await connect(Quotes())
    await caller.call("quote", {"symbol": "AAPL"})
    await policies.apply(caller, policies.policy(roles=[policies.role("watcher", "cache.read")]))
    watcher = admit("will", roles=["watcher"])
    [entry] = await entries(watcher)
    assert (entry.tool, entry.tool_version, entry.subject) == ("quote", 1, "ana")
    assert entry.fresh_until_us - entry.stored_at_us == 600_000_000
    refusal = await refusal_of(watcher.resilience.InvalidateCache(pb.InvalidateCacheRequest()))
    assert refusal.reason == "PERMISSION_DENIED"
    assert await entries(admit(tenant=f"{tenant}-2")) == []


async def test_entries_are_listed_by_pages_the_last_used_first(connect, caller):
    await connect(Quotes())
    workflows = [(await caller.call("quote", {"symbol": str(number)})).workflow_id for number in range(5)]
    await caller.call("quote", {"symbol": "1"})
    request = pb.ListCacheEntriesRequest(tool="quote", page_size=2)
    found = []
    while True:
        page = await caller.resilience.ListCacheEntries(request)
        found += [(workflows.index(entry.source_workflow_id), entry.hits) for entry in page.entries]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == [(1, 1), (4, 0), (3, 0), (2, 0), (0, 0)]
    other = pb.ListCacheEntriesRequest(tool="another", page_token=request.page_token)
    assert (await refusal_of(caller.resilience.ListCacheEntries(other))).reason == "INVALID_PAGE_TOKEN"


async def test_caching_of_what_changes_something_is_refused_where_it_is_registered(caller):
    refusal = await refusal_of(caller.register("pay", caching={"ttl_ms": 1}))
    assert refusal.reason == "INVALID_TOOL"
    assert refusal.fields == {"caching"}
    assert (await refusal_of(caller.register("look", read_only=True, caching={}))).fields == {"caching.ttl_ms"}
    assert await caller.register("look", read_only=True, caching={"ttl_ms": 1}) == 1


async def test_a_policy_may_end_caching_and_is_checked(connect, caller):
    app = Quotes()
    await connect(app)
    off = policy_pb2.CacheRule(id="off", tools=["quo*"], disabled=True)
    await policies.apply(caller, policies.policy(caches=[off]))
    for _ in range(2):
        await caller.call("quote", {"symbol": "AAPL"})
    assert len(app.calls) == 2
    idle = policy_pb2.CacheRule(id="idle")
    refusal = await refusal_of(policies.apply(caller, policies.policy(caches=[idle, off, off])))
    assert refusal.fields == {"caches[0]", "caches[2].id"}


async def test_a_sealed_result_is_answered_sealed_and_read_by_whoever_may(connect, caller, service):
    app = Quotes()
    app.tools["quote"].definition.output_schema_json = json.dumps({"type": "string", "x-podium-sensitive": True})
    await connect(app)
    await caller.call("quote", {"symbol": "AAPL"})
    again = await caller.call("quote", {"symbol": "AAPL"})
    assert (again.outcome.output_json, again.outcome.cached) == ('"AAPL 1"', True)
    events = await caller.history(again.workflow_id)
    assert payload(events, "step_succeeded").output.HasField("sealed")
    # What nobody can open any more answers nothing.
    sealed_with = payload(events, "step_succeeded").output.sealed.key_id
    await caller.admin.RotateDataKey(admin_service_pb2.RotateDataKeyRequest())
    await caller.admin.DestroyDataKey(admin_service_pb2.DestroyDataKeyRequest(key_id=sealed_with))
    assert (await caller.call("quote", {"symbol": "AAPL"})).outcome.output_json == '"AAPL 2"'


async def test_a_large_result_stays_a_reference(connect, caller):
    app = Quotes()
    app.gate.set()
    await connect(app)
    symbol = "x" * 70_000
    await caller.call("quote", {"symbol": symbol})
    again = await caller.call("quote", {"symbol": symbol})
    assert again.outcome.cached
    assert len(json.loads(again.outcome.output_json)) > 70_000
    [entry] = await entries(caller)
    assert entry.size_bytes < 2_000


async def test_a_step_that_waits_for_another_ones_result_says_so(connect, caller):
    app = Quotes()
    await connect(app)
    calls = await held_back(app, caller, 2)
    async with asyncio.timeout(20):
        while not (stuck := (await caller.monitoring.GetStatus(GetStatusRequest())).stuck):
            pass
    assert [each.waits_for.split(" of ")[0] for each in stuck] == ["the result"]
    app.gate.set()
    assert len({each.outcome.output_json for each in await asyncio.gather(*calls)}) == 1


async def test_a_batch_of_identical_calls_calls_the_tool_once(connect, caller):
    app = Quotes()
    await connect(app)
    calls = [tool_service_pb2.ToolCall(tool="quote", arguments_json='{"symbol": "A"}') for _ in range(20)]
    answer = await caller.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=calls))
    assert {outcome.output_json for outcome in answer.outcomes} == {'"A 1"'}
    assert app.calls == ["A"]


# With a server beside memory.


@pytest.fixture
def valkey():
    server = ValkeyServer()
    yield server
    server.kill()


async def test_results_outlive_the_service_on_a_server_and_invalidations_too(own_service, valkey, admit, connect):
    service = own_service(cache_url=valkey.url, cache_timeout_ms=2_000)
    await asyncio.to_thread(service.start)
    app = Quotes()
    await connect(app, to=service)
    ana = admit(to=service)
    for symbol in ("AAPL", "MSFT", "MSFT"):
        await ana.call("quote", {"symbol": symbol})
    assert (await ana.resilience.GetCacheStatistics(pb.GetCacheStatisticsRequest())).remote == (
        f"redis://127.0.0.1:{valkey.port}/0"
    )
    await invalidate(ana, tool="quote", arguments_json='{"symbol": "AAPL"}')
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    ana = admit(to=service)
    found = await ana.call("quote", {"symbol": "MSFT"})
    assert (found.outcome.output_json, found.outcome.cached) == ('"MSFT 2"', True)
    assert not (await ana.call("quote", {"symbol": "AAPL"})).outcome.cached
    assert not (await admit("bob", to=service).call("quote", {"symbol": "MSFT"})).outcome.cached
    assert app.calls == ["AAPL", "MSFT", "AAPL", "MSFT"]
    assert PASSWORD not in service.log.read_text()
    assert QUOTED_PASSWORD not in service.log.read_text()


@pytest.mark.parametrize("fault", ["stands still", "is gone"])
async def test_a_server_that_fails_is_recorded_and_no_call_fails(own_service, valkey, admit, connect, fault):
    service = own_service(cache_url=valkey.url, cache_timeout_ms=50)
    await asyncio.to_thread(service.start)
    app = Quotes(max_parallel=64)
    await connect(app, to=service)
    ana = admit(to=service)
    if fault == "is gone":
        valkey.kill()
    else:
        valkey.pause()
    answers = await asyncio.gather(*(ana.call("quote", {"symbol": f"s{number}"}) for number in range(100)))
    assert {answer.outcome.state for answer in answers} == {SUCCEEDED}
    # Memory goes on.
    assert (await ana.call("quote", {"symbol": "s7"})).outcome.cached
    # The first of a kind at once, and nothing more within a minute: after a pause it may be tried with a write.
    told = [(event.cache_failed.operation, event.cache_failed.count) for event in await ana.history("cache")]
    assert told in ([("READ", 1)], [("READ", 1), ("WRITE", 1)])
    errors = (await statistics(ana)).errors
    assert errors >= 1
    status = await admit(tenant="default", to=service).monitoring.GetStatus(GetStatusRequest())
    [cache] = [each for each in status.components if each.component == "cache"]
    assert (cache.healthy, cache.essential, status.serving) == (False, False, True)
    assert f"127.0.0.1:{valkey.port}/0 has failed" in cache.detail
    await asyncio.to_thread(service.stop)
    if fault == "is gone":
        valkey.start()
    else:
        valkey.resume()
    await asyncio.to_thread(service.start)
    failed = [event.cache_failed for event in await admit(to=service).history("cache")]
    assert sum(each.count for each in failed) >= errors
    assert PASSWORD not in service.log.read_text()


def test_a_service_refuses_an_address_that_is_none_without_repeating_it(own_service):
    service = own_service(cache_url="memcached://user:hunter2@here")
    with pytest.raises(RuntimeError, match="PODIUM_CACHE_URL") as refused:
        service.start()
    assert "hunter2" not in str(refused.value)
