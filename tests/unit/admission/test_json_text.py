"""The compact form of JSON text is what Python's parser and encoder make of it; and a long text takes them no walk."""

import gc
import json
import sys

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from podium.v1 import definition_pb2
from service.admission.json_bounds import JsonBounds
from service.admission.json_text import compact
from service.admission.schema import check_template
from service.domain.definition import normalise
from service.domain.errors import InvalidInput
from service.domain.json_members import MemberTwice, has_member_twice, read_json
from service.domain.templates import TemplateError
from service.domain.validation import Validation
from tests.unit.domain.workflow_run import EXPRESSIONS, Tool

names = st.text(alphabet='a:"\\\u00e9', max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**25), 10**25) | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)


TOOLS = {"look": Tool(definition_pb2.ToolDefinition(name="look", input_schema_json='{"type": "object"}'), 1)}


def read_or_nothing(text):
    try:
        return read_json(text)
    except MemberTwice:
        return None


@given(values, st.sampled_from([None, 1]), st.booleans())
def test_the_compact_form_says_what_the_text_said(value, indent, ascii_only):
    try:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        return
    found = compact(text)
    assert json.loads(found) == value
    assert [type(each) for each in _leaves(json.loads(found))] == [type(each) for each in _leaves(value)]


def _leaves(value):
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    return [leaf for each in value for leaf in _leaves(each)] if isinstance(value, list) else [value]


TWICE = ['{"a":1,"a":2}', '{"a": 1, "a": 1}', r'{"a":1,"\u0061":2}', r'{":":1,"\u003a":2}', r'[{"x":"\u003A","x":":"}]']
ONCE = [
    '{"a":1,"b":2}',
    r'{"a":"\u003a"}',
    r'{"a":"\\u003a"}',
    r'{"a":"\\\u003a"}',
    r'{"\u003a":":"}',
    '{"a":":"}',
    "[]",
]


@pytest.mark.parametrize("text", [*TWICE, *ONCE])
def test_a_member_that_is_given_twice_is_found_whatever_is_escaped(text):
    assert (compact(text) is None) == (text in TWICE)
    assert has_member_twice(text, orjson.dumps(orjson.loads(text))) == (text in TWICE)
    assert (read_or_nothing(text) is None) == (text in TWICE), "as the parser that looks at every pair finds it"


@pytest.mark.parametrize("text", ["", "{", "NaN", "1e999", "[1,]", r'"\ud800"', "'a'"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(TemplateError, match="is not valid JSON"):
        compact(text)


def test_half_of_a_surrogate_pair_is_named():
    with pytest.raises(TemplateError, match="half of a surrogate pair"):
        compact(r'"\ud800"')


def calls_to_read(literal, **ports):
    """Calls of Python functions that it takes to read a step with this literal, and to check it."""
    validation = Validation(TOOLS.get, check_template, EXPRESSIONS, bounds_problem=JsonBounds().problem, **ports)
    step = definition_pb2.StepDefinition(tool="look", arguments_json=literal)
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    normalise([step], validation)
    # Whoever listens to the garbage collector is called as well.
    gc.disable()
    sys.setprofile(note)
    try:
        normalise([step], validation)
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def literal_of(elements):
    return json.dumps({"rows": [{"name": "a", "at": [1, 2]}] * elements})


def test_a_literal_takes_as_many_calls_however_many_elements_it_has():
    few, many = (calls_to_read(literal_of(count), compact=compact) for count in (200, 20_000))
    assert many <= few + 1, "a long step is read in two pieces"


def test_a_reader_that_walks_the_literal_is_found_out():
    assert calls_to_read(literal_of(2_000)) > calls_to_read(literal_of(200)) + 1_000


def test_a_text_with_references_has_an_end_to_its_elements():
    beside = json.dumps({"a": "${input}", "b": [1] * 60_000})
    steps = [definition_pb2.StepDefinition(tool="look", arguments_json=beside)]
    validation = Validation(TOOLS.get, check_template, EXPRESSIONS, compact=compact)
    with pytest.raises(InvalidInput, match="more than 50000 members and elements beside its references"):
        normalise(steps, validation)
