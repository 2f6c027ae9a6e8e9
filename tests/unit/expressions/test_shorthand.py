"""The shorthand: `step_1 is not None`, joined by and, or, not and brackets."""

import itertools

import pytest

from service.domain.conditions import ExpressionError, from_shorthand, referenced_steps
from service.engine.expressions import CelExpressions


@pytest.mark.parametrize(
    ("text", "cel"),
    [
        ("step_1 is not None", 'steps["step_1"].output != null'),
        ("step_1 is None", 'steps["step_1"].output == null'),
        ("  search\n is  not None ", 'steps["search"].output != null'),
        (
            "step_1 is None and step_2 is not None",
            'steps["step_1"].output == null && steps["step_2"].output != null',
        ),
        ("not a is None", '!(steps["a"].output == null)'),
        ("(a is None)", '(steps["a"].output == null)'),
    ],
)
def test_the_shorthand_becomes_cel(text, cel):
    assert from_shorthand(text) == cel


@pytest.mark.parametrize("text", ["steps.a.output != null", "input.is == 1", "input.x == 'a is None'", "true", "x.is"])
def test_cel_stays_as_it_is(text):
    assert from_shorthand(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "step_1 is", "step_1 is not", "is None", "step_1 is None and", "step_1 is None or or b is None", "(a is None",
        "a is None)", "a is None b is None", "a is None && b is None", "a is None and input.x == 1", "not is None",
        "a is not None and steps.b.output == 1", "1 is None", "a is null", "a is none", "steps.a is None",
        "a.b is None", "a is not not None", "(" * 40 + "a is None" + ")" * 40, "not " * 1000 + "a is None",
    ],
)  # fmt: skip
def test_a_mixture_of_both_is_refused_with_its_place(text):
    with pytest.raises(ExpressionError) as refused:
        from_shorthand(text)
    assert refused.value.line == 1


@pytest.mark.parametrize(
    "text",
    [
        "a is None or b is None and c is None",
        "(a is None or b is None) and c is None",
        "not a is None and b is not None",
        "not (a is None or b is None) or c is None",
        "not not a is None",
    ],
)
def test_the_shorthand_means_what_it_means_in_python(text):
    expressions = CelExpressions()
    cel = from_shorthand(text)
    for outputs in itertools.product([None, 0, "x"], repeat=3):
        values = dict(zip("abc", outputs, strict=True))
        steps = {name: {"output": value, "state": "succeeded"} for name, value in values.items()}
        assert expressions.evaluate(cel, None, steps) == eval(text, {}, values)


def test_a_step_whose_name_is_a_word_of_cel_can_be_named():
    for name in ("in", "if", "true", "null", "package"):
        cel = from_shorthand(f"{name} is None")
        assert referenced_steps(cel) == {name}
        assert CelExpressions().evaluate(cel, None, {name: {"output": None, "state": "skipped"}})
