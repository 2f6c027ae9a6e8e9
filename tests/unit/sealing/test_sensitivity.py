"""Which tools are sensitive: a mark anywhere in a schema, and in doubt."""

import json

import pytest

from podium.v1 import definition_pb2
from service.admission.sensitivity import Sensitivity, marks_sensitive

MARKED = {"type": "string", "x-podium-sensitive": True}


@pytest.mark.parametrize(
    "schema",
    [
        MARKED,
        {"properties": {"a": {"properties": {"b": MARKED}}}},
        {"items": {"anyOf": [{"type": "null"}, MARKED]}},
        {"$defs": {"secret": MARKED}, "$ref": "#/$defs/secret"},
        {"x-podium-sensitive": "true"},
        {"x-podium-sensitive": None},
    ],
)
def test_a_mark_anywhere_counts(schema):
    assert marks_sensitive(json.dumps(schema))


def test_a_mark_that_is_spelt_with_escapes_counts():
    assert marks_sensitive('{"x-podium-\\u0073ensitive": true}')


@pytest.mark.parametrize(
    "schema", [{}, {"type": "object"}, {"x-podium-sensitive": False}, {"title": "x-podium-sensitive"}]
)
def test_a_schema_without_a_mark_is_not_sensitive(schema):
    assert not marks_sensitive(json.dumps(schema))


def test_no_schema_marks_nothing_and_no_json_is_in_doubt():
    assert not marks_sensitive("")
    assert marks_sensitive("{")


def test_a_deep_schema_is_walked_without_recursion():
    assert marks_sensitive('{"a":' * 900 + json.dumps(MARKED) + "}" * 900)


def definitions(**schemas):
    found = definition_pb2.ToolDefinition(name="tool", **schemas)
    return lambda tenant, name, version: found if version == 1 else None


def test_input_and_output_are_told_apart():
    of_input = Sensitivity(definitions(input_schema_json=json.dumps(MARKED)))
    assert (of_input.of_input("a", "tool", 1), of_input.of_output("a", "tool", 1)) == (True, False)
    of_output = Sensitivity(definitions(output_schema_json=json.dumps(MARKED)))
    assert (of_output.of_input("a", "tool", 1), of_output.of_output("a", "tool", 1)) == (False, True)


def test_a_version_that_is_not_known_is_sensitive():
    assert Sensitivity(definitions()).of_input("a", "tool", 2)


def test_everything_is_everything():
    sensitivity = Sensitivity(definitions(), everything=True)
    assert sensitivity.of_input("a", "tool", 1)
    assert sensitivity.of_output("a", "tool", 1)
