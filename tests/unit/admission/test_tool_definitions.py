"""What is checked before a tool is registered."""

import json

import pytest

from podium.v1 import definition_pb2
from service.admission.json_schema import SchemaRefused, compile_schema, field_path
from service.admission.schema import check_definition
from tests.unit.admission.calls import a_tool


def test_a_good_definition_has_nothing_wrong_with_it():
    assert check_definition(a_tool(output_schema_json='{"type":"string"}', timeout_ms=1000)) == []


@pytest.mark.parametrize("name", ["", "a" * 65, "a.b", "a b", "é", "a\n"])
def test_a_name_that_model_interfaces_would_refuse_is_refused(name):
    assert [field for field, _ in check_definition(a_tool(name))] == ["name"]


@pytest.mark.parametrize("permission", ["", "Email", "email send", "*", "tools.*", "a:b", ".a", "a.", "a" * 129])
def test_a_permission_is_a_plain_name(permission):
    assert [field for field, _ in check_definition(a_tool(permissions=[permission]))] == ["permissions[0]"]


def test_a_permission_an_operator_added_is_fine():
    assert check_definition(a_tool(permissions=["crm.contacts_read", "email_send"])) == []


def test_a_permission_is_named_once():
    assert check_definition(a_tool(permissions=["email_send", "email_send"])) == [("permissions[1]", "is named twice")]


def test_everything_that_is_wrong_is_told_at_once():
    tool = a_tool("a b", permissions=["X"], schema=[], output_schema_json="{", timeout_ms=2**63)
    fields = [field for field, _ in check_definition(tool)]
    assert fields == ["name", "input_schema_json", "output_schema_json", "permissions[0]", "timeout_ms"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {},
        [],
        True,
        {"type": "objec"},
        {"type": ["object", "null"]},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
        {"type": "object", "$ref": "#/$defs/none"},
        {"type": "object", "$ref": "#/$defs/a%20b", "$defs": {"a b": {}, "a%20b": {}}},
        {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"},
    ],
    ids=json.dumps,
)
def test_an_input_schema_is_a_valid_schema_of_an_object(schema):
    assert [field for field, _ in check_definition(a_tool(schema=schema))] == ["input_schema_json"]


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:1/x", "https://example.com/s", "file:///etc/passwd", "other", "/x"]
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_a_reference_to_something_outside_of_the_schema_is_refused(keyword, target):
    inside = {"type": "object", "properties": {"enum": {"items": [{keyword: target}]}}}
    with pytest.raises(SchemaRefused, match="outside of it"):
        compile_schema(json.dumps(inside))


def test_a_reference_inside_of_the_schema_is_followed():
    schema = {"type": "object", "properties": {"$ref": {"$ref": "#/$defs/a~1b"}}, "$defs": {"a/b": {"const": 1}}}
    validator = compile_schema(json.dumps(schema))
    assert validator.is_valid({"$ref": 1})
    assert not validator.is_valid({"$ref": 2})


def test_data_that_looks_like_a_reference_is_no_reference():
    compile_schema('{"type":"object","const":{"$ref":"http://x"},"examples":[{"$ref":"http://x"}]}')


def doubling(levels):
    """A schema of `levels` lines that stands for 2^levels of them."""
    definitions = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)}
    return {"type": "object", "$ref": "#/$defs/a0", "$defs": {**definitions, f"a{levels}": {"type": "string"}}}


def test_references_that_multiply_are_refused():
    compile_schema(json.dumps(doubling(8)))
    with pytest.raises(SchemaRefused, match="more than 10000 subschemas"):
        compile_schema(json.dumps(doubling(22)))


def test_a_schema_may_refer_to_itself():
    tree = {
        "type": "object",
        "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
        "additionalProperties": False,
    }
    validator = compile_schema(json.dumps(tree))
    assert validator.is_valid({"left": {"right": {}}})
    assert not validator.is_valid({"left": {"middle": {}}})


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 65 + "1" + "}" * 65,
        json.dumps({"type": "object", "description": "x" * 70_000}),
        json.dumps({"$defs": {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(2000)}, "$ref": "#/$defs/a0"}),
        '{"type":"object","properties":{"a":{"$id":"http://x/y"}}}',
    ],
)
def test_a_schema_out_of_proportion_is_refused(text):
    with pytest.raises(SchemaRefused):
        compile_schema(text)


def test_a_path_reads_as_one_would_write_it():
    assert field_path(("items", 2, "name")) == "arguments.items[2].name"
    assert field_path(("a b", "1x", 'q"')) == 'arguments["a b"]["1x"]["q\\""]'
    assert field_path(()) == "arguments"


def test_a_path_never_grows_beyond_what_fits_a_message():
    assert len(field_path(("x" * 100_000,) * 20)) < 600


@pytest.mark.parametrize("mark", [{"x-podium-redact": True}, {"x-podium-sanitize": {"text": {}}}], ids=json.dumps)
def test_an_output_that_streams_has_no_marks_that_would_not_apply_to_its_chunks(mark):
    marked = json.dumps({"type": "string", **mark})
    [(field, message)] = check_definition(a_tool(output_schema_json=marked, streams_output=True))
    assert field == "streams_output"
    assert "let the tool return its output" in message
    assert check_definition(a_tool(output_schema_json=marked)) == []
    assert check_definition(a_tool(output_schema_json='{"type":"string"}', streams_output=True)) == []
    assert check_definition(a_tool(streams_output=True)) == []


@pytest.mark.parametrize(
    ("batching", "fields"),
    [
        ({"max_calls": 2}, []),
        ({"max_calls": 1000, "max_wait_ms": 10_000}, []),
        ({"max_calls": 1}, ["batching.max_calls"]),
        ({"max_calls": 1001, "max_wait_ms": 10_001}, ["batching.max_calls", "batching.max_wait_ms"]),
    ],
)
def test_a_batch_has_bounds(batching, fields):
    tool = a_tool(batching=definition_pb2.Batching(**batching))
    assert [field for field, _ in check_definition(tool)] == fields
