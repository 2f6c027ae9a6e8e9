"""What a condition reads, found from its text, and which texts are refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.conditions import ExpressionError, find_reads, referenced_steps
from service.engine.expressions import CelExpressions


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("steps.a.output != null", {"a"}),
        ('steps["a"].output.x > 1', {"a"}),
        ("steps['a']['output'].x > 1", {"a"}),
        ("steps . a\n.\toutput // steps.c.output\n == 1", {"a"}),
        ("steps.a.state == 'skipped' || steps.b2_.output.x.y[0] == 1", {"a", "b2_"}),
        ("has(steps.a.output.x)", {"a"}),
        ("size(steps.a.output) > 0", {"a"}),
        ("steps.a.output.size() > 0", {"a"}),
        ("'x' in steps.a.output", {"a"}),
        ("input.steps.a.output == 1", set()),
        ("input.x == 'steps.b.output'", set()),
        ("input.x == \"steps.b.output \\\" steps.c.output\"", set()),
        ("input.x == r'\\a' && steps.a.output", {"a"}),
        ("input.x == '''it's steps.b.output''' && steps.a.output", {"a"}),
        ('input.x == """ " steps.b.output""" && steps.a.output', {"a"}),
        ("b'steps.b.output' == b'' || br'steps.b.output' == b''", set()),
        ("input.l.exists(s, s.steps.b.output == 1)", set()),
        ("true", set()),
        ("steps.a.output.steps.b.output == 1", {"a"}),
        ("steps.a.output.`steps.b.output` == 1", {"a"}),
    ],
)  # fmt: skip
def test_the_steps_a_condition_names_are_found(text, steps):
    assert referenced_steps(text) == steps
    CelExpressions().check(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps[input.x].output == 1", "a name that is written there"),
        ("steps == {}", "a name that is written there"),
        ("size(steps) > 0", "a name that is written there"),
        ("'a' in steps", "a name that is written there"),
        ("input.l.exists(steps, steps.a.output)", "a name that is written there"),
        ("steps['a' + 'b'].output == 1", "a name that is written there"),
        ("steps['\\x61'].output == 1", "a name that is written there"),
        ("steps.get('a').output == 1", "a name that is written there"),
        ("steps['a[0]'].output == 1", "items of a for_each step cannot be named"),
        ("steps.Search.output == 1", "is no step id"),
        ("steps.a == null", "an output and a state"),
        ("steps.a.outputs == 1", "an output and a state"),
        ("steps.a.output() == 1", "an output and a state"),
        (".steps.a.output == 1", "cannot begin with a dot"),
        ("x(.input)", "cannot begin with a dot"),
        ("input.x == 1)", "closes nothing"),
        ("input.x == '", "begins nothing"),
        ("input.x = 1", "begins nothing"),
        ("input.x == ${steps.a.output}", "begins nothing"),
        ("é == 1", "begins nothing"),
        ("\ud800", "begins nothing"),
        ("input.l.map(x, x) == []", "map cannot be used"),
        ("input.l.exists(x, x.exists(y, y))", "inside of another"),
        ("input.l.exists(x, x.matches('a'))", "inside of all or exists"),
        (" || ".join(["input.x.matches('a')"] * 9), "more than 8 times"),
        ("input.l.exists(x, x + 1 == 2)", "cannot be in one condition"),
        ("[input.l].exists(x, x == 1)", "cannot be in one condition"),
        ("{'a': input.l}.exists(x, x == 1)", "cannot be in one condition"),
        ("[1, [2, (input.l)]].exists(x, x == 1)", "cannot be in one condition"),
        ("input.l.exists(x, [x] == [1])", "cannot be in one condition"),
        ("input.l.exists(x, x == 1) && input.a + input.b == 2", "cannot be in one condition"),
    ],
)
def test_a_use_that_cannot_be_followed_or_bounded_is_refused(text, problem):
    with pytest.raises(ExpressionError, match=problem) as refused:
        find_reads(text)
    assert refused.value.line == 1
    assert refused.value.column >= 1


@pytest.mark.parametrize(
    "text",
    [
        "input.l.exists(x, x in ['a', 'b', null])",
        "input.l.filter(x, x.score > 0.5).size() > 2",
        "input.l.all(x, x > 1) && input.m.exists_one(y, y == -1)",
        "input.a + input.b > 2",
        "[input.a, input.b] == [1, 2]",
        "input.l.exists(x, x.tags[0] == 'a')",
        "input.x.matches('^a+$')",
    ],
)
def test_ordinary_conditions_are_not_refused(text):
    find_reads(text)
    CelExpressions().check(text)


def test_a_place_counts_lines_and_columns_from_one():
    with pytest.raises(ExpressionError) as refused:
        find_reads("true &&\n  steps == 1")
    assert (refused.value.line, refused.value.column) == (2, 3)
    assert str(refused.value).endswith("(line 2, column 3)")


def read(text):
    (only,) = find_reads(text).steps["a"]
    return only


@pytest.mark.parametrize(
    "text",
    [
        "steps.a.output != null", "null == 1 || steps.a.output == null && true", "(steps.a.output == null)",
        "input.x ? steps.a.output != null : false", "input.l.exists(x, steps.a.output != null)",
    ],
)  # fmt: skip
def test_a_comparison_with_null_reads_no_more_than_that(text):
    assert not read(text).whole


@pytest.mark.parametrize(
    "text",
    [
        "steps.a.output == null == true", "!steps.a.output != null", "1 == steps.a.output == null",
        "steps.a.output == 1", "input.x in steps.a.output == null", "steps.a.output == null.x",
        "steps.a.output == null in [true]", "-steps.a.output == null", "[steps.a.output == null] == [true]",
        "null == steps.a.output",
    ],
)  # fmt: skip
def test_anything_else_reads_the_value(text):
    assert read(text).whole


def test_a_path_is_followed_as_far_as_the_text_tells_it():
    assert read("steps.a.output.x['y'].`z w`[0].rest == 1").path == ("output", "x", "y", "z w")
    assert read("steps.a.output.x.contains('y')").path == ("output", "x")
    assert read("steps.a.output[input.k] == 1").path == ("output",)


def test_a_value_inside_of_a_comprehension_is_read_repeatedly():
    reads = find_reads("input.list.exists(x, x == input.one) && input.two == 2")
    assert {r.path: r.repeated for r in reads.input} == {("list",): False, ("one",): True, ("two",): False}


names = st.sampled_from(["a", "b", "step_1", "input_", "in_"])
strings = st.text(alphabet="ab'\"\\/ steps.input[]()`", max_size=12)


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


terms = st.one_of(
    names.map(lambda name: (f"steps.{name}.output.x == 1", {name})),
    names.map(lambda name: (f'steps["{name}"] . state == "failed"', {name})),
    names.map(lambda name: (f"has(steps.{name}.output.steps)", {name})),
    strings.map(lambda text: (f"input.x == {quoted(text)}", set())),
    strings.filter(lambda text: "'" not in text and not text.endswith("\\")).map(
        lambda text: (f"input.x != r'{text}'", set())
    ),
    strings.map(lambda text: (f"input.y // {text}\n", set())),
)
formulas = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" && ", "||", " ||\n"]), inner).map(
            lambda parts: (f"({parts[0][0]}){parts[1]}({parts[2][0]})", parts[0][1] | parts[2][1])
        ),
        inner.map(lambda part: (f"!({part[0]})", part[1])),
        inner.map(lambda part: (f"input.l.size() > 0 ? ({part[0]}) : false", part[1])),
    ),
    max_leaves=5,
)


@given(formulas)
def test_the_steps_that_were_put_into_a_formula_are_those_that_are_found(formula):
    text, steps = formula
    assert CelExpressions().check(text) == steps


@given(formulas)
def test_a_formula_needs_no_other_step_than_those_that_are_found(formula):
    text, steps = formula
    views = {step: {"output": {"x": 1}, "state": "succeeded"} for step in steps}
    assert CelExpressions().evaluate(text, {"x": "", "y": True, "l": []}, views) in (True, False)


@given(st.text(alphabet="ab .'\"\\[](){}`/+-&|!?:,steps\n", max_size=30))
def test_any_text_is_answered_or_refused(text):
    with suppress(ExpressionError):
        assert CelExpressions().check(text) <= {text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1)}
