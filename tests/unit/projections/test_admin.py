"""What an operator sees of the read models, and rebuilds that outlive who asked for them."""

import asyncio

import pytest

from podium.v1 import admin_service_pb2 as pb
from podium.v1 import events_pb2
from service.api.admin_projections import STATES, ProjectionsAdmin
from service.domain.errors import NotFound, Unavailable
from service.projections import rebuild as rebuilding
from service.projections.audit import AuditTrail
from service.projections.runner import RunnerState
from service.projections.workflows import WorkflowList
from service.tasks import Tasks
from tests.unit.projections.memory_log import EVENT_EVERY_US, MemoryLog
from tests.unit.projections.tally import Tally, tallied, tally

WAIT_S = 30
BATCH_EVENTS = 10


@pytest.fixture
def log():
    log = MemoryLog()
    log.record("acme", "workflow-1", *(events_pb2.StepCanceled() for _ in range(35)))
    return log


@pytest.fixture
async def tasks(monkeypatch):
    monkeypatch.setattr(rebuilding, "BATCH_EVENTS", BATCH_EVENTS)
    async with Tasks() as tasks:
        yield tasks


async def listed(admin):
    [projection] = (await admin.list_projections()).projections
    return projection


async def test_one_that_is_behind_says_by_how_much(opened, log, tasks):
    admin = ProjectionsAdmin([await opened(tally(), log)], log, tasks.spawn)
    projection = await listed(admin)
    assert (projection.name, projection.state) == ("tally", pb.PROJECTION_STATE_CATCHING_UP)
    assert (projection.position, projection.head, projection.lag_events) == (0, 35, 35)
    assert projection.lag_us == 34 * EVENT_EVERY_US
    assert projection.heartbeat_at_us
    assert not projection.HasField("rebuild_position")


async def test_one_that_has_stopped_says_why(opened, log, tasks):
    runner = await opened(tally(fails_at=4), log)
    await runner.run()
    projection = await listed(ProjectionsAdmin([runner], log, tasks.spawn))
    assert projection.state == pb.PROJECTION_STATE_FAILED
    assert "it cannot apply event 4" in projection.problem


def test_every_state_has_its_name_in_the_contract():
    assert STATES.keys() == set(RunnerState)
    for state, number in STATES.items():
        assert pb.ProjectionState.Name(number) == f"PROJECTION_STATE_{state.name}"


async def test_a_rebuild_tells_how_far_it_has_come(following, log, tasks):
    async with following(tally(), log) as runner:
        admin = ProjectionsAdmin([runner], log, tasks.spawn)
        told = [(r.position, r.head, r.done) async for r in admin.rebuild_projection("tally")]
        assert told[-1] == (35, 35, True)
        assert {position for position, _, _ in told} <= {0, 10, 20, 30, 35}


async def test_one_that_does_not_exist_is_refused_with_the_names_of_those_that_do(following, log, tasks):
    async with following(tally(), log) as runner:
        admin = ProjectionsAdmin([runner], log, tasks.spawn)
        with pytest.raises(NotFound, match="there is no projection 'talley'; there are tally"):
            await anext(admin.rebuild_projection("talley"))


async def test_a_second_caller_joins_the_rebuild_that_is_under_way(following, log, tasks):
    async with following(tally(), log) as runner:
        admin = ProjectionsAdmin([runner], log, tasks.spawn)
        first = admin.rebuild_projection("tally")
        await anext(first)
        assert (await listed(admin)).HasField("rebuild_position")
        second = admin.rebuild_projection("tally")
        both = [[response.done async for response in caller] for caller in (first, second)]
        assert [each[-1] for each in both] == [True, True]
        assert runner.model.served.number == 2


async def test_a_rebuild_goes_on_when_its_caller_goes_away(following, log, tasks):
    async with following(tally(), log) as runner:
        admin = ProjectionsAdmin([runner], log, tasks.spawn)
        caller = admin.rebuild_projection("tally")
        await anext(caller)
        await caller.aclose()
        async with asyncio.timeout(WAIT_S):
            while (await listed(admin)).HasField("rebuild_position"):
                await tallied(runner)
        assert runner.model.served.number == 2


async def test_a_rebuild_that_the_service_stops_says_that_it_can_be_asked_for_again(following, log, tasks):
    async with following(tally(), log) as runner:
        admin = ProjectionsAdmin([runner], log, tasks.spawn)
        caller = admin.rebuild_projection("tally")
        while not (await anext(caller)).position:
            pass
        await tasks.close()
        with pytest.raises(Unavailable, match="goes on there when it is asked for again: the service stops"):
            async for _ in caller:
                pass


async def test_a_rebuild_of_one_that_failed_sets_it_going_again(opened, log, tasks):
    class FailsAtFirst(Tally):
        def __init__(self, generation):
            super().__init__(generation, fails_at=4 if generation == 1 else None)

    runner = await opened(FailsAtFirst, log)
    await runner.run()
    admin = ProjectionsAdmin([runner], log, tasks.spawn)
    assert [response.done async for response in admin.rebuild_projection("tally")][-1]
    async with asyncio.timeout(WAIT_S):
        while runner.state is not RunnerState.LIVE:
            await tallied(runner)
    await log.append("acme", "workflow-1", events_pb2.WorkflowCanceled())
    await runner.wait_for(36, WAIT_S)
    assert await tallied(runner) == list(range(1, 37))
    assert (await listed(admin)).problem == ""


async def test_the_projections_are_listed_by_name(opened, log, tasks):
    runners = [await opened(WorkflowList, log), await opened(AuditTrail, log)]
    projections = (await ProjectionsAdmin(runners, log, tasks.spawn).list_projections()).projections
    assert [projection.name for projection in projections] == ["audit", "workflows"]
