"""What an output schema marks is left out, however the value gets there."""

import json

import pytest

from service.admission.redacted_places import REDACTED, redacted_places, redaction_violations

MARKED = {"x-podium-redact": True}
DEEP = {"n": {"$ref": "#"}, "k": MARKED}


def applied(schema, value):
    names = {}
    places = redacted_places(json.dumps(schema))
    return (value if places is None else places.apply(value, names)), list(names)


@pytest.mark.parametrize(
    ("schema", "value", "told", "names"),
    [
        (MARKED, {"a": 1}, REDACTED, ["redacted:output"]),
        ({"properties": {"a": MARKED}}, {"a": 1, "b": 2}, {"a": REDACTED, "b": 2}, ["redacted:output.a"]),
        ({"additionalProperties": MARKED}, {"hidden": 1}, {"hidden": REDACTED}, ["redacted:output.*"]),
        ({"patternProperties": {"^s": MARKED}}, {"s": 1}, {"s": REDACTED}, ["redacted:output.*"]),
        ({"items": {"properties": {"a": MARKED}}}, [{"a": 1}, {}], [{"a": REDACTED}, {}], ["redacted:output[].a"]),
        ({"prefixItems": [{}, MARKED]}, [1, 2, 3], [1, REDACTED, 3], ["redacted:output[]"]),
        ({"anyOf": [{"type": "null"}, MARKED]}, "x", REDACTED, ["redacted:output"]),
        ({"if": {}, "then": {"allOf": [MARKED]}}, "x", REDACTED, ["redacted:output"]),
        ({"$ref": "#/$defs/s", "$defs": {"s": MARKED}}, "x", REDACTED, ["redacted:output"]),
        ({"properties": DEEP}, {"n": {"k": 1}}, {"n": {"k": REDACTED}}, ["redacted:output.n.k"]),
        ({"properties": {"a": MARKED}}, {"b": 2}, {"b": 2}, []),
        ({"properties": {"a": {"x-podium-redact": False}}}, {"a": 2}, {"a": 2}, []),
        ({"type": "object"}, {"x-podium-redact": True}, {"x-podium-redact": True}, []),
    ],
)  # fmt: skip
def test_a_marked_place_is_left_out(schema, value, told, names):
    assert applied(schema, value) == (told, names)


def test_a_value_without_marked_places_is_the_same_object():
    value = {"b": [1, {"c": 2}]}
    assert redacted_places(json.dumps({"properties": {"a": MARKED}})).apply(value, {}) is value


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"x-podium-redact": "yes"}, "true or false"),
        ({"not": MARKED}, "below not"),
        ({"propertyNames": MARKED}, "below propertyNames"),
        ({"propertyNames": {"$ref": "#/$defs/s"}, "$defs": {"s": MARKED}}, "below propertyNames"),
        ({"$ref": "#/default/a", "default": {"a": {"not": MARKED}}}, "below not"),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": MARKED, "a%20b": {}}}, "pointer"),
        ({"properties": {"a": MARKED}, "$ref": "#anchor"}, "pointer"),
        ({"properties": {"a": MARKED}, "$dynamicRef": "#"}, "pointer"),
    ],
)
def test_a_mark_that_would_have_no_effect_is_refused(schema, problem):
    [(field, message)] = redaction_violations("output_schema_json", json.dumps(schema))
    assert field == "output_schema_json"
    assert problem in message


def test_a_mark_applies_through_a_reference_below_every_keyword_that_is_followed():
    for keyword in ("patternProperties", "dependentSchemas"):
        schema = {keyword: {"s": {"$ref": "#/$defs/s"}}, "$defs": {"s": MARKED}}
        assert list(redaction_violations("f", json.dumps(schema))) == []
        assert "hidden" not in str(applied(schema, {"s": "hidden"}))
    for keyword in ("unevaluatedProperties", "additionalProperties"):
        schema = {keyword: {"$ref": "#/$defs/s"}, "$defs": {"s": MARKED}}
        assert applied(schema, {"s": "hidden"})[0] == {"s": REDACTED}
    for keyword in ("contains", "unevaluatedItems", "items"):
        schema = {keyword: {"$ref": "#/$defs/s"}, "$defs": {"s": MARKED}}
        assert applied(schema, ["hidden"])[0] == [REDACTED]


def test_good_marks_are_accepted():
    schema = {"properties": {"a": MARKED}, "$defs": {"s": MARKED}, "$ref": "#/$defs/s"}
    assert list(redaction_violations("f", json.dumps(schema))) == []
