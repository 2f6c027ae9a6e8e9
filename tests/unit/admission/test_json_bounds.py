"""The bounds on JSON text, against a parser that counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission.json_bounds import JsonBounds

values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{},"\\a:', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[]{},"\\', max_size=5), inner, max_size=4)
    ),
    max_leaves=30,
)


def elements(value):
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(below) + sum(map(elements, below))


def longest(value):
    """The characters of the longest string, as it is written."""
    if isinstance(value, str):
        return len(json.dumps(value)) - 2
    if isinstance(value, dict):
        return max((longest(each) for pair in value.items() for each in pair), default=0)
    return max(map(longest, value), default=0) if isinstance(value, list) else 0


@given(values, st.integers(0, 12), st.sampled_from([None, 2]))
def test_the_bound_on_elements_is_their_number(value, limit, indent):
    problem = JsonBounds(elements=limit).problem(json.dumps(value, indent=indent))
    assert bool(problem) == (elements(value) > limit)


@given(values, st.integers(0, 12), st.sampled_from([None, 2]))
def test_the_bound_on_strings_is_the_length_of_the_longest(value, limit, indent):
    problem = JsonBounds(string_length=limit).problem(json.dumps(value, indent=indent))
    assert bool(problem) == (longest(value) > limit)


def test_each_bound_says_what_is_wrong():
    assert JsonBounds(size_bytes=3).problem('"é"') == "is larger than 3 bytes"
    assert JsonBounds(depth=1).problem("[[]]") == "is nested more than 1 levels deep"
    assert JsonBounds(elements=1).problem("[1,2]") == "has more than 1 members and elements: split it"
    assert JsonBounds(string_length=1).problem('["ab"]') == "has a string of more than 1 characters"
    assert JsonBounds(4, 0, 0, 2).problem('"ab"') == ""


MILLION = 1_000_000


@pytest.mark.parametrize("tail", ['"' + '\\"' * MILLION, '"' * MILLION, '"' + "\\" * MILLION, "[,{" * MILLION])
@pytest.mark.timeout(20)
def test_what_is_no_json_is_looked_at_in_linear_time(tail):
    # A million starts of a string that does not end took an hour when each was followed to the end of the text.
    text = "[" * 70 + tail
    JsonBounds(elements=10, string_length=10).problem(text)
    JsonBounds(depth=4 * MILLION, elements=10, string_length=10).problem(text)
