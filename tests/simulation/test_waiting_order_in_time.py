"""Who waited for a place before a restart is given one in the order in which it came, on virtual time."""

import pytest

from podium.v1 import definition_pb2, workflow_service_pb2
from service.engine import recovery
from service.engine.place_queue import PlaceQueue
from service.engine.residency import Residency
from tests.simulation.stage import play, step
from tests.simulation.virtual_time import elapse

MANY = 7
LOADS_S = 0.1


async def wait_in_reverse(stage):
    """Workflows of which the last to begin is the first to wait. The names of their steps, in the order of waiting."""
    begun = [await stage.start(is_open=True) for _ in range(MANY)]
    names = [f"s{number}" for number in reversed(range(MANY))]
    for workflow_id, name in zip(reversed(begun), names, strict=True):
        await stage.add(workflow_id, step(name))
    await stage.until(lambda: all(stage.log.of_kind(each, "step_queued") for each in begun))
    return names


async def served(executor, count=MANY):
    """The steps to which an executor with one place gives it, in their order."""
    names = []
    for _ in range(count):
        assigned = await executor.hear("assign")
        names.append(assigned.attempt.step_id)
        executor.succeed(assigned)
        assert await executor.outcome()
    return names


async def recovered(stage, count=MANY):
    await stage.until(lambda: len(stage.life.engine.dispatcher._waiting) == count)  # noqa: SLF001 - nobody is told


async def after_a_restart(stage):
    waited = await wait_in_reverse(stage)
    await stage.crash_and_begin()
    await recovered(stage)
    executor = await stage.executor(max_attempts=1)
    return waited, await served(executor)


def test_the_order_in_which_steps_came_is_that_of_before_the_restart():
    waited, order = play(after_a_restart)
    assert order == waited


def test_it_is_found_when_they_are_served_in_the_order_of_recovery(monkeypatch):
    monkeypatch.setattr(PlaceQueue, "_put_in_order", lambda _queue, _rank: None)
    waited, order = play(after_a_restart)
    assert order != waited
    assert sorted(order) == sorted(waited)


async def while_it_recovers(stage):
    """An executor is there before the first of them is found."""
    waited = await wait_in_reverse(stage)
    await stage.crash_and_begin()
    executor = await stage.executor(max_attempts=1)
    assert not stage.life.engine.dispatcher._waiting  # noqa: SLF001 - nobody is told
    began_s = stage.now_s
    first = await executor.hear("assign")
    took_s = stage.now_s - began_s
    executor.succeed(first)
    assert await executor.outcome()
    return waited, [first.attempt.step_id, *await served(executor, MANY - 1)], took_s


@pytest.fixture
def slow_loads(monkeypatch):
    """Lets one workflow be loaded after the other, each in so many seconds."""

    def slow(seconds):
        load = Residency.load

        async def load_slowly(residency, resident):
            await elapse(seconds)
            await load(residency, resident)

        monkeypatch.setattr(Residency, "load", load_slowly)
        monkeypatch.setattr(recovery, "LOADS_AT_ONCE", 1)

    return slow


def test_nobody_is_given_a_place_before_those_who_came_first_are_found(slow_loads):
    slow_loads(LOADS_S)
    waited, order, _ = play(while_it_recovers)
    assert order == waited


def test_nor_is_anybody_who_comes_meanwhile(slow_loads):
    slow_loads(LOADS_S)

    async def scene(stage):
        waited = await wait_in_reverse(stage)
        await stage.crash_and_begin()
        executor = await stage.executor(max_attempts=1)
        newcomer = await stage.start(step("newcomer"))
        assert not stage.log.of_kind(newcomer, "attempt_started")
        assert await served(executor, MANY + 1) == [*waited, "newcomer"]

    play(scene)


def test_without_the_hold_the_first_that_is_found_goes_first(slow_loads, monkeypatch):
    slow_loads(LOADS_S)
    monkeypatch.setattr(recovery, "PLACES_HELD_S", 0)
    waited, order, _ = play(while_it_recovers)
    assert order[0] == waited[-1]


def test_a_recovery_that_takes_long_holds_up_nobody_for_long(slow_loads):
    slow_loads(10 * LOADS_S)
    waited, order, took_s = play(while_it_recovers)
    assert order[0] == waited[-1]
    assert sorted(order) == sorted(waited)
    assert took_s < recovery.PLACES_HELD_S + 2 * 10 * LOADS_S < MANY * 10 * LOADS_S


def test_who_comes_after_the_restart_comes_after_them_and_priority_before_all():
    async def scene(stage):
        waited = await wait_in_reverse(stage)
        await stage.crash_and_begin()
        await recovered(stage)
        await stage.start(step("later"))
        request = workflow_service_pb2.StartWorkflowRequest(
            steps=[step("urgent")], priority=definition_pb2.PRIORITY_HIGH
        )
        await stage.ask("workflows", "StartWorkflow", request)
        executor = await stage.executor(max_attempts=1)
        assert await served(executor, MANY + 2) == ["urgent", *waited, "later"]

    play(scene)


def test_a_second_restart_changes_nothing():
    async def scene(stage):
        waited = await wait_in_reverse(stage)
        await stage.crash_and_begin()
        await recovered(stage)
        await stage.start(step("later"))
        await stage.crash_and_begin()
        await recovered(stage, MANY + 1)
        executor = await stage.executor(max_attempts=1)
        assert await served(executor, MANY + 1) == [*waited, "later"]

    play(scene)
