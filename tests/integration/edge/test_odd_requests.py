"""No request, however odd, is an internal error: it is answered, or refused with a status that says why."""

import random

import grpc.aio
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor

from podium.v1 import definition_pb2, executor_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor
from tests.integration.rig.refusal import refusal_if_any
from tests.integration.rig.requests import METHODS, invoke

REQUESTS = 60
DEPTH = 5
POWERS = [2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63)]
NUMBERS = [0, 1, 2, 7, 500, -1, *POWERS]
FLOATS = [0.0, -1.0, 0.5, 1e300, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    "", " ", "x", "step_1", "note", "tool:note", "wf_x", "0:1", "1.0", "1.1", "{}", "[]", "null", "[NaN]", '"\\ud800"',
    "${input}", "${steps.step_1.output}", "${item}", "${", "true", "steps.step_1.output", "\0", "ü", "\U0001f600",
    "a" * 300, "%s%n", "'; DROP TABLE events; --", "../../etc/passwd", "workflow_started", "admin", "*", "tools.*",
]  # fmt: skip
INTERNAL = {grpc.StatusCode.INTERNAL.name, grpc.StatusCode.UNKNOWN.name, grpc.StatusCode.UNIMPLEMENTED.name}
BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def fill(message, chance, depth=DEPTH, density=0.55):
    """Sets so many of a message's fields to odd values."""
    for field in message.DESCRIPTOR.fields:
        if chance.random() > density or (field.message_type and not depth):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[chance.choice(TEXTS)] = chance.choice(TEXTS)
        elif field.is_repeated and field.message_type:
            for _ in range(chance.choice([1, 1, 2, 3])):
                fill(getattr(message, field.name).add(), chance, depth - 1, density)
        elif field.is_repeated:
            getattr(message, field.name).extend(odd(field, chance) for _ in range(chance.choice([1, 2])))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), chance, depth - 1, density)
        else:
            setattr(message, field.name, odd(field, chance))


def odd(field, chance):
    """An odd value for a field."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        text = chance.choice(TEXTS)
        return text.encode() if field.type == FieldDescriptor.TYPE_BYTES else text
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return chance.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return chance.choice([0, 1, 2, 3, 99])
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return chance.choice(FLOATS)
    least, most = BOUNDS[kind]
    return chance.choice([number for number in NUMBERS if least <= number <= most])


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
