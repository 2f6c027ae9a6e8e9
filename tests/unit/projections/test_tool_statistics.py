"""The statistics of tools against a plain recount of the same log, however its events are cut into batches."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from podium.v1 import events_pb2 as e
from podium.v1.value_pb2 import Failure
from service.projections import open_runs
from service.projections.rebuild import Rebuild
from service.projections.statistics_query import StatisticsQuery, Window, WindowError
from service.projections.tool_statistics import HOUR_MINUTES, MINUTE_US, MINUTES_KEPT, ToolStatistics
from service.projections.tool_tally import OTHER_REASONS, REASONS_MAX
from store.records import decode_record
from tests.integration.rig.tool_recount import differences, recount
from tests.unit.projections.memory_log import STARTED_AT_US, MemoryLog
from tests.unit.projections.samples import step
from tests.unit.projections.tool_histories import TENANTS, history

ACME = "acme"
SEEDS = st.integers(0, 2**32)
ALL_TIME = Window(0, 2**40)
TEN_MINUTES_US = 10 * MINUTE_US
on_sqlite = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""Of tests that say nothing about the database."""


class Tables:
    """The projection's tables in memory, and processes that follow the log into them."""

    def __init__(self):
        self._engine = create_engine("sqlite://")
        self._process = ToolStatistics(1)
        self._process.metadata.create_all(self._engine)

    def apply(self, events):
        with self._engine.begin() as connection:
            self._process.apply(connection, events)

    def fail_to_apply(self, events):
        """The batch is applied, and then its transaction does not commit."""
        with self._engine.connect() as connection, connection.begin() as transaction:
            self._process.apply(connection, events)
            transaction.rollback()

    def start_anew(self):
        self._process = ToolStatistics(1)

    def rows(self):
        with self._engine.connect() as connection:
            tables = self._process.metadata.sorted_tables
            return {table.name: sorted(map(tuple, connection.execute(select(table))), key=repr) for table in tables}


def events_of(log, tenant=ACME):
    return [decode_record(event.record) for event in log.events if event.tenant == tenant]


async def told(runner, tenant=ACME, window=ALL_TIME, tools=()):
    statistics = await StatisticsQuery(runner.model).read(tenant, window, tools)
    return {tool: tally.message(tool) for tool, tally in statistics.total.tools.items()}


@given(SEEDS)
@settings(max_examples=12, deadline=None)
def test_the_rows_do_not_depend_on_batches_restarts_or_failures(seed):
    at_once, piecemeal, chance = Tables(), Tables(), Random(seed)
    # So that a minute may have several batches, a batch several minutes, and the log several hours.
    events = history(seed, workflows=6, event_every_us=chance.choice([5_000_000, MINUTE_US])).events
    at_once.apply(events)
    rest = events
    while rest:
        size = chance.choice([1, 2, 7, 40])
        batch, following = rest[:size], rest[size:]
        match chance.randint(0, 5):
            case 0:
                piecemeal.start_anew()
            case 1:
                piecemeal.fail_to_apply(batch)
        piecemeal.apply(batch)
        rest = following
    assert piecemeal.rows() == at_once.rows()


def test_a_batch_that_is_left_out_is_noticed():
    events = history(1).events
    whole, lacking = Tables(), Tables()
    whole.apply(events)
    lacking.apply(events[:50])
    lacking.apply(events[60:])
    assert lacking.rows() != whole.rows()


def test_nothing_is_left_of_workflows_that_have_ended():
    log = MemoryLog()
    tables = Tables()
    start(log, "search")
    log.record(ACME, "wf", e.StepQueued(step_id="step_1"))
    tables.apply(log.events)
    assert len(tables.rows()["statistics_1_plans"]) == len(tables.rows()["statistics_1_steps"]) == 1
    log.record(ACME, "wf", e.WorkflowCanceled())
    tables.apply(log.events[-1:])
    assert tables.rows()["statistics_1_plans"] == tables.rows()["statistics_1_steps"] == []


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_told_is_what_a_recount_of_the_log_tells(following, monkeypatch, seed):
    # So few are kept in memory that they must be read again all the time.
    monkeypatch.setattr(open_runs, "RUNS_KEPT", 3)
    log = history(seed, workflows=25, batch_events=20)
    async with following(ToolStatistics, log) as runner:
        for tenant in TENANTS:
            assert differences(await told(runner, tenant), recount(events_of(log, tenant))) == []


@on_sqlite
@pytest.mark.parametrize("name", ["attempt_started", "attempt_failed", "step_succeeded", "cache_hit", "fallback_tried"])
async def test_an_event_that_is_dropped_is_noticed(following, name):
    log = history(3, workflows=25)
    events = events_of(log)
    dropped = next(event for event in events if event.HasField(name))
    async with following(ToolStatistics, log) as runner:
        seen = await told(runner)
    assert differences(seen, recount(events)) == []
    assert differences(seen, recount([event for event in events if event is not dropped])) != []


async def test_any_window_is_told_as_a_recount_of_it_tells(following):
    log = history(7, workflows=40, event_every_us=TEN_MINUTES_US + 7)
    events, chance = events_of(log), Random(7)
    first, last = (events[place].recorded_at_us // MINUTE_US for place in (0, -1))
    assert last - first > 48 * HOUR_MINUTES
    async with following(ToolStatistics, log) as runner:
        for _ in range(30):
            begin = chance.randint(first - 100, last)
            window = Window(begin, chance.randint(begin + 1, last + 200))

            def is_in_it(at_us, window=window):
                return window.first <= at_us // MINUTE_US < window.before

            assert differences(await told(runner, window=window), recount(events, is_in_it)) == []


@on_sqlite
@pytest.mark.parametrize(("cut", "minutes"), [(7, 600), (60, 5000), (180, 5000), (1000, 5000)])
async def test_stretches_are_the_window_in_parts(following, cut, minutes):
    log = history(8, workflows=30, event_every_us=TEN_MINUTES_US)
    events = events_of(log)
    first = events[0].recorded_at_us // MINUTE_US
    first -= first % HOUR_MINUTES
    async with following(ToolStatistics, log) as runner:
        found = await StatisticsQuery(runner.model).read(ACME, Window(first, first + minutes, cut))
    assert [stretch.first for stretch in found.buckets] == [*range(first, first + minutes, cut)]
    assert found.buckets[-1].before == found.total.before == first + minutes
    for stretch in found.buckets:
        seen = {tool: tally.message(tool) for tool, tally in stretch.tools.items()}

        def is_in_it(at_us, stretch=stretch):
            return stretch.first <= at_us // MINUTE_US < stretch.before

        assert differences(seen, recount(events, is_in_it)) == []


async def test_of_old_times_hours_are_kept(following):
    log = history(9, workflows=30, event_every_us=TEN_MINUTES_US)
    log.record(ACME, "other", *[e.WorkflowFinishRequested()] * (MINUTES_KEPT // 10))
    log.record(ACME, "cache", e.CacheHit(tool="search"), *[e.WorkflowFinishRequested()] * 6)
    events = events_of(log)
    first = events[0].recorded_at_us // MINUTE_US
    async with following(ToolStatistics, log) as runner:
        query = StatisticsQuery(runner.model)
        asked = Window(first + 5 + -first % HOUR_MINUTES, first + HOUR_MINUTES * 30 + 1)
        found = (await query.read(ACME, asked)).total
        assert (found.first % HOUR_MINUTES, found.before % HOUR_MINUTES) == (0, 0)
        assert found.first <= asked.first < asked.before <= found.before

        def is_in_it(at_us):
            return found.first <= at_us // MINUTE_US < found.before

        seen = {tool: tally.message(tool) for tool, tally in found.tools.items()}
        assert differences(seen, recount(events, is_in_it)) == []
        with pytest.raises(WindowError, match="minutes are kept for 14 days"):
            await query.read(ACME, Window(asked.first, asked.before, 10))
        assert (await query.read(ACME, Window(asked.first, asked.before, 60))).buckets[0].first == found.first


async def test_a_rebuild_tells_what_was_told_before(following):
    log = history(11, workflows=25, batch_events=30)
    async with following(ToolStatistics, log) as runner:
        before = await told(runner)
        rebuild = Rebuild(runner, log, lambda work: work.close())
        await rebuild.run()
        assert rebuild.has_ended
        assert runner.model.served.number == 2
        assert await told(runner) == before != {}


@on_sqlite
async def test_only_the_tools_that_are_asked_for_are_told(following):
    async with following(ToolStatistics, history(12)) as runner:
        everything = await told(runner)
        assert await told(runner, tools=["fetch"]) == {"fetch": everything["fetch"]}


@on_sqlite
async def test_a_tenant_sees_nothing_of_another(following):
    log = MemoryLog()
    start(log, "search")
    log.record(ACME, "wf", e.AttemptStarted(step_id="step_1", attempt=1))
    async with following(ToolStatistics, log) as runner:
        assert await told(runner, "zenith") == {}
        assert (await told(runner))["search"].attempts == 1


@on_sqlite
async def test_the_answer_names_the_last_event_that_is_counted(following):
    log = history(13)
    async with following(ToolStatistics, log) as runner:
        assert (await StatisticsQuery(runner.model).read(ACME, ALL_TIME)).position == log.head


@on_sqlite
async def test_reasons_beyond_the_bound_are_counted_together(following):
    log = MemoryLog()
    start(log, "search")
    for number in range(REASONS_MAX + 5):
        failed = e.AttemptFailed(step_id="step_1", failure=Failure(reason=f"R{number}"))
        log.record(ACME, "wf", e.AttemptStarted(step_id="step_1"), failed)
    async with following(ToolStatistics, log) as runner:
        errors = {error.reason: error.count for error in (await told(runner))["search"].errors}
    assert sum(errors.values()) == REASONS_MAX + 5
    assert errors["R0"] == 1
    assert errors[OTHER_REASONS] > 1


@on_sqlite
async def test_an_attempt_counts_in_the_minute_in_which_it_ended(following):
    log = MemoryLog(event_every_us=MINUTE_US)
    start(log, "search")
    log.record(ACME, "wf", e.AttemptStarted(step_id="step_1", attempt=1), e.StepSucceeded(step_id="step_1", attempt=1))
    minute = (STARTED_AT_US + 4 * MINUTE_US) // MINUTE_US
    async with following(ToolStatistics, log) as runner:
        in_time = (await told(runner, window=Window(minute, minute + 1)))["search"]
        assert (in_time.attempts, in_time.succeeded, in_time.latency.max_us) == (0, 1, MINUTE_US)
        before = (await told(runner, window=Window(minute - 1, minute)))["search"]
        assert (before.attempts, before.succeeded, before.latency.count) == (1, 0, 0)


def start(log, tool):
    log.record(ACME, "wf", e.WorkflowStarted(), e.StepsAdded(steps=[step("step_1", tool)]))
