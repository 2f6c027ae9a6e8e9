"""What becomes of an output before it is recorded."""

import dataclasses
import json

import pytest

from podium.v1 import definition_pb2, policy_pb2
from service.admission.json_bounds import JsonBounds
from service.domain.permissions import DEFAULT_POLICY
from service.engine.keys import ToolVersion
from service.executors.output_rules import OutputRules
from tests.unit.admission.test_redaction import SECRETS

TOOL = ToolVersion("acme", "fetch", 1)
AWS = SECRETS["aws-key"][0]
OWN = policy_pb2.ContentPattern(id="codename", expression="^Apollo", redact_output=True)


def clean(output, schema=None, *, policy=DEFAULT_POLICY, secrets=None, bounds=None, redact=True):
    definition = definition_pb2.ToolDefinition(output_schema_json=json.dumps(schema) if schema is not None else "")
    rules = OutputRules(lambda *_: definition, lambda _tenant: policy, bounds or JsonBounds(), redact=redact)
    text = output if isinstance(output, str) else json.dumps(output)
    names = {}
    told = rules.clean(TOOL, text, secrets or {}, names)
    return (told if told is text else json.loads(told)), list(names)


def test_an_output_in_which_nothing_is_to_be_changed_is_the_same_text():
    text = '{"a": "b\\n\\u00e9", "n": 1e300, "large": 123456789012345678901234567890}'
    assert clean(text) == (text, [])


def test_an_output_that_is_not_of_the_schema_is_refused_by_its_place():
    schema = {"type": "object", "properties": {"pin": {"type": "string"}}, "required": ["pin"]}
    assert clean({"pin": "1"}, schema)[1] == []
    with pytest.raises(ValueError, match=r"^output\.pin must be of type string$"):
        clean({"pin": 271828}, schema)
    with pytest.raises(ValueError, match=r"^output\.pin is required$"):
        clean({}, schema)


@pytest.mark.parametrize(
    ("text", "bounds", "problem"),
    [
        ('"aaaa"', JsonBounds(size_bytes=5), "larger than 5 bytes"),
        ("[[1]]", JsonBounds(depth=1), "nested more than 1 levels"),
        ("[1,2]", JsonBounds(elements=1), "more than 1 members"),
        ('"aaaa"', JsonBounds(string_length=3), "more than 3 characters"),
        ("hunter2", None, "not valid JSON"),
        ('{"hunter2', None, "not valid JSON"),
    ],
)
def test_an_output_over_a_bound_is_refused_without_its_value(text, bounds, problem):
    with pytest.raises(ValueError, match=problem) as refused:
        clean(text, bounds=bounds)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        '{"pin":"hunter2","pin":1}',
        '[{"a":{"pin":"hunter2"},"\\u0061":{}}]',
        '{"a":1e3,"b":{"pin":"hunter2","pin":' + "9" * 99 + "}}",
    ],
)
def test_an_output_with_a_member_twice_is_refused_as_only_the_last_is_looked_at(text):
    with pytest.raises(ValueError, match=r"^the output has an object with the same member twice$"):
        clean(text, {"properties": {"pin": {"x-podium-redact": True}}})
    # What is read of it is without the first, and would pass.
    assert "hunter2" not in json.dumps(json.loads(text))


def test_an_output_may_be_written_in_any_way_that_says_each_member_once():
    for text in ('{"a" : 1, "b": {"a": 1}}', '{"\\u0061":1e3,"b":100000000000000000000000}', '{"a":"x:y:","b":"\\/"}'):
        assert clean(text) == (text, [])


def test_html_and_text_of_an_output_are_cleaned_and_named():
    schema = {
        "properties": {
            "body": {"type": "string", "x-podium-sanitize": {"html": {}}},
            "items": {"items": {"type": "string", "x-podium-sanitize": {"text": {}}}},
        }
    }
    output = {"body": "<p>x</p><script>y</script>", "items": ["e\u0301", "plain"], "n": 2**70}
    told, names = clean(output, schema)
    assert told == {"body": "<p>x</p>", "items": ["é", "plain"], "n": 2**70}
    assert names == ["cleaned:output.body", "cleaned:output.items[]"]
    with pytest.raises(ValueError, match=r"^output\.items\[0\] holds a control character$"):
        clean({"items": ["\x1b[31m"]}, schema)


def test_a_place_has_no_name_but_those_of_the_schema():
    cleaned = {"type": "string", "x-podium-sanitize": {"text": {}}}
    long = "n" * 200
    schema = {
        "properties": {
            "pages": {"additionalProperties": cleaned},
            long: cleaned,
            "n": {"properties": {"x": {}}, "additionalProperties": False},
        },
    }
    for name in ("hunter2", 'hun"t]er2', "[", "\\"):
        told, names = clean({"pages": {name: "e\u0301"}, long: "e\u0301"}, schema)
        assert told == {"pages": {name: "é"}, long: "é"}
        assert names == ["cleaned:output.pages.*", f"cleaned:output.{'n' * 80}"]
        with pytest.raises(ValueError, match=r"^output\.pages\.\* holds a control character$"):
            clean({"pages": {name: "\x1b"}}, schema)
        with pytest.raises(ValueError, match=r"^output\.pages\.\* must be of type string$"):
            clean({"pages": {name: 1}}, schema)
        with pytest.raises(ValueError, match=r"^output\.n\.\* is not known to the tool$"):
            clean({"n": {name: 1}}, schema)


def test_marked_places_are_left_out_after_the_schema_was_checked():
    schema = {"properties": {"pin": {"type": "integer", "x-podium-redact": True}}}
    assert clean({"pin": 271828}, schema) == ({"pin": "[redacted]"}, ["redacted:output.pin"])
    with pytest.raises(ValueError, match="must be of type integer"):
        clean({"pin": "271828"}, schema)


def test_what_looks_like_a_secret_is_taken_out_of_texts_and_names_also_when_it_is_written_with_escapes():
    escaped = json.dumps({"a": AWS}).replace("A", "\\u0041", 1)
    told, names = clean(escaped)
    assert (told, names) == ({"a": "[redacted:aws-key]"}, ["redacted:aws-key"])
    key = SECRETS["private-key"][0]
    assert clean({AWS: [key + "x"]})[0] == {"[redacted:aws-key]": ["[redacted:private-key]\nx"]}


def test_what_looks_like_a_secret_is_taken_out_of_a_text_in_a_text():
    log = json.dumps(json.dumps({"colour": f"\x1b[0m{AWS}", "line": f"a\n{AWS}"}))
    told = {"log": log.replace(AWS, "[redacted:aws-key]"), "KEY_[redacted:aws-key]": "%20[redacted:aws-key]"}
    assert clean({"log": log, f"KEY_{AWS}": f"%20{AWS}"}) == (told, ["redacted:aws-key"])
    # Without an escape the output is searched as it is written.
    assert clean([f"KEY_{AWS}", f"B{AWS}"]) == (["KEY_[redacted:aws-key]", f"B{AWS}"], ["redacted:aws-key"])


def test_a_switch_turns_the_shapes_off_and_nothing_else():
    policy = dataclasses.replace(DEFAULT_POLICY, patterns=(OWN,))
    output = {"a": AWS, "b": "Apollo 11", "c": "hunter22"}
    told, names = clean(output, policy=policy, secrets={"key": b"hunter22"}, redact=False)
    assert told == {"a": AWS, "b": "[redacted:codename] 11", "c": "[redacted:key]"}
    assert names == ["redacted:codename", "redacted:key"]


def test_an_operators_pattern_is_asked_about_each_text_by_itself():
    policy = dataclasses.replace(DEFAULT_POLICY, patterns=(OWN,))
    assert clean({"a": ["no Apollo", "Apollo"]}, policy=policy)[0] == {"a": ["no Apollo", "[redacted:codename]"]}


def test_a_value_that_was_given_is_taken_out_also_where_json_escapes_it():
    secrets = {"key": 'pa"ss\nwörd'.encode()}
    assert clean({"a": 'x pa"ss\nwörd y'}, secrets=secrets) == ({"a": "x [redacted:key] y"}, ["redacted:key"])
    assert clean(json.dumps({"n": 271828}), secrets={"pin": b"271828"})[0] == {"n": "[redacted:pin]"}


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("123456789012345678901234", "123456789012345678901234"),
        ("123456789012345678901234", "1.2345678901234568e+23"),
        ("123456789012345678901234", "-123456789012345678901234"),
        ("31415926.5358", "31415926.5358"),
        ("31415926.5358", "3.14159265358E7"),
        ("31415926.5000", "31415926.5"),
        ("00271828", "271828.0"),
        ("271828e0", "271828"),
        ("9" * 300, "9" * 300),
    ],
)
def test_a_secret_that_is_a_number_is_taken_out_however_json_writes_it(secret, told):
    for text in (f'{{"n":{told}}}', f'{{"a":"\\n","n":{told}}}'):
        output, names = clean(text, secrets={"pin": secret.encode()})
        assert (output["n"], names) == ("[redacted:pin]", ["redacted:pin"])


def test_other_numbers_stay_as_they_are_beside_a_secret_that_is_one():
    text = '{"a":"\\n","n":[271829,2718280,true,1e300,12345678901234567890123],"m":0.271828}'
    assert clean(text, secrets={"pin": b"271828"}) == (text, [])


def test_the_policy_of_the_moment_counts():
    policies = [DEFAULT_POLICY]
    rules = OutputRules(lambda *_: definition_pb2.ToolDefinition(), lambda _: policies[-1], JsonBounds())
    assert rules.clean(TOOL, '"Apollo"', {}, {}) == '"Apollo"'
    policies.append(dataclasses.replace(DEFAULT_POLICY, patterns=(OWN,), revision=2))
    assert rules.clean(TOOL, '"Apollo"', {}, {}) == '"[redacted:codename]"'


def test_an_output_of_a_tool_that_is_not_known_is_refused():
    rules = OutputRules(lambda *_: None, lambda _: DEFAULT_POLICY, JsonBounds())
    with pytest.raises(ValueError, match="cannot be checked"):
        rules.clean(TOOL, "1", {}, {})
