"""What the service tells of itself: part by part, and what runs and waits in the caller's tenant."""

import pytest

from podium.v1 import monitoring_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_of

pytestmark = pytest.mark.both_databases
PARTS = {"log": True, "lease": True} | dict.fromkeys(
    ("projections", "loop", "memory", "cache", "checkpoints", "executors"), False
)
"""Those that are always there, and whether the service is NOT_SERVING without them."""


def status_of(caller):
    return caller.monitoring.GetStatus(monitoring_service_pb2.GetStatusRequest())


async def test_the_operator_learns_who_owns_the_log_and_how_each_part_is(admit, database):
    answer = await status_of(admit(tenant="default"))
    assert answer.serving
    assert answer.version
    assert answer.started_at_us > 0
    parts = {each.component: each for each in answer.components}
    assert {name: each.essential for name, each in parts.items()} == PARTS
    assert parts["loop"].detail.endswith(" ms late")
    assert int(parts["memory"].detail.split(" MiB")[0]) > 0
    assert " results, " in parts["cache"].detail
    assert all(each.healthy for each in parts.values())
    assert f"at position {answer.head}" in parts["log"].detail or answer.head > 0
    assert ":" in answer.owner
    assert answer.epoch >= 1
    assert database in answer.database or answer.database.endswith(".db")
    assert "@" not in answer.database
    assert (answer.lease_expires_at_us > answer.started_at_us) == (database == "postgres"), "SQLite has a lock"


async def test_other_tenants_learn_nothing_of_the_whole(caller):
    answer = await status_of(caller)
    assert answer.serving
    assert (answer.database, answer.owner, answer.epoch, answer.lease_expires_at_us, answer.head) == ("", "", 0, 0, 0)
    assert {each.detail for each in answer.components} == {""}


async def test_what_runs_and_waits_is_counted_and_goes_back_to_nothing(caller, admit):
    for name in ("work", "other"):
        await caller.register(name)
    first = await caller.start(step("work"), step("work"), step("other"))
    answer = await status_of(caller)
    assert (answer.open_workflows, answer.queued_steps, answer.running_attempts, answer.executors) == (1, 3, 0, 0)
    assert [(each.workflow_id, each.step_id, each.waits_for) for each in answer.stuck] == [
        (first, "step_1", "an executor that serves work"),
        (first, "step_2", "an executor that serves work"),
        (first, "step_3", "an executor that serves other"),
    ]
    assert all(each.since_us >= answer.started_at_us for each in answer.stuck)
    async with raw_executor(caller, "work", "other", max_attempts=1) as executor:
        given = await executor.work()
        answer = await status_of(caller)
        assert (answer.queued_steps, answer.running_attempts, answer.executors) == (2, 1, 1)
        assert {each.waits_for for each in answer.stuck} == {"a free place for work", "a free place for other"}
        elsewhere = await status_of(admit(tenant=f"{first}-neighbour"))
        counts = elsewhere.open_workflows, elsewhere.queued_steps, elsewhere.running_attempts, elsewhere.executors
        assert counts == (0, 0, 0, 0), "a tenant sees its own"
        await executor.succeed(given.attempt)
        for _ in range(2):
            await executor.succeed((await executor.work()).attempt)
        await caller.ended(first)
        answer = await status_of(caller)
        assert (answer.open_workflows, answer.queued_steps, answer.running_attempts) == (0, 0, 0)
        assert not answer.stuck


async def test_it_is_told_to_whom_it_is_granted(admit):
    assert (await refusal_of(status_of(admit("eve", roles=["nobody"])))).code == "PERMISSION_DENIED"
