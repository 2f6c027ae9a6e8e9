"""What a pattern in a condition may cost is bounded: by its size, and by what it is searched for in."""

import pytest

from service.domain.expression_scan import ExpressionError
from service.engine.expressions import CelExpressions
from service.engine.policy_expressions import PolicyExpressions

LARGEST_SEARCHED = 4096 - len('{"arguments":{"s":""}}')


@pytest.mark.parametrize(
    "text",
    [
        'arguments.s.matches("a[ab]{900}c")',
        'arguments.s.matches("a[ab]\\u007b900}c")',
        "arguments.s.matches(r'((a{10}){10}){9}c')",
        "arguments.s.matches(arguments.pattern)",
        "matches(arguments.s, 'a')",
        "arguments.s.matches('a' + arguments.pattern)",
        "(arguments.s + arguments.s).matches('a')",
        "arguments.s.matches('(')",
    ],
)
def test_a_pattern_that_could_cost_too_much_or_is_not_written_there_is_refused(text):
    with pytest.raises(ExpressionError):
        PolicyExpressions().compile(text)
    with pytest.raises(ExpressionError):
        CelExpressions().check(text.replace("arguments", "input"))


@pytest.mark.parametrize("pattern", ['"^[a-z.]{1,64}@example[.]com$"', r"'^\\d{4}-\\d{2}$'", r"r'^\d+$'", '"é"'])
def test_ordinary_patterns_are_compiled(pattern):
    PolicyExpressions().compile(f"arguments.s.matches({pattern})")
    CelExpressions().check(f"input.s.matches({pattern})")


def test_a_condition_with_a_pattern_reads_4_kib_and_no_more():
    searching = PolicyExpressions().compile("arguments.s.matches('b')")
    assert not searching.holds({"arguments": {"s": "a" * (LARGEST_SEARCHED)}})
    with pytest.raises(ExpressionError, match="more than 4096 bytes"):
        searching.holds({"arguments": {"s": "a" * (LARGEST_SEARCHED + 1)}})
    comparing = PolicyExpressions().compile("arguments.s == 'b'")
    assert not comparing.holds({"arguments": {"s": "a" * (LARGEST_SEARCHED + 1)}}), "without a pattern it reads more"


def test_a_content_pattern_that_is_too_complex_is_refused():
    assert "too complex" in PolicyExpressions().pattern_problem("a[ab]{900}c")
    assert PolicyExpressions().pattern_problem("a[ab]{90}c") == ""
