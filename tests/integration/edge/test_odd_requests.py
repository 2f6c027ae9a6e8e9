"""No request, however odd, is an internal error: it is answered, or refused with a status that says why."""

import random

import grpc.aio
import pytest
from google.protobuf import message_factory

from podium.v1 import definition_pb2, executor_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.odd_messages import fill
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_if_any
from tests.integration.rig.requests import METHODS, invoke

pytestmark = pytest.mark.both_databases

REQUESTS = 60
INTERNAL = {grpc.StatusCode.INTERNAL.name, grpc.StatusCode.UNKNOWN.name, grpc.StatusCode.UNIMPLEMENTED.name}


@pytest.fixture
async def ana(caller):
    """A caller with something to be odd about: two tools and a workflow whose id odd requests can name."""
    await caller.register("note")
    await caller.register("step_1", permissions=["email_send"])
    caller.workflow_id = await caller.start(step("note"), open=True)
    return caller


@pytest.mark.parametrize("path", [path for path, method in METHODS.items() if not method.client_streaming])
async def test_an_odd_request_is_answered_or_refused_by(ana, path):
    chance = random.Random(path)
    request_class = message_factory.GetMessageClass(METHODS[path].input_type)
    for _ in range(REQUESTS):
        request = request_class()
        fill(request, chance)
        # The end of one that never ends is not waited for.
        is_waited_for = path.endswith("/AwaitWorkflow")
        if "workflow_id" in request_class.DESCRIPTOR.fields_by_name and not is_waited_for and chance.random() < 0.7:
            request.workflow_id = ana.workflow_id
        if "timeout_ms" in request_class.DESCRIPTOR.fields_by_name:
            request.timeout_ms = 1
        if path.endswith("/RunWorkflow"):
            request.workflow.timeout_ms = 1
        refusal = await refusal_if_any(invoke(ana, path, request))
        assert refusal is None or refusal.code not in INTERNAL, (refusal, request)
        assert refusal is None or refusal.reason, (refusal, request)


async def test_odd_steps_of_a_tool_that_exists_are_accepted_or_refused(ana):
    chance = random.Random("steps")
    refusals = []
    for _ in range(4 * REQUESTS):
        steps = [definition_pb2.StepDefinition() for _ in range(chance.choice([1, 2, 3]))]
        for each in steps:
            fill(each, chance, density=0.12)
            each.tool = "note"
        for call in (ana.start(*steps, timeout_ms=1), ana.add(ana.workflow_id, *steps)):
            refusals.append(await refusal_if_any(call))
            assert refusals[-1] is None or refusals[-1].code not in INTERNAL, (refusals[-1], steps)
    assert 0 < refusals.count(None) < len(refusals), "some were accepted, some refused"


async def test_an_odd_frame_of_an_executor_disturbs_nobody(ana):
    chance = random.Random("frames")
    async with raw_executor(ana, "work") as executor:
        workflow_id = await ana.start(step("work"))
        given = await executor.work()
        for _ in range(4 * REQUESTS):
            item = executor_service_pb2.ExecutorItem()
            fill(item, chance)
            if item.WhichOneof("item") in (None, "hello", "leaving"):
                continue
            await executor.stream.write(executor_service_pb2.SessionRequest(items=[item]))
        await executor.stream.write(executor_service_pb2.SessionRequest())
        await executor.succeed(given.attempt, "all is well")
        while not (await executor.expect("outcome_acknowledged")).accepted:
            pass
    assert (await ana.steps(workflow_id))["step_1"].output_json == '"all is well"'
