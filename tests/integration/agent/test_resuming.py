"""An agent that was killed goes on where it was: a call that has run is not run again."""

from pathlib import Path

import pytest

import podium
from podium.v1 import definition_pb2, value_pb2, workflow_service_pb2
from tests.integration.rig.history import of_step, payloads

PROGRAM = Path(__file__).with_name("program.py").read_text()
FIND = {"id": "toolu_01", "name": "find_invoice", "input": {"customer": "ana"}}
REFUND = {"id": "toolu_02", "name": "refund", "input": {"invoice": "in_ana", "cents": 1999}}
DONE = {"content": [{"text": "Done."}], "stop_reason": "end_turn"}


def asks(call):
    return {"content": [call], "stop_reason": "tool_use"}


def resuming(workflow_id):
    """The program, going on with a run."""
    resumed = PROGRAM.replace('agent_run(on_behalf_of="ana")', f'agent_run(resume="{workflow_id}")')
    assert resumed != PROGRAM
    return resumed


async def the_run(caller):
    """The agent's run, from the log."""
    started = [event for event in await caller.log() if event.HasField("workflow_started")]
    return started[-1].stream_id


async def test_a_call_that_had_ended_before_the_kill_is_not_run_again(agent, caller):
    await agent.kill_when(await agent.start([asks(FIND), None]), "the model thinks")
    workflow_id = await the_run(caller)
    assert (await caller.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_RUNNING
    printed = await agent.run([asks(FIND), asks(REFUND), DONE], program=resuming(workflow_id))
    assert printed == f"Done. {workflow_id}\n"
    assert len(agent.ledger("asked")) == 1, "the first call's result came from the record"
    assert len(agent.ledger("refund")) == 1
    before, after = (agent.requests(number)[1]["messages"][-1]["content"] for number in (0, 1))
    assert before == after
    assert (await caller.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED
    steps = await caller.steps(workflow_id)
    assert [each.tool for each in steps.values()] == ["find_invoice", "refund"]
    assert (await caller.replay(workflow_id)).matches


async def test_a_call_that_ran_when_the_agent_was_killed_is_repeated_and_pays_once(agent, caller):
    await agent.kill_when(await agent.start([asks(FIND), asks(REFUND)], hold=True), "the bank works")
    workflow_id = await the_run(caller)
    printed = await agent.run([asks(FIND), asks(REFUND), DONE], program=resuming(workflow_id))
    assert printed == f"Done. {workflow_id}\n"
    first, second = agent.ledger("refund")
    assert first["key"] == second["key"]
    assert len(agent.ledger("paid")) == 1
    assert len(agent.ledger("asked")) == 1
    events = await caller.history(workflow_id)
    assert of_step(events, "step_2").count("attempt_started") == 2
    assert [each.failure.reason for each in payloads(events, "attempt_failed")] == ["EXECUTOR_LOST"]


async def test_a_run_goes_on_although_other_steps_were_added_meanwhile(agent, caller):
    await agent.kill_when(await agent.start([asks(FIND), None]), "the model thinks")
    workflow_id = await the_run(caller)
    on_its_own = definition_pb2.StepDefinition(tool="find_invoice", arguments_json='{"customer": "bob"}')
    request = workflow_service_pb2.AddStepsRequest(workflow_id=workflow_id, steps=[on_its_own], request_id="mine")
    await caller.workflows.AddSteps(request)
    await agent.run([asks(FIND), asks(REFUND), DONE], program=resuming(workflow_id))
    assert [entry["customer"] for entry in agent.ledger("asked")] == ["ana", "bob"]
    assert (await caller.get(workflow_id)).state == value_pb2.WORKFLOW_STATE_SUCCEEDED


async def test_what_is_no_run_cannot_be_resumed(connect):
    client = await connect()
    with pytest.raises(podium.NotFound):
        async with client.agent_run(resume="wf_nowhere"):
            pass
