"""The bound on nesting, against a parser that counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission.nesting import nested_within

values = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\a', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet='[]{}"\\', max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


def depth(value):
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


@given(values, st.integers(0, 6), st.sampled_from([None, 2]))
def test_the_bound_is_the_depth(value, limit, indent):
    assert nested_within(json.dumps(value, indent=indent), limit) == (depth(value) <= limit)


@pytest.mark.parametrize(
    "text", ["[" * 5_000_000, "[]" * 2_000_000, '"' + "\\" * 100, '["' * 100, "]" * 100 + "[" * 100]
)
def test_what_is_no_json_is_answered_too(text):
    assert nested_within(text, 64) in (True, False)
