"""Evaluating conditions: values, errors, and bounds that hold against those who attack them."""

import subprocess
import sys
from contextlib import suppress

import pytest
from cel_expr_python import cel

from service.domain.conditions import ExpressionError, find_reads
from service.engine.expressions import CelExpressions


@pytest.fixture
def expressions():
    return CelExpressions()


STEPS = {
    "done": {
        "output": {"score": 0.9, "items": [{"n": 1}, {"n": 2}], "text": "abc", "none": None},
        "state": "succeeded",
    },
    "skipped": {"output": None, "state": "skipped"},
    "plain": {"output": "text", "state": "succeeded"},
}
INPUT = {"min": 0.5, "flag": True, "name": "x", "list": [1, 2, 3]}


@pytest.mark.parametrize(
    ("text", "met"),
    [
        ("steps.done.output.score > input.min", True),
        ("steps.done.output.score > 1", False),
        ("steps.done.output != null", True),
        ("steps.skipped.output != null", False),
        ("steps.skipped.output == null && steps.skipped.state == 'skipped'", True),
        ("steps.plain.output != null && steps.plain.output == 'text'", True),
        ("steps.done.output != null && steps.done.output.score == 0.9", True),
        ("steps.done.output.none == null", True),
        ("has(steps.done.output.text)", True),
        ("has(steps.done.output.nothing)", False),
        ("steps.done.output.items.exists(i, i.n == 2)", True),
        ("steps.done.output.items.all(i, i.n > input.min)", True),
        ("steps.done.output.items.filter(i, i.n > 1).size() == 1", True),
        ("steps.done.output.items[1].n == 2", True),
        ("input.flag", True),
        ("2 in input.list", True),
        ("input.name.startsWith('y')", False),
        ("size(input) == 4", True),
        ("input.nothing == 1 || true", True),
        ("input.list.exists(x, steps.done.output != null)", True),
    ],
)
def test_a_condition_is_true_or_false(expressions, text, met):
    assert expressions.evaluate(text, INPUT, STEPS) is met


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 0.0, "x", [1], {"a": 1}, True, 7])
def test_only_null_equals_null_however_little_is_converted(expressions, value):
    steps = {"a": {"output": value, "state": "succeeded"}}
    assert expressions.evaluate("steps.a.output == null", None, steps) is (value is None)
    assert expressions.evaluate("input != null", value, {}) is (value is not None)
    assert expressions.evaluate("input.v != null", {"v": value}, {}) is (value is not None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("input.name", "of type string, not bool"),
        ("input.nothing", "Key not found"),
        ("steps.plain.output.x == 1", "."),
        ("input.list.x == 1", "."),
        ("input.list[7] == 1", "Index error"),
        ("1 / 0 == 1", "divide by zero"),
        ("input.list + 1 == 2", "No matching overloads|no such overload"),
        ("steps.other.output == 1", "the step 'other' is not known"),
        ("int(input.name) == 1", "."),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(expressions, text, problem):
    with pytest.raises(ExpressionError, match=problem):
        expressions.evaluate(text, INPUT, STEPS)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("1 +", (1, 4)),
        ("true &&\n  nothing == 1", (2, 3)),
        ("", (1, 1)),
        ("input.x == 1 1", (1, 14)),
        ("x", (1, 1)),
    ],
)
def test_a_text_that_does_not_compile_tells_its_place(expressions, text, place):
    with pytest.raises(ExpressionError) as refused:
        expressions.check(text)
    assert (refused.value.line, refused.value.column) == place
    assert "expecting {" not in str(refused.value)


@pytest.mark.parametrize("text", ["1", "'a'", "size(input.x)", "[true]", "{}", "1 + 1", "timestamp(input.x)"])
def test_a_result_that_is_no_bool_is_found_when_it_is_compiled(expressions, text):
    with pytest.raises(ExpressionError, match="not bool"):
        expressions.check(text)


def test_a_text_over_the_limit_is_refused_in_bytes():
    expressions = CelExpressions(text_limit_bytes=20)
    assert expressions.check("input.x == 'aaaaaaa'") == frozenset()
    for text in ("input.x == 'aaaaaaaa'", "input.x == 'ééééé'"):
        with pytest.raises(ExpressionError, match="larger than 20 bytes"):
            expressions.check(text)


def test_a_large_output_costs_nothing_that_is_not_named(expressions):
    large = {"wanted": 1, "rest": ["x" * 1000] * 10_000}
    steps = {"a": {"output": large, "state": "succeeded"}, "b": {"output": large, "state": "succeeded"}}
    assert expressions.evaluate("steps.a.output.wanted == 1 && steps.b.output != null", large, steps)
    with pytest.raises(ExpressionError, match="reads more than 65536 bytes"):
        expressions.evaluate("size(steps.a.output.rest) > 0", None, steps)


def test_a_value_read_for_each_element_must_be_small(expressions):
    data = {"l": [1, 2], "small": 2, "large": list(range(1000)), "big": {"n": "x" * 1000}}
    assert expressions.evaluate("input.l.exists(x, x == input.small)", data, {})
    assert expressions.evaluate("input.large.exists(x, x == 999)", data, {})
    for text in ("input.l.exists(x, x in input.large)", "input.l.exists(x, input.big == input.big)"):
        with pytest.raises(ExpressionError, match="too large to be read inside"):
            expressions.evaluate(text, data, {})


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [deep(300), deep(100_000), {"a": "\ud800"}, {"a": object()}, {1: 2}])
def test_what_the_library_must_not_see_is_refused(expressions, value):
    with pytest.raises(ExpressionError, match="a value cannot be read"):
        expressions.evaluate("input == 1", value, {})


def test_integers_of_64_bits_keep_their_value(expressions):
    for number in (-(2**63), 2**53 + 1, 2**63 - 1):
        assert expressions.evaluate(f"input.n == {number}", {"n": number}, {})
        assert not expressions.evaluate(f"input.n == {number}", {"n": number - 1 if number > 0 else number + 1}, {})
    assert expressions.evaluate(f"input.n == {2**64 - 1}u", {"n": 2**64 - 1}, {})


@pytest.mark.parametrize("number", [2**64, 10**300, -(2**63) - 1])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("steps.a.output.n > 5", "steps.a.output.n"),
        ("steps.a.output['n'] > 5", "steps.a.output.n"),
        ("steps.a.output.list.exists(x, x.n == 1)", "steps.a.output.list[1].n"),
        ("size(steps.a.output) == 3", "steps.a.output.n"),
        ("steps.a.output['a name'] == 1", 'steps.a.output["a name"]'),
        ("input > 5", "input"),
        ("input == input || true", "input"),
    ],
)
def test_a_whole_number_beyond_64_bits_is_an_error_that_names_its_place_and_the_remedy(
    expressions, text, place, number
):
    output = {"ok": 1, "n": number, "list": [{"n": 1}, {"n": number}], "a name": number}
    with pytest.raises(ExpressionError) as refused:
        expressions.evaluate(text, number, {"a": {"output": output, "state": "succeeded"}})
    assert str(refused.value) == (
        f"{place} is a whole number beyond 64 bits, which no condition reads: let it be given as a string"
    )


def test_a_whole_number_beyond_64_bits_does_no_harm_beside_what_is_read(expressions):
    output = {"ok": True, "n": 2**64, "text": str(2**64)}
    steps = {"a": {"output": output, "state": "succeeded"}}
    for text in ("steps.a.output.ok", "steps.a.output != null", f"steps.a.output.text == '{2**64}'"):
        assert expressions.evaluate(text, 2**64, steps)
    for text in ("steps.a.output.n != null", "input != null"):
        assert expressions.evaluate(text, 2**64, steps)


def test_numbers_that_are_no_whole_ones_may_be_as_large_as_they_are(expressions):
    assert expressions.evaluate("input.n > 5 && input.n == 1e30", {"n": 1e30}, {})


def test_the_search_for_its_place_is_bounded(expressions):
    wide = [[[1] * 100] * 100] * 100 + [2**64]
    long = {"x" * 10_000: [{"y" * 10_000: 2**64}]}
    with pytest.raises(ExpressionError, match="a value cannot be read"):
        expressions.evaluate("input == 1", wide, {})
    with pytest.raises(ExpressionError, match=r"^input\.x{193} is a whole number"):
        expressions.evaluate("input == 1", long, {})


def test_without_the_guard_such_a_value_ends_the_process():
    # The negative control: this is what the guard is for. When it fails, the library has learned to refuse.
    program = """
from cel_expr_python import cel
value = 1
for _ in range(100_000):
    value = [value]
cel.NewEnv(variables={"input": cel.Type.DYN}).compile("input == 1").eval(data={"input": value})
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode < 0


def doubling(levels):
    """Binds lists of lists of lists: each level has six times the values of the one before."""
    text = f"v{levels} == v{levels}"
    for level in range(levels, 0, -1):
        element = f"v{level - 1}" if level > 1 else "1"
        text = f"[[{','.join([element] * 6)}]].exists(v{level}, {text})"
    return text


def test_an_expression_whose_cost_is_exponential_is_refused(expressions):
    with pytest.raises(ExpressionError, match="inside of another"):
        expressions.check(doubling(11))


def test_without_the_guard_the_library_would_compile_it():
    # The negative control: nothing in the library refuses a text that takes hours to evaluate.
    environment = cel.NewEnv(variables={"input": cel.Type.DYN})
    assert environment.compile(doubling(14)).return_type() == cel.Type.BOOL
    assert environment.compile(doubling(3)).eval().value() is True


@pytest.mark.parametrize(
    "text",
    ["(" * 2000 + "true" + ")" * 2000, "!" * 4000 + "true", "[" * 2000 + "]" * 2000 + "==[]",
     "input" + ".a" * 2000 + "==1", "-" * 4000 + "1==1",
     "true" + "&&true" * 600, "1" + "+1" * 2000 + "==1", "input.a" + "[0]" * 1300 + "==1"],
)  # fmt: skip
def test_a_text_as_deep_as_fits_is_answered_or_refused(expressions, text):
    with suppress(ExpressionError):
        assert expressions.evaluate(text, {"a": 1}, {}) in (True, False)


def test_the_most_work_that_the_bounds_leave_is_little():
    # Ten thousand elements, and as many comparisons for each as fit into the text.
    expressions = CelExpressions()
    text = "input.l.all(x, " + " && ".join(["x != input.s"] * 250) + ")"
    assert len(text) < 4096
    assert expressions.evaluate(text, {"l": list(range(1000)), "s": ["x" * 20] * 10}, {})
    with pytest.raises(ExpressionError, match="budget"):
        expressions.evaluate(text, {"l": list(range(12_000)), "s": ["x" * 20] * 10}, {})


def test_compiled_programs_are_remembered_and_forgotten():
    expressions = CelExpressions(programs=2)
    texts = [f"input.x == {n}" for n in range(5)]
    for text in texts * 2:
        assert expressions.check(text) == frozenset()
    assert expressions.evaluate(texts[0], {"x": 0}, {})
    assert find_reads(texts[0]).input
