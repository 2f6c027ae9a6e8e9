"""What follows the log reads nothing again that it is told, and at the end tells what it has not come to yet."""

import asyncio
import contextlib
import logging
from unittest import mock

import pytest
from prometheus_client import generate_latest

from podium.v1 import definition_pb2
from podium.v1 import events_pb2 as e
from service.settings.listening import Listening
from service.settings.telemetry import TelemetrySettings
from service.tasks import Tasks
from service.telemetry.event_counts import EventCounts
from service.telemetry.follower import Follower
from service.telemetry.metrics import Metrics
from service.telemetry.telemetry import Telemetry
from service.telemetry.trails import Trails
from store.contract import SubscriptionBatch
from tests.integration.rig.observed import Scrape
from tests.integration.rig.otlp_receiver import otlp_receiver
from tests.unit.telemetry.given_log import Log

CALLS = 30


def call(workflow_id):
    steps = [definition_pb2.StepDefinition(id="s1", tool="mail")]
    return [
        (workflow_id, e.WorkflowStarted(name="x")),
        (workflow_id, e.StepsAdded(steps=steps)),
        (workflow_id, e.PermissionChecked(step_id="s1", attempt=1, tool="mail")),
        (workflow_id, e.AttemptStarted(step_id="s1", attempt=1)),
        (workflow_id, e.StepSucceeded(step_id="s1", attempt=1)),
        (workflow_id, e.WorkflowSucceeded()),
    ]


class Followed(Log):
    """A log that is recorded at once, and given to whoever follows it in batches of five, as far as `until`."""

    def __init__(self, *events, until=None):
        super().__init__(*events)
        self.until = len(events) if until is None else until
        self.reads = 0

    def record(self):
        """All of it is in the log from now on."""
        self.head = len(self.events)

    async def read_stream(self, *args, **more):
        self.reads += 1
        return await super().read_stream(*args, **more)

    async def open_workflows(self):
        return []

    async def list_streams(self, _prefix):
        return []

    def measure(self, _on_commit):
        """There are no commits."""

    async def subscribe(self, *, after_position):
        for first in range(after_position, self.until, 5):
            batch = self.events[first : min(first + 5, self.until)]
            yield SubscriptionBatch(batch, batch[-1].position, caught_up=batch[-1].position == self.head)
        await asyncio.Event().wait()


def log_of_calls(**more):
    return Followed(*(event for number in range(CALLS) for event in call(f"call_{number}")), **more)


def follower_of(log):
    metrics = Metrics()
    return Follower(log, metrics, EventCounts(metrics, 100), Trails(log, 1.0), None), metrics


def scrape_of(metrics):
    return Scrape(generate_latest(metrics.registry).decode())


def value(counter):
    return counter._value.get()  # noqa: SLF001 - the library's own way in its tests


async def test_the_beginning_of_a_workflow_is_not_looked_for_in_the_log():
    log = log_of_calls()
    follower, metrics = follower_of(log)
    log.record()
    async with Tasks() as tasks:
        tasks.spawn(follower.run())
        await follower.finish(5)
    assert scrape_of(metrics).sums("podium_steps_total", "tool", "outcome") == {("mail", "succeeded"): CALLS}
    assert log.reads == 0
    # The negative control: of a workflow that began before, the beginning is read, once.
    late = log_of_calls()
    late.head = 3
    follower, metrics = follower_of(late)
    late.record()
    async with Tasks() as tasks:
        tasks.spawn(follower.run())
        await follower.finish(5)
    assert scrape_of(metrics).sums("podium_steps_total", "tool", "outcome") == {("mail", "succeeded"): CALLS}
    assert late.reads == 1


async def test_what_cannot_be_told_in_time_is_counted_and_told_once_and_nothing_follows(caplog):
    log = log_of_calls(until=100)
    follower, metrics = follower_of(log)
    log.record()
    following = asyncio.create_task(follower.run())
    with caplog.at_level(logging.WARNING):
        await follower.finish(0.2)
    assert follower.lag == 6 * CALLS - 100
    await asyncio.wait([following], timeout=5)
    assert following.cancelled()
    assert scrape_of(metrics).sums("podium_telemetry_errors_total") == 80
    assert [record.getMessage() for record in caplog.records] == [
        "the last 80 events of the log were not counted and have no spans"
    ]


@pytest.mark.parametrize(("until", "spans"), [(None, 3 * CALLS), (6 * 10, 3 * 10)])
async def test_a_service_that_stops_sends_the_spans_of_what_was_recorded_last(until, spans):
    log = log_of_calls(until=until)
    with otlp_receiver() as receiver:
        async with Tasks() as tasks, contextlib.AsyncExitStack() as stack:
            settings = TelemetrySettings(otlp_endpoint=receiver.url)
            telemetry = Telemetry(settings, Listening(), mock.Mock(now_us=lambda: 0), tasks.spawn)
            telemetry.start(stack, mock.Mock(store=log, runners=[], resident_limit=100, waiting_appends_limit=1))
            log.record()
        assert len(receiver.spans) == spans
    assert value(telemetry.metrics.spans_exported) == spans
    assert value(telemetry.metrics.telemetry_errors) == 6 * CALLS - (until or 6 * CALLS)
