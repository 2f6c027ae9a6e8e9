"""Sanitizers on the real service: refused before anything runs, on record, and cleaned before the tool sees it."""

import json

import pytest

from podium.v1 import executor_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import invalid

pytestmark = pytest.mark.both_databases

OUTSIDE = "/etc/passwd-hunter2"
SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "x-podium-sanitize": {"path": {"roots": ["/srv/data"]}}},
        "page": {"type": "string", "x-podium-sanitize": {"html": {"max_length": 200_000}}},
    },
}
READ = tool("read", input_schema_json=json.dumps(SCHEMA))


def of_kind(events, kind):
    return [getattr(event, kind) for event in events if event.HasField(kind)]


async def test_a_literal_that_a_sanitizer_refuses_is_refused_before_anything_is_recorded(caller):
    async with raw_executor(caller, READ), caller.recording_nothing():
        refusal = await invalid(caller.start(step("read", {"path": OUTSIDE})))
        assert refusal.fields == {"steps[0].arguments.path"}
        assert "hunter2" not in str(refusal)
        called = await invalid(caller.call("read", {"path": OUTSIDE}))
        assert called.fields == {"call.arguments.path"}


async def test_a_member_that_is_given_twice_reaches_no_tool(caller):
    twice = f'{{"path":"{OUTSIDE}","path":"/srv/data/a"}}'
    submitted = step("read")
    submitted.arguments_json = twice
    async with raw_executor(caller, READ), caller.recording_nothing():
        refusal = await invalid(caller.start(submitted))
        assert refusal.fields == {"steps[0].arguments_json"}
        assert "hunter2" not in str(refusal)
        await invalid(caller.start(step("read", "${input}"), input_json=twice))


async def test_what_fills_a_hole_is_refused_at_the_attempt_and_the_refusal_is_on_record(caller):
    async with raw_executor(caller, READ):
        workflow_id = await caller.start(step("read", {"path": "${input}"}), input_json=json.dumps(OUTSIDE))
        await caller.ended(workflow_id)
    steps = await caller.steps(workflow_id)
    assert (steps["step_1"].failure.reason, steps["step_1"].failure.field) == ("INPUT_REJECTED", "arguments.path")
    [rejected] = of_kind(await caller.history(workflow_id), "input_rejected")
    assert (rejected.guard, rejected.field, rejected.reason) == ("path", "arguments.path", "PATH_OUTSIDE_ROOTS")
    assert "hunter2" not in rejected.message
    assert (await caller.replay(workflow_id)).matches


@pytest.mark.parametrize("filling", [0, 100_000], ids=["inline", "large"])
async def test_the_tool_gets_what_was_cleaned(caller, filling):
    page = f"<b>{'x' * filling}</b><script>alert(1)</script>"
    async with raw_executor(caller, READ) as executor:
        workflow_id = await caller.start(step("read", {"page": page, "path": "/srv/data/a"}))
        work = await executor.work()
        text = work.arguments_json
        if filling:
            assert text == ""
            request = executor_service_pb2.GetArgumentsRequest(attempt=work.attempt)
            text = (await caller.executors.GetArguments(request)).arguments_json
        assert json.loads(text) == {"page": f"<b>{'x' * filling}</b>", "path": "/srv/data/a"}
        await executor.succeed(work.attempt, "done")
        await caller.ended(workflow_id)


async def test_a_tool_with_a_wrong_declaration_is_turned_away(caller):
    schema = {"type": "object", "properties": {"path": {"type": "string", "x-podium-sanitize": {"path": {}}}}}
    async with caller.recording_nothing():
        refusal = await invalid(caller.register("read", schema))
    assert refusal.fields == {"input_schema_json"}
    assert "roots" in str(refusal)


async def test_arguments_and_inputs_over_a_bound_are_refused_before_they_are_parsed(own_service, admit):
    service = own_service(limit_json_elements=100, limit_json_string_length=1000).start()
    ana = admit(to=service)
    await ana.register("note")
    for value in ([0] * 101, "x" * 1001):
        async with ana.recording_nothing():
            assert (await invalid(ana.start(step("note", {"a": value})))).fields == {"steps[0].arguments_json"}
            assert (await invalid(ana.start(step("note"), input_json=json.dumps(value)))).fields == {"input_json"}
            assert (await invalid(ana.call("note", {"a": value}))).fields == {"call.arguments"}
    async with raw_executor(ana, "note") as executor:
        # Each is within the bounds, and what they make together is not.
        half = json.dumps([0] * 60)
        workflow_id = await ana.start(step("note", {"a": "${input}", "b": "${input}"}), input_json=half)
        await ana.ended(workflow_id)
        assert (await ana.steps(workflow_id))["step_1"].failure.reason == "INVALID_ARGUMENTS"
        workflow_id = await ana.start(step("note"))
        await executor.succeed((await executor.work()).attempt, [0] * 101)
        await ana.ended(workflow_id)
        failure = (await ana.steps(workflow_id))["step_1"].failure
        assert (failure.reason, failure.message) == (
            "INVALID_OUTPUT",
            "the output has more than 100 members and elements: split it",
        )
