"""What spans and counters are made of events, also of those that need a breaker or a cache to come about."""

import asyncio

import pytest
from prometheus_client import generate_latest

from podium.v1 import definition_pb2, value_pb2
from podium.v1 import events_pb2 as e
from service.domain.trace_context import span_id
from service.telemetry.event_counts import EventCounts
from service.telemetry.follower import Follower
from service.telemetry.labels import REASONS_MAX
from service.telemetry.metrics import Metrics
from service.telemetry.spans import Spans
from service.telemetry.trails import Trails
from tests.integration.rig.observed import Scrape
from tests.integration.rig.otlp_receiver import attributes
from tests.unit.telemetry.given_log import Log

ERROR = 2


class Forgetful(Log):
    """A log of which nothing can be read again."""

    async def read_stream(self, *_args, **_more):
        return []


def told(log, *, ratio=1.0, trails_max=100):
    """The spans and the metrics of a log."""
    spans, metrics = [], Metrics()
    making = Spans(spans.extend)
    follower = Follower(log, metrics, EventCounts(metrics, 100), Trails(log, ratio, trails_max), making)

    async def run():
        for recorded in log.events:
            await follower._tell_safely(recorded)  # noqa: SLF001 - one event

    asyncio.run(run())
    making.flush()
    scrape = Scrape(generate_latest(metrics.registry).decode())
    assert scrape.sums("podium_telemetry_errors_total") == 0
    return spans, scrape


def started(workflow_id, *tools):
    steps = [definition_pb2.StepDefinition(id=f"s{number}", tool=tool) for number, tool in enumerate(tools, 1)]
    return [(workflow_id, e.WorkflowStarted(name="x")), (workflow_id, e.StepsAdded(steps=steps))]


def begun(workflow_id, step_id="s1", attempt=1, tool="mail"):
    checked = e.PermissionChecked(step_id=step_id, attempt=attempt, tool=tool)
    return [(workflow_id, checked), (workflow_id, e.AttemptStarted(step_id=step_id, attempt=attempt))]


def failure(reason="TOOL_ERROR"):
    return value_pb2.Failure(reason=reason, message="the secret text of a failure")


def opened(workflow_id, attempt):
    return e.BreakerTransitioned(
        tool="mail",
        to_state=e.BREAKER_STATE_OPEN,
        reason="FAILURE_RATE",
        workflow_id=workflow_id,
        step_id="s1",
        attempt=attempt,
    )


def rough_day(workflow_id):
    """A step whose tool fails and opens its breaker, is rejected, and falls back to another tool and to the cache."""
    return [
        *started(workflow_id, "mail"),
        (workflow_id, e.StepQueued(step_id="s1")),
        *begun(workflow_id),
        (workflow_id, e.AttemptFailed(step_id="s1", attempt=1, failure=failure(), retry_at_us=1)),
        ("breaker/mail", opened(workflow_id, 1)),
        (
            workflow_id,
            e.AttemptRejected(step_id="s1", attempt=2, guard="breaker", failure=failure("BREAKER_OPEN"), retry_at_us=2),
        ),
        (workflow_id, e.FallbackTried(step_id="s1", link=1, failure=failure(), tool="pigeon")),
        *begun(workflow_id, attempt=3, tool="pigeon"),
        (workflow_id, e.AttemptFailed(step_id="s1", attempt=3, failure=failure("TIMEOUT"))),
        (workflow_id, e.FallbackTried(step_id="s1", link=2, failure=failure("TIMEOUT"))),
        (workflow_id, e.CacheHit(step_id="s1", tool="mail", stale=True)),
        (workflow_id, e.StepSucceeded(step_id="s1", degraded_by=2)),
        (workflow_id, e.WorkflowSucceeded()),
    ]


def named(spans):
    return {(span.name, attributes(span).get("podium.attempt", 0)): span for span in spans}


def test_the_spans_of_a_rough_day():
    spans, scrape = told(Log(*rough_day("wf_1")))
    by_name = named(spans)
    assert set(by_name) == {
        ("workflow", 0),
        ("step pigeon", 0),
        ("execute_tool mail", 1),
        ("execute_tool pigeon", 3),
    }
    step = by_name["step pigeon", 0]
    assert [event.name for event in step.events] == ["retry", "rejected", "fallback", "fallback", "cache hit"]
    assert attributes(step)["podium.fallback.link"] == "2"
    assert step.status.code != ERROR
    assert (step.start_time_unix_nano, step.end_time_unix_nano) == (3_000_000, 15_000_000)
    attempt = by_name["execute_tool mail", 1]
    assert attempt.parent_span_id == step.span_id
    assert (attempt.start_time_unix_nano, attempt.end_time_unix_nano) == (5_000_000, 6_000_000)
    [transition] = attempt.events
    assert (transition.name, attributes(transition)) == (
        "breaker transition",
        {"podium.breaker.state": "open", "podium.breaker.reason": "FAILURE_RATE"},
    )
    assert not any(b"secret text" in span.SerializeToString() for span in spans)
    assert scrape.sums("podium_attempts_rejected_total", "tool", "guard") == {("mail", "breaker"): 1}
    assert scrape.sums("podium_cache_hits_total", "kind") == {("stale",): 1}
    assert scrape.sums("podium_steps_degraded_total", "tool") == {("mail",): 1}
    assert scrape.sums("podium_fallbacks_total", "tool") == {("mail",): 2}
    assert scrape.sums("podium_steps_total", "tool", "outcome") == {("mail", "failed"): 1, ("pigeon", "failed"): 1}
    assert scrape.sums("podium_queue_time_seconds_count") == 1
    assert scrape.sums("podium_breaker_transitions_total", "tool", "to_state") == {("mail", "open"): 1}


@pytest.mark.parametrize(
    ("end", "reason"), [(e.WorkflowCanceled(), "CANCELED"), (e.WorkflowFailed(failure=failure("TIMEOUT")), "TIMEOUT")]
)
def test_what_still_runs_ends_with_its_workflow(end, reason):
    spans, _ = told(Log(*started("wf_1", "mail"), *begun("wf_1"), ("wf_1", end)))
    by_name = named(spans)
    assert attributes(by_name["workflow", 0])["error.type"] == reason
    assert attributes(by_name["execute_tool mail", 1])["error.type"] == "CANCELED"
    assert {span.end_time_unix_nano for span in spans} == {5_000_000}
    assert by_name["workflow", 0].status.code == ERROR


def test_an_attempt_that_was_given_up_has_ended_for_its_span():
    abandoned = [("wf_1", e.AttemptAbandoned(step_id="s1", attempt=1)), ("wf_1", e.StepCanceled(step_id="s1"))]
    spans, scrape = told(Log(*started("wf_1", "mail"), *begun("wf_1"), *abandoned, ("wf_1", e.WorkflowCanceled())))
    assert attributes(named(spans)["execute_tool mail", 1])["error.type"] == "ABANDONED"
    assert len(spans) == len({span.span_id for span in spans}) == 3
    assert scrape.sums("podium_attempts_abandoned_total", "tool") == {("mail",): 1}


def test_an_attempt_that_was_given_up_and_failed_has_one_span_and_one_duration():
    late = [
        ("wf_1", e.AttemptAbandoned(step_id="s1", attempt=1)),
        ("wf_1", e.AttemptFailed(step_id="s1", attempt=1, failure=failure("TIMEOUT"), retry_at_us=1)),
        *begun("wf_1", attempt=2),
        ("wf_1", e.StepSucceeded(step_id="s1", attempt=2)),
        ("wf_1", e.WorkflowSucceeded()),
    ]
    spans, scrape = told(Log(*started("wf_1", "mail"), *begun("wf_1"), *late))
    assert set(named(spans)) == {("workflow", 0), ("step mail", 0), ("execute_tool mail", 1), ("execute_tool mail", 2)}
    assert len(spans) == len({span.span_id for span in spans})
    assert scrape.sums("podium_attempt_duration_seconds_count") == 2


def test_what_waited_for_one_tool_did_not_wait_for_the_link_s():
    waited = [
        ("wf_1", e.StepQueued(step_id="s1")),
        ("wf_1", e.FallbackTried(step_id="s1", link=1, failure=failure("SCHEDULE_TO_START_TIMEOUT"), tool="pigeon")),
        *begun("wf_1", tool="pigeon"),
    ]
    _, scrape = told(Log(*started("wf_1", "mail"), *waited))
    assert scrape.sums("podium_attempts_total", "tool") == {("pigeon",): 1}
    assert scrape.sums("podium_queue_time_seconds_count") == 0
    # The negative control: what waits for the link's tool is measured.
    _, scrape = told(Log(*started("wf_1", "mail"), *waited[:2], ("wf_1", e.StepQueued(step_id="s1")), *waited[2:]))
    assert scrape.sums("podium_queue_time_seconds_count", "tool") == {("pigeon",): 1}


def test_a_lost_attempt_is_counted_however_many_reasons_there_were_before():
    reasons = [*(f"R{number}" for number in range(REASONS_MAX)), "EXECUTOR_LOST"]
    events = [
        event
        for attempt, reason in enumerate(reasons, 1)
        for event in (
            *begun("wf_1", attempt=attempt),
            ("wf_1", e.AttemptFailed(step_id="s1", attempt=attempt, failure=failure(reason), retry_at_us=1)),
        )
    ]
    _, scrape = told(Log(*started("wf_1", "mail"), *events))
    assert scrape.sums("podium_attempts_failed_total", reason="other") == 1
    assert scrape.sums("podium_executor_attempts_lost_total") == 1


def test_what_is_not_sampled_is_counted_and_not_traced():
    spans, scrape = told(Log(*rough_day("wf_1")), ratio=0.0)
    assert spans == []
    assert scrape.sums("podium_attempts_total") == 2


def comparable(spans):
    return sorted((span.SerializeToString(deterministic=True) for span in spans), key=bytes)


def interleaved():
    """Two workflows by turns, so that with room for one each is forgotten at every event."""
    first, second = rough_day("wf_1"), rough_day("wf_2")
    return [event for pair in zip(first, second, strict=True) for event in pair]


def test_what_was_forgotten_is_read_from_the_log_and_makes_the_same():
    remembered, figures = told(Log(*interleaved()))
    forgotten, same = told(Log(*interleaved()), trails_max=1)
    assert comparable(forgotten) == comparable(remembered)
    # All but the process' own figures.
    ours = [[sample for sample in each.samples if sample.name.startswith("podium_")] for each in (figures, same)]
    assert ours[0] == ours[1]
    assert len(remembered) == 8
    # The negative control: where nothing can be read again, tools and beginnings are lost.
    lost, _ = told(Forgetful(*interleaved()), trails_max=1)
    assert comparable(lost) != comparable(remembered)


def test_a_span_s_parent_is_the_span_of_what_it_is_in():
    spans, _ = told(Log(*rough_day("wf_1")))
    workflow = named(spans)["workflow", 0]
    assert workflow.span_id.hex() == span_id("acme", "wf_1")
    assert named(spans)["step pigeon", 0].parent_span_id == workflow.span_id
