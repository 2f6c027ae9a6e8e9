"""Fallback chains on virtual time: places of the tool before a link, crashes between links, and old results."""

import dataclasses

import pytest

from podium.v1 import definition_pb2, events_pb2, policy_pb2, value_pb2
from service.admission.verdicts import Answered
from service.domain.permissions import DEFAULT_POLICY
from service.engine import policies
from service.resilience import Resilience
from tests.simulation.stage import TOOLS, play, step
from tests.simulation.virtual_time import elapse

WORK, WATCHED = TOOLS
SOON_MS = 10_000


def falls_back(*links, **fields):
    """A step whose own tool has ten seconds to be taken."""
    bounds = definition_pb2.Timeouts(schedule_to_start_ms=SOON_MS)
    return step("only", fallback=links, timeouts=bounds, **fields)


def watched():
    return definition_pb2.Fallback(tool=definition_pb2.ToolFallback(tool="watched"))


def old(max_age_ms=0):
    return definition_pb2.Fallback(stale=definition_pb2.StaleFallback(max_age_ms=max_age_ms))


async def until_it_falls_back(stage, workflow_id, count=1):
    await stage.until(lambda: len(stage.log.of_kind(workflow_id, "fallback_tried")) == count)


def test_a_step_that_waits_for_a_links_tool_is_not_given_to_an_executor_of_the_tool_before_it():
    async def scene(stage):
        workflow_id = await stage.start(falls_back(watched()))
        await until_it_falls_back(stage, workflow_id)
        wrong = await stage.executor("wrong", tools=[WORK])
        await elapse(1)
        assert wrong.hears_nothing()
        right = await stage.executor("right", tools=[WATCHED])
        assigned = await right.hear("assign")
        assert (assigned.tool, assigned.idempotency_key) == ("watched", f"{workflow_id}/only/link1")
        right.succeed(assigned)
        await stage.until_ended(workflow_id)
        assert wrong.hears_nothing()

    play(scene)


def test_before_it_falls_back_it_is():
    async def scene(stage):
        await stage.start(falls_back(watched()))
        await elapse(5)
        right = await stage.executor("right", tools=[WORK])
        assert (await right.hear("assign")).tool == "work"

    play(scene)


def test_a_link_has_as_long_to_be_taken_as_the_steps_own_tool():
    async def scene(stage):
        began_s = stage.now_s
        workflow_id = await stage.start(falls_back(watched(), definition_pb2.Fallback(value_json="7")))
        await stage.until_ended(workflow_id)
        assert stage.now_s - began_s == pytest.approx(2 * SOON_MS / 1000, abs=0.2)
        (succeeded,) = stage.log.of_kind(workflow_id, "step_succeeded")
        assert (succeeded.degraded_by, succeeded.output.json) == (2, "7")

    play(scene)


@pytest.mark.parametrize("running", [False, True], ids=["waiting", "running"])
def test_a_crash_finds_the_step_at_its_link_again(running):
    async def scene(stage):
        executor = await stage.executor(tools=[WORK, WATCHED] if running else [WORK])
        workflow_id = await stage.start(falls_back(watched(), retry=definition_pb2.RetryPolicy(max_attempts=1)))
        executor.fail(await executor.hear("assign"))
        held = [await executor.hear("assign")] if running else []
        await until_it_falls_back(stage, workflow_id)
        await stage.crash_and_begin()
        again = await stage.executor(holding=held)
        if running:
            assert stage.kept(again) == [True]
        assigned = held[0] if running else await again.hear("assign")
        assert assigned.tool == "watched"
        again.succeed(assigned, "5")
        await stage.until_ended(workflow_id)
        (succeeded,) = stage.log.of_kind(workflow_id, "step_succeeded")
        assert (succeeded.attempt, succeeded.degraded_by) == (2, 1)
        assert len(stage.log.of_kind(workflow_id, "fallback_tried")) == 1

    play(scene)


@pytest.mark.parametrize(
    ("on", "waits_s"), [("BREAKER_OPEN", 0), ("*", 0), ("EXHAUSTED", 60)], ids=["named", "any", "exhausted"]
)
def test_an_open_breaker_is_waited_for_only_without_a_link_that_is_for_it(monkeypatch, on, waits_s):
    rule = policy_pb2.BreakerRule(id="any", failure_threshold=1, recovery_timeout_ms=60_000)
    monkeypatch.setattr(policies, "DEFAULT_POLICY", dataclasses.replace(DEFAULT_POLICY, breakers=(rule,)))
    opened_by = step("only", retry=definition_pb2.RetryPolicy(max_attempts=1))

    async def scene(stage):
        executor = await stage.executor()
        first = await stage.start(opened_by)
        executor.fail(await executor.hear("assign"))
        await stage.until_ended(first)
        began_s = stage.now_s
        workflow_id = await stage.start(step("only", fallback=[definition_pb2.Fallback(on=[on], value_json="7")]))
        await stage.until(lambda: stage.log.of_kind(workflow_id, "attempt_rejected"))
        if waits_s:
            executor.succeed(await executor.hear("assign"), "8")
        await stage.until_ended(workflow_id)
        assert stage.now_s - began_s == pytest.approx(waits_s, abs=0.5)
        (succeeded,) = stage.log.of_kind(workflow_id, "step_succeeded")
        assert (succeeded.degraded_by, succeeded.output.json) == ((0, "8") if waits_s else (1, "7"))
        assert len(stage.log.of_kind(workflow_id, "attempt_rejected")) == 1

    play(scene)


class Kept:
    """One old result, ten seconds old."""

    def __init__(self, failing=False):
        self.asked = []
        self._failing = failing

    def stale(self, request, max_age_us, now_us):
        assert now_us > 0
        self.asked.append((request.tenant, request.tool.name, request.arguments_json))
        if self._failing:
            raise OSError("the cache is away, and its key is hunter2")
        if max_age_us < SOON_MS * 1000:
            return None
        return Answered(value_pb2.Value(json="42"), events_pb2.CacheHit(step_id=request.step_id, stale=True))


@pytest.fixture
def kept(monkeypatch):
    """Lets services have an old result."""

    def have(**settings):
        results = Kept(**settings)
        monkeypatch.setattr(Resilience, "stale_results", lambda _self: results)
        return results

    return have


async def recorded(stage, *links):
    """The types of what is recorded of a step that nobody takes, and that falls back."""
    workflow_id = await stage.start(falls_back(*links, arguments_json='{"q": 1}'))
    await stage.until_ended(workflow_id)
    return workflow_id, [(each.failure.reason, each.link) for each in stage.log.of_kind(workflow_id, "fallback_tried")]


def test_an_old_result_is_the_output_where_there_is_one(kept):
    results = kept()

    async def scene(stage):
        workflow_id, tries = await recorded(stage, old())
        assert tries == [("SCHEDULE_TO_START_TIMEOUT", 1)]
        (checked,) = stage.log.of_kind(workflow_id, "permission_checked")[-1:]
        assert checked.decision == events_pb2.DECISION_ALLOW
        (hit,) = stage.log.of_kind(workflow_id, "cache_hit")
        assert hit.stale
        (succeeded,) = stage.log.of_kind(workflow_id, "step_succeeded")
        assert (succeeded.attempt, succeeded.degraded_by, succeeded.output.json) == (0, 1, "42")
        assert results.asked == [("acme", "work", '{"q":1}')]

    play(scene)


@pytest.mark.parametrize(("failing", "max_age_ms"), [(True, 0), (False, SOON_MS - 1)], ids=["away", "too old"])
def test_without_one_the_next_link_is_tried(kept, failing, max_age_ms, caplog):
    kept(failing=failing)

    async def scene(stage):
        _, tries = await recorded(stage, old(max_age_ms), definition_pb2.Fallback(on=["STALE_MISS"], value_json="1"))
        assert tries == [("SCHEDULE_TO_START_TIMEOUT", 1), ("STALE_MISS", 2)]

    play(scene)
    assert "hunter2" not in caplog.text
