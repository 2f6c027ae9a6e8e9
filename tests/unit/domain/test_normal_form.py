"""The normal form: what the log holds of a submitted step."""

import json

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain.definition import normalise
from tests.unit.domain.workflow_run import VALIDATION, step


def normal(*steps, **options):
    return normalise(steps, VALIDATION, **options)


def dependencies(*steps, **options):
    return {definition.id: list(definition.depends_on) for definition in normal(*steps, **options)}


def test_the_submitted_steps_are_left_alone():
    submitted = step("", arguments={"a": 1})
    before = submitted.SerializeToString()
    normal(submitted)
    assert submitted.SerializeToString() == before


def test_steps_without_ids_are_numbered_by_their_place_among_all_steps():
    assert [definition.id for definition in normal(step(""), step("named"), step(""))] == ["step_1", "named", "step_3"]


def test_numbers_go_on_where_the_workflow_stands():
    assert [definition.id for definition in normal(step(""), step(""), first_number=8)] == ["step_8", "step_9"]


@pytest.mark.parametrize(("tool", "version", "repeatable"), [("work", 3, False), ("look", 1, True), ("put", 2, True)])
def test_a_step_is_pinned_to_the_tools_version_and_knows_whether_it_may_be_repeated(tool, version, repeatable):
    [definition] = normal(step("a", tool=tool, tool_version=99, repeatable=True))
    assert (definition.tool_version, definition.repeatable) == (version, repeatable)


def test_arguments_are_parsed_and_their_text_is_not_kept():
    [_, definition] = normal(step("a"), step("b", arguments={"x": "${steps.a.output}", "y": [1]}))
    assert definition.arguments_json == ""
    assert [m.name for m in definition.arguments.object.members] == ["x", "y"]
    assert definition.arguments.object.members[0].value.reference.step_output == "a"
    assert definition.arguments.object.members[1].value.literal_json == "[1]"


def test_items_are_parsed_and_their_text_is_not_kept():
    [_, definition] = normal(step("a"), step("b", each="${steps.a.output.urls}"))
    assert definition.for_each.items_json == ""
    assert definition.for_each.items.reference.path[0].member == "urls"


def test_a_step_without_arguments_has_an_empty_object():
    assert normal(step("a"))[0].arguments == pb.Template(literal_json="{}")


def test_typed_arguments_stay_as_they_are():
    template = pb.Template(array=pb.ArrayTemplate(elements=[pb.Template(literal_json="1")]))
    submitted = pb.StepDefinition(id="a", tool="work", arguments=template)
    assert normal(submitted)[0].arguments == template


def test_typed_arguments_hold_text_that_looks_like_a_reference():
    template = pb.Template(literal_json=json.dumps({"x": "${steps.nowhere.output}"}))
    assert not normal(pb.StepDefinition(id="a", tool="work", arguments=template))[0].depends_on


def test_every_step_that_is_named_anywhere_is_a_dependency():
    steps = [step(name) for name in "abcdef"]
    last = step(
        "last",
        "f",
        arguments={"x": ["<${steps.a.output.y}>", {"z": "${steps.b.state}"}]},
        each=["${steps.c.output}"],
        condition='steps.d.output > 0 && steps["e"].state == "failed"',
    )
    assert dependencies(*steps, last)["last"] == ["f", "a", "b", "c", "d", "e"]


def test_a_dependency_is_named_once():
    last = step("b", "a", "a", arguments={"x": "${steps.a.output}"}, condition="steps.a.output")
    assert dependencies(step("a"), last)["b"] == ["a"]


def test_dependencies_may_be_steps_the_workflow_has_already():
    there = {"a": 0, "c": 0}
    assert dependencies(step("b", "a", arguments={"x": "${steps.c.output}"}), existing=there) == {"b": ["a", "c"]}


def test_the_shorthand_becomes_references_and_cel():
    condition = "step_1 is not None and not (step_2 is None)"
    last = step("c", arguments={"x": "step_1"}, condition=condition)
    definition = normal(step(""), step(""), last, shorthand=True)[2]
    assert definition.arguments.object.members[0].value.reference.step_output == "step_1"
    assert definition.condition == 'steps["step_1"].output != null && !((steps["step_2"].output == null))'
    assert list(definition.depends_on) == ["step_1", "step_2"]


def test_without_the_shorthand_its_words_are_only_text():
    assert not normal(step("a", arguments={"x": "step_1"}))[0].depends_on


def test_the_normal_form_of_the_normal_form_is_itself():
    steps = [step("a"), step("b", arguments={"x": "${steps.a.output}"}, each=[1], condition="steps.a.output")]
    once = normal(*steps)
    assert normal(*once) == once


def test_what_the_domain_does_not_read_is_kept():
    timeouts = pb.Timeouts(start_to_close_ms=5)
    retry = pb.RetryPolicy(max_attempts=1000, multiplier=100, jitter=1.0, retry_on=["*"])
    definition = normal(step("a", timeouts=timeouts, retry=retry, on_failure=pb.ON_FAILURE_CONTINUE))[0]
    assert (definition.timeouts, definition.retry, definition.on_failure) == (timeouts, retry, pb.ON_FAILURE_CONTINUE)


def test_a_thousand_steps_in_a_row_are_no_cycle():
    steps = [step(f"s{i}", *([f"s{i + 1}"] if i < 999 else [])) for i in range(1000)]
    assert len(normal(*steps)) == 1000
