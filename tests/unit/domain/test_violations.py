"""What is refused before anything is recorded: every fault at once, each with the path of its field."""

import re

import pytest

from podium.v1 import definition_pb2 as pb
from service.domain.definition import normalise
from service.domain.errors import InvalidInput
from service.domain.validation import Limits, Validation
from tests.unit.domain.workflow_run import EXPRESSIONS, TOOLS, VALIDATION, step

Template = pb.Template


def violations(*steps, validation=VALIDATION, **options):
    with pytest.raises(InvalidInput) as refused:
        normalise(steps, validation, **options)
    assert refused.value.reason == "INVALID_WORKFLOW"
    return refused.value.violations


def assert_refused(definition, field, problem, *before, **options):
    """The last step has exactly one fault."""
    found = violations(*before, definition, **options)
    assert [path for path, _ in found] == [f"steps[{len(before)}].{field}"]
    assert re.search(problem, found[0][1]), found[0][1]


def template(**kind):
    return pb.StepDefinition(id="a", tool="work", arguments=Template(**kind))


@pytest.mark.parametrize("name", ["A", "1a", "a-b", "a.b", "a[0]", "ä", " a", "a" * 65, "a\n"])
def test_an_id_is_of_lower_case_letters_digits_and_underscores(name):
    assert_refused(step(name), "id", "is no step id")


@pytest.mark.parametrize("name", ["_", "a", "_1", "a" * 64])
def test_an_id_may_be_short_or_long(name):
    normalise([step(name)], VALIDATION)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "wörk", "w" * 65, "work\n"])
def test_a_tool_name_is_one_that_every_model_accepts(name):
    assert_refused(step("a", tool=name), "tool", "is no tool name")


def test_an_unknown_tool_is_named():
    assert_refused(step("a", tool="unknown"), "tool", "unknown is not registered")


def test_an_unknown_dependency_is_named():
    assert_refused(step("a", "b"), "depends_on", "a needs b, which is no step")


def test_an_unknown_step_in_a_reference_is_at_the_field_that_names_it():
    assert_refused(step("a", arguments={"x": "${steps.b.output}"}), "arguments", "a needs b, which is no step")
    assert_refused(step("a", each="${steps.b.output}"), "for_each.items", "a needs b, which is no step")
    assert_refused(step("a", condition="steps.b.output"), "condition", "a needs b, which is no step")


def test_an_item_of_a_for_each_is_no_step():
    existing = {"a": 0, "a[0]": 0}
    assert_refused(step("b", "a[0]"), "depends_on", r"b needs a\[0\], which is no step", existing=existing)


def test_an_id_is_used_once():
    assert_refused(step("a"), "id", "a is already the id of another step", step("a"))
    assert_refused(step("a"), "id", "a is already the id of another step", existing={"a": 0})
    assert_refused(step(""), "id", "step_2 is already the id of another step", step("step_2"))


def test_a_step_cannot_need_itself():
    assert_refused(step("a", "a"), "depends_on", "a → a$")
    assert_refused(step("a", arguments={"x": "${steps.a.output}"}), "arguments", "a → a$")


def test_a_cycle_is_named_step_by_step():
    found = violations(step("a", "c"), step("b", "a"), step("c", arguments={"x": "${steps.b.output}"}), step("d", "c"))
    assert found == [("steps[0].depends_on", "makes a cycle, each needing the next: a → c → b → a")]


def test_a_cycle_is_at_the_field_that_closes_it():
    found = violations(step("b", "a"), step("a", condition="steps.b.output"))
    assert found == [("steps[0].depends_on", "makes a cycle, each needing the next: b → a → b")]
    found = violations(step("a", condition="steps.b.output"), step("b", "a"))
    assert found == [("steps[0].condition", "makes a cycle, each needing the next: a → b → a")]


def test_a_long_cycle_is_named_by_its_ends():
    found = violations(*(step(f"s{i}", f"s{(i + 1) % 1000}") for i in range(1000)))
    assert found[0][1].startswith("makes a cycle, each needing the next: s0 → s1 → ")
    assert "s9 → (981 more) → s991" in found[0][1]
    assert found[0][1].endswith("s999 → s0")


@pytest.mark.parametrize("text", ["{", "[1,]", "NaN", '{"a": 1e999}', "'a'", '"\\ud800"'])
def test_arguments_are_json(text):
    broken = pb.StepDefinition(id="a", tool="work", arguments_json=text)
    assert_refused(broken, "arguments_json", "is not valid JSON")


@pytest.mark.parametrize("text", ["${steps.b}", "${x}", "${input", "${steps.B.output}"])
def test_references_in_arguments_parse(text):
    assert_refused(step("a", arguments={"x": text}), "arguments_json", "reference")


def test_arguments_are_given_once():
    both = pb.StepDefinition(id="a", tool="work", arguments_json="{}", arguments=Template(literal_json="{}"))
    assert_refused(both, "arguments_json", "together with arguments")


@pytest.mark.parametrize(
    "kind",
    [
        {"literal_json": "{"},
        {"literal_json": "NaN"},
        {"array": pb.ArrayTemplate(elements=[Template(literal_json="1"), Template(literal_json="x")])},
        {"object": pb.ObjectTemplate(members=[pb.MemberTemplate(name="x", value=Template(literal_json="-"))])},
    ],
    ids=["literal", "constant", "element", "member"],
)
def test_typed_arguments_hold_json_at_every_place(kind):
    assert_refused(template(**kind), "arguments", "is not valid JSON")


def test_a_reference_has_a_root():
    assert_refused(template(reference=pb.Reference()), "arguments", "without a root")


def test_values_are_nested_only_so_deeply():
    deep = "[" * 65 + "1" + "]" * 65
    assert_refused(pb.StepDefinition(id="a", tool="work", arguments_json=deep), "arguments_json", "too deeply")
    assert_refused(template(literal_json=deep), "arguments", "too deeply")
    each = pb.ForEach(items=Template(literal_json=deep))
    assert_refused(pb.StepDefinition(id="a", tool="work", for_each=each), "for_each.items", "too deeply")


SMALL = Validation(TOOLS.get, lambda *_: (), EXPRESSIONS, Limits(arguments_bytes=100))


@pytest.mark.parametrize("text", ["x" * 99, "ü" * 50])
def test_arguments_are_bounded_in_bytes(text):
    definition = pb.StepDefinition(id="a", tool="work", arguments_json=f'"{text}"')
    assert_refused(definition, "arguments_json", "is larger than 100 bytes", validation=SMALL)


@pytest.mark.parametrize("text", ["x" * 98, "ü" * 49])
def test_arguments_may_be_as_large_as_the_bound(text):
    normalise([pb.StepDefinition(id="a", tool="work", arguments_json=f'"{text}"')], SMALL)


def test_typed_arguments_are_bounded_as_a_whole():
    half = Template(literal_json=f'"{"x" * 48}"')
    normalise([template(array=pb.ArrayTemplate(elements=[half, half]))], SMALL)
    one_more = template(array=pb.ArrayTemplate(elements=[half, half, Template(literal_json="1")]))
    assert_refused(one_more, "arguments", "is larger than 100 bytes", validation=SMALL)


@pytest.mark.parametrize("name", ["item", "index", "item.x"])
def test_items_are_known_only_inside_of_a_for_each(name):
    assert_refused(step("a", arguments={"x": f"${{{name}}}"}), "arguments", "refers to (item|index), which only")
    assert_refused(step("a", each=[f"${{{name}}}"]), "for_each.items", "refers to (item|index), which only")


@pytest.mark.parametrize("items", [{"a": 1}, "text", 7, None, "<${input}>", {"a": "${input}"}])
def test_items_are_a_list(items):
    assert_refused(step("a", each=items), "for_each.items", "is not a list")


def test_items_are_given_and_given_once():
    missing = pb.StepDefinition(id="a", tool="work", for_each=pb.ForEach(max_parallel=1))
    assert_refused(missing, "for_each.items", "is missing")
    twice = step("a", each=[1])
    twice.for_each.items.literal_json = "[]"
    assert_refused(twice, "for_each.items_json", "together with items")


@pytest.mark.parametrize("text", ["[", "NaN"])
def test_items_are_json(text):
    broken = pb.StepDefinition(id="a", tool="work", for_each=pb.ForEach(items_json=text))
    assert_refused(broken, "for_each.items_json", "is not valid JSON")


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("steps.", "is no valid condition"),
        ("1 +", "is no valid condition"),
        ("1 + 1", "type int, not bool"),
        ("'text'", "type string, not bool"),
        ("unknown", "undeclared reference"),
        ("1 == 'a'", "no matching overload"),
        ("steps", "steps.NAME"),
        ("steps.a.nothing", "a step has an output and a state"),
        ("step_1 is not None", "is no valid condition"),
    ],
)
def test_a_condition_parses_and_gives_a_truth(condition, problem):
    assert_refused(step("a", condition=condition), "condition", problem)


def test_a_condition_has_at_most_four_kibibytes():
    fits = "true" + " " * 4092
    normalise([step("a", condition=fits)], VALIDATION)
    assert_refused(step("a", condition=fits + " "), "condition", "larger than 4096 bytes")
    assert_refused(step("a", condition="'" + "ü" * 2048 + "' == ''"), "condition", "larger than 4096 bytes")


def test_the_shorthand_of_conditions_is_checked():
    broken = step("a", condition="step_1 is nothing")
    assert_refused(broken, "condition", "expected None", shorthand=True)


@pytest.mark.parametrize("count", [0, 3])
def test_a_join_counts_at_most_all_dependencies(count):
    joined = step("c", "a", arguments={"x": "${steps.b.output}"}, join=pb.JOIN_N_OF, join_count=count)
    assert_refused(joined, "join_count", "between 1 and the number of dependencies, 2", step("a"), step("b"))


def test_only_n_of_counts():
    assert_refused(step("b", "a", join=pb.JOIN_ANY, join_count=1), "join_count", "only with JOIN_N_OF", step("a"))


def test_unknown_choices_are_refused():
    assert_refused(step("a", join=99), "join", "is not known")
    assert_refused(step("a", on_failure=99), "on_failure", "is not known")


@pytest.mark.parametrize("multiplier", [0.5, -1, 101, float("nan"), float("inf")])
def test_waits_never_shrink_nor_explode(multiplier):
    retry = pb.RetryPolicy(multiplier=multiplier)
    assert_refused(step("a", retry=retry), "retry.multiplier", "between 1 and 100")


@pytest.mark.parametrize("jitter", [-0.1, 1.1, float("nan")])
def test_jitter_is_a_part(jitter):
    assert_refused(step("a", retry=pb.RetryPolicy(jitter=jitter)), "retry.jitter", "between 0 and 1")


def test_attempts_are_bounded():
    assert_refused(step("a", retry=pb.RetryPolicy(max_attempts=1001)), "retry.max_attempts", "at most 1000")


@pytest.mark.parametrize(("count", "there"), [(4, 0), (1, 3), (2, 2)])
def test_steps_are_counted_with_those_that_are_there(count, there):
    validation = Validation(TOOLS.get, lambda *_: (), EXPRESSIONS, Limits(steps=3))
    existing = {f"old{i}": 0 for i in range(there)}
    with pytest.raises(InvalidInput) as refused:
        normalise([step(f"s{i}") for i in range(count)], validation, existing=existing)
    assert refused.value.reason == "TOO_MANY_STEPS"
    assert [path for path, _ in refused.value.violations] == ["steps"]
    normalise([step(f"s{i}") for i in range(count - 1)], validation, existing=existing)


def test_the_tools_schema_has_its_say():
    validation = Validation(TOOLS.get, lambda tool, _: [("arguments.url", f"{tool.name} needs it")], EXPRESSIONS)
    assert violations(step("a"), validation=validation) == [("steps[0].arguments.url", "work needs it")]


def test_the_schema_is_not_asked_about_arguments_that_are_broken_already():
    validation = Validation(TOOLS.get, lambda *_: [("arguments", "is not an object")], EXPRESSIONS)
    broken = pb.StepDefinition(id="a", tool="work", arguments_json="{")
    assert_refused(broken, "arguments_json", "is not valid JSON", validation=validation)


def test_everything_that_is_wrong_is_told_at_once():
    found = violations(
        step("A", "nowhere", tool="unknown", condition="1", join=pb.JOIN_N_OF, join_count=2),
        step("b", arguments={"x": "${"}, retry=pb.RetryPolicy(jitter=2)),
        step("b", "c"),
        step("c", "b"),
    )
    assert [path for path, _ in found] == [
        "steps[0].id",
        "steps[0].condition",
        "steps[0].join_count",
        "steps[0].tool",
        "steps[1].arguments_json",
        "steps[1].retry.jitter",
        "steps[2].id",
        "steps[0].depends_on",
        "steps[1].depends_on",
    ]
    assert found[-1][1] == "makes a cycle, each needing the next: b → c → b"


def test_the_sentence_tells_the_first_fault_and_how_many_more():
    with pytest.raises(InvalidInput, match=r"INVALID_WORKFLOW: steps\[0\]\.tool .* \(and 2 more\)$"):
        normalise([step("a", tool="x"), step("b", tool="y"), step("c", tool="z")], VALIDATION)


@pytest.mark.parametrize(("path", "field"), [("call", "call.tool"), ("calls[{}].step", "calls[0].step.tool")])
def test_paths_are_those_of_the_request(path, field):
    assert violations(step("a", tool="x"), path=path)[0][0] == field


def test_a_member_is_given_once_however_it_is_written():
    for text in ('{"a":1,"a":2}', '[{"b":{"a":1,"\\u0061":"${input}"}}]'):
        submitted = step("a")
        submitted.arguments_json = text
        assert_refused(submitted, "arguments_json", "^has an object with the same member twice$")
        assert_refused(template(literal_json=text), "arguments", "^has an object with the same member twice$")
    members = [pb.MemberTemplate(name="a", value=Template(literal_json=each)) for each in ("1", "2")]
    twice = Template(object=pb.ObjectTemplate(members=members))
    assert_refused(template(array=pb.ArrayTemplate(elements=[twice])), "arguments", "same member twice")


def test_members_of_several_objects_may_be_called_alike():
    normalise([step("a", arguments={"a": {"a": [{"a": 1}, {"a": 1}]}})], VALIDATION)


def holes(count):
    """A list of references: each is a value in the list and a reference."""
    return ["${input}"] * (count // 2)


FEW = Validation(TOOLS.get, lambda *_: (), EXPRESSIONS, Limits(template_parts=10, request_dependencies=3))
TYPED = [
    {"array": pb.ArrayTemplate(elements=[Template(literal_json="1")] * 11)},
    {"object": pb.ObjectTemplate(members=[pb.MemberTemplate(name=f"m{n}") for n in range(11)])},
    {"interpolation": pb.Interpolation(parts=[pb.InterpolationPart(text="x")] * 11)},
    {"reference": pb.Reference(input=True, path=[pb.PathElement(index=0)] * 11)},
]


@pytest.mark.parametrize(
    "value",
    [holes(12), {"a": holes(10)}, "${input}," * 6, "$${" * 11, "${input" + "[0]" * 11 + "}", ["${input}"] + [1] * 10],
)
def test_a_template_has_a_bounded_number_of_parts(value):
    many = step("a", arguments=value)
    assert_refused(many, "arguments_json", "more than 10 parts .*refer to it", validation=FEW)
    each = pb.StepDefinition(id="a", tool="work", for_each=pb.ForEach(items_json=many.arguments_json))
    assert_refused(each, "for_each.items_json", "more than 10 parts .*refer to it", validation=FEW)


@pytest.mark.parametrize("kind", TYPED, ids=lambda kind: next(iter(kind)))
def test_a_typed_template_has_a_bounded_number_of_parts(kind):
    assert_refused(template(**kind), "arguments", "more than 10 parts .*refer to it", validation=FEW)
    each = pb.StepDefinition(id="a", tool="work", for_each=pb.ForEach(items=Template(**kind)))
    assert_refused(each, "for_each.items", "more than 10 parts .*refer to it", validation=FEW)


@pytest.mark.parametrize("value", [holes(10), [[1] * 100, "${input.a}"], [1] * 100, {"a": {"b": list(range(100))}}])
def test_values_without_holes_are_no_parts_however_many_they_are(value):
    normalise([step("a", arguments=value)], FEW)


def test_the_dependencies_of_a_request_are_bounded_wherever_they_are_named():
    steps = [step("a"), step("b", "a"), step("c", "a", "b")]
    normalise(steps, FEW)
    for one_more in (step("d", "a"), step("d", arguments="${steps.a.output}"), step("d", condition="steps.a.output")):
        with pytest.raises(InvalidInput, match="more than 3 steps") as refused:
            normalise([*steps, one_more], FEW, path="workflow.steps[{}]")
        assert refused.value.reason == "TOO_MANY_DEPENDENCIES"
        assert [field for field, _ in refused.value.violations] == ["workflow.steps"]


@pytest.mark.parametrize("name", ["retry_on", "never_retry_on"])
@pytest.mark.parametrize(
    ("reason", "remedy"),
    [("timeout", "write TIMEOUT"), ("rate-limited", "write RATE_LIMITED"), ("", "capitals"), ("X" * 64, "at most 63")],
)
def test_a_reason_that_could_never_fit_a_failure_is_refused_with_its_right_spelling(name, reason, remedy):
    retry = pb.RetryPolicy(**{name: ["TIMEOUT", reason]})
    assert_refused(step("a", retry=retry), f"retry.{name}[1]", remedy)


def test_repeating_nothing_is_said_by_the_number_of_attempts():
    assert_refused(step("a", retry=pb.RetryPolicy(never_retry_on=["*"])), "retry.never_retry_on[0]", "max_attempts")


def test_reasons_are_counted():
    assert_refused(step("a", retry=pb.RetryPolicy(retry_on=["X"] * 101)), "retry.retry_on", "at most 100 reasons")
