"""JSON in a text: limits before parsing, one reading only, and its schema."""

import json
import re
import time

import pytest

from podium.sanitizers import Rejected, SpecificationRefused, compile_sanitizer

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
ATTACKS = {
    "[" * 100_000: "TOO_LONG",
    "[" * 9_000: "JSON_NESTING",
    '{"a":' * 40 + "1" + "}" * 40: "JSON_NESTING",
    "[" + "1," * 20_000 + "1]": "JSON_TOO_MANY",
    '{"a":1,"a":2}': "JSON_DUPLICATE",
    '{"a":{"b":1,"\\u0062":2}}': "JSON_DUPLICATE",
    '{"a":NaN}': "JSON_MALFORMED",
    '{"a":-Infinity}': "JSON_MALFORMED",
    '{"a":1e999}': "JSON_MALFORMED",
    '{"a":' + "9" * 5000 + "}": "JSON_MALFORMED",
    '{"a":"\\ud800"}': "NOT_UNICODE",
    '{"\\udc00":1}': "NOT_UNICODE",
    '{"a":1}x': "JSON_MALFORMED",
    "{'a':1}": "JSON_MALFORMED",
    '{"a":1,}': "JSON_MALFORMED",
    "": "JSON_MALFORMED",
    '"' + "x" * 60_000 + '"': None,
}


def refusal(sanitizer, value):
    try:
        sanitizer.check(value)
    except Rejected as rejected:
        return rejected.reason
    return None


def test_each_attack_is_refused_with_its_reason():
    sanitizer = compile_sanitizer("json", {})
    assert {attack: refusal(sanitizer, attack) for attack in ATTACKS} == ATTACKS


def test_the_standard_parser_takes_several_of_them():
    assert json.loads('{"a":1,"a":2}') == {"a": 2}
    assert json.loads("NaN") != json.loads("NaN")


def test_a_schema_is_held():
    sanitizer = compile_sanitizer("json", {"schema": SCHEMA})
    assert sanitizer.check(' {"a": 1} ') == ' {"a": 1} '
    for wrong in ('{"a":"1"}', '{"b":1}', "[]", "null"):
        assert refusal(sanitizer, wrong) == "JSON_SCHEMA"


def test_limits_are_as_declared():
    sanitizer = compile_sanitizer("json", {"max_depth": 2, "max_values": 3, "max_string": 2, "max_length": 30})
    assert refusal(sanitizer, '[["ab"]]') is None
    assert refusal(sanitizer, "[[[]]]") == "JSON_NESTING"
    assert refusal(sanitizer, "[1,2,3,4]") == "JSON_TOO_MANY"
    assert refusal(sanitizer, '["abc"]') == "TOO_LONG"
    assert refusal(sanitizer, '{"abc":1}') == "TOO_LONG"
    assert refusal(sanitizer, "1" * 31) == "TOO_LONG"


def test_brackets_and_commas_in_texts_do_not_count():
    sanitizer = compile_sanitizer("json", {"max_depth": 1, "max_values": 1})
    assert refusal(sanitizer, '["[[[{{{,,,\\"]]"]') is None


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "https://example.org/schema.json"}, {"$ref": "#/none"}, [1]]
)
def test_a_schema_that_is_wrong_or_leads_elsewhere_is_refused(schema):
    with pytest.raises(SpecificationRefused, match=r"json\.schema"):
        compile_sanitizer("json", {"schema": schema})


def seconds(work, text):
    began = time.thread_time()
    work(text)
    return time.thread_time() - began


def growth(work, count=8_000):
    """How many times as long a text of quotes without an end takes that is twice as long."""
    short, long = '"' + '\\"' * count, '"' + '\\"' * 2 * count
    return min(seconds(work, long) for _ in range(5)) / min(seconds(work, short) for _ in range(5))


def test_a_text_without_an_end_takes_time_in_proportion_to_its_length():
    sanitizer = compile_sanitizer("json", {})
    assert growth(lambda text: refusal(sanitizer, text)) < 3
    assert refusal(sanitizer, '"' + '\\"' * 16_000) == "JSON_MALFORMED"


def test_looking_for_the_end_from_each_quote_does_not():
    naive = re.compile(r'"(?:[^"\\]|\\.)*"')
    assert growth(lambda text: naive.sub("", text), count=1_000) > 3
