"""Bad input is refused with the fields at fault, before anything is recorded."""

import json

import pytest

from podium.v1 import definition_pb2, tool_service_pb2, workflow_service_pb2
from tests.integration.rig.caller import step
from tests.integration.rig.refusal import invalid

SEARCH = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1},
        "options": {"type": "object", "properties": {"lang": {"type": "string"}}},
    },
    "required": ["query"],
    "additionalProperties": False,
}


@pytest.fixture
async def ana(caller):
    """A caller whose tenant has the tools search and note."""
    await caller.register("search", SEARCH)
    await caller.register("note")
    return caller


def literal(tool, text, **fields):
    return definition_pb2.StepDefinition(tool=tool, arguments=definition_pb2.Template(literal_json=text), **fields)


async def test_a_cycle_is_named_step_by_step(ana):
    async with ana.recording_nothing():
        refusal = await invalid(
            ana.start(
                step("note", id="a", depends_on=["c"]),
                step("note", {"of": "${steps.a.output}"}, id="b"),
                step("note", id="c", condition="steps.b.output != null"),
                step("note", id="outside", depends_on=["a"]),
            )
        )
    assert "a → c → b → a" in refusal.message
    assert refusal.fields == {"steps[0].depends_on"}
    assert "a → c → b → a" in refusal.violations["steps[0].depends_on"]


async def test_a_step_that_needs_itself_is_a_cycle(ana):
    async with ana.recording_nothing():
        refusal = await invalid(ana.start(step("note", id="a", depends_on=["a"])))
    assert "a → a" in refusal.message


STEPS = {
    "an unknown dependency": (
        [step("note"), step("note", depends_on=["nowhere"])],
        "steps[1].depends_on",
        "step_2 needs nowhere, which is no step",
    ),
    "a reference to an unknown step": (
        [step("note", {"of": "${steps.nowhere.output}"})],
        "steps[0].arguments",
        "step_1 needs nowhere",
    ),
    "a reference to nothing known": ([step("note", {"of": "${inputs.x}"})], "steps[0].arguments_json", "inputs.x"),
    "an unfinished reference": ([step("note", {"of": "${steps.a"})], "steps[0].arguments_json", "unfinished"),
    "an item outside of a for_each": ([step("note", {"of": "${item}"})], "steps[0].arguments", "for_each"),
    "an unknown tool": ([step("note"), step("serach", {"query": "x"})], "steps[1].tool", "serach is not registered"),
    "a name that no tool can have": ([step("no tool!")], "steps[0].tool", "no tool name"),
    "an id twice": ([step("note", id="a"), step("note", id="a")], "steps[1].id", "already the id"),
    "an id like a generated one": ([step("note", id="step_2"), step("note")], "steps[1].id", "step_2 is already"),
    "an id that is none": ([step("note", id="Step One")], "steps[0].id", "no step id"),
    "a missing argument": ([step("search")], "steps[0].arguments.query", "required"),
    "an argument of the wrong type": (
        [step("search", {"query": "x", "options": {"lang": 7}})],
        "steps[0].arguments.options.lang",
        "string",
    ),
    "an argument out of bounds": (
        [step("search", {"query": "x", "limit": 0})],
        "steps[0].arguments.limit",
        "at least 1",
    ),
    "an argument too many": ([step("search", {"query": "x", "shout": True})], "steps[0].arguments.shout", ""),
    "arguments that are no JSON": (
        [definition_pb2.StepDefinition(tool="note", arguments_json='{"a": ')],
        "steps[0].arguments_json",
        "not valid JSON",
    ),
    "arguments that are no object": (
        [definition_pb2.StepDefinition(tool="note", arguments_json="[1]")],
        "steps[0].arguments",
        "object",
    ),
    "half of a character": (
        [definition_pb2.StepDefinition(tool="note", arguments_json='{"a": "\\ud800"}')],
        "steps[0].arguments_json",
        "not valid JSON",
    ),
    "half of a character beside a reference": (
        [definition_pb2.StepDefinition(tool="note", arguments_json='{"a": "${input} \\udfff"}')],
        "steps[0].arguments_json",
        "not valid JSON",
    ),
    "half of a character in a template": (
        [literal("note", '{"a": "\\ud800"}')],
        "steps[0].arguments",
        "not valid JSON",
    ),
    "items that are no JSON": (
        [step("note", for_each=definition_pb2.ForEach(items=definition_pb2.Template(literal_json="[NaN]")))],
        "steps[0].for_each.items",
        "not valid JSON",
    ),
    "half of a character among the items": (
        [step("note", for_each=definition_pb2.ForEach(items_json='["\\ud800"]'))],
        "steps[0].for_each.items_json",
        "not valid JSON",
    ),
    "a template that is no JSON": ([literal("note", "{")], "steps[0].arguments", "not valid JSON"),
    "a number that JSON does not have": ([literal("note", '{"a": NaN}')], "steps[0].arguments", "not valid JSON"),
    "arguments said twice": (
        [literal("note", "{}", arguments_json="{}")],
        "steps[0].arguments_json",
        "together with arguments",
    ),
    "a condition that does not parse": ([step("note", condition="1 +")], "steps[0].condition", "no valid condition"),
    "a condition that is no truth": ([step("note", condition="1 + 1")], "steps[0].condition", "bool"),
    "a condition of mixed types": ([step("note", condition="'a' > 1")], "steps[0].condition", "no valid condition"),
    "a condition about nothing known": ([step("note", condition="unknown > 1")], "steps[0].condition", "unknown"),
    "a condition about an unknown step": (
        [step("note", condition="steps.nowhere.output == 1")],
        "steps[0].condition",
        "needs nowhere",
    ),
    "a for_each over no list": (
        [step("note", for_each=definition_pb2.ForEach(items_json='{"a": 1}'))],
        "steps[0].for_each.items",
        "not a list",
    ),
    "a for_each over nothing": (
        [step("note", for_each=definition_pb2.ForEach())],
        "steps[0].for_each.items",
        "missing",
    ),
    "a join that cannot be met": (
        [step("note"), step("note", depends_on=["step_1"], join=definition_pb2.JOIN_N_OF, join_count=2)],
        "steps[1].join_count",
        "between 1 and",
    ),
    "a multiplier below 1": (
        [step("note", retry=definition_pb2.RetryPolicy(multiplier=0.5))],
        "steps[0].retry.multiplier",
        "between 1 and",
    ),
    "a jitter over 1": (
        [step("note", retry=definition_pb2.RetryPolicy(jitter=1.5))],
        "steps[0].retry.jitter",
        "between 0 and 1",
    ),
}


@pytest.mark.parametrize(("steps", "field", "words"), STEPS.values(), ids=STEPS)
async def test_a_workflow_is_refused_for(ana, steps, field, words):
    async with ana.recording_nothing():
        refusal = await invalid(ana.start(*steps, request_id="once"))
    assert refusal.reason == "INVALID_WORKFLOW"
    assert field in refusal.fields
    assert words in refusal.violations[field]
    assert field in refusal.message


async def test_steps_added_to_an_open_workflow_are_validated_as_those_of_a_start(ana):
    workflow_id = await ana.start(step("note", id="first"), open=True)
    async with ana.recording_nothing():
        again = await invalid(ana.add(workflow_id, step("note", id="first")))
        unknown = await invalid(ana.add(workflow_id, step("note", depends_on=["nowhere"])))
        wrong = await invalid(ana.add(workflow_id, step("search", {"query": 1}), request_id="r"))
        nothing = await invalid(ana.add(workflow_id))
    assert again.fields == {"steps[0].id"}
    assert unknown.fields == {"steps[0].depends_on"}
    assert wrong.fields == {"steps[0].arguments.query"}
    assert nothing.reason == "EMPTY_REQUEST"
    assert await ana.add(workflow_id, step("search", {"query": "x"}), request_id="r") == ["step_2"], "nothing was kept"


async def test_everything_that_is_wrong_is_told_at_once(ana):
    async with ana.recording_nothing():
        refusal = await invalid(
            ana.start(step("search", {"query": 1, "limit": 0}), step("gone"), step("note", depends_on=["x"]))
        )
    assert refusal.fields == {
        "steps[0].arguments.query",
        "steps[0].arguments.limit",
        "steps[1].tool",
        "steps[2].depends_on",
    }


async def test_more_violations_than_a_status_can_carry_are_counted(ana):
    refusal = await invalid(ana.start(*[step("gone") for _ in range(3000)]))
    assert "steps[0].tool" in refusal.fields
    assert refusal.violations[""].endswith(" more")
    assert "2999 more" in refusal.message


@pytest.mark.parametrize("text", ["{", "nothing", '{"a": NaN}', "[1,]", '"\\ud800"'])
async def test_an_input_that_is_no_json_is_refused(ana, text):
    async with ana.recording_nothing():
        refusal = await invalid(ana.start(step("note"), input_json=text))
    assert refusal.fields == {"input_json"}


CALLS = {
    "an unknown tool": (tool_service_pb2.ToolCall(tool="gone"), "tool"),
    "no tool at all": (tool_service_pb2.ToolCall(), "tool"),
    "a missing argument": (tool_service_pb2.ToolCall(tool="search"), "arguments.query"),
    "arguments that are no JSON": (tool_service_pb2.ToolCall(tool="note", arguments_json="{"), "arguments"),
    "a number that JSON does not have": (
        tool_service_pb2.ToolCall(tool="note", arguments_json='{"a": NaN}'),
        "arguments",
    ),
    "arguments that are no object": (tool_service_pb2.ToolCall(tool="note", arguments_json='"x"'), "arguments"),
}


@pytest.mark.parametrize(("call", "field"), CALLS.values(), ids=CALLS)
async def test_a_call_and_a_batch_are_refused_for(ana, call, field):
    good = tool_service_pb2.ToolCall(tool="note")
    async with ana.recording_nothing():
        one = await invalid(ana.tools.CallTool(tool_service_pb2.CallToolRequest(call=call)))
        many = await invalid(ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest(calls=[good, call])))
    assert one.fields == {f"call.{field}"}
    assert many.fields == {f"calls[1].{field}"}


async def test_empty_requests_are_refused(ana):
    requests = [
        ana.workflows.StartWorkflow(workflow_service_pb2.StartWorkflowRequest()),
        ana.tools.CallTool(tool_service_pb2.CallToolRequest()),
        ana.tools.CallToolBatch(tool_service_pb2.CallToolBatchRequest()),
        ana.tools.RegisterTool(tool_service_pb2.RegisterToolRequest()),
    ]
    async with ana.recording_nothing():
        for request in requests:
            await invalid(request)


TOOLS = {
    "no name": ({"name": ""}, "name"),
    "a name with a space": ({"name": "two words"}, "name"),
    "a name that is too long": ({"name": "n" * 65}, "name"),
    "a schema that is no JSON": ({"input_schema_json": "{"}, "input_schema_json"),
    "a schema that is none": ({"input_schema_json": '{"type": "objekt"}'}, "input_schema_json"),
    "a schema of something else than an object": ({"input_schema_json": '{"type": "string"}'}, "input_schema_json"),
    "a schema that asks the network": (
        {"input_schema_json": json.dumps({"type": "object", "$ref": "https://example.com/schema"})},
        "input_schema_json",
    ),
    "a permission that is none": ({"permissions": ["ALL"]}, "permissions[0]"),
    "a timeout of years": ({"timeout_ms": 10**12}, "timeout_ms"),
}


@pytest.mark.parametrize(("fields", "field"), TOOLS.values(), ids=TOOLS)
async def test_a_tool_is_refused_for(caller, fields, field):
    definition = {"name": "tool", "input_schema_json": '{"type": "object"}', **fields}
    request = tool_service_pb2.RegisterToolRequest(definition=definition_pb2.ToolDefinition(**definition))
    async with caller.recording_nothing():
        refusal = await invalid(caller.tools.RegisterTool(request))
    assert refusal.reason == "INVALID_TOOL"
    assert field in refusal.fields
