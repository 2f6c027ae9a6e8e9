"""Tools are registered and versioned; what would change a contract under those who use it is refused."""

import json

import pytest

import podium
from podium.v1 import tool_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.history import kinds, payload
from tests.integration.rig.raw_executor import raw_executor, tool
from tests.integration.rig.refusal import refusal_of

OTHER_SCHEMA = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


async def turned_away(caller, *tools, **fields):
    """How an executor is refused."""

    async def knock():
        async with raw_executor(caller, *tools, **fields):
            pass

    return await refusal_of(knock())


async def version_of(caller, name):
    answer = await caller.tools.GetTool(tool_service_pb2.GetToolRequest(name=name))
    return answer.tool.version


async def test_the_same_definition_keeps_its_version_and_records_nothing(caller):
    assert await caller.register("note", description="one") == 1
    async with caller.recording_nothing():
        assert await caller.register("note", description="one") == 1


async def test_a_changed_definition_is_a_new_version_in_one_stream(caller):
    await caller.register("note", description="one")
    assert await caller.register("note", description="two") == 2
    assert await caller.register("note", {"type": "object", "properties": {"a": {}}}, description="two") == 3
    events = await caller.history("tool:note")
    assert [event.tool_registered.version for event in events] == [1, 2, 3]
    assert events[0].principal.subject == "ana"


async def test_an_executor_registers_what_is_new_and_serves_what_is_known(caller):
    await caller.register("known")
    async with raw_executor(caller, "known", "fresh") as executor:
        assert list(executor.welcome.tool_versions) == [1, 1]
        served = (await caller.tools.GetTool(tool_service_pb2.GetToolRequest(name="fresh"))).tool
        assert served.sessions == 1
    async with caller.recording_nothing(), raw_executor(caller, "known", "fresh") as executor:
        assert list(executor.welcome.tool_versions) == [1, 1]


async def test_a_changed_schema_is_refused_while_executors_serve_the_old_one(caller):
    async with raw_executor(caller, "note"):
        async with caller.recording_nothing():
            refusal = await refusal_of(caller.register("note", json.loads(OTHER_SCHEMA)))
            assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TOOL_CONFLICT")
            assert "stop the executors" in refusal.message
        assert await caller.register("note", description="only the words changed") == 2
    while (await caller.tools.GetTool(tool_service_pb2.GetToolRequest(name="note"))).tool.sessions:
        pass
    assert await caller.register("note", json.loads(OTHER_SCHEMA)) == 3


async def test_an_executor_with_a_conflicting_tool_is_turned_away(caller, connect):
    app = podium.Executor("newer")

    @app.tool
    async def note(n: int) -> int:
        """Take a number."""
        return n

    async with raw_executor(caller, "note"):
        with pytest.raises(podium.IllegalState) as caught:
            await connect(app)
        assert caught.value.reason == "TOOL_CONFLICT"
        assert await version_of(caller, "note") == 1


async def test_a_required_permission_is_added_by_anybody_and_removed_by_an_administrator_alone(caller, admit):
    worker = admit("worker", roles=["executor"])
    await worker.register("pay", permissions=["email_send"])
    assert await worker.register("pay", permissions=["email_send", "financial_operations"]) == 2
    async with caller.recording_nothing():
        refusal = await refusal_of(worker.register("pay", permissions=["email_send"]))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_REMOVED")
    assert "financial_operations" in refusal.message
    assert await caller.register("pay", permissions=["email_send"]) == 3


def marked(**fields):
    name = {"type": "string", "x-podium-sensitive": True, "x-podium-sanitize": {"text": {}}}
    return {"type": "object", "properties": {"name": {"$ref": "#/$defs/n"}}, "$defs": {"n": name}, **fields}


@pytest.mark.parametrize(
    "weaker",
    [
        {"type": "object"},
        marked(properties={"name": {}}),
        marked(**{"$defs": {"n": {"type": "string", "x-podium-sensitive": True}}}),
        marked(**{"$defs": {"n": {"type": "string", "x-podium-sensitive": True, "x-podium-sanitize": {"html": {}}}}}),
    ],
)
async def test_what_guards_a_tool_is_added_by_anybody_and_taken_off_by_an_administrator_alone(caller, admit, weaker):
    worker = admit("worker", roles=["executor"])
    await worker.register("pay", {"type": "object"}, output_schema_json="{}")
    assert await worker.register("pay", marked(), output_schema_json='{"x-podium-redact":true}') == 2
    async with caller.recording_nothing():
        for schema, output in ((weaker, '{"x-podium-redact":true}'), (marked(), "")):
            refusal = await refusal_of(worker.register("pay", schema, output_schema_json=output))
            assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "GUARD_REMOVED")
    added = marked(required=["name"], description="more")
    assert await worker.register("pay", added, output_schema_json='{"x-podium-redact":true}') == 3
    assert await caller.register("pay", weaker) == 4


@pytest.mark.parametrize("change", [{"read_only": True}, {"idempotent": True}, {"streams_output": True}])
async def test_what_a_served_tool_promises_is_not_changed(caller, change):
    async with raw_executor(caller, "note"):
        async with caller.recording_nothing():
            refusal = await refusal_of(caller.register("note", **change))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TOOL_CONFLICT")
        assert await caller.register("note", timeout_ms=1000, description="only the words changed") == 2


async def test_a_step_is_pinned_to_the_version_it_was_submitted_against(caller):
    await caller.register("note", permissions=["email_send"])
    workflow_id = await caller.start(step("note"))
    await caller.register("note", description="changed", permissions=["email_send"])
    added = payload(await caller.history(workflow_id), "steps_added")
    assert [each.tool_version for each in added.steps] == [1]
    async with raw_executor(caller, tool("note", description="changed", permissions=["email_send"])) as executor:
        given = await executor.work()
        assert given.tool_version == 1, "an executor with the same schemas may run it"
        await executor.succeed(given.attempt)
        await executor.expect("outcome_acknowledged")


async def test_a_step_of_an_older_contract_waits_for_an_executor_that_has_it(caller):
    await caller.register("note")
    workflow_id = await caller.start(step("note"))
    await caller.register("note", json.loads(OTHER_SCHEMA))
    async with raw_executor(caller, tool("note", input_schema_json=OTHER_SCHEMA)) as executor:
        assert list(executor.welcome.tool_versions) == [2]
        newer = await caller.start(step("note", {"n": 1}))
        given = await executor.work()
        assert given.attempt.workflow_id == newer
        await executor.succeed(given.attempt)
        await executor.expect("outcome_acknowledged")
    assert kinds(await caller.history(workflow_id))[-1] == "step_queued"


GRANTS = {
    "nothing at all": (("tools.read",), "tools.serve"),
    "to serve other tools": (("tools.serve:billing-*", "tools.register"), "tools.serve"),
    "to register other tools": (("tools.serve", "tools.register:billing-*"), "tools.register"),
    "to serve and not to register": (("tools.serve",), "tools.register"),
}


@pytest.mark.parametrize(("scopes", "missing"), GRANTS.values(), ids=GRANTS)
async def test_an_executor_is_turned_away_that_is_allowed(admit, caller, scopes, missing):
    worker = admit("worker", roles=["executor"], scopes=scopes)
    async with caller.recording_nothing():
        refusal = await turned_away(worker, "billing-refund", "mail")
    assert refusal.code == "PERMISSION_DENIED"
    assert missing in refusal.message


async def test_a_grant_for_names_lets_an_executor_serve_those_names(admit, caller):
    worker = admit("worker", roles=["executor"], scopes=("tools.serve:billing-*", "tools.register:billing-*"))
    async with raw_executor(worker, "billing-refund", "billing-invoice") as executor:
        answer = await caller.start(step("billing-refund"))
        given = await executor.work()
        assert given.attempt.workflow_id == answer
        await executor.succeed(given.attempt)
        await executor.expect("outcome_acknowledged")


async def test_what_is_registered_already_may_be_served_without_the_right_to_register(admit, caller):
    await caller.register("mail")
    worker = admit("worker", roles=["executor"], scopes=("tools.serve",))
    async with raw_executor(worker, "mail") as executor:
        assert list(executor.welcome.tool_versions) == [1]


async def test_registering_needs_the_right_to_that_name(admit, caller):
    worker = admit("worker", roles=["executor"], scopes=("tools.register:billing-*",))
    await worker.register("billing-refund")
    async with caller.recording_nothing():
        refusal = await refusal_of(worker.register("mail"))
    assert refusal.code == "PERMISSION_DENIED"
    assert "mail needs tools.register" in refusal.message


@pytest.mark.parametrize("fields", [{"executor": ""}, {"max_attempts": 0}, {"max_attempts": 1_000_000}])
async def test_a_hello_that_makes_no_sense_is_refused(caller, fields):
    async with caller.recording_nothing():
        refusal = await turned_away(caller, "note", **fields)
    assert refusal.code == "INVALID_ARGUMENT"


async def test_an_executor_without_a_tool_or_with_one_twice_is_refused(caller):
    for tools in ([], ["note", tool("note", description="another")]):
        refusal = await turned_away(caller, *tools)
        assert refusal.code == "INVALID_ARGUMENT"
