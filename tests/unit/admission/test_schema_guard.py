"""The guard of arguments: what is refused, and that nothing of it is told."""

import json

import pytest

from service.admission.json_bounds import JsonBounds
from service.admission.pipeline import Pipeline
from service.admission.schema import SchemaGuard
from service.admission.verdicts import ALLOWED, Denied
from tests.unit.admission.calls import SCHEMA, a_request, a_tool


def check(arguments, schema=SCHEMA, **limits):
    return SchemaGuard(JsonBounds(**limits)).check(a_request(arguments, a_tool(schema=schema)), 0)


def test_arguments_that_satisfy_the_schema_are_allowed():
    assert check('{"query":"weather","items":[{"name":"a"}]}') is ALLOWED


@pytest.mark.parametrize(
    ("arguments", "field", "message"),
    [
        ("{}", "arguments.query", "arguments.query is required"),
        ('{"query":"x"}', "arguments.query", "arguments.query must have at least 2 characters"),
        ('{"query":7}', "arguments.query", "arguments.query must be of type string"),
        ('{"query":"ab","zone":1}', "arguments.zone", "arguments.zone is not known to the tool"),
        ('{"query":"ab","a b":1}', 'arguments["a b"]', 'arguments["a b"] is not known to the tool'),
        ('{"query":"ab","items":[{"name":"x"},{}]}', "arguments.items[1].name", "arguments.items[1].name is required"),
        ("[]", "arguments", "arguments must be of type object"),
        ("null", "arguments", "arguments must be of type object"),
        ("{", "arguments", "arguments is not valid JSON"),
        ("", "arguments", "arguments is not valid JSON"),
        ('{"query":NaN}', "arguments", "arguments is not valid JSON"),
    ],
)
def test_a_refusal_names_the_field_and_the_reason(arguments, field, message):
    verdict = check(arguments)
    assert isinstance(verdict, Denied)
    assert (verdict.guard, verdict.field, verdict.failure.field) == ("schema", field, field)
    assert verdict.failure.message == message
    assert verdict.failure.reason == "INVALID_ARGUMENTS"
    assert not verdict.failure.retryable


def test_what_a_pattern_cannot_be_compared_with_is_refused():
    schema = {"type": "object", "properties": {"v": {"pattern": "^(a|aa)+(?=x)$"}}}
    verdict = check(json.dumps({"v": "a" * 40 + "b"}), schema)
    assert isinstance(verdict, Denied)
    assert (verdict.failure.reason, verdict.field) == ("INVALID_ARGUMENTS", "arguments.v")
    assert verdict.failure.message == "arguments.v takes too long to compare with the pattern: give a shorter one"


KEYWORDS = [
    {"type": "integer"}, {"enum": ["a", "b"]}, {"const": "a"}, {"pattern": "^x$"}, {"maxLength": 3}, {"not": {}},
    {"anyOf": [{"type": "integer"}, {"const": "b"}]}, {"oneOf": [{"type": "string"}, {"maxLength": 99}]},
    {"if": {"type": "string"}, "then": {"minLength": 99}}, {"contentEncoding": "base64", "minLength": 99},
    {"allOf": [{"maxLength": 3}]}, {"$ref": "#/$defs/short"},
]  # fmt: skip


@pytest.mark.parametrize("keyword", KEYWORDS, ids=json.dumps)
def test_a_refusal_never_holds_the_refused_value(keyword):
    schema = {"type": "object", "properties": {"v": keyword}, "$defs": {"short": {"maxLength": 3}}}
    verdict = check('{"v":"hunter2-secret"}', schema)
    assert isinstance(verdict, Denied)
    assert "hunter2" not in verdict.failure.message + verdict.field


def test_a_nested_refusal_does_not_hold_it_either():
    schema = {"type": "object", "properties": {"v": {"contains": {"type": "integer"}, "uniqueItems": True}}}
    verdict = check('{"v":["hunter2","hunter2"]}', schema)
    assert "hunter2" not in verdict.failure.message


def nested(levels):
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(("levels", "allowed"), [(64, True), (65, False), (100_000, False)])
def test_nesting_is_bounded_before_anything_parses(levels, allowed):
    assert (check(nested(levels), {"type": "object"}) is ALLOWED) == allowed


def test_size_is_bounded_in_bytes():
    assert check('{"query":"éé"}', size_bytes=16) is ALLOWED
    assert "larger than 15 bytes" in check('{"query":"éé"}', size_bytes=15).failure.message


def test_each_version_of_a_tool_has_its_own_schema():
    guard = SchemaGuard()
    loose, strict = a_tool(schema={"type": "object"}), a_tool(schema={"type": "object", "required": ["x"]})
    assert guard.check(a_request("{}", loose, tool_version=1), 0) is ALLOWED
    assert isinstance(guard.check(a_request("{}", strict, tool_version=2), 0), Denied)
    assert guard.check(a_request("{}", loose, tool_version=1), 0) is ALLOWED
    assert isinstance(guard.check(a_request("{}", strict, tenant="other", tool_version=1), 0), Denied)


def test_a_schema_that_does_not_compile_denies():
    admission = Pipeline([SchemaGuard()]).admit(a_request("{}", a_tool(schema={"type": "nothing"})), 0)
    assert admission.verdict.failure.reason == "GUARD_ERROR"


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(?!x)(a+)+$", "^(?=(a+)+$)(a|aa)*\\1b"])
def test_a_pattern_that_explodes_refuses_soon(pattern):
    schema = {"type": "object", "properties": {"s": {"pattern": pattern}}}
    assert isinstance(check(json.dumps({"s": "a" * 5000 + "!"}), schema), Denied)
