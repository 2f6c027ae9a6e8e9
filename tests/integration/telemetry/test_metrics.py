"""What Prometheus scrapes from a real service, and what the collector gets: it equals the log."""

from collections import Counter

from podium.v1 import monitoring_service_pb2, policy_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.degraded_run import degraded_run, feeds
from tests.integration.rig.every_way_run import KINDS, NOBODY_S, every_way_run, tools
from tests.integration.rig.metric_recount import COUNTERS, metric_differences
from tests.integration.rig.observed import mixed_run
from tests.integration.rig.policies import apply, policy
from tests.integration.rig.tool_recount import differences, recount
from tests.integration.rig.toolbox import toolbox


async def settled(observed):
    """A scrape that tells of everything that was recorded before."""
    await observed.scrape_until(lambda scrape: scrape.sums("podium_telemetry_lag_events") == 0)
    return await observed.scrape()


async def statistics(ana, events):
    """What the service's statistics tell of each tool, up to the last of the events."""
    request = monitoring_service_pb2.GetToolStatisticsRequest(consistency_token=f"0:{events[-1].position}")
    return {tool.tool: tool for tool in (await ana.monitoring.GetToolStatistics(request)).total.tools}


async def test_the_counters_equal_the_log(observed, serve, calls, tenant):
    await serve()
    ana, bob = calls(), calls(subject="bob", roles=["agent"])
    before = await settled(observed)
    events_before = len(await ana.log())
    await mixed_run(ana, bob)
    events = await ana.log()
    exact = recount(events)
    assert exact["flaky"].counts["succeeded"] == 1
    scrape = await settled(observed)
    assert metric_differences(scrape, tenant, exact) == []
    types = Counter(event.WhichOneof("payload") for event in events[events_before:])
    grown = Counter(scrape.sums("podium_events_total", "type")) - Counter(before.sums("podium_events_total", "type"))
    assert grown == Counter({(kind,): count for kind, count in types.items()})
    steps = scrape.sums("podium_steps_total", "tool", "outcome", tenant=tenant)
    assert steps["echo", "skipped"] == 1
    # The items of a for_each step are uses of its tool, and the step itself is none.
    assert steps["echo", "succeeded"] == 1 + 3


async def test_metrics_statistics_and_log_tell_the_same_of_each_tool(observed, serve, calls, tenant):
    app = await serve(tools())
    ana, bob = calls(), calls(subject="bob", roles=["agent"])
    await every_way_run(ana, bob, app)
    events = await ana.log()
    assert {event.WhichOneof("payload") for event in events} >= KINDS
    exact, told, scrape = recount(events), await statistics(ana, events), await settled(observed)
    assert exact.keys() == {"feed", "archive", "slow", "ledger", "metered", "broken", NOBODY_S}
    counts = sum((each.counts for each in exact.values()), Counter())
    assert {name for name in COUNTERS if not counts[name]} == {"bulkhead_rejected"}
    # What hung until its run was out of time has failed, whatever kind of run that was.
    assert exact["slow"].errors == {"TIMEOUT": 2, "WORKFLOW_TIMEOUT": 4, "CANCELED": 1}
    assert exact["slow"].counts["failed"] == 6
    assert differences(told, exact) == []
    assert metric_differences(scrape, tenant, exact) == []
    # The negative control: whatever was not counted is noticed, in the metrics as in the statistics.
    for kind in KINDS:
        lacking = next(event for event in events if event.HasField(kind))
        less = recount([event for event in events if event is not lacking])
        assert differences(told, less) != []
        assert metric_differences(scrape, tenant, less) != []


async def test_what_is_no_figure_of_the_statistics_equals_the_log_too(observed, serve, calls, tenant):
    app = await serve(feeds())
    ana = calls()
    await degraded_run(ana, app)
    links = sum(event.HasField("fallback_tried") for event in await ana.log())
    scrape = await settled(observed)
    # By the tool of the step whose chain it is, as degraded steps are, whatever tool stood before the link.
    assert scrape.sums("podium_fallbacks_total", "tool", tenant=tenant) == {("feed",): links}
    assert scrape.sums("podium_steps_degraded_total", "tool", tenant=tenant) == {("feed",): 5}
    hits = scrape.sums("podium_cache_hits_total", "tool", "kind", tenant=tenant)
    assert hits == {("feed", "stale"): 2, ("archive", "fresh"): 1}
    assert scrape.sums("podium_breaker_state", "state", tenant=tenant, tool="feed")["open",] == 1


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
