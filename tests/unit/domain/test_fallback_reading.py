"""A submitted fallback chain in its normal form, and what is wrong with one."""

import pytest

from podium.v1 import definition_pb2 as pb
from podium.v1 import value_pb2
from service.domain.definition import normalise
from service.domain.errors import InvalidInput, RejectedInput
from service.domain.validation import Limits, Validation
from tests.unit.domain.workflow_run import EXPRESSIONS, TOOLS, VALIDATION, declared, old, other, step


def normal(*links, validation=VALIDATION, shorthand=False, before=(), **fields):
    [*_, found] = normalise([*before, step("a", fallback=links, **fields)], validation, shorthand=shorthand)
    return found


def problems(*links, **fields):
    with pytest.raises(InvalidInput) as refused:
        normal(*links, **fields)
    return dict(refused.value.violations)


def test_a_tool_is_pinned_and_known_for_what_may_be_repeated():
    [first, second] = normal(other("look"), other("work", arguments={"x": 1})).fallback
    assert (first.tool.tool_version, first.tool.repeatable, first.tool.HasField("arguments")) == (1, True, False)
    assert (second.tool.tool_version, second.tool.repeatable) == (3, False)
    assert second.tool.arguments.literal_json == '{"x":1}'
    assert second.tool.arguments_json == ""


def test_what_a_caller_says_of_version_and_repeatability_is_not_taken():
    link = other("work", tool_version=9, repeatable=True)
    found = normal(link).fallback[0].tool
    assert (found.tool_version, found.repeatable) == (3, False)


def test_what_a_link_refers_to_is_a_dependency():
    found = normal(other("look", arguments={"x": "${steps.b.output}"}), before=[step("b")])
    assert found.depends_on == ["b"]


def test_a_link_that_refers_to_its_own_step_makes_a_cycle():
    found = problems(other("look", arguments={"x": "${steps.a.output}"}))
    assert "cycle" in found["steps[0].fallback[0].tool.arguments"]


def test_items_may_be_referred_to_where_the_step_has_them():
    link = other("look", arguments={"x": "${item}"})
    assert normal(link, each=[1]).fallback[0].tool.arguments.object.members[0].name == "x"
    assert "for_each" in problems(link)["steps[0].fallback[0].tool.arguments"]


def test_a_declared_value_is_recorded_as_a_value():
    assert normal(declared({"a": [1]})).fallback[0].value.json == '{"a":[1]}'
    given = pb.Fallback(value=value_pb2.Value(json="[]"))
    assert normal(given).fallback[0] == given


def test_text_that_looks_like_a_hole_is_escaped_in_a_declared_value_as_in_arguments():
    assert normal(declared("$${x}")).fallback[0].value.json == '"${x}"'
    assert "no holes" in problems(declared("${input.x}"))["steps[0].fallback[0].value_json"]


def test_the_shorthand_is_for_arguments_and_not_for_declared_values():
    [first, second] = normal(
        other("look", arguments={"x": "step_1"}), declared("step_1"), before=[step("step_1")], shorthand=True
    ).fallback
    assert first.tool.arguments.object.members[0].value.reference.step_output == "step_1"
    assert second.value.json == '"step_1"'


def test_the_normal_form_stays_as_it_is():
    links = [other("look", "TIMEOUT", arguments={"x": "${input.y}"}), old("*", max_age_ms=5), declared(1, "DENIED")]
    once = normal(*links)
    [again] = normalise([once], VALIDATION)
    assert again == once


WRONG = {
    "fallback[0].tool.tool": (other("nowhere"), "is not registered"),
    "fallback[0].tool.arguments_json": (pb.Fallback(tool=pb.ToolFallback(tool="look", arguments_json="[")), "JSON"),
    "fallback[0].tool.retry.jitter": (other("look", retry=pb.RetryPolicy(jitter=2)), "between 0 and 1"),
    "fallback[0].tool.retry.max_attempts": (other("look", retry=pb.RetryPolicy(max_attempts=1001)), "at most"),
    "fallback[0].value_json": (pb.Fallback(value_json=""), "JSON"),
    "fallback[0].value": (pb.Fallback(value=value_pb2.Value(payload=value_pb2.PayloadReference())), "value_json"),
    "fallback[0]": (pb.Fallback(on=["*"]), "nothing to fall back on"),
    "fallback[0].on[0]": (declared(1, "denied"), "write DENIED"),
    "fallback[0].on[1]": (declared(1, "OK", "a b"), "write A_B"),
    "fallback[0].on": (declared(1, *["OK"] * 101), "at most 100"),
}


@pytest.mark.parametrize(("field", "link", "problem"), [(field, *each) for field, each in WRONG.items()], ids=WRONG)
def test_what_is_wrong_is_told_with_its_field(field, link, problem):
    found = problems(link)
    assert list(found) == [f"steps[0].{field}"]
    assert problem in found[f"steps[0].{field}"]


@pytest.mark.parametrize("reason", ["", "x" * 65, "a b", "DENIED, TIMEOUT", "Exhausted", "ü", "timeout", "X" * 64])
def test_a_reason_is_one_word(reason):
    assert list(problems(declared(1, reason))) == ["steps[0].fallback[0].on[0]"]


def test_a_sealed_value_is_not_taken_from_a_caller():
    sealed = value_pb2.SealedValue(key_id="k")
    assert (
        "sealed"
        in problems(pb.Fallback(tool=pb.ToolFallback(tool="look", arguments=pb.Template(sealed=sealed))))[
            "steps[0].fallback[0].tool.arguments"
        ]
    )
    assert "JSON" in problems(pb.Fallback(value=value_pb2.Value(sealed=sealed)))["steps[0].fallback[0].value"]


def test_a_chain_has_at_most_eight_links():
    assert len(normal(*[declared(1)] * 8).fallback) == 8
    assert "may have 8" in problems(*[declared(1)] * 9)["steps[0].fallback"]


def test_a_declared_value_is_bounded():
    small = VALIDATION.__class__(TOOLS.get, lambda _tool, _template: (), EXPRESSIONS, Limits(value_bytes=5))
    assert normal(declared(12345), validation=small).fallback[0].value.json == "12345"
    assert "larger than 5 bytes" in problems(declared(123456), validation=small)["steps[0].fallback[0].value_json"]


def check_named(definition, template):
    """A schema by which `look` takes nothing and `put` is attacked."""
    if definition.name == "look" and template.literal_json != "{}":
        yield ("arguments.x", "is not known")
    if definition.name == "put":
        yield RejectedInput("arguments.x", "climbs", "path", "PATH_TRAVERSAL")


CHECKING = Validation(TOOLS.get, check_named, EXPRESSIONS)


def test_arguments_are_checked_against_the_schema_of_the_links_tool():
    link = other("look", arguments={"x": 1})
    assert problems(link, validation=CHECKING) == {"steps[0].fallback[0].tool.arguments.x": "is not known"}
    assert normal(other("look", arguments={}), validation=CHECKING)


def test_the_steps_own_arguments_are_checked_against_it_where_the_link_has_none():
    found = problems(other("look"), validation=CHECKING, arguments={"x": 1})
    assert found == {"steps[0].fallback[0].tool.arguments.x": "is not known"}


def test_an_attack_in_a_link_is_refused_as_one():
    with pytest.raises(InvalidInput) as refused:
        normal(other("put"), validation=CHECKING)
    assert refused.value.reason == "INPUT_REJECTED"
    [violation] = refused.value.violations
    assert tuple(violation) == ("steps[0].fallback[0].tool.arguments.x", "climbs")
    assert violation.guard == "path"
