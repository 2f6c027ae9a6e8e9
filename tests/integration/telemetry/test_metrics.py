"""What Prometheus scrapes from a real service, and what the collector gets: it equals the log."""

from collections import Counter

from podium.v1 import events_pb2, policy_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.degraded_run import degraded_run, feeds
from tests.integration.rig.observed import mixed_run
from tests.integration.rig.policies import apply, policy
from tests.integration.rig.toolbox import toolbox

STEP_ENDS = {
    "step_succeeded": "succeeded",
    "step_failed": "failed",
    "step_denied": "denied",
    "step_skipped": "skipped",
    "step_canceled": "canceled",
}


async def recount(ana):
    """What the tenant's log says, counted by an independent walk: {metric: {labels: count}}."""
    tools, found = {}, {name: Counter() for name in ("steps", "attempts", "failed", "denials", "types")}
    for event in await ana.log():
        kind = event.WhichOneof("payload")
        found["types"][kind] += 1
        payload = getattr(event, kind)
        if kind == "steps_added":
            tools |= {(event.stream_id, each.id): each.tool for each in payload.steps}
        step_id = getattr(payload, "step_id", "").partition("[")[0]
        tool = tools.get((event.stream_id, step_id))
        if kind in STEP_ENDS:
            found["steps"][tool, STEP_ENDS[kind]] += 1
        if kind == "step_denied":
            found["denials"][tool, payload.guard] += 1
        if kind == "attempt_started":
            found["attempts"][(tool,)] += 1
        if kind == "attempt_failed":
            found["failed"][tool, payload.failure.reason] += 1
    return found


def told(scrape, tenant):
    """The same as a scrape tells it."""
    return {
        "steps": scrape.sums("podium_steps_total", "tool", "outcome", tenant=tenant),
        "attempts": scrape.sums("podium_attempts_total", "tool", tenant=tenant),
        "failed": scrape.sums("podium_attempts_failed_total", "tool", "reason", tenant=tenant),
        "denials": scrape.sums("podium_denials_total", "tool", "guard", tenant=tenant),
    }


async def test_the_counters_equal_the_log(observed, serve, calls, tenant):
    await serve()
    ana, bob = calls(), calls(subject="bob", roles=["agent"])
    before = await observed.scrape_until(lambda scrape: scrape.sums("podium_telemetry_lag_events") == 0)
    types_before = before.sums("podium_events_total", "type")
    events_before = Counter(event.WhichOneof("payload") for event in await ana.log())
    await mixed_run(ana, bob)
    expected = await recount(ana)
    assert expected["steps"]["flaky", "succeeded"] == 1
    types = expected.pop("types") - events_before
    scrape = await observed.scrape_until(lambda scrape: told(scrape, tenant)["steps"] == expected["steps"])
    assert told(scrape, tenant) == expected
    grown = Counter(scrape.sums("podium_events_total", "type")) - Counter(types_before)
    assert grown == Counter({(kind,): count for kind, count in types.items()})
    assert scrape.sums("podium_attempt_duration_seconds_count", tenant=tenant) == sum(expected["attempts"].values())
    # The negative control: the walk notices what was not counted.
    expected["steps"]["flaky", "failed"] += 1
    assert told(scrape, tenant) != expected


async def recount_of_what_took_its_place(ana):
    """The same of breakers, chains and the cache: by the tool that the step had come to, or that the event names."""
    tools, found = {}, {name: Counter() for name in ("rejected", "fallbacks", "hits", "transitions", "degraded")}
    for event in await ana.log():
        kind = event.WhichOneof("payload")
        payload = getattr(event, kind)
        if kind == "steps_added":
            tools |= {(event.stream_id, each.id): each.tool for each in payload.steps}
        step = (event.stream_id, getattr(payload, "step_id", ""))
        if kind == "attempt_rejected":
            found["rejected"][tools[step], payload.guard] += 1
        elif kind == "fallback_tried":
            found["fallbacks"][(tools[step],)] += 1
            tools[step] = payload.tool or tools[step]
        elif kind == "cache_hit":
            found["hits"][payload.tool, "stale" if payload.stale else "fresh"] += 1
        elif kind == "breaker_transitioned":
            state = events_pb2.BreakerState.Name(payload.to_state).removeprefix("BREAKER_STATE_").lower()
            found["transitions"][payload.tool, state] += 1
        elif kind == "step_succeeded" and payload.degraded_by:
            found["degraded"][(tools[step],)] += 1
    return found


def told_of_what_took_its_place(scrape, tenant):
    """The same as a scrape tells it."""
    return {
        "rejected": scrape.sums("podium_attempts_rejected_total", "tool", "guard", tenant=tenant),
        "fallbacks": scrape.sums("podium_fallbacks_total", "tool", tenant=tenant),
        "hits": scrape.sums("podium_cache_hits_total", "tool", "kind", tenant=tenant),
        "transitions": scrape.sums("podium_breaker_transitions_total", "tool", "to_state", tenant=tenant),
        "degraded": scrape.sums("podium_steps_degraded_total", "tool", tenant=tenant),
    }


async def test_the_counters_of_a_broken_tool_and_what_took_its_place_equal_the_log(observed, serve, calls, tenant):
    app = await serve(feeds())
    ana = calls()
    await degraded_run(ana, app)
    expected = await recount_of_what_took_its_place(ana)
    assert all(expected.values())
    scrape = await observed.scrape_until(
        lambda scrape: told_of_what_took_its_place(scrape, tenant)["degraded"] == expected["degraded"]
    )
    assert told_of_what_took_its_place(scrape, tenant) == expected
    assert scrape.sums("podium_breaker_state", "state", tenant=tenant, tool="feed")["open",] == 1
    # The negative control: the walk notices what was not counted.
    for counts in expected.values():
        counts[next(iter(counts))] += 1
        assert told_of_what_took_its_place(scrape, tenant) != expected
        counts[next(iter(counts))] -= 1


async def test_what_waits_is_seen_and_how_long(observed, serve, calls, tenant):
    app = await serve()
    ana = calls()
    await ana.register("nobody_serves_it")
    workflow_id = await ana.start(step("nobody_serves_it", id="waits"), step("gated", {"gate": "a"}, id="runs"))
    await app.entered["a"].wait()
    scrape = await observed.scrape_until(
        lambda scrape: scrape.sums("podium_queued_steps") == 1 and scrape.sums("podium_queue_oldest_age_seconds") > 0
    )
    assert scrape.sums("podium_running_attempts") == 1
    assert scrape.sums("podium_executor_sessions") == 1
    assert scrape.sums("podium_resident_workflows") >= 1
    await ana.cancel(workflow_id)
    app.gates["a"].set()
    await ana.ended(workflow_id)
    scrape = await observed.scrape_until(lambda scrape: scrape.sums("podium_queued_steps") == 0)
    assert scrape.sums("podium_queue_oldest_age_seconds") == 0
    assert scrape.sums("podium_group_commit_seconds_count") > 0
    assert scrape.sums("podium_group_commit_events_sum") > 0
    assert scrape.sums("podium_log_head_position") > 0
    up = scrape.sums("podium_projection_up", "projection")
    assert {("workflows",), ("audit",)} <= up.keys()
    assert set(up.values()) == {1}


async def test_cache_bulkheads_and_load_are_read_as_they_are(observed, serve, calls, tenant):
    app = toolbox()
    app.tools["echo"].definition.caching.ttl_ms = 600_000
    await serve(app)
    ana = calls()
    before = (await observed.scrape()).sums("podium_cache_misses_total", tenant=tenant)
    await apply(ana, policy(bulkheads=[policy_pb2.Bulkhead(id="one", tools=["gated"], max_concurrent=1)]))
    for _ in range(3):
        await ana.call("echo", {"value": 1})
    workflow_id = await ana.start(*(step("gated", {"gate": "b"}, id=each) for each in "xyz"))
    await app.entered["b"].wait()
    scrape = await observed.scrape_until(
        lambda scrape: scrape.sums("podium_bulkhead_queued", tenant=tenant) == 2 and scrape.sums("podium_load") > 0
    )
    assert scrape.sums("podium_bulkhead_running", "tenant", "tool", tenant=tenant) == {(tenant, "gated"): 1}
    assert (before, scrape.sums("podium_cache_misses_total", "tool", tenant=tenant)) == (0, {("echo",): 1})
    assert scrape.sums("podium_cache_bytes", "tool", tenant=tenant)["echo",] > 1000
    assert scrape.sums("podium_cache_evictions_total", tenant=tenant) == 0
    assert scrape.sums("podium_cache_errors_total", tenant=tenant) == 0
    assert scrape.sums("podium_load") < 1
    assert 0 <= scrape.sums("podium_loop_lag_seconds") < 1
    app.gates["b"].set()
    await ana.ended(workflow_id)
    scrape = await observed.scrape()
    assert scrape.sums("podium_bulkhead_queued", tenant=tenant) == 0
    assert scrape.sums("podium_bulkhead_running", tenant=tenant) == 0


async def test_the_collector_gets_the_same_metrics(observed, serve, calls, tenant):
    await serve()
    await calls().call("echo", {"value": 1})

    def points():
        metric = observed.receiver.metrics.get("podium_attempts")
        found = metric.sum.data_points if metric else ()
        named = [({each.key: each.value.string_value for each in point.attributes}, point) for point in found]
        return [point for labels, point in named if labels == {"tenant": tenant, "tool": "echo"}]

    await observed.spans_until(points)
    assert [point.as_double for point in points()] == [1]
    duration = observed.receiver.metrics["podium_attempt_duration_seconds"].histogram.data_points[0]
    assert sum(duration.bucket_counts) == duration.count
    assert len(duration.bucket_counts) == len(duration.explicit_bounds) + 1
