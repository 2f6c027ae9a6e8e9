"""An open workflow grows while it runs, and ends when it is finished and its steps have ended."""

import asyncio

from podium.v1 import events_pb2, value_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, payloads
from tests.integration.rig.refusal import invalid, refusal_of

RUNNING, SUCCEEDED = value_pb2.WORKFLOW_STATE_RUNNING, value_pb2.WORKFLOW_STATE_SUCCEEDED


async def when(caller, workflow_id, name):
    """Waits until something of this type was recorded."""
    async for message in caller.watch(workflow_id):
        if any(item.event.HasField(name) for item in message.items):
            return


async def test_it_waits_for_more_when_all_its_steps_have_ended(caller, tools):
    workflow_id = await caller.start(step("echo", {"value": 1}), open=True)
    await when(caller, workflow_id, "step_succeeded")
    summary = await caller.get(workflow_id)
    assert (summary.state, summary.open) == (RUNNING, True)
    await caller.finish(workflow_id)
    assert (await caller.ended(workflow_id)).state == SUCCEEDED


async def test_what_is_added_later_uses_what_came_before(caller, tools):
    workflow_id = await caller.start(step("echo", {"value": {"n": 20}}, id="first"), open=True)
    await when(caller, workflow_id, "step_succeeded")
    added = await caller.add(
        workflow_id,
        step("add", {"a": "${steps.first.output.n}", "b": 1}),
        step(
            "add",
            {"a": "${steps.step_2.output}", "b": "${steps.step_2.output}"},
            condition="steps.first.output.n == 20",
        ),
    )
    await caller.finish(workflow_id)
    await caller.ended(workflow_id)
    assert added == ["step_2", "step_3"]
    assert (await caller.steps(workflow_id))["step_3"].output_json == "42"


async def test_numbers_of_steps_count_on_over_several_additions(caller, tools):
    workflow_id = await caller.start(step("echo"), open=True)
    assert await caller.add(workflow_id, step("echo", id="named"), step("echo")) == ["named", "step_3"]
    assert await caller.add(workflow_id, step("echo")) == ["step_4"]
    await caller.finish(workflow_id)
    assert list(await caller.steps(workflow_id)) == ["step_1", "named", "step_3", "step_4"]


async def test_nothing_is_added_to_a_workflow_that_is_not_open(caller, tools):
    closed = await caller.start(step("gated", {"gate": "g"}))
    finished = await caller.start(step("gated", {"gate": "g"}), open=True)
    await caller.finish(finished)
    async with caller.recording_nothing():
        for workflow_id in (closed, finished):
            refusal = await refusal_of(caller.add(workflow_id, step("echo")))
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "WORKFLOW_NOT_OPEN")
    tools.gates["g"].set()
    await caller.ended(closed)
    await caller.ended(finished)


async def test_an_open_workflow_without_a_step_succeeds_when_it_is_finished(caller):
    workflow_id = await caller.start(open=True, name="empty", kind=events_pb2.WORKFLOW_KIND_AGENT)
    await caller.finish(workflow_id)
    summary = await caller.ended(workflow_id)
    assert (summary.state, summary.kind, summary.name) == (SUCCEEDED, events_pb2.WORKFLOW_KIND_AGENT, "empty")
    assert kinds(await caller.history(workflow_id)) == [
        "workflow_started",
        "steps_added",
        "workflow_finish_requested",
        "workflow_succeeded",
    ]


async def test_a_step_cannot_depend_on_one_that_comes_later(caller, tools):
    workflow_id = await caller.start(step("gated", {"gate": "g"}), open=True)
    await tools.entered["g"].wait()
    async with caller.recording_nothing():
        refusal = await invalid(caller.add(workflow_id, step("echo", depends_on=["step_3"])))
    assert "step_3" in refusal.message
    await caller.cancel(workflow_id)


async def test_additions_by_many_at_once_all_arrive(caller, admit, tools):
    workflow_id = await caller.start(open=True)
    others = [admit(f"agent-{n}") for n in range(5)]
    added = await asyncio.gather(
        *[each.add(workflow_id, step("echo", {"value": n})) for each in others for n in range(10)]
    )
    await caller.finish(workflow_id)
    assert (await caller.ended(workflow_id)).state == SUCCEEDED
    assert sorted(name for names in added for name in names) == sorted(f"step_{n}" for n in range(1, 51))
    assert len(tools.ran()) == 50
    subjects = [each.authority.principal.subject for each in payloads(await caller.history(workflow_id), "steps_added")]
    assert set(subjects) == {"ana", *(f"agent-{n}" for n in range(5))}
