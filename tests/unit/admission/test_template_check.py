"""What is known of arguments before their holes are filled, and that nothing is reported that is only a guess."""

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.v1 import definition_pb2
from service.admission.schema import check_template
from service.domain.filling import fill
from service.domain.template_parsing import parse_json
from tests.unit.admission.calls import SCHEMA, a_tool

HOLE = "${input}"


def check(arguments, schema=SCHEMA):
    return check_template(a_tool(schema=schema), parse_json(json.dumps(arguments), shorthand=False))


def test_literal_arguments_are_checked_fully():
    assert check({"query": "weather", "items": [{"name": "a"}]}) == []
    assert check({"query": "x", "items": [{"name": 1}], "zone": 1}) == [
        ("arguments.query", "must have at least 2 characters"),
        ("arguments.items[0].name", "must be of type string"),
        ("arguments.zone", "is not known to the tool"),
    ]


@pytest.mark.parametrize(("elements", "told"), [(4_000, 20), (6_000, 1)])
def test_of_a_large_value_what_is_found_first_is_told(elements, told):
    schema = {"type": "object", "properties": {"v": {"type": "array", "items": {"type": "string"}}}}
    violations = check({"v": [1] * elements}, schema)
    assert len(violations) == told
    assert violations[0] == ("arguments.v[0]", "must be of type string")


def test_a_hole_may_become_anything():
    assert check({"query": HOLE, "items": HOLE}) == []
    assert check({"query": "ab", "items": [HOLE, {"name": HOLE}]}) == []
    assert check(HOLE) == []


def test_a_missing_member_is_missing_whatever_the_holes_become():
    assert check({"items": HOLE}) == [("arguments.query", "is required")]
    assert check({"query": HOLE, "items": [{"nam": HOLE}]}) == [("arguments.items[0].name", "is required")]


def test_an_unknown_member_is_unknown_even_if_it_is_a_hole():
    assert check({"query": "ab", "zone": HOLE}) == [("arguments.zone", "is not known to the tool")]


def test_a_wrong_literal_beside_a_hole_is_wrong():
    assert check({"query": HOLE, "items": [{"name": 7}]}) == [("arguments.items[0].name", "must be of type string")]


def test_a_hole_inside_of_text_becomes_text():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string", "pattern": "^x"}}}
    assert check({"n": f"{HOLE} pieces", "s": f"{HOLE} pieces"}, schema) == [("arguments.n", "must be of type integer")]


@pytest.mark.parametrize(
    "keyword",
    [
        {"enum": [{"a": 1}]},
        {"const": {"a": 1}},
        {"not": {"properties": {"a": {"type": "null"}}, "required": ["a"]}},
        {"contains": {"type": "integer"}, "type": ["array", "object"]},
        {"anyOf": [{"properties": {"a": {"type": "integer"}}}, {"type": "array", "contains": {"const": 1}}]},
        {"oneOf": [{"required": ["a"]}, {"properties": {"a": {"type": "null"}}}]},
        {"if": {"properties": {"a": {"type": "null"}}}, "then": {"required": ["b"]}},
        {"if": {"properties": {"a": {"type": "integer"}}}, "else": {"required": ["b"]}},
    ],
    ids=json.dumps,
)
def test_what_may_be_the_holes_doing_is_not_reported(keyword):
    assert check({"v": {"a": HOLE}}, {"type": "object", "properties": {"v": keyword}}) == []


def test_a_branch_that_a_hole_may_choose_is_not_reported():
    chosen = {"if": {"minLength": 2}, "else": {"type": "integer"}}
    schema = {"type": "object", "properties": {"v": chosen}}
    assert check({"v": f"x{HOLE}"}, schema) == []
    assert check({"v": "x"}, schema) == [("arguments.v", "must be of type integer")]


def test_a_choice_is_wrong_when_every_form_is_wrong_beside_the_hole():
    forms = {"anyOf": [{"type": "string"}, {"type": "object", "required": ["a", "b"]}]}
    schema = {"type": "object", "properties": {"v": forms}}
    assert check({"v": {"a": HOLE}}, schema) == [("arguments.v", "has none of the forms that are allowed")]
    assert check({"v": {"a": HOLE, "b": 1}}, schema) == []


def test_elements_that_are_holes_may_be_equal_or_not():
    schema = {"type": "object", "properties": {"v": {"uniqueItems": True, "minItems": 3}}}
    assert check({"v": [HOLE, HOLE]}, schema) == [("arguments.v", "must have at least 3 elements")]


def test_a_template_sent_as_a_message_is_not_trusted():
    deep = definition_pb2.Template(literal_json="[" * 100 + "]" * 100)
    broken = definition_pb2.Template(literal_json="{")
    members = [definition_pb2.MemberTemplate(name=n, value=v) for n, v in (("a", deep), ("b", broken))]
    members.append(definition_pb2.MemberTemplate(name="c"))
    template = definition_pb2.Template(object=definition_pb2.ObjectTemplate(members=members))
    assert check_template(a_tool(), template) == [
        ("arguments.a", "is nested more than 64 levels deep"),
        ("arguments.b", "is not valid JSON"),
        ("arguments.c", "has no value"),
    ]


def test_the_report_is_bounded():
    assert len(check({f"m{n}": 1 for n in range(1000)})) <= 20
    assert len(check({"query": "ab", "items": [{"name": n} for n in range(1000)]})) <= 20


scalars = st.sampled_from([None, True, 0, 3, "", "ab", "abc"])
values = st.recursive(
    scalars | st.just(HOLE) | st.just(f"x{HOLE}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
fillings = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
)
leaves = st.sampled_from([
    {}, {"type": "string"}, {"type": "integer"}, {"type": ["object", "array"]}, {"minLength": 2}, {"const": "ab"},
    {"enum": [3, {"a": 3}]}, {"required": ["a"]}, {"additionalProperties": False, "properties": {"a": True}},
    {"minItems": 2}, {"uniqueItems": True}, {"maxProperties": 1}, {"propertyNames": {"const": "a"}}, False,
    {"dependentRequired": {"a": ["b"]}},
])  # fmt: skip
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2)}),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"contains": inner}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"if": inner, "then": inner, "else": inner}),
        st.builds(
            lambda word, forms: {word: forms},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.fixed_dictionaries({"dependentSchemas": st.dictionaries(st.sampled_from("abc"), inner, max_size=1)}),
        st.builds(lambda a, b: {"allOf": [a, b], "unevaluatedProperties": False}, inner, inner),
    ),
    max_leaves=5,
)


class Everywhere:
    """Fills every hole with the same value."""

    def __init__(self, value):
        self._text = json.dumps(value)

    def text(self, reference):
        return self._text


@given(schemas, values, fillings)
def test_arguments_that_can_be_made_right_are_never_reported(schema, arguments, filling):
    template = parse_json(json.dumps(arguments), shorthand=False)
    validator = jsonschema_rs.Draft202012Validator(schema)
    if validator.is_valid(json.loads(fill(template, Everywhere(filling)))):
        tool = definition_pb2.ToolDefinition(name="t", input_schema_json=json.dumps({"allOf": [schema]}))
        assert check_template(tool, template) == []


@given(schemas, scalars | st.lists(scalars) | st.dictionaries(st.sampled_from("abc"), scalars))
def test_without_a_hole_everything_that_is_wrong_is_reported(schema, arguments):
    tool = definition_pb2.ToolDefinition(name="t", input_schema_json=json.dumps({"allOf": [schema]}))
    wrong = not jsonschema_rs.Draft202012Validator(schema).is_valid(arguments)
    assert bool(check_template(tool, parse_json(json.dumps(arguments), shorthand=False))) == wrong


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"l": {"items": {"allOf": [{"pattern": "q"}] * 3000}}}},
        {"additionalProperties": {"items": {"$ref": "#/$defs/many"}}, "$defs": {"many": {"anyOf": [True] * 3000}}},
        {"properties": {"l": {"$ref": "#"}}, "items": {"$ref": "#"}, "allOf": [{"minLength": 1}] * 3000},
        {"patternProperties": {".": {"items": {"allOf": [{"pattern": "q"}] * 3000}}}},
    ],
    ids=["items", "a reference", "a circle", "patternProperties"],
)
def test_a_value_whose_validation_would_take_seconds_is_refused(schema):
    tool = definition_pb2.ToolDefinition(name="slow", input_schema_json=json.dumps({"type": "object", **schema}))
    many = definition_pb2.Template(literal_json=json.dumps({"l": ["q"] * 40_000}))
    few = definition_pb2.Template(literal_json=json.dumps({"l": ["q"] * 100}))
    assert "more elements than" in check_template(tool, many)[0][1]
    assert all("more elements than" not in problem for _, problem in check_template(tool, few))
