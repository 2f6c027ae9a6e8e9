"""The read models of a running service: listed, and rebuilt while they are read."""

import asyncio

import pytest

from podium.v1 import admin_service_pb2 as pb
from podium.v1 import workflow_service_pb2
from tests.integration.rig.refusal import refusal_of

pytestmark = pytest.mark.both_databases

NAMES = ["audit", "statistics", "workflows"]


@pytest.fixture
def operator(admit):
    """An admin of the operator's tenant."""
    return admit(tenant="default")


async def rebuilt(caller, name):
    return [answer async for answer in caller.admin.RebuildProjection(pb.RebuildProjectionRequest(name=name))]


async def ids(caller):
    request = workflow_service_pb2.ListWorkflowsRequest(page_size=1000)
    return [each.workflow_id for each in (await caller.workflows.ListWorkflows(request)).workflows]


async def start(caller):
    request = workflow_service_pb2.StartWorkflowRequest(open=True)
    return (await caller.workflows.StartWorkflow(request)).workflow_id


async def test_they_are_listed_with_how_far_they_have_come(operator):
    projections = (await operator.admin.ListProjections(pb.ListProjectionsRequest())).projections
    assert [each.name for each in projections] == NAMES
    for each in projections:
        assert each.state == pb.PROJECTION_STATE_LIVE
        assert each.heartbeat_at_us
        assert each.problem == ""
        assert each.position + each.lag_events == each.head


async def test_one_is_rebuilt_while_it_is_read(caller, operator):
    started = [await start(caller) for _ in range(5)]
    async with asyncio.timeout(30):
        while sorted(await ids(caller)) != sorted(started):
            pass
    async with asyncio.TaskGroup() as tasks:
        rebuilding = [tasks.create_task(rebuilt(operator, name)) for name in NAMES]
        while not all(task.done() for task in rebuilding):
            assert sorted(await ids(caller)) == sorted(started)
    for task in rebuilding:
        assert [answer.done for answer in task.result()][-1]
    assert sorted(await ids(caller)) == sorted(started)


async def test_one_that_does_not_exist_is_refused(operator):
    refusal = await refusal_of(rebuilt(operator, "audits"))
    assert (refusal.code, refusal.reason) == ("NOT_FOUND", "PROJECTION_NOT_FOUND")
    assert "audit, statistics, workflows" in refusal.message


async def test_they_are_the_operators_whatever_another_tenant_grants(caller, operator):
    """The permission alone is not enough; the same calls of an admin in the operator's tenant are answered."""
    asked = pb.ListProjectionsRequest(), pb.RebuildProjectionRequest(name="audit")
    for name, call in (("read", caller.admin.ListProjections), ("rebuild", caller.admin.RebuildProjection)):
        refusal = await refusal_of(call(asked[name == "rebuild"]))
        assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        assert refusal.message == f"ana needs projections.{name} (rule operator-tenant)"
    await operator.admin.ListProjections(asked[0])
